"""Area under the ROC curve, exact: ties count half, rows may carry weights, many weight vectors at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.diagnostics.hostsums import host_weights
from lensflow.errors import GateError

Floats = NDArray[np.float64]

_VALUES_AT_ONCE = 2_000_000


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Probability that a positive scores above a negative, ties counted half.

    Parameters
    ----------
    labels : array_like of bool, shape (n,)
    scores : array_like, shape (n,)
    weights : array_like, shape (n,) or (draws, n), optional
        Row weights >= 0; one area per weight vector.

    Returns
    -------
    ndarray, shape () or (draws,)
        NaN where a class has no weight.
    """
    rows = np.ones((1, np.size(scores))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    out = _areas(labels, scores, rows, np.arange(np.size(scores)))
    return out[0] if weights is None or np.ndim(weights) == 1 else out


def host_bootstrap(
    labels: ArrayLike, scores: ArrayLike, hosts: ArrayLike, count: int, seed: int, purpose: str
) -> Floats:
    """Areas of ``count`` bootstrap draws of whole hosts, shape (count,)."""
    unique, place = np.unique(np.asarray(hosts), return_inverse=True)
    return _areas(labels, scores, host_weights(unique.size, count, seed, purpose), place)


def _areas(labels: ArrayLike, scores: ArrayLike, unit_weights: Floats, unit: NDArray[np.int64]) -> Floats:
    # Weights are given per unit (row or host) and gathered here, so that (draws, rows) is never held whole.
    y, s = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not np.isfinite(s).all():
        raise GateError(f"AUC: score of row {int(np.argmin(np.isfinite(s)))} is not finite")
    if s.size == 0:
        return np.full(len(unit_weights), np.nan)
    order = np.argsort(s, kind="stable")
    y, s, unit = y[order].astype(np.float64), s[order], unit[order]
    first = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))  # of each group of ties
    out = np.empty(len(unit_weights))
    step = max(1, _VALUES_AT_ONCE // s.size)
    for start in range(0, len(out), step):
        w = unit_weights[start : start + step][:, unit]
        positive = np.add.reduceat(w * y, first, axis=1)
        negative = np.add.reduceat(w * (1 - y), first, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        won = (positive * (below + 0.5 * negative)).sum(axis=1)
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        out[start : start + step] = np.divide(won, pairs, out=np.full(len(w), np.nan), where=pairs > 0)
    return out


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
