"""Make tutorial.ipynb from tools/notebook_top.md and README_raw.md.

    python tools/make_notebook.py

Needs nbformat, from requirements-dev.txt.
"""

import base64
import re
import sys
import tempfile
from pathlib import Path

from nbformat import v4

from make_outputs import ROOT, capture_path, put_in

sys.path.append(str(ROOT))
from build_readme import expand_line, read

PYTHON = {"display_name": "Python 3", "language": "python", "name": "python3"}
FIRST_CELL = """\
# Run this cell first. PyTorch for CUDA comes with Triton, which can crash the
# process if it is imported after TensorFlow.
try:
    import triton
except ImportError:
    pass  # PyTorch for the CPU has no Triton.
"""
REWRITES = {
    # What GitHub shows, as Jupyter shows it.
    r"^```math$(.*?)^```$": r"$$\1$$",
    r"^```pycon$": "```python",
    # A link to a file leads nowhere in a notebook on its own.
    r"(?<!\w)\[([^]]+)\]\((?!https:|#)[^)]+\)": r"*\1*",
    # The output of a script stands below its cell.
    r":\n\n```text\n:INCLUDE outputs/(?!faults)[^\n]*\n```$": ".",
    r"^It prints\.\n": "",
    # The changed script comes after the change to try.
    r"(^```)diff(\n:INCLUDE [^\n]*\n```\n)": r"\g<0>\1python\2",
}


def rewrite(page: str) -> str:
    """Return a page that is written for GitHub as one for Jupyter."""
    for pattern, new in REWRITES.items():
        page = re.sub(pattern, new, page, flags=re.M | re.S)
    for heading in re.findall(r"^##+ (.*)", page, re.M):
        on_github = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        in_jupyter = heading.replace(" ", "-")
        page = page.replace(f"](#{on_github})", f"](#{in_jupyter})")
    picture = r'(<picture>.*?src="([^"]*)" (alt="[^"]*">)\s*</picture>)'
    for tags, path, alt in re.findall(picture, page, re.S):
        white = '<svg style="background: white"'  # In the dark theme too.
        svg = read(ROOT, path).replace("<svg", white, 1).encode()
        data = base64.b64encode(svg).decode()
        image = f'<img src="data:image/svg+xml;base64,{data}" {alt}'
        page = page.replace(tags, image)
    return page


def code_cell(name: str) -> dict:
    """Return the cell of a script with its output, or of a fault without."""
    kept = capture_path(name).read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        is_fault = name.endswith(".diff")
        path = put_in(name, Path(folder)) if is_fault else ROOT / name
        lines = expand_line(path.parent, f":INCLUDE {path.name}")
    cell = v4.new_code_cell("\n".join(lines))
    if not is_fault:
        cell.outputs = [v4.new_output("stream", text=kept)]
    elif re.search(r"^[\w.]+Error: ", kept, re.M):
        cell.metadata.tags = ["raises-exception"]  # Run all, and go on.
    return cell


def make() -> str:
    """Return the notebook, a cell for each script and each section."""
    title, rest = read(ROOT, "README_raw.md").split("\n", 1)
    top = read(ROOT, "tools/notebook_top.md")
    page = rewrite(f"{title}\n\n{top}{rest}")
    cells = []
    # In turn a text and the script that ends it, or None before a heading.
    parts = re.split(r"(?m)^```python\n:INCLUDE (.*)\n```$|^(?=##)", page)
    for text, name in zip(parts[::2], [*parts[1::2], None], strict=True):
        lines = text.strip().splitlines()
        if lines:
            shown = [new for line in lines for new in expand_line(ROOT, line)]
            cells.append(v4.new_markdown_cell("\n".join(shown)))
        if name:
            cells.append(code_cell(name))
    cells.insert(1, v4.new_code_cell(FIRST_CELL.rstrip()))
    for number, cell in enumerate(cells, start=1):
        cell.id = f"cell-{number}"
    notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": PYTHON})
    return v4.writes(notebook) + "\n"


if __name__ == "__main__":
    (ROOT / "tutorial.ipynb").write_text(make(), "utf-8", newline="\n")
