"""Control flow, weight sharing and momentum in the dynamic net."""

import functools

import pytest
import torch

from harness import Run, geometric_mean, graph_functions, run, shared_run
from pages import mend, says
from scripts import STEPS

SCRIPT = "nn/dynamic_net.py"
FAULT = "faults/no_momentum.diff"
DRAW = "random.randint(1, 4)"
DEPTHS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def result() -> Run:
    return shared_run(SCRIPT)


# Control flow.


def graph_at(result: Run, depth: int) -> list[str]:
    """Return the names of the functions of the graph at a depth."""
    return graph_functions(result.names["model"](result.names["x"], depth))


def test_script_draws_all_depths_of_the_page(result) -> None:
    least, most = says("in each step, between {} and {} hidden layers")
    drawn = sorted(set(result.draws))
    assert drawn == list(range(int(least), int(most) + 1)), (
        f"{SCRIPT} draws the depths {drawn}, and the page says between "
        f"{least:.0f} and {most:.0f}; {mend('between {} and {} hidden')}"
    )


def test_printed_depth_is_that_of_the_step(result) -> None:
    drawn = {step: result.draws[step] for step in STEPS}
    assert result.depths == drawn, (
        f"{SCRIPT} draws the depths {drawn} and prints {result.depths}; "
        f"correct its line with print, then run: python {SCRIPT}"
    )


@pytest.mark.parametrize("depth", DEPTHS)
def test_graph_has_a_relu_for_each_hidden_layer(result, depth: int) -> None:
    assert graph_at(result, depth).count("Relu") == depth


# Weight sharing.


def uses_of_the_middle_layer(result: Run, depth: int) -> int:
    """Return how often one forward pass calls the middle layer."""
    calls = []
    layer = result.names["model"].middle_linear
    hook = layer.register_forward_hook(lambda *_: calls.append("a call"))
    result.names["model"](result.names["x"], depth)
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("depth", DEPTHS)
def test_middle_layer_is_used_once_less_than_the_depth(
    result, depth: int
) -> None:
    assert uses_of_the_middle_layer(result, depth) == depth - 1


def test_page_says_how_often_the_middle_layer_is_used(result) -> None:
    stated = says("It uses the same middle layer {} to {} times.")
    uses = [uses_of_the_middle_layer(result, depth) for depth in (1, 4)]
    assert stated == uses, (
        f"{SCRIPT} uses its middle layer {uses[0]} to {uses[1]} times, and "
        f"the page says {stated[0]:.0f} to {stated[1]:.0f}; "
        f"{mend('middle layer {} to {} times')}"
    )


# Only from depth 3 on is a layer used twice.
@pytest.mark.parametrize("depth", [3, 4])
def test_layer_used_again_brings_no_parameters(result, depth: int) -> None:
    # One for each parameter: a weight and a bias of the three layers.
    assert graph_at(result, depth).count("AccumulateGrad") == 2 * 3


def test_page_states_the_number_of_parameters(result) -> None:
    (stated,) = says("At any depth there are {} parameters.")
    sizes = [param.numel() for param in result.names["model"].parameters()]
    assert sum(sizes) == stated, (
        f"{SCRIPT} has {sum(sizes):,} parameters, and the page says "
        f"{stated:,.0f}; {mend('there are {} parameters')}"
    )


def test_script_prints_the_number_of_parameters(result) -> None:
    sizes = [param.numel() for param in result.names["model"].parameters()]
    assert result.lines[0] == f"parameters {sum(sizes)}"


def test_gradient_of_a_shared_weight_is_a_sum_over_its_uses() -> None:
    says("is a sum, with one term for each use")
    w = torch.tensor(3.0, requires_grad=True)
    uses = [w * 1, w * 1, w * 1]  # The same number, with a gradient each.
    for use in uses:
        use.retain_grad()
    (uses[0] * uses[1] * uses[2]).backward()
    assert [use.grad for use in uses] == [9, 9, 9]
    assert w.grad == 27


# A layer that is not used: the middle layer, in all steps but the first.


@functools.cache
def model_after(steps: int, clear: str = "zero_grad()") -> torch.nn.Module:
    """Return the model after steps of which the first alone has depth 2."""
    changes = {DRAW: "2 if t == 0 else 1", "zero_grad()": clear}
    return run(SCRIPT, steps=steps, changes=changes).names["model"]


def test_used_layer_has_gradients() -> None:
    layer = model_after(steps=1).middle_linear
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None


def test_unused_layer_has_no_gradients() -> None:
    layer = model_after(steps=2).middle_linear
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_first_layer_used_in_all_steps_moves() -> None:
    models = model_after(steps=1), model_after(steps=20)
    first, last = (model.linear1.weight for model in models)
    assert not torch.equal(first, last)


def test_momentum_does_not_move_an_unused_layer() -> None:
    unused = model_after(steps=1), model_after(steps=20)
    first, last = (model.middle_linear.weight for model in unused)
    assert torch.equal(first, last)


