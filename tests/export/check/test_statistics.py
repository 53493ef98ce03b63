"""Tests of order and shares: what they say of sound exports, and of those whose order knows the class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lensflow.export.check.bits import none_stands_out
from lensflow.export.check.statistics import MAX_CHANCE_AUC, area, association, rank_test, rank_test_by_host, runs_test


@pytest.mark.parametrize("n", [3, 109, 1000])
def test_equal_ranks_tell_nothing_whatever_their_number(n):
    """All samples in one file: the number of the file is one number, and rounding must not make it a finding."""
    y, host, one = np.arange(n) < n // 2 + 1, np.arange(n) // 4, np.zeros(n, np.int64)
    assert rank_test(y, one, one) == rank_test_by_host(y, one, one, host) == 1.0


def an_export(draw, sorted_by=None):
    """Hosts with one to four stamps and one control each, whole in files of forty samples, shuffled within."""
    count = draw.integers(1, 5, 120)
    host = np.repeat(np.arange(120), count + 1)
    y = np.concatenate([np.r_[np.ones(n, bool), False] for n in count])
    file = draw.permutation(np.arange(120) % 8)[host]
    order = np.lexsort((draw.random(len(y)) if sorted_by is None else sorted_by(y, host), file))
    return y[order], host[order], file[order]


TESTS = {
    "within hosts": lambda y, host, file: rank_test(y, np.arange(len(y)), host),
    "between hosts": lambda y, host, file: rank_test_by_host(y, np.arange(len(y)), np.zeros(len(y)), host),
    "runs": lambda y, host, file: runs_test(y, file, host, 0),
    "files": lambda y, host, file: association(y, file, host, np.zeros(len(y))),
}


# Two hundred shuffles for each of many exports: 10 s.
@pytest.mark.train
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "runs" else n for n in TESTS])
def test_sound_exports_reach_a_small_probability_as_often_as_it_says(name):
    """Hosts of unequal numbers of stamps, whole in files: what samples taken for independent would get wrong."""
    draw = np.random.default_rng(4)
    found = np.array([TESTS[name](*an_export(draw)) for _ in range(200)])
    # 200 draws: 10 below 0.05 are expected; chance gives more than 20 in 0.2 % of cases.
    assert (found < 0.05).sum() <= 20 and found.min() > 1e-4


@pytest.mark.parametrize(
    ("name", "sorted_by"),
    [
        ("within hosts", lambda y, host: y),
        ("between hosts", lambda y, host: y),
        ("runs", lambda y, host: y),
    ],
)
def test_an_order_that_knows_the_class_is_noticed(name, sorted_by):
    y, host, file = an_export(np.random.default_rng(5), sorted_by)
    if name in ("within hosts", "between hosts"):
        order = np.argsort(y, kind="stable")
        y, host, file = y[order], host[order], file[order]
    assert TESTS[name](y, host, file) < 1e-4


def test_classes_that_take_turns_are_noticed_by_their_runs_alone():
    """Every second sample is a positive, hosts lie anywhere: no place is more a positive's than another."""
    draw = np.random.default_rng(8)
    y, host = np.tile([True, False], 100), np.empty(200, int)
    host[y], host[~y] = draw.permutation(100), draw.permutation(100)
    one = np.zeros(200, int)
    assert runs_test(y, one, host, 0) < 1e-10
    assert TESTS["within hosts"](y, host, one) > 1e-3


def test_a_group_that_only_one_class_has_is_noticed_and_a_single_sample_is_not():
    draw = np.random.default_rng(6)
    y, host, _ = an_export(draw)
    where = np.zeros(len(y))
    assert association(y, np.where(y, draw.integers(0, 2, len(y)), 3), host, where) < 1e-4
    alone = np.zeros(len(y), int)
    alone[np.flatnonzero(y)[0]] = 1
    assert association(y, alone, host, where) > 1e-3


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, 4.0])), min_size=4, max_size=40
    )
)
def test_the_area_is_that_of_weighted_samples(rows):
    y, score, weight = (np.array(v) for v in zip(*rows, strict=True))
    if not 0 < y.sum() < len(y):
        return
    found = area("test", y, score, np.arange(len(y)), weight, 0).found
    assert found.value == pytest.approx(roc_auc_score(y, score, sample_weight=weight), abs=1e-12)


def test_what_chance_makes_of_all_samples_passes_nearer_to_its_limit_and_what_fails_is_the_same():
    draw, y = np.random.default_rng(3), np.repeat([True, False], 1000)
    host = np.arange(2000) % 1000
    noise = draw.normal(size=2000)
    for shift, plain, by_chance in ((0.12, "INCONCLUSIVE", "PASS"), (0.3, "FAIL", "FAIL"), (-0.3, "FAIL", "FAIL")):
        score = noise + shift * y
        strict, wide = (area("a", y, score, host, np.ones(2000), 0, passes=p) for p in (None, MAX_CHANCE_AUC))
        assert (strict.verdict, wide.verdict) == (plain, by_chance) and strict.found == wide.found
    few = area("a", y[900:1100], noise[900:1100], host[900:1100], np.ones(200), 0, passes=MAX_CHANCE_AUC)
    assert few.verdict == "INCONCLUSIVE"


def test_images_that_stand_out_are_judged_by_the_strict_limit():
    shares = np.random.default_rng(4).normal([0.04, 0.04, 0.004, 0.004, 0, 0, 1], 1e-3, (300, 3, 7))
    assert set(none_stands_out(shares)) == {"lattice", "trailing zero bits"}
    for column, left in ((0, "trailing zero bits"), (1, "trailing zero bits"), (2, "lattice"), (3, "lattice")):
        one = shares.copy()
        one[7, 1, column] = 0.3
        assert none_stands_out(one) == (left,)
    shares[5, 2] = np.nan
    assert len(none_stands_out(shares)) == 2
