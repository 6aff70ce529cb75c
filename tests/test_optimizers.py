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


def swapped(optimizer: str, settings: str):
    """Run the script with another optimizer in its line."""
    line = f"torch.optim.{optimizer}(model.parameters(), {settings})"
    return run(SCRIPT, changes={LINE: line})


@pytest.mark.parametrize("swap", SWAPS)
def test_optimizer_swaps_in_one_line(swap) -> None:
    source = (ROOT / SCRIPT).read_text("utf-8")
    assert f"change this line.\noptimizer = {LINE}" in source
    assert source.count("torch.optim.") == 1
    name = swap.split()[0]
    result = swapped(name, SWAPS[swap])
    assert type(result.names["optimizer"]).__name__ == name
    assert result.fall >= 1000


def test_two_optimizers_do_not_swap() -> None:
    for name, error in (
        ("LBFGS", "missing 1 required positional argument: 'closure'"),
        ("SparseAdam", "does not support dense gradients"),
    ):
        assert error in swapped(name, "lr=1e-4").noted[-1]


def test_each_wants_a_rate_that_fits() -> None:
    assert swapped("Adam", "lr=3e-3").fall > 1e5
    assert math.isnan(swapped("SGD", "lr=3e-3").losses[499])


def test_sgd_is_plain_gradient_descent() -> None:
    sgd, plain = swapped("SGD", "lr=1e-4"), run("nn/two_layer_net_nn.py")
    for step, loss in plain.losses.items():
        assert sgd.losses[step] == pytest.approx(loss, rel=0.05)
    assert torch.optim.SGD.__doc__.lstrip().startswith(
        "Implements stochastic gradient descent"
    )


def test_step_scales_by_past_gradients_and_needs_no_loss() -> None:
    for name in ("Adagrad", "RMSprop", "Adam"):
        steps = []
        for past in (1.0, 100.0):
            parameter = torch.zeros(1, requires_grad=True)
            optimizer = getattr(torch.optim, name)([parameter], lr=0.1)
            for gradient in (past, 1.0):
                before = parameter.item()
                parameter.grad = torch.tensor([gradient])
                optimizer.step()
            steps.append(before - parameter.item())
            optimizer.zero_grad()
            assert parameter.grad is None
        assert steps[0] != pytest.approx(steps[1], rel=0.01)


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
    assert min(wrong.losses.values()) > 10 and min(norms[50:]) > 10000
    assert norms[0] == pytest.approx(600, rel=0.1)
    assert norms[50] == pytest.approx(17000, rel=0.1)


def test_adam_moves_each_parameter_by_the_rate() -> None:
    note = {
        "    optimizer.step()\n": (
            "    flat = torch.nn.utils.parameters_to_vector\n"
            "    old = flat(model.parameters()).detach()\n"
            "    optimizer.step()\n"
            "    new = flat(model.parameters()).detach()\n"
            "    moved.append((new - old).abs())\n"
        ),
        "learning_rate = 1e-4": "moved = []\nlearning_rate = 1e-4",
    }
    adam = run(SCRIPT, changes=note)
    plain = run(SCRIPT, changes=note | {LINE: LINE.replace("Adam", "SGD")})
    assert adam.losses[50] > plain.losses[50]
    assert adam.losses[499] < plain.losses[499]
    first, of_plain = adam.names["moved"][0], plain.names["moved"][0]
    assert abs(first.median() / 1e-4 - 1) < 1e-3 and first.max() < 1.1e-4
    assert (first > 0.99e-4).double().mean() > 0.99
    assert 44 < of_plain.max() / 1e-4 < 47
    ratio = adam.names["moved"][200].mean() / plain.names["moved"][200].mean()
    assert 5.5 < ratio < 6.5
