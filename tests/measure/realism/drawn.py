"""Drawn matched sets: Gaussian features, one real lens and its injections a set, with a planted difference."""

import numpy as np

from lensflow.config import RealismConfig
from lensflow.measure.realism.samples import MatchedRows

QUICK = RealismConfig(bootstrap=200, permutations=199)
NAMES = ("arc_snr", "arc_mag", "arc_gr", "arc_mu", "arc_radius", "knots")


def matched_rows(n=60, k=4, delta=0.0, seed=0, names=NAMES, feature=0, set_scatter=0.0):
    """Sets of one real lens and ``k`` injections; ``feature`` of real lenses is shifted by ``delta`` sd."""
    draws = np.random.default_rng(seed)
    sets, is_real = np.repeat(np.arange(n), k + 1), np.tile(np.arange(k + 1) == 0, n)
    x = draws.normal(size=(sets.size, len(names))) + set_scatter * draws.normal(size=(n, len(names)))[sets]
    x[is_real, feature] += delta
    return MatchedRows.of(names, x, is_real, sets)
