"""What ``lensflow score`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from lensflow.measure.gate import GateResult
from lensflow.measure.scorer.gates import AUROC, CORE_DROP, DROP, EVERYWHERE, FILLED, where
from lensflow.show.plain import Table, styled
from lensflow.show.terminal import VERDICT_COLOURS
from lensflow.stats.estimate import Estimate


def print_scores(console: Console, results: Sequence[GateResult]) -> None:
    """Print both gates of a scorer with their intervals, then the same by theta_E, SNR and absent bands."""
    by_name = {g.name: g for g in results}
    auroc, drop = by_name[AUROC], by_name[CORE_DROP]
    found = {(f["where"], f["check"]): Estimate.from_fields(f) for f in drop.findings}
    recipe = auroc.recipe
    rows = f"{auroc.n_rows:,} lenses on {auroc.n_hosts:,} hosts, and their controls"
    console.print(styled(f"{recipe['scorer']}, {recipe['split']} split: {rows}"))
    table = Table(title="Scorer", title_justify="left")
    for column in ("gate", "found", "95 % interval", "passes", "verdict"):
        table.add_column(column, justify="left" if column in ("gate", "verdict") else "right")
    table.add_row("AUROC", *_cells(auroc.area, 3), f"> {auroc.threshold:g}", _verdict(auroc))
    table.add_row("AUROC, core filled", *_cells(found.get((EVERYWHERE, FILLED)), 3), "", "")
    lost = found.get((EVERYWHERE, DROP))
    table.add_row("drop, % of AUROC", *_cells(lost, 1), f"< {drop.threshold:g}", _verdict(drop))
    console.print(table)
    if auroc.strata:
        _print_strata(console, auroc, found)
    for gate in results:
        console.print(styled(f"  {gate.name}: {gate.reason}"))


def _print_strata(console: Console, auroc: GateResult, found: Mapping[tuple[str, str], Estimate]) -> None:
    table = Table(title="By kind of lens, against the controls of the same hosts", title_justify="left")
    table.add_column("lenses", no_wrap=True)
    for column in ("rows", "hosts", "AUROC", "core filled", "drop, %"):
        table.add_column(column, justify="right")
    for s in auroc.strata:
        place = where(s)
        if s["n_rows"]:
            cells = [
                "\n".join(_cells(values, digits))
                for values, digits in (
                    (Estimate.from_fields(s, "auc"), 2),
                    (found.get((place, FILLED)), 2),
                    (found.get((place, DROP)), 1),
                )
            ]
            table.add_row(place, f"{s['n_rows']:,}", f"{s['n_hosts']:,}", *cells)
    console.print(table)


def _cells(found: Estimate | None, digits: int) -> tuple[str, str]:
    """Value and interval; dashes where there are none."""
    if found is None or not found.is_measured:
        return "-", ""
    value, low, high = (f"{v:.{digits}f}" for v in (found.value, found.low, found.high))
    return value, f"{low}, {high}"


def _verdict(gate: GateResult) -> Text:
    return styled((str(gate.verdict), VERDICT_COLOURS[str(gate.verdict)]))
