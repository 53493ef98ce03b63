"""A smooth selection function, which may be used only where it fits: splines in a logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from lensflow import rng
from lensflow.errors import CompletenessError, ConvergenceError
from lensflow.measure.completeness.bins import Ranges, places
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.selection.lookup import Grid, Looked
from lensflow.measure.completeness.selection.misfit import misfit
from lensflow.measure.completeness.selection.smooth_fit import DRAWS, Rows, choose_strength, drawn_fits, fit
from lensflow.measure.completeness.selection.spline import QUANTILES, Basis
from lensflow.measure.completeness.variables import values_of
from lensflow.stats.hostsums import Floats, interval, named

# Rows of a fit at most, and of the choice of its penalty: whole hosts, chosen by hash.
MAX_ROWS, MAX_ROWS_OF_CHOICE = 30_000, 10_000
# Rows of each class, and hosts, below which nothing is fitted.
ENOUGH_OF_EACH, ENOUGH_HOSTS = 50, 20


@dataclass(frozen=True, eq=False)
class Smooth:
    """The model of one curve at one threshold.

    Attributes
    ----------
    basis : Basis
    theta : ndarray, shape (p + 1,)
        Coefficients, then intercept.
    draws : ndarray, shape (draws, p + 1)
        Of draws of hosts.
    n_hosts : int
    """

    basis: Basis
    theta: Floats
    draws: Floats
    n_hosts: int

    def values(self, points: Sequence[NDArray]) -> tuple[Floats, Floats, Floats]:
        """Completeness and its 95 % interval, wherever the points are.

        Parameters
        ----------
        points : sequence of ndarray, shape (n,)

        Returns
        -------
        value, low, high : ndarray of float64, shape (n,)
        """
        x = self.basis.columns(points)
        value = expit(x @ self.theta[:-1] + self.theta[-1])
        low, high = interval(expit(self.draws[:, :-1] @ x.T + self.draws[:, -1:]), self.n_hosts)
        return value, np.minimum(low, value), np.maximum(high, value)

    def look(self, grid: Grid, points: Sequence[NDArray]) -> Looked:
        """Evaluate where the cell of a point is tested.

        Parameters
        ----------
        grid : Grid
        points : sequence of ndarray, shape (n,)

        Returns
        -------
        Looked
        """
        support = grid.cell(points).support
        out = np.full((3, len(support)), np.nan)
        if support.any():
            out[:, support] = self.values([x[support] for x in points])
        return Looked(out[0], out[1], out[2], support)


@threadpool_limits.wrap(limits=1)  # matrices of 30 columns: a second thread costs more than it does
def smooth_of(
    counted: Counted, rows: xr.Dataset, axes: Sequence[Ranges], selection: xr.Dataset, taus: Sequence[float], seed: int
) -> xr.Dataset:
    """Fit every curve at every threshold.

    Parameters
    ----------
    counted : Counted
    rows : Dataset
        Of the counted rows, as :func:`values_of` takes them.
    axes : sequence of Ranges
    selection : Dataset
        The table of these rows over these axes.
    taus : sequence of float
        Thresholds.
    seed : int
        Of folds and draws.

    Returns
    -------
    Dataset
        Knots, coefficients (also of the draws of hosts), the test of the fit, and ``reason``: why the model may not be
        used, empty where it may. :func:`smooth_in` reads a model out of it.
    """
    columns = {a.variable: values_of(a.variable, rows) for a in axes}
    place, shape = places(axes, columns)
    bins = np.unravel_index(place, shape)
    inside = np.logical_and.reduce([a.is_inside[b] for a, b in zip(axes, bins, strict=True)]) & counted.valid
    chosen = np.flatnonzero(inside & _some_hosts(counted.host, inside, MAX_ROWS))
    values = [np.asarray(v, dtype=np.float64)[chosen] for v in columns.values()]
    basis = Basis.of(values) if len(chosen) else Basis(tuple(np.empty(0) for _ in axes), np.empty(0), np.empty(0))
    x = basis.columns(values)
    host, tested = counted.host[chosen], selection["tested"].transpose("curve", *columns).values
    recovered = counted.recovered(taus)[:, chosen]
    of_choice = _some_hosts(host, np.ones(len(host), bool), MAX_ROWS_OF_CHOICE)
    found: dict[tuple[int, int], _Fitted] = {}
    for t in range(len(taus)):
        strength = _strength(x[of_choice], recovered[t][of_choice], host[of_choice], seed)
        for c in range(len(CURVES)):
            some = counted.curves[c][chosen]
            same = next((k for k in range(c) if np.array_equal(counted.curves[k][chosen], some)), None)
            if same is not None and np.array_equal(tested[same], tested[c]):
                found[t, c] = found[t, same]
                continue
            cell, labels = _cells(place[chosen][some], tested[c], axes)
            found[t, c] = _fitted(x[some], recovered[t][some], host[some], cell, labels, strength, seed)
    return _dataset(found, basis, axes, len(taus))


def smooth_in(table: xr.Dataset, axes: Sequence[str], threshold: int, curve: str) -> Smooth:
    """Read a model that may be used.

    Parameters
    ----------
    table : Dataset
        As :func:`smooth_of` made it.
    axes : sequence of str
    threshold : int
    curve : str

    Returns
    -------
    Smooth

    Raises
    ------
    CompletenessError
        If it does not fit; names the worst cell.
    """
    one = table.isel(threshold=threshold, curve=[str(c) for c in table["curve"].values].index(curve))
    reason = str(one["reason"].values)
    if reason:
        raise CompletenessError(
            f'method "smooth": the model may not be used (curve {curve}, threshold {threshold}): {reason}. '
            'method="cell" and method="linear" do not need it'
        )
    knots = tuple(k[np.isfinite(k)] for k in (one[f"knots_{a}"].values for a in axes))
    basis = Basis(knots, one["centre"].values, one["scale"].values)
    return Smooth(basis, one["coefficients"].values, one["draws"].values, int(one["n_hosts"]))


@dataclass(frozen=True, eq=False)
class _Fitted:
    theta: Floats
    draws: Floats
    strength: float
    n_rows: int
    n_hosts: int
    chi2: float
    p: float
    n_cells: int
    reason: str


def _strength(x: Floats, recovered: NDArray[np.bool_], host: NDArray[np.int64], seed: int) -> float:
    if _too_few(recovered, host):
        return np.nan
    return choose_strength(Rows.of(x, recovered, host), seed)


def _too_few(recovered: NDArray[np.bool_], host: NDArray[np.int64]) -> str:
    k, n, hosts = int(recovered.sum()), len(recovered), len(np.unique(host))
    if min(k, n - k) >= ENOUGH_OF_EACH and hosts >= ENOUGH_HOSTS:
        return ""
    return (
        f"{k:,} of {n:,} rows between the edges are recovered, on {hosts:,} hosts; a fit needs {ENOUGH_OF_EACH} that "
        f"are and as many that are not, on {ENOUGH_HOSTS} hosts"
    )


def _fitted(
    x: Floats, recovered: NDArray[np.bool_], host: NDArray[np.int64], cell: NDArray[np.int64], labels: list[str],
    strength: float, seed: int,
) -> _Fitted:  # fmt: skip
    q, n, hosts = x.shape[1] + 1, len(host), len(np.unique(host))
    nothing = _Fitted(np.full(q, np.nan), np.full((DRAWS, q), np.nan), strength, n, hosts, np.nan, np.nan, 0, "")
    few = _too_few(recovered, host)
    if few or not np.isfinite(strength):
        return _because(nothing, few or "too few rows of the curve all to choose its penalty")
    rows = Rows.of(x, recovered, host)
    try:
        theta = fit(rows, strength).theta
        drawn = drawn_fits(rows, strength, theta, seed)
    except ConvergenceError as error:
        return _because(nothing, str(error))
    test = misfit(rows, host, cell, labels, theta, drawn)
    return _Fitted(theta, drawn.thetas, strength, n, hosts, test.chi2, test.p, test.n_cells, test.reason)


def _because(fitted: _Fitted, reason: str) -> _Fitted:
    return _Fitted(**{**fitted.__dict__, "reason": reason})


def _some_hosts(host: NDArray[np.int64], inside: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Rows of hosts chosen by hash, whole ones, up to a number of rows inside."""
    unique, of = np.unique(host, return_inverse=True)
    order = np.argsort(rng.mix_ids(unique.astype(np.uint64), np.uint64(1)), kind="stable")
    rows = np.cumsum(np.bincount(of[inside], minlength=len(unique))[order])
    taken = np.zeros(len(unique), bool)
    taken[order[rows <= most]] = True
    return taken[of]


