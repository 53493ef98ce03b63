"""Newton's method for L2-penalised logistic regression, from sums over blocks of rows.

The loss, its gradient and its Hessian are sums over rows, so all that a step needs of the data is one
:class:`Sums` per block, added up in float64. Who holds the blocks (one array, folds of a gate, Dask) does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from lensflow.errors import ConvergenceError

Floats = NDArray[np.float64]

# Rows that are weighted and multiplied together: their copy stays in the processor's cache.
ROWS_AT_ONCE = 2048
# Values of rows that are read twice in a row: half a megabyte.
CACHED_VALUES = 1 << 16
# A Hessian is kept while each step with it brings the decrement below this share of the last one's: a gradient
# costs a fraction of a Hessian, so several such steps are cheaper than one exact Newton step.
KEEP_BELOW = 0.5
SUFFICIENT_DECREASE = 1e-4
MAX_HALVINGS = 40
# A mean loss is known to about this much; smaller promised gains cannot be checked.
ROUNDING = 1e-14
# A squared decrement below this share of the aim: after the step there is nothing left for a Hessian to do.
LAST_STEP = 1e-2
SMALL_STEP = 1e-6
# Without a penalty a margin beyond this (a probability of 1 - 1e-13) is on its way to infinity.
SEPARATED = 30.0


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows at one parameter vector (coefficients, then intercept).

    Attributes
    ----------
    weight, loss : float
        Sums of the row weights and of the weighted logistic losses.
    gradient : ndarray, shape (p + 1,)
    hessian : ndarray, shape (p + 1, p + 1), or None
    reach : float
        Largest |margin| of a row.
    """

    weight: float
    loss: float
    gradient: Floats
    hessian: Floats | None
    reach: float

    def __add__(self, other: Sums) -> Sums:
        both = self.hessian is not None and other.hessian is not None
        return Sums(
            self.weight + other.weight,
            self.loss + other.loss,
            self.gradient + other.gradient,
            self.hessian + other.hessian if both else None,  # type: ignore[operator]
            max(self.reach, other.reach),
        )


def sums_of(x: Floats, y: Floats, weight: Floats | None, theta: Floats, hessian: bool) -> Sums:
    """Sums over the rows of one block.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    y : ndarray, shape (n,)
        1 for the positive class, 0 for the other; of several rows with the same features that are given as one, the
        share of the positives, with their number as weight.
    weight : ndarray, shape (n,), or None for ones
    theta : ndarray, shape (p + 1,)
    hessian : bool
        Whether the Hessian is wanted.
    """
    margin, slope = np.empty(len(y)), np.zeros(x.shape[1])
    chance, excess = np.empty(len(y)), np.empty(len(y))
    for rows in _passes(len(y), x.shape[1]):
        margin[rows] = x[rows] @ theta[:-1] + theta[-1]
        chance[rows] = expit(margin[rows])
        excess[rows] = chance[rows] - y[rows]
        if weight is not None:
            excess[rows] *= weight[rows]
        slope += x[rows].T @ excess[rows]
    loss = np.logaddexp(0, margin) - y * margin
    if weight is not None:
        loss = loss * weight
    curvature = None
    if hessian:
        bend = chance * (1 - chance)
        curvature = _curvature(x, bend if weight is None else bend * weight)
    return Sums(
        float(len(y) if weight is None else weight.sum()),
        float(loss.sum()),
        np.append(slope, excess.sum()),
        curvature,
        float(np.abs(margin).max(initial=0.0)),
    )


def slopes_of(x: Floats, ys: Floats, weight: Floats | None, thetas: Floats) -> Floats:
    """Gradients of the summed losses of labels (n, k), or one set (n, 1) for all, at parameters (p + 1, k)."""
    out = np.zeros(thetas.shape)
    for rows in _passes(len(x), x.shape[1]):
        excess = expit(x[rows] @ thetas[:-1] + thetas[-1]) - ys[rows]
        if weight is not None:
            excess *= weight[rows, None]
        out[:-1] += x[rows].T @ excess
        out[-1] += excess.sum(axis=0)
    return out


