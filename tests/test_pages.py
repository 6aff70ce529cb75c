"""The pages: in step with their sources, their links, names and figures."""

import ast
import doctest
import functools
import importlib
import keyword
import re
import types
from pathlib import Path

import pytest

import build_readme
from harness import ROOT
from make_outputs import FAULTS
from pages import (
    FENCE,
    MEND,
    PAGES,
    blank,
    blocks,
    fences,
    line_of,
    matches,
    prose,
    quoted,
    read,
    sections,
)
from scripts import NINE, SCRIPTS

MAKEFILE = read("Makefile")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_pages_are_in_step_with_their_sources(capsys) -> None:
    status = build_readme.main(["--check"])
    printed = capsys.readouterr()
    assert status == 0, printed.out + printed.err


# Links and images.


def links(page: str) -> list[tuple[int, str]]:
    """Return the links and images in the repository: line and target."""
    text = FENCE.sub(blank, read(page))
    found = [
        *re.finditer(r"\]\((?!https://)([^)\s]+)\)", text),
        *re.finditer(r'(?:src|srcset|href)="(?!https://)([^"]+)"', text),
    ]
    return [(line_of(text, match.start()), match[1]) for match in found]


def linked_file(page: str, target: str) -> Path:
    """Return the file that a link of a page leads to."""
    path, _, _ = target.partition("#")
    if not path:
        return ROOT / page
    file = (ROOT / page).parent / path
    return file / "README.md" if "#" in target and file.is_dir() else file


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_a_file(page: str) -> None:
    dead = [
        f"{page}:{line}: there is no {target}"
        for line, target in links(page)
        if not linked_file(page, target).exists()
    ]
    assert not dead, "\n".join([*dead, MEND])


@pytest.mark.parametrize("page", PAGES)
def test_links_to_a_section_name_a_heading(page: str) -> None:
    dead = []
    for line, target in links(page):
        file = linked_file(page, target).resolve()
        _, _, anchor = target.partition("#")
        if anchor and file.exists():
            name = file.relative_to(ROOT).as_posix()
            if anchor not in sections(name):
                dead.append(f"{page}:{line}: {name} has no heading #{anchor}")
    assert not dead, "\n".join([*dead, MEND])


def images(page: str) -> list[tuple[int, str]]:
    """Return the images of a page: line and description, which may be ""."""
    text = FENCE.sub(blank, read(page))
    found = [
        (match.start(), match[1])
        for match in re.finditer(r"!\[([^]]*)\]\(", text)
    ]
    for tag in re.finditer(r"<img\b[^>]*>", text):
        description = re.search(r'\balt="([^"]*)"', tag[0])
        found.append((tag.start(), description[1] if description else ""))
    return [(line_of(text, start), words) for start, words in found]


@pytest.mark.parametrize("page", PAGES)
def test_images_have_a_description(page: str) -> None:
    least = 20  # Characters: a few words, more than a name.
    bare = [
        f"{page}:{line}: an image is described by {description!r} alone"
        for line, description in images(page)
        if len(description) < least
    ]
    assert not bare, "\n".join([*bare, MEND])


# Code.


