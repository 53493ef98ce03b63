"""Fit a logistic regression to recovered rows: penalty by cross-validation over hosts, intervals by draws of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from lensflow import rng
from lensflow.stats.hostsums import Floats, drawn_units, host_weights
from lensflow.stats.newton import Solution, Sums, minimise, sums_of

DRAWS = 100
# Inverse strengths of the penalty, as scikit-learn's C.
STRENGTHS = (100.0, 10.0, 1.0, 0.1)
FOLDS = 5
TOLERANCE, MAX_ITERATIONS = 1e-5, 200
# Of the mean gradient, times the root of the number of rows: a hundredth of its own scatter.
_DRAWN_TOLERANCE = 0.005
# Steps of all draws together; the few that then are not at their optimum are fitted one by one.
_STEPS_TOGETHER = 5
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a fit.

    Attributes
    ----------
    x : ndarray of float64, shape (n, p)
        Standardised columns.
    y : ndarray of float64, shape (n,)
        1 for recovered rows.
    unit : ndarray of int64, shape (n,)
        What is drawn, from 0 on: the host, or the group of hosts that it is in.
    """

    x: Floats
    y: Floats
    unit: NDArray[np.int64]

    @classmethod
    def of(cls, x: Floats, y: ArrayLike, host: NDArray[np.int64]) -> Rows:
        """Take rows with their hosts; beyond 1,024 hosts, whole hosts are drawn in groups.

        Parameters
        ----------
        x : ndarray, shape (n, p)
        y : array_like of bool, shape (n,)
        host : ndarray of int64, shape (n,)

        Returns
        -------
        Rows
        """
        return cls(np.ascontiguousarray(x), np.asarray(y, dtype=np.float64), drawn_units(host)[0])

    @property
    def n_units(self) -> int:
        """How many there are to draw from."""
        return int(self.unit.max()) + 1

    def chances(self, theta: Floats) -> Floats:
        """Chance of each row under coefficients and intercept."""
        return np.asarray(expit(self.x @ theta[:-1] + theta[-1]))

    def some(self, which: NDArray[np.bool_]) -> Rows:
        """Those rows only."""
        return Rows(self.x[which], self.y[which], self.unit[which])


def choose_strength(rows: Rows, seed: int) -> float:
    """Inverse strength of the penalty with the smallest log loss on hosts that a fit has not seen.

    Parameters
    ----------
    rows : Rows
    seed : int
        Of the folds.

    Returns
    -------
    float
        Of several that are equally good, the strongest.
    """
    fold = rng.generator(seed, "completeness.smooth.folds").permutation(rows.n_units)[rows.unit] % FOLDS
    parts = [(rows.some(fold != k), rows.some(fold == k)) for k in range(min(FOLDS, rows.n_units))]
    losses = []
    theta = np.zeros(rows.x.shape[1] + 1)
    for strength in sorted(STRENGTHS):
        whole = fit(rows, strength, theta)
        theta, loss = whole.theta, 0.0
        for train, held in parts:
            # Near the fit of all rows: few steps with one Hessian.
            part = fit(train, strength, theta)
            loss += sums_of(held.x, held.y, None, part.theta, False).loss
        losses.append(loss)
    return float(sorted(STRENGTHS)[int(np.argmin(losses))])


def fit(rows: Rows, strength: float, start: Floats | None = None, weight: Floats | None = None) -> Solution:
    """Fit the model.

    Parameters
    ----------
    rows : Rows
    strength : float
        Inverse strength of the penalty.
    start : ndarray, shape (p + 1,), optional
        Coefficients, then intercept.
    weight : ndarray, shape (n,), optional
        Of the rows.

    Returns
    -------
    Solution
    """
    p = rows.x.shape[1]
    first = np.zeros(p + 1) if start is None else start

    def sums(theta: Floats, hessian: bool) -> Sums:
        return sums_of(rows.x, rows.y, weight, theta, hessian)

    return minimise(
        sums, np.full(p, 1 / strength), first, tol=TOLERANCE, max_iter=MAX_ITERATIONS, who="smooth selection function"
    )


