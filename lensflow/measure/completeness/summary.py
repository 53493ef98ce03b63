"""Completeness of one scorer on the rows of one split: thresholds, funnel, curves, strata, ROC, each a Dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config.completeness import CompletenessConfig, default_axes, default_strata
from lensflow.measure.completeness.bins import Bins, Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.purity import sky_table
from lensflow.measure.completeness.rates import Scored
from lensflow.measure.completeness.required import required
from lensflow.measure.completeness.resolution import Resolution
from lensflow.measure.completeness.roc import roc, roc_in_bins
from lensflow.measure.completeness.selection.crossings import crossings
from lensflow.measure.completeness.selection.smooth import smooth_of
from lensflow.measure.completeness.set_thresholds import (
    at_the_rate,
    refuse_without_threshold,
    threshold_table,
    thresholds,
)
from lensflow.measure.completeness.tables import Tables, stratum_bins
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.measure.completeness.verdict import BY_DEFINITION, not_measurable, tautology_in, wall_in
from lensflow.measure.gate.verdicts import Verdict

# Draws of hosts for the ROC of each resolution bin: five times as much work as that of all rows.
BIN_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Negatives:
    """Scores of images without an arc.

    Attributes
    ----------
    score : ndarray of float64, shape (n,)
    host : ndarray of int64, shape (n,)
        Hosts; those of injections have the same number there.
    what : str
        Where they come from, in words.
    """

    score: np.ndarray
    host: np.ndarray
    what: str

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any score or host; their order does not matter."""
        order = np.lexsort((self.score, self.host))
        digest = hashlib.sha256(np.asarray(self.host[order], dtype=np.int64).tobytes())
        digest.update(np.asarray(self.score[order], dtype=np.float64).tobytes())
        return digest.hexdigest()[:16]


