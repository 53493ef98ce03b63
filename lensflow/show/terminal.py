"""What the command line prints: progress, and a table per step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xarray as xr
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from lensflow.config import EstimateConfig
from lensflow.manifest.estimate import PlanCost
from lensflow.manifest.hosts import PlanSize
from lensflow.measure.gate import GateResult
from lensflow.measure.pixels import Status, findings
from lensflow.measure.zoo.faults import shortcomings
from lensflow.show.plain import Table, styled
from lensflow.survey.psf_audit import SUSPICIOUS_BELOW_ARCSEC, psf_audit

LEVEL_COLOURS = {"ok": "green", "warning": "bold yellow", "fail": "bold red"}
VERDICT_COLOURS = {
    "PASS": "bold green",
    "EXPLAINED": "bold yellow",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "NOT_TESTABLE": "bold yellow",
    "ERROR": "bold red",
}


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


def print_counts(console: Console, title: str, counts: Mapping[str, int], note: str = "") -> None:
    """Print counts as a two-column table; lines with nothing to count are left out."""
    table = Table(title=title, title_justify="left", show_header=False, caption=note or None, caption_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for name, number in counts.items():
        if number:
            table.add_row(name, f"{number:,}")
    console.print(table)


class Looked(Protocol):
    """What the preflight says of one thing: :class:`lensflow.run.doctor.Finding`."""

    @property
    def check(self) -> str: ...  # noqa: D102

    @property
    def level(self) -> str: ...  # noqa: D102

    @property
    def what(self) -> str: ...  # noqa: D102

    @property
    def advice(self) -> str: ...  # noqa: D102


def print_findings(console: Console, findings: Sequence[Looked]) -> None:
    """Print what the preflight found, one line each, with the way out below it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = styled(finding.what, *([(f"\n{finding.advice}", "italic")] if finding.advice else []))
        table.add_row(Text(finding.level, style=LEVEL_COLOURS[finding.level]), finding.check, text)
    console.print(table)
    counts = {level: sum(f.level == level for f in findings) for level in LEVEL_COLOURS}
    console.print(f"{counts['ok']} ok, {counts['warning']} to look at, {counts['fail']} that would stop the run")


def print_targets(console: Console, attrs: Mapping[str, Any]) -> None:
    """Print what became of the rows of the target tables, and the hosts by split: attrs of targets or cutouts."""
    removed = {f"removed: {k}": int(v) for k, v in attrs.get("removed", {}).items()}
    splits = {f"split: {k}": int(v) for k, v in attrs.get("hosts_by_split", {}).items()}
    note = f"{attrs['n_read']:,} targets read, {attrs['n_duplicates']:,} duplicate(s) merged"
    print_counts(console, "Targets", {"rows read": attrs["n_read"], **removed, **splits}, note)


def print_cutouts(console: Console, cutouts: xr.Dataset, counts: Mapping[str, int], messages: Sequence[str]) -> None:
    """Print hosts by status, reason and PSF provenance, and what the survey's files complained of."""
    if cutouts.attrs.get("n_read") is not None:
        print_targets(console, cutouts.attrs)
    kinds = list(dict.fromkeys(k.split(":")[0] for k in counts))
    print_counts(console, "Cutouts", {k: counts[k] for k in sorted(counts, key=lambda k: kinds.index(k.split(":")[0]))})
    print_psf_audit(console, psf_audit(cutouts))
    for message in messages[:10]:
        console.print(styled(f"  {message}"))
    if len(messages) > 10:
        console.print(f"  and {len(messages) - 10} more messages in the receipts")


