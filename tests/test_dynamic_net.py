"""Control flow and weight sharing in the dynamic net."""

import copy

import numpy as np
import pytest
import torch

from harness import EVERY_STEP, STEPS, Run, graph_functions, run

SCRIPT = "nn/dynamic_net.py"


@pytest.fixture(scope="module")
def trained(device) -> Run:
    """What the script leaves, trained in float64."""
    return run(SCRIPT, dtype="float64", device=device)


@pytest.fixture
def names(trained) -> dict:
    names = dict(trained.names)
    names["model"] = copy.deepcopy(names["model"])
    return names


@pytest.fixture
def loss_at(names):
    """A function that returns the model's loss at a depth."""

    def loss_at(depth: int) -> torch.Tensor:
        y_pred = names["model"](names["x"], depth)
        return names["loss_fn"](y_pred, names["y"])

    return loss_at


def test_all_four_depths_occur(trained) -> None:
    assert set(trained.draws) == {1, 2, 3, 4}
    assert all(trained.draws.count(depth) > 90 for depth in (1, 2, 3, 4))
    assert list(trained.depths) == STEPS
    for step, depth in trained.depths.items():
        assert depth == trained.draws[step]
    model, used = copy.deepcopy(trained.names["model"]), []
    model.middle_linear.register_forward_hook(lambda *_: used.append(1))
    for depth, uses in ((1, 0), (2, 1), (3, 3), (4, 6)):
        model(trained.names["x"], depth)
        assert len(used) == uses


def test_one_step_may_undo_another(names, loss_at) -> None:
    model, undone = names["model"], []
    before = {depth: loss_at(depth).item() for depth in (1, 2, 3, 4)}
    state = copy.deepcopy(model.state_dict())
    for depth in before:
        model.load_state_dict(state)
        model.zero_grad()
        loss_at(depth).backward()
        torch.optim.SGD(model.parameters(), lr=1e-4).step()
        assert loss_at(depth).item() < before[depth]
        undone += [d for d in before if loss_at(d).item() > before[d]]
    assert undone


def test_number_of_parameters_is_the_same_at_every_depth(trained) -> None:
    assert trained.lines[0] == "parameters 111210"
    layers = dict(trained.names["model"].named_children())
    sizes = [sum(p.numel() for p in m.parameters()) for m in layers.values()]
    assert list(layers) == ["linear1", "middle_linear", "linear2"]
    assert sizes == [1000 * 100 + 100, 100 * 100 + 100, 100 * 10 + 10]
    assert sum(sizes) == 111210


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_shared_gradient_is_the_sum_over_separate_copies(
    names, loss_at, depth
) -> None:
    model = names["model"]
    model.zero_grad()
    loss = loss_at(depth)
    loss.backward()
    copies = [copy.deepcopy(model.middle_linear) for _ in range(depth - 1)]
    h = torch.relu(model.linear1(names["x"]))
    for layer in copies:
        layer.zero_grad()
        h = torch.relu(layer(h))
    unshared = names["loss_fn"](model.linear2(h), names["y"])
    unshared.backward()
    assert torch.allclose(loss, unshared, rtol=1e-12)
    for name in ("weight", "bias"):
        shared = getattr(model.middle_linear, name).grad
        parts = [getattr(layer, name).grad for layer in copies]
        assert len(parts) == depth - 1
        torch.testing.assert_close(shared, sum(parts), rtol=1e-9, atol=1e-12)


def test_step_of_depth_1_leaves_the_middle_layer_as_it_is(
    names, loss_at
) -> None:
    model, middle = names["model"], names["model"].middle_linear
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    for depth in (3, 1):  # First 3, so that momentum could carry it on.
        before = copy.deepcopy(model.state_dict())
        velocity = copy.deepcopy(optimizer.state[middle.weight])
        loss = loss_at(depth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert velocity["momentum_buffer"].abs().max() > 0
    assert middle.weight.grad is None and middle.bias.grad is None
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("middle")
    now = optimizer.state[middle.weight]["momentum_buffer"]
    assert torch.equal(velocity["momentum_buffer"], now)


def test_graph_differs_from_depth_to_depth(loss_at) -> None:
    sizes = [len(graph_functions(loss_at(depth))) for depth in (1, 2, 3, 4)]
    assert sizes == sorted(set(sizes))
    # And the same depth gives the same graph again.
    assert len(graph_functions(loss_at(1))) == sizes[0]


def late_loss(optimizer: str) -> float:
    """Return the geometric mean of the losses from step 300, over 4 seeds."""
    line = "SGD(model.parameters(), lr=learning_rate, momentum=0.9)"
    changes = EVERY_STEP | {line: optimizer}
    runs = [run(SCRIPT, seed=seed, changes=changes) for seed in range(4)]
    losses = [list(result.losses.values())[300:] for result in runs]
    return float(np.exp(np.mean(np.log(losses))))


def test_what_momentum_is_worth() -> None:
    assert 1 / (1 - 0.9) == pytest.approx(10)
    momentum = late_loss("SGD(model.parameters(), lr=1e-4, momentum=0.9)")
    plain = {
        rate: late_loss(f"SGD(model.parameters(), lr={rate})") / momentum
        for rate in (1e-4, 3e-4, 5e-4, 1e-3, 2e-3)
    }
    assert 20 < plain[1e-4] < 40 and 4 < min(plain.values()) < 6
    adam = {
        rate: late_loss(f"Adam(model.parameters(), lr={rate})") / momentum
        for rate in (1e-4, 1e-3)
    }
    assert adam[1e-3] < 2 and adam[1e-4] > plain[1e-4]


def test_depth_makes_the_noise() -> None:
    worst = {}
    for depth in ("random.randint(1, 4)", "1", "2", "3", "4"):
        changes = EVERY_STEP | {"random.randint(1, 4)": depth}
        losses = list(run(SCRIPT, changes=changes).losses.values())[100:300]
        pairs = zip(losses, losses[1:], strict=False)
        worst[depth] = max(after / before for before, after in pairs)
    assert worst.pop("random.randint(1, 4)") > 3 * max(worst.values())


def test_without_momentum_every_later_loss_is_higher() -> None:
    shipped, without = run(SCRIPT), run("faults/no_momentum.diff")
    assert shipped.depths == without.depths
    for step, loss in shipped.losses.items():
        assert (without.losses[step] > loss) == (step > 0)
