"""The pages: in step with their sources, their links, names and figures."""

import ast
import doctest
import functools
import importlib
import keyword
import re
import types

import pytest

import build_readme
from harness import ROOT
from make_outputs import FAULTS
from pages import FENCE, PAGES, blocks, prose, quoted, read, sections
from scripts import NINE, SCRIPTS

MAKEFILE = read("Makefile")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_pages_are_in_step_with_their_sources(capsys) -> None:
    assert build_readme.main(["--check"]) == 0, capsys.readouterr().out


# Links.


def link_targets(page: str) -> list[str]:
    """Return the targets of a page's links and images in the repository."""
    text = FENCE.sub("", read(page))
    markdown = re.findall(r"\]\((?!https://)([^)\s]+)\)", text)
    tags = re.findall(r'(?:src|srcset|href)="(?!https://)([^"]+)"', text)
    return markdown + tags


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    for target in link_targets(page):
        path, _, anchor = target.partition("#")
        file = folder / path if path else ROOT / page
        assert file.exists(), (
            f"{page} links to {target}; there is no such file"
        )
        if anchor:
            if file.is_dir():
                file = file / "README.md"
            found = sections(str(file.resolve().relative_to(ROOT)))
            assert anchor in found, f"{page}: {target} names no heading there"


@pytest.mark.parametrize("page", PAGES)
def test_images_have_a_description(page: str) -> None:
    for tag in re.findall(r"<img [^>]*>", read(page)):
        assert re.search(r'alt="[^"]{20,}"', tag), f"{page}: {tag}"


# Code.


def sessions(page: str) -> list[tuple[int, str]]:
    return blocks(page, "pycon")


