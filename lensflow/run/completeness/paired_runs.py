"""Two runs of one manifest: which rows does a scorer recover in one and not in the other?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.completeness import default_strata
from lensflow.errors import ConfigError
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.paired import Paired, by_stratum, matched
from lensflow.measure.completeness.paired import paired as of_rows
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.set_thresholds import thresholds
from lensflow.measure.completeness.tables import stratum_bins
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.run.completeness.settings import with_options
from lensflow.run.completeness.step import scored_of
from lensflow.run.execute import Progress, silent
from lensflow.run.open_run import Run, open_run
from lensflow.show.lines import as_html, as_text
from lensflow.show.numbers import number
from lensflow.stats.hostsums import named

# Settings that both runs must count by.
_SHARED = ("split", "threshold", "negatives", "kind")
_SHOWN = 6


@dataclass(frozen=True, repr=False, eq=False)
class PairedRuns:
    """What a scorer recovers of the same rows in two runs; made by :func:`paired`.

    Attributes
    ----------
    scorer, split : str
        Whose scores, and of which rows.
    runs : (str, str)
        Folders of the first and the second run.
    differ : dict
        Setting -> its values in both runs, of those that pixels depend on.
    thresholds : tuple of (Threshold, Threshold)
        Of the first and the second run.
    results : tuple of Paired
        One per threshold: the second run less the first.
    strata : dict of Dataset
        Variable -> gains and losses in its bins, over ``threshold``.
    notes : tuple of str
        Strata that were left out, and why.
    """

    scorer: str
    split: str
    runs: tuple[str, str]
    differ: dict[str, tuple[Any, Any]]
    thresholds: tuple[tuple[Threshold, Threshold], ...]
    results: tuple[Paired, ...]
    strata: dict[str, xr.Dataset] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dataset(self) -> xr.Dataset:
        """Put every number into one Dataset.

        Returns
        -------
        Dataset
            Over ``threshold``; of strata ``<variable>.<name>``, over that variable too.
        """
        every: dict[str, Any] = {
            "tau_a": named(["threshold"], [a.tau for a, _ in self.thresholds], "1", "threshold in the first run"),
            "tau_b": named(["threshold"], [b.tau for _, b in self.thresholds], "1", "threshold in the second run"),
            "rate_wanted": named(
                ["threshold"], [a.rate for a, _ in self.thresholds], "1", "false-positive rate of both"
            ),
        }
        for f in fields(Paired):
            values = [getattr(r, f.name) for r in self.results]
            if f.name == "difference":
                for key in ("difference", "difference_low", "difference_high"):
                    ends = [v.fields("difference")[key] for v in values]
                    every[key] = named(["threshold"], ends, "1", "completeness of the second run less the first's")
            else:
                every[f.name] = named(["threshold"], np.array(values), "1", f.name.replace("_", " "))
        parts = [t.rename({v: f"{n}.{v}" for v in t.data_vars}) for n, t in self.strata.items()]
        about = {"scorer": self.scorer, "split": self.split, "run_a": self.runs[0], "run_b": self.runs[1]}
        return xr.merge([xr.Dataset(every), *parts], compat="identical", join="exact").assign_attrs(about)

    def _lines(self) -> list[tuple[str, str]]:
        shown = [f"{k}: {a!r} and {b!r}" for k, (a, b) in [*self.differ.items()][:_SHOWN]]
        more = f"; and {len(self.differ) - _SHOWN} more" if len(self.differ) > _SHOWN else ""
        lines = [
            ("runs", f"{self.runs[0]} (first), {self.runs[1]} (second)"),
            ("they differ in", ("; ".join(shown) + more) or "no setting"),
        ]
        for k, ((a, b), r) in enumerate(zip(self.thresholds, self.results, strict=True)):
            rate = f"fpr {a.rate:g}, " if np.isfinite(a.rate) else ""
            lines.append((f"threshold {k}", f"{rate}tau {number(a.tau)} and {number(b.tau)}"))
            lines.append(("", f"second less first {r.difference:z.3f}, p {r.p:.2g} ({r.test})"))
            lines.append(("", f"{r.gained:,} rows gained, {r.lost:,} lost of {r.n_rows:,} on {r.n_hosts:,} hosts"))
            if r.left_out:
                lines.append(("", f"{r.left_out:,} rows are not valid in both, and left out"))
        for name, one in self.strata.items():
            low = one["p_holm"].values
            if (some := low[np.isfinite(low)]).size and some.min() < 0.05:
                t, k = np.argwhere(low == some.min())[0]
                text = f"{one[name].values[k]}: {float(one['difference'].values[t, k]):+.3f}, p {some.min():.2g} (Holm)"
                lines.append((name, f"{text}, threshold {t}"))
        return [*lines, *(("note", n) for n in self.notes)]

    def __repr__(self) -> str:
        """Runs, settings that differ, and for each threshold the difference, its p, gains and losses."""
        return as_text(f"Paired runs, {self.scorer}, split {self.split}", self._lines())

    def _repr_html_(self) -> str:
        return as_html(f"Paired runs, {self.scorer}, split {self.split}", self._lines())


def paired(
    run_a: str | Path | Run | RunConfig,
    run_b: str | Path | Run | RunConfig,
    scorer: Any,
    *,
    scorer_b: Any = None,
    fpr: float | Sequence[float] | None = None,
    value: float | None = None,
    split: str | None = None,
    negatives: str | None = None,
    truth: bool = False,
    owned: Iterable[str] = (),
    unseal_test: str | None = None,
    progress: Progress = silent,
) -> PairedRuns:
    """Compare what a scorer recovers of the same rows in two runs of one manifest.

    Parameters
    ----------
    run_a, run_b : str, path, Run or RunConfig
        Two finished runs with the same injections, as :func:`lensflow.open_run` takes them.
    scorer : str or object
        As for :func:`lensflow.completeness`.
    scorer_b : str or object, optional
        Of the second run, where it is another: a table of scores is of one run.
    fpr : float or sequence of float, optional
        False-positive rates; each run's threshold is set on its own negatives.
    value : float, optional
        Score from which on a row is recovered, in both. Without both, ``completeness.threshold`` of the runs.
    split : {"val", "test"}, optional
        Replaces ``completeness.split``.
    negatives : str, optional
        Replaces ``completeness.negatives``.
    truth : bool
        Whether the scorer reads what was injected.
    owned : iterable of str
        Columns of the manifest that the factor under study changes, by intent.
    unseal_test : str, optional
        Why the test split is opened; logged beside both stores.
    progress : callable, optional
        Called with stage, tasks done and tasks in all.

    Returns
    -------
    PairedRuns

    Raises
    ------
    CompletenessError
        If the runs are not of one manifest; names rows or columns that differ.
    ConfigError
        If the runs count by different settings, and none is given here.
    """
    options: dict[str, Any] = {"fpr": fpr, "value": value, "split": split, "negatives": negatives, "truth": truth}
    configs = [with_options(_config(run), **options) for run in (run_a, run_b)]
    differing = [k for k in _SHARED if getattr(configs[0].completeness, k) != getattr(configs[1].completeness, k)]
    if differing:
        values = (getattr(c.completeness, differing[0]) for c in configs)
        raise ConfigError(
            f"paired runs: completeness.{differing[0]} differs, {' and '.join(map(repr, values))}: give it here, for "
            "both"
        )
    names = (scorer, scorer if scorer_b is None else scorer_b)
    scored = [scored_of(c, s, progress, unseal_test) for c, s in zip(configs, names, strict=True)]
    taus = [thresholds(c.completeness, s.negatives.score) for c, s in zip(configs, scored, strict=True)]
    counted = [Counted.from_rows(s.rows) for s in scored]
    columns = [manifest_columns(s.rows, c) for s, c in zip(scored, counted, strict=True)]
    order = matched(counted[0].row_id, counted[1].row_id, columns[0], columns[1], owned)
    valid = counted[0].valid[order[0]] & counted[1].valid[order[1]]
    hosts = counted[0].host[order[0]]
    score = (counted[0].score[order[0]], counted[1].score[order[1]])
    recovered = [
        c.recovered([t.tau for t in own])[:, o] for c, own, o in zip(counted, taus, order, strict=True)
    ]  # fmt: skip
    seed = configs[0].seed
    results = tuple(of_rows(a, b, hosts, valid, score, seed) for a, b in zip(*recovered, strict=True))
    rows = [s.rows.isel(sample=c.rows[o]) for s, c, o in zip(scored, counted, order, strict=True)]
    strata, notes = _strata(configs[0], rows, recovered, hosts, valid)
    was, now = (c.settings_of("pairs") for c in configs)
    differ = {k: (was.get(k), now.get(k)) for k in sorted({*was, *now}) if was.get(k) != now.get(k)}
    return PairedRuns(
        scored[0].name, configs[0].completeness.split, (configs[0].out, configs[1].out), differ,
        tuple(zip(*taus, strict=True)), results, strata, notes,
    )  # fmt: skip


def _config(run: str | Path | Run | RunConfig) -> RunConfig:
    return run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config


def manifest_columns(rows: xr.Dataset, counted: Counted) -> dict[str, np.ndarray]:
    """Columns of the injections that the manifest holds, and the names of their hosts.

    Parameters
    ----------
    rows : Dataset
        Of a split, as :func:`lensflow.run.completeness.step.scored_of` gives them.
    counted : Counted
        Its injections.
    """
    names = [v.name for v in schema.manifest_variables(rows.variables) if v.name in rows and v.name != "row_id"]
    some = rows.isel(sample=counted.rows)
    found = {n: some[n].transpose("sample", ...).values for n in names}
    return found | ({"host_id": some["host_id"].values} if "host_id" in some.coords else {})


def _strata(
    config: RunConfig, rows: Sequence[xr.Dataset], recovered: Sequence[np.ndarray], hosts: np.ndarray, valid: np.ndarray
) -> tuple[dict[str, xr.Dataset], tuple[str, ...]]:
    """Gains and losses in the strata of the first run; those that the second run fills differently are left out."""
    out, notes = {}, []
    prior = InjectedPrior.of(config, rows[0].attrs)
    for variable, stratum in (config.completeness.strata or default_strata(reference_band(rows[0]))).items():
        made = stratum_bins(variable, stratum, rows[0], prior)
        if made is None:
            continue
        place, other = (made[0].place(values_of(variable, r)) for r in rows)
        if (moved := int((place != other).sum())) > 0:
            notes.append(f"strata {variable} left out: {moved:,} rows are in another bin in the second run")
            continue
        parts = [
            by_stratum(variable, made[0].labels, place, a, b, hosts, valid, config.seed)
            for a, b in zip(*recovered, strict=True)
        ]
        out[variable] = xr.concat(parts, "threshold", join="exact")
    return out, tuple(notes)
