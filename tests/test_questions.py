"""The page of questions: its index, and where each question was asked."""

import re

import pytest

from pages import read, sections

PAGE = "questions/README_raw.md"
TOP = read(PAGE).partition("\n## ")[0]
INDEX = dict(re.findall(r"^- \[(.+)\]\(#(\S+)\)$", TOP, re.MULTILINE))
QUESTIONS = {
    text.partition("\n")[0].removeprefix("### "): anchor
    for anchor, text in sections(PAGE).items()
    if text.startswith("### ")
}


def line_of(text: str) -> int:
    """Return the number of the line of the page that a text begins."""
    before, _, _ = read(PAGE).partition(f"\n{text}\n")
    return before.count("\n") + 2


@pytest.mark.parametrize(("question", "anchor"), QUESTIONS.items())
def test_question_is_in_the_index(question: str, anchor: str) -> None:
    line = line_of(f"### {question}")
    entry = f"- [{question}](#{anchor})"
    assert INDEX.get(question) == anchor, (
        f"{PAGE}:{line}: the index has no such question; put into it: {entry}"
    )


@pytest.mark.parametrize(("question", "anchor"), INDEX.items())
def test_entry_of_the_index_is_a_question(question: str, anchor: str) -> None:
    line = line_of(f"- [{question}](#{anchor})")
    assert question in QUESTIONS, (
        f"{PAGE}:{line}: no heading asks this; correct the entry, or remove it"
    )


def test_index_has_the_order_of_the_page() -> None:
    assert list(INDEX) == list(QUESTIONS), (
        f"{PAGE}: put the index into the order of the headings"
    )


@pytest.mark.parametrize(("question", "anchor"), QUESTIONS.items())
def test_question_names_a_thread(question: str, anchor: str) -> None:
    line = line_of(f"### {question}")
    comment = re.search(
        r"<!-- Asked:\n(https://\S+\n)+-->", sections(PAGE)[anchor]
    )
    assert comment, (
        f"{PAGE}:{line}: say in a comment where this was asked: "
        "<!-- Asked:, the address of each thread in a line, -->"
    )
