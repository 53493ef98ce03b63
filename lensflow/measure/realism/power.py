"""Which difference would this comparison have seen? Simulated for its own numbers of lenses, injections and features.

Gaussian features, one of them shifted by delta standard deviations in real lenses; a ridge classifier in the place of
the logistic regression, whose areas are the same to a hundredth and whose fits are one linear system each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lensflow import rng
from lensflow.measure.realism.samples import Floats
from lensflow.stats.matched import areas_within

# Shifts that are tried, standard deviations.
DELTAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)
LEVEL, POWER = 0.05, 0.8
_SKIES = 300


@dataclass(frozen=True)
class Power:
    """What a probe of this size can see.

    Attributes
    ----------
    n_real, n_injected, n_features : int
    null_sd : float
        Standard deviation of the probe's area where nothing differs.
    smallest_delta : float
        Smallest shift of one feature, in standard deviations, that is seen with 80 % power at 5 %; infinite where
        none of those tried is.
    true_auc : float
        Area of a classifier that knows this feature.
    read_auc : float
        Area that the probe reads there, on average: smaller, the more features there are.
    delta, power, read : tuple of float
        The shifts tried, the share of skies in which each was seen, and the mean areas.
    """

    n_real: int
    n_injected: int
    n_features: int
    null_sd: float
    smallest_delta: float
    true_auc: float
    read_auc: float
    delta: tuple[float, ...]
    power: tuple[float, ...]
    read: tuple[float, ...]

    @property
    def sentence(self) -> str:
        """The smallest difference that would have been seen."""
        size = f"{self.n_real} lenses against {self.n_injected:,} injections in {self.n_features} features"
        if not math.isfinite(self.smallest_delta):
            return f"{size} would not have shown even a shift of {self.delta[-1]:g} standard deviations of one feature"
        return (
            f"{size} would have shown a shift of one feature by {self.smallest_delta:.2f} standard deviations (80 % "
            f"power at 5 %): a true AUC of {self.true_auc:.2f}, which the probe reads as {self.read_auc:.2f}"
        )


def power(n_real: int, n_injected: int, n_features: int, folds: int, seed: int, skies: int = _SKIES) -> Power:
    """Simulate the comparison for shifts of one feature.

    Parameters
    ----------
    n_real, n_injected, n_features : int
    folds : int
    seed : int
    skies : int
        Simulated comparisons of each shift.

    Returns
    -------
    Power
    """
    draws = rng.generator(seed, "realism.power")
    areas = np.empty((skies, 1 + len(DELTAS)))
    labels = np.repeat([True, False], [n_real, n_injected])
    shifts = np.array([0.0, *DELTAS])
    for sky in range(skies):
        x = draws.standard_normal((labels.size, n_features))
        fold = np.empty(labels.size, dtype=np.int64)
        for side in (labels, ~labels):
            fold[side] = draws.permutation(np.arange(int(side.sum())) % folds)
        areas[sky] = _areas(x, labels, fold, folds, shifts)
    null = areas[:, 0]
    # A smooth limit from the moments: the 95 % quantile of a few hundred areas would scatter more.
    limit = float(null.mean() + ndtri(1 - LEVEL) * null.std(ddof=1))
    seen, read = (areas[:, 1:] > limit).mean(axis=0), areas[:, 1:].mean(axis=0)
    smallest = _first_above(np.array(DELTAS), seen, POWER)
    return Power(
        n_real, n_injected, n_features, float(null.std(ddof=1)), smallest,
        float(ndtr(smallest / math.sqrt(2))), float(np.interp(smallest, DELTAS, read)),
        DELTAS, tuple(seen.tolist()), tuple(read.tolist()),
    )  # fmt: skip


def _areas(x: Floats, labels: NDArray[np.bool_], fold: NDArray[np.int64], folds: int, shifts: Floats) -> Floats:
    """Areas within folds for each shift of the first feature of real rows.

    A shift moves one column only, so the sums over rows are those of no shift and two terms more, linear and quadratic.
    """
    scores = np.empty((len(x), shifts.size))
    for k in range(folds):
        train, test = fold != k, fold == k
        real = labels[train]
        weight = np.where(real, 0.5 / real.mean(), 0.5 / (1 - real.mean()))
        target = np.where(real, 1.0, -1.0)
        centre = x[train].mean(axis=0)
        own, moved = x[train] - centre, real - real.mean()
        # As much shrinkage as C = 1 of the logistic regression, whose curvature at 0 is a quarter.
        curved = (own * weight[:, None]).T @ own + 4.0 * np.eye(x.shape[1])
        left = np.repeat(curved[None], shifts.size, axis=0)
        cross = (weight * moved) @ own
        left[:, 0, :] += shifts[:, None] * cross
        left[:, :, 0] += shifts[:, None] * cross
        left[:, 0, 0] += shifts**2 * (weight @ moved**2)
        right = np.repeat(((weight * target) @ own)[None], shifts.size, axis=0)
        right[:, 0] += shifts * (weight @ (target * moved))
        coef = np.linalg.solve(left, right[..., None])[..., 0]
        scores[test] = (x[test] - centre) @ coef.T + np.outer(labels[test] - real.mean(), shifts * coef[:, 0])
    tests = [np.flatnonzero(fold == k) for k in range(folds)]
    return areas_within(np.repeat(labels[:, None], shifts.size, axis=1), scores, tests)


def _first_above(x: Floats, y: Floats, level: float) -> float:
    """Where y first rises to a level, between the points that are there; infinite where it never does."""
    above = np.flatnonzero(y >= level)
    if not above.size:
        return math.inf
    k = int(above[0])
    if k == 0:
        return float(x[0])
    return float(x[k - 1] + (x[k] - x[k - 1]) * (level - y[k - 1]) / (y[k] - y[k - 1]))
