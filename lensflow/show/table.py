"""One table for every reader: HTML on a page, rich in a terminal, markdown in a text."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group
from rich.table import Table as RichTable
from rich.text import Text

from lensflow.errors import LensflowError
from lensflow.show.numbers import MISSING, count, fixed, interval, number
from lensflow.show.pages import commands
from lensflow.show.plain import styled, visible
from lensflow.stats.estimate import Estimate

# What a cell can say by its colour; a row with an alarm is loud as a whole.
STYLES = {
    "good": "green", "warn": "bold yellow", "bad": "bold red", "alarm": "bold red", "open": "bold blue", "faint": "dim",
}  # fmt: skip
_NO_VALUE = f"{MISSING} : no value (not measured, not defined, or too few rows or hosts)."
# Columns of words get at least so much of a terminal before the table is split.
_LEAST_WORDS = 14
# So long a word is not broken there; on a page, longer names are broken at their points, slashes and underscores.
_WHOLE_WORD = 26
_LONG_NAME = re.compile(rf"[\w./-]{{{_WHOLE_WORD + 1},}}")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name, unit : str
    write : int or callable
        How a number is written: places after the decimal point, or a function.
    words : bool
        Words, set to the left; numbers are set to the right.
    wrap : bool
        Whether its cells may break into lines.
    optional : bool
        Left out, with a note, where a terminal is too narrow for all columns.
    """

    name: str
    unit: str = ""
    write: int | Callable[[Any], str] = number
    words: bool = False
    wrap: bool = False
    optional: bool = False

    @property
    def head(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: Any) -> str:
        """Write one value; None and NaN are an em dash."""
        if value is None:
            return MISSING
        if isinstance(value, str):
            return value
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "no"
        if isinstance(value, Integral):
            return count(value)
        if not math.isfinite(value):
            return number(value)
        return fixed(value, self.write) if isinstance(self.write, int) else self.write(value)


def words(name: str, wrap: bool = False, optional: bool = False) -> Column:
    """Make a column of words."""
    return Column(name, words=True, wrap=wrap, optional=optional)


class Cell(NamedTuple):
    """A value with a style of :data:`STYLES`, and with words behind it."""

    value: Any
    style: str = ""
    note: str = ""


class _Parts(NamedTuple):
    value: str
    interval: str
    note: str
    style: str

    @property
    def line(self) -> str:
        ends = f" ({self.interval})" if self.interval else ""
        return f"{self.value}{ends} {self.note}".rstrip() if self.note else self.value + ends

    @property
    def stack(self) -> str:
        """Value, interval and words below each other."""
        return "\n".join(p for p in (self.value, self.interval.replace(" – ", "–"), self.note) if p) or self.value


