"""The kept outputs, and the figure that is drawn from them."""

import pytest

from draw_figures import LINES, fingerprint
from harness import captured
from make_outputs import FAULTS, ROOT, capture_path
from pages import says
from scripts import LAST, NINE, SCRIPTS

WITHOUT_NN = NINE[:5]
FLOAT32 = NINE[1:5]


def test_every_capture_has_its_source() -> None:
    kept = sorted((ROOT / "outputs").rglob("*.txt"))
    sources = [script.path for script in SCRIPTS] + FAULTS
    expected = sorted(map(capture_path, sources))
    assert kept == expected, (
        "outputs/ and its sources differ; delete what has no source, or run: "
        "make outputs"
    )


def test_figure_shows_all_nine() -> None:
    shown = [script for scripts in LINES.values() for script in scripts]
    assert sorted(shown) == sorted(NINE)


@pytest.mark.parametrize("label", LINES)
def test_scripts_that_share_a_line_print_the_same(label: str) -> None:
    first, *others = LINES[label]
    for script in others:
        assert captured(script).lines == captured(first).lines, script


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_figure_is_up_to_date(theme: str) -> None:
    path = f"figures/losses-{theme}.svg"
    svg = (ROOT / path).read_text("utf-8")
    assert fingerprint() in svg, f"{path} is old; run: make figures"


# What the description of the figure says.


def loss(script: str, step: float) -> float:
    return captured(script).losses[int(step)]


@pytest.mark.parametrize("script", WITHOUT_NN)
def test_five_scripts_fall_together(script: str) -> None:
    first, later, step = says(
        "The five scripts without nn fall together from about {} to {} at "
        "step {};"
    )
    assert loss(script, 0) == pytest.approx(first, rel=0.15)
    assert loss(script, step) == pytest.approx(later, rel=0.35)


@pytest.mark.parametrize("script", FLOAT32)
def test_four_slow_down_in_float32(script: str) -> None:
    (end,) = says("then the four in float32 slow down and end near {},")
    assert loss(script, LAST) == pytest.approx(end, rel=0.2)


def test_numpy_goes_on() -> None:
    (end,) = says("while numpy goes on to {}.")
    assert loss(NINE[0], LAST) == pytest.approx(end, rel=0.1)


def test_nn_falls_further() -> None:
    first, end, end_of_adam = says(
        "nn falls from {} to {}, optim and module to {}."
    )
    nn, optim, module = NINE[5:8]
    assert loss(nn, 0) == pytest.approx(first, rel=0.1)
    assert loss(nn, LAST) == pytest.approx(end, rel=0.5)
    assert loss(optim, LAST) == pytest.approx(end_of_adam, rel=0.5)
    assert loss(module, LAST) == pytest.approx(end_of_adam, rel=0.5)


def test_dynamic_net_goes_up_and_down() -> None:
    level, step = says(
        "The dynamic net falls to about {} at step {} and then goes up and"
    )
    assert loss(NINE[8], step) == pytest.approx(level, rel=0.1)
    late = [loss(NINE[8], t) for t in (200, 250, 300, 350, 400, 450)]
    assert sorted(late, reverse=True) != late
