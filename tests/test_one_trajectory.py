"""The scripts compute what the formulas say, step by step.

Those without layers follow one trajectory, each with layers follows that of
its own optimizer. The references are in reference.py.
"""

import numpy as np
import pytest
import torch

from harness import SCRIPTS, STEPS, Run, run
from reference import Adam, GradientDescent, train
from test_outputs import NINE

FIVE = [s for s in SCRIPTS if s.startswith(("tensor/", "autograd/"))]
WITH_LAYERS = {
    "nn/two_layer_net_nn.py": (GradientDescent, 1e-4),
    "nn/two_layer_net_optim.py": (Adam, 1e-4),
    "nn/two_layer_net_module.py": (Adam, 1e-4),
    "nn/dynamic_net.py": (GradientDescent, 1e-4, 0.9),
    "further/distributed_net.py": (GradientDescent, 1e-4),
    "further/keras_two_layer_net.py": (GradientDescent, 1e-4),
    "further/tf_dynamic_net.py": (GradientDescent, 1e-4, 0.9),
}
GROWN = ["further/own_autograd.py", "further/compiled_net.py"]
# What lists the parameters of those that have no PyTorch model.
PARAMETERS = {
    "further/keras_two_layer_net.py": "model.get_weights()",
    "further/tf_dynamic_net.py": "[param.numpy() for param in params]",
}


def to_array(value) -> np.ndarray:
    """Return an array, a Tensor, a variable or our own Node as an array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return np.asarray(value.value if "Node" in str(type(value)) else value)


@pytest.fixture(scope="module")
def trajectory(numbers):
    """The reference's losses, and its final w1 and w2."""
    x, y, w1, w2 = numbers.values()
    update = GradientDescent(1e-6)
    return train(x, y, [(w1, None), (w2, None)], [[0, 1]] * 500, update)


def check(result: Run, reference, parameters) -> None:
    """Check the losses and the final parameters of a run in float64."""
    losses, layers = reference
    followed = {step: losses[step] for step in STEPS}
    assert result.losses == pytest.approx(followed, rel=1e-6)
    expected = [part for layer in layers for part in layer if part is not None]
    for parameter, final in zip(parameters, expected, strict=True):
        assert parameter.dtype == np.float64
        np.testing.assert_allclose(parameter, final, rtol=0, atol=1e-9)


@pytest.mark.parametrize("script", FIVE + GROWN)
def test_all_follow_one_trajectory(script, device, numbers, trajectory):
    result = run(script, numbers=numbers, dtype="float64", device=device)
    weights = [to_array(result.names[name]) for name in ("w1", "w2")]
    check(result, trajectory, weights)


@pytest.mark.parametrize("script", WITH_LAYERS)
def test_those_with_layers_follow_their_optimizers(script, device) -> None:
    optimizer, *settings = WITH_LAYERS[script]
    listed, changes = PARAMETERS.get(script), {}
    if listed:
        changes["\nfor t in"] = f"\ninitial = {listed}\nfor t in"
    result = run(script, dtype="float64", device=device, changes=changes)
    names = result.names
    if listed:
        parts, final = names["initial"], eval(listed, names)
        layers = list(zip(parts[::2], parts[1::2], strict=True))
    else:
        final = [to_array(part).T for part in names["model"].parameters()]
        layers = [(weight.T, bias) for weight, bias in result.initial]
    paths = [
        [0, *[1] * (depth - 1), len(layers) - 1]
        for depth in (result.draws if result.depths else [1] * 500)
    ]
    x, y = to_array(names["x"]), to_array(names["y"])
    # In TensorFlow's graph, a layer that is not used has a gradient of 0.
    idle = 0.0 if listed else None
    reference = train(x, y, layers, paths, optimizer(*settings), idle)
    check(result, reference, final)
    assert layers[0][0].shape == (1000, 100)


@pytest.mark.parametrize("script", FIVE)
def test_float32_leaves_it_after_step_300(script, numbers, trajectory):
    result, (expected, _) = run(script, numbers=numbers), trajectory
    dtype = "float64" if "numpy" in script else "float32"
    assert to_array(result.names["w1"]).dtype == dtype
    for step, loss in result.losses.items():
        leaves = dtype == "float32" and step > 300
        assert (loss != pytest.approx(expected[step], rel=0.5)) == leaves


@pytest.mark.parametrize("script", NINE)
def test_trained_nets_have_only_memorised(script) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((64, 1000)), rng.standard_normal((64, 10))
    result = run(script, dtype="float64")
    for name, fresh in (("x", x), ("y", y)):
        drawn = to_array(result.names[name])
        assert drawn.shape == fresh.shape
        assert len(np.unique(drawn)) > 0.9 * drawn.size
    if script in FIVE:
        w1, w2 = to_array(result.names["w1"]), to_array(result.names["w2"])
        predictions = [np.maximum(x @ w1, 0) @ w2]
    else:
        model, inputs = result.names["model"], torch.from_numpy(x)
        depths = [[1], [2], [3], [4]] if result.draws else [[]]
        predictions = [to_array(model(inputs, *depth)) for depth in depths]
    for y_pred in predictions:
        assert ((y_pred - y) ** 2).mean() > 1.03 * (y**2).mean()


def test_nn_weights_are_smaller_and_lose_fewer_updates() -> None:
    tensor = "tensor/two_layer_net_tensor.py"
    by_hand = run(tensor)
    step = "    optimizer.step()\n"
    note = {step: f"    old = next(model.parameters()).clone()\n{step}"}
    for name in ("optim", "module"):
        result = run(f"nn/two_layer_net_{name}.py", changes=note)
        weight = next(result.names["model"].parameters())
        w1, old = by_hand.names["w1"], result.names["old"]
        assert weight.dtype == w1.dtype == torch.float32
        assert 45 < w1.abs().mean() / weight.abs().mean() < 55
        assert (weight == old).double().mean() < 0.25
        assert result.losses[499] < by_hand.losses[499] / 10
    longer = {"range(500)": "range(951)"}
    nn = run("nn/two_layer_net_nn.py", changes=longer).losses[950]
    assert nn < run(tensor, changes=longer).losses[950] / 100
