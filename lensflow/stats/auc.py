"""Area under the ROC curve, exact: ties count half, rows of one host are not compared, many weightings at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import GateError
from lensflow.jit import compiled
from lensflow.stats.hostsums import host_weights

Floats = NDArray[np.float64]

# Weightings that are counted together: a row of their weights is a few cache lines.
LANES = 16


def host_bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    hosts: ArrayLike,
    count: int,
    seed: int,
    purpose: str,
    weights: ArrayLike | None = None,
) -> tuple[float, Floats]:
    """Probability that a positive scores above a negative of another host, and those of bootstrap draws of hosts.

    Ties count half. Rows of one host are not compared with each other, nor copies of one host in a draw: a stamp and
    its own control share every pixel but the arc's, and their share 1 / n_hosts of all comparisons would lift the area
    of a few hosts.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like, shape (n,)
        Finite.
    hosts : array_like, shape (n,)
    count : int
        Number of draws.
    seed, purpose
        Of the draws: the same ones give the same draws.
    weights : array_like, shape (n,), optional
        Of rows; by default all count alike.

    Returns
    -------
    float, and ndarray of shape (count,)
        NaN where no positive and negative of different hosts are there.

    Raises
    ------
    GateError
        If a score is not finite; names the first such row.
    """
    unique, place = np.unique(np.asarray(hosts), return_inverse=True)
    drawn = np.concatenate([np.ones((1, unique.size)), host_weights(unique.size, count, seed, purpose)])
    found = _areas(labels, scores, drawn, place, weights)
    return float(found[0]), found[1:]


def true_rates(
    labels: ArrayLike, scores: ArrayLike, hosts: ArrayLike, false_rates: ArrayLike, count: int, seed: int, purpose: str
) -> tuple[Floats, Floats]:
    """True positive rates at given false positive rates, and those of bootstrap draws of whole hosts.

    Parameters
    ----------
    labels, scores, hosts : array_like, shape (n,)
    false_rates : array_like, shape (k,)
        Ascending. Where the curve rises upright its upper end counts.
    count, seed, purpose
        As :func:`host_bootstrap`: the same ones give the same draws.

    Returns
    -------
    ndarray, shape (k,), and ndarray, shape (count, k)
        NaN where a draw has no positive or no negative.
    """
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    unique, place = np.unique(np.asarray(hosts), return_inverse=True)
    weights = np.concatenate([np.ones((1, unique.size)), host_weights(unique.size, count, seed, purpose)])
    order = np.argsort(-s, kind="stable")
    grid = np.asarray(false_rates, dtype=np.float64)
    out = np.full((len(weights), grid.size), np.nan)
    _true_rates(y[order], s[order], place[order], weights, grid, out)
    return out[0], out[1:]


@compiled()
def _true_rates(y, s, unit, weights, grid, out):  # type: ignore[no-untyped-def]
    """Read the curve off at ``grid``; rows come with descending scores, ties are one straight piece."""
    for d in range(weights.shape[0]):
        w = weights[d]
        positives = negatives = 0.0
        for k in range(len(s)):
            if y[k]:
                positives += w[unit[k]]
            else:
                negatives += w[unit[k]]
        if positives == 0.0 or negatives == 0.0:
            continue
        x = t = won = lost = 0.0
        g = k = 0
        while k < len(s):
            x_before, t_before, value = x, t, s[k]
            while k < len(s) and s[k] == value:
                if y[k]:
                    won += w[unit[k]]
                else:
                    lost += w[unit[k]]
                k += 1
            x, t = lost / negatives, won / positives
            while g < len(grid) and grid[g] < x:
                out[d, g] = t_before + (t - t_before) * (grid[g] - x_before) / (x - x_before)
                g += 1
        out[d, g:] = 1.0


def _areas(
    labels: ArrayLike, scores: ArrayLike, weights: Floats, host: NDArray[np.int64], of_rows: ArrayLike | None
) -> Floats:
    """Areas for weights per host, (draw, host), less the comparisons within each host."""
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not np.isfinite(s).all():
        raise GateError(f"AUC: score of row {int(np.argmin(np.isfinite(s)))} is not finite")
    if s.size == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(s, kind="stable")
    each = np.ones(s.size) if of_rows is None else np.asarray(of_rows, dtype=np.float64)
    each = each / each.mean()
    won, pairs = _compared(y[order], s[order], host[order], each[order], weights)
    own_won, own_pairs = _within(y, s, host, each, weights)
    won, pairs = won - own_won, pairs - own_pairs
    # Sums that were taken away whole may leave some rounding behind.
    some = pairs > 1e-12 * weights.sum(axis=1) ** 2
    return np.clip(np.divide(won, pairs, out=np.full(len(weights), np.nan), where=some), 0.0, 1.0)


def _compared(
    y: NDArray[np.bool_], s: Floats, unit: NDArray[np.int64], each: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Comparisons that positives win, and all, per weighting, among rows sorted by score."""
    won, pairs = np.empty(len(weights)), np.empty(len(weights))
    last = np.concatenate([s[1:] != s[:-1], [True]])
    for first in range(0, len(weights), LANES):
        some = slice(first, min(first + LANES, len(weights)))
        lanes = np.zeros((weights.shape[1], LANES))
        lanes[:, : some.stop - first] = weights[some].T
        sums = np.zeros((2, LANES))
        _compare(y, last, unit, each, lanes, sums)
        won[some], pairs[some] = sums[:, : some.stop - first]
    return won, pairs


