"""The optimizer: its calls, its steps, its rates."""

import functools
import math
import re

import numpy as np
import pytest
import torch

from harness import Run, run, shared_run, to_array
from pages import mend, says
from reference import Adam
from scripts import LAST, STEP_COUNT, STEPS

SCRIPT = "nn/two_layer_net_optim.py"
LINE = "torch.optim.Adam(model.parameters(), lr=learning_rate)"
NOT_CLEARED = "faults/gradients_not_cleared.diff"
CLEARED_BEFORE_STEP = "faults/cleared_before_step.diff"


def change_to(name: str, rate: float | str) -> dict[str, str]:
    """Return the change of the script to another optimizer."""
    return {LINE: f"torch.optim.{name}(model.parameters(), lr={rate})"}


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("SGD", 1e-4),
        ("Adagrad", 1e-2),
        ("RMSprop", 1e-4),
        ("Adam", 1e-4),
        ("AdamW", 1e-4),
    ],
)
def test_optimizers_swap_in_one_line(name: str, rate: float) -> None:
    result = run(SCRIPT, changes=change_to(name, rate))
    assert result.stderr == []
    assert result.fall > 1000


def test_step_reads_grad_and_needs_no_loss() -> None:
    parameter = torch.zeros(2, requires_grad=True)
    parameter.grad = torch.tensor([1.0, 0.0])
    torch.optim.SGD([parameter], lr=0.5).step()
    assert parameter.tolist() == [-0.5, 0]


def test_adam_follows_its_paper() -> None:
    # The page leaves out the paper's correction of the means; both make it.
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
        expected = update(key=(0, 0), parameter=expected, gradient=gradient)
        assert parameter.item() == pytest.approx(expected)


# When to clear the gradients.

ZERO = "    optimizer.zero_grad()\n"
BACKWARD = "    loss.backward()\n"
STEP = "    optimizer.step()\n"


def test_gradients_may_be_cleared_after_the_step() -> None:
    after = {ZERO + BACKWARD + STEP: BACKWARD + STEP + ZERO}
    assert run(SCRIPT, changes=after).lines == shared_run(SCRIPT).lines


def test_cleared_before_the_step_no_parameter_ever_changes() -> None:
    says("If you clear them between `backward` and `step`, no parameter ever")
    result = shared_run(CLEARED_BEFORE_STEP)
    initial = [part for layer in result.initial for part in layer]
    final = map(to_array, result.names["model"].parameters())
    for before, after in zip(initial, final, strict=True):
        assert np.array_equal(before, after)


def test_cleared_before_the_step_the_loss_never_changes() -> None:
    losses = list(shared_run(CLEARED_BEFORE_STEP).losses.values())
    assert losses == [losses[0]] * len(STEPS)


def test_cleared_before_the_step_there_is_no_error() -> None:
    assert shared_run(CLEARED_BEFORE_STEP).stderr == []


def test_zero_grad_sets_gradients_to_none() -> None:
    names = run(SCRIPT, steps=1).names
    params = list(names["model"].parameters())
    assert all(param.grad is not None for param in params)
    names["optimizer"].zero_grad()
    assert all(param.grad is None for param in params)


# The fold: which is faster?


def check_steps(name: str, rate: str, stated: float, rel=0.05) -> None:
    """Check that the loss is low after as many steps as the table says.

    Args:
        name: of the optimizer.
        rate: as the table writes it.
        stated: the steps that the table says, the mean of three seeds.
        rel: how far off they may be.
    """
    (low,) = says("until the loss is below {}, the mean of three seeds")
    # Twice as many are enough for a slow seed, too.
    steps = min(STEP_COUNT, int(2 * stated))
    taken = []
    for seed in range(3):
        changes = change_to(name, rate)
        result = run(
            SCRIPT, seed=seed, steps=steps, every_step=True, changes=changes
        )
        low_steps = [t for t, loss in result.losses.items() if loss < low]
        # A run that never gets there counts as one that does at its end.
        taken.append(min(low_steps, default=steps))
    mean = sum(taken) / 3
    assert mean == pytest.approx(stated, rel=rel), (
        f"at {rate}, {name} takes {mean:.0f} steps, and the table says "
        f"{stated:.0f}; {mend(f'| {rate} |')}"
    )


def test_sgd_and_adam_get_low_in_the_stated_steps_at_1e_4() -> None:
    sgd, adam = says("| 1e-4 | {} | {} |")
    check_steps("SGD", "1e-4", sgd)
    check_steps("Adam", "1e-4", adam)


def test_sgd_and_adam_get_low_in_the_stated_steps_at_3e_4() -> None:
    sgd, adam = says("| 3e-4 | {} | {} |")
    check_steps("SGD", "3e-4", sgd)
    check_steps("Adam", "3e-4", adam)


