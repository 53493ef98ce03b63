"""A few named lines about something, as text that fits a screen and as a table for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import escape

from lensflow.show.pages import commands
from lensflow.show.plain import wrapped

_WIDTH = 118


def as_text(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """Title and lines, wrapped; paths and commands (in backticks) are not broken, so that they can be copied."""
    width = max((len(name) for name, _ in lines), default=0)
    out = [f"<{title}>"]
    for name, text in lines:
        parts = wrapped(" ".join(text.split()), _WIDTH - width - 4)
        out += [f"  {name if k == 0 else '':{width}}  {part}" for k, part in enumerate(parts)]
    return "\n".join(out)


def as_html(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """The same as a table, with commands as code."""
    body = "".join(
        f'<tr><th>{escape(name)}</th><td style="text-align: left">{commands(text)}</td></tr>' for name, text in lines
    )
    return f"<table><caption>{escape(title)}</caption>{body}</table>"
