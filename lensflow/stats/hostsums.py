"""Sums per host, and the intervals that come from them.

Rows of one host share its pixels, so intervals come from a bootstrap over hosts. A host's rows enter only as
sums, therefore a diagnostic keeps one vector of sums per host, merges by adding vectors of the same host, and
draws the bootstrap when the result is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import ndtr, stdtrit

from lensflow import rng
from lensflow.errors import ConfigError, StoreError

Floats = NDArray[np.float64]

Z_95 = 1.96
Z_POWER_80 = 0.84
# Bootstrap units kept at most. Beyond as many hosts, whole hosts are put into as many groups by a hash of their
# index, and the groups are drawn: memory stays bounded (all diagnostics of a run then take 30 MB; 2e6 rows would
# otherwise need 3 GB for the radial profile alone), and the interval's width is known to 1 / sqrt(2 x 1024) = 2 %.
MAX_UNITS = 1024
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class HostSums:
    """Sums of a fixed-width vector of statistics per host.

    Attributes
    ----------
    hosts : ndarray of int64, shape (h,)
        Hosts that were seen, sorted.
    present : ndarray of bool, shape (h, m)
        In which of m cells (a band, a stratum) each host has rows.
    units : ndarray of int64, shape (u,)
        What the bootstrap draws, sorted: the hosts, or groups of hosts beyond ``MAX_UNITS`` of them.
    sums : ndarray of float64, shape (u, k)
        Sums over the rows of each unit.
    """

    hosts: NDArray[np.int64]
    present: NDArray[np.bool_]
    units: NDArray[np.int64]
    sums: Floats

    @classmethod
    def from_rows(cls, host_index: ArrayLike, rows: Floats, cells: NDArray[np.bool_]) -> HostSums:
        """Sum ``rows`` (n, ...) and join ``cells`` (n, ...) over the rows of each host; no row may hold a NaN."""
        ids = np.asarray(host_index, dtype=np.int64)
        hosts, sums = _group(ids, flat_rows(np.asarray(rows, dtype=np.float64)), np.add)
        _, present = _group(ids, flat_rows(cells), np.logical_or)
        return cls(hosts, present, *_bounded(hosts, hosts, sums))

    @classmethod
    def from_cells(
        cls,
        host_index: ArrayLike,
        place: tuple[NDArray[np.int64], int],
        rows: Floats,
        cells: NDArray[np.bool_],
        axis: int = 1,
    ) -> HostSums:
        """Sum rows that each lie in one cell of several (a stratum, a class), as :meth:`from_rows` of zeros elsewhere.

        Parameters
        ----------
        host_index : array_like of int, shape (n,)
        place : ndarray of int, shape (n,), and int
            Cell of each row, and the number of cells.
        rows : ndarray, shape (n, ...)
        cells : ndarray of bool, shape (n, ...)
            As for :meth:`from_rows`.
        axis : int
            Where the cells are among the axes of ``rows``, in the order of :attr:`sums`.
        """
        ids, (cell, n_cells) = np.asarray(host_index, dtype=np.int64), place
        hosts, present = _group(ids, flat_rows(cells), np.logical_or)
        key, found = _group(ids * n_cells + cell, flat_rows(np.asarray(rows, dtype=np.float64)), np.add)
        sums = np.zeros((hosts.size, n_cells, *rows.shape[1:]))
        sums[np.searchsorted(hosts, key // n_cells), key % n_cells] = found.reshape(-1, *rows.shape[1:])
        return cls(hosts, present, *_bounded(hosts, hosts, flat_rows(np.moveaxis(sums, 1, axis))))

    def __add__(self, other: HostSums) -> HostSums:
        hosts, present = _group(
            np.concatenate([self.hosts, other.hosts]), np.concatenate([self.present, other.present]), np.logical_or
        )
        # A side with few hosts still has hosts for units; they are grouped like the other's before adding.
        parts = [_bounded(hosts, s.units, s.sums) if s.hosts.size <= MAX_UNITS else (s.units, s.sums)
                 for s in (self, other)]  # fmt: skip
        units, sums = _group(np.concatenate([u for u, _ in parts]), np.concatenate([v for _, v in parts]), np.add)
        return HostSums(hosts, present, units, sums)

    @property
    def total(self) -> Floats:
        """Sums over all hosts, shape (k,)."""
        return self.sums.sum(axis=0)

    @property
    def n_hosts(self) -> NDArray[np.int64]:
        """Hosts with rows in each cell, shape (m,)."""
        return self.present.sum(axis=0, dtype=np.int64)

    def replicates(self, count: int, seed: int, purpose: str) -> Floats:
        """Bootstrap replicates of :attr:`total`: ``count`` draws of as many hosts as there are, shape (count, k)."""
        return host_weights(self.units.size, count, seed, purpose, self.sums)


def flat_rows(values: NDArray[Any]) -> NDArray[Any]:
    """Reshape (n, ...) to (n, k), also for n = 0."""
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def _group(ids: NDArray[np.int64], rows: NDArray[Any], ufunc: np.ufunc) -> tuple[NDArray[np.int64], NDArray[Any]]:
    # Regions have hosts of their own, in order: most of what is grouped needs no sorting, and no adding.
    apart = np.diff(ids)
    if (apart > 0).all():
        return ids, rows
    order = np.arange(ids.size) if (apart >= 0).all() else np.argsort(ids, kind="stable")
    ids = ids[order]
    first = np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1])
    ends = np.append(first, ids.size)
    if ufunc is np.add and np.diff(ends).max() <= 2:
        # Joined sums of two parts: the same bits as reduceat gives, in a tenth of the time.
        return ids[first], csr_array((np.ones(ids.size), order, ends), shape=(first.size, ids.size)) @ rows
    return ids[first], ufunc.reduceat(rows[order], first, axis=0)


def _bounded(hosts: NDArray[np.int64], units: NDArray[np.int64], sums: Floats) -> tuple[NDArray[np.int64], Floats]:
    # Grouped if and only if the hosts seen exceed MAX_UNITS, so the order of merging cannot matter.
    if hosts.size <= MAX_UNITS:
        return units, sums
    bucket = rng.mix_ids(units.astype(np.uint64), np.uint64(0)) % np.uint64(MAX_UNITS)
    return _group(bucket.astype(np.int64), sums, np.add)


def drawn_units(hosts: ArrayLike) -> tuple[NDArray[np.int64], int]:
    """Number what a bootstrap draws: the hosts, or beyond ``MAX_UNITS`` of them groups of whole hosts.

    Parameters
    ----------
    hosts : array_like of int, shape (n,)
        Host of each row, in any order.

    Returns
    -------
    ndarray of int64, shape (n,), and int
        Unit of each row, from 0 on; how many there are.
    """
    unique, place = np.unique(np.asarray(hosts, dtype=np.int64), return_inverse=True)
    if unique.size > MAX_UNITS:
        bucket = rng.mix_ids(unique.astype(np.uint64), np.uint64(0)) % np.uint64(MAX_UNITS)
        unique, of_host = np.unique(bucket, return_inverse=True)
        place = of_host[place]
    return place.astype(np.int64), int(unique.size)


def host_weights(n_units: int, count: int, seed: int, purpose: str, sums: Floats | None = None) -> Floats:
    """Multinomial weights of a bootstrap over hosts, shape (count, n_units), or their product with ``sums``.

    Drawn a block at a time when ``sums`` (n_units, k) is given, so that only (count, k) is ever held.
    """
    if sums is None and count * n_units <= _DRAWS_AT_ONCE:
        return _known_weights(n_units, count, seed, purpose)
    return _drawn_weights(n_units, count, seed, purpose, sums)


@lru_cache(maxsize=4)
def _known_weights(n_units: int, count: int, seed: int, purpose: str) -> Floats:
    """Weights that one gate asks for several times: for its area, its reference, its strata and its curve."""
    found = _drawn_weights(n_units, count, seed, purpose, None)
    found.flags.writeable = False
    return found


def _drawn_weights(n_units: int, count: int, seed: int, purpose: str, sums: Floats | None) -> Floats:
    draws = rng.generator(seed, purpose)
    out = np.empty((count, n_units if sums is None else sums.shape[1]))
    step = max(1, _DRAWS_AT_ONCE // max(n_units, 1))
    for first in range(0, count, step):
        size = min(step, count - first)
        picks = draws.integers(0, n_units, (size, n_units)) if n_units else np.empty((size, 0), dtype=np.int64)
        picks = picks + n_units * np.arange(size)[:, None]
        weights = np.bincount(picks.ravel(), minlength=size * n_units).reshape(size, n_units).astype(np.float64)
        out[first : first + size] = weights if sums is None else weights @ sums
    return out


def interval(replicates: Floats, n_hosts: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Expanded percentile interval of bootstrap replicates along axis 0.

    Plain percentiles are too narrow for few hosts, by the factor sqrt((n-1)/n) and by normal for t; their levels
    are widened to make up for both (Hesterberg 2015, The American Statistician 69, 371).

    Parameters
    ----------
    replicates : ndarray, shape (draws, ...)
        NaN or infinite where a draw has no value; such draws are left out.
    n_hosts : array_like, broadcast to ``replicates.shape[1:]``
        Hosts behind each column.

    Returns
    -------
    low, high : ndarray, shape (...)
        NaN where there are fewer than two hosts or two draws.
    """
    n = np.broadcast_to(np.asarray(n_hosts, dtype=np.float64), replicates.shape[1:])
    finite = np.isfinite(replicates)
    ordered = np.sort(np.where(finite, replicates, np.nan), axis=0)  # NaN last
    valid = finite.sum(axis=0)
    usable = (n >= 2) & (valid >= 2)
    safe = np.where(usable, n, 2.0)
    tail = ndtr(np.sqrt(safe / (safe - 1)) * stdtrit(safe - 1, (1 - level) / 2))
    ends = []
    for share in (tail, 1 - tail):
        position = share * np.maximum(valid - 1, 0)
        below = np.floor(position).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(valid - 1, 0))
        at_below = np.take_along_axis(ordered, below[None], axis=0)[0]
        at_above = np.take_along_axis(ordered, above[None], axis=0)[0]
        ends.append(np.where(usable, at_below + (position - below) * (at_above - at_below), np.nan))
    return ends[0], ends[1]


