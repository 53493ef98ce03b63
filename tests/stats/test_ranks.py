"""Correlations of ranks beside scipy's, and where there are none."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from lensflow.stats.ranks import rank_correlations


def test_they_are_those_of_scipy_over_the_rows_where_both_are_finite():
    gen = np.random.default_rng(0)
    x, y = gen.normal(size=(2, 400))
    gap, few = np.round(x + y, 1), np.full(400, np.nan)
    gap[:50], gap[50:100], few[:5] = np.nan, np.inf, x[:5]
    matrix = rank_correlations({"x": x, "exp": np.exp(x), "y": y, "gap": -gap, "one": np.ones(400), "few": few}, 12)
    assert matrix[0, 1] == pytest.approx(1)
    assert matrix[0, 2] == pytest.approx(spearmanr(x, y).statistic)
    assert matrix[2, 3] == pytest.approx(spearmanr(y[100:], -gap[100:]).statistic)
    assert np.isnan(matrix[0, [4, 5]]).all()