def test_sgd_and_adam_get_low_in_the_stated_steps_at_1e_3() -> None:
    sgd, adam = says("| 1e-3 | {} | {} |")
    check_steps("SGD", "1e-3", sgd, rel=0.1)
    check_steps("Adam", "1e-3", adam)


def test_adam_gets_low_in_the_stated_steps_at_3e_3() -> None:
    (adam,) = says("| 3e-3 | never: `nan` | {} |")
    check_steps("Adam", "3e-3", adam)


def test_adam_gets_low_in_the_stated_steps_at_1e_2() -> None:
    (adam,) = says("| 1e-2 | never: `nan` | {} |")
    check_steps("Adam", "1e-2", adam, rel=0.2)


@pytest.mark.parametrize("rate", [3e-3, 1e-2])
def test_sgd_ends_in_nan_at_large_rates(rate: float) -> None:
    result = run(SCRIPT, steps=51, changes=change_to("SGD", rate))
    assert math.isnan(result.losses[50])


# The mean as the loss, in place of the sum.


def losses_with(reduction: str, name: str, rate: float) -> dict[int, float]:
    """Return the losses with the sum or the mean, in float64."""
    changes = {'reduction="sum"': f'reduction="{reduction}"'}
    changes |= change_to(name, rate)
    return run(SCRIPT, dtype="float64", changes=changes).losses


def check_same_steps(name: str, rate: float, rate_with_mean: float) -> None:
    """Check that both take the same steps: the losses differ by 640 alone."""
    sums = losses_with("sum", name, rate)
    means = losses_with("mean", name, rate_with_mean)
    expected = {step: loss / (64 * 10) for step, loss in sums.items()}
    assert means == pytest.approx(expected, rel=1e-2), (
        f"with the mean and a rate of {rate_with_mean:g}, {name} takes other "
        f"steps than with the sum and {rate:g}; "
        f"{mend('With the mean as the loss, `SGD` needs')}"
    )


def test_sgd_takes_the_same_steps_with_the_mean_at_a_larger_rate() -> None:
    (times,) = says("With the mean as the loss, `SGD` needs a rate {} times")
    check_same_steps("SGD", rate=1e-4, rate_with_mean=times * 1e-4)


def test_loss_hardly_falls_with_sgd_and_the_mean_at_the_old_rate() -> None:
    losses = losses_with("mean", "SGD", 1e-4)
    assert 1 < losses[0] / losses[LAST] < 1.1


def test_adam_takes_the_same_steps_with_the_mean_at_the_same_rate() -> None:
    says("and Adam takes the same steps as before.")
    check_same_steps("Adam", rate=1e-4, rate_with_mean=1e-4)


# The exercise: gradients that are not cleared.


@functools.cache
def run_with_gradients(name: str) -> Run:
    """Run it, printing at each step the loss and a gradient's length."""
    show = 'print("length", model[0].weight.grad.norm().item())'
    return run(name, every_step=True, changes={STEP: f"{STEP}    {show}\n"})


def gradient_lengths(name: str) -> list[float]:
    """Return the length of the first weight's gradient at each step."""
    lines = "\n".join(run_with_gradients(name).lines)
    return [float(length) for length in re.findall("length (.*)", lines)]


def test_gradient_shrinks_when_it_is_cleared() -> None:
    lengths = gradient_lengths(SCRIPT)
    assert lengths[-1] < 1e-3 * lengths[0]


def test_gradient_jumps_and_stays_long_when_it_is_not_cleared() -> None:
    start, end, steps, least = says(
        "Here it jumps from about {} to {} in {} steps, and stays above {}."
    )
    lengths = gradient_lengths(NOT_CLEARED)
    after = lengths[int(steps) :]
    sentence = (
        f"it jumps from {lengths[0]:.3g} to {after[0]:.3g} and stays above "
        f"{min(after):.3g}; {mend('Here it jumps from about {} to {}')}"
    )
    assert lengths[0] == pytest.approx(start, rel=0.1), sentence
    assert after[0] == pytest.approx(end, rel=0.1), sentence
    assert min(after) > least, sentence


def test_loss_stays_high_when_gradients_are_not_cleared() -> None:
    (least,) = says("There is no error, but the loss stays above {}.")
    lowest = min(run_with_gradients(NOT_CLEARED).losses.values())
    assert lowest > least, (
        f"the loss gets down to {lowest:.3g}; "
        f"{mend('There is no error, but the loss stays above {}.')}"
    )


def test_there_is_no_error_when_gradients_are_not_cleared() -> None:
    assert run_with_gradients(NOT_CLEARED).stderr == []


def test_it_still_trains_with_each_fresh_gradient_times_t_plus_1() -> None:
    says("most of them were computed from weights that are long gone")
    # As many gradients as in the sum of all so far, but all of them from the
    # weights of now: what harms is how old they are, not how many.
    longer = "    for param in model.parameters(): param.grad *= t + 1\n"
    assert run(SCRIPT, changes={STEP: longer + STEP}).fall > 1e5
