import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from lensflow.errors import GateError
from lensflow.stats import auc as module
from lensflow.stats.auc import host_bootstrap, roc_points, true_rates
from lensflow.stats.hostsums import host_weights


def area(labels, scores, hosts=None):
    """The area alone; each row is a host of its own unless told."""
    return host_bootstrap(labels, scores, np.arange(len(labels)) if hosts is None else hosts, 1, 1, "test")[0]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=60),
)
def test_area_of_rows_that_are_hosts_each_equals_scikit_learn_with_ties_and_weights(rows):
    labels, scores = (np.array(v) for v in zip(*rows, strict=True))
    found, draws = host_bootstrap(labels, scores, np.arange(len(labels)), 4, 5, "test")
    weights = [np.ones(len(labels)), *host_weights(len(labels), 4, 5, "test")]
    for value, w in zip([found, *draws], weights, strict=True):
        if w[labels].sum() == 0 or w[~labels].sum() == 0:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(labels, scores, sample_weight=w), abs=1e-12)


def test_ties_count_half():
    assert area([True, False], [1.0, 1.0]) == 0.5


def brute_force(labels, scores, weights, hosts):
    """Every pair of a row of one class and a row of the other, of different hosts."""
    i, j = np.meshgrid(np.flatnonzero(labels), np.flatnonzero(~labels), indexing="ij")
    pairs = weights[i] * weights[j] * (hosts[i] != hosts[j])
    won = pairs * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
    return won.sum() / pairs.sum() if pairs.sum() else np.nan


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=30),
)
def test_rows_of_one_host_are_not_compared(rows):
    labels, scores, hosts = (np.array(v) for v in zip(*rows, strict=True))
    unique, place = np.unique(hosts, return_inverse=True)
    found, draws = host_bootstrap(labels, scores, hosts, 5, 3, "test")
    for value, w in zip([found, *draws], [np.ones(unique.size), *host_weights(unique.size, 5, 3, "test")], strict=True):
        expected = brute_force(labels, scores, w[place], hosts)
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 4), st.sampled_from([0.05, 1.0, 8.0])),
        min_size=1,
        max_size=30,
    ),
)
def test_a_row_counts_as_often_as_its_weight_says(rows):
    labels, scores, hosts, weights = (np.array(v) for v in zip(*rows, strict=True))
    found, draws = host_bootstrap(labels, scores, hosts, 5, 3, "test", weights)
    unique, place = np.unique(hosts, return_inverse=True)
    for value, w in zip([found, *draws], [np.ones(unique.size), *host_weights(unique.size, 5, 3, "test")], strict=True):
        expected = brute_force(labels, scores, w[place] * weights, hosts)
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_host_bootstrap_repeats_whole_hosts_and_compares_none_with_itself():
    draw = np.random.default_rng(1)
    hosts = np.repeat(np.arange(8), 10)
    labels, scores = np.tile([True, False], 40), draw.normal(size=80).round(1)
    weights = module.host_weights(8, 20, 5, "test")
    found, draws = host_bootstrap(labels, scores, hosts * 3, 20, 5, "test")
    np.testing.assert_allclose(draws, [brute_force(labels, scores, w[hosts], hosts) for w in weights], rtol=1e-12)
    assert found == pytest.approx(brute_force(labels, scores, np.ones(80), hosts), rel=1e-12)


def test_draws_counted_together_equal_one_by_one_whatever_their_number():
    draw = np.random.default_rng(5)
    labels, scores = draw.random(120) < 0.5, draw.normal(size=120).round(1)
    hosts = draw.integers(0, 17, 120)
    for count in (1, 15, 16, 17, 33):
        drawn = host_bootstrap(labels, scores, hosts, count, 4, "boot")[1]
        weights = host_weights(17, count, 4, "boot")[:, np.unique(hosts, return_inverse=True)[1]]
        np.testing.assert_allclose(drawn, [brute_force(labels, scores, w, hosts) for w in weights], rtol=1e-12)


def test_a_few_hosts_with_the_same_shift_in_each_are_not_lifted_by_comparisons_within_them():
    # Hosts differ by far more than stamp and control do: only comparisons within a host could see the shift.
    hosts = np.repeat(np.arange(10), 2)
    labels = np.tile([True, False], 10)
    scores = 100.0 * hosts + labels
    assert area(labels, scores) == pytest.approx(0.55)
    assert area(labels, scores, hosts) == 0.5
    assert np.isnan(area([True, False], [1.0, 0.0], hosts=[7, 7]))


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(GateError, match="row 1 is not finite"):
        area([True, False], [1.0, np.nan])


def test_roc_points_run_from_0_0_to_1_1_and_are_few():
    draw = np.random.default_rng(2)
    labels = draw.random(5000) < 0.5
    scores = labels + draw.normal(size=5000)
    points = roc_points(labels, scores)
    assert len(points) <= 200
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(roc_auc_score(labels, scores), abs=2e-3)


def test_true_rates_are_those_of_scikit_learn_with_ties_and_drawn_hosts():
    draw = np.random.default_rng(3)
    labels = draw.random(300) < 0.5
    scores = (draw.normal(size=300) + labels).round(1)
    hosts = np.repeat(np.arange(30), 10)
    grid = np.linspace(0, 1, 23)
    found, draws = true_rates(labels, scores, hosts, grid, 5, 1, "roc")
    weights = host_weights(30, 5, 1, "roc")[:, hosts]
    for rates, w in zip([found, *draws], [np.ones(300), *weights], strict=True):
        false, true, _ = roc_curve(labels, scores, sample_weight=w, drop_intermediate=False)
        # At an upright piece numpy takes either end: it is compared just beside.
        np.testing.assert_allclose(rates[1:-1], np.interp(grid[1:-1] + 1e-9, false, true), atol=1e-6)
        assert rates[0] == true[false == 0].max() and rates[-1] == 1


def test_true_rates_of_one_class_are_not_known():
    found, draws = true_rates([True, True], [1.0, 2.0], [0, 1], [0.0, 0.5], 3, 1, "roc")
    assert np.isnan(found).all() and np.isnan(draws).all()
