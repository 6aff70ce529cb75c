"""The numpy script: its gradients are the loss's own, its rate is right."""

import numpy as np
import pytest

from harness import EVERY_STEP, run
from reference import loss_and_gradients

SCRIPT = "tensor/two_layer_net_numpy.py"


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
    names = run(SCRIPT, numbers=fed).names
    x, y = names["x"], names["y"]
    # The script's last gradients belong to the weights before its last step.
    weights = {
        w: names[w] + names["learning_rate"] * names[f"grad_{w}"]
        for w in ("w1", "w2")
    }
    gradient = names[f"grad_{which}"]
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


def test_each_line_of_the_backward_pass(numbers) -> None:
    names = run(SCRIPT, numbers=numbers).names
    x, y, h_relu = names["x"], names["y"], names["h_relu"]
    before = names["w2"] + names["learning_rate"] * names["grad_w2"]
    flow = 2 * (names["y_pred"] - y)
    into_relu = np.einsum("no,ho->nh", flow, before)
    passed = np.where(names["h"] > 0, into_relu, 0)
    expected = {
        "grad_y_pred": (flow, (64, 10)),
        "grad_w2": (np.einsum("nh,no->ho", h_relu, flow), (100, 10)),
        "grad_h_relu": (into_relu, (64, 100)),
        "grad_h": (passed, (64, 100)),
        "grad_w1": (np.einsum("ni,nh->ih", x, passed), (1000, 100)),
    }
    for name, (value, shape) in expected.items():
        assert names[name].shape == value.shape == shape
        assert np.array_equal(passed == 0, names["grad_h"] == 0)
        scale = abs(value).max()
        np.testing.assert_allclose(names[name], value, atol=1e-9 * scale)


def test_only_one_order_of_the_factors_fits() -> None:
    names = run(SCRIPT).names
    for left, right, result in (
        ("h_relu", "grad_y_pred", "w2"),
        ("grad_y_pred", "w2", "h_relu"),
        ("x", "grad_h", "w1"),
    ):
        fits = [
            (rows, columns)
            for rows, inner in (names[left].shape, names[left].T.shape)
            for other, columns in (names[right].shape, names[right].T.shape)
            if inner == other
        ]
        # The other way round, the same product would come out transposed.
        assert fits in ([names[result].shape], [names[result].T.shape])


def test_too_large_a_rate_ends_in_nan() -> None:
    changes = EVERY_STEP | {"1e-6": "1e-8"}
    short = list(run(SCRIPT, changes=changes).losses.values())
    assert short == sorted(short, reverse=True)
    note = {"learning_rate = 5e-6": "learning_rate, sizes = 5e-6, []"}
    line = "    grad_h = "
    note[line] = f"    sizes.append(abs(grad_y_pred).max())\n{line}"
    large = run("faults/rate_too_large.diff", changes=EVERY_STEP | note)
    five, sizes = large.losses, large.names["sizes"][:7]
    assert sizes == sorted(set(sizes))
    grown = [five[t] for t in range(8)]
    assert grown == sorted(set(grown)) and grown[6] < grown[7] == np.inf
    assert all(np.isnan(five[t]) for t in range(9, 500))
    twice = run(SCRIPT, changes={"1e-6": "2e-6"})
    for step in (450, 499):
        assert twice.losses[step] == pytest.approx(550, rel=0.01)
    assert (twice.names["h_relu"] == 0).all(axis=0).mean() > 0.5


def test_reference_gradients_are_those_of_its_loss() -> None:
    # The other tests lean on the reference: shared layers, biases and all.
    rng = np.random.default_rng(3)
    draw = rng.standard_normal
    layers = [(draw(s), draw(s[1])) for s in ((5, 4), (4, 4), (4, 3))]
    x, y, path = draw((6, 5)), draw((6, 3)), [0, 1, 1, 2]
    _, gradients = loss_and_gradients(x, y, layers, path)
    for layer, gradient in zip(layers, gradients, strict=True):
        for part, expected in zip(layer, gradient, strict=True):
            for entry in np.ndindex(part.shape):
                ends = []
                for move in (1e-6, -2e-6, 1e-6):
                    part[entry] += move
                    ends.append(loss_and_gradients(x, y, layers, path)[0])
                slope = (ends[0] - ends[1]) / 2e-6
                assert slope == pytest.approx(expected[entry], rel=1e-5)
