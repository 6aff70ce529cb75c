"""The optimizer: its calls, its steps, its rates."""

import math

import pytest
import torch

from harness import Run, run, shared_run
from pages import says
from reference import Adam
from scripts import STEP_COUNT, STEPS

SCRIPT = "nn/two_layer_net_optim.py"
LINE = "torch.optim.Adam(model.parameters(), lr=learning_rate)"


def with_optimizer(name: str, rate: float, **options) -> Run:
    """Run the script with another optimizer in its line."""
    line = f"torch.optim.{name}(model.parameters(), lr={rate})"
    return run(SCRIPT, changes={LINE: line}, **options)


@pytest.mark.parametrize(
    "name", ["SGD", "Adagrad", "RMSprop", "Adam", "AdamW"]
)
def test_optimizers_swap_in_one_line(name: str) -> None:
    rate = {"Adagrad": 1e-2}.get(name, 1e-4)
    result = with_optimizer(name, rate)
    assert result.stderr == []
    assert result.fall > 1000


def test_step_reads_grad_and_needs_no_loss() -> None:
    parameter = torch.zeros(2, requires_grad=True)
    parameter.grad = torch.tensor([1.0, 0.0])
    torch.optim.SGD([parameter], lr=0.5).step()
    assert parameter.tolist() == [-0.5, 0]


def test_adam_divides_one_mean_by_the_root_of_the_other() -> None:
    says(
        "Each step subtracts the learning rate times the first mean, divided "
        "by the square root of the second."
    )
    parameter = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    update, expected = Adam(0.1), 0.0
    for gradient in (1.0, 5.0, -2.0):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        expected = update((0, 0), expected, gradient)
        assert parameter.item() == pytest.approx(expected)


# When to clear the gradients.

CALLS = """\
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def test_gradients_may_be_cleared_after_the_step() -> None:
    zero, backward, step = CALLS.splitlines(keepends=True)
    after = run(SCRIPT, changes={CALLS: backward + step + zero})
    assert after.lines == shared_run(SCRIPT).lines


def test_cleared_between_backward_and_step_nothing_changes() -> None:
    says("If you clear them between `backward` and `step`, no parameter ever")
    zero, backward, step = CALLS.splitlines(keepends=True)
    between = run(SCRIPT, changes={CALLS: backward + zero + step})
    assert set(between.losses.values()) == {between.losses[0]}
    assert between.stderr == []


def test_zero_grad_sets_gradients_to_none() -> None:
    after = run(SCRIPT, steps=1).names
    after["optimizer"].zero_grad()
    assert all(param.grad is None for param in after["model"].parameters())


# The fold: which is faster?


def check_steps(optimizer: str, rate: float, steps: float, rel=0.05) -> None:
    """Check how many steps it takes until the loss is low, over 3 seeds."""
    (low,) = says("until the loss is below {}, the mean of three seeds")
    enough = min(STEP_COUNT, int(2 * steps))  # For a slow seed too.
    total = 0
    for seed in range(3):
        result = with_optimizer(
            optimizer, rate, seed=seed, steps=enough, every_step=True
        )
        low_at = [t for t, loss in result.losses.items() if loss < low]
        total += min(low_at, default=enough)
    assert total / 3 == pytest.approx(steps, rel=rel)


def test_steps_of_the_two_at_1e_4() -> None:
    sgd, adam = says("| 1e-4 | {} | {} |")
    check_steps("SGD", 1e-4, sgd)
    check_steps("Adam", 1e-4, adam)


def test_steps_of_the_two_at_3e_4() -> None:
    sgd, adam = says("| 3e-4 | {} | {} |")
    check_steps("SGD", 3e-4, sgd)
    check_steps("Adam", 3e-4, adam)


def test_steps_of_the_two_at_1e_3() -> None:
    sgd, adam = says("| 1e-3 | {} | {} |")
    check_steps("SGD", 1e-3, sgd, rel=0.1)
    check_steps("Adam", 1e-3, adam)


def test_steps_of_adam_at_larger_rates() -> None:
    (at_3e_3,) = says("| 3e-3 | never: `nan` | {} |")
    (at_1e_2,) = says("| 1e-2 | never: `nan` | {} |")
    check_steps("Adam", 3e-3, at_3e_3)
    check_steps("Adam", 1e-2, at_1e_2, rel=0.2)


MEAN = {'nn.MSELoss(reduction="sum")': "nn.MSELoss()"}


def test_adam_takes_the_same_steps_with_the_mean() -> None:
    (elements,) = says(
        "With the mean as the loss, `SGD` needs a rate {} times larger, and "
        "Adam takes the same steps as before."
    )
    mean = run(SCRIPT, dtype="float64", changes=MEAN).losses
    sums = {step: elements * loss for step, loss in mean.items()}
    expected = run(SCRIPT, dtype="float64").losses
    assert sums[STEPS[4]] == pytest.approx(expected[STEPS[4]], rel=1e-2)


def test_plain_descent_does_not_with_the_mean() -> None:
    line = {LINE: "torch.optim.SGD(model.parameters(), lr=1e-3)"}
    assert run(SCRIPT, changes=line).fall > 1e9
    assert run(SCRIPT, changes=line | MEAN).fall < 10


@pytest.mark.parametrize("rate", [3e-3, 1e-2])
def test_plain_descent_diverges_at_large_rates(rate: float) -> None:
    assert math.isnan(with_optimizer("SGD", rate, steps=100).losses[50])


# The exercise.


@pytest.fixture(scope="module")
def lengths() -> dict[str, list[float]]:
    """The length of a gradient at each step, cleared and not cleared."""
    step = "    optimizer.step()\n"
    show = {step: f"{step}    print(model[0].weight.grad.norm().item())\n"}
    found = {}
    for name in (SCRIPT, "faults/gradients_not_cleared.diff"):
        lines = run(name, changes=show).lines
        found[name] = [float(line) for line in lines if "loss" not in line]
    return found


def test_gradient_shrinks_when_it_is_cleared(lengths) -> None:
    cleared = lengths[SCRIPT]
    assert cleared[-1] < 1e-3 * cleared[0]


def test_gradient_grows_when_it_is_not_cleared(lengths) -> None:
    start, end, steps, least = says(
        "Here it jumps from about {} to {} in {} steps, and stays above {}."
    )
    kept = lengths["faults/gradients_not_cleared.diff"]
    assert kept[0] == pytest.approx(start, rel=0.1)
    assert kept[int(steps)] == pytest.approx(end, rel=0.1)
    assert min(kept[int(steps) :]) > least


def test_loss_stays_high_when_gradients_are_not_cleared() -> None:
    (least,) = says("There is no error, but the loss stays above {}.")
    kept = run("faults/gradients_not_cleared.diff", every_step=True)
    assert min(kept.losses.values()) > least
    assert kept.stderr == []


def test_old_gradients_are_why_and_not_the_longer_sum() -> None:
    says("most of them were computed from weights that are long gone")
    # As long as the sum of all so far, but all of it fresh.
    fresh = {
        "    optimizer.step()\n": (
            "    for param in model.parameters():\n"
            "        param.grad *= t + 1\n"
            "    optimizer.step()\n"
        )
    }
    assert run(SCRIPT, changes=fresh).fall > 1e5
