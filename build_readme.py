"""Expand README_raw.md into README.md.

    python build_readme.py          write README.md
    python build_readme.py --check  write nothing; exit 1 if README.md is old

A line of README_raw.md that starts with a colon and a capital is a directive:

    :INCLUDE path     the lines of a file; of a Python file, which must stand
                      in a fence, without the module docstring
    :DIFF old new     in a diff fence: the difference between the code of two
                      Python files, without comments, docstrings, blank lines

Paths are relative to the repository and stay inside it. To show a directive,
indent it. Errors name the line of README_raw.md on stderr, the exit status is
2, and README.md stays as it was.
"""

import argparse
import ast
import difflib
import io
import os
import re
import shutil
import sys
import tokenize
from pathlib import Path, PurePath

ROOT = Path(__file__).resolve().parent
RAW = "README_raw.md"
README = "README.md"
COMMAND = "python build_readme.py"
BANNER = f"<!-- Generated: edit {RAW}, then run {COMMAND} -->"

# A code fence as CommonMark has it: https://spec.commonmark.org/0.31.2/
FENCE = re.compile(r" {0,3}(?P<marks>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")


class Problem(Exception):
    """What is wrong with one line of README_raw.md, and the way out."""


class ReadmeError(Exception):
    """Everything that is wrong with README_raw.md, a line each."""


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file with LF line endings.

    Raises OSError, or UnicodeDecodeError if the file is not UTF-8.
    """
    text = path.read_bytes().decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_lines(text: str) -> list[str]:
    """Return the lines of text; a newline at its end is no further line."""
    return text.removesuffix("\n").split("\n") if text else []


def closes(line: str, marks: str) -> bool:
    """Return whether line closes a fence that marks opened."""
    end = line.strip(" \t")
    indent = len(line) - len(line.lstrip(" "))
    return indent < 4 and end == marks[0] * max(len(end), len(marks))


def next_fence(line: str, fence: re.Match | None) -> re.Match | None:
    """Return the fence that is open after line, given the one before it."""
    if fence is None:
        return FENCE.fullmatch(line)
    return None if closes(line, fence["marks"]) else fence


def find(root: Path, name: str) -> Path:
    """Return the path of the file that a directive names, or raise Problem."""
    if PurePath(name).anchor:
        raise Problem(f"{name} is absolute; write it relative to {RAW}")
    path = (root / name).resolve()
    inside = path.is_relative_to(root.resolve())
    if not inside or os.path.normpath(name).startswith(".."):
        raise Problem(f"{name} leaves the repository; name a file inside it")
    if path.is_dir():
        raise Problem(f"{name} is a folder; name a file in it")
    for own in (root / README, root / RAW):
        same = own.exists() and path.exists() and own.samefile(path)
        if same or own.resolve() == path:
            raise Problem(f"{name} is the README itself; name another file")
    if not path.exists():
        raise Problem(f"{name} does not exist; correct the path or add it")
    return path


def read_file(root: Path, name: str) -> str:
    """Return the text of the file a directive names, or raise Problem."""
    try:
        return read_text(find(root, name))
    except UnicodeDecodeError as error:
        raise Problem(f"{name} is not UTF-8; save it as UTF-8") from error
    except (OSError, RuntimeError, ValueError) as error:
        # An unreadable file, a loop of links, a path that no file can have.
        raise Problem(
            f"{name} cannot be read ({error}); correct the path or the file"
        ) from error


def parse(source: str, name: str) -> ast.Module:
    """Return the syntax tree of a Python file, or raise Problem."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise Problem(
            f"{name} is not valid Python; correct its line {line}"
        ) from error


def cut_docstring(lines: list[str], node: ast.AST) -> None:
    """Remove the docstring of a module, class or function from its lines."""
    if ast.get_docstring(node, clean=False) is None:
        return
    docstring = node.body[0]
    start, end = docstring.lineno - 1, docstring.end_lineno
    # ast counts columns in bytes. What shares a line with it stays.
    before = lines[start].encode()[: docstring.col_offset].decode()
    after = lines[end - 1].encode()[docstring.end_col_offset :].decode()
    rest = before + after.lstrip("; \t")
    lines[start:end] = [rest.rstrip()] if rest.strip() else []


def without_docstring(source: str, name: str) -> list[str]:
    """Return the lines of a Python file from after its module docstring."""
    lines = split_lines(source)
    cut_docstring(lines, parse(source, name))
    while lines and not lines[0].strip():
        del lines[0]
    while lines and not lines[-1].strip():
        del lines[-1]
    return lines


