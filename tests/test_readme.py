"""The pages are in step, their links lead somewhere, their commands exist."""

import re
from doctest import ELLIPSIS, DocTestParser, DocTestRunner

import pytest

import build_readme
from harness import ROOT, SCRIPTS
from make_outputs import COSTS
from test_outputs import NINE

PAGES = [p.replace("README_raw", "README") for p in build_readme.pages()]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
COMMANDS = {"pytest", "pip install numpy", "pip install -r requirements.txt"}
COMMANDS |= {f"make {target}" for target in TARGETS}
COMMANDS |= {f"python {script}" for script in (*SCRIPTS, COSTS)}
FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


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


def test_pages_are_in_step_with_their_sources() -> None:
    assert build_readme.main(["--check"]) == 0, "run: make readme"


@pytest.mark.parametrize("folder", ["", "further/"])
def test_contents_name_each_section_and_what_it_has(folder) -> None:
    page, found = f"{folder}README_raw.md", []
    row = r"^\| \[(.+)\]\(#(.+)\) \| .* \| \[.*\]\((.*)\) \| ([\w, ]+) \|"
    rows = re.findall(row, read(page), re.MULTILINE)
    for heading, anchor, path, packages in rows:
        text, script = sections(page)[anchor], folder + path
        assert re.match(rf"##+ {re.escape(heading)}\n", text)
        assert f"\n:INCLUDE {script}\n" in text
        for package in packages.split(", "):
            assert f"\nimport {package}" in read(script)
        link = rf"\n\[{script}\]\({path}\),\stested\sin\s(\[[^:]*\)):\n"
        (tested,) = re.findall(link, text)
        for test in re.findall(r"\((.*?)\)", tested):
            assert script in read(folder + test)
        compared = re.findall(rf"\n:DIFF (\S+) {script}\n", text)
        earlier = [old in (NINE if folder else found) for old in compared]
        assert earlier == [True] * (script not in (NINE[0], COSTS))
        exercise = r"<b>Try it:</b> .*\n\n```diff\n:INCLUDE faults/.*\n```\n"
        exercises = len(re.findall(exercise, text))
        assert exercises == text.count("Try it:") >= (not folder)
        assert f"\n:INCLUDE outputs/{script[:-3]}.txt\n" in text or not folder
        found.append(script)
    rest = {*SCRIPTS, COSTS}.difference(NINE)
    assert (set(found) == rest) if folder else (found == NINE)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve_images_have_a_text_and_notes_are_few(page) -> None:
    link = r'(?:\]\(|(?:src|srcset|href)=")(?!https://)([^)"\s]+)'
    prose = FENCED.sub("", read(page))
    links = re.findall(link, prose)
    assert len(links) > 10
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / (path or "README.md")
        assert target.exists(), link
        assert not anchor or anchor in sections(str(target)), link
    for image in re.findall(r"<img [^>]*>|!\[.*", prose):
        assert re.search(r'alt="[^"]{21}|!\[[^]]{21}', image)
    for section in sections(page).values():
        assert section.count("> [!") <= 1


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_code_runs_off_and_commands_exist(page) -> None:
    blocks = FENCED.findall(read(page))
    assert len(blocks) > 10
    for language, block in blocks:
        # A difference has one column more, for its sign; a message may be
        # longer than we could make it.
        width = {"diff": 80, "text": 999}.get(language, 79)
        assert max(map(len, block.splitlines())) <= width
        if language == "sh":
            block = re.sub(r" *#.*|\\\n *", "", block)
            started = "torchrun .*(?= further)|KERAS_BACKEND=torch python"
            block = re.sub(started, "python", block)
            assert {*block.splitlines()} <= COMMANDS


def test_sessions_print_what_they_show() -> None:
    runner = DocTestRunner(optionflags=ELLIPSIS)
    for page in PAGES:
        for language, block in FENCED.findall(read(page)):
            if language == "pycon":
                session = DocTestParser().get_doctest(block, {}, page, page, 0)
                assert runner.run(session).attempted
    assert runner.tries > runner.failures == 0


def test_makefile_help_names_every_target() -> None:
    assert {"help", *re.findall('@echo "make ([a-z]+) ', MAKEFILE)} == TARGETS
    assert ".DEFAULT_GOAL := help" in MAKEFILE


def test_versions_are_those_that_are_tested() -> None:
    assert "(3, 11) <= sys.version_info < (3, 14)" in MAKEFILE
    workflow = read(".github/workflows/tests.yml")
    assert 'python-version: ["3.11", "3.12", "3.13"]' in workflow
    requirements = read("requirements.txt")
    assert 'tensorflow==2.21.0; python_version < "3.14"\n' in requirements
    assert 'target-version = "py311"' in read("pyproject.toml")
