"""The numpy script: its gradients are the loss's own, its rate is right."""

import re

import numpy as np
import pytest

from harness import Run, run
from pages import read, says
from scripts import LAST

SCRIPT = "tensor/two_layer_net_numpy.py"
# The rows of the page's table: a line of the script, and a shape.
ROW = re.compile(
    r"^\| `(grad_(\w+) = .*)` \| .* \| \((\w+), (\w+)\) \|$", re.M
)
ROWS = {match[2]: match for match in ROW.finditer(read("README_raw.md"))}
RESULTS = ["y_pred", "w2", "h_relu", "h", "w1"]


@pytest.fixture(scope="module")
def script() -> dict:
    """What the first step leaves, its weights still as they were drawn."""
    return run(SCRIPT, steps=1, changes={"rate = 1e-6": "rate = 0"}).names


def loss(script: dict, moved: str, by: np.ndarray) -> complex:
    """Return the loss, from its formula, with one result moved."""
    parts = dict.fromkeys(RESULTS, 0.0) | {moved: by}
    h = script["x"] @ (script["w1"] + parts["w1"]) + parts["h"]
    h_relu = np.where(h.real > 0, h, 0) + parts["h_relu"]
    y_pred = h_relu @ (script["w2"] + parts["w2"]) + parts["y_pred"]
    return ((y_pred - script["y"]) ** 2).sum()


def test_table_has_a_row_for_each_gradient() -> None:
    assert list(ROWS) == RESULTS


@pytest.mark.parametrize("name", RESULTS)
def test_table_quotes_the_script(name) -> None:
    line = ROWS[name][1]
    assert f"    {line}\n" in read(SCRIPT), f"{SCRIPT} has no line {line}"


@pytest.mark.parametrize("name", RESULTS)
def test_gradient_has_the_shape_of_its_result(script, name) -> None:
    gradient = script[f"grad_{name}"]
    assert gradient.shape == script[name].shape
    assert gradient.shape == (script[ROWS[name][3]], script[ROWS[name][4]])


@pytest.mark.parametrize("name", RESULTS)
def test_each_line_of_the_backward_pass_is_a_gradient(script, name) -> None:
    gradient = script[f"grad_{name}"]
    direction = np.random.default_rng(7).standard_normal(gradient.shape)
    # The complex step, exact but for rounding: Squire and Trapp 1998,
    # https://doi.org/10.1137/S003614459631241X
    slope = loss(script, name, 1e-20j * direction).imag / 1e-20
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-11)


def test_one_entry_of_the_gradient_is_one_derivative(script) -> None:
    says("how fast the loss changes when you change that one number")
    step = np.zeros((1000, 100), dtype=complex)
    step[3, 5] = 1e-20j
    slope = loss(script, "w1", step).imag / 1e-20
    assert script["grad_w1"][3, 5] == pytest.approx(slope, rel=1e-9)


def test_sizes_are_those_of_the_page(script) -> None:
    says("When all sizes differ, as they do here, only one order")
    N, D_in, D_out, H = says(
        "There are `N` = {} examples, each with `D_in` = {} inputs and "
        "`D_out` = {} outputs, and `H` = {} hidden units."
    )
    sizes = [script[name] for name in ("N", "D_in", "D_out", "H")]
    assert sizes == [N, D_in, D_out, H]
    assert len(set(sizes)) == 4


def test_learning_rate_is_that_of_the_page(script) -> None:
    (rate,) = says("How do you find a learning rate such as {}?")
    assert run(SCRIPT, steps=1).names["learning_rate"] == rate


def test_batch_is_all_examples(script) -> None:
    (batch,) = says("Every step uses all {} examples at once")
    assert len(script["x"]) == batch


@pytest.fixture(scope="module")
def too_large() -> Run:
    note = {"    w1 -= ": "    print(abs(grad_w1).max())\n    w1 -= "}
    return run("faults/rate_too_large.diff", every_step=True, changes=note)


def test_too_large_a_rate_overshoots(too_large) -> None:
    losses = list(too_large.losses.values())
    assert (np.diff(losses[:7]) > 0).all()


def test_gradient_grows_with_too_large_a_rate(too_large) -> None:
    gradients = [float(x) for x in too_large.lines if "step" not in x]
    assert (np.diff(gradients[:7]) > 0).all()


def test_too_large_a_rate_ends_in_nan(too_large) -> None:
    infinite, no_number = says(
        "At step {} the loss is too large for float64 and becomes `inf`, "
        "and from step {} on it is `nan`"
    )
    losses = np.array(list(too_large.losses.values()))
    assert np.isinf(losses).argmax() == infinite
    assert np.isnan(losses).argmax() == no_number
    assert np.isnan(losses[int(no_number) :]).all()


@pytest.fixture(scope="module")
def twice() -> Run:
    return run(SCRIPT, changes={"1e-6": "2e-6"})


def test_twice_the_rate_gets_stuck(twice) -> None:
    (stuck,) = says(
        "Twice the rate is already too much, though you would "
        "not see it as easily: the loss gets stuck at {}."
    )
    assert twice.losses[450] == pytest.approx(stuck, rel=0.01)
    assert twice.losses[LAST] == pytest.approx(stuck, rel=0.01)


def test_dead_relus_are_why(twice) -> None:
    # This activation passes a tenth of a negative number, and of its gradient.
    leaky = {
        "h_relu = np.maximum(h, 0)": "h_relu = np.maximum(h, 0.1 * h)",
        "(h > 0)": "np.where(h > 0, 1, 0.1)",
    }
    changed = run(SCRIPT, changes=leaky | {"1e-6": "2e-6"})
    assert changed.losses[LAST] < twice.losses[LAST] / 50


def test_twice_the_rate_leaves_dead_relus(twice) -> None:
    (examples,) = says("most hidden units are 0 for all {} examples")
    dead = (twice.names["h_relu"] == 0).all(axis=0)
    assert len(twice.names["h_relu"]) == examples
    assert dead.mean() > 0.5


def test_no_gradient_passes_through_a_dead_relu(twice) -> None:
    says("On these examples no gradient passes through it")
    dead = (twice.names["h_relu"] == 0).all(axis=0)
    assert not twice.names["grad_w1"][:, dead].any()
    assert not twice.names["grad_w2"][dead].any()