def code_lines(source: str, name: str) -> list[str]:
    """Return a Python file's code, without comments, docstrings, blanks."""
    tree = parse(source, name)
    lines = split_lines(source)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [n for n in ast.walk(tree) if isinstance(n, kinds) and n.body]
    # The last docstring first, so that the other line numbers stay true.
    for node in sorted(nodes, key=lambda n: n.body[0].lineno, reverse=True):
        cut_docstring(lines, node)
    return [line.rstrip() for line in lines if line.strip()]


def include(root: Path, names: list[str], fence: re.Match | None) -> list[str]:
    """Return the lines of a file, as `:INCLUDE path` asks for them."""
    if len(names) != 1:
        raise Problem(f"one path, not {len(names)}; write :INCLUDE path")
    (name,) = names
    text = read_file(root, name)
    if PurePath(name).suffix == ".py":
        if fence is None:
            raise Problem(f"{name} is outside a fence; write one around it")
        return without_docstring(text, name)
    lines = split_lines(text)
    if fence is None:
        inner = None
        for line in lines:
            inner = next_fence(line, inner)
        if inner:
            raise Problem(f"{name} never closes a fence; close it there")
    return lines


def diff(root: Path, names: list[str], fence: re.Match | None) -> list[str]:
    """Return the difference of two scripts, as `:DIFF old new` asks for it."""
    if len(names) != 2:
        raise Problem(f"two paths, not {len(names)}; write :DIFF old new")
    if fence is None or fence["info"].strip() != "diff":
        raise Problem(":DIFF stands outside a diff fence; write one around it")
    code = []
    for name in names:
        text = read_file(root, name)
        if PurePath(name).suffix != ".py":
            raise Problem(f"{name} is not Python; name two .py files")
        code.append(code_lines(text, name))
    lines = list(difflib.unified_diff(*code, *names, n=1, lineterm=""))
    if not lines:
        raise Problem("the two files have the same code; name two that differ")
    # The numbers in a hunk's head would count lines that no file has.
    return ["@@ @@" if line.startswith("@@") else line for line in lines]


DIRECTIVES = {":INCLUDE": include, ":DIFF": diff}


def expand_line(
    root: Path, line: str, fence: re.Match | None
) -> list[str] | None:
    """Return the lines that replace a directive; None for any other line."""
    if not re.match(":[A-Z]", line):
        return None
    word, *names = line.split()
    if word not in DIRECTIVES:
        known = " and ".join(DIRECTIVES)
        raise Problem(f"{word} is unknown; use {known}, or indent the line")
    lines = DIRECTIVES[word](root, names, fence)
    if fence and any(closes(each, fence["marks"]) for each in lines):
        raise Problem(
            f"{' '.join(names)} would close the fence around it; "
            f"make the fence longer than {fence['marks']}"
        )
    return lines


def expand(root: Path) -> str:
    """Return what README.md should be, given the README_raw.md in root.

    Raises ReadmeError with every error of README_raw.md.
    """
    try:
        raw = read_text(root / RAW)
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ReadmeError(
            f"{RAW}:{number}: this is not UTF-8; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ReadmeError(
            f"{RAW}:1: the file cannot be read ({error.strerror}); "
            f"put it beside build_readme.py"
        ) from error

    output = [BANNER, ""]
    errors = []
    fence, opened = None, 0
    for number, line in enumerate(split_lines(raw), start=1):
        try:
            lines = expand_line(root, line, fence)
        except Problem as problem:
            errors.append((number, str(problem)))
            continue
        if lines is None:
            lines = [line]
            if fence is None:
                opened = number
            fence = next_fence(line, fence)
        output += lines
    if fence:
        marks = fence["marks"]
        errors.append((opened, f"this fence is never closed; add {marks}"))
    if errors:
        errors = [f"{RAW}:{number}: {what}" for number, what in sorted(errors)]
        raise ReadmeError("\n".join(errors))
    return "\n".join(output) + "\n"


def replace(path: Path, content: bytes) -> None:
    """Put content in the place of a file in one step, or raise OSError."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check README.md in root; return the exit status."""
    parser = argparse.ArgumentParser(description="Expand README_raw.md.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 with a diff if README.md is old",
    )
    check = parser.parse_args(argv).check

    readme = root / README
    try:
        text = expand(root)
        old = readme.read_bytes() if readme.exists() else b""
        if old == text.encode():
            return 0
        if not check:
            replace(readme, text.encode())
            return 0
    except ReadmeError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{README}:1: the file cannot be read or written "
            f"({error.strerror}); it is as it was",
            file=sys.stderr,
        )
        return 2

    sys.stdout.reconfigure(errors="backslashreplace")
    difference = difflib.unified_diff(
        old.decode(errors="backslashreplace").splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"{README} as it is",
        f"{README} as it should be",
    )
    for line in difference:
        print(line if line.endswith("\n") else f"{line}\n", end="")
    print(f"{README} is not what {RAW} makes; to mend it, run: {COMMAND}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
