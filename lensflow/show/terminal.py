"""Output of the command line: progress, tables, and notes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import xarray as xr
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lensflow.config import EstimateConfig
from lensflow.manifest.estimate import PlanCost
from lensflow.manifest.hosts import PlanSize
from lensflow.measure.gate import GateResult
from lensflow.measure.pixels import KINDS, Finding, Kind, Status, findings
from lensflow.measure.scorer.gates import AUROC, CORE_DROP
from lensflow.measure.zoo.faults import shortcomings
from lensflow.show import tables, tables_gates, tables_pixels
from lensflow.show.from_dataset import from_elsewhere
from lensflow.show.numbers import amount
from lensflow.show.plain import print_line, print_sentence, styled
from lensflow.show.table import Cell, Table, words
from lensflow.survey.psf_audit import SUSPICIOUS_BELOW_ARCSEC, psf_audit

if TYPE_CHECKING:
    from lensflow.measure.core.tuning import CoreTuning
    from lensflow.measure.zoo.leaks.table import LeakTable
    from lensflow.show.comparison import Comparison

LEVEL_STYLES = {"ok": "good", "warning": "warn", "fail": "bad"}
# Of each table of a comparison; the page shows more.
MAX_ROWS = 15


class ProgressDisplay:
    """Progress bars, one per stage, driven by calls ``(stage, done, total)``."""

    def __init__(self, bars: Bars):
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the stage's bar."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


@contextlib.contextmanager
def progress_display(console: Console) -> Iterator[ProgressDisplay]:
    """Show progress bars while the body runs."""
    bars = Bars(
        TextColumn("{task.description:>16}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bars:
        yield ProgressDisplay(bars)


class Looked(Protocol):
    """One finding of the preflight: :class:`lensflow.run.doctor.Finding`."""

    @property
    def check(self) -> str: ...  # noqa: D102

    @property
    def level(self) -> str: ...  # noqa: D102

    @property
    def what(self) -> str: ...  # noqa: D102

    @property
    def advice(self) -> str: ...  # noqa: D102


def print_looks(console: Console, found: Sequence[Looked]) -> None:
    """Print the preflight's findings, each with advice."""
    rows = [(Cell(f.level, LEVEL_STYLES[f.level]), f.check, f"{f.what}\n{f.advice}".strip()) for f in found]
    console.print(Table("", [words(""), words(""), words("", wrap=True)], rows))
    counts = {level: sum(f.level == level for f in found) for level in LEVEL_STYLES}
    console.print(f"{counts['ok']} ok, {counts['warning']} to look at, {counts['fail']} that would stop the run")


def print_cutouts(console: Console, cutouts: xr.Dataset, counts: Mapping[str, int], messages: Sequence[str]) -> None:
    """Print hosts by status, reason and PSF provenance, and what the survey's files complained of."""
    if cutouts.attrs.get("n_read") is not None:
        console.print(tables.targets(cutouts.attrs))
    console.print(tables.hosts(counts))
    if counts.get("files: opened"):
        read, whole = (amount(counts.get(f"files: bytes {k}", 0)) for k in ("read", "whole"))
        console.print(f"  {counts['files: opened']:,} files opened, {read} read of {whole}")
    print_psf_audit(console, psf_audit(cutouts))
    for message in messages[:10]:
        _hang(console, message)
    if len(messages) > 10:
        console.print(f"  and {len(messages) - 10} more messages in the receipts")


def print_psf_audit(console: Console, audit: xr.Dataset) -> None:
    """Print PSF sizes by band: percentiles in arcsec, hosts by provenance, and sizes that cannot be."""
    console.print(tables.psf_percentiles(audit, reference=False))
    console.print(tables.psf_sources(audit))
    for band, n, name in zip(*(audit[v].values for v in ("band", "suspicious", "most_suspicious")), strict=True):
        if n:
            size = f'{n:,} below {SUSPICIOUS_BELOW_ARCSEC}"'
            _hang(console, f"{band}: {size}, the smallest of host {name}: an error of the map?")


def print_estimate(console: Console, size: PlanSize, cost: PlanCost, rates: EstimateConfig) -> None:
    """Print the estimated cost of a plan, and the source of the rates."""
    console.print(tables.plan_cost(size, cost, rates.usd_per_vcpu_hour))
    console.print("  Rates: section estimate of the config, measured in benchmarks/README.md.", highlight=False)


def print_manifest(console: Console, manifest: xr.Dataset) -> None:
    """Print rows, hosts left out, and the ranges as drawn."""
    control = manifest["is_control"].values
    counts = {
        "rows": control.size,
        "injections": int((~control).sum()),
        "controls": int(control.sum()),
        "hosts": int(manifest.attrs.get("n_hosts", 0)),
        **{f"hosts left out: {k}": int(v) for k, v in manifest.attrs.get("hosts_skipped", {}).items()},
        **{f"hosts lacking: {k}": int(v) for k, v in manifest.attrs.get("hosts_lacking", {}).items()},
        **{f"rows left out: {k}": int(v) for k, v in manifest.attrs.get("rows_dropped", {}).items()},
    }
    console.print(tables.counts("Manifest", counts))
    bands = [str(b) for b in manifest["band"].values]
    console.print(replace(tables.drawn(manifest.isel(sample=~control), bands), title="As drawn (injections)"))