@dataclass(frozen=True)
class Table:
    """A table: values are kept as they are, and written by the columns.

    Attributes
    ----------
    title : str
        Shown above or below it; empty for none.
    columns : sequence of Column or str
        A str is a column of numbers.
    rows : sequence of sequence
        Of str, numbers, None, :class:`Estimate` (value and interval) or :class:`Cell`. A value that is NaN, and an
        interval whose ends are, are shown as not measured.
    notes : str
        How to read it; shown on a page, not in a terminal.
    groups : bool
        Rows with the same first cell belong together.

    Raises
    ------
    LensflowError
        If a row has not one cell for each column, or a style is not known.
    """

    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Any]]
    notes: str = ""
    groups: bool = False

    def __post_init__(self) -> None:
        for k, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise LensflowError(f"{self.title}: row {k} has {len(row)} cells for {len(self.columns)} columns")
            for cell in row:
                if isinstance(cell, Cell) and cell.style and cell.style not in STYLES:
                    raise LensflowError(f"{self.title}: no style {cell.style!r}; there are {', '.join(STYLES)}")

    @property
    def heads(self) -> list[Column]:
        """The columns."""
        return [Column(c) if isinstance(c, str) else c for c in self.columns]

    def _written(self) -> list[list[_Parts]]:
        return [[_parts(cell, c) for cell, c in zip(row, self.heads, strict=True)] for row in self.rows]

    def _repeats(self) -> Iterator[bool]:
        """For each row whether it continues the group above."""
        firsts = [row[0] for row in self.rows]
        return (self.groups and k > 0 and firsts[k] == firsts[k - 1] for k in range(len(firsts)))

    def html(self) -> Markup:
        """Return a table with a caption, all text escaped."""
        heads, lines = self.heads, self._written()
        notes = commands(self.notes)
        if any(p.value == MISSING for line in lines for p in line):
            notes += Markup(' <span class="dash">{}</span>').format(_NO_VALUE)
        # Below and outside of what scrolls: the reader of a narrow page sees the notes whole.
        about = Markup('\n<div class="about">{}</div>').format(notes.strip()) if notes else ""
        caption = Markup("<caption>{}</caption>\n").format(self.title) if self.title else ""
        body = Markup("\n").join(
            Markup('<tr class="{}">{}</tr>').format(
                " ".join(["rule"] * (self.groups and not repeats) + ["loud"] * any(p.style == "alarm" for p in line)),
                Markup("").join(
                    _td(p, c, repeats and k == 0) for k, (p, c) in enumerate(zip(line, heads, strict=True))
                ),
            )
            for line, repeats in zip(lines, self._repeats(), strict=True)
        )
        top = Markup("").join(
            Markup('<th scope="col" class="{}">{}</th>').format("words" if c.words else "", c.head) for c in heads
        )
        return Markup(
            '<div class="table"><div class="scroll"><table>\n{}<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>'
            "</table></div>{}</div>"
        ).format(caption, top, body, about)

    def _repr_html_(self) -> str:
        """The same for notebooks, which have styles of their own: words at the left, as on a page."""
        left = re.sub(
            r'<(td|th)( scope="col")? class="words', r'<\1\2 style="text-align: left" class="words', str(self.html())
        )
        return left.replace("<caption>", '<caption style="text-align: left">')

    def markdown(self) -> str:
        """Return the table as markdown, with the notes below."""
        rows = [[c.head for c in self.heads], *([p.line for p in line] for line in self._written())]
        out = ["| " + " | ".join(" ".join(t.replace("|", "\\|").split()) for t in row) + " |" for row in rows]
        out.insert(1, "|" + "---|" * len(self.columns))
        return "\n".join([*out, "", f"{self.title}. {self.notes}".strip(" .") + "."]) + "\n"

    def rich(self, width: int = 80) -> Group:
        """Return the table for a terminal: title and rows, nothing wider than ``width`` and nothing cut.

        What is too wide goes without the optional columns (a note says so), then has its intervals below their values,
        and is split at last, each part with the words at the left.

        Parameters
        ----------
        width : int
            Characters.

        Returns
        -------
        rich Group
        """
        lines, every = self._written(), list(range(len(self.columns)))
        needed = [k for k in every if not self.heads[k].optional]
        for stacked in (False, True):
            for chosen in (every, needed):
                if self._width(lines, chosen, stacked) <= width:
                    return self._group([chosen], lines, stacked, width)
        return self._group(self._split(lines, needed, width), lines, True, width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Group]:
        """Print itself in the width that there is."""
        yield self.rich(options.max_width)

    def _room(self, lines: list[list[_Parts]], k: int, stacked: bool, whole: bool = False) -> int:
        """Width that a column needs, with ``whole`` for cells in one line."""
        column = self.heads[k]
        texts = [t for line in lines for t in (line[k].stack if stacked else line[k].line).splitlines()]
        content = max((cell_len(visible(t)) for t in texts), default=0)
        if column.wrap and not whole:
            word = max((cell_len(visible(w)) for t in texts for w in t.split()), default=0)
            content = min(content, max(_LEAST_WORDS, min(word, _WHOLE_WORD)))
        return max(content, *(cell_len(visible(w)) for w in column.head.split()), 1)

    def _width(self, lines: list[list[_Parts]], chosen: list[int], stacked: bool) -> int:
        return sum(self._room(lines, k, stacked) + 2 for k in chosen) - 2

    def _given(self, lines: list[list[_Parts]], chosen: list[int], stacked: bool, width: int) -> dict[int, int]:
        """Widths of the columns that wrap: those in want share what is spare, and none has less than its words."""
        given = {k: self._room(lines, k, stacked) for k in chosen if self.heads[k].wrap}
        wanted = {k: self._room(lines, k, stacked, whole=True) for k in given}
        spare = width - self._width(lines, chosen, stacked)
        while spare > 0 and (short := [k for k in given if given[k] < wanted[k]]):
            narrow = min(short, key=lambda k: given[k])
            given[narrow] += 1
            spare -= 1
        return given

    def _split(self, lines: list[list[_Parts]], chosen: list[int], width: int) -> list[list[int]]:
        keys = [k for k in chosen if all(self.heads[j].words for j in range(k + 1))] or chosen[:1]

        def crowded(kept: list[int]) -> bool:
            return max(self._width(lines, [*kept, *{k} - {*kept}], True) for k in chosen) > width

        # Words that leave no room for the widest of the others are not repeated beside it.
        while len(keys) > 1 and crowded(keys):
            keys.pop()
        parts: list[list[int]] = [[]]
        for k in (k for k in chosen if k not in keys):
            if parts[-1] and self._width(lines, [*keys, *parts[-1], k], True) > width:
                parts.append([])
            parts[-1].append(k)
        return [[*keys, *p] for p in parts]

    def _group(self, parts: list[list[int]], lines: list[list[_Parts]], stacked: bool, width: int) -> Group:
        out: list[Any] = [Text(f"\n{visible(self.title)}", style="bold")] if self.title else []
        for k, chosen in enumerate(parts):
            out += [Text("")] * (k > 0) + [self._one_rich(chosen, lines, stacked, width)]
        gone = [c.name for k, c in enumerate(self.heads) if not any(k in chosen for chosen in parts)]
        if gone:
            out.append(Text(visible(f"Too narrow for: {', '.join(gone)}"), style="dim"))
        return Group(*out)

    def _one_rich(self, chosen: list[int], lines: list[list[_Parts]], stacked: bool, width: int) -> RichTable:
        shown = [[line[k].stack if stacked else line[k].line for k in chosen] for line in lines]
        fits = self._width(lines, chosen, stacked) <= width
        given = self._given(lines, chosen, stacked, width) if fits else {}
        out = RichTable(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
            show_lines=stacked and any("\n" in text for row in shown for text in row),
            show_header=any(self.heads[k].name for k in chosen),
        )  # fmt: skip
        for k in chosen:
            column, room = self.heads[k], given.get(k, self._room(lines, k, stacked))
            head = Text(visible(textwrap.fill(column.head, room, break_long_words=False, break_on_hyphens=False)))
            out.add_column(
                head,
                justify="left" if column.words else "right",
                no_wrap=fits and not column.wrap,
                overflow="fold",
                width=given.get(k),
            )
        for line, texts, repeats in zip(lines, shown, self._repeats(), strict=True):
            if self.groups and not repeats and out.row_count:
                out.add_section()
            cells = [styled((t, STYLES.get(line[k].style, ""))) for k, t in zip(chosen, texts, strict=True)]
            if repeats:
                cells[0] = Text("")
            out.add_row(*cells, style="bold" if any(p.style == "alarm" for p in line) else "")
        return out


