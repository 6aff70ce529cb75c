"""Control flow and weight sharing in the dynamic net."""

import numpy as np
import pytest
import torch

from harness import EVERY_STEP, STEPS, graph_functions, run

SCRIPT = "nn/dynamic_net.py"
DEPTHS = [1, 2, 3, 4]


@pytest.fixture
def result():
    return run(SCRIPT)


@pytest.fixture
def loss_at(result):
    """A function that returns the trained model's loss at a depth."""
    names = (result.names[n] for n in ("x", "y", "model", "loss_fn"))
    x, y, model, loss_fn = names
    return lambda depth: loss_fn(model(x, depth), y)


def test_all_four_depths_occur(result) -> None:
    depths, counts = np.unique(result.draws, return_counts=True)
    assert depths.tolist() == DEPTHS and counts.min() > 90
    assert result.depths == {step: result.draws[step] for step in STEPS}


def test_graph_differs_and_shares_its_weights(result, loss_at) -> None:
    sizes = [param.numel() for param in result.names["model"].parameters()]
    assert sizes == [100_000, 100, 10_000, 100, 1000, 10]
    assert result.lines[0] == f"parameters {sum(sizes)}" == "parameters 111210"
    for depth in (*DEPTHS, 1):
        functions = graph_functions(loss_at(depth))
        assert functions.count("Relu") == functions.count("Addmm") - 1 == depth
        # However often the middle layer is used, it has one weight and bias.
        leaves = functions.count("AccumulateGrad")
        assert leaves == (4 if depth == 1 else 6)


def test_layer_that_a_step_does_not_use_has_no_gradient(result) -> None:
    assert result.draws[-2:] == [2, 1]
    for name, param in result.names["model"].named_parameters():
        assert (param.grad is None) == name.startswith("middle")


def test_one_step_may_undo_another(result, loss_at) -> None:
    model, losses = result.names["model"], []
    sgd = torch.optim.SGD(model.parameters(), lr=1e-4)
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


def test_without_momentum_every_later_loss_is_higher(result) -> None:
    without = run("faults/no_momentum.diff")
    assert result.depths == without.depths
    for step, loss in result.losses.items():
        assert (without.losses[step] > loss) == (step > 0)