def completeness(
    rows: xr.Dataset,
    negatives: Negatives,
    config: CompletenessConfig,
    seed: int,
    prior: InjectedPrior | None = None,
    truth: bool = False,
) -> dict[str, xr.Dataset]:
    """Count what a scorer recovers of the injected rows.

    Parameters
    ----------
    rows : Dataset
        Over ``sample`` and ``band``: what :meth:`Counted.from_rows` and :func:`values_of` take, sorted by host, of the
        rows of one split.
    negatives : Negatives
        They set the thresholds that are rates, and the ROC.
    config : CompletenessConfig
    seed : int
        Of the bootstraps.
    prior : InjectedPrior, optional
        Of the rows' plan: strata ``plan`` are its values and ranges.
    truth : bool
        Whether the scorer reads what was injected.

    Returns
    -------
    dict of Dataset
        ``funnel``, whose attrs have ``verdict`` (NOT_TESTABLE, ERROR, or empty) and ``reason``. Then, unless nothing
        can be measured: ``thresholds``, ``curves`` (all rows together), ``resolution`` and ``resolution_fwhm``,
        ``roc`` (of all rows) and ``roc_resolution`` (of each bin), ``selection`` (over the axes), ``plane`` (over the
        first two of them, where there are two), one ``stratum_<variable>`` for each stratum, and ``require`` where
        something is required. All but the first two, the ROCs and ``require`` have the dims threshold and curve.

    Raises
    ------
    ConfigError
        If there is no threshold, or an axis or stratum cannot be made of these rows.
    CompletenessError
        If a rate needs more negatives.
    """
    refuse_without_threshold(config)
    counted = Counted.from_rows(rows)
    empty = counted.funnel([])
    n_controls = rows.sizes["sample"] - len(counted.row_id)
    if (none := not_measurable(counted, empty, n_controls, negatives.score, config.split)) is not None:
        return {"funnel": _judged(empty.result(), *none)}
    taus = thresholds(config, negatives.score)
    numbers = [t.tau for t in taus]
    counted_rows = _injections(rows, counted)
    out = {
        "thresholds": threshold_table(taus, len(negatives.score), negatives.what),
        "funnel": counted.funnel(numbers).result(),
    }
    of = Tables(counted, counted_rows, numbers, config)
    band = reference_band(rows)
    strata = (config.strata or default_strata(band)).items()
    made = {v: b for v, stratum in strata if (b := stratum_bins(v, stratum, counted_rows, prior)) is not None}
    one: dict[str, Bins] = {k: Resolution(k) for k in ("resolution", "resolution_fwhm")}
    one |= {f"stratum_{v}": bins for v, (bins, _) in made.items()}
    axes = [Ranges.of(a.variable, a.edges) for a in config.axes or default_axes(band)]
    over: dict[str, list[Bins]] = {"selection": [*axes], "curves": [], **{name: [b] for name, b in one.items()}}
    if len(axes) > 1:
        # Counted in the same pass: hosts and intervals of a plane are not sums over the other axes.
        over["plane"] = [*axes[:2]]
    # numpy works on several tables at once; what is found does not depend on it.
    with ThreadPoolExecutor(2) as pool:
        tables = {name: pool.submit(of.table, bins) for name, bins in over.items()}
        rates = pool.submit(_of_rates, counted, counted_rows, negatives, taus, config, seed)
        out["smooth"] = smooth_of(counted, counted_rows, axes, tables["selection"].result(), numbers, seed)
        if (found := crossings(of, axes, seed)) is not None:
            out["crossings"] = found
        out |= {name: table.result() for name, table in tables.items()}
    for variable, (_, origin) in made.items():
        out[f"stratum_{variable}"].attrs["bins_from"] = origin
    cut = "" if truth else tautology_in(counted, counted_rows, numbers)
    wall = "" if truth else wall_in((b, out[name]) for name, b in one.items())
    out["thresholds"].attrs.update(tautology=cut, wall=wall, negatives_fingerprint=negatives.fingerprint)
    _judged(out["funnel"], *_cut_in_words(truth, cut, wall))
    own = config.negatives in ("controls", "cutouts")
    out["sky"] = sky_table(config.sky, taus, out["curves"], seed, own, str(out["funnel"].attrs["reason"]))
    if config.require:
        out["require"] = required(counted, counted_rows, negatives.score, config)
    if (of_rates := rates.result()) is not None:
        out["roc"], out["roc_resolution"], at_rate = of_rates
        out["thresholds"] = out["thresholds"].assign(at_rate)
    return out


def _injections(rows: xr.Dataset, counted: Counted) -> xr.Dataset:
    """Those rows of a block that are injections; not copied where all are."""
    return rows if len(counted.rows) == rows.sizes["sample"] else rows.isel(sample=counted.rows)


def _of_rates(
    counted: Counted,
    rows: xr.Dataset,
    negatives: Negatives,
    taus: Sequence[Threshold],
    config: CompletenessConfig,
    seed: int,
) -> tuple[xr.Dataset, xr.Dataset, dict[str, Any]] | None:
    """ROC of all rows and of each resolution bin, and the completeness at the rates; None without negatives."""
    if not len(negatives.score):
        return None
    valid = counted.valid
    scored = Scored.of(counted.score[valid], counted.host[valid], negatives.score, negatives.host)
    bins = Resolution("resolution")
    place = bins.place(values_of(bins.variable, rows)[valid])
    in_bins = roc_in_bins(scored, bins, place, min(config.bootstrap, BIN_DRAWS), seed)
    return roc(scored, config.bootstrap, seed), in_bins, at_the_rate(scored, taus, config, seed)


def _judged(funnel: xr.Dataset, verdict: str, reason: str) -> xr.Dataset:
    funnel.attrs.update(verdict=str(verdict), reason=reason)
    return funnel


def _cut_in_words(truth: bool, cut: str, wall: str) -> tuple[str, str]:
    if truth:
        return "", BY_DEFINITION
    exact = f"what is recovered is exactly what has {cut}: the scorer restates this cut" * bool(cut)
    reason = "; ".join(filter(None, (exact, wall and f"a wall, as a cut on what was injected makes it: {wall}")))
    return (Verdict.NOT_TESTABLE if reason else ""), reason
