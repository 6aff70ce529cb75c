"""Each fault goes wrong as its page says, and each way out trains."""

import re

import pytest

import make_outputs
from harness import ROOT, check_trains, run
from make_outputs import FAULTS, faulty
from test_outputs import captured, check_same
from test_readme import sections

ON_CUDA = sorted(f"faults/{p.name}" for p in ROOT.glob("faults/*.cuda.diff"))
FIXES = sorted(f"faults/{p.name}" for p in ROOT.glob("faults/*.fix.diff"))
PAGE, MAIN = sections("faults/README_raw.md"), sections("README_raw.md")
FURTHER = sections("further/README_raw.md")
# Each section of all three, by the link to it on the page of faults.
TEXTS = {f"#{anchor}": text for anchor, text in PAGE.items()}
TEXTS |= {f"../README.md#{anchor}": text for anchor, text in MAIN.items()}
TEXTS |= {f"../further#{anchor}": text for anchor, text in FURTHER.items()}
FAULT = re.compile(r"^:INCLUDE (faults/\w+(?:\.cuda)?\.diff)$", re.MULTILINE)
SHOWN = {link: FAULT.findall(text) for link, text in TEXTS.items()}
ROW = re.compile(r"^\| \[(.*)\]\((\S+)\) \| (.*) \| .* \|$", re.MULTILINE)
TABLE = PAGE["when-it-goes-wrong"].partition("| **It runs, and is wrong** |")
RAISES, WRONG = ROW.findall(TABLE[0]), ROW.findall(TABLE[2])
SILENT = sorted({link for _, link, _ in WRONG if link.startswith("#")})


def says(line: str, cell: str) -> bool:
    """Return whether a warning or an error has the message in a cell."""
    kind = r"(?:WARNING:tensorflow:|[\w.]+(?:Warning|Error): )"
    return re.match(kind + re.escape(cell.strip("`")), line) is not None


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_stands_in_one_section_and_gives_what_that_shows(fault) -> None:
    (link,) = [link for link, faults in SHOWN.items() if fault in faults]
    rows = [scripts for _, other, scripts in RAISES + WRONG if other == link]
    script = faulty(fault)[0]
    assert f"(../{script})" in "".join(rows) or link.startswith("../")
    assert f"\n:INCLUDE outputs/{fault[:-5]}.txt\n" in TEXTS[link]
    for loss in re.findall(r"\d\.\d+e[+-]\d+", TEXTS[link]):
        assert captured(script).lines[-1].endswith(loss)
    check_same(run(fault), captured(fault))


@pytest.mark.parametrize("hunk", ["-no such line\n", " \n", "-import tor\n"])
def test_hunk_that_does_not_fit_once_is_an_error(hunk, monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("import torch\n\nx = 1\n\n")
    (tmp_path / "bad.diff").write_text(f"--- a.py\n@@ @@\n{hunk}")
    monkeypatch.setattr(make_outputs, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="bad.diff: hunk 1 fits a.py in [02]"):
        faulty("bad.diff")


@pytest.mark.parametrize("fault", ON_CUDA)
def test_fault_raises_on_an_accelerator_only(fault: str, device: str) -> None:
    (cell,) = [cell for cell, link, _ in RAISES if fault in SHOWN[link]]
    noted = run(fault, device=device).noted
    assert [says(line, cell) for line in noted] == [True] * (device != "cpu")


@pytest.mark.parametrize("fix", FIXES)
def test_way_out_is_shown_once_and_trains(fix: str) -> None:
    assert "".join(TEXTS.values()).count(f":INCLUDE {fix}\n") == 1
    result = run(fix)
    assert not result.noted
    check_trains(faulty(fix)[0], result)


@pytest.mark.parametrize("row", RAISES + WRONG)
def test_row_leads_to_its_faults(row: tuple[str, str, str]) -> None:
    cell, link, scripts = row
    linked = set(re.findall(r"\.\./(\S+)\)", scripts))
    assert linked and linked <= {faulty(name)[0] for name in SHOWN[link]}
    notes = [captured(f).noted for f in SHOWN[link] if f not in ON_CUDA]
    for lines in notes:
        assert any("Error: " in line for line in lines) == (row in RAISES)
    if row in RAISES or cell.startswith("`"):
        assert not notes or any(says(line, cell) for line in sum(notes, []))


@pytest.mark.parametrize("link", SILENT)
def test_one_line_tells_the_faults_of_an_entry_from_the_script(link) -> None:
    (line,) = re.findall(r"^```python\n(.*)\n```$", TEXTS[link], re.MULTILINE)
    for fault in SHOWN[link]:
        exec(line, run(faulty(fault)[0]).names)
        with pytest.raises(AssertionError):
            exec(line, run(fault).names)
