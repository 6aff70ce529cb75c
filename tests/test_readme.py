"""README.md is in step, its links lead somewhere, its commands exist."""

import re
import shlex

import pytest

import build_readme
from harness import ROOT, SCRIPTS

README = (ROOT / "README.md").read_text(encoding="utf-8")
RAW = (ROOT / "README_raw.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\S*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
TARGETS = set(
    re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
)


def anchors() -> list[str]:
    """Return the anchor that GitHub gives to each heading."""
    headings = re.findall(r"^#+ (.*)$", PROSE, re.MULTILINE)
    return [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    ]


def test_readme_is_in_step_with_its_source() -> None:
    assert README == build_readme.expand(ROOT), "run: make readme"


def test_each_script_is_included_once() -> None:
    included = re.findall(r"^:INCLUDE (.*\.py)$", RAW, re.MULTILINE)
    assert sorted(included) == SCRIPTS


def test_each_script_but_the_first_is_compared_once() -> None:
    included = re.findall(r"^:INCLUDE (.*\.py)$", RAW, re.MULTILINE)
    compared = re.findall(r"^:DIFF (\S+) (\S+)$", RAW, re.MULTILINE)
    assert [new for _, new in compared] == included[1:]
    for old, new in compared:
        assert included.index(old) < included.index(new)


def test_headings_have_anchors_of_their_own() -> None:
    assert len(anchors()) == len(set(anchors()))


def test_links_and_anchors_resolve() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", PROSE)
    links += re.findall(r'(?:src|srcset|href)="([^"]+)"', PROSE)
    local = [link for link in links if not link.startswith("https://")]
    assert len(local) > 30
    for link in local:
        path, _, anchor = link.partition("#")
        assert not path or (ROOT / path).exists(), link
        assert not anchor or anchor in anchors(), link


def test_every_section_is_in_the_table_of_contents() -> None:
    sections = re.findall(r"^### (.*)$", PROSE, re.MULTILINE)
    linked = re.findall(r"^\| \[([^\]]+)\]\(#", PROSE, re.MULTILINE)
    assert sections == linked and len(sections) == len(SCRIPTS)


def test_images_have_alt_text() -> None:
    images = re.findall(r"<img [^>]*>|!\[[^\]]*\]\([^)]*\)", PROSE)
    assert images
    for image in images:
        alt = re.search(r'alt="([^"]*)"|!\[([^\]]*)\]', image)
        assert alt and len(alt[1] or alt[2] or "") > 20


def test_no_line_of_code_runs_off_the_page() -> None:
    assert len(BLOCKS) > 30
    for language, block in BLOCKS:
        # A difference has one column more, for its sign.
        width = 80 if language == "diff" else 79
        assert max(map(len, block.splitlines())) <= width


def commands() -> list[str]:
    """Return the command lines that the README shows."""
    shown = [b for language, b in BLOCKS if language == "sh"]
    lines = "".join(shown).splitlines()
    return [line.split("#")[0].strip() for line in lines]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_name_what_exists(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        assert arguments and set(arguments) <= TARGETS
    elif program == "python":
        assert [(ROOT / name).is_file() for name in arguments] == [True]
    elif program == "pip":
        assert arguments[:2] == ["install", "-r"]
        assert (ROOT / arguments[2]).is_file()
    else:
        assert program == "pytest" and not arguments


def test_run_section_gives_the_commands() -> None:
    assert {
        "make examples",
        "make test",
        "pip install -r requirements.txt",
        "pytest",
    } <= set(commands())


def test_makefile_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r'@echo "make ([a-z]+) ', makefile))
    assert named == TARGETS - {"help"}


def test_notes_are_at_most_one_a_section() -> None:
    for section in re.split(r"^#+ ", PROSE, flags=re.MULTILINE):
        assert section.count("> [!") <= 1