def test_momentum_moves_a_layer_with_gradients_of_zero() -> None:
    # SGD skips None, but with zeros the old momentum goes on.
    clear = "zero_grad(set_to_none=False)"
    unused = model_after(1, clear), model_after(2, clear)
    first, last = (model.middle_linear.weight for model in unused)
    assert not torch.equal(first, last)


# Momentum.


def last_step(gradients: list[float]) -> float:
    """Return how far SGD goes in its last step, at a learning rate of 1."""
    (momentum,) = says("in which an old gradient shrinks to {} of itself")
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=momentum)
    for gradient in gradients:
        before = parameter.item()
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    return abs(parameter.item() - before)


def test_agreeing_gradients_make_steps_ten_times_as_long() -> None:
    says("the steps get up to ten times as long")
    assert last_step([1.0] * 100) == pytest.approx(10, rel=0.01)


def test_alternating_gradients_make_steps_half_as_long() -> None:
    says("Where they alternate, the steps get about half as long.")
    assert last_step([1.0, -1.0] * 50) == pytest.approx(0.5, abs=0.05)


def test_fault_without_momentum_draws_the_same_depths(result) -> None:
    assert shared_run(FAULT).draws == result.draws


@pytest.mark.parametrize("step", STEPS[1:])
def test_loss_is_higher_without_momentum(result, step: int) -> None:
    says("Yes: every loss after the first is higher without it.")
    assert shared_run(FAULT).losses[step] > result.losses[step]


# The table: momentum at a random and at a fixed depth.

SEEDS = (0, 1)
ALL_FOUR = "sum(loss_fn(model(x, d), y) for d in (1, 2, 3, 4)) / 4"
DEPTH_CHANGES = {
    "random": {},
    "always 4": {DRAW: "4"},
    "all four in each step": {"loss_fn(y_pred, y)": ALL_FOUR},
}


@functools.cache
def late_loss(depth: str, sgd_options: str, seeds: tuple = SEEDS) -> float:
    """Return the geometric mean of the late losses over all seeds."""
    (start,) = says("geometric means of the losses from step {} on, over two")
    changes = {
        **DEPTH_CHANGES[depth],
        "lr=learning_rate, momentum=0.9": sgd_options,
    }
    late = []
    for seed in seeds:
        result = run(SCRIPT, seed=seed, every_step=True, changes=changes)
        late += [x for step, x in result.losses.items() if step >= start]
    return geometric_mean(late)


def late_loss_of_plain_sgd(depth: str) -> float:
    """Return the late loss at the best of the rates that the page names."""
    *rates, _ = says(
        "Plain `SGD` uses the best of the rates {}, {} and {}, and momentum "
        "uses {}:"
    )
    return min(late_loss(depth, f"lr={rate}") for rate in rates)


def late_loss_with_momentum(depth: str, seeds: tuple = SEEDS) -> float:
    return late_loss(depth, "lr=learning_rate, momentum=0.9", seeds)


def test_page_states_the_rate_used_with_momentum(result) -> None:
    (rate,) = says("and momentum uses {}:")
    used = result.names["learning_rate"]
    assert rate == used, (
        f"momentum is measured at a rate of {used}, and the page says {rate}; "
        f"{mend('and momentum uses {}:')}"
    )


def test_losses_of_the_table_at_a_random_depth() -> None:
    plain, momentum = says("| a depth drawn at random | {} | {} |")
    measured = (
        late_loss_of_plain_sgd("random"),
        late_loss_with_momentum("random"),
    )
    row = f"measured: {measured}; {mend('| a depth drawn at random |')}"
    assert measured[0] == pytest.approx(plain, rel=0.2), row
    assert measured[1] == pytest.approx(momentum, rel=0.3), row


def test_losses_of_the_table_at_a_fixed_depth() -> None:
    depth, plain, momentum = says("| always depth {} | {} | {} |")
    measured = (
        late_loss_of_plain_sgd("always 4"),
        late_loss_with_momentum("always 4"),
    )
    row = f"measured at 4: {measured}; {mend('| always depth {} |')}"
    assert depth == 4, row
    assert measured[0] == pytest.approx(plain, rel=0.3), row
    # So close to 0 rounding decides, so hold it only to a factor of ten.
    assert momentum / 10 < measured[1] < momentum * 10, row


def gain(depth: str) -> float:
    """Return how many times lower the late loss is with momentum."""
    return late_loss_of_plain_sgd(depth) / late_loss_with_momentum(depth)


def test_momentum_helps_even_more_at_a_fixed_depth() -> None:
    (depth,) = says("with a fixed depth of {}, momentum helps even more")
    sentence = mend("with a fixed depth of {}, momentum helps")
    assert depth == 4, f"measured at 4; {sentence}"
    assert gain("always 4") > gain("random"), sentence


# Why the losses fall slowly: four depths, whatever their order.


def test_loss_stays_high_with_all_four_depths_in_each_step() -> None:
    says("the same weights must fit the examples at four depths")
    all_four = late_loss_with_momentum("all four in each step", seeds=(0,))
    assert all_four > 100 * late_loss_with_momentum("always 4")


def test_loss_gets_low_with_depth_4_alone() -> None:
    assert late_loss_with_momentum("always 4") < 1e-4
