"""What ``lensflow compare`` prints."""

from __future__ import annotations

from rich.console import Console

from lensflow.show.comparison import Comparison, tables
from lensflow.show.plain import Table, print_line, styled
from lensflow.show.tables import Table as Shown

# Of each table; the page shows more.
MAX_ROWS = 15
TITLES = {"settings": "Settings that differ", "counts": "Counts that differ", "gates": "Gates",
          "diagnostics": "Diagnostics that differ beyond their intervals"}  # fmt: skip


def print_comparison(console: Console, found: Comparison) -> None:
    """Print the notes and the tables of a comparison; an empty table is said in words."""
    print_line(console, f"A: {found.a.folder}")
    print_line(console, f"B: {found.b.folder}")
    for note in found.notes:
        console.print(styled(f"  {note}"))
    console.print(styled(found.headline()))
    for key, shown in tables(found).items():
        if shown.rows:
            console.print(_table(TITLES[key], shown))
            if len(shown.rows) > MAX_ROWS:
                console.print(f"  and {len(shown.rows) - MAX_ROWS} more on the page", highlight=False)
        else:
            console.print(styled(f"{TITLES[key]}: none"))
    if found.diagnostics:
        console.print(styled(found.summary()))


def _table(title: str, shown: Shown) -> Table:
    out = Table(title=title, title_justify="left")
    for k, name in enumerate(shown.columns):
        words = k < shown.text_columns
        out.add_column(name, justify="left" if words else "right", overflow="fold", min_width=12 if k == 0 else None)
    for row in shown.rows[:MAX_ROWS]:
        out.add_row(*row, style="bold" if row[-1] == "differs" else "")
    return out
