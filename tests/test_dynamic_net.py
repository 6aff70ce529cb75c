"""Control flow and weight sharing in the dynamic net."""

import copy

import numpy as np
import pytest
import torch

from harness import EVERY_STEP, STEPS, Run, graph_functions, run

SCRIPT = "nn/dynamic_net.py"
DEPTHS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def trained(device) -> Run:
    """What the script leaves, trained in float64."""
    return run(SCRIPT, dtype="float64", device=device)


@pytest.fixture
def names(trained) -> dict:
    """A copy of what makes the loss, and of what trains the model."""
    kept = ("x", "y", "model", "loss_fn", "optimizer")
    return copy.deepcopy({name: trained.names[name] for name in kept})


@pytest.fixture
def loss_at(names):
    """A function that returns the model's loss at a depth."""
    x, y, model, loss_fn, _ = names.values()
    return lambda depth: loss_fn(model(x, depth), y)


def test_all_four_depths_occur(trained) -> None:
    depths, counts = np.unique(trained.draws, return_counts=True)
    assert depths.tolist() == DEPTHS and counts.min() > 90
    assert trained.depths == {step: trained.draws[step] for step in STEPS}


def test_graph_differs_from_depth_to_depth(names, loss_at) -> None:
    uses = []
    middle = names["model"].middle_linear
    middle.register_forward_hook(lambda *_: uses.append(1))
    for depth in (*DEPTHS, 1):
        uses.clear()
        assert graph_functions(loss_at(depth)).count("Relu") == depth
        assert len(uses) == depth - 1


def test_number_of_parameters_is_the_same_at_every_depth(trained) -> None:
    assert trained.lines[0] == "parameters 111210"
    layers = trained.names["model"].named_children()
    assert {n: sum(p.numel() for p in m.parameters()) for n, m in layers} == {
        "linear1": 1000 * 100 + 100,
        "middle_linear": 100 * 100 + 100,
        "linear2": 100 * 10 + 10,
    }


@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_shared_gradient_is_the_sum_over_copies(names, loss_at, depth):
    first, middle, last = names["model"].children()
    copies = [copy.deepcopy(middle) for _ in range(depth - 1)]
    h = torch.relu(first(names["x"]))
    for layer in copies:
        h = torch.relu(layer(h))
    unshared = names["loss_fn"](last(h), names["y"])
    assert torch.allclose(loss_at(depth), unshared, rtol=1e-12)
    unshared.backward()
    loss_at(depth).backward()
    for shared, *parts in zip(
        middle.parameters(), *(c.parameters() for c in copies), strict=True
    ):
        total = sum(part.grad for part in parts)
        torch.testing.assert_close(shared.grad, total, rtol=1e-9, atol=1e-12)


def test_step_of_depth_1_leaves_the_middle_layer_as_it_is(names, loss_at):
    model, optimizer = names["model"], names["optimizer"]
    middle = model.middle_linear
    # Neither an old gradient nor momentum carries it on.
    loss_at(3).backward()
    velocity = optimizer.state[middle.weight]["momentum_buffer"]
    before = copy.deepcopy(model.state_dict())
    optimizer.zero_grad()
    loss_at(1).backward()
    optimizer.step()
    assert velocity.any()
    assert middle.weight.grad is None and middle.bias.grad is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("middle")


def test_one_step_may_undo_another(names, loss_at) -> None:
    sgd, losses = torch.optim.SGD(names["model"].parameters(), lr=1e-4), []
    for depth in (*DEPTHS, 1):
        losses.append([loss_at(each).item() for each in DEPTHS])
        sgd.zero_grad()
        loss_at(depth).backward()
        sgd.step()
    changes = np.diff(losses, axis=0)
    assert (changes.diagonal() < 0).all() and (changes > 0).any()


def late_loss(optimizer: str, settings: str) -> float:
    """Return the geometric mean of the losses from step 300, over 4 seeds."""
    line = "SGD(model.parameters(), lr=learning_rate, momentum=0.9)"
    swap = {line: f"{optimizer}(model.parameters(), {settings})"}
    runs = [run(SCRIPT, seed=s, changes=EVERY_STEP | swap) for s in range(4)]
    losses = [list(result.losses.values())[300:] for result in runs]
    return float(np.exp(np.mean(np.log(losses))))


def test_what_momentum_is_worth() -> None:
    assert 1 / (1 - 0.9) == pytest.approx(10)
    momentum = late_loss("SGD", "lr=1e-4, momentum=0.9")
    rates = (1e-4, 3e-4, 5e-4, 1e-3, 2e-3)
    plain = [late_loss("SGD", f"lr={rate}") / momentum for rate in rates]
    assert 20 < plain[0] < 40 and 4 < min(plain) < 6
    assert late_loss("Adam", "lr=1e-3") < 2 * momentum
    assert late_loss("Adam", "lr=1e-4") > plain[0] * momentum


def test_depth_makes_the_noise() -> None:
    drawn, worst = "random.randint(1, 4)", {}
    for depth in (drawn, *map(str, DEPTHS)):
        losses = run(SCRIPT, changes=EVERY_STEP | {drawn: depth}).losses
        rises = np.exp(np.diff(np.log(list(losses.values())[100:300])))
        worst[depth] = rises.max()
    assert worst.pop(drawn) > 3 * max(worst.values())


def test_without_momentum_every_later_loss_is_higher() -> None:
    shipped, without = run(SCRIPT), run("faults/no_momentum.diff")
    assert shipped.depths == without.depths
    for step, loss in shipped.losses.items():
        assert (without.losses[step] > loss) == (step > 0)
