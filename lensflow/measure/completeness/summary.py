"""Completeness of one scorer on the rows of one split: thresholds, funnel, curves, strata, ROC, each a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.config.completeness import CompletenessConfig, CompletenessThresholdConfig, default_axes, default_strata
from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness import bins as bins_of
from lensflow.measure.completeness.bins import Bins, Ranges, Values
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.rates import Allowance, Scored, at_rates
from lensflow.measure.completeness.resolution import Resolution
from lensflow.measure.completeness.roc import roc
from lensflow.measure.completeness.table import table
from lensflow.measure.completeness.tautology import reproduced_by
from lensflow.measure.completeness.thresholds import Threshold, by_false_positives, by_rate, by_value
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.stats.hostsums import named


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


def completeness(
    rows: xr.Dataset, negatives: Negatives, config: CompletenessConfig, seed: int
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

    Returns
    -------
    dict of Dataset
        ``thresholds``, ``funnel``, ``curves`` (all rows together), ``resolution`` and ``resolution_fwhm``, ``roc``,
        ``selection`` (over the axes), and one ``stratum_<variable>`` for each stratum. All but the first, the second
        and ``roc`` have the dims threshold and curve.

    Raises
    ------
    ConfigError
        If there is no threshold, or an axis or stratum cannot be made of these rows.
    CompletenessError
        If a rate needs more negatives, or too many scores are not finite.
    """
    taus = thresholds(config, negatives.score)
    counted = Counted.from_rows(rows)
    counted_rows = rows.isel(sample=counted.rows)
    funnel = counted.funnel([t.tau for t in taus])
    funnel.check()
    out = {"thresholds": _thresholds(taus, negatives), "funnel": funnel.result()}
    out["thresholds"].attrs["tautology"] = _tautology(counted, counted_rows, [t.tau for t in taus])
    of = _Tables(counted, counted_rows, [t.tau for t in taus], config)
    out["curves"] = of.table([])
    for kind in ("resolution", "resolution_fwhm"):
        out[kind] = of.table([Resolution(kind)])
    band = reference_band(rows)
    for variable, stratum in (config.strata or default_strata(band)).items():
        if (found := _stratum(variable, stratum, counted_rows)) is not None:
            out[f"stratum_{variable}"] = of.table([found])
    axes = config.axes or default_axes(band)
    out["selection"] = of.table([Ranges.of(a.variable, a.edges) for a in axes])
    valid = counted.valid
    if valid.any() and len(negatives.score):
        scored = Scored.of(counted.score[valid], counted.host[valid], negatives.score, negatives.host)
        out["roc"] = roc(scored, config.bootstrap, seed)
        out["thresholds"] = out["thresholds"].assign(_at_the_rate(scored, taus, config, seed))
    return out


def thresholds(config: CompletenessConfig, negatives: ArrayLike) -> list[Threshold]:
    """Set the thresholds of a config on the scores of images without an arc.

    Parameters
    ----------
    config : CompletenessConfig
    negatives : array_like, shape (n,)

    Returns
    -------
    list of Threshold

    Raises
    ------
    ConfigError
        If the config names none.
    CompletenessError
        If the negatives cannot set one.
    """
    wanted = refuse_without_threshold(config)
    if wanted.value is not None:
        return [by_value(wanted.value, negatives if np.size(negatives) else None)]
    if wanted.false_positives is not None:
        return [by_false_positives(wanted.false_positives, negatives)]
    return [by_rate(rate, negatives) for rate in wanted.fpr or ()]


def refuse_without_threshold(config: CompletenessConfig) -> CompletenessThresholdConfig:
    """Return the threshold's settings.

    Parameters
    ----------
    config : CompletenessConfig

    Returns
    -------
    CompletenessThresholdConfig

    Raises
    ------
    ConfigError
        If there are none.
    """
    if config.threshold is None:
        raise ConfigError(
            "completeness.threshold: without a threshold nothing is recovered or missed. Set {value: t}, {fpr: [1e-2]} "
            "or {false_positives: m} (lensflow completeness --fpr)"
        )
    return config.threshold