def _passes(n: int, p: int) -> Iterator[slice]:
    """Rows that are read twice, for their margins and for the gradient, while they are in the processor's cache."""
    step = max(64, CACHED_VALUES // max(p, 1))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def _curvature(x: Floats, bend: Floats) -> Floats:
    p = x.shape[1]
    out = np.empty((p + 1, p + 1))
    root = np.sqrt(bend)
    for first in range(0, max(len(x), 1), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        part = x[rows] * root[rows, None]
        if first:
            out[:p, :p] += part.T @ part
        else:
            out[:p, :p] = part.T @ part
    out[:p, p] = out[p, :p] = x.T @ bend
    out[p, p] = bend.sum()
    return out


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the minimiser stopped.

    Attributes
    ----------
    theta : ndarray, shape (p + 1,)
        Coefficients, then intercept.
    n_iter : int
        Steps taken.
    gradient_norm : float
        Largest component of the gradient of the mean penalised loss.
    """

    theta: Floats
    n_iter: int
    gradient_norm: float


def minimise(
    evaluate: Callable[[Floats, bool], Sums],
    penalty: Floats,
    start: Floats,
    *,
    tol: float,
    max_iter: int,
    hessian: Floats | None = None,
    dear_reads: bool = False,
    who: str = "logistic regression",
) -> Solution:
    """Minimise ``(sum of losses + sum(penalty * coefficients^2) / 2) / sum of weights``.

    Newton's method with step halving. A Hessian is used again while the steps that it gives shrink fast; the
    gradient is always exact, so the minimum is too. Where the Hessian is singular (rank-deficient features without a
    penalty) the step is the shortest one, and coefficients started at 0 end as those of the smallest norm.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(theta, hessian)`` gives the :class:`Sums` of all rows; it may give the Hessian unasked.
    penalty : ndarray, shape (p,)
        Of each squared coefficient, >= 0; 1 / C for all is scikit-learn's. The intercept has none.
    start : ndarray, shape (p + 1,)
    tol : float
        Stops when neither the gradient's largest component nor the Newton decrement, the weighted rms change of the
        margins that the next step would make, is above it.
    max_iter : int
    hessian : ndarray, optional
        Hessian of the summed losses near the start.
    dear_reads : bool
        Whether reading the rows costs more than a Hessian: then one is taken along with every gradient, except after
        the step that is small enough to be the last.
    who : str
        Named in errors.

    Raises
    ------
    ValueError
        If the rows' weights add up to nothing.
    ConvergenceError
        If ``max_iter`` steps do not suffice, no step goes down, or there is no minimum: the classes are separable
        and a coefficient has no penalty.
    """
    ridge, theta = np.append(penalty, 0.0), start
    at = evaluate(theta, hessian is None)
    if not at.weight > 0:
        raise ValueError(f"{who}: Sample weights must contain at least one non-zero number.")
    raw, fresh = (hessian, False) if hessian is not None else (at.hessian, True)
    solve = _solver(raw, ridge)
    last, n_iter = np.inf, 0
    while True:
        value = (at.loss + 0.5 * float(ridge @ theta**2)) / at.weight
        slope = at.gradient + ridge * theta
        size = float(np.abs(slope).max() / at.weight)
        if not np.isfinite(value + size):
            raise ConvergenceError(f"{who}: the loss is not finite after {n_iter} iterations; are the features?")
        if size <= tol and at.reach > SEPARATED and not penalty.all():
            raise ConvergenceError(
                f"{who}: some features separate the classes (a margin of {at.reach:.0f} and growing), so that without "
                "a penalty there is no finite optimum: give a finite C"
            )
        if at.hessian is not None and not fresh:
            solve, fresh = _solver(at.hessian, ridge), True
        step = -solve(slope)
        gain = max(-float(slope @ step) / at.weight, 0.0)
        decrement = np.sqrt(gain)
        small = np.linalg.norm(step) <= SMALL_STEP * (1 + np.linalg.norm(theta))
        if size <= tol and decrement <= tol and small:
            break
        if not fresh and decrement > KEEP_BELOW * last:
            at = evaluate(theta, True)
            continue
        if n_iter == max_iter:
            raise ConvergenceError(
                f"{who} did not converge in {max_iter} iterations (gradient {size:.1e}, aim {tol:g}): a smaller C or "
                "standardised features make it easier"
            )
        along = dear_reads and gain > LAST_STEP * tol
        taken = _search(evaluate, theta, step, ridge, value, gain, along, MAX_HALVINGS if fresh else 0)
        if taken is not None:
            (theta, at), last, fresh = taken, decrement, False
            n_iter += 1
        elif fresh:
            raise ConvergenceError(f"{who}: no step goes down (gradient {size:.1e}, aim {tol:g})")
        else:
            at = evaluate(theta, True)
    return Solution(theta, n_iter, size)


def minimise_together(
    slopes: Callable[[Floats], Floats],
    weights: Floats,
    penalties: Floats,
    hessians: Sequence[Floats],
    start: Floats,
    tol: float,
) -> Floats | None:
    """Minimise as :func:`minimise` for several sets of labels or of rows at once, all near where they start.

    Labels that say nothing leave the optimum near 0, where no label enters the Hessian; folds of the same rows have
    optima near that of all rows. A few steps with the Hessians of the start reach it, and the features are read once
    for all sets.

    Parameters
    ----------
    slopes : callable
        Gradients of the summed losses, (p + 1, count), at parameters of that shape.
    weights : ndarray, shape (count,)
        Sums of the rows' weights.
    penalties : ndarray, shape (p, count)
        > 0.
    hessians : sequence of ndarray, shape (p + 1, p + 1)
        Of the summed losses at the start, of each set; a single one serves all, and then all have one penalty.
    start : ndarray, shape (p + 1, count)
    tol : float
        As for :func:`minimise`.

    Returns
    -------
    ndarray, shape (p + 1, count), or None
        None where steps with these Hessians do not shrink fast in every set: fit one by one then.
    """
    ridge, thetas = np.vstack([penalties, np.zeros(len(weights))]), start
    solvers = [_solver(h, ridge[:, k]) for k, h in enumerate(hessians)]
    last = np.full(len(weights), np.inf)
    while True:
        slope = slopes(thetas) + ridge * thetas
        if len(solvers) == 1:
            step = -solvers[0](slope)
        else:
            step = -np.stack([solve(s) for solve, s in zip(solvers, slope.T, strict=True)], axis=1)
        decrement = np.sqrt(np.maximum(-(slope * step).sum(axis=0) / weights, 0.0))
        small = np.linalg.norm(step, axis=0) <= SMALL_STEP * (1 + np.linalg.norm(thetas, axis=0))
        if ((np.abs(slope).max(axis=0) / weights <= tol) & (decrement <= tol) & small).all():
            return thetas
        if not (decrement <= np.maximum(KEEP_BELOW * last, tol)).all():
            return None
        thetas, last = thetas + step, decrement


def _search(
    evaluate: Callable[[Floats, bool], Sums],
    theta: Floats,
    step: Floats,
    ridge: Floats,
    value: float,
    gain: float,
    hessian: bool,
    halvings: int,
) -> tuple[Floats, Sums] | None:
    """Go the whole step, or half of it, and so on, until the loss falls by a fair share of what the slope promises."""
    for length in 0.5 ** np.arange(halvings + 1):
        trial = theta + length * step
        at = evaluate(trial, hessian)
        found = (at.loss + 0.5 * float(ridge @ trial**2)) / at.weight
        if found <= value - SUFFICIENT_DECREASE * length * gain + ROUNDING * max(1.0, abs(value)):
            return trial, at
    return None


def _solver(hessian: Floats | None, ridge: Floats) -> Callable[[Floats], Floats]:
    """Solver for one right side (p + 1,), or several (p + 1, k)."""
    matrix = np.array(hessian)
    matrix[np.diag_indices_from(matrix)] += ridge
    # Scaled to a unit diagonal, so that features of very different size do not look singular.
    size = np.sqrt(np.diag(matrix))
    size = np.where(size > 0, size, 1.0)
    matrix /= np.outer(size, size)
    try:
        factor = cho_factor(matrix, check_finite=False)
        if np.abs(np.diag(factor[0])).min() ** 2 > _negligible(matrix):
            return lambda slope: (cho_solve(factor, (slope.T / size).T, check_finite=False).T / size).T
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(matrix)
    kept = values > _negligible(matrix) * values[-1]
    directions, inverse = vectors[:, kept], 1 / values[kept]
    return lambda slope: ((directions @ (inverse * (directions.T @ (slope.T / size).T).T).T).T / size).T


def _negligible(matrix: Floats) -> float:
    return 10 * len(matrix) * float(np.finfo(np.float64).eps)
