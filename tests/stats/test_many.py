"""Many logistic regressions at once are the ones that are fitted one by one."""

import numpy as np
import pytest

from lensflow.measure.gate.logistic import LogisticRegression
from lensflow.stats.many import fit_many


def drawn(n=120, p=6, k=9, seed=0):
    draws = np.random.default_rng(seed)
    x = draws.normal(size=(n, p))
    labels = draws.random((n, k)) < 0.25 + 0.3 * (x[:, :1] > 0.5)
    weights = np.where(labels, 2.0, 0.6)
    return x, labels, weights


def test_each_is_the_exact_optimum_of_its_own_labels_and_weights():
    x, labels, weights = drawn()
    together = fit_many(x, labels, weights, 1 / 0.7)
    for k in range(labels.shape[1]):
        alone = LogisticRegression(C=0.7).fit(x, labels[:, k], sample_weight=weights[:, k])
        assert together[:-1, k] == pytest.approx(alone.coef_[0], abs=1e-7)
        assert together[-1, k] == pytest.approx(alone.intercept_[0], abs=1e-7)


def test_classes_that_a_feature_separates_are_fitted_too():
    x, labels, weights = drawn()
    x[:, 0] = 40.0 * labels[:, 0] + 0.01 * x[:, 0]
    found = fit_many(x, labels, weights, 1e-3)
    alone = LogisticRegression(C=1e3, tol=1e-9).fit(x, labels[:, 0], sample_weight=weights[:, 0])
    assert found[:-1, 0] == pytest.approx(alone.coef_[0], rel=1e-4, abs=1e-5)


def test_how_many_are_fitted_together_changes_nothing(monkeypatch):
    x, labels, weights = drawn(k=30)
    whole = fit_many(x, labels, weights, 1.0)
    monkeypatch.setattr("lensflow.stats.many._VALUES_AT_ONCE", 1)
    assert fit_many(x, labels, weights, 1.0) == pytest.approx(whole, abs=1e-8)


def test_a_fit_that_full_steps_do_not_reach_is_done_with_halved_ones(monkeypatch):
    x, labels, weights = drawn()
    expected = fit_many(x, labels, weights, 1.0)
    monkeypatch.setattr("lensflow.stats.many._STEPS", 1)
    assert fit_many(x, labels, weights, 1.0) == pytest.approx(expected, abs=1e-7)
