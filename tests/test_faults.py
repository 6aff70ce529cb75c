"""The page of faults: each fault, each fix, each check and each message.

A new fault needs no line here: its diff and its output are found by their
names, and all that the page says of it by where it stands on the page.
"""

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import (
    ROOT,
    Run,
    captured,
    check_same,
    check_trains,
    run,
)
from make_outputs import FAULTS, changed_script
from pages import read, says, sections
from scripts import LAST, STEP_COUNT

PAGE = "faults/README_raw.md"
# An entry is a section with what is below it.
ENTRIES = re.split(r"^(?=#{2,3} )", read(PAGE), flags=re.MULTILINE)
DIFFS = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob("faults/*.diff")
)
FIXES = [diff for diff in DIFFS if diff.endswith(".fix.diff")]
ON_CUDA = [diff for diff in DIFFS if diff.endswith(".cuda.diff")]


def entry_of(diff: str) -> str:
    """Return the entry that shows a diff, or "" if none does."""
    for text in ENTRIES:
        if f"\n:INCLUDE {diff}\n" in text:
            return text
    return ""


def fault_of(fix: str) -> str:
    """Return the fault that a fix starts from: its name to the first dot."""
    return fix.partition(".")[0] + ".diff"


def git_apply(diff: str, folder: Path, *options: str) -> None:
    command = ["git", "apply", *options, str(ROOT / diff)]
    subprocess.run(command, cwd=folder, check=True)


def copy_script(diff: str, folder: Path) -> Path:
    """Copy the script that a diff changes into a folder."""
    copy = folder / changed_script(diff)
    copy.parent.mkdir()
    shutil.copy(ROOT / changed_script(diff), copy)
    return copy


# The diffs.


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_gives_what_its_capture_shows(fault: str) -> None:
    check_same(fault, run_on(fault, entry_of(fault)), captured(fault))


@pytest.mark.parametrize("fix", FIXES)
def test_fix_trains(fix: str, tmp_path: Path) -> None:
    copy = copy_script(fix, tmp_path)
    right = copy.read_text("utf-8")
    git_apply(fault_of(fix), tmp_path)
    git_apply(fix, tmp_path)
    script = changed_script(fix)
    result = run(script, changes={right: copy.read_text("utf-8")})
    assert not result.stderr
    check_trains(script, result)


@pytest.mark.parametrize("diff", DIFFS)
def test_git_takes_a_diff_out_again(diff: str, tmp_path: Path) -> None:
    copy = copy_script(diff, tmp_path)
    if diff in FIXES:
        git_apply(fault_of(diff), tmp_path)
    before = copy.read_text("utf-8")
    git_apply(diff, tmp_path)
    assert copy.read_text("utf-8") != before
    git_apply(diff, tmp_path, "-R")
    assert copy.read_text("utf-8") == before


@pytest.mark.parametrize("diff", FIXES + ON_CUDA)
def test_page_shows_the_diff(diff: str) -> None:
    assert entry_of(diff), f"{PAGE} does not show {diff}; write it"


@pytest.mark.parametrize("fault", ON_CUDA)
def test_fault_raises_on_cuda_alone(fault: str, device: str) -> None:
    stderr = run(fault, device=device).stderr
    message = re.search(r"```text\n(.*)\n```", entry_of(fault))[1]
    assert len(stderr) == (device == "cuda")
    assert all(line.startswith(message) for line in stderr)


# What the page says of them.


LOSS = re.compile(
    r"\[The\s+loss\]\(\.\./outputs/(\S+)\.txt\)\s+"
    r"(?:goes\s+from\s+(\S+)\s+to|stays\s+at)\s+(\S+)"
)


def number(word: str) -> float:
    """Return a number of the page, which may end a sentence."""
    return float(word.strip("`.,").replace(",", ""))


@pytest.mark.parametrize(("name", "first", "last"), LOSS.findall(read(PAGE)))
def test_losses_are_those_that_the_page_states(
    name: str, first: str, last: str
) -> None:
    losses = list(captured(f"{name}.diff").losses.values())
    stated = [number(first or last), number(last)]
    assert [losses[0], losses[-1]] == pytest.approx(
        stated, rel=0.05, nan_ok=True
    )


def test_a_loss_is_stated_in_these_words() -> None:
    # test_pages.py reads here that the test above reads these figures.
    says("The loss stays at {}")
    says("The loss goes from {} to {}")
    says("The loss goes from {} to `nan`")


