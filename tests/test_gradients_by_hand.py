"""The numpy script: its gradients are the loss's own, its rate is right."""

import re
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from harness import EVERY_STEP, ROOT, run
from test_outputs import RAW

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


@pytest.mark.parametrize("name", ["y_pred", "w2", "h_relu", "h", "w1"])
def test_each_line_of_the_backward_pass_is_a_gradient(script, name) -> None:
    row = rf"^\| `(grad_{name} = .*)` \| .* \| (.*) \|$"
    ((line, shape),) = re.findall(row, RAW, re.MULTILINE)
    assert f"    {line}\n" in (ROOT / SCRIPT).read_text("utf-8")
    gradient, result = vars(script)[f"grad_{name}"], vars(script)[name]
    assert gradient.shape == result.shape == eval(shape, vars(script))
    # So of a product's factors, transposed or not, only one order fits.
    assert len({script.N, script.D_in, script.H, script.D_out}) == 4
    direction = np.random.default_rng(7).standard_normal(gradient.shape)
    # The complex step, exact but for rounding: Squire and Trapp 1998,
    # https://doi.org/10.1137/S003614459631241X
    moved = loss(script, **{name: 1e-20j * direction})
    assert moved.real == pytest.approx(script.loss, rel=1e-12)
    slope = pytest.approx(moved.imag / 1e-20, rel=1e-11)
    assert (gradient * direction).sum() == slope


def test_too_large_a_rate_ends_in_nan() -> None:
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