@dataclass(frozen=True, eq=False)
class Drawn:
    """Fits of draws of hosts.

    Attributes
    ----------
    thetas : ndarray, shape (draws, p + 1)
    weights : ndarray, shape (draws, units)
        How often each draw has each unit.
    """

    thetas: Floats
    weights: Floats

    @cached_property
    def of_unit(self) -> Floats:
        """The weights, (units, draws)."""
        return np.ascontiguousarray(self.weights.T)

    def excesses(self, rows: Rows, part: slice) -> Floats:
        """Weighted chance less label of some rows in each draw, under its own fit.

        Parameters
        ----------
        rows : Rows
        part : slice
            Which.

        Returns
        -------
        ndarray, shape (rows, draws)
        """
        chance = expit(rows.x[part] @ self.thetas[:, :-1].T + self.thetas[:, -1])
        return np.asarray((chance - rows.y[part, None]) * self.of_unit[rows.unit[part]])


def drawn_fits(
    rows: Rows, strength: float, theta: Floats, seed: int, count: int = DRAWS, tolerance: float = _DRAWN_TOLERANCE
) -> Drawn:
    """Fit draws of hosts, all at once.

    Parameters
    ----------
    rows : Rows
    strength : float
        Inverse strength of the penalty.
    theta : ndarray, shape (p + 1,)
        The fit of all rows, where every draw's begins.
    seed : int
        Of the draws.
    count : int
        Draws.
    tolerance : float
        Aim for the largest component of a mean gradient, times the root of the number of rows.

    Returns
    -------
    Drawn

    Notes
    -----
    The first step is Newton's with each draw's own Hessian, a weighted sum of the units'; the next ones keep it, and
    need the rows only for gradients. The few draws that are not at their optimum then are fitted one by one.
    """
    weights = host_weights(rows.n_units, count, seed, "completeness.smooth")
    ridge = np.append(np.full(rows.x.shape[1], 1 / strength), 0.0)
    hessians = np.tensordot(weights, _unit_hessians(rows, theta), 1) + np.diag(ridge + 1e-9)
    drawn = Drawn(np.tile(theta, (count, 1)), weights)
    root = np.sqrt(weights @ np.bincount(rows.unit).astype(np.float64))
    for step in range(_STEPS_TOGETHER + 1):
        slope = _gradients(rows, drawn) + ridge * drawn.thetas
        done = np.abs(slope).max(axis=1) <= tolerance * root
        if done.all() or step == _STEPS_TOGETHER:
            break
        drawn = Drawn(drawn.thetas - np.linalg.solve(hessians, slope[:, :, None])[:, :, 0], weights)
    for draw in np.flatnonzero(~done):
        drawn.thetas[draw] = fit(rows, strength, drawn.thetas[draw], weights[draw][rows.unit]).theta
    return drawn


def _unit_hessians(rows: Rows, theta: Floats) -> Floats:
    order = np.argsort(rows.unit, kind="stable")
    x = np.concatenate([rows.x[order], np.ones((len(order), 1))], axis=1)
    chance = rows.chances(theta)[order]
    x *= np.sqrt(chance * (1 - chance))[:, None]
    ends = np.searchsorted(rows.unit[order], np.arange(rows.n_units + 1))
    return np.stack([x[a:b].T @ x[a:b] for a, b in pairwise(ends)])


def _gradients(rows: Rows, drawn: Drawn) -> Floats:
    out = np.zeros(drawn.thetas.shape)
    for part in blocks(len(rows.y)):
        excess = drawn.excesses(rows, part)
        out[:, :-1] += excess.T @ rows.x[part]
        out[:, -1] += excess.sum(axis=0)
    return out


def blocks(n: int) -> list[slice]:
    """Rows that are worked on together.

    Parameters
    ----------
    n : int

    Returns
    -------
    list of slice
    """
    return [slice(first, min(first + _ROWS_AT_ONCE, n)) for first in range(0, n, _ROWS_AT_ONCE)]