# The checks: Python on the page that tells a fault from the script.


def checks(text: str) -> tuple[str, list[str]]:
    """Return what an entry puts before the loop, and each of its checks."""
    found = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    before = [block for block in found if "assert" not in block]
    return "".join(before), [block for block in found if "assert" in block]


@functools.cache
def run_on(name: str, text: str) -> Run:
    """Run a script or a fault, with what an entry puts before its loop."""
    before = checks(text)[0]
    loop = f"for t in range({STEP_COUNT}):\n"
    return run(name, changes={loop: before + loop} if before else None)


def failed_checks(name: str, text: str) -> list[str]:
    """Return the checks of an entry that a script or a fault fails."""
    failed = []
    for check in checks(text)[1]:
        try:
            exec(check, run_on(name, text).names)
        except AssertionError:
            failed.append(check)
    return failed


CHECKED = [fault for fault in FAULTS if checks(entry_of(fault))[1]]


@pytest.mark.parametrize("fault", CHECKED)
def test_a_check_of_its_entry_finds_the_fault(fault: str) -> None:
    assert failed_checks(fault, entry_of(fault))


@pytest.mark.parametrize(
    ("script", "text"),
    sorted({(changed_script(f), entry_of(f)) for f in CHECKED}),
)
def test_right_script_passes_the_checks(script: str, text: str) -> None:
    assert not failed_checks(script, text)


def is_silent(fault: str) -> bool:
    return not any("Error: " in line for line in captured(fault).stderr)


SILENT = [f for f in FAULTS if entry_of(f) and is_silent(f)]


@pytest.mark.parametrize("fault", SILENT)
def test_silent_fault_has_a_check(fault: str) -> None:
    assert fault in CHECKED, f"give the entry of {fault} an assert"


# The messages.

ANSWERS = sections("faults/README.md")
ROW = re.compile(r"^\| \[`([^`]+)`\]\(#(\S+)\) \|", re.MULTILINE)


def answers(anchor: str) -> str:
    """Return the fenced blocks of a section, without backticks."""
    fenced = re.findall(r"^```\w+\n(.*?)^```$", ANSWERS[anchor], re.M | re.S)
    return "".join(fenced).replace("`", "")


@pytest.mark.parametrize(("message", "anchor"), ROW.findall(read(PAGE)))
def test_entry_shows_the_message_of_its_row(message: str, anchor: str) -> None:
    assert message in answers(anchor)


def written_messages() -> list[tuple[str, str]]:
    """Return each line that a text block has of its own.

    Those of CUDA are left out: only a machine with CUDA gives them.
    """
    found = []
    for entry in ENTRIES:
        if any(f":INCLUDE {fault}\n" in entry for fault in ON_CUDA):
            continue
        for block in re.findall(r"^```text\n(.*?)^```$", entry, re.M | re.S):
            lines = [line for line in block.splitlines() if line[0] != ":"]
            found += [
                (entry, line) for line in lines if "cuda" not in line.lower()
            ]
    return found


@pytest.mark.parametrize(("entry", "line"), written_messages())
def test_written_message_is_one_of_the_entrys_faults(
    entry: str, line: str
) -> None:
    shown = [fault for fault in FAULTS if entry_of(fault) == entry]
    stderr = sum([captured(fault).stderr for fault in shown], [])
    assert line in stderr


def test_smaller_rate_does_not_mend_gradients_that_are_not_cleared() -> None:
    above, right = says(
        "With a rate ten times smaller there is no `nan`, but the loss stays "
        "above {}; without the fault, it gets down to {} with that rate."
    )
    smaller = {"learning_rate = 1e-6": "learning_rate = 1e-7"}
    fault = "faults/not_cleared_by_hand.diff"
    losses = run(fault, changes=smaller, every_step=True).losses.values()
    assert min(losses) > above
    mended = run(changed_script(fault), changes=smaller)
    assert mended.losses[LAST] == pytest.approx(right, rel=0.1)


def test_uphill_loss_grows_at_once_at_any_rate() -> None:
    fault = "faults/uphill.diff"
    for rate in ("1e-6", "1e-8", "1e-10"):
        slower = {"learning_rate = 1e-6": f"learning_rate = {rate}"}
        losses = run(fault, changes=slower, every_step=True, steps=3).losses
        assert losses[0] < losses[1] < losses[2]
