"""Tables of verdicts: findings of the diagnostics, gates, controls and strata, lens finders, known faults."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from lensflow.measure.gate import GateResult
from lensflow.measure.gate.strata import MIXED_SOURCES
from lensflow.measure.metadata.checks import findings_of
from lensflow.measure.pixels import Finding, Status
from lensflow.measure.scorer.gates import AUROC, CORE_DROP, DROP, EVERYWHERE, FILLED, where
from lensflow.schema import SPLITS, PsfSource
from lensflow.show.numbers import MISSING, count, interval, unit
from lensflow.show.table import Cell, Column, Table, words
from lensflow.show.verdict_style import verdict_style
from lensflow.stats.estimate import NOT_MEASURED, Estimate

if TYPE_CHECKING:
    from lensflow.measure.zoo.leaks.table import LeakTable

_STATUS = {
    Status.OK: Cell("ok", "good"),
    Status.ALARM: Cell("ALARM", "alarm"),
    Status.NOT_TESTED: Cell("not tested", "warn"),
}
_AUC = Column("AUC", write=3)


def verdict(gate: GateResult) -> Cell:
    """The verdict in words, in its colour."""
    return Cell(str(gate.verdict).replace("_", " "), verdict_style(gate.verdict).cell)


def area(gate: GateResult | None) -> Cell:
    """AUC and verdict; only the verdict without an AUC, a dash without a gate."""
    if gate is None:
        return Cell(None)
    shown = verdict(gate)
    return shown if math.isnan(gate.auc) else Cell(gate.area, shown.style, shown.value)


def findings(found: Sequence[Finding]) -> Table:
    """The worst position of every comparison."""
    rows = [
        (
            f.diagnostic.replace("_", " "),
            f.check,
            _STATUS[f.status],
            f.where or MISSING,
            int(f.value) if _is_count(f) else f.value,
            f.expected,
            interval(f.found.low, f.found.high) if math.isfinite(f.found.low) else MISSING,
            unit(f.units),
        )
        for f in found
    ]
    return Table(
        "Diagnostics: worst place of each comparison",
        [
            words("diagnostic"), words("compared", wrap=True), words("outcome"), words("where", wrap=True), "value",
            "expected", Column("95 %", optional=True), words("unit", wrap=True, optional=True),
        ],
        rows,
        "Measured and expected values. An alarm: the expectation is beyond twice the half-width of the 95 % interval "
        "over hosts (more with few hosts) and beyond the tolerance, or an exact comparison fails.",
        groups=True,
    )  # fmt: skip


def _is_count(f: Finding) -> bool:
    """Whether every digit of the value is shown: three of a number of rows would be wrong."""
    return not f.units and abs(f.value) > 1 and float(f.value).is_integer()


def compared(gate: GateResult) -> Table:
    """Comparisons of a gate without a fit."""
    found = findings_of(gate)
    tested = sum(f.status is not Status.NOT_TESTED for f in found)
    check = str(gate.recipe["check"])
    notes = f"{check[:1].upper()}{check[1:]}. {count(tested)} of {count(len(found))} comparisons were made."
    return replace(findings(found), title=gate.name, notes=notes)


def as_expected(gate: GateResult) -> str:
    """Summarise how many comparisons of a gate without a fit are as expected."""
    found = findings_of(gate)
    good = sum(f.status is Status.OK for f in found)
    return f"{count(good)} of {count(len(found))} as expected" if found else MISSING


def gates(results: Iterable[GateResult]) -> Table:
    """Each gate's AUC, threshold and verdict."""
    rows = [
        (g.name, g.n_rows, g.n_hosts, g.area, f"< {g.threshold:g}" if math.isfinite(g.threshold) else None, verdict(g))
        for g in results
    ]
    columns = (words("gate"), "rows", "hosts", _AUC, "passes", words("verdict"))
    return Table("Gates", columns, rows, "AUC with its 95 % interval over hosts.")


