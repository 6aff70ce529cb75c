"""The pages: their parts, and the figures that they state.

A figure in the prose stands once, on the page. Its test reads it from there:

    (loss,) = says("it gets stuck at a loss of {}")

and so turns red when the page says another figure than the test measures.
"""

import functools
import re

import build_readme
from build_readme import ROOT

PAGES = build_readme.pages()
# How the message of a test ends that found something wrong on a page.
MEND = "correct the page, then run: make readme"
FENCE = re.compile(r"^(```+)(\S*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
NUMBER = r"(-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)"
# It ends before a space after . : ? or !, or with its paragraph.
SENTENCE = re.compile(r"\S.*?(?:[.:?!](?=\s)|(?=\n\s*\n)|\Z)", flags=re.DOTALL)


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text("utf-8")


def line_of(text: str, position: int) -> int:
    """Return the number of the line in which a position of a text lies."""
    return text.count("\n", 0, position) + 1


def fences(page: str) -> list[tuple[str, int, str]]:
    """Return each fenced block: its language, its first line, its text."""
    text = read(page)
    return [
        (match[2], line_of(text, match.start(3)), match[3])
        for match in FENCE.finditer(text)
    ]


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language, each with its first line."""
    return [
        (first, block)
        for fence_language, first, block in fences(page)
        if fence_language == language
    ]


def sections(page: str) -> dict[str, str]:
    """Return the text of each section, by the anchor that GitHub gives it."""
    found = {"": ""}
    anchor, fenced = "", False
    for number, line in enumerate(read(page).splitlines(), start=1):
        if line.startswith("```"):
            fenced = not fenced
        if re.match("#+ ", line) and not fenced:
            heading = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
            anchor = heading.replace(" ", "-")
            assert anchor not in found, (
                f"{page}:{number}: {line!r} is a heading of this page "
                "already; change one of them, then run: make readme"
            )
            found[anchor] = ""
        found[anchor] += f"{line}\n"
    return found


def blank(match: re.Match) -> str:
    """Return as many line breaks as a match has, and nothing else."""
    return "\n" * match[0].count("\n")


@functools.cache
def prose(page: str) -> str:
    """Return the prose of a page, each sentence in the line that it has.

    Fenced blocks, comments, tags and the targets of links are left out; the
    descriptions of images are prose.
    """
    text = read(page)
    text = FENCE.sub(blank, text)
    text = re.sub(r"<!--.*?-->", blank, text, flags=re.DOTALL)
    text = re.sub(r'<img [^>]*alt="([^"]*)">', r"\1", text)
    text = re.sub(r"</?[a-z][^>]*>", blank, text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    return text.replace("**", "")


def quoted(quotation: str) -> re.Pattern:
    """Return what finds a quotation: {} is a number, a space any space."""
    words = [re.escape(word) for word in quotation.split()]
    return re.compile(r"\s+".join(words).replace(r"\{\}", NUMBER))


def matches(quotation: str) -> list[tuple[str, re.Match]]:
    """Return where the pages say a quotation: page:line, and the match."""
    return [
        (f"{page}:{line_of(prose(page), match.start())}", match)
        for page in PAGES
        for match in quoted(quotation).finditer(prose(page))
    ]


def nearest(quotation: str) -> str:
    """Return page:line and the sentence with most words of a quotation."""
    places = {
        " ".join(match[0].split()): (
            f"{page}:{line_of(prose(page), match.start())}"
        )
        for page in PAGES
        for match in SENTENCE.finditer(prose(page))
    }
    words = set(quotation.split())
    # Of two that have as many, the shorter one.
    found = max(
        places, key=lambda text: (len(words & set(text.split())), -len(text))
    )
    return f"{places[found]}: {found}"


def says(quotation: str) -> list[float]:
    """Return the numbers that the pages have where a quotation has {}.

    Fails if no page says so, and shows the nearest sentence of the pages.
    """
    found = matches(quotation)
    assert found, (
        f"no page says: {quotation}\nThe nearest sentence is\n"
        f"{nearest(quotation)}\nMeasure what the page says now, and quote "
        f"that in the test; or {MEND}"
    )
    _, match = found[0]
    return [float(number.replace(",", "")) for number in match.groups()]


def mend(quotation: str) -> str:
    """Return where a page says so, and what to do there."""
    place, _ = matches(quotation)[0]
    return f"correct {place}, then run: make readme"
