"""What the page says of the optimizer, its calls and its rates."""

import math

import pytest
import torch

from harness import ROOT, run

SCRIPT = "nn/two_layer_net_optim.py"
LINE = "torch.optim.Adam(model.parameters(), lr=learning_rate)"
SWAPS = {
    "SGD": "lr=1e-4",
    "SGD with momentum": "lr=1e-4, momentum=0.9",
    "Adagrad": "lr=1e-2",
    "RMSprop": "lr=1e-4",
    "Adam": "lr=1e-4",
    "AdamW": "lr=1e-4",
}


def swapped(optimizer: str, settings: str, changes: dict | None = None):
    """Run the script with another optimizer in its line."""
    line = f"torch.optim.{optimizer}(model.parameters(), {settings})"
    return run(SCRIPT, changes={LINE: line} | (changes or {}))


@pytest.mark.parametrize("swap", SWAPS)
def test_optimizer_swaps_in_one_line(swap) -> None:
    source = (ROOT / SCRIPT).read_text("utf-8")
    assert f"change this line.\noptimizer = {LINE}" in source
    assert source.count("torch.optim.") == 1
    name = swap.split()[0]
    result = swapped(name, SWAPS[swap])
    assert type(result.names["optimizer"]).__name__ == name
    assert result.fall >= 1000


def test_three_optimizers_do_not_swap() -> None:
    errors = {
        "LBFGS": "missing 1 required positional argument: 'closure'",
        "SparseAdam": "does not support dense gradients",
        "Muon": "only supports 2D parameters",
    }
    kinds = [o.__name__ for o in torch.optim.Optimizer.__subclasses__()]
    kinds = [name for name in kinds if hasattr(torch.optim, name)]
    assert len(kinds) > 10 and set(errors) < set(kinds)
    for name in kinds:
        noted = swapped(name, "lr=1e-4", {"range(500)": "range(2)"}).noted
        assert bool(noted) == (name in errors)
        assert errors.get(name, "") in "".join(noted)


def test_each_wants_a_rate_that_fits() -> None:
    assert swapped("Adam", "lr=3e-3").fall > 1e5
    assert math.isnan(swapped("SGD", "lr=3e-3").losses[499])


def test_sgd_is_plain_gradient_descent() -> None:
    sgd, plain = swapped("SGD", "lr=1e-4"), run("nn/two_layer_net_nn.py")
    for step, loss in plain.losses.items():
        assert sgd.losses[step] == pytest.approx(loss, rel=0.05)


def test_step_scales_by_past_gradients_and_needs_no_loss() -> None:
    for name in ("Adagrad", "RMSprop", "Adam", "SGD"):
        moved = []
        for scale in (1.0, 100.0):
            parameter = torch.zeros(1, requires_grad=True)
            optimizer = getattr(torch.optim, name)([parameter], lr=0.1)
            for gradient in (2.0, 1.0):
                parameter.grad = torch.tensor([scale * gradient])
                optimizer.step()
            moved.append(parameter.item())
            optimizer.zero_grad()
            assert parameter.grad is None
        # Scaled by their record, gradients of any size make the same steps.
        factor = 100 if name == "SGD" else 1
        assert moved[1] == pytest.approx(factor * moved[0], rel=0.01)


def test_gradients_may_be_cleared_anywhere_but_before_the_step() -> None:
    zero, backward, step = (
        f"    {call}()\n"
        for call in ("optimizer.zero_grad", "loss.backward", "optimizer.step")
    )
    shipped = zero + backward + step
    right = run(SCRIPT)
    right.names["optimizer"].zero_grad()
    assert all(p.grad is None for p in right.names["model"].parameters())
    after = run(SCRIPT, changes={shipped: backward + step + zero})
    assert after.lines == right.lines
    between = run(SCRIPT, changes={shipped: backward + zero + step})
    assert set(between.losses.values()) == {right.losses[0]}


def test_uncleared_gradients_grow() -> None:
    note = "optimizer.step()\n"
    norm = "    norms.append(model[0].weight.grad.norm().item())\n"
    rate = "learning_rate = 1e-4\n"
    changes = {note: note + norm, rate: f"{rate}norms = []\n"}
    right = run(SCRIPT, changes=changes).names["norms"]
    assert right[-1] < 1e-3 * right[0]
    wrong = run("faults/gradients_not_cleared.diff", changes=changes)
    norms = wrong.names["norms"]
    assert min(wrong.losses.values()) > 50 and min(norms[50:]) > 10000
    assert norms[0] == pytest.approx(600, rel=0.1)
    assert norms[50] == pytest.approx(17000, rel=0.1)


def test_adam_moves_each_parameter_by_the_rate() -> None:
    step = "    optimizer.step()\n"
    flat = "torch.nn.utils.parameters_to_vector"
    note = {
        "learning_rate = 1e-4": "moved = []\nlearning_rate = 1e-4",
        step: f"    old = {flat}(model.parameters()).detach()\n{step}"
        f"    now = {flat}(model.parameters()).detach()\n"
        f"    grad = {flat}([p.grad for p in model.parameters()])\n"
        "    moved.append([(now - old).abs(), learning_rate * grad.abs()])\n",
    }
    adam, plain = run(SCRIPT, changes=note), swapped("SGD", "lr=1e-4")
    assert adam.losses[50] > plain.losses[50]
    assert adam.losses[499] < plain.losses[499]
    first, of_plain = adam.names["moved"][0]
    assert (abs(first / 1e-4 - 1) < 0.01).double().mean() > 0.99
    assert of_plain.mean() / first.mean() == pytest.approx(1.6, abs=0.05)
    late, of_plain = adam.names["moved"][200]
    assert 2 < late.mean() / of_plain.mean() < 3