def gate_controls(results: Iterable[GateResult]) -> Table:
    """Null and positive controls of the gates."""
    rows: list[tuple[Any, ...]] = []
    for g in results:
        null, leak = g.controls.get("null"), g.controls.get("positive")
        metadata = "columns" in g.recipe  # no pixels, and no pairs
        if null:
            what = "metadata moved between hosts" if metadata else "labels swapped within pairs"
            shown = Cell("holds 0.5") if null["holds_half"] else Cell("DOES NOT HOLD 0.5", "alarm")
            rows.append((g.name, "null", what, Estimate.from_fields(null, "auc"), shown))
        for t in (leak or {}).get("tried", ()):
            what = f"{t['leak_sigma']:g} σ added to every column" if metadata else f"a leak of {t['leak_sigma']:g} σ"
            shown = Cell("found" if t["found"] else "would pass unseen")
            rows.append((g.name, "positive", what, Estimate.from_fields(t, "auc"), shown))
        if leak and not leak.get("testable", True):
            rows.append((g.name, "positive", "no noise to scale a leak by", NOT_MEASURED, "not testable"))
    return Table(
        "Controls, run by the same machinery where the answer is known",
        [words("gate"), words("control"), words("what was done"), _AUC, words("outcome")],
        rows,
        "Null: nothing is left to learn, so the AUC must be 0.5 (judged at 99.9 %). Positive: a known leak on "
        "unlensed controls, of decreasing or increasing size in σ, of the sky or of the feature (each gate’s recipe "
        "says what is added); the smallest one found is the gate’s power at this number of hosts. AUC with its 95 % "
        "interval.",
        groups=True,
    )


# What gates are cut by, in words.
_CUT_BY = {
    "theta_e_arcsec": "θE (″)",
    "arc_snr": "arc SNR",
    "theta_e_original": "θE (″), the original study’s",
    "psf_fwhm_arcsec": "PSF FWHM (″)",
    "sky_sigma_nmgy": "sky noise (nMgy/pixel)",
    "bad_pixel_frac": "bad pixels (share)",
    "psf_source": "PSF size from",
}


def _stratum_place(s: Mapping[str, Any]) -> str:
    if s["by"] == "split":
        return SPLITS[int(s["low"])]
    if s["by"] == "psf_source":
        code = int(s["low"])
        return PsfSource(code).name.lower().replace("_", " ") if code != MIXED_SOURCES else "differs between bands"
    if s["by"] == "bad_pixel_frac" and s["low"] < 1e-9:
        return "none" if s["high"] < 1e-9 else f"up to {s['high']:g}"
    return f"{s['low']:.3g}–{s['high']:.3g}" if math.isfinite(s["high"]) else f"≥ {s['low']:.3g}"


# A part of a gate's pairs has no verdict of its own: its area lies below the threshold, above it, or across.
_AGAINST = {"PASS": "below", "FAIL": "above", "INCONCLUSIVE": "across"}


def gate_strata(gate: GateResult) -> Table:
    """AUCs of one gate within strata."""
    rows = [
        (_CUT_BY.get(s["by"], s["by"]), _stratum_place(s), _AGAINST.get(s["verdict"], "not testable"), s["n_rows"],
         s["n_hosts"], Estimate.from_fields(s, "auc"))
        for s in gate.strata
    ]  # fmt: skip
    return Table(
        gate.name,
        [words("by"), words("range"), words("against the threshold"), "pairs", "hosts", _AUC],
        rows,
        f"The same out-of-fold scores within strata, each with its 95 % interval against the threshold "
        f"{gate.threshold:g}. PSF and sky noise are means over the gate’s bands, cut into thirds of the pairs.",
        groups=True,
    )