def first_session(page: str) -> str:
    """Return the session that stands before the first section, if any."""
    top = read(page).partition("\n## ")[0]
    found = re.search(r"^```pycon\n(.*?)^```$", top, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


SESSIONS = [(page, line) for page in PAGES for line, _ in sessions(page)]


@pytest.mark.parametrize(("page", "line"), SESSIONS)
def test_session_prints_what_the_page_shows(
    page: str, line: int, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)  # A session may write a file.
    names: dict = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    source = dict(sessions(page))[line]
    if source != first_session(page):
        imports = parser.get_doctest(first_session(page), names, page, page, 0)
        runner.run(imports, clear_globs=False)
        names = imports.globs  # A copy of the names, with the imports.
    report: list[str] = []
    session = parser.get_doctest(source, names, page, page, line - 1)
    result = runner.run(
        session,
        out=report.append,
        clear_globs=False,  # torch.compile looks at them later.
    )
    assert result.attempted, f"{page}:{line}: a session needs lines with >>>"
    assert not result.failed, "".join(report)


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_code_is_wider_than_79(page: str) -> None:
    for language in ("python", "pycon", "sh", "diff"):
        # A difference has one column more, for its sign.
        width = 80 if language == "diff" else 79
        for first, block in blocks(page, language):
            for number, line in enumerate(block.splitlines(), start=first):
                if line.startswith(":"):  # A directive.
                    continue
                if language == "pycon" and line[:4] not in (">>> ", "... "):
                    continue  # What Python answers is as wide as it is.
                assert len(line) <= width, f"{page}:{number}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_what_exists(page: str) -> None:
    for first, block in blocks(page, "sh"):
        for target in re.findall(r"\bmake ([a-z]+)", block):
            assert target in TARGETS, f"{page}:{first}: make {target}"
        for path in re.findall(r"\S+\.(?:py|diff|ipynb)\b", block):
            assert (ROOT / path).exists(), f"{page}:{first}: {path}"


def test_make_help_names_every_target() -> None:
    named = set(re.findall(r'@echo "make ([a-z]+) ', MAKEFILE))
    assert named == TARGETS - {"help"}


@pytest.mark.parametrize("script", [script.path for script in SCRIPTS])
def test_every_script_is_shown_on_its_page(script: str) -> None:
    page = "README_raw.md" if script in NINE else "further/README_raw.md"
    assert f"\n:INCLUDE {script}\n" in read(page), (
        f"no section of {page} shows {script}; write one"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_shown_with_its_output(fault: str) -> None:
    text = "\n".join(map(read, PAGES))
    output = f"outputs/{fault.removesuffix('.diff')}.txt"
    assert f":INCLUDE {fault}\n" in text, f"no page shows {fault}; write it"
    # A page may also state the first and the last loss, with this link.
    shown = f":INCLUDE {output}\n" in text or f"](../{output})" in text
    assert shown, f"no page shows {output}, or links to it; write it"


# Names.

LIBRARIES = {
    "torch": "torch",
    "nn": "torch.nn",
    "optim": "torch.optim",
    "np": "numpy",
    "numpy": "numpy",
    "tf": "tensorflow",
    "keras": "keras",
    "dist": "torch.distributed",
    "random": "random",
    "copy": "copy",
}
# Where a method or an attribute may belong to, by what the pages call it.
OWNERS = [
    "builtins",
    "torch",
    "torch.Tensor",
    "torch.nn",
    "torch.nn.Module",
    "torch.nn.functional",
    "torch.optim",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler",
    "torch.autograd",
    "torch.autograd.Function",
    "torch.distributed",
    "torch.nn.parallel",
    "torch.nn.utils",
    "torch.utils.data",
    "torch.utils.data.DistributedSampler",
    "torch.utils.benchmark",
    "torch.compiler",
    "torch.accelerator",
    "numpy",
    "numpy.ndarray",
    "tensorflow",
    "tensorflow.Variable",
    "keras",
    "keras.Model",
    "keras.layers",
    "keras.losses",
]
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def find(path: str):
    """Return what a dotted path names: a module, or a part of one."""
    module, _, rest = path.partition(".")
    found = importlib.import_module(module)
    for part in filter(None, rest.split(".")):
        if isinstance(found, types.ModuleType) and not hasattr(found, part):
            found = importlib.import_module(f"{found.__name__}.{part}")
        else:
            found = getattr(found, part)
    return found


@functools.cache
def library_names() -> set[str]:
    """Return the names that Python and the libraries define."""
    found = set(keyword.kwlist) | set(LIBRARIES)
    for owner in OWNERS:
        found |= set(dir(find(owner)))
    return found


def shown_names(page: str) -> set[str]:
    """Return the names in the code that a page shows, and in its outputs."""
    text = read(page.replace("README_raw", "README"))
    code = "\n".join(
        match[3] for match in FENCE.finditer(text) if match[2] != "mermaid"
    )
    return set(re.findall(r"\w+", code))


def is_known(name: str, known: set[str]) -> bool:
    root, _, rest = name.partition(".")
    if rest and root in LIBRARIES:
        try:
            find(f"{LIBRARIES[root]}.{rest}")
        except (AttributeError, ImportError):
            return False
        return True
    return all(part in known for part in name.split("."))


def names_in(code: str) -> list[str]:
    """Return the names in inline code, or none if it is a path or text.

    A name in capitals is a variable of the environment.
    """
    if re.search(
        r"/|\.(py|md|diff|txt|pt|ipynb)$|^(make|pip|git) |^-|\$", code
    ):
        return []
    code = re.sub(r"(['\"]).*?\1", "", code)  # Strings are text.
    code = re.sub(r"(?<=[(\s])\w+=(?!=)", "", code)  # Names of arguments.
    names = [n for n in NAME.findall(code) if n != n.upper()]
    only_a_name = NAME.fullmatch(code.removesuffix("()"))
    return [n for n in names if only_a_name or "_" in n or "." in n]


@pytest.mark.parametrize("page", PAGES)
def test_names_in_backticks_exist(page: str) -> None:
    known = library_names() | shown_names(page)
    unknown = []
    for number, line in enumerate(prose(page).splitlines(), start=1):
        for code in re.findall(r"`([^`]+)`", line):
            for name in names_in(code):
                if not is_known(name, known):
                    unknown.append(f"{page}:{number}: {name}")
    assert not unknown, (
        "these names stand in no code of the page and in no library; "
        "correct them:\n" + "\n".join(unknown)
    )


@pytest.mark.parametrize("page", PAGES)
def test_names_in_diagrams_exist(page: str) -> None:
    known = shown_names(page)
    for first, diagram in blocks(page, "mermaid"):
        for name in re.findall(r"\b[a-z]+_[a-z_]+\b|\b[a-z]+\d\b", diagram):
            assert name in known, (
                f"{page}:{first}: the diagram has {name}, and no code of the "
                "page does; correct it"
            )


# Figures.

# A digit that no letter, digit or point stands before: neither w1 nor 3.11.
FIGURE = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
APART = [
    r"^#.*",  # headings
    r"`[^`]*`",  # code
    r"\$[^$]*\$",  # formulas
    r"\d+(?: × \d+)+",  # sizes, such as 64 × 1000
    r"\(\d+, *(?:\d+)?\)",  # shapes, such as (64, 1)
    r"(?<![\w.])[01](?![\w.,]*\d|e-)",  # 0 and 1
    r"\b(?:19|20)\d\d\b",  # years
    # versions, such as Python 3.11, 3.12 or 3.13
    r"(?:Python|TensorFlow|Keras|PyTorch|Debian|Windows)"
    r" \d[\d.]*(?:(?:,| or| and| to|;) \d[\d.]*)*",
]


def quotations() -> list[str]:
    """Return what the tests hand to says(), by reading their source."""
    found = []
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if not isinstance(node.func, ast.Name) or node.func.id != "says":
                continue
            assert isinstance(node.args[0], ast.Constant), (
                f"{path.name}:{node.lineno}: hand says() a plain string, "
                "which this test can read"
            )
            found.append(node.args[0].value)
    return found


def without(text: str, pattern: str) -> str:
    """Return text with what a pattern finds made blank, place for place."""
    return re.sub(
        pattern,
        lambda match: re.sub(r"[^\n]", " ", match[0]),
        text,
        flags=re.MULTILINE,
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_read_by_a_test(page: str) -> None:
    text = prose(page)
    for quotation in quotations():
        text = without(text, quoted(quotation).pattern)
    for pattern in APART:
        text = without(text, pattern)
    lines = prose(page).splitlines()
    unread = [
        f"{page}:{number}: {figure}    in: {lines[number - 1]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for figure in FIGURE.findall(line)
    ]
    assert not unread, (
        "no test reads these figures; read each with says() in a test that "
        "measures it, or take it out:\n" + "\n".join(unread)
    )
