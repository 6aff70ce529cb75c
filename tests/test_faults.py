"""The page of faults: each fault, each fix, each check and each message.

A new fault needs no line here: its diff and its output are found by their
names, and all that the page says of it by where it stands on the page.
"""

import functools
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from harness import (
    ROOT,
    Run,
    captured,
    check_same,
    check_trains,
    run,
    shared_run,
)
from make_outputs import FAULTS, changed_script
from pages import PAGES, line_of, prose, read, says, sections
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


# Other pages show faults, too, as a "Try it": those have no entry.
WITH_ENTRY = [fault for fault in FAULTS if entry_of(fault)]


def mend(entry: str) -> str:
    """Return where an entry stands, and what to do there."""
    line = line_of(read(PAGE), read(PAGE).index(entry))
    return f"correct the entry at {PAGE}:{line}, then run: make readme"


# The diffs.


def fault_of(fix: str) -> str:
    """Return the fault that a fix starts from: its name to the first dot."""
    return fix.partition(".")[0] + ".diff"


def copy_script(diff: str, folder: Path) -> Path:
    """Copy the script that a diff changes into a folder."""
    copy = folder / changed_script(diff)
    copy.parent.mkdir()
    shutil.copy(ROOT / changed_script(diff), copy)
    return copy


def make_again(diff: str) -> str:
    """Return how a diff is made, a fix from the script with its fault."""
    script, start = changed_script(diff), ""
    if diff in FIXES:
        start = f"run: git apply {fault_of(diff)} && git add {script}; then "
    command = f"git diff -U1 {script} | tail -n +3 > {diff}"
    return f"{start}change {script} and run: {command}"