def print_stages(console: Console, stages: Sequence[Mapping[str, Any]]) -> None:
    """Print seconds and rows per second by stage."""
    console.print(tables.stages({"stages": {s["stage"]: s for s in stages}}))


def print_pairs(console: Console, counts: Mapping[str, int]) -> None:
    """Print rows, flags and broken invariants of the pairs; broken invariants are highlighted."""
    console.print(tables.rows(counts))
    broken = {k.removeprefix("invariant: "): v for k, v in counts.items() if k.startswith("invariant: ") and v}
    for name, number in broken.items():
        console.print(styled(("  broken invariant:", "bold red"), f" {name}: {number} row(s)"))
    if not broken:
        console.print(styled(("  every invariant holds on every row", "green")))


def print_gates(console: Console, gates: Sequence[GateResult]) -> None:
    """Print each gate's AUC with its interval, its threshold and its verdict, and the reason below."""
    console.print(tables_gates.gates(gates))
    for g in gates:
        _hang(console, f"{g.name}: {g.reason}")


def print_diagnostics(
    console: Console, results: Mapping[str, xr.Dataset], kinds: Sequence[Kind[Finding]] = KINDS
) -> None:
    """Print the theta_E strata, measurements from elsewhere, and the worst place of each comparison."""
    if "stratified" in results:
        console.print(tables_pixels.strata(results["stratified"]))
    for table in from_elsewhere(results):
        console.print(table)
    found = findings(results, kinds)
    console.print(tables_gates.findings(found))
    for f in found:
        if f.status is not Status.OK:
            _hang(console, f"{f.diagnostic}: {f.check}: {f.text}")


def print_core(console: Console, tuning: CoreTuning) -> None:
    """Print the handlings on the held-out hosts and on those that chose, then the recommendation."""
    from lensflow.show import core_handling  # with matplotlib

    for table in reversed(core_handling.tables(tuning)):
        console.print(table)
    console.print(styled(tuning.reason))


def print_scores(console: Console, results: Sequence[GateResult]) -> None:
    """Print both gates of a scorer with their intervals, then the same by theta_E, SNR and absent bands."""
    by_name = {g.name: g for g in results}
    console.print(tables_gates.scorers(results))
    if by_name[AUROC].strata:
        console.print(tables_gates.scorer_strata(by_name[AUROC], by_name[CORE_DROP]))
    for gate in results:
        _hang(console, f"{gate.name}: {gate.reason}")


def print_completeness(console: Console, scorer: str, split: str, found: Mapping[str, xr.Dataset], path: str) -> None:
    """Print whose completeness it is, the funnel, thresholds, ROC and the resolution bins."""
    from lensflow.show.completeness import sentence
    from lensflow.show.completeness import tables as completeness_tables

    console.print()
    print_sentence(console, sentence(scorer, split, found))
    every = completeness_tables(found)
    for table in every[: 3 + ("roc" in found) + ("area" in found)]:
        console.print(table)
    print_line(console, f"All bins and numbers: the report, and {path}")


def print_zoo(console: Console, matrix: xr.DataArray) -> list[str]:
    """Print the diagnostics that detect each fault, and return the errors."""
    console.print(tables_gates.zoo(matrix))
    return _print_missed(
        console, shortcomings(matrix), "every fault is detected by all required diagnostics; no alarm on the sound run"
    )


def print_leaks(console: Console, found: LeakTable) -> list[str]:
    """Print a table for each setting, and return the cases that miss the goal."""
    for table in tables_gates.leaks(found):
        console.print(table)
    judge = f"read by {found.judge}: AUC over held-out hosts, 95 % interval; —: no amplitude of the ladder"
    console.print(styled((f"  {found.hosts} hosts, {found.injections} injections; {judge}", "dim")))
    return _print_missed(console, found.missed, "no leak that passes the required set can be read")


def print_comparison(console: Console, found: Comparison) -> None:
    """Print the notes and the tables of a comparison; an empty table is said in words."""
    from lensflow.show.comparison import tables as comparison_tables

    print_line(console, f"A: {found.a.folder}")
    print_line(console, f"B: {found.b.folder}")
    for note in found.notes:
        _hang(console, note)
    console.print(styled(found.headline()))
    for table in comparison_tables(found).values():
        if table.rows:
            console.print(replace(table, rows=table.rows[:MAX_ROWS]))
            if len(table.rows) > MAX_ROWS:
                console.print(f"  and {len(table.rows) - MAX_ROWS} more on the page", highlight=False)
        else:
            console.print(styled(f"{table.title}: none"))
    if found.diagnostics:
        console.print(styled(found.summary()))


def _print_missed(console: Console, missed: list[str], none: str) -> list[str]:
    for line in missed:
        console.print(styled((f"  {line}", "bold red")))
    if not missed:
        console.print(styled((f"  {none}", "green")))
    return missed


def _hang(console: Console, text: str) -> None:
    console.print(Padding(styled(text), (0, 0, 0, 2)))
