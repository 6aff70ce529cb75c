"""build_readme.py: its two directives and its errors, on small trees."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build_readme
from build_readme import BANNER, expand, main

RAW, README = "README_raw.md", "README.md"
OLD = '''"""A docstring
of two lines."""

import math  # Why.


def area(r):
    """Return the area of a circle."""
    # A comment.
    return math.pi * r**2
'''
NEW = OLD.replace("r**2", "r * r").replace("A comment", "Another one")


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small repository to build pages in."""
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    (root / "old.py").write_text(OLD)
    (root / "new.py").write_text(NEW)
    (root / "text.txt").write_text("one\n\ntwo é\n", "utf-8")
    (root / RAW).write_text("fine\n")
    (root / README).write_text("untouched\n")
    return root


def expanded(tree: Path, raw: str) -> str:
    """Return what a page becomes, without the banner."""
    (tree / RAW).write_text(raw, "utf-8")
    return expand(RAW, tree).removeprefix(BANNER)


def test_prose_stays_as_it_is(tree) -> None:
    raw = "# Title\n\n a :INCLUDE b\n    :INCLUDE indented.txt\nend\n"
    assert expanded(tree, raw) == raw


def test_include_takes_the_lines_of_a_file(tree) -> None:
    raw = "before\n:INCLUDE text.txt\nafter\n"
    assert expanded(tree, raw) == "before\none\n\ntwo é\nafter\n"


def test_include_of_python_leaves_out_the_docstring_on_its_top(tree) -> None:
    _, _, rest = OLD.partition('lines."""\n\n')
    assert expanded(tree, ":INCLUDE old.py\n") == rest


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('"""One line."""\nx = 1\n', "x = 1\n"),
        ("x = 1\n", "x = 1\n"),
        ('# First.\n\n"""Second."""\nx = 1', "# First.\n\n\nx = 1\n"),
        ('"""é."""  # Beside it.\n', "  # Beside it.\n"),
        ('def f(): "Beside it."\n', 'def f(): "Beside it."\n'),
    ],
)
def test_no_code_is_lost_with_a_docstring(tree, source, shown) -> None:
    (tree / "a.py").write_text(source, "utf-8")
    assert expanded(tree, ":INCLUDE a.py\n") == shown


def test_diff_compares_code_alone(tree) -> None:
    assert expanded(tree, ":DIFF old.py new.py\n") == (
        "--- old.py\n"
        "+++ new.py\n"
        "@@ @@\n"
        " def area(r):\n"
        "-    return math.pi * r**2\n"
        "+    return math.pi * r * r\n"
    )


def test_diff_keeps_the_code_on_a_docstrings_line(tree) -> None:
    (tree / "a.py").write_text('def f(): "F."\n')
    (tree / "b.py").write_text('def g(): "G."\n')
    shown = expanded(tree, ":DIFF a.py b.py\n")
    assert shown.endswith("-def f():\n+def g():\n")


ERRORS = {
    "a missing file": (":INCLUDE no.txt", "no.txt: "),
    "a folder": (":INCLUDE folder", "folder: "),
    "a file outside": (":INCLUDE ../outside.txt", "outside the repository"),
    "a generated page": (":INCLUDE README.md", "name another file"),
    "a misspelt directive": (":INCLDUE text.txt", "is unknown"),
    "a directive without a path": (":INCLUDE", "is unknown"),
    "no Python": (":INCLUDE bad.py", "bad.py, line 2: this is not Python"),
    "no UTF-8": (":INCLUDE latin1.txt", "is not UTF-8"),
    "the same code": (":DIFF old.py comment.py", "have the same code"),
}


@pytest.mark.parametrize("page", [RAW, f"folder/{RAW}"])
@pytest.mark.parametrize("case", ERRORS)
def test_error_names_the_line_and_changes_nothing(
    tree, capsys, page, case
) -> None:
    line, message = ERRORS[case]
    (tree / "bad.py").write_text("x = 1\nx = = 2\n")
    (tree / "latin1.txt").write_text("caf\xe9\n", "latin-1")
    (tree / "comment.py").write_text(OLD.replace("Why", "How"))
    (tree.parent / "outside.txt").write_text("outside\n")
    (tree / page).write_text(f"fine\n{line}\n")
    assert main([], root=tree) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{page}:2: ")
    assert message in error
    assert (tree / README).read_text() == "untouched\n"
    assert not (tree / "folder" / README).exists()


def test_check_shows_the_difference_and_the_command(tree, capsys) -> None:
    assert main(["--check"], root=tree) == 1
    printed = capsys.readouterr().out
    assert "\n-untouched\n" in printed
    assert "\n+fine\n" in printed
    assert printed.endswith(f"to mend it: {build_readme.COMMAND}\n")
    assert (tree / README).read_text() == "untouched\n"


def test_command_works_from_anywhere_and_writes_every_page(tree) -> None:
    program = shutil.copy(build_readme.__file__, tree)
    (tree / "folder" / RAW).write_text(":INCLUDE text.txt\n")
    command = [sys.executable, program]
    subprocess.run(command, cwd=tree.parent, check=True)
    assert (tree / README).read_text() == f"{BANNER}fine\n"
    second = (tree / "folder" / README).read_text("utf-8")
    assert second == f"{BANNER}one\n\ntwo é\n"


def test_a_second_run_writes_nothing(tree) -> None:
    main([], root=tree)
    written = (tree / README).stat().st_mtime_ns
    assert main(["--check"], root=tree) == 0
    assert main([], root=tree) == 0
    assert (tree / README).stat().st_mtime_ns == written
