"""build_readme.py: each directive, each error, on small trees."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build_readme
from build_readme import BANNER, expand, main

RAW, README = "README_raw.md", "README.md"
SAME = 's = "# kept"\n\n\ndef f():\n    """F."""\n'
# Written in Latin-1, so that each character here is a byte there.
FILES = {
    RAW: "fine\n",
    README: "untouched\n",
    "a.txt": "\xef\xbb\xbf1\r\n\n2\x0c\r\n",
    "a.py": "'''Two\n```\nlines.'''\n\n\nx = 1  # One.\n\n\n",
    "b.py": '# First.\n\n"""D."""\nx = 1',
    "c.py": 'def f(): "F."\n\n\n"None."',
    "old.py": f'"""D."""\nz = 0\n\n# Why.\nx = 1  # 1\n{SAME}    return x\n',
    "new.py": f"z = 0\ny = 2\n{SAME}    # How.\n    return y\n",
    "bad.py": "x = 1\nx = = 2\n",
    "ticks.py": 'x = """\n```\n"""\n',
    "open.md": "~~~\nx\n",
    "latin1.txt": "a\ncaf\xe9\n",
    "folder/b.txt": "b",
    "../outside.txt": "outside\n",
}


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small repository with something of every kind that goes wrong."""
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    for name, content in FILES.items():
        (root / name).write_text(content, "latin-1", newline="")
    return root


def fenced(line: str, language: str = "python") -> str:
    return f"```{language}\n{line}\n```\n"


# Misread one fence of these, and another seems never closed.
TEXT = (
    "# Title\n\n : not one, :INCLUDE a.py nor this\n    :INCLUDE b.py\n"
    "```python\n    ```\n```\n~~~~\n~~~\n~~~~\n```a``` b\none"
)
DIFF = (
    "--- old.py\n+++ new.py\n@@ @@\n z = 0\n-x = 1\n+y = 2\n"
    ' s = "# kept"\n def f():\n-    return x\n+    return y'
)
EXPANDED = {
    "no directive": (TEXT, f"{TEXT}\n"),
    "text": ("0\r\n:INCLUDE a.txt\r\nc", "0\n1\n\n2\x0c\nc\n"),
    "no newline at the end": (":INCLUDE folder/b.txt\nc", "b\nc\n"),
    "docstring": (fenced(":INCLUDE a.py"), fenced("x = 1  # One.")),
    "late one": (fenced(":INCLUDE b.py"), fenced("# First.\n\n\nx = 1")),
    "none": (fenced(":INCLUDE c.py"), fenced(FILES["c.py"])),
    "diff": (fenced(":DIFF old.py new.py", "diff"), fenced(DIFF, "diff")),
}


@pytest.mark.parametrize("case", EXPANDED)
def test_directives_are_replaced_and_all_else_stays(tree, case) -> None:
    raw, shown = EXPANDED[case]
    (tree / RAW).write_text(raw, newline="")
    assert expand(RAW, tree) == f"{BANNER}\n\n{shown}"


ERRORS = {
    "missing file": (":INCLUDE no.txt\n", 1, "does not exist"),
    "folder": (":INCLUDE folder\n", 1, "is a folder"),
    "no path": ("a\n:INCLUDE \n", 2, "is unknown"),
    "outside": (":INCLUDE ../outside.txt\n", 1, "leaves the repository"),
    "not UTF-8": ("x\n:INCLUDE latin1.txt\n", 2, "line 2 is not UTF-8"),
    "not Python": (fenced(":INCLUDE bad.py"), 2, "line 2 is not Python"),
    "Python in no fence": ("\n\n:INCLUDE a.py\n", 3, "needs a fence"),
    "closes its fence": (fenced(":INCLUDE ticks.py"), 2, "closes the fence"),
    "fence never closed": ("a\n```\nb\n", 2, "never closed"),
    "fence open in a file": ("a\n:INCLUDE open.md\n", 2, "never closed"),
    "misspelt": (fenced("x\n:INCLDUE a.txt"), 3, "is unknown"),
    "source not UTF-8": ("a\nb\n\xff\n", 1, "line 3 is not UTF-8"),
    "diff, same code": (fenced(":DIFF a.py b.py", "diff"), 2, "same code"),
    "diff in no fence": (":DIFF a.py c.py\n", 1, "needs a diff fence"),
}


@pytest.mark.parametrize("page", [RAW, f"folder/{RAW}"])
@pytest.mark.parametrize("case", ERRORS)
def test_error_names_line_and_leaves_readme(tree, capsys, page, case) -> None:
    raw, line, message = ERRORS[case]
    (tree / page).write_text(raw, "latin-1")
    before = sorted(tree.rglob("*"))
    for arguments in ([], ["--check"]):
        assert main(arguments, root=tree) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and message in err
        # What is wrong, and the way out.
        assert err.startswith(f"{page}:{line}: ") and "; " in err
    assert (tree / README).read_text() == "untouched\n"
    assert sorted(tree.rglob("*")) == before


def test_all_errors_are_reported_in_one_run(tree, capsys) -> None:
    page = f"folder/{RAW}"
    (tree / RAW).unlink()
    (tree / page).write_text(":INCLUDE no.txt\n:WHAT\n```\n:DIFF a\n")
    assert main([], root=tree) == 2
    lines = [e.split(":")[:2] for e in capsys.readouterr().err.splitlines()]
    assert lines == [[RAW, "1"], *([page, number] for number in "1243")]


@pytest.mark.parametrize("old", [b"old\n", b"\xff\n", b"", b"new\r\n"])
def test_check_shows_a_diff_and_the_way_out(tree, capsys, old) -> None:
    (tree / RAW).write_text("new é\n", "utf-8")
    (tree / README).write_bytes(old)
    assert main(["--check"], root=tree) == 1
    out, err = capsys.readouterr()
    assert err == "" and out.isascii()
    assert out.startswith("--- README.md") and "\n+new \\xe9\n" in out
    assert build_readme.COMMAND in out.splitlines()[-1]
    assert (tree / README).read_bytes() == old


def test_readme_is_never_half_written(tree, monkeypatch) -> None:
    def fail(self, content):
        self.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        main([], root=tree)
    assert (tree / README).read_text() == "untouched\n"


def test_command_works_anywhere_and_twice_changes_nothing(tree) -> None:
    program, check = shutil.copy(build_readme.__file__, tree), ["--check"]
    (tree / RAW).write_text("a é\n", "utf-8")
    (tree / "folder" / RAW).write_text(":INCLUDE folder/b.txt\n")
    pages, seen = [tree / README, tree / "folder" / README], []
    for arguments, code in ((check, 1), ([], 0), ([], 0), (check, 0)):
        command = [sys.executable, program, *arguments]
        result = subprocess.run(command, cwd=tree.parent, capture_output=True)
        assert result.returncode == code and result.stderr == b""
        seen.append({p: p.stat().st_mtime_ns for p in tree.rglob("*.*")})
    assert seen[1] == seen[2] == seen[3] and {*seen[1]} == {*seen[0], pages[1]}
    texts = [page.read_text("utf-8") for page in pages]
    assert texts == [f"{BANNER}\n\na é\n", f"{BANNER}\n\nb\n"]
