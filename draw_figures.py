"""Draw how the losses fall, from what the scripts print.

    python draw_figures.py

Reads outputs/, where `make outputs` keeps what each script prints, and writes
figures/losses-light.svg and figures/losses-dark.svg. Needs matplotlib, from
requirements-dev.txt.
"""

import hashlib
import math
import re
from pathlib import Path
from typing import NamedTuple

from build_readme import cut, read_lines
from make_outputs import ROOT, capture_path

FIGURES = {
    "light": ROOT / "figures" / "losses-light.svg",
    "dark": ROOT / "figures" / "losses-dark.svg",
}
# What GitHub's two themes have for text and grid.
INK = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#f0f6fc", "#3d444d")}


class Line(NamedTuple):
    """A line of the figure; scripts that print the same share it."""

    label: str
    light: str
    dark: str
    dashes: str
    marker: str
    scripts: list[str]


# The hues are those that Okabe and Ito chose for readers who see colours
# alike, https://jfly.uni-koeln.de/color/; dashes and markers tell the lines
# apart without them.
LINES = [
    Line("numpy", "#a65200", "#e69f00", "-", "o", [
        "tensor/two_layer_net_numpy.py"]),
    Line("tensor, autograd, custom", "#0b61a4", "#56b4e9", "-", "s", [
        "tensor/two_layer_net_tensor.py",
        "autograd/two_layer_net_autograd.py",
        "autograd/two_layer_net_custom_function.py"]),
    Line("TensorFlow", "#00735c", "#2fc79a", "--", "^", [
        "autograd/tf_two_layer_net.py"]),
    Line("nn", "#a3407a", "#e08fc0", "-.", "D", [
        "nn/two_layer_net_nn.py"]),
    Line("optim, module", "#4d4d4d", "#b8b8b8", "--", "v", [
        "nn/two_layer_net_optim.py",
        "nn/two_layer_net_module.py"]),
    Line("dynamic net", "#b3261e", "#ff7b6b", ":", "P", [
        "nn/dynamic_net.py"]),
]  # fmt: skip


def losses(script: str) -> tuple[list[int], list[float]]:
    """Return the steps and the losses that a script was seen to print."""
    text = capture_path(script).read_text("utf-8")
    found = re.findall(r"^step +(\d+)  loss (\S+)", text, re.MULTILINE)
    return [int(step) for step, _ in found], [float(loss) for _, loss in found]


def fingerprint() -> str:
    """Return a digest of all that the figures are made from.

    The figures carry it, so that a test without matplotlib sees whether they
    are up to date.
    """
    drawn = [
        (line, [losses(script) for script in line.scripts]) for line in LINES
    ]
    name = Path(__file__).name
    code = cut(read_lines(ROOT, name), name, everything=True)
    return hashlib.sha256(repr((drawn, code)).encode()).hexdigest()


def spread(heights: list[float], gap: float) -> list[float]:
    """Return the heights of labels, moved up until none is within gap."""
    moved: dict[int, float] = {}
    floor = float("-inf")
    for index in sorted(range(len(heights)), key=lambda i: heights[i]):
        floor = moved[index] = max(heights[index], floor + gap)
    return [moved[index] for index in range(len(heights))]


def draw(theme: str) -> None:
    """Draw the figure for a theme of GitHub's, "light" or "dark"."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # Names in the file that do not change from one drawing to the next.
    plt.rcParams["svg.hashsalt"] = "losses"
    plt.rcParams["font.size"] = 12
    ink, grid = INK[theme]
    figure, axes = plt.subplots(figsize=(9, 5.6), layout="constrained")

    ends = []
    for line in LINES:
        color = getattr(line, theme)
        look = {"color": color, "marker": line.marker, "ms": 4, "lw": 1.6}
        for script in line.scripts:
            steps, values = losses(script)
            axes.plot(steps, values, line.dashes, **look)
        ends.append((values[-1], line.label, color))

    axes.set_yscale("log")
    axes.set_xlim(0, 500)
    axes.set_xlabel("step", color=ink)
    axes.set_ylabel("loss (logarithmic)", color=ink)
    axes.set_yticks([10.0**power for power in range(-6, 9, 2)])
    axes.minorticks_off()
    axes.grid(color=grid, lw=0.6)
    axes.tick_params(colors=ink, length=0)
    axes.spines[:].set_visible(False)

    # Each label at the end of its line. A line of text is about 0.8 powers
    # of ten high.
    heights = spread([math.log10(end) for end, _, _ in ends], gap=0.8)
    place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    for height, (_, label, color) in zip(heights, ends, strict=True):
        end = 500, 10**height
        axes.annotate(label, end, color=color, annotation_clip=False, **place)
    description = {"Date": None, "Description": fingerprint()}
    figure.savefig(FIGURES[theme], transparent=True, metadata=description)
    plt.close(figure)


if __name__ == "__main__":
    for theme in FIGURES:
        draw(theme)
