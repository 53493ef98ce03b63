"""What a completeness costs: false positives per square degree, and the purity of what is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow import rng
from lensflow.config.completeness import SkyConfig
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.stats.estimate import Estimate, with_interval
from lensflow.stats.hostsums import Floats

DRAWS = 10_000
PROPAGATED = "95 % interval, 10,000 draws of false-positive rate and completeness"
_QUANTITIES = (
    ("false_positives_per_deg2", "deg-2", "galaxies without a lens at the threshold or above"),
    ("found_per_deg2", "deg-2", "lenses at the threshold or above"),
    ("purity", "1", "share of lenses among what is found"),
)
OWN_CONTROLS = "controls of the same hosts: real false positives are spirals, rings and mergers, not bare LRGs"


@dataclass(frozen=True)
class Found:
    """False positives, lenses found and purity for a density of parents and of lenses.

    Attributes
    ----------
    false_positives_per_deg2, found_per_deg2 : ndarray
        deg^-2.
    purity : ndarray
        Share of lenses among what is found.
    """

    false_positives_per_deg2: Floats
    found_per_deg2: Floats
    purity: Floats


def found_per_square_degree(
    parents_per_deg2: ArrayLike, fpr: ArrayLike, lenses_per_deg2: ArrayLike, completeness: ArrayLike
) -> Found:
    """Work out what a search finds in a square degree.

    Parameters
    ----------
    parents_per_deg2 : array_like
        Galaxies that are scored, deg^-2.
    fpr : array_like
        False-positive rate.
    lenses_per_deg2 : array_like
        Lenses of a stated population, deg^-2.
    completeness : array_like
        Of that population.

    Returns
    -------
    Found
    """
    rho, a, r, c = (np.asarray(v, dtype=np.float64) for v in (parents_per_deg2, fpr, lenses_per_deg2, completeness))
    false, found = rho * a, r * c
    total = found + false
    return Found(false, found, np.divide(found, total, out=np.full(np.shape(total), np.nan), where=total > 0))


def missing(sky: SkyConfig) -> list[str]:
    """Name the settings that purity needs and does not have: without them it is NOT_TESTABLE.

    Parameters
    ----------
    sky : SkyConfig

    Returns
    -------
    list of str
    """
    out = []
    if sky.parent_density is None:
        out.append("completeness.sky.parents_per_deg2 (or parents and area_deg2)")
    if sky.lenses_per_deg2 is None:
        out.append("completeness.sky.lenses_per_deg2, with population")
    return out


def purity(
    sky: SkyConfig, threshold: Threshold, completeness: Estimate, n_star: float, seed: int, own_controls: bool
) -> xr.Dataset:
    """Put false positives per square degree, lenses found and purity side by side, with their intervals.

    Parameters
    ----------
    sky : SkyConfig
        Densities of parents and lenses.
    threshold : Threshold
        With its false positives on negatives.
    completeness : Estimate
        Of the population that ``sky.lenses_per_deg2`` counts.
    n_star : float
        Sample size that its interval was made with.
    seed : int
        Of the draws.
    own_controls : bool
        Whether the negatives are the controls of the run's own hosts; marked.

    Returns
    -------
    Dataset
        Without dimensions. The rate is drawn from Beta(m + 1, n - m), the completeness from the beta distribution of
        C n* of n* rows with half a row on either side.

    Raises
    ------
    CompletenessError
        If a density is missing, or there were no negatives: neither is assumed.
    """
    lacking = missing(sky)
    if lacking:
        raise CompletenessError(f"purity needs {' and '.join(lacking)}: numbers of the sky are not assumed")
    if threshold.n_negatives == 0:
        raise CompletenessError("purity needs a false-positive rate: give negatives")
    if not completeness.is_measured or not n_star > 0:
        raise CompletenessError(f"purity needs a completeness with an interval, not {completeness}")
    m, n = threshold.achieved, threshold.n_negatives
    draws = rng.generator(seed, "completeness.purity")
    rates = draws.beta(m + 1, n - m, DRAWS) if m < n else np.ones(DRAWS)
    shares = draws.beta(completeness.value * n_star + 0.5, (1 - completeness.value) * n_star + 0.5, DRAWS)
    densities = sky.parent_density or np.nan, sky.lenses_per_deg2 or np.nan
    drawn = found_per_square_degree(densities[0], rates, densities[1], shares)
    # The mean of what is drawn: none recovered of a few negatives is no rate of 0, and no purity of 1.
    rate = (m + 1) / (n + 1)
    plain = found_per_square_degree(densities[0], rate, densities[1], completeness.value)
    data: dict[str, tuple[object, ...]] = {}
    for name, units, meaning in _QUANTITIES:
        ends = np.quantile(getattr(drawn, name), [0.025, 0.975])
        data |= with_interval(name, [], (getattr(plain, name), (ends[0], ends[1])), units, meaning, PROPAGATED)
    attrs = {"population": sky.population or "", "negatives": OWN_CONTROLS if own_controls else "real non-lenses"}
    return xr.Dataset(data, attrs=attrs)


def _unknown() -> dict[str, tuple[object, ...]]:
    data: dict[str, tuple[object, ...]] = {}
    for name, units, meaning in _QUANTITIES:
        data |= with_interval(name, [], (np.nan, (np.nan, np.nan)), units, meaning, PROPAGATED)
    return data


def sky_table(
    sky: SkyConfig, thresholds: Sequence[Threshold], curves: xr.Dataset, seed: int, own_controls: bool, flaw: str = ""
) -> xr.Dataset:
    """Put every threshold's false positives, lenses found and purity into one table, or say what is missing.

    Parameters
    ----------
    sky : SkyConfig
    thresholds : sequence of Threshold
    curves : Dataset
        Completeness of all rows together, over ``threshold`` and ``curve``.
    seed : int
        Of the draws.
    own_controls : bool
        As :func:`purity` takes it.
    flaw : str
        Why the completeness itself is not to be used; empty where it is.

    Returns
    -------
    Dataset with dim threshold
        NaN, and ``reason`` in words, where it cannot be told; ``attrs["verdict"]`` is then NOT_TESTABLE. The
        completeness is that of the injections as they were drawn, which is said: of another population it is another.
    """
    lacking = missing(sky)
    common = flaw or (f"needs {' and '.join(lacking)}" if lacking else "")
    parts, reasons = [], []
    for k, threshold in enumerate(thresholds):
        whole = curves.sel(curve="all").isel(threshold=k)
        share = Estimate.in_dataset(whole.drop_vars("n_hosts"), "completeness")
        try:
            if common:
                raise CompletenessError(common)
            parts.append(purity(sky, threshold, share, float(whole["n_star"]), seed, own_controls))
            reasons.append("")
        except CompletenessError as error:
            parts.append(xr.Dataset(_unknown()))
            reasons.append(str(error))
    found = xr.concat(parts, "threshold", combine_attrs="drop")
    text = {"units": "", "long_name": "why it cannot be told; empty where it can"}
    found["reason"] = ("threshold", np.array(reasons, dtype=str), text)
    return found.assign_attrs(
        verdict="NOT_TESTABLE" if any(reasons) else "",
        reason="; ".join(dict.fromkeys(r for r in reasons if r)),
        population=sky.population or "",
        negatives=OWN_CONTROLS if own_controls else "real non-lenses",
        completeness_of="the injections as they were drawn, each host once; for another population, reweight them",
    )
