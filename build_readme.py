"""Expand each README_raw.md into the README.md beside it.

    python build_readme.py          write every README.md
    python build_readme.py --check  write nothing; exit 1 if one is old

A line that starts with a colon and a capital is a directive:

    :INCLUDE path     the lines of a file; of a Python file, which must stand
                      in a fence, without the module docstring
    :DIFF old new     in a diff fence: the difference between the code of two
                      Python files, without comments, docstrings, blank lines

Paths are relative to the repository and stay inside it. To show a directive,
indent it. Errors name the page and its line on stderr, the exit status is 2,
and every README.md stays as it was.
"""

import argparse
import ast
import difflib
import io
import re
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COMMAND = "python build_readme.py"
BANNER = f"<!-- Generated: edit README_raw.md, then run {COMMAND} -->"

# A code fence as CommonMark has it: https://spec.commonmark.org/0.31.2/
FENCE = re.compile(r" {0,3}(?P<marks>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")


class ReadmeError(Exception):
    """What is wrong and the way out, a line for each error."""


def closes(line: str, marks: str) -> bool:
    """Return whether line closes a fence that marks opened."""
    closing = re.fullmatch(r" {0,3}(`+|~+)[ \t]*", line)
    return bool(closing) and closing[1].startswith(marks)


def next_fence(line: str, fence: re.Match | None) -> re.Match | None:
    """Return the fence that is open after line, given the one before it."""
    if fence is None:
        return FENCE.fullmatch(line)
    return None if closes(line, fence["marks"]) else fence


def read_lines(root: Path, name: str) -> list[str]:
    """Return the lines of a UTF-8 file; a newline at its end adds none."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ReadmeError(f"{name} leaves the repository; name a file in it")
    if path.is_dir():
        raise ReadmeError(f"{name} is a folder; name a file in it")
    if not path.exists():
        raise ReadmeError(f"{name} does not exist; correct the path or add it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        where = f"{name}, line {row}"
        raise ReadmeError(f"{where} is not UTF-8; save it so") from error
    return text.removesuffix("\n").split("\n") if text else []


def cut(lines: list[str], name: str, everything: bool) -> list[str]:
    """Return a Python file's lines without its module docstring.

    With everything, also without other docstrings, comments and blank lines.
    """
    source = "\n".join(lines) + "\n"
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        where = f"{name}, line {error.lineno}"
        raise ReadmeError(f"{where} is not Python; correct it") from error
    if everything:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree) if everything else [tree]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                first, last = node.body[0].lineno, node.body[0].end_lineno
                lines[first - 1 : last] = [""] * (last - first + 1)
    if everything:
        return [line for line in lines if line.strip()]
    return "\n".join(lines).strip("\n").split("\n")


def diff(root: Path, *names: str) -> list[str]:
    """Return the difference between the code of two Python files."""
    code = [cut(read_lines(root, name), name, True) for name in names]
    lines = list(difflib.unified_diff(*code, *names, n=1, lineterm=""))
    if not lines:
        raise ReadmeError("the two have the same code; name two that differ")
    # The numbers in a hunk's head would count lines that no file has.
    return ["@@ @@" if line.startswith("@@") else line for line in lines]


def expand_line(root: Path, line: str, fence: re.Match | None) -> list[str]:
    """Return the lines that replace a line: itself, if no directive."""
    if not re.match(":[A-Z]", line):
        return [line]
    match line.split():
        case [":INCLUDE", name]:
            lines = read_lines(root, name)
            if name.endswith(".py"):
                if fence is None:
                    raise ReadmeError(f"{name} needs a fence; write one")
                lines = cut(lines, name, everything=False)
        case [":DIFF", old, new]:
            if fence is None or fence["info"].strip() != "diff":
                raise ReadmeError(":DIFF needs a diff fence; write one")
            lines = diff(root, old, new)
        case _:
            known = ":INCLUDE path or :DIFF old new"
            raise ReadmeError(f"{line} is unknown; write {known}, or indent")
    if fence and any(closes(each, fence["marks"]) for each in lines):
        raise ReadmeError("this closes the fence around it; make that longer")
    return lines


def expand(page: str, root: Path = ROOT) -> str:
    """Return what README.md should be, given the path of its README_raw.md.

    Raises ReadmeError with every error of the page.
    """
    try:
        rows = read_lines(root, page)
    except ReadmeError as error:
        raise ReadmeError(f"{page}:1: {error}") from error
    output, errors = [BANNER, ""], []
    fence, opened = None, 0
    for number, row in enumerate(rows, start=1):
        try:
            lines = expand_line(root, row, fence)
        except ReadmeError as error:
            errors.append(f"{page}:{number}: {error}")
            continue
        for line in lines:
            opened = opened if fence else number
            fence = next_fence(line, fence)
        output += lines
    if fence:
        what = f"this fence is never closed; add {fence['marks']}"
        errors.append(f"{page}:{opened}: {what}")
    if errors:
        raise ReadmeError("\n".join(errors))
    return "\n".join(output) + "\n"


def pages(root: Path = ROOT) -> list[str]:
    """Return the path of each README_raw.md, that of the top level first."""
    found = (path.relative_to(root) for path in root.glob("*/README_raw.md"))
    return ["README_raw.md", *sorted(path.as_posix() for path in found)]


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check every README.md under root; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check

    new, errors = {}, []
    for page in pages(root):
        try:
            new[page.replace("README_raw", "README")] = expand(page, root)
        except ReadmeError as error:
            errors.append(str(error))
    if errors:
        print("\n".join(errors), file=sys.stderr)
        return 2

    status = 0
    for name, text in new.items():
        path = root / name
        old = path.read_bytes() if path.exists() else b""
        if old == text.encode():
            continue
        if not check:
            half = path.with_name(".README.md.new")
            half.write_bytes(text.encode())
            half.replace(path)
            continue
        status = 1
        lines = old.decode(errors="replace").split("\n"), text.split("\n")
        for line in difflib.unified_diff(*lines, name, name, lineterm=""):
            print(line.encode("ascii", "backslashreplace").decode())
        print(f"{name} is not what its source makes; to mend it: {COMMAND}")
    return status


if __name__ == "__main__":
    sys.exit(main())