def printed(first: str, tables: Sequence[Table], width: int = 100) -> str:
    """A sentence and tables as plain text: the repr of results that have both."""
    written = StringIO()
    # Without force_jupyter, rich takes a notebook for its reader: it displays there at once and writes nothing.
    # And ipykernel asks for colours.
    shown = Console(width=width, file=written, force_jupyter=False, force_terminal=False)
    shown.print(styled(first))
    for table in tables:
        shown.print(table.rich(width))
    return written.getvalue().rstrip()


def in_notebook(first: str, tables: Sequence[Table]) -> str:
    """HTML of the same."""
    # A str: Markup would take what is added for text, and escape it.
    return str(Markup("<p>{}</p>").format(commands(first))) + "".join(t._repr_html_() for t in tables)


def _parts(cell: Any, column: Column) -> _Parts:
    value, style, note = cell if isinstance(cell, Cell) else Cell(cell)
    if not isinstance(value, Estimate):
        return _Parts(column.text(value), "", note, style)
    # An exact number has no interval to show.
    known = not (math.isnan(value.low) and math.isnan(value.high)) and not value.low == value.value == value.high
    ends = interval(value.low, value.high, write=column.text) if known else ""
    return _Parts(column.text(value.value), ends, note, style)


def _td(shown: _Parts, column: Column, repeats: bool) -> Markup:
    classes = ("words" * column.words, "repeat" * repeats, "wrapped" * column.wrap, shown.style)
    ends = Markup(' <span class="interval">({})</span>').format(shown.interval) if shown.interval else ""
    note = commands(f" {shown.note}" if shown.note else "")
    value = commands(shown.value)
    if column.wrap:
        value = Markup(_LONG_NAME.sub(lambda name: re.sub(r"(?<=[\w-])([._/])(?=\w)", r"\1<wbr>", name[0]), str(value)))
    return Markup('<td class="{}">{}{}{}</td>').format(" ".join(filter(None, classes)), value, ends, note)
