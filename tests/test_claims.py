"""Every sentence of the pages is in the ledger, nearly every fact proved."""

from claims import FIGURE, ROOT, UNTESTED, ledger, sentences, written

LEDGER = ledger()
SENTENCES = {sentence for found in written().values() for sentence in found}
HELD = {s for s, headings in LEDGER.items() if "::" in headings[0]}


def test_ledger_quotes_what_is_written_and_all_of_it() -> None:
    gone = LEDGER.keys() - SENTENCES
    assert not gone, "see that the test proves what the page now says"
    new = {s for s in SENTENCES - LEDGER.keys() if not s.endswith("?")}
    assert not new, "quote it in tests/claims.txt, under its proof"


def test_headings_name_tests_that_exist() -> None:
    for heading in set(sum(LEDGER.values(), [])):
        file, _, test = heading.partition("::")
        path = ROOT / "tests" / file
        assert not test or f"\ndef {test}(" in path.read_text("utf-8"), heading


def test_every_figure_and_nearly_every_fact_is_proved() -> None:
    assert not {s for s in LEDGER if FIGURE.search(s)} - HELD
    untested = [s for s, why in LEDGER.items() if why == [UNTESTED]]
    assert len(HELD) > 9 * len(untested)


def test_sentences_end_where_they_should() -> None:
    text = "One `a.b`. **Two.** Three (CUDA, ...) [here](x.md#y)!\nFour 1.5?"
    three = "Three (CUDA, ...) [here]!"
    assert sentences(text) == ["One `a.b`.", "**Two.**", three, "Four 1.5?"]