def _cells(
    place: NDArray[np.int64], tested: NDArray[np.bool_], axes: Sequence[Ranges]
) -> tuple[NDArray[np.int64], list[str]]:
    """Number of the tested cell of each row, -1 for none; and the cells' names."""
    flat = np.flatnonzero(tested.ravel())
    at = np.minimum(np.searchsorted(flat, place), max(len(flat) - 1, 0))
    cell = np.where(flat[at] == place, at, -1) if len(flat) else np.full(len(place), -1)
    bins = np.stack(np.unravel_index(flat, tested.shape), axis=1)
    labels = [" x ".join(a.labels[k] for a, k in zip(axes, row, strict=True)) for row in bins]
    return cell.astype(np.int64), labels


def _dataset(found: dict[tuple[int, int], _Fitted], basis: Basis, axes: Sequence[Ranges], n_taus: int) -> xr.Dataset:
    def every(name: str) -> NDArray:
        return np.array([[getattr(found[t, c], name) for c in range(len(CURVES))] for t in range(n_taus)])

    over = ["threshold", "curve"]
    data = {
        "coefficients": named([*over, "coefficient"], every("theta"), "1", "of standardised columns, then intercept"),
        "draws": named([*over, "draw", "coefficient"], every("draws"), "1", "the same of draws of hosts"),
        "centre": named(["column"], basis.centre, "1", "subtracted from the columns"),
        "scale": named(["column"], basis.scale, "1", "what the columns are divided by"),
        "strength": named(over, every("strength"), "1", "inverse strength of the L2 penalty, from folds of hosts"),
        "n_rows": named(over, every("n_rows"), "1", "rows that were fitted"),
        "n_hosts": named(over, every("n_hosts"), "1", "their hosts"),
        "chi2": named(over, every("chi2"), "1", "misfit over tested cells, variance between hosts"),
        "p": named(over, every("p"), "1", "share of draws of hosts with a misfit as large"),
        "n_cells": named(over, every("n_cells"), "1", "tested cells that it was summed over"),
        "reason": named(over, every("reason").astype(str), "", "why the model may not be used; empty where it may"),
    }  # fmt: skip
    for axis, knots in zip(axes, basis.knots, strict=True):
        padded = np.full(len(QUANTILES), np.nan)
        padded[: len(knots)] = knots
        text = f"knots of {axis.variable} at quantiles of the rows; NaN where there are fewer"
        data[f"knots_{axis.variable}"] = named(["knot"], padded, "", text)
    attrs = {"model": "logistic regression on natural cubic splines of each axis and products of the first two"}
    return xr.Dataset(data, coords={"curve": list(CURVES)}, attrs=attrs)
