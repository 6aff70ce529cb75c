"""Every sentence of the pages is in the ledger, nearly every fact proved."""

import re

import pytest

import claims

LEDGER, WRITTEN = claims.ledger(), claims.written()
SENTENCES = {sentence for found in WRITTEN.values() for sentence in found}
HELD = {s for s, headings in LEDGER.items() if "::" in headings[0]}


def test_every_quoted_sentence_stands_on_a_page_or_in_a_script() -> None:
    gone = {s: where for s, where in LEDGER.items() if s not in SENTENCES}
    assert not gone, "see that the test proves what the page now says"


def test_every_sentence_is_quoted_questions_apart() -> None:
    loose = SENTENCES - set(LEDGER)
    assert not [s for s in loose if not s.endswith("?")], (
        "quote it in tests/claims.txt, under the test that proves it"
    )


def test_headings_name_tests_that_exist() -> None:
    for heading in {h for headings in LEDGER.values() for h in headings}:
        if "::" in heading:
            file, test = heading.split("::")
            source = (claims.ROOT / "tests" / file).read_text("utf-8")
            assert re.search(rf"^def {test}\(", source, re.MULTILINE), heading


@pytest.mark.parametrize("name", WRITTEN)
def test_every_figure_is_proved(name) -> None:
    figures = [s for s in WRITTEN[name] if claims.FIGURE.search(s)]
    assert not [s for s in figures if s not in HELD and not s.endswith("?")]


def test_nearly_every_fact_is_proved() -> None:
    untested = [s for s, why in LEDGER.items() if why == [claims.UNTESTED]]
    assert len(HELD) > 9 * len(untested)


def test_sentences_end_where_they_should() -> None:
    text = "One `a.b`. **Two.** Three (CUDA, ...) [here](x.md#y)!\nFour 1.5?"
    three = "Three (CUDA, ...) [here]!"
    expected = ["One `a.b`.", "**Two.**", three, "Four 1.5?"]
    assert claims.sentences(text) == expected