def _within(
    y: NDArray[np.bool_], s: Floats, host: NDArray[np.int64], each: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """Do the same among the rows of each host: one weight leaves their comparisons as they are, times its square."""
    order = np.lexsort((s, host))
    first = np.flatnonzero(np.concatenate([[True], np.diff(host[order]) != 0, [True]]))
    sums = np.zeros((2, weights.shape[1]))
    _count_each(y[order], s[order], host[order], each[order], first, sums)
    square = weights**2
    return square @ sums[0], square @ sums[1]


@compiled()
def _compare(y, last, unit, each, lanes, sums):  # type: ignore[no-untyped-def]
    """Count for ``LANES`` weightings at once, (unit, lane); ``last`` marks the last row of each tied score."""
    positives, negatives, won = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    tied_positives, tied_negatives = np.zeros(LANES), np.zeros(LANES)
    alone = True
    for k in range(len(y)):
        w, e = lanes[unit[k]], each[k]
        if alone and last[k]:
            if y[k]:
                for i in range(LANES):
                    won[i] += e * w[i] * negatives[i]
                    positives[i] += e * w[i]
            else:
                for i in range(LANES):
                    negatives[i] += e * w[i]
            continue
        if y[k]:
            for i in range(LANES):
                tied_positives[i] += e * w[i]
        else:
            for i in range(LANES):
                tied_negatives[i] += e * w[i]
        alone = last[k]
        if alone:
            for i in range(LANES):
                won[i] += tied_positives[i] * (negatives[i] + 0.5 * tied_negatives[i])
                positives[i] += tied_positives[i]
                negatives[i] += tied_negatives[i]
                tied_positives[i] = tied_negatives[i] = 0.0
    for i in range(LANES):
        sums[0, i], sums[1, i] = won[i], positives[i] * negatives[i]


@compiled()
def _count_each(y, s, unit, each, first, sums):  # type: ignore[no-untyped-def]
    """Add up comparisons that positives win, and all, among the rows of each host, by its unit, hosts unweighted."""
    for h in range(len(first) - 1):
        positives = negatives = won = 0.0
        k = first[h]
        while k < first[h + 1]:
            tied_positives = tied_negatives = 0.0
            value = s[k]
            while k < first[h + 1] and s[k] == value:
                if y[k]:
                    tied_positives += each[k]
                else:
                    tied_negatives += each[k]
                k += 1
            won += tied_positives * (negatives + 0.5 * tied_negatives)
            positives += tied_positives
            negatives += tied_negatives
        sums[0, unit[first[h]]] += won
        sums[1, unit[first[h]]] += positives * negatives


def roc_points(labels: ArrayLike, scores: ArrayLike, limit: int = 200) -> Floats:
    """Return (false positive rate, true positive rate) from (0, 0) to (1, 1), at most ``limit`` points."""
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    order = np.argsort(-s, kind="stable")
    y, s = y[order], s[order]
    last = np.flatnonzero(np.concatenate([s[1:] != s[:-1], [True]]))
    true = np.concatenate([[0], np.cumsum(y)[last]]) / max(int(y.sum()), 1)
    false = np.concatenate([[0], np.cumsum(~y)[last]]) / max(int((~y).sum()), 1)
    keep = np.unique(np.linspace(0, true.size - 1, min(limit, true.size)).round().astype(np.int64))
    return np.stack([false[keep], true[keep]], axis=1)
