"""The numpy script: its gradients are the loss's own, its rate is right."""

from collections import defaultdict
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from harness import EVERY_STEP, run
from reference import loss_and_gradients

SCRIPT = "tensor/two_layer_net_numpy.py"


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    """What the first step leaves, its weights still as they were drawn."""
    changes = {"range(500)": "range(1)", "rate = 1e-6": "rate = 0"}
    return SimpleNamespace(**run(SCRIPT, changes=changes).names)


def loss(script: SimpleNamespace, **moves: np.ndarray) -> complex:
    """Return the loss, from its formula, after moves of what it is made of."""
    by = defaultdict(float, moves)
    h = script.x @ (script.w1 + by["w1"]) + by["h"]
    h_relu = np.where(h.real > 0, h, 0) + by["h_relu"]
    y_pred = h_relu @ (script.w2 + by["w2"]) + by["y_pred"]
    return ((y_pred - script.y) ** 2).sum()


SHAPES = {"y_pred": (64, 10), "w2": (100, 10), "h_relu": (64, 100)}
SHAPES |= {"h": (64, 100), "w1": (1000, 100)}


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_those_of_the_loss(script, name) -> None:
    gradient = vars(script)[f"grad_{name}"]
    assert gradient.shape == vars(script)[name].shape == SHAPES[name]
    direction = np.random.default_rng(7).standard_normal(gradient.shape)
    # The complex step, exact but for rounding: Squire and Trapp 1998,
    # https://doi.org/10.1137/S003614459631241X
    moved = loss(script, **{name: 1e-20j * direction})
    assert moved.real == pytest.approx(script.loss, rel=1e-12)
    slope = pytest.approx(moved.imag / 1e-20, rel=1e-11)
    assert (gradient * direction).sum() == slope


def test_each_line_of_the_backward_pass(script) -> None:
    assert np.array_equal(script.grad_y_pred, 2 * (script.y_pred - script.y))
    passed = np.where(script.h > 0, script.grad_h_relu, 0)
    assert np.array_equal(script.grad_h, passed)
    for gradient, left, right in (
        (script.grad_w2, script.h_relu, script.grad_y_pred),
        (script.grad_h_relu, script.grad_y_pred, script.w2),
        (script.grad_w1, script.x, script.grad_h),
    ):
        # The other way round, the same product would come out transposed.
        pairs = product((left, left.T), (right, right.T))
        (fit,) = (a @ b for a, b in pairs if a.shape[1] == b.shape[0])
        np.testing.assert_allclose(gradient, fit, rtol=1e-9)


def test_too_large_a_rate_ends_in_nan() -> None:
    changes = EVERY_STEP | {"1e-6": "1e-8"}
    short = list(run(SCRIPT, changes=changes).losses.values())
    assert short == sorted(short, reverse=True)
    note = {"    w1 -= ": "    print(abs(grad_w1).max())\n    w1 -= "}
    large = run("faults/rate_too_large.diff", changes=EVERY_STEP | note)
    losses = list(large.losses.values())
    sizes = [float(line) for line in large.lines if "step" not in line]
    for grown in (losses[:8], sizes[:7]):
        assert grown == sorted(set(grown))
    assert losses[7] == np.inf and np.isnan(losses[9:]).sum() == 491
    twice = run(SCRIPT, changes={"1e-6": "2e-6"})
    stuck = twice.losses[450], twice.losses[499]
    assert stuck == pytest.approx((550, 550), rel=0.01)
    assert (twice.names["h_relu"] == 0).all(axis=0).mean() > 0.5


def test_reference_gradients_are_those_of_its_loss() -> None:
    # The other tests lean on the reference: shared layers, biases and all.
    draw = np.random.default_rng(3).standard_normal
    layers = [(draw(s), draw(s[1])) for s in ((5, 4), (4, 4), (4, 3))]
    net = draw((6, 5)), draw((6, 3)), layers, [0, 1, 1, 2]
    parts, (_, gradients) = sum(layers, ()), loss_and_gradients(*net)
    for part, gradient in zip(parts, sum(gradients, ()), strict=True):
        move, ends = 1e-6 * draw(part.shape), []
        for by in (move, -2 * move, move):
            part += by
            ends.append(loss_and_gradients(*net)[0])
        slope = pytest.approx((ends[0] - ends[1]) / 2, rel=1e-7)
        assert (gradient * move).sum() == slope
