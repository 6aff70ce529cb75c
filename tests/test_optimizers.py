"""What the page says of the optimizer, its calls and its rates."""

import math

import pytest
import torch

from harness import run

SCRIPT = "nn/two_layer_net_optim.py"
PLAIN = "nn/two_layer_net_nn.py"
# The comment, and what is changed in the line below it.
LINE = """change this line.
optimizer = torch.optim.{}(model.parameters(), lr={})"""
RATES = {
    "Adadelta": "1e-2",
    "Adafactor": "3e-3",
    "Adagrad": "1e-2",
    "RAdam": "3e-4",
}
ERRORS = {
    "LBFGS": "missing 1 required positional argument: 'closure'",
    "SparseAdam": "does not support dense gradients",
    "Muon": "only supports 2D parameters",
}
OPTIMIZERS = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and torch.optim.Optimizer in kind.mro()[1:]
]


def swapped(optimizer: str, rate: str):
    """Run the script with another optimizer in its line."""
    shipped = LINE.format("Adam", "learning_rate")
    return run(SCRIPT, changes={shipped: LINE.format(optimizer, rate)})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_optimizers_but_three_swap_in_one_line(name) -> None:
    result = swapped(name, RATES.get(name, "1e-4"))
    if name in ERRORS:
        assert ERRORS[name] in result.noted[-1]
    else:
        assert type(result.names["optimizer"]).__name__ == name
        assert not result.noted and result.fall >= 1000


def test_each_wants_a_rate_that_fits() -> None:
    assert swapped("Adam", "3e-3").fall > 1e5
    assert math.isnan(swapped("SGD", "3e-3").losses[499])


def test_sgd_is_plain_gradient_descent() -> None:
    plain = run(PLAIN).losses
    assert swapped("SGD", "1e-4").losses == pytest.approx(plain, rel=0.05)


def test_step_scales_by_past_gradients_and_needs_no_loss() -> None:
    for name in ("Adagrad", "RMSprop", "Adam", "SGD"):
        parameter = torch.zeros(2, requires_grad=True)
        optimizer = getattr(torch.optim, name)([parameter], lr=0.1)
        for gradient in ([1.0, 100.0], [1.0, 1.0]):
            before = parameter.detach().clone()
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
        small, large = (before - parameter).tolist()
        # The gradients are the same now, their records are not.
        assert small > 0
        assert (0 < large < 0.8 * small) == (name != "SGD")
        optimizer.zero_grad()
        assert parameter.grad is None


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
    assert min(wrong.losses.values()) > 50 and min(growing[50:]) > 10000
    assert growing[0] == pytest.approx(600, rel=0.1)
    assert growing[50] == pytest.approx(17000, rel=0.1)


def test_adam_moves_each_parameter_by_the_rate() -> None:
    step, flat = "    optimizer.step()\n", "nn.utils.parameters_to_vector"
    note = {
        "learning_rate = 1e-4\n": "learning_rate, moved = 1e-4, []\n",
        step: f"    old = {flat}(model.parameters()).detach()\n{step}"
        f"    new = {flat}(model.parameters()).detach()\n"
        f"    grad = {flat}([p.grad for p in model.parameters()])\n"
        "    moved.append((abs(new - old), 1e-4 * abs(grad)))\n",
    }
    adam, plain = run(SCRIPT, changes=note), run(PLAIN)
    assert adam.losses[50] > plain.losses[50]
    assert adam.losses[499] < plain.losses[499]
    first, of_plain = adam.names["moved"][0]
    assert (abs(first / 1e-4 - 1) < 0.01).double().mean() > 0.99
    assert of_plain.mean() / first.mean() == pytest.approx(1.6, abs=0.05)
    late, of_plain = adam.names["moved"][200]
    assert 2 < late.mean() / of_plain.mean() < 3
