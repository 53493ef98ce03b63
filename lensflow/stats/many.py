"""Logistic regressions of many sets of labels on the same few features, all at once.

A permutation test fits thousands of labellings of the same rows. Their margins, gradients and Hessians are products
with the same matrix of features, so a step of all of them costs a few matrix products.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from lensflow.stats.newton import Floats, Sums, minimise, sums_of

# Sets of labels that are fitted together, so that their Hessians take at most so many values.
_VALUES_AT_ONCE = 4_000_000
# Full Newton steps from 0 nearly always do; where they do not, the solver with halved steps takes over.
_STEPS = 20


def fit_many(
    x: ArrayLike, labels: ArrayLike, weights: ArrayLike, penalty: float, tol: float = 1e-9, max_iter: int = 200
) -> Floats:
    """Fit L2-penalised logistic regressions that differ in labels and weights only.

    Each minimises ``sum(weight * log loss) + penalty * ||coef||^2 / 2`` with a free intercept, as
    :class:`lensflow.measure.gate.LogisticRegression` does with ``C = 1 / penalty``.

    Parameters
    ----------
    x : array_like, shape (n, p)
        Features; p of at most a few hundred.
    labels : array_like of bool, shape (n, k)
    weights : array_like, shape (n, k)
        >= 0.
    penalty : float
        > 0.
    tol : float
        Aim for the largest component of the gradient of the mean loss, and for the Newton decrement.
    max_iter : int
        Steps at most.

    Returns
    -------
    ndarray, shape (p + 1, k)
        Coefficients, then intercept.

    Raises
    ------
    ConvergenceError
        If a fit does not converge.
    """
    features, y, w = (np.asarray(v, dtype=np.float64) for v in (x, labels, weights))
    rows = np.column_stack([features, np.ones(len(features))])
    q, k = rows.shape[1], y.shape[1]
    upper = np.triu_indices(q)
    products = rows[:, upper[0]] * rows[:, upper[1]]
    out = np.empty((q, k))
    step = max(1, _VALUES_AT_ONCE // (q * q + 4 * len(rows)))
    for first in range(0, k, step):
        some = slice(first, min(first + step, k))
        out[:, some] = _fitted(rows, products, upper, y[:, some], w[:, some], penalty, tol)
    for lane in np.flatnonzero(np.isnan(out).any(axis=0)):
        own = partial(_sums_of, features, y[:, lane], w[:, lane])
        out[:, lane] = minimise(own, np.full(q - 1, penalty), np.zeros(q), tol=tol, max_iter=max_iter).theta
    return out


def _sums_of(x: Floats, y: Floats, weight: Floats, theta: Floats, hessian: bool) -> Sums:
    return sums_of(x, y, weight, theta, hessian)


def _fitted(
    rows: Floats,
    products: Floats,
    upper: tuple[NDArray[np.int64], ...],
    y: Floats,
    w: Floats,
    penalty: float,
    tol: float,
) -> Floats:
    """Newton's method for all columns; NaN where it does not converge."""
    q, k = rows.shape[1], y.shape[1]
    ridge = np.append(np.full(q - 1, penalty), 0.0)
    total = w.sum(axis=0)
    out = np.full((q, k), np.nan)
    theta, left = np.zeros((q, k)), np.arange(k)
    for _ in range(_STEPS):
        chance = expit(rows @ theta)
        slope = rows.T @ ((chance - y[:, left]) * w[:, left]) + ridge[:, None] * theta
        hessian = np.empty((len(left), q, q))
        flat = (products.T @ (chance * (1 - chance) * w[:, left])).T
        hessian[:, upper[0], upper[1]] = flat
        hessian[:, upper[1], upper[0]] = flat
        hessian[:, np.arange(q), np.arange(q)] += ridge
        try:
            move = -np.linalg.solve(hessian, slope.T[..., None])[..., 0].T
        except np.linalg.LinAlgError:  # all margins of one run away; which one, the other solver finds out
            return out
        decrement = np.sqrt(np.maximum(-(slope * move).sum(axis=0) / total[left], 0.0))
        done = (np.abs(slope).max(axis=0) / total[left] <= tol) & (decrement <= tol)
        out[:, left[done]] = theta[:, done]
        keep = ~done & np.isfinite(move).all(axis=0)
        theta, left = (theta + move)[:, keep], left[keep]
        if left.size == 0:
            break
    return out