def scorers(results: Sequence[GateResult]) -> Table:
    """One line for each scorer and split: area, area with the core filled, drop, and both verdicts."""
    by_key = {(g.recipe["scorer"], g.recipe["split"], g.name): g for g in results}
    rows = []
    for scorer, split in dict.fromkeys((g.recipe["scorer"], g.recipe["split"]) for g in results):
        auroc, drop = by_key[scorer, split, AUROC], by_key[scorer, split, CORE_DROP]
        found, shown = _of_core(drop), verdict(drop)
        lost = found.get((EVERYWHERE, DROP))
        rows.append(
            (scorer, split, auroc.n_rows, auroc.n_hosts, area(auroc), found.get((EVERYWHERE, FILLED), NOT_MEASURED),
             shown if lost is None else Cell(lost, shown.style, shown.value))
        )  # fmt: skip
    limits = {g.name: g.threshold for g in results}
    return Table(
        "Scorers",
        [
            words("scorer", wrap=True), words("split"), Column("lenses", optional=True), Column("hosts", optional=True),
            Column("AUROC", f">{limits[AUROC]:g}", 3), Column("core filled", write=3),
            Column("drop, %", f"<{limits[CORE_DROP]:g}", 1),
        ],
        rows,
        "Of lensflow score, on the stamps of a split against the controls of other hosts. AUROC: passes if its 95 % "
        f"interval over hosts lies above {limits[AUROC]:g}. Core filled: r < 5 pixels of both classes replaced by the "
        f"sky around; the drop passes if its interval lies below {limits[CORE_DROP]:g} %: a finder that loses more "
        f"relies on the core and not on the arc.",
    )  # fmt: skip


def scorer_strata(auroc: GateResult, drop: GateResult) -> Table:
    """The areas of one scorer by theta_E, SNR and absent bands."""
    found = _of_core(drop)
    rows = [
        (where(s), s["n_rows"], s["n_hosts"], Estimate.from_fields(s, "auc"),
         *(found.get((where(s), check), NOT_MEASURED) for check in (FILLED, DROP)))
        for s in auroc.strata
        if s["n_rows"]
    ]  # fmt: skip
    columns: list[Column | str] = [
        words("lenses"),
        "rows",
        "hosts",
        *(Column(n, write=2) for n in ("AUROC", "core filled")),
    ]
    title = "By kind of lens, against the controls of the same hosts"
    return Table(title, (*columns, Column("drop", "%", 1)), rows, "With 95 % intervals over hosts.")


def _of_core(drop: GateResult) -> dict[tuple[str, str], Estimate]:
    return {(f["where"], f["check"]): Estimate.from_fields(f) for f in drop.findings}


def zoo(matrix: xr.DataArray) -> Table:
    """Diagnostics that detect each fault."""
    rows = []
    for fault in matrix["fault"].values:
        row = matrix.sel(fault=fault)
        noticed = [f"{d} ({n})" for d, n in zip(row["diagnostic"].values, row.values, strict=True) if n > 0]
        rows.append(("sound run" if fault == "none" else str(fault), ", ".join(noticed) or MISSING))
    columns = [words("fault"), words("noticed by", wrap=True)]
    return Table("Known faults, and the diagnostics that detect them (alarms)", columns, rows)


def leaks(found: LeakTable) -> list[Table]:
    """For each setting the amplitude that passes, the one that is noticed, by what, and what is read of the first."""
    columns = [
        words("leak", wrap=True), *(Column(n, write="{:.2g}".format) for n in ("passes to", "noticed at")),
        words("by", wrap=True), Column("read at passing", write=3),
    ]  # fmt: skip
    return [
        Table(
            f"Leaks in stamps {setting if setting.startswith('from') else f'of {setting}'}",
            columns,
            [
                (f"{r.kind}, {r.unit}", r.passes_to, r.noticed_from,
                 ", ".join(n.replace("_", " ") for n in r.noticed_by) or "nothing",
                 r.reading and r.reading.area)
                for r in found.rows
                if r.setting == setting
            ],
        )
        for setting in dict.fromkeys(r.setting for r in found.rows)
    ]  # fmt: skip
