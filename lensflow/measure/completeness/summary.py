"""Completeness of one scorer on the rows of one split: thresholds, funnel, curves, strata, ROC, each a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lensflow.config.completeness import CompletenessConfig, default_axes, default_strata
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.injected_prior import InjectedPrior
from lensflow.measure.completeness.rates import Scored
from lensflow.measure.completeness.resolution import Resolution
from lensflow.measure.completeness.roc import roc
from lensflow.measure.completeness.set_thresholds import at_the_rate, threshold_table, thresholds
from lensflow.measure.completeness.tables import Tables, stratum_bins
from lensflow.measure.completeness.tautology import reproduced_by
from lensflow.measure.completeness.variables import reference_band, values_of


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
    rows: xr.Dataset,
    negatives: Negatives,
    config: CompletenessConfig,
    seed: int,
    prior: InjectedPrior | None = None,
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

    Returns
    -------
    dict of Dataset
        ``thresholds``, ``funnel``, ``curves`` (all rows together), ``resolution`` and ``resolution_fwhm``, ``roc``,
        ``selection`` (over the axes), ``plane`` (over the first two of them, where there are two) and one
        ``stratum_<variable>`` for each stratum. All but the first, the second and ``roc`` have the dims threshold and
        curve.

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
    out = {"thresholds": threshold_table(taus, len(negatives.score), negatives.what), "funnel": funnel.result()}
    out["thresholds"].attrs["tautology"] = _tautology(counted, counted_rows, [t.tau for t in taus])
    of = Tables(counted, counted_rows, [t.tau for t in taus], config)
    out["curves"] = of.table([])
    for kind in ("resolution", "resolution_fwhm"):
        out[kind] = of.table([Resolution(kind)])
    band = reference_band(rows)
    for variable, stratum in (config.strata or default_strata(band)).items():
        if (found := stratum_bins(variable, stratum, counted_rows, prior)) is not None:
            out[f"stratum_{variable}"] = of.table([found[0]]).assign_attrs(bins_from=found[1])
    axes = [Ranges.of(a.variable, a.edges) for a in config.axes or default_axes(band)]
    out["selection"] = of.table(axes)
    if len(axes) > 1:
        # Counted in the same pass: hosts and intervals of a plane are not sums over the other axes.
        out["plane"] = of.table(axes[:2])
    valid = counted.valid
    if valid.any() and len(negatives.score):
        scored = Scored.of(counted.score[valid], counted.host[valid], negatives.score, negatives.host)
        out["roc"] = roc(scored, config.bootstrap, seed)
        out["thresholds"] = out["thresholds"].assign(at_the_rate(scored, taus, config, seed))
    return out


def _tautology(counted: Counted, rows: xr.Dataset, taus: Sequence[float]) -> str:
    """Cut on what was injected that recovery is nothing but; empty where there is none."""
    band, valid = reference_band(rows), counted.valid
    wanted = ("theta_e_arcsec", f"theta_e_over_psfsize_{band}", f"theta_e_over_fwhm_{band}", f"src_mag_{band}",
              "src_reff_arcsec", f"snr_peak_{band}", f"snr_matched_{band}")  # fmt: skip
    columns = {name: values_of(name, rows)[valid] for name in wanted}
    found = (reproduced_by(columns, recovered[valid]) for recovered in counted.recovered(taus))
    return "; ".join(dict.fromkeys(f for f in found if f))


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