@dataclass(frozen=True, eq=False)
class _Tables:
    """Makes tables of the same rows in different bins."""

    counted: Counted
    rows: xr.Dataset
    taus: Sequence[float]
    config: CompletenessConfig

    def table(self, over: Sequence[Bins]) -> xr.Dataset:
        columns = {b.variable: values_of(b.variable, self.rows) for b in over}
        place, shape = bins_of.places(over, columns) if over else (np.zeros(len(self.counted.row_id), np.int64), ())
        cells = self.counted.cells(place, shape, self.taus, sorted_by_host=True)
        coords = {"curve": list(CURVES), **bins_of.coords(over)}
        dims = ["curve", *(b.variable for b in over)]
        return table(cells, dims, self.config.min_hosts, self.config.min_rows, coords)


def _tautology(counted: Counted, rows: xr.Dataset, taus: Sequence[float]) -> str:
    """Cut on what was injected that recovery is nothing but; empty where there is none."""
    band, valid = reference_band(rows), counted.valid
    wanted = ("theta_e_arcsec", f"theta_e_over_psfsize_{band}", f"theta_e_over_fwhm_{band}", f"src_mag_{band}",
              "src_reff_arcsec", f"snr_peak_{band}", f"snr_matched_{band}")  # fmt: skip
    columns = {name: values_of(name, rows)[valid] for name in wanted}
    found = (reproduced_by(columns, recovered[valid]) for recovered in counted.recovered(taus))
    return "; ".join(dict.fromkeys(f for f in found if f))


def _stratum(variable: str, stratum: object, rows: xr.Dataset) -> Bins | None:
    """Bins of a stratum; None where the rows have too many names for one bin each."""
    values = values_of(variable, rows)
    if stratum == "each":
        return Values.of_names(variable, values)
    if stratum == "plan":
        known = values[np.isfinite(values)].astype(np.float64)
        if not known.size:
            return None
        distinct = np.unique(known)
        is_list = distinct.size <= 12
        return bins_of.planned_bins(
            variable, distinct.tolist() if is_list else (float(known.min()), float(known.max())), is_list
        )
    if isinstance(stratum, tuple):
        return Ranges.of(variable, stratum)
    _, first = np.unique(rows["host_index"].values, return_index=True)
    return bins_of.quantile_bins(variable, values[first], int(getattr(stratum, "quantiles", 4)))


def _thresholds(taus: Sequence[Threshold], negatives: Negatives) -> xr.Dataset:
    number = {
        "tau": ([t.tau for t in taus], "a row is recovered if its score is at least this"),
        "rate_wanted": ([t.rate for t in taus], "false-positive rate that was asked for; NaN: none was"),
        "false_positives": ([t.achieved for t in taus], "negatives at the threshold or above"),
        "true_rate": ([t.true_rate.value for t in taus], "false-positive rate of images like the negatives"),
        "true_rate_low": ([t.true_rate.low for t in taus], "lower end of its 95 % interval"),
        "true_rate_high": ([t.true_rate.high for t in taus], "upper end of its 95 % interval"),
        "unsure": ([t.unsure for t in taus], "fewer than ten false positives set it"),
    }
    data = {k: named(["threshold"], np.asarray(v), "1", text) for k, (v, text) in number.items()}
    data["n_negatives"] = named([], len(negatives.score), "1", f"images without arc: {negatives.what}")
    return xr.Dataset(data, attrs={"negatives": negatives.what})


def _at_the_rate(
    scored: Scored, taus: Sequence[Threshold], config: CompletenessConfig, seed: int
) -> dict[str, tuple[list[str], np.ndarray, dict[str, str]]]:
    """Completeness of valid rows with the threshold drawn again in every draw of hosts."""
    allowed = [Allowance(t.rate) if t.source == "fpr" else Allowance(count=t.allowed) for t in taus]
    if any(t.source == "value" for t in taus):
        return {}
    found = at_rates(scored, allowed, config.bootstrap, seed)
    text = "completeness at the rate: the threshold is drawn again with the hosts"
    return {
        f"completeness_at_rate{end}": named(["threshold"], np.array([getattr(e, name) for e in found]), "1", said)
        for end, name, said in (
            ("", "value", text), ("_low", "low", "lower end of its 95 % interval"),
            ("_high", "high", "upper end of its 95 % interval"),
        )
    }  # fmt: skip


def refuse_without_rows(rows: xr.Dataset, split: str) -> None:
    """Refuse rows of which none is an injection.

    Parameters
    ----------
    rows : Dataset
    split : str

    Raises
    ------
    CompletenessError
    """
    n = int((~rows["is_control"].values.astype(bool)).sum())
    if n == 0:
        raise CompletenessError(f"completeness: no injection in split {split} ({rows.sizes['sample']:,} rows of it)")
