"""The pages are in step, their links lead somewhere, their commands exist."""

import re
import shlex

import pytest

import build_readme
from harness import ROOT, SCRIPTS
from test_outputs import NINE, RAW

PAGES = [p.replace("README_raw", "README") for p in build_readme.pages()]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
INSTALL = ["install numpy", "install -r requirements.txt"]
FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def prose(page: str) -> str:
    return FENCED.sub("", read(page))


def sections(page: str) -> dict[str, str]:
    """Return the text of each section, by the anchor that GitHub gives it."""
    found, fence, anchor = {}, None, ""
    for line in read(page).splitlines():
        fence = build_readme.next_fence(line, fence)
        if not fence and re.match("#+ ", line):
            heading = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
            anchor = heading.replace(" ", "-")
            assert anchor not in found, f"{page} has #{anchor} twice"
        found[anchor] = found.get(anchor, "") + line + "\n"
    return found


@pytest.mark.parametrize("page", PAGES)
def test_page_is_in_step_with_its_source(page) -> None:
    raw = page.replace("README", "README_raw")
    assert read(page) == build_readme.expand(raw), "run: make readme"
    exercises = re.findall(r"<b>Try it:</b>", read(raw))
    assert len(exercises) in (0, len(NINE))


def test_main_page_includes_and_compares_the_nine() -> None:
    folders = ("tensor", "autograd", "nn")
    nine = [s for s in SCRIPTS if s.startswith(folders)]
    assert sorted(NINE) == nine and len(NINE) == 9
    compared = re.findall(r"^:DIFF (\S+) (\S+)$", RAW, re.MULTILINE)
    assert [new for _, new in compared] == NINE[1:]
    for old, new in compared:
        assert NINE.index(old) < NINE.index(new)
    numpy, dynamic = read(NINE[0]), read(NINE[-1])
    assert numpy.count("\nimport") == 1 and numpy.count("grad_w1 = ") == 1
    assert "depth = random.randint(1, 4)" in dynamic


def test_contents_name_each_section_its_script_and_its_package() -> None:
    rows = re.findall(
        r"^\| \[(.+)\]\(#(.+)\) \| .* \| \[.*\]\((.*)\) \| (\w+) \|$",
        RAW,
        re.MULTILINE,
    )
    assert [script for _, _, script, _ in rows] == NINE
    headings = re.findall(r"^### (.*)$", RAW, re.MULTILINE)
    assert [heading for heading, *_ in rows] == headings
    for _, anchor, script, package in rows:
        assert anchor in sections("README.md")
        assert f"\nimport {package}" in read(script)


def test_each_script_names_a_test_that_runs_it() -> None:
    links = r"^\[(.*\.py)\]\(.*\),? ?\n?tested in((?:.|\n)*?):$"
    named = re.findall(links, prose("README.md"), re.MULTILINE)
    assert [script for script, _ in named] == NINE
    for script, tests in named:
        for test in re.findall(r"\((tests/.*?)\)", tests):
            assert script in read(test)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_resolve(page) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    links += re.findall(r'(?:src|srcset|href)="([^"]+)"', prose(page))
    local = [link for link in links if not link.startswith("https://")]
    assert len(local) > 10
    for link in local:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        target = target / "README.md" if target.is_dir() else target
        assert target.exists(), link
        name = target.resolve().relative_to(ROOT).as_posix()
        assert not anchor or anchor in sections(name), link


@pytest.mark.parametrize("page", PAGES)
def test_images_have_alt_text_and_no_line_runs_off(page) -> None:
    for image in re.findall(r"<img [^>]*>|!\[[^\]]*\]\([^)]*\)", prose(page)):
        alt = re.search(r'alt="([^"]*)"|!\[([^\]]*)\]', image)
        assert alt and len(alt[1] or alt[2] or "") > 20
    assert len(FENCED.findall(read(page))) > 10
    for language, block in FENCED.findall(read(page)):
        # A difference has one column more, for its sign; a message may be
        # longer than we could make it.
        width = {"diff": 80, "text": 999}.get(language, 79)
        assert max(map(len, block.splitlines())) <= width


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_what_exists(page) -> None:
    blocks = FENCED.findall(read(page))
    shown = "".join(block for language, block in blocks if language == "sh")
    for line in shown.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            assert arguments and set(arguments) <= TARGETS
        elif program == "python":
            assert [(ROOT / name).is_file() for name in arguments] == [True]
        elif program == "pip":
            assert " ".join(arguments) in INSTALL
        else:
            assert program == "pytest" and not arguments


def test_makefile_help_names_every_target() -> None:
    named = set(re.findall(r'@echo "make ([a-z]+) ', MAKEFILE))
    assert named == TARGETS - {"help"}
    assert ".DEFAULT_GOAL := help" in MAKEFILE


def test_versions_are_those_that_are_tested() -> None:
    assert "(3, 11) <= sys.version_info < (3, 14)" in MAKEFILE
    workflow = read(".github/workflows/tests.yml")
    assert 'python-version: ["3.11", "3.12", "3.13"]' in workflow
    requirements = read("requirements.txt")
    assert re.search(r'tensorflow==.*; python_version < "3.14"', requirements)
    assert 'target-version = "py311"' in read("pyproject.toml")


@pytest.mark.parametrize("page", PAGES)
def test_notes_are_at_most_one_a_section(page) -> None:
    for section in sections(page).values():
        assert section.count("> [!") <= 1
