"""The scripts compute what the formulas say, step by step, in float64.

Each is held to reference.py, which knows no code of the scripts. Those that
have two matrices and nothing else are handed the same numbers, and so follow
one trajectory.
"""

import numpy as np
import pytest

from harness import Run, run, to_array
from pages import says
from reference import Adam, GradientDescent, train
from scripts import LAST, NINE, STEP_COUNT, STEPS, needs, scripts_with

WEIGHTS = scripts_with("weights")
OPTIMIZERS = {
    "layers": lambda: GradientDescent(1e-4),
    "adam": lambda: Adam(1e-4),
    "momentum": lambda: GradientDescent(1e-4, momentum=0.9),
}
WITH_LAYERS = [
    (script, oracle)
    for oracle in OPTIMIZERS
    for script in scripts_with(oracle)
]


@pytest.fixture(scope="module")
def trajectory(numbers):
    """The reference's losses, and its final w1 and w2."""
    x, y, w1, w2 = numbers.values()
    layers, path = [(w1, None), (w2, None)], [0, 1]
    return train(x, y, layers, [path] * STEP_COUNT, GradientDescent(1e-6))


def check_losses(result: Run, losses: list[float]) -> None:
    """Check the printed losses against those of the reference."""
    expected = {step: losses[step] for step in STEPS}
    assert result.losses == pytest.approx(expected, rel=1e-6)


def parameters(result: Run) -> list[np.ndarray]:
    """Return weight and bias of each layer, weights as (inputs, outputs)."""
    names = result.names
    if "params" in names:  # further/tf_dynamic_net.py
        return [to_array(param) for param in names["params"]]
    model = names["model"]
    if hasattr(model, "get_weights"):  # Keras
        return model.get_weights()
    return [to_array(param).T for param in model.parameters()]


@pytest.mark.parametrize("script", WEIGHTS)
def test_scripts_with_two_weights_follow_one_trajectory(
    script, device, numbers, trajectory
) -> None:
    result = run(script, numbers=numbers, dtype="float64", device=device)
    losses, layers = trajectory
    check_losses(result, losses)
    for name, (expected, _) in zip(("w1", "w2"), layers, strict=True):
        final = to_array(result.names[name])
        assert final.dtype == np.float64
        np.testing.assert_allclose(final, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("script", "oracle"), WITH_LAYERS)
def test_scripts_with_layers_follow_their_optimizer(
    script, oracle, device
) -> None:
    # After no step, tf_dynamic_net.py fails where it looks at the last one.
    start = run(script, dtype="float64", device=device, steps=0, may_fail=True)
    result = run(script, dtype="float64", device=device)
    parts = parameters(start)
    layers = list(zip(parts[::2], parts[1::2], strict=True))
    last = len(layers) - 1
    # A net of depth 1 goes from the first layer to the last.
    depths = result.draws if result.depths else [1] * STEP_COUNT
    paths = [[0, *[1] * (depth - 1), last] for depth in depths]
    x, y = to_array(result.names["x"]), to_array(result.names["y"])
    # In TensorFlow's graph, a layer that is not used has a gradient of 0.
    idle = 0.0 if needs(script, "tensorflow") else None
    update = OPTIMIZERS[oracle]()
    losses, expected = train(x, y, layers, paths, update, idle)
    check_losses(result, losses)
    final = parameters(result)
    for part, of_reference in zip(final, sum(expected, []), strict=True):
        assert part.dtype == np.float64
        np.testing.assert_allclose(part, of_reference, rtol=0, atol=1e-9)


def test_the_reference_starts_where_the_scripts_do() -> None:
    shapes = [part.shape for part in parameters(run(NINE[5], steps=0))]
    assert shapes == [(1000, 100), (100,), (100, 10), (10,)]


FLOAT32 = [s for s in WEIGHTS if s in NINE if not needs(s, "numpy")]


@pytest.mark.parametrize("script", FLOAT32)
def test_float32_leaves_the_trajectory_late(script, numbers, trajectory):
    losses = run(script, numbers=numbers).losses
    expected, _ = trajectory
    (late,) = says("stay together until about step {}")
    assert losses[late] == pytest.approx(expected[int(late)], rel=0.5)
    assert losses[LAST] > 10 * expected[LAST]


def test_numpy_leaves_it_too_in_float32(numbers, trajectory) -> None:
    says("numpy, in float64, does not")
    single = {shape: array.astype("f4") for shape, array in numbers.items()}
    losses = run(NINE[0], numbers=single).losses
    expected, _ = trajectory
    assert losses[LAST] > 10 * expected[LAST]
