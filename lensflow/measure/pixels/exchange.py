"""Chance differences of two classes of rows: values exchanged between hosts and within them, many times.

If class says nothing about a host, it does not matter which host's values go with which host's rows, nor, on a host
with rows of both classes, which class has which. So within every split the values move between hosts, all of a host's
together, and are exchanged between the classes of a host by the toss of a coin; every host keeps its numbers of rows.
The largest difference of any column in any place is noted each time, in units of the column's own scatter. A difference
that is larger than nearly all of these is not chance, whatever the shape of the distributions and however few the hosts
(Westfall & Young 1993, Resampling-Based Multiple Testing): the chance that a sound run exceeds the limit *anywhere* is
``LEVEL``. An interval for each column would need many hosts to hold its level where values scatter as the light of
neighbours does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.stats.hostsums import Floats, ratio

EXCHANGES, LEVEL = 999, 0.002
# A split with fewer hosts of a class is not tested by itself: exchanges of so few hardly differ.
LEAST_HOSTS = 8
_ROUNDING = 1e-10
_AT_ONCE = 500_000  # elements of one table of exchanges


@dataclass(frozen=True)
class Limits:
    """Differences that chance reaches in a share ``LEVEL`` of sound runs.

    Attributes
    ----------
    mean, missing : ndarray, shape (place, column)
        Of the means of the classes, and of their shares of rows without a value; NaN where a place was not tested.
    """

    mean: Floats
    missing: Floats


def chance_limits(sums: Floats, tested: NDArray[np.bool_], seed: int, purpose: str) -> Limits:
    """Exchange values and measure how far the classes come apart.

    Parameters
    ----------
    sums : ndarray, shape (host, split, class, column, 4)
        Rows with a value, sum, sum of squares, rows without, of each host or group of hosts.
    tested : ndarray of bool, shape (1 + split,)
        Places to look at: all splits together, then each.
    seed, purpose
        Of the exchanges.
    """
    splits, _, columns = sums.shape[1:4]
    rows = sums[..., 0] + sums[..., 3]  # (host, split, class, column): the same in every column
    parts = np.zeros((EXCHANGES, splits, 2, 3, columns))  # rows with a value, sum, rows
    draws = rng.generator(seed, purpose)
    for s in range(splits):
        here = rows[:, s, :, 0]
        own = np.flatnonzero(here.any(axis=1))
        counts = here[own]
        # Per row of the host: rows with a value, and sum. A host without rows of a class lends it the other's.
        held = np.stack([ratio(sums[own, s, :, :, k], rows[own, s]) for k in (0, 1)], axis=2)
        lacks = counts == 0
        held = np.where(lacks[:, :, None, None], held[:, ::-1], held).reshape(len(own), 2, 2 * columns)
        step = max(1, _AT_ONCE // max(len(own), 1))
        for first in range(0, EXCHANGES, step):
            n = min(step, EXCHANGES - first)
            moved = counts[draws.permuted(np.broadcast_to(np.arange(len(own)), (n, len(own))), axis=1)]
            swap = draws.integers(0, 2, (n, len(own))).astype(bool)
            for c in (0, 1):
                weight = moved[:, :, c]
                found = np.where(swap, 0.0, weight) @ held[:, c] + np.where(swap, weight, 0.0) @ held[:, 1 - c]
                parts[first : first + n, s, c, :2] = found.reshape(n, 2, columns)
                parts[first : first + n, s, c, 2] = counts[:, c].sum()
    parts = np.concatenate([parts.sum(axis=1, keepdims=True), parts], axis=1)
    means = ratio(parts[:, :, :, 1], parts[:, :, :, 0])
    held_share = ratio(parts[:, :, :, 0], parts[:, :, :, 2])
    # (exchange, place, mean or missing, column)
    apart = np.stack([means[:, :, 0] - means[:, :, 1], held_share[:, :, 1] - held_share[:, :, 0]], axis=2)
    apart = np.where(tested[:, None, None], apart, np.nan)
    known = np.isfinite(apart).all(axis=0)
    scatter = np.where(known, np.sqrt((np.where(known, apart, 0.0) ** 2).mean(axis=0)), np.nan)
    # Where nothing can differ, as on hosts with equal rows of both classes, only rounding remains.
    size = np.abs(np.where(np.isfinite(means), means, 0.0)).max(axis=(0, 2))
    scatter[:, 0] = np.where(scatter[:, 0] <= _ROUNDING * size, 0.0 * scatter[:, 0], scatter[:, 0])
    scatter[:, 1] = np.where(scatter[:, 1] <= _ROUNDING, 0.0 * scatter[:, 1], scatter[:, 1])
    over = np.abs(apart) / np.where(scatter > 0, scatter, np.nan)
    largest = np.where(np.isfinite(over), over, 0.0).reshape(EXCHANGES, -1).max(axis=1)
    rank = max(1, int(LEVEL * (EXCHANGES + 1)))
    limit = np.sort(largest)[-rank] * scatter
    return Limits(limit[:, 0], limit[:, 1])
