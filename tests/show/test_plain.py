"""What comes from outside is text on the terminal: no markup, no emoji, no control characters, no cut words."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lensflow.show.plain import PlainConsole, print_error, print_line, print_sentence, styled, visible

HOSTILE = ["[/bold]", "[bold red]x", "[link=http://e]x", ":smile:", "a[b]c", r"\[x", "<script>", "é’"]


def printed(show, width=80, console=PlainConsole):
    out = io.StringIO()
    show(console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("console", [PlainConsole, Console])
def test_a_hostile_name_is_printed_as_it_is(name, console):
    def show(to):
        to.print(styled("a ", (name, "bold")))
        print_line(to, name)
        print_error(to, "Error", name)

    assert printed(show, 200, console).count(name) == 3


def test_control_characters_are_written_out():
    assert visible("a\x1b[31mb\rc") == r"a\x1b[31mb\rc" and visible("two\nlines") == "two\nlines"


def test_a_path_longer_than_the_line_stays_whole():
    path = "/data/" + "x" * 200
    assert path in printed(lambda c: print_line(c, f"Report: {path}"))
    assert path in printed(lambda c: print_error(c, "Error", f"{path}: no such file"))


@given(st.lists(st.text("abcdefgh.-/[]", min_size=1, max_size=30), min_size=1, max_size=60))
def test_an_error_at_80_columns_breaks_no_word_and_loses_none(words):
    text = printed(lambda c: print_error(c, "Error", " ".join(words)))
    assert text.split() == ["Error:", *words]
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("width", [40, 80])
def test_a_command_in_backticks_is_not_broken_and_is_bold(width):
    command = "`lensflow gate runs/a b --again`"
    text = printed(lambda c: print_error(c, "Error", f"{'word ' * 6}{command} {'word ' * 9}"), width)
    assert command in text and text.replace("\n", " ").split()[-1] == "word"
    bold = [s for s in styled(f"run {command}, a `[red]x`").spans if s.style == "bold"]
    assert [(s.start, s.end) for s in bold] == [(4, 4 + len(command)), (8 + len(command), 16 + len(command))]


def test_indented_lines_of_an_error_stay_indented():
    text = printed(lambda c: print_error(c, "Error", "c.yaml: 1 wrong\n  plan.x: " + "word " * 30))
    assert all(line.startswith("  ") for line in text.splitlines()[1:]) and len(text.splitlines()) > 3


def test_a_sentence_is_wrapped_between_words_and_a_path_in_it_stays_whole():
    said, path = "Every injection of this run was found again. " * 3, "/data/" + "folder/" * 15 + "numbers.json"
    lines = printed(lambda c: print_sentence(c, f"{said}See {path}."), width=60).splitlines()
    assert " ".join(lines).split() == [*said.split(), "See", f"{path}."]
    assert [n for n in map(len, lines) if n > 60] == [len(path) + 1]