def spread(replicates: Floats, n_hosts: ArrayLike) -> Floats:
    """Bootstrap standard deviation along axis 0, with the small-sample factor sqrt(n/(n-1)); NaN below two hosts."""
    n = np.broadcast_to(np.asarray(n_hosts, dtype=np.float64), replicates.shape[1:])
    finite = np.isfinite(replicates)
    count = finite.sum(axis=0)
    values = np.where(finite, replicates, 0.0)
    mean = values.sum(axis=0) / np.maximum(count, 1)
    variance = (np.where(finite, replicates - mean, 0.0) ** 2).sum(axis=0) / np.maximum(count - 1, 1)
    usable = (n >= 2) & (count >= 2)
    return np.where(usable, np.sqrt(variance * np.where(usable, n, 2) / (np.where(usable, n, 2) - 1)), np.nan)


def ratio(top: ArrayLike, bottom: ArrayLike) -> Floats:
    """``top / bottom``, NaN where ``bottom`` is 0."""
    a, b = np.broadcast_arrays(np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)


def column(pairs: xr.Dataset, name: str) -> NDArray[Any]:
    """Values of one variable of a pairs block; a missing one is an error that names it."""
    if name not in pairs.variables:
        raise StoreError(
            f"not a pairs block: {name} is missing (diagnostics and gates need ctrl, manifest and metrics)"
        )
    # Of the variable: a DataArray is made with all coordinates, which takes longer than most measurements of a block.
    return np.asarray(pairs.variables[name].values)


