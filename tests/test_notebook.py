"""The notebook: in step with its sources, and run once, top to bottom."""

import os
import re

import pytest

import make_outputs
from harness import Run, captured, check_same, import_tensorflow
from make_outputs import ENVIRONMENT, ROOT
from pages import FENCE, read
from scripts import NINE

REASON = "not here; run: pip install -r requirements-dev.txt"
nbformat = pytest.importorskip("nbformat", reason=f"nbformat is {REASON}")
nbclient = pytest.importorskip("nbclient", reason=f"nbclient is {REASON}")
pytest.importorskip("ipykernel", reason=f"ipykernel is {REASON}")

# On Windows, Jupyter's sockets warn of the default event loop.
pytestmark = pytest.mark.filterwarnings("ignore:Proactor event loop")

# The scripts and the changes to try, in the order of the page.
NAMES = re.findall(
    r"^:INCLUDE (.*\.(?:py|diff))$", read("README_raw.md"), re.M
)
FAULTS = [name for name in NAMES if name.endswith(".diff")]
# What is kept was printed on the CPU.
ON_CPU = """\
import torch
torch.accelerator.is_available = lambda: False
"""


def notebook() -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "tutorial.ipynb", as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> dict:
    """Return the cells to run, by the script or the fault that they hold."""
    _, *cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return dict(zip(NAMES, cells, strict=True))


def texts() -> list[str]:
    return [c.source for c in notebook().cells if c.cell_type == "markdown"]


def text() -> str:
    return "\n".join(texts())


@pytest.fixture(scope="module")
def executed() -> dict:
    """The cells after one run of the whole notebook in one process."""
    import_tensorflow()
    node = notebook()
    cells = code_cells(node)
    node.cells.insert(0, nbformat.v4.new_code_cell(ON_CPU))
    client = nbclient.NotebookClient(node, timeout=100, kernel_name="python3")
    client.execute(env={**os.environ, **ENVIRONMENT})
    return cells


def printed(cell: nbformat.NotebookNode) -> Run:
    """Return what a cell printed, as a run."""
    stdout = stderr = ""
    for output in cell.outputs:
        if output.output_type == "error":
            stderr += f"{output.ename}: {output.evalue}\n"
        elif output.name == "stdout":
            stdout += output.text
        else:
            stderr += output.text
    stderr = make_outputs.seen("", stderr).splitlines()
    return Run(stdout.splitlines(), stderr=stderr)


def test_triton_is_imported_before_tensorflow() -> None:
    sources = [c.source for c in notebook().cells if c.cell_type == "code"]
    assert "import triton" in sources[0]
    assert "import tensorflow" not in sources[0]


def test_notebook_is_in_step_with_its_sources() -> None:
    import make_notebook

    assert read("tutorial.ipynb") == make_notebook.make(), (
        "tutorial.ipynb is not what its sources make; run: make notebook"
    )


@pytest.mark.parametrize("name", NAMES)
def test_cell_prints_what_outputs_keeps(executed: dict, name: str) -> None:
    check_same(name, printed(executed[name]), captured(name))


@pytest.mark.parametrize("script", NINE)
def test_script_stands_with_its_kept_output(script: str) -> None:
    (output,) = code_cells(notebook())[script].outputs
    assert output.text == make_outputs.capture_path(script).read_text("utf-8")


@pytest.mark.parametrize("script", NINE)
def test_text_does_not_show_that_output_again(script: str) -> None:
    # An answer may: one of the changes to try makes no difference.
    outside_folds = re.sub(r"<details>.*?</details>", "", text(), flags=re.S)
    kept = make_outputs.capture_path(script).read_text("utf-8")
    assert kept not in outside_folds


@pytest.mark.parametrize("fault", FAULTS)
def test_change_to_try_does_not_give_its_answer_away(fault: str) -> None:
    assert not code_cells(notebook())[fault].outputs


# The text, as Jupyter shows it.


def test_no_link_leads_to_a_file() -> None:
    prose = FENCE.sub("", text())
    links = re.findall(r"\]\((?!https://|#)([^)]*)\)", prose)
    assert not links, links


def test_links_to_sections_name_a_heading_as_jupyter_does() -> None:
    headings = re.findall(r"^##+ (.*)$", text(), re.M)
    anchors = [heading.replace(" ", "-") for heading in headings]
    links = re.findall(r"\]\(#([^)]*)\)", text())
    assert links
    for link in links:
        assert link in anchors


def test_pictures_are_in_the_notebook() -> None:
    sources = re.findall(r'\bsrc(?:set)?="([^"]{,30})', text())
    assert sources
    for source in sources:
        assert source.startswith("data:image/svg+xml;base64,"), source


def test_folds_open_and_close_in_one_cell() -> None:
    assert "<details>" in text()
    for cell in texts():
        assert cell.count("<details>") == cell.count("</details>"), cell


@pytest.mark.parametrize("only_github", ["```math", "<picture>"])
def test_nothing_is_left_that_only_github_shows(only_github: str) -> None:
    assert only_github not in text()
    assert only_github in read("README_raw.md")
