"""Draw how the losses fall and what a step costs, from what scripts print.

    python tools/draw_figures.py

Reads outputs/, where `make outputs` keeps what each script prints, and writes
figures/. Needs matplotlib, from requirements-dev.txt.
"""

import hashlib
import re
from typing import Any

from make_outputs import COSTS, ROOT, capture_path

# What GitHub's two themes have for text and grid.
INK = {"light": ("#1f2328", "#d1d9e0"), "dark": ("#f0f6fc", "#3d444d")}
# Colour in either theme, dashes, marker. The hues are those that Okabe and
# Ito chose for readers who see colours alike, https://jfly.uni-koeln.de/color/;
# dashes and markers tell the lines apart without them.
LOOKS = [
    ("#a65200", "#e69f00", "-", "o"),
    ("#0b61a4", "#56b4e9", "-", "s"),
    ("#00735c", "#2fc79a", "--", "^"),
    ("#a3407a", "#e08fc0", "-.", "D"),
    ("#4d4d4d", "#b8b8b8", "--", "v"),
    ("#b3261e", "#ff7b6b", ":", "P"),
    ("#6a4fb0", "#b39ddb", ":", "X"),
]
# Scripts that print the same share a line and its label.
LINES = {
    "numpy": ["tensor/two_layer_net_numpy.py"],
    "tensor, autograd, custom": [
        "tensor/two_layer_net_tensor.py",
        "autograd/two_layer_net_autograd.py",
        "autograd/two_layer_net_custom_function.py",
    ],
    "TensorFlow": ["autograd/tf_two_layer_net.py"],
    "nn": ["nn/two_layer_net_nn.py"],
    "optim, module": [f"nn/two_layer_net_{n}.py" for n in ("optim", "module")],
    "dynamic net": ["nn/dynamic_net.py"],
}
FIGURES = ("losses", "costs")
Curve = tuple[list[float], list[float]]


def losses(script: str) -> Curve:
    """Return the steps and the losses that a script was seen to print."""
    text = capture_path(script).read_text("utf-8")
    found = re.findall(r"^step +(\d+)  loss (\S+)", text, re.MULTILINE)
    return [int(step) for step, _ in found], [float(loss) for _, loss in found]


def table(text: str) -> dict[tuple[str, str], list[list[float]]]:
    """Return the rows of costs.py's table, by device and way.

    A row is the width, then first call, median, spread and ratio.
    """
    rows: dict = {}
    for line in text.partition("\ndevice ")[2].splitlines()[1:]:
        device, width, *way, first, median, iqr, ratio = line.split()
        row = [float(cell) for cell in (width, first, median, iqr, ratio)]
        rows.setdefault((device, " ".join(way)), []).append(row)
    return rows


def panels(figure: str) -> dict[str, dict[str, list[Curve]]]:
    """Return the panels of a figure by title, their curves by label."""
    if figure == "losses":
        curves = {name: list(map(losses, LINES[name])) for name in LINES}
        return {"loss, on a logarithmic axis": curves}
    times, ratios = {}, {}
    rows = table(capture_path(COSTS).read_text("utf-8"))
    for (device, way), of_way in rows.items():
        width, _, median, _, ratio = zip(*of_way, strict=True)
        if way == "autograd":
            times[device] = [(width, median)]
        if device == "cpu" and "products" not in way:
            ratios[way] = [(width, ratio)]
    # Last, so that the others have the colours of the other figure.
    ratios["compiled"] = ratios.pop("compiled")
    return {"ms a step, autograd": times, "ratio to its five products": ratios}


def fingerprint(figure: str) -> str:
    """Return a digest of the data of a figure, for the figure to carry."""
    return hashlib.sha256(repr(panels(figure)).encode()).hexdigest()


def draw_panel(axes: Any, theme: str, curves: dict[str, list[Curve]]) -> None:
    """Draw curves, each with its label at its end, none upon another."""
    ink, grid = INK[theme]
    ends, values = [], []
    for (*colors, dashes, marker), label in zip(LOOKS, curves, strict=False):
        color = colors[theme == "dark"]
        for x, y in curves[label]:
            axes.plot(x, y, dashes, color=color, marker=marker, ms=4, lw=1.6)
            values += y
        ends.append((y[-1], label, color))
    if max(values) > 100 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel("width H" if x[0] else "step", color=ink)
    if x[0]:
        axes.set_xscale("log")
        axes.set_xticks(x, [f"{width:.0f}" for width in x])
    axes.minorticks_off()
    axes.grid(color=grid, lw=0.6)
    axes.tick_params(colors=ink, length=0)
    axes.spines[:].set_visible(False)
    floor = -1.0
    for value, label, color in sorted(ends):
        height = (axes.transScale + axes.transLimits).transform((1, value))[1]
        # A line of text is about a twentieth of the height.
        floor = max(height, floor + 0.055)
        look = {"color": color, "va": "center", "textcoords": "offset points"}
        axes.annotate(label, (1, floor), (4, 0), "axes fraction", **look)


def draw(figure: str, theme: str) -> None:
    """Draw a figure for a theme of GitHub's, "light" or "dark"."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # Names in the file that do not change from one drawing to the next.
    plt.rcParams["svg.hashsalt"] = figure
    plt.rcParams["font.size"] = 12
    shown = panels(figure)
    canvas, (row,) = plt.subplots(
        1, len(shown), figsize=(9, 5), layout="constrained", squeeze=False
    )
    for axes, (title, curves) in zip(row, shown.items(), strict=True):
        axes.set_title(title, color=INK[theme][0], fontsize=12)
        draw_panel(axes, theme, curves)
    description = {"Date": None, "Description": fingerprint(figure)}
    path = ROOT / "figures" / f"{figure}-{theme}.svg"
    canvas.savefig(path, transparent=True, metadata=description)
    plt.close(canvas)


if __name__ == "__main__":
    for figure in FIGURES:
        for theme in INK:
            draw(figure, theme)