def first_session(page: str) -> str:
    """Return the session that stands before the first section, if any."""
    top = read(page).partition("\n## ")[0]
    found = re.search(r"^```pycon\n(.*?)^```$", top, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def run_session(page: str, line: int, source: str, names: dict) -> str:
    """Run a session, in these names; return where it prints otherwise."""
    parser = doctest.DocTestParser()
    session = parser.get_doctest(source, {}, page, page, line - 1)
    session.globs = names  # Of names handed to get_doctest it takes a copy.
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(
        session,
        out=report.append,
        clear_globs=False,  # torch.compile looks at them later.
    )
    return "".join(report)


def names_of_first_session(page: str) -> dict:
    """Return what the other sessions of a page may use: its imports."""
    names: dict = {}
    run_session(page, 1, first_session(page), names)
    return names


SESSIONS = [
    pytest.param(page, line, source, id=f"{page}-{line}")
    for page in PAGES
    for line, source in blocks(page, "pycon")
]


@pytest.mark.parametrize(("page", "line", "source"), SESSIONS)
def test_session_prints_what_the_page_shows(
    page: str, line: int, source: str, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)  # A session may write a file.
    is_first = source == first_session(page)
    names = {} if is_first else names_of_first_session(page)
    differs = run_session(page, line, source, names)
    assert not differs, f"{differs}{page}:{line}: {MEND}"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_with_a_prompt_are_marked_pycon(page: str) -> None:
    # The test above runs no others.
    unmarked = [
        f"{page}:{first}: this block has >>> and is marked {language!r}"
        for language, first, block in fences(page)
        if re.search("^ *>>> ", block, re.MULTILINE) and language != "pycon"
    ]
    assert not unmarked, "\n".join(
        [*unmarked, "mark it pycon, then run: make readme"]
    )


@pytest.mark.parametrize("page", PAGES)
def test_blocks_marked_pycon_have_a_prompt(page: str) -> None:
    silent = [
        f"{page}:{first}: this block is marked pycon and has no >>>"
        for first, block in blocks(page, "pycon")
        if not re.search("^ *>>> ", block, re.MULTILINE)
    ]
    assert not silent, "\n".join([*silent, MEND])


def typed_lines(page: str, language: str) -> list[tuple[int, str]]:
    """Return what a reader types, in blocks of a language: line and text."""
    lines = [
        (number, line)
        for first, block in blocks(page, language)
        for number, line in enumerate(block.splitlines(), start=first)
    ]
    if language == "pycon":  # The rest is what Python answers.
        prompts = (">>> ", "... ")
        return [(n, line) for n, line in lines if line.startswith(prompts)]
    # A line that starts with a colon is a directive, which no reader sees.
    return [(n, line) for n, line in lines if not line.startswith(":")]


# A difference has one column more, for its sign.
@pytest.mark.parametrize(
    ("language", "width"),
    [("python", 79), ("pycon", 79), ("sh", 79), ("diff", 80)],
)
@pytest.mark.parametrize("page", PAGES)
def test_typed_lines_are_no_wider_than_79(
    page: str, language: str, width: int
) -> None:
    wide = [
        f"{page}:{number}: {len(line)} columns, not {width}: {line}"
        for number, line in typed_lines(page, language)
        if len(line) > width
    ]
    assert not wide, "\n".join([*wide, MEND])


def commands(page: str) -> list[tuple[int, str]]:
    """Return what a page tells to type in a shell: line and command."""
    found = [
        (line_of(prose(page), match.start()), match[1])
        for match in re.finditer(r"`(make [^`]+)`", prose(page))
    ]
    for number, line in typed_lines(page, "sh"):
        command, _, _ = line.partition("#")
        found.append((number, command))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_make_has_the_targets_that_the_page_names(page: str) -> None:
    unknown = [
        f"{page}:{number}: Makefile has no target {target}"
        for number, command in commands(page)
        for targets in re.findall(r"\bmake((?:\s+[a-z]+)+)", command)
        for target in targets.split()
        if target not in TARGETS
    ]
    assert not unknown, "\n".join([*unknown, MEND])


@pytest.mark.parametrize("page", PAGES)
def test_files_in_commands_exist(page: str) -> None:
    missing = [
        f"{page}:{number}: there is no {path}"
        for number, command in commands(page)
        for path in re.findall(r"\S+\.(?:py|diff|ipynb|txt)\b", command)
        if not (ROOT / path).exists()
    ]
    assert not missing, "\n".join([*missing, MEND])


def test_make_help_names_every_target() -> None:
    named = set(re.findall(r'@echo "make ([a-z]+) ', MAKEFILE))
    differ = sorted(named ^ (TARGETS - {"help"}))
    line = line_of(MAKEFILE, MAKEFILE.index("\nhelp:") + 1)
    assert not differ, (
        f"Makefile:{line}: only one of help and the Makefile has {differ}; "
        "correct help, then run: make help"
    )


@pytest.mark.parametrize("script", [script.path for script in SCRIPTS])
def test_every_script_is_shown_on_its_page(script: str) -> None:
    page = "README_raw.md" if script in NINE else "further/README_raw.md"
    assert f"\n:INCLUDE {script}\n" in read(page), (
        f"{page} has no line ':INCLUDE {script}'; write its section, "
        "then run: make readme"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_shows_every_fault(fault: str) -> None:
    text = "\n".join(map(read, PAGES))
    assert f":INCLUDE {fault}\n" in text, (
        f"no page has a line ':INCLUDE {fault}'; write it, "
        "then run: make readme"
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_shows_what_every_fault_prints_or_links_to_it(
    fault: str,
) -> None:
    text = "\n".join(map(read, PAGES))
    output = f"outputs/{fault.removesuffix('.diff')}.txt"
    shown = f":INCLUDE {output}\n" in text
    # Beside the link, a page states the first and the last loss.
    linked = f"](../{output})" in text
    assert shown or linked, (
        f"no page has a line ':INCLUDE {output}', or a link to that file; "
        "write it, then run: make readme"
    )


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
# Names that stand in no code: variables of the environment, errors of CUDA.
OUTSIDE = {
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDA_VISIBLE_DEVICES",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
    "RANK",
    "TORCH_LOGS",
    "WORLD_SIZE",
}
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
STRING = re.compile(r"(['\"]).*?\1")
ARGUMENT = re.compile(r"(?<=[(\s])\w+=(?!=)")
# Inline code that is no Python, or holds nothing to look up.
NOT_PYTHON = re.compile(
    r"""
    /                               # a path, or a division
    | \.(py|md|diff|txt|pt|ipynb)$  # a file
    | ^(make|pip|git)[ ]            # a command
    | ^-                            # an option, or a negative number
    | \$                            # a formula
    """,
    re.VERBOSE,
)


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
    """Return the names that are defined outside the pages."""
    found = set(keyword.kwlist) | set(LIBRARIES) | OUTSIDE
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
    """Return whether a library has a dotted name, or each part is known."""
    root, _, rest = name.partition(".")
    if rest and root in LIBRARIES:
        try:
            find(f"{LIBRARIES[root]}.{rest}")
        except (AttributeError, ImportError):
            return False
        return True
    return all(part in known for part in name.split("."))


def names_in(code: str) -> list[str]:
    """Return the names in inline code.

    In code that is more than a name, a single word may be one of a message:
    only names with a point or an underscore are names there for sure.
    """
    if NOT_PYTHON.search(code):
        return []
    code = ARGUMENT.sub("", STRING.sub("", code))
    names = NAME.findall(code)
    if NAME.fullmatch(code.removesuffix("()")):
        return names
    return [name for name in names if "_" in name or "." in name]


@pytest.mark.parametrize("page", PAGES)
def test_parts_of_names_in_backticks_are_known(page: str) -> None:
    known = library_names() | shown_names(page)
    unknown = [
        f"{page}:{number}: {name}"
        for number, line in enumerate(prose(page).splitlines(), start=1)
        for code in re.findall(r"`([^`]+)`", line)
        for name in names_in(code)
        if not is_known(name, known)
    ]
    assert not unknown, "\n".join(
        ["in no code of the page and in no library:", *unknown, MEND]
    )


DIAGRAMS = [
    pytest.param(page, line, diagram, id=f"{page}-{line}")
    for page in PAGES
    for line, diagram in blocks(page, "mermaid")
]


@pytest.mark.parametrize(("page", "line", "diagram"), DIAGRAMS)
def test_names_in_diagram_stand_in_the_code(
    page: str, line: int, diagram: str
) -> None:
    # A label of one word, and every word like grad_w1 or linear1.
    labels = re.findall(r'\["(\w+)"\]|\|"(\w+)"\|', diagram)
    names = {word for label in labels for word in label if word}
    names |= set(re.findall(r"\b[a-z]+_[a-z_]+\b|\b[a-z]+\d\b", diagram))
    unknown = sorted(names - shown_names(page))
    assert not unknown, (
        f"{page}:{line}: the diagram has {unknown}, and no code of the page "
        f"has; {MEND}"
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


@functools.cache
def quotations() -> list[tuple[str, str]]:
    """Return what the tests hand to says(): file:line, and the quotation."""
    found = []
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if not isinstance(node.func, ast.Name) or node.func.id != "says":
                continue
            place = f"tests/{path.name}:{node.lineno}"
            assert isinstance(node.args[0], ast.Constant), (
                f"{place}: hand says() a plain string, which this test can "
                "read"
            )
            found.append((place, node.args[0].value))
    return found


# These words begin many entries of faults/, and test_faults.py looks for
# every one of them itself.
OFTEN = {
    "The loss stays at {}",
    "The loss goes from {} to {}",
    "The loss goes from {} to `nan`",
}


def test_every_quoted_figure_stands_once() -> None:
    # says() reads the first place; nothing would measure a second one.
    again = [
        f"{place} quotes {quotation!r}, which stands in "
        + " and ".join(page_line for page_line, _ in matches(quotation))
        for place, quotation in quotations()
        if len(matches(quotation)) > 1 and quotation not in OFTEN
    ]
    assert not again, "\n".join(
        [*again, "say it once, or quote more words, then run: make readme"]
    )


def without(text: str, *patterns: str) -> str:
    """Return text with what the patterns find made blank, place for place.

    Each looks at the whole text: two quotations may have words in common.
    """
    left = list(text)
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.MULTILINE):
            blanks = re.sub(r"[^\n]", " ", match[0])
            left[match.start() : match.end()] = blanks
    return "".join(left)


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_read_by_a_test(page: str) -> None:
    read_by_tests = [quoted(each).pattern for _, each in quotations()]
    text = without(prose(page), *read_by_tests)
    for pattern in APART:  # One by one: a $ in code begins no formula.
        text = without(text, pattern)
    lines = prose(page).splitlines()
    unread = [
        f"{page}:{number}: {figure}    in: {lines[number - 1]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for figure in FIGURE.findall(line)
    ]
    assert not unread, "\n".join(
        [
            "no test reads these figures:",
            *unread,
            "read each with says() in a test that measures it; or take it "
            "out, then run: make readme",
        ]
    )
