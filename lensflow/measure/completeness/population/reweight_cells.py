"""Completeness of another population by cell: shares of the target in the cells of a selection function's axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ConfigError
from lensflow.measure.completeness import bins as bins_of
from lensflow.measure.completeness.bins import Bins, Ranges
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweight import AnotherPopulation, Rows, refuse_other_kind
from lensflow.measure.completeness.population.reweighting import by_cell, heaviest
from lensflow.measure.completeness.population.target_density import TargetDensity
from lensflow.measure.completeness.population.target_population import TargetPopulation
from lensflow.measure.completeness.variables import values_of
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Floats


def reweight_cells(
    injected: Rows, target: TargetPopulation, axes: Sequence[Bins], min_hosts: int = 10, min_rows: int = 20
) -> AnotherPopulation:
    """Weigh the cells of the axes that the target names (post-stratification); within a cell rows keep the prior.

    Parameters
    ----------
    injected : Rows
    target : TargetPopulation
        Densities, whose shares of cells are exact, or a catalogue, whose lenses are counted in the cells.
    axes : sequence of Bins
        Of the selection function.
    min_hosts, min_rows : int
        Valid rows and hosts that a cell needs; the share of other cells is outside.

    Returns
    -------
    AnotherPopulation

    Raises
    ------
    ConfigError
        If the target names what is no axis, or a density or catalogue is asked of a list of the plan.
    CompletenessError
        If the target has no share in a tested cell.
    """
    over = axes_of_target(axes, target, injected.prior)
    some = np.flatnonzero(injected.valid)
    rows = injected.rows.isel(sample=some)
    place, shape = bins_of.places(over, {b.variable: _axis(b.variable, rows) for b in over})
    shares, n_lenses = target_shares(target, over, shape)
    size, hosts = int(np.prod(shape)), rows["host_index"].values
    inside = inside_cells(over)
    n_hosts = hosts_per_cell(place, hosts, size)
    tested = inside & (np.bincount(place, minlength=size) >= min_rows) & (n_hosts >= min_hosts)
    recovered = injected.recovered[some]
    found = by_cell(shares, place, recovered, hosts, tested)
    weights = np.where(tested, shares, 0.0)[place] / np.maximum(np.bincount(place, minlength=size), 1)[place]
    values = {b.variable: _axis(b.variable, rows) for b in over}
    notes = [*target.all_notes, "within a cell the injected prior stays"]
    if n_lenses:
        c = np.bincount(place, weights=recovered, minlength=size) / np.maximum(np.bincount(place, minlength=size), 1)
        kept = np.where(tested, shares, 0.0)
        sd = float(np.sqrt((kept @ (c - found.completeness.value) ** 2) / kept.sum() / n_lenses))
        notes.append(f"the catalogue's {n_lenses:,.0f} lenses (effective) add a standard error of {sd:.2g}, which the "
                     "interval does not hold")  # fmt: skip
    outside = Estimate(found.uncovered, found.uncovered, found.uncovered)
    return AnotherPopulation(found, "cell", target.words, outside, heaviest(weights, values), tuple(notes))


def hosts_per_cell(place: NDArray[np.int64], hosts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Count the hosts with rows in each cell.

    Parameters
    ----------
    place : ndarray of int64, shape (n,)
        Cell of each row.
    hosts : ndarray of int64, shape (n,)
    size : int
        Number of cells.

    Returns
    -------
    ndarray of int64, shape (size,)
    """
    many = int(hosts.max(initial=0)) + 1
    return np.bincount(np.unique(place * many + hosts) // many, minlength=size)


def axes_of_target(axes: Iterable[Bins], target: TargetPopulation, prior: InjectedPrior | None) -> list[Bins]:
    """Axes of a selection that a target names.

    Parameters
    ----------
    axes : iterable of Bins
    target : TargetPopulation
    prior : InjectedPrior, optional
        Of the plan, for lists.

    Returns
    -------
    list of Bins

    Raises
    ------
    ConfigError
        If the target names what is no axis, or a density is asked of a list of the plan.
    """
    by_name = {b.variable: b for b in axes}
    absent = [k for k in target.parameters if k not in by_name]
    if absent:
        raise ConfigError(
            f"{target.name}: {', '.join(absent)}: no axis of the selection ({', '.join(by_name)}); add it to "
            "completeness.axes, or leave it out of the target"
        )
    known = {} if prior is None else prior.known()
    # Conditional values lie anywhere: those of many hosts fill a cell.
    refuse_other_kind({k: known[k] for k in target.parameters if k in known and not known[k].given}, target)
    return [by_name[k] for k in target.parameters]


def target_shares(target: TargetPopulation, over: Sequence[Bins], shape: Sequence[int]) -> tuple[Floats, float]:
    """Share of a target in every cell of some axes.

    Parameters
    ----------
    target : TargetPopulation
    over : sequence of Bins
    shape : sequence of int
        Of their table.

    Returns
    -------
    ndarray of float64, shape (cells,), and the effective number of lenses of a catalogue (0 for densities)
    """
    if target.catalogue:
        place, _ = bins_of.places(over, target.catalogue)
        w = target.weight / target.weight.sum()
        return _sums(place, w, int(np.prod(shape))), float(1 / (w @ w))
    out = np.ones(1)
    for b in over:
        out = np.multiply.outer(out, _shares_of(target.densities[b.variable], b)).ravel()
    return out, 0.0


def _shares_of(density: TargetDensity, b: Bins) -> Floats:
    """Share of a density in the bins of its axis, those below, above and unknown among them."""
    if density.is_discrete:
        return _sums(b.place(density.values), density.masses, len(b.labels))
    if not isinstance(b, Ranges):
        raise ConfigError(f"{b.variable}: a density needs an axis of ranges, not of {len(b.labels) - 2} values")
    below = np.diff(np.concatenate([[0.0], density.below(b.edges), [1.0]]))
    # Upper edges included: the lowest edge is a bin of its own, in which a density has nothing.
    own = [0.0] if b.upper_included else []
    return np.concatenate([below[:1], own, below[1:], [0.0]])


def inside_cells(over: Sequence[Bins]) -> NDArray[np.bool_]:
    """Which cells are inside the edges of every axis, flat."""
    out = np.ones(1, bool)
    for b in over:
        out = np.logical_and.outer(out, b.is_inside).ravel()
    return out


def _sums(place: NDArray[np.int64], weights: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(place, weights=weights, minlength=size), dtype=np.float64)


def _axis(name: str, rows: xr.Dataset) -> NDArray[Any]:
    """Values of an axis: a published set has them as columns."""
    return rows[name].values if name in rows.variables else values_of(name, rows)
