"""Rows that come in matched sets, one of them special: relabelling within sets, and areas of classes within folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from lensflow import rng
from lensflow.stats.hostsums import host_weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Random numbers at a time: 32 MB.
_NUMBERS = 1 << 22


def relabelled(special: ArrayLike, sets: ArrayLike, count: int, seed: int, purpose: str) -> Bools:
    """Labels in which another row of each set is the special one, drawn at random; each set keeps its number of them.

    Exact under exchange: if the special row of a set cannot be told from the others, every choice is equally likely.

    Parameters
    ----------
    special : array_like of bool, shape (n,)
    sets : array_like of int, shape (n,)
    count : int
        Number of draws.
    seed, purpose
        Of the draws.

    Returns
    -------
    ndarray of bool, shape (n, count)
    """
    own = np.asarray(special, dtype=bool)
    _, place = np.unique(np.asarray(sets), return_inverse=True)
    order = np.argsort(place, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(place))[:-1]])
    wanted = np.bincount(place, weights=own).astype(np.int64)[place[order]]
    draws = rng.generator(seed, purpose)
    out = np.zeros((own.size, count), dtype=bool)
    at_a_time = max(1, _NUMBERS // max(own.size, 1))
    for begin in range(0, count, at_a_time) if own.size else ():
        chance = draws.random((min(at_a_time, count - begin), own.size))[:, order]
        # By chance within each set: the first ones are special.
        if (wanted <= 1).all():
            least = np.minimum.reduceat(chance, first, axis=1)[:, place[order]]
            chosen = (chance == least) & (wanted == 1)
        else:
            mixed = np.lexsort((chance, np.broadcast_to(place[order], chance.shape)), axis=1)
            chosen = np.empty(chance.shape, dtype=bool)
            np.put_along_axis(chosen, mixed, np.arange(own.size) - first[place[order]] < wanted, axis=1)
        out[order, begin : begin + len(chance)] = chosen.T
    return out


def areas_within(labels: ArrayLike, scores: ArrayLike, folds: Sequence[NDArray[np.int64]]) -> Floats:
    """Areas under the ROC curves of many labellings; rows are compared within folds only.

    Scores of different folds come from different fits and are not comparable.

    Parameters
    ----------
    labels : array_like of bool, shape (n, k)
    scores : array_like, shape (n, k) or (n, 1)
        Ties count half.
    folds : sequence of ndarray of int
        Rows of each fold.

    Returns
    -------
    ndarray, shape (k,)
        Mean over folds, each with the weight of its comparisons; NaN where there are none.
    """
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    won, pairs = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for rows in folds:
        ranks, own = rankdata(s[rows], axis=0), y[rows]
        positive = own.sum(axis=0)
        won += (ranks * own).sum(axis=0) - positive * (positive + 1) / 2
        pairs += positive * (len(rows) - positive)
    return np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)


def set_bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    sets: ArrayLike,
    folds: Sequence[NDArray[np.int64]],
    count: int,
    seed: int,
    purpose: str,
) -> Floats:
    """Areas as :func:`areas_within`, of bootstrap draws of whole sets.

    Two copies of a set in a draw are not compared with each other beyond what the set's own rows are.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like, shape (n,)
    sets : array_like of int, shape (n,)
    folds : sequence of ndarray of int
        Rows of each; a set is in one fold, whole.
    count : int
        Number of draws.
    seed, purpose
        Of the draws.

    Returns
    -------
    ndarray, shape (count,)
        NaN where a draw has nothing to compare.
    """
    weights = host_weights(np.unique(np.asarray(sets)).size, count, seed, purpose)
    return weighted_areas(labels, scores, sets, folds, weights)


def weighted_areas(
    labels: ArrayLike, scores: ArrayLike, sets: ArrayLike, folds: Sequence[NDArray[np.int64]], weights: Floats
) -> Floats:
    """Areas as :func:`areas_within`, of draws in which each set counts so many times.

    Parameters
    ----------
    labels, scores, sets, folds
        As of :func:`set_bootstrap`.
    weights : ndarray, shape (draw, set)
        Of the sets in ascending order.

    Returns
    -------
    ndarray, shape (draw,)
        NaN where a draw has nothing to compare.
    """
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    _, place = np.unique(np.asarray(sets), return_inverse=True)
    count = len(weights)
    won, pairs = np.zeros(count), np.zeros(count)
    for rows in folds:
        own, unit = np.unique(place[rows], return_inverse=True)
        positive, negative = y[rows], ~y[rows]
        # Of each set with a positive against each set with negatives: comparisons won, and all.
        apart = s[rows][positive][:, None] - s[rows][negative][None, :]
        beaten = np.where(apart > 0, 1.0, np.where(apart == 0, 0.5, 0.0))
        left, right = _member(unit[positive], own.size), _member(unit[negative], own.size)
        w = weights[:, own]
        for total, cells in ((won, left @ beaten @ right.T), (pairs, left @ np.ones(apart.shape) @ right.T)):
            alone = np.diag(cells)
            total += ((w @ (cells - np.diag(alone))) * w).sum(axis=1) + w @ alone
    return np.divide(won, pairs, out=np.full(count, np.nan), where=pairs > 1e-12)


def _member(unit: NDArray[np.int64], n: int) -> Floats:
    out = np.zeros((n, unit.size))
    out[unit, np.arange(unit.size)] = 1.0
    return out