def git_apply(diff: str, folder: Path, *options: str) -> None:
    """Apply a diff to the copy of its script in a folder."""
    command = ["git", "apply", *options, str(ROOT / diff)]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, (
        f"{diff} does not fit:\n{result.stderr}{make_again(diff)}"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_prints_what_its_capture_shows(fault: str) -> None:
    check_same(fault, shared_run(fault), captured(fault))


@pytest.mark.parametrize("fix", FIXES)
def test_fix_trains(fix: str, tmp_path: Path) -> None:
    copy = copy_script(fix, tmp_path)
    right = copy.read_text("utf-8")
    git_apply(fault_of(fix), tmp_path)
    git_apply(fix, tmp_path)
    fixed = copy.read_text("utf-8")
    script = changed_script(fix)
    # The change is the whole source.
    result = run(script, changes={right: fixed})
    assert not result.stderr, (
        f"with {fix}, {script} ends in {result.stderr}; {make_again(fix)}"
    )
    check_trains(script, result)


@pytest.mark.parametrize("diff", DIFFS)
def test_git_takes_a_diff_out_again(diff: str, tmp_path: Path) -> None:
    copy = copy_script(diff, tmp_path)
    if diff in FIXES:
        git_apply(fault_of(diff), tmp_path)
    before = copy.read_text("utf-8")
    git_apply(diff, tmp_path)
    assert copy.read_text("utf-8") != before, make_again(diff)
    git_apply(diff, tmp_path, "-R")
    assert copy.read_text("utf-8") == before, make_again(diff)


@pytest.mark.parametrize("diff", FIXES + ON_CUDA)
def test_page_shows_the_diff(diff: str) -> None:
    assert entry_of(diff), (
        f"{PAGE} does not show {diff}; give it a diff block with "
        f":INCLUDE {diff} there, then run: make readme"
    )


# The faults that show on CUDA alone.


def message_of(fault: str) -> str:
    """Return what the page says that a fault raises: the next block."""
    entry = entry_of(fault)
    below = entry.partition(f":INCLUDE {fault}\n```\n")[2]
    language, _, block = below.partition("\n```")[2].partition("\n")
    assert language == "text", (
        f"the block below {fault} is no text that says what it raises; "
        f"{mend(entry)}"
    )
    return block.partition("\n```")[0]


@pytest.mark.parametrize("fault", ON_CUDA)
def test_cuda_fault_trains_on_the_cpu(fault: str) -> None:
    result = run(fault)
    assert not result.stderr, (
        f"on the CPU, {fault} ends in {result.stderr}; {make_again(fault)}"
    )
    check_trains(changed_script(fault), result)


@pytest.mark.parametrize("fault", ON_CUDA)
def test_page_shows_what_a_cuda_fault_raises(fault: str) -> None:
    assert "Error: " in message_of(fault), (
        f"the text block below {fault} shows no error; {mend(entry_of(fault))}"
    )


@pytest.mark.parametrize("fault", ON_CUDA)
def test_cuda_fault_raises_what_the_page_shows(fault: str, cuda: str) -> None:
    raised = run(fault, device=cuda).stderr
    page = f"{fault} raises {raised}; {mend(entry_of(fault))}"
    assert len(raised) == 1, page
    assert raised[0].startswith(message_of(fault)), page


# The losses that a page states, each with a link to the output that has them.

WORDING = "[The loss](../outputs/faults/NAME.txt) goes from 1.0 to 2.0"
# A heading may name what the reader sees: "### The loss stays at 0.693".
STATED = re.compile(r"(?<!# )The\s+loss\s+(?:goes\s+from|stays\s+at)\s+[-\d]")
LINKED = re.compile(
    r"\[The\s+loss\]\((?:\.\./)?outputs/(faults/\S+)\.txt\)\s+"
    r"(?:goes\s+from\s+(\S+)\s+to|stays\s+at)\s+(\S+)"
)
LOSSES = [
    (page, line_of(read(page), match.start()), *match.groups())
    for page in PAGES
    for match in LINKED.finditer(read(page))
]


def number(word: str) -> float:
    """Return a number of the page, which may end a sentence."""
    return float(word.strip("`.,").replace(",", ""))


@pytest.mark.parametrize(("page", "line", "fault", "first", "last"), LOSSES)
def test_stated_losses_are_those_of_the_output(
    page: str, line: int, fault: str, first: str | None, last: str
) -> None:
    losses = list(captured(f"{fault}.diff").losses.values())
    # "stays at" has one figure, which is both the first and the last.
    stated = [number(first or last), number(last)]
    shown = [*losses[:1], *losses[-1:]]
    assert shown == pytest.approx(stated, rel=0.05, nan_ok=True), (
        f"outputs/{fault}.txt has the losses {shown}, and the page says "
        f"{stated}; correct {page}:{line}, then run: make readme"
    )


@pytest.mark.parametrize("page", PAGES)
def test_stated_losses_link_to_their_output(page: str) -> None:
    stated = Counter(
        line_of(prose(page), match.start())
        for match in STATED.finditer(prose(page))
    )
    linked = Counter(line for source, line, *_ in LOSSES if source == page)
    unlinked = [f"{page}:{line}" for line in stated - linked]
    assert not unlinked, (
        f"no test reads the losses of these lines; write {WORDING} at "
        f"{', '.join(unlinked)}, then run: make readme"
    )


def test_stated_losses_have_one_of_these_wordings() -> None:
    # So that test_pages.py knows that the tests above read the figures.
    says("The loss stays at {}")
    says("The loss goes from {} to {}")
    says("The loss goes from {} to `nan`")


# The checks: Python on the page that tells a fault from the script.


def python_blocks(entry: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", entry, re.M | re.S)


def checks_of(entry: str) -> list[str]:
    return [block for block in python_blocks(entry) if "assert" in block]


def setup_of(entry: str) -> str:
    """Return what the checks of an entry need before the loop."""
    blocks = python_blocks(entry)
    return "".join(block for block in blocks if "assert" not in block)


@functools.cache
def run_with_setup(name: str, setup: str) -> Run:
    """Run a script or a fault, with a setup before its loop, if any."""
    if not setup:
        return shared_run(name)
    loop = f"for t in range({STEP_COUNT}):\n"
    return run(name, changes={loop: setup + loop})


def failed_checks(name: str, entry: str) -> list[str]:
    """Return the checks of an entry that a script or a fault fails."""
    result = run_with_setup(name, setup_of(entry))
    failed = []
    for check in checks_of(entry):
        try:
            exec(check, dict(result.names))
        except AssertionError:
            failed.append(check)
    return failed


CHECKED = [fault for fault in WITH_ENTRY if checks_of(entry_of(fault))]


@pytest.mark.parametrize("fault", CHECKED)
def test_a_check_of_its_entry_finds_the_fault(fault: str) -> None:
    entry = entry_of(fault)
    assert failed_checks(fault, entry), (
        f"{fault} passes all checks of its entry; {mend(entry)}"
    )


@pytest.mark.parametrize("fault", CHECKED)
def test_right_script_passes_the_checks(fault: str) -> None:
    script, entry = changed_script(fault), entry_of(fault)
    failed = failed_checks(script, entry)
    assert not failed, (
        f"{script} is right, and fails these checks:\n"
        f"{''.join(failed)}{mend(entry)}"
    )


@pytest.mark.parametrize("fault", WITH_ENTRY)
def test_fault_raises_or_has_a_check(fault: str) -> None:
    stderr = captured(fault).stderr
    raises = any("Error: " in line for line in stderr)
    assert raises or fault in CHECKED, (
        f"{fault} raises nothing, and no python block with an assert finds "
        f"it; {mend(entry_of(fault))}"
    )


# The messages: the table of the page, and what its entries show.

ANSWERS = sections("faults/README.md")
# | [`a message`](#its-entry) | ...: left out are the rows that lead to another
# page, and those that say in other words what you see.
ROW = re.compile(r"^\| \[`([^`]+)`\]\(#(\S+)\) \|", re.MULTILINE)
ROWS = [
    (*match.groups(), f"{PAGE}:{line_of(read(PAGE), match.start())}")
    for match in ROW.finditer(read(PAGE))
]


def blocks_of(text: str, languages: str) -> list[str]:
    """Return the fenced blocks of one of some languages, as in text|pycon."""
    fence = rf"^```(?:{languages})\n(.*?)^```$"
    return re.findall(fence, text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("message", "anchor", "place"), ROWS)
def test_entry_shows_the_message_of_its_row(
    message: str, anchor: str, place: str
) -> None:
    shown = "".join(blocks_of(ANSWERS.get(anchor, ""), "text|pycon"))
    assert message in shown.replace("`", ""), (
        f"no text and no session below #{anchor} has {message!r}; correct "
        f"them, or {place}, then run: make readme"
    )


def written_messages(entry: str) -> list[str]:
    """Return the lines of text that an entry has of its own.

    Those of CUDA are left out: only a machine with CUDA gives them.
    """
    if any(f":INCLUDE {fault}\n" in entry for fault in ON_CUDA):
        return []
    lines = "".join(blocks_of(entry, "text")).splitlines()
    return [
        line
        for line in lines
        if line and not line.startswith(":") and "cuda" not in line.lower()
    ]


WRITTEN = [
    (line, entry) for entry in ENTRIES for line in written_messages(entry)
]


@pytest.mark.parametrize(("line", "entry"), WRITTEN)
def test_written_message_is_printed_by_a_fault_of_its_entry(
    line: str, entry: str
) -> None:
    faults = [fault for fault in WITH_ENTRY if entry_of(fault) == entry]
    printed = [text for fault in faults for text in captured(fault).stderr]
    assert line in printed, (
        f"none of the faults {faults} prints {line!r}; {mend(entry)}"
    )


# What a smaller learning rate does, and does not.

NOT_CLEARED = "faults/not_cleared_by_hand.diff"
UPHILL = "faults/uphill.diff"
# From the script's own down to one at which the weights hardly move.
RATES = ["1e-6", "1e-8", "1e-10"]


def change_to(rate: str) -> dict[str, str]:
    """Return the change of a script to another learning rate."""
    return {"learning_rate = 1e-6": f"learning_rate = {rate}"}


def test_smaller_rate_does_not_mend_gradients_that_are_not_cleared() -> None:
    (above,) = says(
        "With a rate ten times smaller there is no `nan`, but the loss stays "
        "above {}"
    )
    result = run(NOT_CLEARED, changes=change_to("1e-7"), every_step=True)
    losses = np.array(list(result.losses.values()))
    assert np.isfinite(losses).all(), mend(entry_of(NOT_CLEARED))
    assert losses.min() > above, (
        f"the loss gets down to {losses.min():.3g}, and the page says that "
        f"it stays above {above:g}; {mend(entry_of(NOT_CLEARED))}"
    )


def test_cleared_gradients_train_at_the_smaller_rate() -> None:
    (stated,) = says("without the fault, it gets down to {} with that rate.")
    result = run(changed_script(NOT_CLEARED), changes=change_to("1e-7"))
    assert result.losses[LAST] == pytest.approx(stated, rel=0.1), (
        f"the loss gets down to {result.losses[LAST]:.3g}, and the page says "
        f"{stated:g}; {mend(entry_of(NOT_CLEARED))}"
    )


def uphill_losses(rate: str) -> list[float]:
    """Return the losses of the first three steps."""
    changes = change_to(rate)
    result = run(UPHILL, changes=changes, every_step=True, steps=3)
    return list(result.losses.values())


@pytest.mark.parametrize("rate", RATES)
def test_uphill_loss_grows_from_the_first_step_on(rate: str) -> None:
    first, second, third = uphill_losses(rate)
    assert first < second < third


def test_uphill_loss_grows_more_slowly_at_a_smaller_rate() -> None:
    # All begin with the same loss.
    large, smaller, smallest = (uphill_losses(rate)[-1] for rate in RATES)
    assert large > smaller > smallest
