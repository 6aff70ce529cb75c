"""The pages: their parts, and the figures that they state.

A figure in the prose stands once, on the page. Its test reads it from there:

    (loss,) = says("it gets stuck at a loss of {}")

and so turns red when the page says another figure than the test measures.
"""

import difflib
import functools
import re

import build_readme
from build_readme import ROOT

PAGES = build_readme.pages()
FENCE = re.compile(r"^(```+)(\S*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
NUMBER = r"(-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)"


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / name).read_text("utf-8")


def blocks(page: str, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language, each with its first line."""
    text = read(page)
    return [
        (text.count("\n", 0, match.start()) + 2, match[3])
        for match in FENCE.finditer(text)
        if match[2] == language
    ]


def sections(page: str) -> dict[str, str]:
    """Return the text of each section, by the anchor that GitHub gives it."""
    found = {"": ""}
    anchor, fenced = "", False
    for line in read(page).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if re.match("#+ ", line) and not fenced:
            heading = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
            anchor = heading.replace(" ", "-")
            assert anchor not in found, (
                f"{page} has the heading {line!r} twice; change one of them"
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


def nearest(quotation: str) -> str:
    """Return the sentence of the pages that is most like a quotation."""
    text = " ".join(" ".join(map(prose, PAGES)).split())
    sentences = re.split(r"(?<=[.:?!]) ", text)
    found = difflib.get_close_matches(quotation, sentences, n=1, cutoff=0)
    return found[0]


def says(quotation: str) -> list[float]:
    """Return the numbers that the pages have where a quotation has {}.

    Fails if no page says so, and shows the nearest sentence of the pages.
    """
    for page in PAGES:
        match = quoted(quotation).search(prose(page))
        if match:
            return [
                float(number.replace(",", "")) for number in match.groups()
            ]
    raise AssertionError(
        f"no page says: {quotation}\nThe nearest that one says: "
        f"{nearest(quotation)}\nMeasure what the page says now, and quote "
        "that in the test; or correct the page, and run: make readme"
    )
