"""The suite of leaks in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from lensflow.show.plain import Table, styled

if TYPE_CHECKING:
    from lensflow.measure.zoo.leaks.suite import Row
    from lensflow.measure.zoo.leaks.table import LeakTable


def print_leaks(console: Console, table: LeakTable) -> list[str]:
    """Print a table for each setting, and return where the goal is missed."""
    settings = list(dict.fromkeys(r.setting for r in table.rows))
    for setting in settings:
        shown = Table(title=f"Leaks in stamps {_said(setting)}", title_justify="left")
        shown.add_column("leak", overflow="fold")
        for column in ("passes to", "noticed at"):
            shown.add_column(column, justify="right", no_wrap=True)
        shown.add_column("by", overflow="fold")
        shown.add_column("read at passing", justify="right")
        for row in (r for r in table.rows if r.setting == setting):
            shown.add_row(f"{row.kind}, {row.unit}", *cells(row))
        console.print(shown)
    judge = f"read by {table.judge}: AUC over held-out hosts, 95 % interval; -: no amplitude of the ladder"
    console.print(styled((f"  {table.hosts} hosts, {table.injections} injections; {judge}", "dim")))
    for line in table.missed:
        console.print(styled((f"  {line}", "bold red")))
    if not table.missed:
        console.print(styled(("  no leak that passes the required set can be read", "green")))
    return table.missed


def cells(row: Row) -> tuple[str, str, str, str]:
    """Amplitude that passes, amplitude that is noticed, by what, and what is read of the first."""
    read = row.reading
    area = "-" if read is None else f"{read.auc:.3f} [{read.low:.3f}, {read.high:.3f}]"
    passes, noticed = (("-" if a is None else f"{a:.2g}") for a in (row.passes_to, row.noticed_from))
    return passes, noticed, ", ".join(n.replace("_", " ") for n in row.noticed_by) or "nothing", area


def _said(setting: str) -> str:
    return setting if setting.startswith("from") else f"of {setting}"
