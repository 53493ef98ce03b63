"""Two runs side by side: settings, counts, gates and diagnostics, and whether they differ beyond their intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, flatten
from lensflow.measure.gate import GateResult
from lensflow.show.change import Change
from lensflow.show.completeness import threshold_names
from lensflow.show.completeness_page import KeptCompleteness
from lensflow.show.folds import tally, worst
from lensflow.show.numbers import MISSING, count
from lensflow.show.pages import page_template
from lensflow.show.table import Cell, Column, Table, words
from lensflow.show.verdict_style import css_class, verdict_style
from lensflow.stats.estimate import NOT_MEASURED, Estimate

# Folder and cluster do not affect a run's results.
NOT_COMPARED = ("out", "name", "cluster.")


@dataclass(frozen=True)
class RunSide:
    """Results of one run for the comparison; missing ones (or those for other settings and pixels) are empty."""

    folder: str
    config: RunConfig
    counts: Mapping[str, int]
    gates: tuple[GateResult, ...]
    diagnostics: Mapping[str, xr.Dataset]
    notes: tuple[str, ...] = ()
    completeness: tuple[KeptCompleteness, ...] = ()

    @property
    def state(self) -> str:
        """The worst verdict of the required gates; "" without any."""
        return worst(g.verdict for g in self.gates if g.name in self.config.must_pass)

    @property
    def line(self) -> str:
        """The required gates by verdict."""
        needed = [g for g in self.gates if g.name in self.config.must_pass]
        return tally(needed, "required gates") if needed else "No required gate has run on these pixels."


@dataclass(frozen=True)
class Comparison:
    """Everything that two runs have in common or not.

    Attributes
    ----------
    a, b : RunSide
        The runs: folder, settings, results.
    settings : tuple of (setting, value in a, value in b)
        Those that differ; None where a run does not know the setting.
    counts : tuple of (count, in a, in b)
        Hosts, rows and what else is counted.
    gates : tuple of Change
        Areas of the gates that have one.
    verdicts : dict
        Every gate -> its verdicts in both, "—" where it was not run.
    diagnostics : tuple of Change
        Numbers of the diagnostics, with their difference.
    completeness : tuple of Change
        Completeness of each scorer and threshold, all arcs and the curves' own; NaN in a run that does not have it.
    notes : tuple of str
        What a reader should know of either run: steps that are not done, settings of unknown origin.
    """

    a: RunSide
    b: RunSide
    settings: tuple[tuple[str, Any, Any], ...]
    counts: tuple[tuple[str, int, int], ...]
    gates: tuple[Change, ...]
    verdicts: Mapping[str, tuple[str, str]]
    diagnostics: tuple[Change, ...]
    notes: tuple[str, ...]
    completeness: tuple[Change, ...] = ()

    @property
    def differing(self) -> tuple[Change, ...]:
        """Diagnostics that differ beyond their intervals, the surest first."""
        found = [c for c in self.diagnostics if c.judgement == "differs"]
        width = {c: max(c.difference.high - c.difference.low, 1e-300) for c in found}
        return tuple(sorted(found, key=lambda c: -abs(c.difference.value) / width[c]))

    def headline(self) -> str:
        """Summarise in one sentence which verdicts differ."""
        both = {n: pair for n, pair in self.verdicts.items() if MISSING not in pair}
        changed = [f"{n}: {a} in A, {b} in B" for n, (a, b) in both.items() if a != b]
        if not self.verdicts:
            return "Neither run has gates."
        if not both:
            return "No gate was run on both."
        alone = [f"{n} ({b} in B)" if a == MISSING else f"{n} ({a} in A)"
                 for n, (a, b) in self.verdicts.items() if n not in both]  # fmt: skip
        more = f" Run on one of them only: {', '.join(alone)}." * bool(alone)
        if not changed:
            return f"{_all(len(both))} the same.{more}"
        return f"{count(len(changed))} of {count(len(both))} verdicts differ: {'; '.join(changed)}.{more}"

    def summary(self) -> str:
        """Summarise in one sentence how the numbers of the diagnostics compare."""
        total = len(self.diagnostics)
        by = {j: sum(c.judgement == j for c in self.diagnostics) for j in ("differs", "within", "same", "not measured")}
        return (
            f"{count(by['differs'])} of {count(total)} numbers of the diagnostics differ beyond their 95 % intervals, "
            f"{count(by['within'])} do not, {count(by['same'])} are the same to the last digit, "
            f"{count(by['not measured'])} are not measured in one of the runs. Of as many independent numbers, up to "
            "one in twenty would differ by chance alone."
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types: everything but the runs' own results. Settings that a run does not know are null."""
        return {
            "a": self.a.folder,
            "b": self.b.folder,
            "settings": [{"setting": k, "a": a, "b": b} for k, a, b in self.settings],
            "counts": [{"count": k, "a": a, "b": b} for k, a, b in self.counts],
            "verdicts": {name: {"a": a, "b": b} for name, (a, b) in self.verdicts.items()},
            "gates": [c.to_json() for c in self.gates],
            "diagnostics": [c.to_json() for c in self.diagnostics],
            "completeness": [c.to_json() for c in self.completeness],
            "notes": list(self.notes),
        }


