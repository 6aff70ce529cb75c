"""Each fault goes wrong as its page says, and each way out trains."""

import re

import pytest

import make_outputs
from harness import ROOT, needed_fall, run
from make_outputs import FAULTS, capture_path, faulty
from test_outputs import captured, check_same
from test_readme import sections

ON_CUDA = sorted(f"faults/{p.name}" for p in ROOT.glob("faults/*.cuda.diff"))
FIXES = sorted(f"faults/{p.name}" for p in ROOT.glob("faults/*.fix.diff"))
KIND = re.compile(r"WARNING:tensorflow:|[\w.]+(?:Warning|Error): ")
ROW = re.compile(r"^\| \[(.*)\]\((\S+)\) \| (.*) \| .* \|$", re.MULTILINE)


PAGE, MAIN = sections("faults/README_raw.md"), sections("README_raw.md")
TABLE = PAGE["when-it-goes-wrong"].partition("| **It runs, and is wrong** |")
RAISES, WRONG = ROW.findall(TABLE[0]), ROW.findall(TABLE[2])


def shown(section: str) -> list[str]:
    """Return the faults that a section shows, ways out left out."""
    named = re.findall(r"^:INCLUDE (faults/\S+)$", section, re.MULTILINE)
    return [name for name in named if name not in FIXES]


# Each fault on the page, and the anchor of its entry.
ENTRY = {name: a for a, text in PAGE.items() for name in shown(text)}


@pytest.mark.parametrize("fault", FAULTS + ON_CUDA)
def test_fault_stands_on_one_page_beside_what_it_prints(fault: str) -> None:
    (text,) = [s for s in (PAGE | MAIN).values() if fault in shown(s)]
    capture = capture_path(fault).relative_to(ROOT).as_posix()
    assert (f":INCLUDE {capture}\n" in text) == (fault not in ON_CUDA)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_gives_what_its_page_shows(fault: str) -> None:
    check_same(run(fault), captured(fault))


@pytest.mark.parametrize("hunk", ["-no such line\n", " \n", "-import tor\n"])
def test_hunk_that_does_not_fit_once_is_an_error(hunk, monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("import torch\n\nx = 1\n\n")
    (tmp_path / "bad.diff").write_text(f"--- a.py\n@@ @@\n{hunk}")
    monkeypatch.setattr(make_outputs, "ROOT", tmp_path)
    with pytest.raises(
        ValueError, match=r"^bad.diff: hunk 1 fits a.py in [02]"
    ):
        faulty("bad.diff")


@pytest.mark.parametrize("fault", ON_CUDA)
def test_fault_raises_on_an_accelerator_only(fault: str, device: str) -> None:
    (row,) = [row for row in RAISES if row[1] == f"#{ENTRY[fault]}"]
    noted = run(fault, device=device).noted
    assert len(noted) == (device != "cpu")
    for line in noted:
        assert KIND.sub("", line).startswith(row[0].strip("`"))


@pytest.mark.parametrize("fix", FIXES)
def test_way_out_is_shown_once_and_trains(fix: str) -> None:
    assert "".join(PAGE.values()).count(f":INCLUDE {fix}\n") == 1
    result = run(fix)
    assert not result.noted and result.fall >= needed_fall(faulty(fix)[0])


@pytest.mark.parametrize(("cell", "target", "scripts"), RAISES + WRONG)
def test_row_leads_to_its_faults(cell: str, target: str, scripts: str) -> None:
    path, _, anchor = target.partition("#")
    here = shown({"": PAGE, "../README.md": MAIN}[path][anchor])
    linked = set(re.findall(r"\.\./(\S+)\)", scripts))
    assert linked and linked <= {faulty(name)[0] for name in here}
    raises = (cell, target, scripts) in RAISES
    assert not raises or cell.startswith("`")
    notes = [captured(name).noted for name in here if name not in ON_CUDA]
    for each in notes:
        assert any("Error: " in line for line in each) == raises
    if cell.startswith("`") and notes:
        lines = [KIND.sub("", line) for line in sum(notes, [])]
        assert any(line.startswith(cell.strip("`")) for line in lines)


@pytest.mark.parametrize("fault", ENTRY)
def test_script_and_losses_of_an_entry_are_those_of_its_fault(fault) -> None:
    script, text = faulty(fault)[0], PAGE[ENTRY[fault]]
    rows = [row for row in RAISES + WRONG if row[1] == f"#{ENTRY[fault]}"]
    assert any(f"(../{script})" in row[2] for row in rows)
    for loss in re.findall(r"\d\.\d+e[+-]\d+", text):
        assert loss in capture_path(script).read_text("utf-8")


SILENT = [f for f, a in ENTRY.items() if f"#{a}" in [row[1] for row in WRONG]]


@pytest.mark.parametrize("fault", SILENT)
def test_one_line_tells_the_fault_from_the_script(fault: str) -> None:
    found = re.findall(
        r"^```python\n(.*?)^```", PAGE[ENTRY[fault]], re.M | re.S
    )
    (line,) = "".join(found).splitlines()
    exec(line, run(faulty(fault)[0]).names)
    with pytest.raises(AssertionError):
        exec(line, run(fault).names)
