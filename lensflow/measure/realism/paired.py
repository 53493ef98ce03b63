"""Two comparisons with the same real lenses: how far their areas rise and fall together.

Arms of a sweep are held against one table of lenses. Which lenses a bootstrap draws moves the areas of both, and more
than the factor does; drawn alike in both, that part cancels in the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.measure.gate.machine import host_folds
from lensflow.stats.hostsums import correlation_of_draws, host_weights
from lensflow.stats.matched import weighted_areas

Floats = NDArray[np.float64]
# With fewer lenses in both, a correlation over draws says little.
FEWEST_SHARED = 10


@dataclass(frozen=True, eq=False)
class LensScores:
    """Rows of one comparison with their out-of-fold scores.

    Attributes
    ----------
    lens_id : ndarray of str, shape (row,)
        The real lens of each row's set.
    is_real : ndarray of bool, shape (row,)
    score : ndarray, shape (row,)
        Comparable within folds only.
    sets : ndarray of int, shape (row,)
    folds : int
    seed : int
        Of the folds.
    """

    lens_id: NDArray[np.str_]
    is_real: NDArray[np.bool_]
    score: Floats
    sets: NDArray[np.int64]
    folds: int
    seed: int

    @classmethod
    def of_tables(cls, tables: Mapping[str, xr.Dataset], folds: int, seed: int) -> LensScores | None:
        """Take what a comparison keeps: its tables ``scores`` and ``sets``; None where it has no probe.

        Parameters
        ----------
        tables : mapping of Dataset
        folds, seed : int
            Of the probe.
        """
        if "scores" not in tables or "sets" not in tables:
            return None
        scores, sets = tables["scores"], tables["sets"]
        number = scores["set"].values
        order = np.argsort(sets["number"].values)
        at = order[np.searchsorted(sets["number"].values[order], number)]
        return cls(
            sets["lens_id"].values.astype(str)[at], scores["is_real"].values.astype(bool), scores["score"].values,
            number, folds, seed,
        )  # fmt: skip

    def drawn(self, lenses: NDArray[np.str_], weights: Floats) -> Floats:
        """Area in draws of lenses, shape (draw,).

        Parameters
        ----------
        lenses : ndarray of str, shape (lens,)
            Sorted; all of this comparison's among them.
        weights : ndarray, shape (draw, lens)
            How often each is drawn.
        """
        every, first = np.unique(self.sets, return_index=True)
        of_set = weights[:, np.searchsorted(lenses, self.lens_id[first])]
        tests = [test for _, test in host_folds(self.sets, self.folds, self.seed)]
        return weighted_areas(self.is_real, self.score, self.sets, tests, of_set[:, np.argsort(every)])


def correlation_of_areas(one: LensScores | None, other: LensScores | None, count: int, seed: int) -> float | None:
    """Correlation of two areas over bootstrap draws of the real lenses of both.

    Parameters
    ----------
    one, other : LensScores or None
    count : int
        Draws.
    seed : int
        Of the draws.

    Returns
    -------
    float or None
        None where fewer than ``FEWEST_SHARED`` lenses are in both: take the areas as independent.
    """
    if one is None or other is None or len(np.intersect1d(one.lens_id, other.lens_id)) < FEWEST_SHARED:
        return None
    # A lens whose arc is visible beside one arm's injections alone is drawn, too, and counts in its own.
    lenses = np.union1d(one.lens_id, other.lens_id)
    weights = host_weights(lenses.size, count, seed, "realism.paired")
    return correlation_of_draws(one.drawn(lenses, weights), other.drawn(lenses, weights))