def same_values(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays are the same; NaN is the same as NaN. Quick where they are."""
    return bool((a == b).all()) or np.array_equal(a, b, equal_nan=True)


def named(dims: Sequence[str], values: ArrayLike, units: str, long_name: str) -> tuple[Any, ...]:
    """One data variable with the attrs that explain it."""
    return (tuple(dims), np.asarray(values), {"units": units, "long_name": long_name})


def stratum_of(theta_e_arcsec: Floats, edges: Sequence[float]) -> NDArray[np.int64]:
    """Stratum of each row, ``edges[i] <= theta_e < edges[i + 1]``; ``len(edges) - 1`` for rows outside all."""
    place = np.searchsorted(np.asarray(edges), theta_e_arcsec, side="right") - 1
    return np.where((place < 0) | (place >= len(edges) - 1), len(edges) - 1, place).astype(np.int64)


def stratum_coords(edges: Sequence[float]) -> dict[str, Any]:
    """Coordinates of the strata, ``all`` first; ``all`` also holds rows outside the edges."""
    labels = ["all", *(f"[{a:g}, {b:g})" for a, b in pairwise(edges))]
    low, high = np.array([np.nan, *edges[:-1]]), np.array([np.nan, *edges[1:]])
    return {
        "stratum": ("stratum", np.array(labels), {"units": "arcsec", "long_name": "range of theta_E"}),
        "theta_e_low": named(["stratum"], low, "arcsec", "lower edge of theta_E, included"),
        "theta_e_high": named(["stratum"], high, "arcsec", "upper edge of theta_E, excluded"),
    }


def with_all(cells: NDArray[Any], axis: int) -> NDArray[Any]:
    """Sums per stratum, (..., strata + outside, ...), to (..., all + strata, ...): ``all`` is the sum of the cells."""
    every = cells.sum(axis=axis, keepdims=True)
    strata = np.take(cells, np.arange(cells.shape[axis] - 1), axis=axis)
    return np.concatenate([every, strata], axis=axis)


def same_layout(*layouts: Any) -> None:
    """Refuse to merge summaries of different bands, strata or rings."""
    if any(layout != layouts[0] for layout in layouts[1:]):
        raise ConfigError(f"summaries of different layout cannot be merged or read: {layouts[0]} and {layouts[1:]}")


def correlation_of_draws(a: Floats, b: Floats) -> float:
    """Correlation of two values over the same bootstrap draws; 0 where one of them does not vary.

    Parameters
    ----------
    a, b : ndarray, shape (draw,)
        NaN where a draw has no value.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 2 or np.ptp(a[both]) == 0 or np.ptp(b[both]) == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1])