def _all(n: int) -> str:
    return "The only verdict is" if n == 1 else f"All {count(n)} verdicts are"


def compare(a: RunSide, b: RunSide) -> Comparison:
    """Compare two runs, ``a`` before and ``b`` after."""
    first, second = (flatten(s.config.effective()) for s in (a, b))
    keys = [k for k in [*first, *(k for k in second if k not in first)] if not k.startswith(NOT_COMPARED)]
    settings = tuple(
        (k, first.get(k), second.get(k)) for k in keys if first.get(k, NotImplemented) != second.get(k, NotImplemented)
    )
    counts = tuple((k, a.counts.get(k, 0), b.counts.get(k, 0)) for k in dict.fromkeys([*a.counts, *b.counts]))
    of_gates = [{g.name: g for g in s.gates} for s in (a, b)]
    names = list(dict.fromkeys([*of_gates[0], *of_gates[1]]))
    fitted = [n for n in names if any(g.fitted for side in of_gates if (g := side.get(n)))]
    gates = tuple(Change(n, "", *(_area(side.get(n)) for side in of_gates)) for n in fitted)
    verdicts = {n: (_verdict(of_gates[0].get(n)), _verdict(of_gates[1].get(n))) for n in names}
    notes = [*(f"A: {n}" for n in a.notes), *(f"B: {n}" for n in b.notes)]
    changes: list[Change] = []
    partial: list[str] = []
    for name in dict.fromkeys([*a.diagnostics, *b.diagnostics]):
        if name not in a.diagnostics or name not in b.diagnostics:
            if a.diagnostics and b.diagnostics:
                notes.append(f"The diagnostic {name} is in one of the runs only.")
            continue
        changes += _changes(name, a.diagnostics[name], b.diagnostics[name], partial)
    if partial:
        where = ", ".join(dict.fromkeys(n.replace("_", " ") for n in partial))
        notes.append(f"Bands, strata or rings differ in {where}; what both have is compared.")
    found = _completeness(a, b)
    return Comparison(a, b, settings, counts, gates, verdicts, tuple(changes), tuple(notes), found)


def _completeness(a: RunSide, b: RunSide) -> tuple[Change, ...]:
    """The completeness of each scorer, split, threshold and curve in both runs."""
    sides = [{key: e for kept in s.completeness for key, e in _curves(kept)} for s in (a, b)]
    keys = dict.fromkeys([*sides[0], *sides[1]])
    return tuple(Change(what, where, *(s.get((what, where), NOT_MEASURED) for s in sides)) for what, where in keys)


def _curves(kept: KeptCompleteness) -> Iterator[tuple[tuple[str, str], Estimate]]:
    if "curves" not in kept.tables or "thresholds" not in kept.tables:
        return
    curves, names = kept.tables["curves"], threshold_names(kept.tables)
    for k, name in enumerate(names):
        for curve in (str(c) for c in curves["curve"].values):
            one = curves.sel(curve=curve).isel(threshold=k)
            where = f"{name}, {curve.replace('_', ' ')}"
            yield (f"{kept.scorer}, {kept.split}", where), Estimate.in_dataset(one, "completeness")


def _area(gate: GateResult | None) -> Estimate:
    return NOT_MEASURED if gate is None else gate.area


def _verdict(gate: GateResult | None) -> str:
    return MISSING if gate is None else str(gate.verdict).replace("_", " ")


