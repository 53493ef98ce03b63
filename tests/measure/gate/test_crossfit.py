"""Out-of-fold scores against scikit-learn's, fold by fold."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lensflow import rng
from lensflow.errors import GateError
from lensflow.measure.gate import controls
from lensflow.measure.gate.crossfit import TOLERANCE, CrossFit, Linear
from lensflow.measure.gate.logistic import LogisticRegression
from lensflow.measure.gate.machine import Machine, host_folds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def pairs(n_hosts=60, per_host=4, p=12, shift=0.6, seed=0):
    draw = np.random.default_rng(seed)
    hosts = np.repeat(np.arange(n_hosts), per_host)
    ctrl = (draw.normal(size=(n_hosts, p)) @ draw.normal(size=(p, p)) * np.geomspace(0.01, 100, p))[hosts]
    stamp = ctrl + (shift + draw.normal(size=ctrl.shape)) * np.geomspace(0.01, 100, p)
    return hosts, stamp, ctrl


def fold_by_fold(model, folds, stamp, ctrl, straight):
    first, second = np.where(straight[:, None], stamp, ctrl), np.where(straight[:, None], ctrl, stamp)
    out = np.empty((2, len(stamp)))
    for train, test in folds:
        fitted = Pipeline([("scale", StandardScaler()), ("lr", model)])
        fitted.fit(np.concatenate([first[train], second[train]]), np.arange(2 * len(train)) < len(train))
        out[0, test], out[1, test] = fitted.decision_function(stamp[test]), fitted.decision_function(ctrl[test])
    return out


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_scores_are_those_of_a_scaler_and_a_converged_regression_in_each_fold(c, swapped):
    hosts, stamp, ctrl = pairs()
    folds = host_folds(hosts, 5, seed=2)
    straight = np.random.default_rng(1).random(len(stamp)) < 0.5 if swapped else np.ones(len(stamp), bool)
    found = np.array(CrossFit.of(stamp, ctrl, folds, c).scores(straight))
    theirs = Reference(solver="newton-cholesky", C=c, tol=1e-14, max_iter=500)
    np.testing.assert_allclose(found, fold_by_fold(theirs, folds, stamp, ctrl, straight), atol=1e-6)
    np.testing.assert_allclose(found, fold_by_fold(LogisticRegression(c), folds, stamp, ctrl, straight), atol=1e-6)


def test_rows_with_the_same_features_are_one_with_a_weight_whatever_their_class():
    hosts, stamp, ctrl = pairs()
    stamp[::3] = ctrl[::3]  # nothing was put in: the same features in both classes
    folds = host_folds(hosts, 5, seed=2)
    fit = CrossFit.of(stamp, ctrl, folds, 1.0)
    different = len(np.unique(np.concatenate([stamp, ctrl]), axis=0))
    assert sum(map(len, fit.blocks)) == different < 1.2 * len(stamp)
    assert sum(w.sum() for w in fit.weights) == 2 * len(stamp)
    theirs = Reference(solver="newton-cholesky", C=1.0, tol=1e-14, max_iter=500)
    for straight in (np.ones(len(stamp), bool), np.random.default_rng(1).random(len(stamp)) < 0.5):
        found = np.array(fit.scores(straight))
        np.testing.assert_allclose(found, fold_by_fold(theirs, folds, stamp, ctrl, straight), atol=1e-6)
    for rows, difference in zip(fit.test, fit.differences(), strict=True):
        assert not difference[rows % 3 == 0].any() and difference[rows % 3 > 0].any(axis=1).all()


@pytest.mark.parametrize("c", [1e-3, 1.0, 1e4])
def test_swaps_fitted_together_score_as_each_alone(c):
    hosts, stamp, ctrl = pairs()
    draw = np.random.default_rng(3)
    fit = CrossFit.of(stamp, ctrl, host_folds(hosts, 5, seed=2), c)
    swaps = draw.random((4, len(stamp))) < 0.5
    together = fit.scores_of_swaps(swaps)
    for swap, scores in zip(swaps, together, strict=True):
        np.testing.assert_allclose(scores, np.array(fit.scores(swap)), atol=1e-6)


@pytest.mark.parametrize(("c", "near"), [(1e-3, True), (1.0, True), (1e6, False)])
def test_folds_fitted_together_score_as_each_alone_or_are_left_to_it(c, near):
    hosts, stamp, ctrl = pairs(n_hosts=300 if near else 20, shift=0.2 if near else 3.0)
    folds, every = host_folds(hosts, 5, seed=2), np.ones(len(stamp), bool)
    with pytest.MonkeyPatch.context() as patch:
        found = []
        own = CrossFit._fit_folds
        patch.setattr(CrossFit, "_fit_folds", lambda self, *given: found.append(own(self, *given)) or found[-1])
        together = np.array(CrossFit.of(stamp, ctrl, folds, c).scores(every))
        patch.setattr(CrossFit, "_fit_folds", lambda self, *given: None)
        alone = np.array(CrossFit.of(stamp, ctrl, folds, c).scores(every))
    assert (found[0] is not None) == near
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_labels_that_say_much_leave_the_shared_hessian_and_are_still_fitted_exactly():
    hosts, stamp, ctrl = pairs(shift=4.0)
    fit = CrossFit.of(stamp, ctrl, host_folds(hosts, 5, seed=2), 100.0)
    swaps = np.ones((2, len(stamp)), dtype=bool)
    swaps[1, ::9] = False
    for swap, scores in zip(swaps, fit.scores_of_swaps(swaps), strict=True):
        np.testing.assert_allclose(scores, np.array(fit.scores(swap)), rtol=1e-5)


def test_constant_features_even_within_one_folds_training_rows_are_harmless():
    hosts, stamp, ctrl = pairs()
    folds = host_folds(hosts, 5, seed=2)
    for values in (stamp, ctrl):
        values[:, 3] = 1e4
        values[:, 5] = 7.0
        values[folds[0][1], 5] = 9.0  # constant for the model of fold 0 alone
    everyone = np.ones(len(stamp), bool)
    found = np.array(CrossFit.of(stamp, ctrl, folds, 1.0).scores(everyone))
    theirs = Reference(solver="newton-cholesky", tol=1e-14, max_iter=500)
    np.testing.assert_allclose(found, fold_by_fold(theirs, folds, stamp, ctrl, everyone), atol=1e-6)


def test_the_fit_of_all_rows_is_that_of_the_standardised_features():
    hosts, stamp, ctrl = pairs()
    fit = CrossFit.of(stamp, ctrl, host_folds(hosts, 5, 1), 1.0)
    both = np.concatenate([stamp, ctrl])
    expected = LogisticRegression().fit(StandardScaler().fit_transform(both), np.arange(len(both)) < len(stamp))
    np.testing.assert_allclose(fit.whole.theta[:-1], expected.coef_[0], atol=1e-6)
    assert fit.whole.gradient_norm < TOLERANCE


def test_a_fold_that_trains_on_a_part_of_another_is_refused():
    hosts, stamp, ctrl = pairs()
    folds = host_folds(hosts, 3, 1)
    with pytest.raises(GateError, match="part of another"):
        CrossFit.of(stamp, ctrl, [(folds[0][0][1:], folds[0][1]), *folds[1:]], 1.0)


@pytest.mark.parametrize("few", [True, False])
def test_the_permutation_test_is_that_of_one_newton_step_for_each_swap(monkeypatch, few):
    # By hand: for each swap and fold the step from 0 with the labels' own gradient, then the mean difference of scores.
    hosts, stamp, ctrl = pairs(n_hosts=20, per_host=3, p=6, shift=0.05)
    machine = Machine(hosts, host_folds(hosts, 5, seed=2), Linear(1.0), 10, 3)
    fit = machine.crossfit(stamp, ctrl)
    monkeypatch.setattr(controls, "PERMUTATIONS", 30)
    monkeypatch.setattr(controls, "_few", lambda *sizes: few)
    found = controls.permutation_test(machine, fit)
    draws = rng.generator(3, "gates.core.permutation").integers(0, 2, (20, 30)) * 2.0 - 1
    signs = np.concatenate([np.ones((20, 1)), draws], axis=1)[hosts]
    difference = np.empty(stamp.shape)
    for rows, own in zip(fit.test, fit.differences(), strict=True):
        difference[rows] = own
    statistic = np.zeros(31)
    for fold, rows in enumerate(fit.test):
        others = np.setdiff1d(np.arange(len(stamp)), rows)
        for k in range(31):
            slope = np.append(0.5 * signs[others, k] @ difference[others], 0.0)
            step = np.linalg.solve(fit.curvature_at_zero(fold), slope)[:-1]
            statistic[k] += (signs[rows, k] * (difference[rows] @ step)).sum()
    assert found["statistic"] == pytest.approx(statistic[0] / len(stamp), rel=1e-9)
    assert found["swapped_p95"] == pytest.approx(np.quantile(statistic[1:], 0.95) / len(stamp), rel=1e-9)
    assert found["n_as_large"] == (statistic[1:] >= statistic[0]).sum()


def test_hosts_are_solved_for_where_they_are_fewer_than_what_the_swaps_cost():
    assert controls._few(74, 588, 2000)
    assert not controls._few(700, 588, 2000)
    assert not controls._few(74, 24, 2000)
