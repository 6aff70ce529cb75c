"""What the page says of the optimizer, its calls and its rates."""

import math

import pytest
import torch
from torch.nn.utils import parameters_to_vector as flat

from harness import run

SCRIPT = "nn/two_layer_net_optim.py"
# The comment, and what is changed in the line below it.
LINE = """change this line.
optimizer = torch.optim.{}(model.parameters(), lr={})"""
RATES = dict(Adadelta=1e-2, Adafactor=3e-3, Adagrad=1e-2, RAdam=3e-4)
ERRORS = {
    "LBFGS": "missing 1 required positional argument: 'closure'",
    "SparseAdam": "does not support dense gradients",
    "Muon": "only supports 2D parameters",
}
KINDS = {n for n, kind in vars(torch.optim).items() if isinstance(kind, type)}


def swapped(optimizer: str, rate: float):
    """Run the script with another optimizer in its line."""
    shipped = LINE.format("Adam", "learning_rate")
    return run(SCRIPT, changes={shipped: LINE.format(optimizer, rate)})


@pytest.mark.parametrize("name", sorted(KINDS - {"Optimizer"}))
def test_all_optimizers_but_three_swap_in_one_line(name) -> None:
    result = swapped(name, RATES.get(name, 1e-4))
    if name in ERRORS:
        assert ERRORS[name] in result.noted[-1]
    else:
        assert type(result.names["optimizer"]).__name__ == name
        assert not result.noted and result.fall >= 1000


def test_each_wants_a_rate_that_fits() -> None:
    assert swapped("Adam", 3e-3).fall > 1e5
    assert math.isnan(swapped("SGD", 3e-3).losses[499])


@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam", "SGD"])
def test_step_scales_by_past_gradients_and_needs_no_loss(name) -> None:
    parameter = torch.zeros(2, requires_grad=True)
    optimizer = getattr(torch.optim, name)([parameter], lr=0.1)
    for gradient in ([1.0, 100.0], [1.0, 1.0]):
        before = parameter.detach().clone()
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    small, large = (before - parameter).tolist()
    # The gradients are the same now, their records are not.
    assert small > 0 and (0 < large < 0.8 * small) == (name != "SGD")


def test_gradients_may_be_cleared_anywhere_but_before_the_step() -> None:
    zero, backward, step = (
        f"    {call}()\n"
        for call in ("optimizer.zero_grad", "loss.backward", "optimizer.step")
    )
    moved = {zero + backward + step: backward + step + zero}
    right, after = run(SCRIPT), run(SCRIPT, changes=moved)
    assert after.lines == right.lines
    assert all(p.grad is None for p in after.names["model"].parameters())
    between = run("faults/cleared_before_step.diff")
    assert set(between.losses.values()) == {right.losses[0]}


def test_uncleared_gradients_grow() -> None:
    step = "    optimizer.step()\n"
    show = {step: f"{step}    print(model[0].weight.grad.norm().item())\n"}
    right = run(SCRIPT, changes=show)
    wrong = run("faults/gradients_not_cleared.diff", changes=show)
    shrinking, growing = (
        [float(line) for line in result.lines if "loss" not in line]
        for result in (right, wrong)
    )
    assert shrinking[-1] < 1e-3 * shrinking[0]
    assert growing[:51:50] == pytest.approx([600, 17000], rel=0.1)
    assert min(growing[50:]) > 10000 and min(wrong.losses.values()) > 50


def lengths_of_step(t: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how far Adam's step t moves each parameter, and descent's."""
    before, after = (
        run(SCRIPT, changes={"range(500)": f"range({steps})"}).names["model"]
        for steps in (t, t + 1)
    )
    moved = flat(after.parameters()) - flat(before.parameters())
    gradient = flat(param.grad for param in after.parameters())
    return abs(moved.detach()), 1e-4 * abs(gradient)


def test_adam_moves_each_parameter_by_the_rate() -> None:
    adam, plain = run(SCRIPT).losses, run("nn/two_layer_net_nn.py").losses
    assert adam[50] > plain[50] and adam[499] < plain[499]
    first, of_plain = lengths_of_step(0)
    assert (abs(first / 1e-4 - 1) < 0.01).double().mean() > 0.99
    assert of_plain.mean() / first.mean() == pytest.approx(1.6, abs=0.05)
    late, of_plain = lengths_of_step(200)
    assert 2 < late.mean() / of_plain.mean() < 3