def print_psf_audit(console: Console, audit: xr.Dataset) -> None:
    """Print PSF sizes by band: hosts by provenance, percentiles in arcsec, and sizes that cannot be."""
    table = Table(title="PSF sizes (FWHM, arcsec)", title_justify="left")
    table.add_column("band")
    used = [s for s in audit["source"].values if audit["hosts"].sel(source=s).values.any()]
    for source in used:
        table.add_column(str(source), justify="right")
    for percentile in audit["percentile"].values:
        table.add_column(f"P{percentile}", justify="right")
    for band in audit["band"].values:
        of_band = audit.sel(band=band)
        hosts = [f"{int(of_band['hosts'].sel(source=s)):,}" for s in used]
        table.add_row(str(band), *hosts, *(f"{v:.2f}" for v in of_band["psfsize_arcsec"].values))
    console.print(table)
    for band, n, name in zip(*(audit[v].values for v in ("band", "suspicious", "most_suspicious")), strict=True):
        if n:
            line = (
                f'  {band}: {n:,} below {SUSPICIOUS_BELOW_ARCSEC}", the smallest of host {name}: an error of the map?'
            )
            console.print(styled(line))


def print_estimate(console: Console, size: PlanSize, cost: PlanCost, rates: EstimateConfig) -> None:
    """Print what a plan would cost, and where the rates come from."""
    table = Table(title="Estimate", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows", f"{size.rows:,}")
    table.add_row("injections, controls", f"{size.injections:,}, {size.controls:,}")
    table.add_row("hosts used, looked at", f"{size.n_used:,}, {size.n_hosts:,}")
    for name, n in {**size.skipped, **{f"{k} (lacking)": v for k, v in size.lacking.items()}}.items():
        table.add_row(f"hosts {name}", f"{n:,}")
    table.add_row("cutouts on disk, at most", _bytes(cost.bytes_cutouts))
    table.add_row("pairs on disk", _bytes(cost.bytes_pairs))
    table.add_row("manifest on disk, at most", _bytes(cost.bytes_manifest))
    for step, seconds in cost.core_seconds.items():
        table.add_row(f"{step}, one core", _duration(seconds))
    table.add_row(f"all steps, {cost.workers} worker(s)", _duration(cost.wall_seconds))
    table.add_row("price", f"{cost.usd:,.2f} USD at {rates.usd_per_vcpu_hour:g} USD per core and hour")
    console.print(table)
    console.print("  Rates: section estimate of the config, measured in benchmarks/README.md.", highlight=False)


def _bytes(number: float) -> str:
    power = min(int(np.log10(max(number, 1)) // 3), 5)
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def _duration(seconds: float) -> str:
    for name, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"


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
    print_counts(console, "Manifest", counts)
    table = Table(title="As drawn (injections)", title_justify="left")
    for column in ("parameter", "min", "median", "max"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    for name in ("theta_e_arcsec", "lens_q", "shear", "src_reff_arcsec", "src_flux_nmgy", "psf_fwhm_arcsec"):
        values = manifest[name].values[~control]
        values = values[np.isfinite(values)]
        if values.size:
            table.add_row(name, *(f"{v:.3g}" for v in np.percentile(values, (0, 50, 100))))
    console.print(table)


def print_stages(console: Console, stages: Sequence[Mapping[str, Any]]) -> None:
    """Print seconds and rows per second by stage."""
    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    for column in ("rows", "seconds", "rows/s"):
        table.add_column(column, justify="right")
    notes = [() if s["worked"] else (styled(("found done", "dim")),) for s in stages]
    for s, note in zip(stages, notes, strict=True):
        rate = f"{s['rows_per_s']:,.0f}" if s["rows_per_s"] >= 10 else f"{s['rows_per_s']:.2g}"
        table.add_row(s["stage"], f"{s['rows']:,}", f"{s['seconds']:.1f}", rate, *(note if any(notes) else ()))
    console.print(table)


def print_gates(console: Console, gates: Sequence[GateResult]) -> None:
    """Print each gate's AUC with its interval, its threshold and its verdict, and the reason below."""
    table = Table(title="Gates", title_justify="left")
    table.add_column("gate", no_wrap=True)
    for column in ("rows", "hosts", "AUC", "95 % interval", "passes"):
        table.add_column(column, justify="right", no_wrap=column != "95 % interval")
    table.add_column("verdict")
    for g in gates:
        verdict = str(g.verdict)
        table.add_row(
            g.name,
            f"{g.n_rows:,}",
            f"{g.n_hosts:,}",
            _number(g.auc),
            f"{_number(g.auc_low)} - {_number(g.auc_high)}" if np.isfinite(g.auc_low) else "-",
            f"< {g.threshold:g}" if np.isfinite(g.threshold) else "-",
            styled((verdict.replace("_", " "), VERDICT_COLOURS[verdict])),
        )
    console.print(table)
    for g in gates:
        console.print(Padding(styled(f"{g.name}: {g.reason}"), (0, 0, 0, 2)))


def print_zoo(console: Console, matrix: xr.DataArray) -> list[str]:
    """Print which diagnostics notice each fault, and return what is not as it must be."""
    table = Table(title="Known faults, and the diagnostics that notice them (alarms)", title_justify="left")
    table.add_column("fault", no_wrap=True)
    table.add_column("noticed by", overflow="fold")
    for fault in matrix["fault"].values:
        row = matrix.sel(fault=fault)
        noticed = [f"{d} ({n})" for d, n in zip(row["diagnostic"].values, row.values, strict=True) if n > 0]
        table.add_row("sound run" if fault == "none" else str(fault), ", ".join(noticed) or "-")
    console.print(table)
    wrong = shortcomings(matrix)
    for line in wrong:
        console.print(styled((f"  {line}", "bold red")))
    if not wrong:
        console.print(styled(("  every fault is noticed by all that must; no alarm on the sound run", "green")))
    return wrong


def print_diagnostics(console: Console, results: Mapping[str, xr.Dataset]) -> None:
    """Print the theta_E strata and the outer annulus of every band."""
    strata = results["stratified"]
    for band in strata["band"].values:
        table = Table(title=f"theta_E strata (arcsec), {band} band", title_justify="left")
        for column in ("theta_E", "rows", "hosts", "core / host core %", "core / arc %", "95 % interval"):
            table.add_column(column, justify="right")
        one = strata.sel(band=band)
        for k, label in enumerate(one["stratum"].values):
            table.add_row(
                str(label),
                f"{int(one['n_rows'].values[k]):,}",
                f"{int(one['n_hosts'].values[k]):,}",
                _number(one["core_diff_pct_pooled"].values[k], 1),
                _number(one["leakage_pct_pooled"].values[k], 1),
                f"{_number(one['leakage_pct_pooled_low'].values[k], 1)} - "
                f"{_number(one['leakage_pct_pooled_high'].values[k], 1)}",
            )
        console.print(table)


def print_findings_of(console: Console, results: Mapping[str, xr.Dataset]) -> None:
    """Print what the diagnostics say: the worst place of each comparison, beside what is expected."""
    table = Table(title="Diagnostics: worst place of each comparison", title_justify="left")
    for column in ("diagnostic", "compared", "status", "where", "value", "expected"):
        number = column in ("value", "expected")
        table.add_column(column, justify="right" if number else "left", no_wrap=number, overflow="fold")
    colours = {"OK": "green", "ALARM": "bold red", "NOT_TESTED": "yellow"}
    found = findings(results)
    for f in found:
        status = styled((str(f.status).replace("_", " "), colours[str(f.status)]))
        value = "-" if f.value != f.value else f"{f.value:.3g}"
        expected = "-" if f.expected != f.expected else f"{f.expected:.3g}"
        table.add_row(f.diagnostic.replace("_", " "), f.check, status, f.where, value, expected)
    console.print(table)
    for f in found:
        if f.status is not Status.OK:
            console.print(Padding(styled(f"{f.diagnostic}: {f.check}: {f.text}"), (0, 0, 0, 2)))


def print_pairs(console: Console, counts: Mapping[str, int]) -> None:
    """Print rows, flags and broken invariants of the pairs; a broken invariant is said loudly."""
    rows = {k: v for k, v in counts.items() if not k.startswith("invariant: ")}
    print_counts(console, "Pairs", rows)
    broken = {k.removeprefix("invariant: "): v for k, v in counts.items() if k.startswith("invariant: ") and v}
    for name, number in broken.items():
        console.print(styled(("  broken invariant:", "bold red"), f" {name}: {number} row(s)"))
    if not broken:
        console.print(styled(("  every invariant holds on every row", "green")))


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
