"""A few named lines about something, as text that fits a screen and as a table for notebooks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from html import escape

_WIDTH = 118
_GLUE = "\x00"


def as_text(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """Title and lines, wrapped; paths and commands (in backticks) are not broken, so that they can be copied."""
    width = max((len(name) for name, _ in lines), default=0)
    out = [f"<{title}>"]
    for name, text in lines:
        whole = re.sub("`[^`]*`", lambda command: command[0].replace(" ", _GLUE), " ".join(text.split()))
        parts = textwrap.wrap(whole, _WIDTH - width - 4, break_long_words=False, break_on_hyphens=False) or [""]
        out += [f"  {name if k == 0 else '':{width}}  {part.replace(_GLUE, ' ')}" for k, part in enumerate(parts)]
    return "\n".join(out)


def as_html(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """The same as a table."""
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in lines)
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
