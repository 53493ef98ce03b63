"""Energy distance of the features of both sides: a check of the comparison that depends on no classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from lensflow import rng
from lensflow.config import RealismConfig
from lensflow.measure.realism.probe import filled
from lensflow.measure.realism.samples import Floats, MatchedRows
from lensflow.stats.matched import relabelled

# Distances of so many rows are held at once; of more, whole sets are drawn.
MOST_ROWS = 5000
_LABELLINGS_AT_ONCE = 500


@dataclass(frozen=True)
class Energy:
    """Energy distance of two samples.

    Attributes
    ----------
    value : float
        2 E|X - Y| - E|X - X'| - E|Y - Y'| of standardised features; 0 for equal distributions.
    null_mean, null_high : float
        Mean and 95 % quantile of the same with other rows of each set as the real one.
    p : float
        Share of relabellings within sets with a distance at least as large.
    n_rows, n_sets : int
    """

    value: float
    null_mean: float
    null_high: float
    p: float
    n_rows: int
    n_sets: int


def energy_distance(rows: MatchedRows, config: RealismConfig, seed: int, purpose: str = "realism.energy") -> Energy:
    """Measure the energy distance of real lenses and injections, with a p-value by relabelling within sets.

    Parameters
    ----------
    rows : MatchedRows
        Beyond ``MOST_ROWS`` rows, sets drawn at random are used.
    config : RealismConfig
        ``permutations``.
    seed, purpose
        Of the draws.

    References
    ----------
    Székely & Rizzo 2013, Journal of Statistical Planning and Inference 143, 1249.
    """
    some = _bounded(rows, seed, purpose)
    x = filled(some)[0]
    scale = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    apart = cdist(z, z)
    labels = np.column_stack(
        [some.is_real, relabelled(some.is_real, some.sets, config.permutations, seed, f"{purpose}.relabel")]
    )
    found = np.empty(labels.shape[1])
    for first in range(0, labels.shape[1], _LABELLINGS_AT_ONCE):
        lanes = slice(first, first + _LABELLINGS_AT_ONCE)
        found[lanes] = _distance(apart, labels[:, lanes].astype(np.float64))
    null = found[1:]
    p = float(1 + (null >= found[0] - 1e-12).sum()) / (1 + null.size)
    return Energy(float(found[0]), float(null.mean()), float(np.quantile(null, 0.95)), p, len(some.values), some.n_sets)


def _distance(apart: Floats, real: Floats) -> Floats:
    """Distances for several labellings: with weights w = real / n_real - other / n_other it is -w' D w."""
    w = real / real.sum(axis=0) - (1 - real) / (1 - real).sum(axis=0)
    return np.asarray(-(w * (apart @ w)).sum(axis=0))


def _bounded(rows: MatchedRows, seed: int, purpose: str) -> MatchedRows:
    if len(rows.values) <= MOST_ROWS:
        return rows
    every, count = np.unique(rows.sets, return_counts=True)
    order = np.argsort(rng.uniform(seed, every.astype(np.uint64), f"{purpose}.sets")[:, 0], kind="stable")
    return rows.of_sets(every[order[np.cumsum(count[order]) <= MOST_ROWS]])
