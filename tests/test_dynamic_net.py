"""Control flow, weight sharing and momentum in the dynamic net."""

import functools

import pytest
import torch

from harness import Run, geometric_mean, graph_functions, run, shared_run
from pages import says
from scripts import STEPS

SCRIPT = "nn/dynamic_net.py"
DEPTHS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def result() -> Run:
    return shared_run(SCRIPT)


def graph_at(result: Run, depth: int) -> list[str]:
    """Return the names of the functions of the graph at a depth."""
    return graph_functions(result.names["model"](result.names["x"], depth))


def test_all_depths_of_the_page_occur(result) -> None:
    low, high = says("in each step, between {} and {} hidden layers")
    assert sorted(set(result.draws)) == list(range(int(low), int(high) + 1))


def test_printed_depth_is_that_of_the_step(result) -> None:
    assert result.depths == {step: result.draws[step] for step in STEPS}


@pytest.mark.parametrize("depth", DEPTHS)
def test_graph_is_as_deep_as_it_is_told(result, depth: int) -> None:
    assert graph_at(result, depth).count("Relu") == depth


def test_middle_layer_is_used_one_time_less_than_the_depth(result) -> None:
    least, most = says("It uses the same middle layer {} to {} times.")
    assert (least, most) == (DEPTHS[0] - 1, DEPTHS[-1] - 1)
    products = [graph_at(result, depth).count("Addmm") for depth in DEPTHS]
    # Besides the middle layer, the first and the last.
    assert [count - 2 for count in products] == [0, 1, 2, 3]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_weights_are_shared(result, depth: int) -> None:
    assert graph_at(result, depth).count("AccumulateGrad") == 6


def test_number_of_parameters_is_that_of_the_page(result) -> None:
    (parameters,) = says("At any depth there are {} parameters.")
    sizes = [param.numel() for param in result.names["model"].parameters()]
    assert sum(sizes) == parameters
    assert result.lines[0] == f"parameters {parameters:.0f}"


def test_gradient_of_a_shared_weight_is_a_sum_over_its_uses() -> None:
    says("is a sum, with one term for each use")
    w = torch.tensor(3.0, requires_grad=True)
    first, second = w * 1, w * 1  # The two uses, apart.
    first.retain_grad()
    second.retain_grad()
    (first * second * first).backward()
    assert w.grad == first.grad + second.grad


def gradients_of_the_middle_layer(depth: int) -> list:
    changes = {"random.randint(1, 4)": str(depth)}
    model = run(SCRIPT, steps=1, changes=changes).names["model"]
    return [param.grad for param in model.middle_linear.parameters()]


def test_unused_layer_has_no_gradient_in_that_step() -> None:
    assert gradients_of_the_middle_layer(1) == [None, None]
    assert None not in gradients_of_the_middle_layer(2)


@pytest.mark.parametrize(
    ("options", "same"), [("", True), ("set_to_none=False", False)]
)
def test_none_is_why_momentum_does_not_move_it(options, same) -> None:
    # It is used in step 0 and not in step 1.
    changes = {
        "random.randint(1, 4)": "2 - t",
        "zero_grad()": f"zero_grad({options})",
    }
    used, not_used = (
        run(SCRIPT, steps=steps, changes=changes).names["model"]
        for steps in (1, 2)
    )
    weights = used.middle_linear.weight, not_used.middle_linear.weight
    assert torch.equal(*weights) is same


def test_unused_layer_is_left_alone() -> None:
    changes = {"random.randint(1, 4)": "1"}
    start = run(SCRIPT, steps=0, changes=changes).names["model"]
    end = run(SCRIPT, steps=20, changes=changes).names["model"]
    assert torch.equal(start.middle_linear.weight, end.middle_linear.weight)
    assert not torch.equal(start.linear1.weight, end.linear1.weight)


def test_four_depths_at_once_are_why_the_loss_falls_slowly() -> None:
    says("the same weights must fit the examples at four depths")
    # Without the random order, the cause stays.
    total = "sum(loss_fn(model(x, d), y) for d in (1, 2, 3, 4))"
    changes = {"loss = loss_fn(y_pred, y)": f"loss = {total} / 4"}
    at_once = run(SCRIPT, every_step=True, changes=changes).losses
    assert min(at_once.values()) > 0.01
    # Without the four depths, it goes.
    assert with_momentum("four") < 1e-4


# Momentum.


def test_agreeing_gradients_make_steps_ten_times_as_long() -> None:
    (momentum,) = says("in which an old gradient shrinks to {} of itself")
    says("the steps get up to ten times as long")
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=momentum)
    for _ in range(100):
        before = parameter.item()
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert before - parameter.item() == pytest.approx(10, rel=0.01)


def test_alternating_gradients_make_steps_half_as_long() -> None:
    says("Where they alternate, the steps get about half as long.")
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=0.9)
    for step in range(100):
        before = parameter.item()
        parameter.grad = torch.tensor([(-1.0) ** step])
        optimizer.step()
    assert abs(before - parameter.item()) == pytest.approx(0.5, abs=0.05)


def test_without_momentum_every_later_loss_is_higher(result) -> None:
    says("Yes: every loss after the first is higher without it.")
    without = run("faults/no_momentum.diff")
    assert without.depths == result.depths
    for step in STEPS[1:]:
        assert without.losses[step] > result.losses[step]


MODES = {
    "random": {},
    "four": {"random.randint(1, 4)": "4"},
}


@functools.cache
def late_loss(mode: str, settings: str) -> float:
    """Return the geometric mean of the losses from step 300, over 2 seeds."""
    (start,) = says("geometric means of the losses from step {} on, over two")
    optimizer = "lr=learning_rate, momentum=0.9"
    changes = {**MODES[mode], optimizer: settings}
    late: list[float] = []
    for seed in range(2):
        result = run(SCRIPT, seed=seed, every_step=True, changes=changes)
        late += list(result.losses.values())[int(start) :]
    return geometric_mean(late)


def with_momentum(mode: str) -> float:
    return late_loss(mode, "lr=1e-4, momentum=0.9")


def plain(mode: str) -> float:
    """Return the loss at the best of the rates that the page names."""
    *rates, rate = says(
        "Plain `SGD` uses the best of the rates {}, {} and {}, and momentum "
        "uses {}:"
    )
    assert rate == 1e-4
    return min(late_loss(mode, f"lr={rate}") for rate in rates)


def test_momentum_at_a_random_depth() -> None:
    without, with_it = says("| a depth drawn at random | {} | {} |")
    assert plain("random") == pytest.approx(without, rel=0.2)
    assert with_momentum("random") == pytest.approx(with_it, rel=0.3)


def test_momentum_at_a_fixed_depth() -> None:
    depth, without, with_it = says("| always depth {} | {} | {} |")
    assert MODES["four"] == {"random.randint(1, 4)": f"{depth:.0f}"}
    assert plain("four") == pytest.approx(without, rel=0.3)
    # So close to 0, rounding decides: only the size is the page's.
    assert with_it / 10 < with_momentum("four") < with_it * 10


def test_the_changing_depth_is_not_the_reason() -> None:
    (depth,) = says("with a fixed depth of {}, momentum helps even more")
    assert MODES["four"] == {"random.randint(1, 4)": f"{depth:.0f}"}
    gain = {mode: plain(mode) / with_momentum(mode) for mode in MODES}
    assert gain["four"] > gain["random"]
