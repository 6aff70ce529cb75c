"""The page of questions: its index, its threads, what no session can show."""

import doctest
import re
import subprocess
import sys

import pytest
import torch

from pages import blocks, read, says, sections

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


def test_largest_float16() -> None:
    (largest,) = says("The largest float16 is {}")
    assert largest == torch.finfo(torch.float16).max


def test_torch_tensor_of_losses_warns_and_leaves_the_graph() -> None:
    says("it only warns: the result is cut off from the graph")
    loss1 = torch.tensor(1.0, requires_grad=True)
    loss2 = torch.tensor(2.0, requires_grad=True)
    torch.set_warn_always(True)  # Without this, in the first test only.
    try:
        with pytest.warns(UserWarning, match="Converting a tensor"):
            result = torch.tensor([loss1, loss2])
    finally:
        torch.set_warn_always(False)
    assert not result.requires_grad


def code_of(page: str, words: str) -> str:
    """Return the code of the one session that has some words."""
    (session,) = (text for _, text in blocks(page, "pycon") if words in text)
    return "".join(
        example.source
        for example in doctest.DocTestParser().get_examples(session)
    )


def test_reseeded_workers_draw_different_numbers(tmp_path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(
        code_of(PAGE, ">>> import numpy as np\n")
        + code_of(PAGE, ">>> loader = DataLoader(dataset")
        + """
if __name__ == "__main__":  # What a worker imports must not start workers.
    first, second = loader
    print("with reseed:", (first == second).item())
    loader = DataLoader(dataset, num_workers=2)
    first, second = loader
    print("without:", (first == second).item())
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["with reseed: False", "without: True"]
