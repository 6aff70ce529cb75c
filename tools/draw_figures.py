"""Draw how the losses fall, from what the scripts print.

    python tools/draw_figures.py

Reads outputs/, where `make outputs` keeps what each script prints, and writes
figures/. Needs matplotlib, from requirements-dev.txt.
"""

import hashlib
import re
from typing import Any

from make_outputs import ROOT, capture_path

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
Curve = tuple[list[float], list[float]]


def losses(script: str) -> Curve:
    """Return the steps and the losses that a script was seen to print."""
    text = capture_path(script).read_text("utf-8")
    found = re.findall(r"^step +(\d+)  loss (\S+)", text, re.MULTILINE)
    return [int(step) for step, _ in found], [float(loss) for _, loss in found]


def curves_by_label() -> dict[str, list[Curve]]:
    """Return the curves of the figure by the label that they share."""
    return {label: list(map(losses, LINES[label])) for label in LINES}


def fingerprint() -> str:
    """Return a digest of the data of the figure, for the figure to carry."""
    return hashlib.sha256(repr(curves_by_label()).encode()).hexdigest()


def draw_curves(axes: Any, theme: str) -> None:
    """Draw the curves, each with its label at its end, none upon another."""
    ink, grid = INK[theme]
    curves, ends = curves_by_label(), []
    for (*colors, dashes, marker), label in zip(LOOKS, curves, strict=True):
        color = colors[theme == "dark"]
        for x, y in curves[label]:
            axes.plot(x, y, dashes, color=color, marker=marker, ms=4, lw=1.6)
        ends.append((y[-1], label, color))
    axes.set_title("loss, on a logarithmic axis", color=ink, fontsize=12)
    axes.set_yscale("log")
    axes.set_xlabel("step", color=ink)
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


def draw(theme: str) -> None:
    """Draw the figure for a theme of GitHub's, "light" or "dark"."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # Names in the file that do not change from one drawing to the next.
    plt.rcParams["svg.hashsalt"] = "losses"
    plt.rcParams["font.size"] = 12
    canvas, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    draw_curves(axes, theme)
    description = {"Date": None, "Description": fingerprint()}
    path = ROOT / "figures" / f"losses-{theme}.svg"
    canvas.savefig(path, transparent=True, metadata=description)
    plt.close(canvas)


if __name__ == "__main__":
    for theme in INK:
        draw(theme)
