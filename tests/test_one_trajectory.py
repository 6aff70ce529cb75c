"""The scripts compute what the formulas say, step by step.

The five without nn follow one trajectory; each of the four with nn follows
that of its own optimizer. The references are in reference.py.
"""

import numpy as np
import pytest
import torch

from harness import PYTORCH_SCRIPTS, SCRIPTS, Run, run
from reference import Adam, GradientDescent, train

FIVE = {
    "numpy": "tensor/two_layer_net_numpy.py",
    "tensor": "tensor/two_layer_net_tensor.py",
    "autograd": "autograd/two_layer_net_autograd.py",
    "custom_function": "autograd/two_layer_net_custom_function.py",
    "tensorflow": "autograd/tf_two_layer_net.py",
}


def to_array(value) -> np.ndarray:
    """Return an array, a Tensor or a TensorFlow variable as an array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return value if isinstance(value, np.ndarray) else value.numpy()


@pytest.fixture(scope="module")
def trajectory(numbers):
    """The reference's losses, and its final w1 and w2."""
    x, y, w1, w2 = numbers.values()
    update = GradientDescent(1e-6)
    return train(x, y, [(w1, None), (w2, None)], [[0, 1]] * 500, update)


@pytest.mark.parametrize("name", FIVE)
def test_five_scripts_follow_one_trajectory(name, device, numbers, trajectory):
    if device == "cuda" and FIVE[name] not in PYTORCH_SCRIPTS:
        pytest.skip("CUDA is tested with PyTorch alone")
    result = run(FIVE[name], numbers=numbers, dtype="float64", device=device)
    losses, layers = trajectory
    for step, loss in result.losses.items():
        assert loss == pytest.approx(losses[step], rel=1e-6)
    for weight, (expected, _) in zip(("w1", "w2"), layers, strict=True):
        final = to_array(result.names[weight])
        assert final.dtype == np.float64
        np.testing.assert_allclose(final, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", FIVE)
def test_float32_leaves_the_trajectory_after_step_300(
    name, numbers, trajectory
):
    result, (expected, _) = run(FIVE[name], numbers=numbers), trajectory
    dtype = "float64" if name == "numpy" else "float32"
    assert to_array(result.names["w1"]).dtype == dtype
    for step, loss in result.losses.items():
        if step <= 50:
            assert loss == pytest.approx(expected[step], rel=1e-4)
        leaves = name != "numpy" and step > 300
        assert (loss > 2 * expected[step]) == leaves, step


def check_with_nn(script: str, update, device: str) -> Run:
    result = run(script, dtype="float64", device=device)
    x, y = to_array(result.names["x"]), to_array(result.names["y"])
    layers = [(weight.T, bias) for weight, bias in result.initial]
    paths = [
        [0, *[1] * (depth - 1), len(layers) - 1]
        for depth in result.draws or [1] * 500
    ]
    losses, layers = train(x, y, layers, paths, update)
    for step, loss in result.losses.items():
        assert loss == pytest.approx(losses[step], rel=1e-6)
    parameters = list(result.names["model"].parameters())
    for parameter, expected in zip(
        parameters, [part for layer in layers for part in layer], strict=True
    ):
        np.testing.assert_allclose(
            to_array(parameter).T, expected, rtol=0, atol=1e-8
        )
    assert x.shape == (64, 1000) and y.shape == (64, 10)
    assert result.initial[0][0].shape == (100, 1000)
    for part in (*result.initial[0], x, y):
        assert len(np.unique(part)) > 0.9 * part.size
    return result


def test_nn_follows_gradient_descent(device) -> None:
    check_with_nn("nn/two_layer_net_nn.py", GradientDescent(1e-4), device)


@pytest.mark.parametrize("script", ["optim", "module"])
def test_optim_and_module_follow_adam(script, device) -> None:
    check_with_nn(f"nn/two_layer_net_{script}.py", Adam(1e-4), device)


def test_dynamic_net_follows_momentum_at_the_depths_it_drew(device):
    update = GradientDescent(1e-4, momentum=0.9)
    result = check_with_nn("nn/dynamic_net.py", update, device)
    assert len(result.draws) == 500


def test_optim_and_module_agree_to_the_last_bit() -> None:
    optim = run("nn/two_layer_net_optim.py")
    module = run("nn/two_layer_net_module.py")
    assert optim.lines == module.lines
    for one, other in zip(
        optim.names["model"].parameters(),
        module.names["model"].parameters(),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_trained_nets_have_only_memorised() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((64, 1000)), rng.standard_normal((64, 10))
    predictions = []
    for script in SCRIPTS:
        names = run(script, dtype="float64").names
        if "model" in names:
            for depth in (
                [(1,), (2,), (3,), (4,)] if "depth" in names else [()]
            ):
                y_pred = names["model"](torch.from_numpy(x), *depth)
                predictions.append(to_array(y_pred))
        else:
            w1, w2 = to_array(names["w1"]), to_array(names["w2"])
            predictions.append(np.maximum(x @ w1, 0) @ w2)
    assert len(predictions) == 12
    for y_pred in predictions:
        assert ((y_pred - y) ** 2).mean() > 1.03 * (y**2).mean()


def test_nn_weights_are_smaller_and_lose_fewer_updates() -> None:
    by_hand = run(FIVE["tensor"])
    step, count = "    optimizer.step()\n", "(weight == old).double().mean()"
    note = {
        step: "    weight = next(model.parameters())\n"
        f"    old = weight.detach().clone()\n{step}    same = {count}\n"
    }
    for name in ("optim", "module"):
        result = run(f"nn/two_layer_net_{name}.py", changes=note)
        weight, w1 = result.names["weight"], by_hand.names["w1"]
        assert weight.dtype == w1.dtype == torch.float32
        assert 45 < w1.abs().mean() / weight.abs().mean() < 55
        assert result.names["same"] < 0.25
        assert result.losses[499] < by_hand.losses[499] / 10
    longer = {"range(500)": "range(951)"}
    nn = run("nn/two_layer_net_nn.py", changes=longer).losses[950]
    assert nn < run(FIVE["tensor"], changes=longer).losses[950] / 100
