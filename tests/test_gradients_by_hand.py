"""The gradients that the numpy script computes by hand are the loss's own."""

import numpy as np
import pytest

from harness import run
from reference import loss_and_gradients


def loss(x, y, w1, w2) -> float:
    """Return the loss, from its formula."""
    return float(np.sum((np.where(x @ w1 > 0, x @ w1, 0) @ w2 - y) ** 2))


def longest_step(x, w1, which, entry) -> float:
    """Return a step in one entry of a weight that no ReLU feels as a kink.

    Between the kinks the loss is a parabola in any one entry, and a central
    difference exact but for rounding. Only w1 has kinks: where h is 0.
    """
    if which == "w2":
        return 1e-3
    row, column = entry
    to_kink = np.abs((x @ w1)[:, column] / x[:, row])
    return min(1e-3, to_kink.min() / 2)


# As drawn, the weights have settled by the last step. A tenth of them are
# still far from settled then, with gradients thousands of times larger.
@pytest.mark.parametrize("scale", [1, 0.1])
@pytest.mark.parametrize("which", ["w1", "w2"])
def test_gradients_are_those_of_the_loss(numbers, which, scale) -> None:
    fed = {
        shape: value * scale if 100 in shape else value
        for shape, value in numbers.items()
    }
    names = run("tensor/two_layer_net_numpy.py", numbers=fed).names
    x, y = names["x"], names["y"]
    # The script's last gradients belong to the weights before its last step.
    weights = {
        w: names[w] + names["learning_rate"] * names[f"grad_{w}"]
        for w in ("w1", "w2")
    }
    gradient = names[f"grad_{which}"]
    assert gradient.shape == weights[which].shape

    rng = np.random.default_rng(7)
    checked = 0
    while checked < 20:
        entry = tuple(rng.integers(gradient.shape))
        step = longest_step(x, weights["w1"], which, entry)
        if step < 1e-5:
            continue  # Too short to tell the difference from rounding.
        ends = []
        for sign in (1, -1):
            moved = {w: value.copy() for w, value in weights.items()}
            moved[which][entry] += sign * step
            ends.append(loss(x, y, moved["w1"], moved["w2"]))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert gradient[entry] == pytest.approx(slope, rel=1e-6)
        checked += 1


def test_reference_gradients_are_those_of_its_loss() -> None:
    # The other tests lean on the reference: shared layers, biases and all.
    rng = np.random.default_rng(3)
    shapes = [(5, 4), (4, 4), (4, 3)]
    layers = [
        (rng.standard_normal(s), rng.standard_normal(s[1])) for s in shapes
    ]
    x, y = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    path = [0, 1, 1, 2]
    _, gradients = loss_and_gradients(x, y, layers, path)
    for layer, gradient in zip(layers, gradients, strict=True):
        for part, expected in zip(layer, gradient, strict=True):
            for entry in np.ndindex(part.shape):
                ends = []
                for sign in (1, -1):
                    part[entry] += sign * 1e-6
                    ends.append(loss_and_gradients(x, y, layers, path)[0])
                    part[entry] -= sign * 1e-6
                slope = (ends[0] - ends[1]) / 2e-6
                assert slope == pytest.approx(expected[entry], rel=1e-5)
