"""Terminal output of plain text: paths, ids and messages are never interpreted as rich's markup or emoji.

Colour is given to :class:`rich.text.Text` alone. lensflow's consoles are only made here.
"""

from __future__ import annotations

import re
import textwrap
from typing import IO

from rich.console import Console
from rich.text import Text

# Commands and settings in messages, as authors write them; a page shows them as code.
COMMAND = re.compile(r"`[^`\n]+`")
_GLUE = "\x00"


class PlainConsole(Console):
    """A console without markup, emoji and highlighting."""

    def __init__(self, stderr: bool = False, file: IO[str] | None = None, width: int | None = None):
        super().__init__(stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text of plain pieces and of (piece, style) pairs; commands in backticks are bold."""
    text = Text.assemble(*(visible(p) if isinstance(p, str) else (visible(p[0]), p[1]) for p in parts))
    text.highlight_regex(COMMAND, "bold")
    return text


def wrapped(text: str, width: int, subsequent_indent: str = "") -> list[str]:
    """Lines of a text, wrapped between words; paths, and commands in backticks, are not broken: they can be copied."""
    whole = COMMAND.sub(lambda command: command[0].replace(" ", _GLUE), text)
    lines = textwrap.wrap(
        whole,
        width,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return [line.replace(_GLUE, " ") for line in lines] or [""]


def visible(text: str) -> str:
    """Return the text with control characters written out: a name must not move the cursor or colour the screen."""
    return "".join(c if c in "\n\t" or c.isprintable() else repr(c)[1:-1] for c in text)


def print_line(console: Console, text: str | Text) -> None:
    """Print one line that the terminal may wrap but nobody cuts: a path can be copied whole."""
    console.print(styled(text) if isinstance(text, str) else text, soft_wrap=True)


def print_sentence(console: Console, text: str) -> None:
    """Print a text of one or more sentences, wrapped between words; a path longer than the line stays whole."""
    for line in wrapped(text, max(console.width, 20)):
        print_line(console, line)


def print_error(console: Console, kind: str, message: str) -> None:
    """Print an error, its kind in red, wrapped between words only: a path longer than the line stays whole."""
    lines = visible(f"{kind}: {message}").splitlines() or [f"{kind}:"]
    whole: list[str] = []
    for line in lines:
        whole += wrapped(line, max(console.width, 20), line[: len(line) - len(line.lstrip())])
    text = styled("\n".join(whole))
    text.stylize("bold red", 0, len(kind) + 1)
    console.print(text, soft_wrap=True, highlight=False)
