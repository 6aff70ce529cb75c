"""Expand each README_raw.md into the README.md beside it.

    python build_readme.py          write every README.md
    python build_readme.py --check  write nothing; exit 1 if one is out of step

A line that starts with a colon and a capital is a directive:

    :INCLUDE path     the lines of a file; a Python file without its docstring
    :DIFF old new     what changes in the code from one Python file to another,
                      comments, docstrings and blank lines left out

Paths are relative to the repository. To show a directive, indent it. An error
names the page and its line, the exit status is 2, and no README.md changes.
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
BANNER = f"<!-- Generated: edit README_raw.md, then run {COMMAND} -->\n\n"


class PageError(Exception):
    """What is wrong in a page, and what to do about it."""


def read(root: Path, name: str) -> str:
    """Return the text of a file that a page may show."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise PageError(f"{name} is outside the repository; name a file in it")
    if path.name == "README.md":
        raise PageError(f"{name} is made from such pages; name another file")
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise PageError(f"{name}: {error.strerror}; name a file") from error
    except UnicodeDecodeError as error:
        raise PageError(f"{name} is not UTF-8; save it as UTF-8") from error


def read_code(root: Path, name: str, only_code: bool = False) -> list[str]:
    """Return the lines of a Python file without the docstring on its top.

    With only_code, also without comments, other docstrings and blank lines.
    """
    source = read(root, name)
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        where = f"{name}, line {error.lineno}"
        raise PageError(f"{where}: this is not Python; correct it") from error
    lines = source.splitlines()
    if only_code:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(tree) if only_code else [tree]:
        documented = ast.Module | ast.ClassDef | ast.FunctionDef
        if isinstance(node, documented) and ast.get_docstring(node):
            doc = node.body[0]
            # What shares a line with the docstring stays: ast counts bytes.
            before = lines[doc.lineno - 1].encode()[: doc.col_offset]
            after = lines[doc.end_lineno - 1].encode()[doc.end_col_offset :]
            rest = (before + after).decode().rstrip()
            rows = doc.end_lineno - doc.lineno
            lines[doc.lineno - 1 : doc.end_lineno] = [rest] + [""] * rows
    if only_code:
        return [line for line in lines if line.strip()]
    return "\n".join(lines).strip("\n").splitlines()


def diff(root: Path, *names: str) -> list[str]:
    """Return the difference between the code of two Python files."""
    code = [read_code(root, name, only_code=True) for name in names]
    lines = list(difflib.unified_diff(*code, *names, n=1, lineterm=""))
    if not lines:
        raise PageError("the two have the same code; name two that differ")
    # The numbers in a hunk's head would count lines that no file has.
    return ["@@ @@" if line.startswith("@@") else line for line in lines]


def expand_line(root: Path, line: str) -> list[str]:
    """Return the lines that replace a line: itself, if it is no directive."""
    if not re.match(":[A-Z]", line):
        return [line]
    match line.split():
        case [":INCLUDE", name] if name.endswith(".py"):
            return read_code(root, name)
        case [":INCLUDE", name]:
            return read(root, name).splitlines()
        case [":DIFF", old, new]:
            return diff(root, old, new)
    known = ":INCLUDE path or :DIFF old new"
    raise PageError(f"{line} is unknown; write {known}, or indent it")


def expand(page: str, root: Path = ROOT) -> str:
    """Return what README.md should be, given the path of its README_raw.md."""
    output = []
    for number, line in enumerate(read(root, page).splitlines(), start=1):
        try:
            output += expand_line(root, line)
        except PageError as error:
            raise PageError(f"{page}:{number}: {error}") from error
    return BANNER + "\n".join(output) + "\n"


def pages(root: Path = ROOT) -> list[str]:
    """Return the path of each README_raw.md, that of the top level first."""
    found = (path.relative_to(root) for path in root.glob("*/README_raw.md"))
    return ["README_raw.md", *sorted(path.as_posix() for path in found)]


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check every README.md under root; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    try:
        expanded = {page: expand(page, root) for page in pages(root)}
    except PageError as error:
        print(error, file=sys.stderr)
        return 2
    status = 0
    for page, new in expanded.items():
        readme = page.replace("README_raw", "README")
        path = root / readme
        old = path.read_text("utf-8") if path.exists() else ""
        if old == new:
            continue
        if not check:
            path.write_text(new, "utf-8", newline="\n")
            continue
        lines = old.splitlines(), new.splitlines()
        for line in difflib.unified_diff(*lines, readme, page, lineterm=""):
            print(line)
        print(f"{readme} is not what {page} makes; to mend it: {COMMAND}")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