def _changes(name: str, a: xr.Dataset, b: xr.Dataset, partial: list[str]) -> Iterator[Change]:
    """Every number with an interval that both runs have."""
    common_a, common_b = xr.align(a, b, join="inner", exclude=[d for d in a.dims if d not in a.coords])
    if any(common_a.sizes[d] != a.sizes[d] or common_a.sizes[d] != b.sizes[d] for d in a.sizes if d in b.sizes):
        partial.append(name)
    for v in (str(v) for v in common_a.data_vars):
        if not {f"{v}_low", f"{v}_high"} <= set(common_a.data_vars) & set(common_b.data_vars):
            continue
        sides = [[d[n].values for n in (v, f"{v}_low", f"{v}_high")] for d in (common_a, common_b)]
        if any(x.shape != sides[0][0].shape or x.dtype.kind != "f" for side in sides for x in side):
            continue
        dims = common_a[v].dims
        labels = [common_a[d].values if d in common_a.coords else np.arange(common_a.sizes[d]) for d in dims]
        for place in itertools.product(*(range(len(x)) for x in labels)):
            where = ", ".join(f"{d} {_label(x[i])}" for d, x, i in zip(dims, labels, place, strict=True))
            one, two = (Estimate(float(x[place]), float(low[place]), float(high[place])) for x, low, high in sides)
            if math.isfinite(one.value) or math.isfinite(two.value):
                yield Change(f"{name}: {v}", where, one, two)


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def tables(found: Comparison) -> dict[str, Table]:
    """Tables of the page and the terminal, in their order: settings, gates, completeness, diagnostics, counts."""
    places: dict[str, int] = {}
    for c in found.diagnostics:
        places[c.what] = places.get(c.what, 0) + 1
    surest: dict[str, list[Change]] = {}
    for c in found.differing:
        surest.setdefault(c.what, []).append(c)
    curves = [c for c in found.completeness if c.a.is_measured or c.b.is_measured]
    alone = [n for n in found.verdicts if n not in {c.what for c in found.gates}]
    return {
        "settings": Table(
            "Settings that differ", [words("setting", wrap=True), words("A", wrap=True), words("B", wrap=True)],
            [(k, _setting(x), _setting(y)) for k, x, y in found.settings],
            "All others are the same.",
        ),
        "gates": Table(
            "Gates",
            [words("gate"), words("A"), words("B"), Column("AUC in A", write=3), Column("AUC in B", write=3),
             Column("B−A", write=3), words("judgement")],
            [
                (c.what, *found.verdicts[c.what], c.a, c.b, c.difference, _judged(c.judgement, *found.verdicts[c.what]))
                for c in found.gates
            ]
            + [
                (n, *found.verdicts[n], *[None] * 3, _judged(_of_verdicts(*found.verdicts[n]), *found.verdicts[n]))
                for n in alone
            ],
            "Verdicts, and the AUC of every gate that has one with its 95 % interval over hosts; the difference's "
            "interval takes the runs as independent, which is too wide for runs on the same hosts. Differs, within: 0 "
            "lies outside of that interval, or in it.",
        ),
        "completeness": Table(
            "Completeness",
            [words("scorer, split", wrap=True), words("threshold, arcs", wrap=True),
             *(Column(n, write=3) for n in ("A", "B", "B−A")), words("judgement")],
            [(c.what, c.where, c.a, c.b, c.difference, _judged(c.judgement)) for c in curves],
            "Recovered share of the injections of each run's own prior, with 95 % intervals: runs with other priors "
            "differ by that alone.",
        ),
        "diagnostics": Table(
            "Diagnostics that differ beyond their intervals",
            [words("number", wrap=True), words("differs in"), words("surest in", wrap=True), "A", "B", "B−A"],
            [
                (n, f"{len(c)} of {places[n]}", c[0].where, c[0].a.value, c[0].b.value, c[0].difference)
                for n, c in surest.items()
            ],
            "In how many of its bands, strata (theta_E in arcsec) and rings a number differs, and where most surely. "
            "Every one, with its intervals: `lensflow compare --json`.",
        ),
        "counts": Table(
            "Counts that differ", [words("count", wrap=True), "A", "B", "B−A"],
            [(k, x, y, f"{y - x:+,}".replace("-", "−")) for k, x, y in found.counts if x != y],
            "From the receipts.",
        ),
    }  # fmt: skip


def _of_verdicts(a: str, b: str) -> str:
    return "not measured" if MISSING in (a, b) else "same" if a == b else "differs"


def _judged(judgement: str, a: str = "", b: str = "") -> Cell:
    """A difference is no fault: it is marked, and neither run is red."""
    if MISSING in (a, b):
        judgement = "in B only" if a == MISSING else "in A only"
    return Cell(judgement, "warn" if judgement == "differs" else "")


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)


def write_page(found: Comparison) -> str:
    """HTML of the comparison, with its figure inside."""
    from lensflow.show import comparison_figure  # draws; the terminal needs no figure

    figure = comparison_figure.gates(found.gates, found.b.gates or found.a.gates) if found.gates else None
    return page_template("comparison.html.j2").render(
        found=found, tables=tables(found), figure=figure, look=verdict_style, css=css_class
    )
