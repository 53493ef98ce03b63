"""Rows in matched sets: relabelling keeps sets, areas compare within folds, copies of a set are not compared."""

import numpy as np
import pytest

from lensflow.stats.auc import host_bootstrap
from lensflow.stats.matched import areas_within, relabelled, set_bootstrap

SETS = np.array([3, 3, 3, 1, 1, 7, 7, 7, 7])
SPECIAL = np.array([1, 0, 0, 0, 1, 0, 1, 0, 0], dtype=bool)


def test_every_set_keeps_as_many_special_rows_and_each_row_is_it_equally_often():
    labels = relabelled(SPECIAL, SETS, 6000, 1, "test")
    for k in np.unique(SETS):
        own = k == SETS
        assert (labels[own].sum(axis=0) == 1).all()
        assert labels[own].mean(axis=1) == pytest.approx(np.full(own.sum(), 1 / own.sum()), abs=0.03)


def test_a_set_with_two_special_rows_keeps_two():
    special = np.array([1, 1, 0, 0, 1, 0], dtype=bool)
    labels = relabelled(special, [0, 0, 0, 0, 1, 1], 50, 1, "test")
    assert (labels[:4].sum(axis=0) == 2).all()
    assert (labels[4:].sum(axis=0) == 1).all()


def test_areas_are_counted_comparisons_with_ties_half():
    labels, scores = np.array([1, 0, 0, 1], dtype=bool), np.array([2.0, 1.0, 2.0, 0.5])
    # 2 > 1, 2 = 2, 0.5 < both.
    assert areas_within(labels[:, None], scores[:, None], [np.arange(4)])[0] == pytest.approx(1.5 / 4)


def test_rows_of_different_folds_are_not_compared():
    labels = np.array([1, 0, 1, 0], dtype=bool)[:, None]
    scores = np.array([1.0, 0.0, 101.0, 100.0])[:, None]
    folds = [np.array([0, 1]), np.array([2, 3])]
    assert areas_within(labels, scores, folds)[0] == 1.0
    assert areas_within(labels, scores, [np.arange(4)])[0] == 0.75


def test_the_bootstrap_scatters_as_that_of_hosts_does():
    draws = np.random.default_rng(2)
    sets = np.repeat(np.arange(60), 5)
    labels = np.tile([True, False, False, False, False], 60)
    scores = draws.normal(size=300) + 0.5 * labels + draws.normal(size=60)[sets]
    ours = set_bootstrap(labels, scores, sets, [np.arange(300)], 2000, 1, "test")
    _, theirs = host_bootstrap(labels, scores, sets, 2000, 1, "test")
    assert ours.mean() == pytest.approx(areas_within(labels[:, None], scores[:, None], [np.arange(300)])[0], abs=0.01)
    # Theirs leaves out comparisons within a set.
    assert ours.std() == pytest.approx(theirs.std(), rel=0.1)
