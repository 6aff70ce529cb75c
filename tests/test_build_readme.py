"""build_readme.py: each directive, each error, on small trees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import build_readme
from build_readme import BANNER, RAW, README, expand, main


@pytest.fixture
def write(tmp_path):
    """A function that writes files, given as text or bytes, into a tree."""

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                content = content.encode()
            path.write_bytes(content)
        return tmp_path

    return write


@pytest.fixture
def expanded(write):
    """A function that returns what README.md gets below its banner."""

    def expanded(raw: str | bytes, **files: str | bytes) -> str:
        named = {k.replace("_", "."): v for k, v in files.items()}
        head, text = expand(write({RAW: raw, **named})).split("\n\n", 1)
        assert head == BANNER
        return text

    return expanded


def python_block(expanded, source: str | bytes) -> str:
    """Return what a fence around :INCLUDE shows of a Python file."""
    text = expanded("```python\n:INCLUDE a.py\n```\n", a_py=source)
    assert text.startswith("```python\n") and text.endswith("```\n")
    return text.removeprefix("```python\n").removesuffix("```\n")


def test_text_without_directives_stays_as_it_is(expanded) -> None:
    text = "# Title\n\n : not one, :INCLUDE a.py nor this\n    :INCLUDE b.py\n"
    assert expanded(text) == text


def test_banner_is_a_comment_that_names_the_source() -> None:
    assert BANNER.startswith("<!--") and BANNER.endswith("-->")
    assert "Generated" in BANNER and RAW in BANNER


@pytest.mark.parametrize("raw", ["", "\n", "one", "one\n"])
def test_output_ends_with_one_newline_more_or_less_input(write, raw) -> None:
    text = expand(write({RAW: raw}))
    assert text.startswith(BANNER + "\n") and text.endswith("\n")
    assert text.removeprefix(BANNER).strip() == raw.strip()


def test_file_is_included_where_the_line_stands(expanded) -> None:
    text = expanded("a\n:INCLUDE b.txt\nc\n", b_txt="1\n\n2\n")
    assert text == "a\n1\n\n2\nc\n"


def test_included_file_may_lack_a_last_newline_or_be_empty(expanded) -> None:
    assert expanded("a\n:INCLUDE b.txt\nc\n", b_txt="1") == "a\n1\nc\n"
    assert expanded("a\n:INCLUDE b.txt\nc", b_txt="") == "a\nc\n"


def test_line_endings_come_out_as_lf(expanded) -> None:
    text = expanded(b"a\r\n:INCLUDE b.txt\r\nc\rd", b_txt=b"1\r\n2\r3\n")
    assert text == "a\n1\n2\n3\nc\nd\n"


def test_byte_order_mark_is_left_out(expanded) -> None:
    assert (
        python_block(expanded, b'\xef\xbb\xbf"""D."""\nx = 1\n') == "x = 1\n"
    )


def test_other_line_separators_are_text(expanded) -> None:
    text = expanded(":INCLUDE b.txt\n", b_txt="1\x0c2\u20283\x853\n")
    assert text == "1\x0c2\u20283\x853\n"


def test_directives_in_an_included_file_are_text(expanded) -> None:
    text = expanded(":INCLUDE b.md\n", b_md=":INCLUDE nothing.txt\n")
    assert text == ":INCLUDE nothing.txt\n"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('"""One line."""\n\nx = 1\n', "x = 1\n"),
        ("'''Two\nlines.'''\n\n\nx = 1\n\n\n", "x = 1\n"),
        ('r"""Raw."""\nx = 1', "x = 1\n"),
        ('("In "\n "parts.")\nx = 1\n', "x = 1\n"),
        ('"""D."""; x = 1\n', "x = 1\n"),
        ('"""Dé."""  # why\nx = 1\n', "# why\nx = 1\n"),
        ('#!/usr/bin/python\n"""D."""\nx = 1\n', "#!/usr/bin/python\nx = 1\n"),
        ('# First.\n\n"""D."""\nx = 1\n', "# First.\n\nx = 1\n"),
        ('"""Only."""\n', ""),
        ("", ""),
        ("\n\nx = 1\n\n", "x = 1\n"),
        ('x = 1\n"""No docstring."""\n', 'x = 1\n"""No docstring."""\n'),
        ('b"""Bytes."""\nx = 1\n', 'b"""Bytes."""\nx = 1\n'),
        ('f"""Text."""\nx = 1\n', 'f"""Text."""\nx = 1\n'),
        ('"""D."""\r\n\r\nx = 1\r\n', "x = 1\n"),
        ('"""```"""\nx = 1\n', "x = 1\n"),
        (
            '"""D."""\nclass A:\n    """C."""\n\n\ndef f():\n    """F."""\n',
            'class A:\n    """C."""\n\n\ndef f():\n    """F."""\n',
        ),
    ],
)
def test_module_docstring_alone_is_left_out(expanded, source, shown) -> None:
    assert python_block(expanded, source) == shown


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("```python", "```"),
        ("~~~", "~~~"),
        ("  ````", " `````  "),
        ("~~~`", "~~~"),
    ],
)
def test_python_stands_in_any_fence(expanded, opened, closed) -> None:
    text = expanded(f"{opened}\n:INCLUDE a.py\n{closed}\n", a_py="x = 1\n")
    assert text == f"{opened}\nx = 1\n{closed}\n"


