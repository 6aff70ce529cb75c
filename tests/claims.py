"""Which test holds which sentence of the pages and of the scripts.

    python -m tests.claims

tests/claims.txt quotes each sentence, word for word, line breaks and the
targets of links apart, under the test that holds it or a reason why none does.
"""

import re
from collections import defaultdict
from inspect import cleandoc

from build_readme import pages
from make_outputs import COSTS, ROOT, SCRIPTS

UNTESTED = "Facts that no test here can check"
# A digit of its own: 1e-6 and 3.11, but neither w1 nor float32.
FIGURE = re.compile(r"(?<![\w./])\d")


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph; the row of a table is one."""
    text = re.sub(r"\]\([^)\s]*\)", "]", " ".join(text.split()))
    if text.startswith("|"):
        return [text]
    ends = re.sub(r"((?<!\.\.)[.?!](?:\*\*|[)\"*])*) (?=\S)", r"\1\n", text)
    return ends.split("\n") if text else []


def page_sentences(name: str) -> list[str]:
    """Return the sentences of a page: prose, tables, captions, alt texts."""
    text = (ROOT / name).read_text("utf-8")
    for pattern, new in (
        (r"^( *)(```|~~~)[\s\S]*?^\1\2$", "\n"),
        (r"^#.*|^\|[ |-]*$|^> (?:\[!\w+\])?|</?b>", ""),
        (r'<img .*?alt="([^"]*)">', r"\n\n\1\n\n"),
        (r"<[^>]*>", "\n\n"),
        # A row of a table and an item of a list are paragraphs of their own.
        (r"^(?=\|)|^- ", "\n"),
    ):
        text = re.sub(f"(?m){pattern}", new, text)
    return sum(map(sentences, re.split(r"\n\s*\n", text)), [])


def script_sentences(name: str) -> list[str]:
    """Return the sentences of a script's docstrings and comments."""
    source = (ROOT / name).read_text("utf-8")
    docstrings = re.findall(r'"""([\s\S]*?)"""', source)
    paragraphs = "\n\n".join(map(cleandoc, docstrings)).split("\n\n")
    paragraphs = [p for p in paragraphs if not p.startswith("    ")]
    comments = re.findall(r"(?m)(?:^ *#.*\n)+|  #.*", source)
    paragraphs += [re.sub("(?m)^ *#", "", comment) for comment in comments]
    return sum(map(sentences, paragraphs), [])


def written() -> dict[str, list[str]]:
    """Return the sentences of each page and each script, by its path."""
    found = {page: page_sentences(page) for page in pages()}
    # test_faults.py holds the page of faults, entry by entry.
    del found["faults/README_raw.md"]
    scripts = [*SCRIPTS, COSTS]
    return found | {script: script_sentences(script) for script in scripts}


def ledger() -> dict[str, list[str]]:
    """Return the headings, tests or a reason, that each sentence is under."""
    text = (ROOT / "tests/claims.txt").read_text("utf-8")
    found = defaultdict(list)
    for group in text.split("\n# ")[1:]:
        heading, *lines = group.split("\n")
        for sentence in filter(None, lines):
            found[sentence].append(heading)
    return found


def main() -> None:
    headings = ledger()
    held = sum("::" in each[0] for each in headings.values())
    for name, found in written().items():
        print(f"\n== {name}")
        for sentence in found:
            tests = headings.get(sentence, ["A question"])
            print(f"\n{sentence}", *tests, sep="\n    ")
    facts = held + sum(each == [UNTESTED] for each in headings.values())
    print(f"\n{len(headings)} sentences, {facts} facts, {held} held by tests")


if __name__ == "__main__":
    main()
