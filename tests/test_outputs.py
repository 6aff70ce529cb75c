"""What the README says the scripts print is what they print."""

import re
import xml.etree.ElementTree as ET

import pytest

import draw_figures
from harness import ROOT, SCRIPTS, Run, own_processes


def without_losses(lines: list[str]) -> list[str]:
    return [re.sub(r"loss \S+", "loss", line) for line in lines]


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_still_prints_what_the_readme_shows(script: str) -> None:
    shown = Run(draw_figures.capture(script).splitlines())
    printed = Run(own_processes(script)[0][1].splitlines())
    assert without_losses(printed.lines) == without_losses(shown.lines)
    for step, loss in printed.losses.items():
        if step <= 50:
            assert loss == pytest.approx(shown.losses[step], rel=1e-3)
        else:
            # Other instruction sets and thread counts were seen to move the
            # last losses by up to 2 %.
            assert 1 / 2 < loss / shown.losses[step] < 2


def test_every_capture_has_its_script() -> None:
    captures = sorted((ROOT / "outputs").rglob("*.*"))
    assert captures == sorted(
        (ROOT / "outputs" / script).with_suffix(".txt") for script in SCRIPTS
    )


def test_readme_shows_every_capture_once() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    raw = (ROOT / "README_raw.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        name = script.removesuffix(".py")
        assert raw.count(f":INCLUDE outputs/{name}.txt") == 1
        assert draw_figures.capture(script) in readme


def test_figure_draws_every_script_once() -> None:
    drawn = [script for line in draw_figures.LINES for script in line[0]]
    assert sorted(drawn) == SCRIPTS


@pytest.mark.parametrize("theme", draw_figures.FIGURES)
def test_figure_is_up_to_date(theme: str) -> None:
    path = draw_figures.FIGURES[theme]
    description = ET.parse(path).find(
        ".//{http://purl.org/dc/elements/1.1/}description"
    )
    assert description.text == draw_figures.fingerprint(), "run: make figures"


def test_lines_under_one_label_are_alike() -> None:
    for scripts, *_ in draw_figures.LINES:
        assert len({draw_figures.capture(script) for script in scripts}) == 1


@pytest.mark.parametrize(
    ("heights", "spread"),
    [
        ([3.0, 1.0, 2.0], [3.0, 1.0, 2.0]),
        ([1.0, 1.0, 0.9], [1.4, 1.9, 0.9]),
        ([1.0, 5.0, 1.2], [1.0, 5.0, 1.5]),
    ],
)
def test_labels_are_spread(heights, spread) -> None:
    assert draw_figures.spread(heights, gap=0.5) == pytest.approx(spread)