def test_longer_fence_holds_a_shorter_one(expanded) -> None:
    text = expanded("````\n:INCLUDE a.md\n````\n", a_md="```\nx\n```\n")
    assert text == "````\n```\nx\n```\n````\n"


def test_marks_indented_by_four_close_no_fence(expanded) -> None:
    raw = "```python\n    ```\n:INCLUDE a.py\n```\n"
    text = expanded(raw, a_py="x = 1\n")
    assert text == "```python\n    ```\nx = 1\n```\n"


def test_backticks_in_a_line_open_no_fence(expanded) -> None:
    assert expanded("```a``` b\nc\n") == "```a``` b\nc\n"


OLD = '''"""Old."""
import a

# Why.
x = 1  # one


def f():
    """F."""
    return x
'''
NEW = '''import a
y = "# 2"


def f():
    """G."""
    # How.
    return y
'''


def test_diff_shows_code_alone(expanded) -> None:
    text = expanded("```diff\n:DIFF a.py b.py\n```\n", a_py=OLD, b_py=NEW)
    assert text == (
        "```diff\n--- a.py\n+++ b.py\n@@ @@\n import a\n-x = 1\n"
        '+y = "# 2"\n def f():\n-    return x\n+    return y\n```\n'
    )


def test_diff_leaves_apart_what_lies_far_apart(expanded) -> None:
    same = "".join(f"same{i} = {i}\n" for i in range(9))
    text = expanded(
        "```diff\n:DIFF a.py b.py\n```\n",
        a_py=f"x = 1\n{same}y = 1\n",
        b_py=f"x = 2\n{same}y = 2\n",
    )
    assert text.count("@@ @@") == 2 and "same4" not in text


