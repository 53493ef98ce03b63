"""Completeness of another population from the table of a selection function alone, without its rows."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.bins import Bins
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweight import AnotherPopulation
from lensflow.measure.completeness.population.reweight_cells import axes_of_target, inside_cells, target_shares
from lensflow.measure.completeness.population.reweighting import judged
from lensflow.measure.completeness.population.target_population import TargetPopulation
from lensflow.measure.completeness.selection.selection_file import axes_of
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats, named
from lensflow.stats.proportions import from_variance

_NOTE = (
    "from the table alone: which hosts cells share is not in it, so their errors are taken to go up and down together, "
    "and the interval is wider than that of the rows"
)


def reweight_table(
    table: xr.Dataset, target: TargetPopulation, prior: InjectedPrior | None, threshold: int = 0, curve: str = "all"
) -> AnotherPopulation:
    """Weigh the cells of a selection function; axes that the target does not name keep the injections' own shares.

    Parameters
    ----------
    table : Dataset
        As a selection function holds it.
    target : TargetPopulation
    prior : InjectedPrior, optional
        Of the plan: a density is then refused over a list of it.
    threshold : int
        Number of the threshold.
    curve : str

    Returns
    -------
    AnotherPopulation
        Its interval is at least as wide as that of the rows, because the hosts that cells share are not known.

    Raises
    ------
    ConfigError
        If the target names what is no axis, or a density is asked of a list of the plan.
    CompletenessError
        If the target has no share in a tested cell.
    """
    every: dict[str, Bins] = dict(axes_of(table))
    over = axes_of_target(every.values(), target, prior)
    if not 0 <= threshold < table.sizes["threshold"]:
        raise ConfigError(f"threshold {threshold}: there are {table.sizes['threshold']}, numbered from 0")
    one = table.isel(threshold=threshold).sel(curve=curve)
    names = [b.variable for b in over]
    rest = [v for v in every if v not in names]
    n, k, hosts, n_star, tested = (
        one[v].transpose(*names, *rest).values.astype(np.float64)
        for v in ("n_valid", "n_recovered", "n_hosts", "n_star", "tested")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(n > 0, k / n, 0.0)
        sd = np.where(n_star > 0, np.sqrt(share * (1 - share) / n_star), 0.0)
    shape = n.shape[: len(names)]
    rows, recovered, error = (_summed(v, len(shape)) for v in (n, k, n * sd))
    # Axes that are not named are summed with all their bins; a host may be in several, so the most in one counts.
    usable = inside_cells(over) & (_summed(tested, len(shape)) > 0)
    shares, _ = target_shares(target, over, shape)
    kept = np.where(usable, shares, 0.0)
    if kept.sum() <= 0:
        raise CompletenessError(f"{target.name}: no share of it is in a tested cell")
    safe = np.maximum(rows, 1)
    value = float(kept @ (recovered / safe) / kept.sum())
    variance = float(kept @ (error / safe) / kept.sum()) ** 2
    count = int(hosts.reshape(*shape, -1).max(axis=-1).ravel()[kept > 0].max())
    weight = kept / safe  # of one row of a cell
    kish = float((weight @ rows) ** 2 / (weight**2 @ rows))
    n_det = float((weight @ recovered) ** 2 / (weight**2 @ recovered)) if (weight @ recovered) > 0 else 0.0
    made = from_variance(value, variance, rows[kept > 0].sum(), count, min(count, kish))
    estimate = Estimate(value, float(made.low), float(made.high), count, math.sqrt(variance))
    top = float(np.max(kept) / kept.sum())
    found = judged(estimate, max(0.0, 1 - float(kept.sum())), n_det, kish, top)
    outside = Estimate(found.uncovered, found.uncovered, found.uncovered)
    notes = (*target.all_notes, _NOTE)
    return AnotherPopulation(found, "cell", target.words, outside, _heaviest(over, kept, shape), notes)


def _summed(values: NDArray, dims: int) -> Floats:
    """Sum over all but the first dimensions, flat."""
    return np.asarray(values.reshape(*values.shape[:dims], -1).sum(axis=-1).ravel(), dtype=np.float64)


def _heaviest(over: list[Bins], kept: Floats, shape: tuple[int, ...]) -> xr.Dataset:
    """Bin of each axis with the largest share."""
    at = np.unravel_index(int(kept.argmax()), shape)
    edges = [np.array([-np.inf, *getattr(b, "edges", ()), np.inf]) for b in over]
    low, high = ([float(e[i + k]) for e, i in zip(edges, at, strict=True)] for k in (0, 1))
    return xr.Dataset(
        {"low": named(["parameter"], low, "", "lower edge of the heaviest cell"),
         "high": named(["parameter"], high, "", "upper edge of the heaviest cell"),
         "weight_share": named([], float(kept.max() / kept.sum()), "1", "share of the weight in the heaviest cell")},
        coords={"parameter": [b.variable for b in over]},
    )  # fmt: skip
