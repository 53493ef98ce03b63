"""What ``lensflow tune-core`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from lensflow.measure.core.sweep import HandlingResult
from lensflow.measure.core.tuning import CoreTuning
from lensflow.measure.gate import GateResult
from lensflow.show.core_handling import gate_names
from lensflow.show.plain import Table, styled
from lensflow.show.terminal import VERDICT_COLOURS


def print_core(console: Console, tuning: CoreTuning) -> None:
    """Print the handlings on the held-out hosts and on those that chose, then the recommendation."""
    print_handlings(console, tuning.chosen_on, "Core handlings on the hosts that choose")
    print_handlings(console, tuning.reported_on, "Core handlings on held-out hosts")
    console.print(styled(tuning.reason))


def print_handlings(console: Console, results: Sequence[HandlingResult], title: str) -> None:
    """Print one row per handling; a narrow terminal gets no counts, a very narrow one no intervals either."""
    unlimited = console.options.update_width(10_000)
    for counts, intervals in ((True, True), (False, True), (False, False)):
        table = _table(results, title, counts, intervals)
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            break
    console.print(table)


def _table(results: Sequence[HandlingResult], title: str, counts: bool, intervals: bool) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("handling", no_wrap=True)
    names = gate_names(results)
    for name in names:
        table.add_column(name.replace("_", "\n", 1), no_wrap=True)
    for name in ("light\nhidden", "open", *(("rows", "hosts") if counts else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for r in results:
        cells = [_cell(r.by_name.get(name), intervals) for name in names]
        opened = "-" if r.open_share != r.open_share else f"{100 * r.open_share:.0f} %"
        numbers = (f"{r.n_rows:,}", f"{r.n_hosts:,}") if counts else ()
        table.add_row(r.name, *cells, f"{100 * r.removed.value:.0f} %", opened, *numbers)
    return table


def _cell(gate: GateResult | None, interval: bool) -> Text:
    if gate is None:
        return styled("—")
    colour = VERDICT_COLOURS[str(gate.verdict)]
    if gate.auc != gate.auc:
        return styled((str(gate.verdict).replace("_", "\n"), colour))
    ends = f"\n{gate.auc_low:.2f}–{gate.auc_high:.2f}" if interval else ""
    return styled((f"{gate.auc:.3f}", colour), ends)