FENCED = "```python\n{}\n```\n"
DIFF = "```diff\n:DIFF {}\n```\n"
ERRORS = {
    "missing file": (":INCLUDE no.txt\n", 1, "does not exist"),
    "folder": (":INCLUDE folder\n", 1, "is a folder"),
    "the repository itself": (":INCLUDE .\n", 1, "is a folder"),
    "no path": (":INCLUDE\n", 1, "one path, not 0"),
    "no path but a space": (":INCLUDE \n", 1, "one path, not 0"),
    "two paths": (":INCLUDE a.txt b.txt\n", 1, "one path, not 2"),
    "absolute path": (":INCLUDE /etc/hostname\n", 1, "is absolute"),
    "outside": (":INCLUDE ../outside.txt\n", 1, "leaves the repository"),
    "out and in": (":INCLUDE ../tree/a.txt\n", 1, "leaves the repository"),
    "link outside": (":INCLUDE out.txt\n", 1, "leaves the repository"),
    "under a link": (":INCLUDE up/outside.txt\n", 1, "leaves the repository"),
    "README.md": (":INCLUDE README.md\n", 1, "is the README itself"),
    "README.md by a link": (":INCLUDE me.md\n", 1, "is the README itself"),
    "its source": (":INCLUDE README_raw.md\n", 1, "is the README itself"),
    "not UTF-8": ("x\n:INCLUDE latin1.txt\n", 2, "is not UTF-8"),
    "not Python": (FENCED.format(":INCLUDE bad.py"), 2, "its line 2"),
    "null bytes": (FENCED.format(":INCLUDE null.py"), 2, "not valid Python"),
    "Python in no fence": ("\n\n:INCLUDE a.py\n", 3, "outside a fence"),
    "closes its fence": (FENCED.format(":INCLUDE ticks.py"), 2, "would close"),
    "text closes it": (FENCED.format(":INCLUDE ticks.md"), 2, "would close"),
    "fence never closed": ("a\n```\nb\n", 2, "never closed"),
    "fence closed too short": ("````\n```\n", 1, "never closed"),
    "fence closed by another": ("```\n~~~\n", 1, "never closed"),
    "fence open in a file": (":INCLUDE open.md\n", 1, "never closes a fence"),
    "misspelt": ("a\n:INCLDUE a.txt\n", 2, ":INCLDUE is unknown"),
    "small letters": (":Include a.txt\n", 1, ":Include is unknown"),
    "no space": (":INCLUDEa.txt\n", 1, ":INCLUDEa.txt is unknown"),
    "misspelt in a fence": ("```\n:INCLUD a\n```\n", 2, ":INCLUD is unknown"),
    "source not UTF-8": (b"a\nb\n\xff\n", 3, "not UTF-8"),
    "diff, no path": (DIFF.format(""), 2, "two paths, not 0"),
    "diff, one path": (DIFF.format("a.py"), 2, "two paths, not 1"),
    "diff, three": (DIFF.format("a.py b.py a.py"), 2, "two paths, not 3"),
    "diff, missing": (DIFF.format("a.py no.py"), 2, "does not exist"),
    "diff, old missing": (
        DIFF.format("no.py a.py"),
        2,
        "no.py does not exist",
    ),
    "diff, outside": (DIFF.format("a.py ../x.py"), 2, "leaves the repository"),
    "diff, absolute": (DIFF.format("/x.py a.py"), 2, "is absolute"),
    "diff, folder": (DIFF.format("a.py folder"), 2, "is a folder"),
    "diff, README.md": (DIFF.format("a.py README.md"), 2, "README itself"),
    "diff, no Python": (DIFF.format("a.py a.txt"), 2, "is not Python"),
    "diff, bad Python": (DIFF.format("a.py bad.py"), 2, "its line 2"),
    "diff, not UTF-8": (DIFF.format("latin1.txt a.py"), 2, "not UTF-8"),
    "diff, no difference": (DIFF.format("a.py same.py"), 2, "same code"),
    "diff in no fence": (":DIFF a.py b.py\n", 1, "outside a diff fence"),
    "diff in another": (FENCED.format(":DIFF a.py b.py"), 2, "a diff fence"),
}


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small repository with something of every kind that goes wrong."""
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    for name, content in {
        "a.txt": b"a\n",
        "b.txt": b"b\n",
        "a.py": b"x = 1\n",
        "b.py": b"x = 2\n",
        "same.py": b'"""Other words."""\n\nx = 1  # The same.\n',
        "bad.py": b"x = 1\nx = = 2\n",
        "null.py": b"x = 1\0\n",
        "ticks.py": b'x = """\n```\n"""\n',
        "ticks.md": b"```\nx\n```\n",
        "open.md": b"~~~\nx\n",
        "latin1.txt": b"caf\xe9\n",
        README: b"untouched\n",
        "../outside.txt": b"outside\n",
    }.items():
        (root / name).write_bytes(content)
    try:
        (root / "out.txt").symlink_to("../outside.txt")
        (root / "up").symlink_to("..", target_is_directory=True)
        (root / "me.md").symlink_to(README)
        (root / "loop").symlink_to("loop")
    except OSError:
        pytest.skip("this system lets this user make no symbolic links")
    return root


@pytest.mark.parametrize("check", [[], ["--check"]])
@pytest.mark.parametrize("case", ERRORS)
def test_error_names_line_and_leaves_readme(tree, capsys, case, check) -> None:
    raw, line, message = ERRORS[case]
    (tree / RAW).write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    before = sorted(tree.iterdir())
    assert main(check, root=tree) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{RAW}:{line}: ") and err.count("\n") == 1
    assert message in err
    # What is wrong, and the way out.
    assert len(err.split(";")) >= 2
    assert (tree / README).read_bytes() == b"untouched\n"
    assert sorted(tree.iterdir()) == before


def test_loop_of_links_is_an_error(tree, capsys) -> None:
    (tree / RAW).write_text(":INCLUDE loop\n")
    assert main([], root=tree) == 2
    assert capsys.readouterr().err.startswith(f"{RAW}:1: loop ")


def test_difference_of_code_with_a_fence_in_it_closes_no_fence(tree) -> None:
    # A context line of a diff starts with a space, and a fence may too.
    (tree / "more.py").write_text('x = """\n```\n"""\ny = 1\n')
    (tree / "most.py").write_text('x = """\n```\n"""\ny = 2\n')
    (tree / RAW).write_text(DIFF.format("ticks.py more.py"))
    assert main([], root=tree) == 0
    (tree / "less.py").write_text('y = """\n```\n"""\n')
    (tree / RAW).write_text(DIFF.format("ticks.py less.py"))
    assert main([], root=tree) == 2


def test_missing_source_is_an_error(tmp_path, capsys) -> None:
    assert main([], root=tmp_path) == 2
    assert capsys.readouterr().err.startswith(f"{RAW}:1: ")
    assert list(tmp_path.iterdir()) == []


def test_all_errors_are_reported_in_one_run(tree, capsys) -> None:
    (tree / RAW).write_text(":INCLUDE no.txt\n:WHAT\n```\n:INCLUDE bad.py\n")
    assert main([], root=tree) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "2", "3", "4"]


def test_running_twice_changes_nothing(write, tmp_path) -> None:
    write({RAW: "```python\n:INCLUDE a.py\n```\n", "a.py": "x = 1\n"})
    assert main([], root=tmp_path) == 0
    first = (tmp_path / README).read_bytes()
    stamp = (tmp_path / README).stat().st_mtime_ns
    assert main([], root=tmp_path) == 0
    assert (tmp_path / README).read_bytes() == first
    assert (tmp_path / README).stat().st_mtime_ns == stamp
    assert {p.name for p in tmp_path.iterdir()} == {RAW, README, "a.py"}


def test_check_is_silent_when_in_step(write, tmp_path, capsys) -> None:
    write({RAW: "a\n"})
    main([], root=tmp_path)
    assert main(["--check"], root=tmp_path) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("old", [b"old\n", b"\xff\n", b"", None])
def test_check_shows_a_diff_and_the_way_out(write, tmp_path, capsys, old):
    write({RAW: "new\n"})
    if old is not None:
        write({README: old})
    assert main(["--check"], root=tmp_path) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("--- README.md") and "\n+new\n" in out
    assert build_readme.COMMAND in out.splitlines()[-1]
    readme = tmp_path / README
    assert (readme.read_bytes() if readme.exists() else None) == old


def test_check_sees_other_line_endings(write, tmp_path, capsys) -> None:
    text = expand(write({RAW: "a\n"}))
    write({README: text.replace("\n", "\r\n")})
    assert main(["--check"], root=tmp_path) == 1


def test_replacement_is_atomic(write, tmp_path, capsys, monkeypatch) -> None:
    write({RAW: "new\n", README: "old\n"})

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    assert main([], root=tmp_path) == 2
    assert "No space left" in capsys.readouterr().err
    assert (tmp_path / README).read_text() == "old\n"
    assert {p.name for p in tmp_path.iterdir()} == {RAW, README}


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_readme_keeps_its_mode(write, tmp_path) -> None:
    write({RAW: "new\n", README: "old\n"})
    (tmp_path / README).chmod(0o640)
    assert main([], root=tmp_path) == 0
    assert (tmp_path / README).stat().st_mode & 0o777 == 0o640


def test_command_works_from_any_folder(write, tmp_path) -> None:
    source = Path(build_readme.__file__).read_bytes()
    root = write({RAW: "a é\n", "build_readme.py": source})
    command = [sys.executable, str(root / "build_readme.py")]
    elsewhere = root.parent
    built = subprocess.run(command, cwd=elsewhere, capture_output=True)
    assert (built.returncode, built.stdout, built.stderr) == (0, b"", b"")
    assert (root / README).read_text(encoding="utf-8").endswith("a é\n")
    (root / README).write_text("")
    checked = subprocess.run(
        [*command, "--check"],
        cwd=elsewhere,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert checked.returncode == 1 and b"+a" in checked.stdout
