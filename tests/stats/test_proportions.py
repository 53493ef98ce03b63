"""Intervals of shares: known answers, other people's code, and simulated coverage with hosts that differ."""

import numpy as np
import pytest
from astropy.stats import binom_conf_interval
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_distribution
from scipy.stats import binomtest
from scipy.stats import t as student

from lensflow.errors import CompletenessError
from lensflow.stats.proportions import clopper_pearson, clustered, from_variance, jeffreys, wilson

HOSTS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)).map(lambda v: (v[0], min(v))), min_size=1)


def sums(n, k):
    n, k = np.asarray(n, dtype=np.int64), np.asarray(k, dtype=np.int64)
    return [int(v) for v in (n.sum(), k.sum(), (n * n).sum(), (n * k).sum(), (k * k).sum(), len(n))]


@pytest.mark.parametrize(
    ("k", "n", "expected"),
    [
        (100, 112, {wilson: (0.8220, 0.9376), jeffreys: (0.8257, 0.9401), clopper_pearson: (0.8203, 0.9434)}),
        (0, 10, {wilson: (0, 0.2775), jeffreys: (0, 0.2172), clopper_pearson: (0, 0.3085)}),
        (10, 10, {wilson: (0.7225, 1), jeffreys: (0.7828, 1), clopper_pearson: (0.6915, 1)}),
    ],
)
def test_shares_of_independent_rows_have_the_known_intervals(k, n, expected):
    for method, ends in expected.items():
        np.testing.assert_allclose(method(k, n), ends, atol=5e-5)


@settings(max_examples=40)
@given(st.integers(1, 400), st.data())
def test_intervals_by_row_are_those_of_astropy_and_scipy(n, data):
    k = data.draw(st.integers(0, n))
    np.testing.assert_allclose(wilson(k, n), binom_conf_interval(k, n, 0.95, "wilson"), atol=1e-10)
    theirs = binom_conf_interval(k, n, 0.95, "jeffreys")
    if 0 < k < n:  # astropy keeps the posterior's own ends at 0 and n
        np.testing.assert_allclose(jeffreys(k, n), theirs, atol=1e-9)
    exact = binomtest(k, n).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(clopper_pearson(k, n), (exact.low, exact.high), atol=1e-9)
    for low, high in (wilson(k, n), jeffreys(k, n), clopper_pearson(k, n)):
        assert 0 <= low <= k / n <= high <= 1
        assert (low == 0) >= (k == 0) and (high == 1) >= (k == n)


def test_ten_hosts_of_four_rows_have_the_known_interval():
    found = clustered(*sums([4] * 10, [0, 1, 2, 4, 4, 3, 0, 0, 1, 2]))
    assert found.value == pytest.approx(0.425)
    assert found.variance == pytest.approx(0.01534722, abs=5e-9)
    assert found.n_eff == pytest.approx(15.9231, abs=5e-5)
    assert found.n_star == pytest.approx(12.7304, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.1638, 0.7217), abs=5e-5)
    assert found.deff == pytest.approx(40 / 12.7304, abs=1e-4)
    assert wilson(17, 40) == pytest.approx((0.2851, 0.5780), abs=5e-5)


@settings(max_examples=60)
@given(HOSTS)
def test_the_sums_give_what_the_hosts_one_by_one_give(hosts):
    n, k = (np.array(v) for v in zip(*hosts, strict=True))
    found, count = clustered(*sums(n, k)), len(n)
    p = k.sum() / n.sum()
    assert found.value == p
    if count < 2:
        assert np.isnan([found.low, found.high, found.variance, found.n_star]).all()
        return
    variance = count / (count - 1) * ((k - p * n) ** 2).sum() / n.sum() ** 2
    np.testing.assert_allclose(found.variance, variance, atol=1e-14)
    if p in (0, 1):
        size = count
    elif (k * n.sum() == k.sum() * n).all():
        assert found.variance == 0
        size = n.sum()
    else:
        factor = (student.ppf(0.975, n.sum() - 1) / student.ppf(0.975, count - 1)) ** 2
        size = min(n.sum(), p * (1 - p) / variance * factor)
    np.testing.assert_allclose(found.n_star, size)
    low = beta_distribution.ppf(0.025, p * size, size - p * size + 1) if p > 0 else 0
    high = beta_distribution.ppf(0.975, p * size + 1, size - p * size) if p < 1 else 1
    np.testing.assert_allclose((found.low, found.high), (low, high), rtol=1e-7)
    assert found.low <= p <= found.high


def test_special_cases_stand_side_by_side_in_one_array():
    cases = [([1] * 9, [0] * 9), ([3] * 5, [3] * 5), ([4] * 6, [1] * 6), ([8], [3]), ([], [])]
    found = clustered(*np.array([sums(n, k) for n, k in cases]).T)
    np.testing.assert_array_equal(found.n_star, [9, 5, 24, np.nan, np.nan])
    np.testing.assert_array_equal(found.value, [0, 1, 0.25, 3 / 8, np.nan])
    assert found.low[0] == 0 and found.high[1] == 1
    np.testing.assert_allclose(found.high[0], clopper_pearson(0, 9)[1])
    np.testing.assert_allclose(found.low[1], clopper_pearson(5, 5)[0])
    np.testing.assert_allclose((found.low[2], found.high[2]), clopper_pearson(6, 24))
    assert np.isnan(found.low[3:]).all() and np.isnan(found.high[3:]).all()


def test_equal_shares_have_no_variance_however_many_rows_there_are():
    """In single sums the difference of 10^15-sized terms would leave rounding, and an interval of no meaning."""
    count, n, k = 10**6, 2 * 10**3 + 1, 700
    big = clustered(count * n, count * k, count * n * n, count * n * k, count * k * k, count)
    assert big.variance == 0 and big.n_star == count * n
    one_off = clustered(count * n, count * k + 1, count * n * n, count * n * k + n, count * k * k + 2 * k + 1, count)
    assert one_off.variance > 0 and one_off.n_star == count * n


@pytest.mark.parametrize(
    "wrong",
    [(10, 11, 20, 20, 20, 5), (10, -1, 20, 0, 0, 5), (10, 5, 20, 10, 4, 5), (10, 5, 9, 8, 6, 5),
     (10, 5, 20, 10, 8, 0), (10, 5, 20, 10, 8, 3), (10, 5, 20, 10, 8, 11), (10, 5, 20, 7, 8, 10)],
)  # fmt: skip
def test_sums_that_no_hosts_can_have_are_refused_by_cell(wrong):
    clustered(10, 5, 20, 10, 8, 5)
    with pytest.raises(CompletenessError, match="cell 1: no hosts have these sums"):
        clustered(*np.array([(10, 5, 20, 10, 8, 5), wrong]).T)
    with pytest.raises(CompletenessError, match="cell 0: 7 of 5 rows"):
        wilson([7, 1], 5)


def test_weighted_shares_without_recovery_take_the_size_they_are_given():
    found = from_variance([0.0, 0.3, 0.3, 0.3], [0.0, 0.01, np.nan, -1.0], 50, 10, 4.5)
    assert np.isnan([found.low[2:], found.high[2:], found.n_star[2:]]).all()
    assert found.n_star[0] == 4.5 and found.low[0] == 0
    np.testing.assert_allclose(found.high[0], beta_distribution.ppf(0.975, 1, 4.5))
    assert 0 < found.low[1] < 0.3 < found.high[1] < 1


# Shares of 4,000 runs that covered, from the project's notes: Wilson by row, Jeffreys by row, by host.
COVERAGE = {
    (10, 8, 0.3, 0.05): (0.71, 0.75, 0.996),
    (10, 8, 0.7, 0.30): (0.59, 0.55, 0.96),
    (10, 8, 0.7, 0.90): (0.55, 0.50, 0.92),
    (30, 8, 0.3, 0.30): (0.72, 0.74, 0.97),
    (30, 8, 0.7, 0.05): (0.56, 0.59, 0.90),
    (100, 8, 0.7, 0.01): (0.53, 0.48, 0.90),
    (100, 8, 0.7, 0.30): (0.58, 0.58, 0.97),
    (300, 1, 0.5, 0.05): (0.95, 0.94, 0.97),
}


@pytest.mark.slow
@pytest.mark.parametrize(("hosts", "rows", "rho", "p"), COVERAGE)
def test_intervals_by_host_cover_and_those_by_row_do_not(hosts, rows, rho, p):
    """Hosts' rates from a beta distribution of intraclass correlation rho."""
    rng = np.random.default_rng(5)
    runs, scale = 1000, (1 - rho) / rho
    k = rng.binomial(rows, rng.beta(p * scale, (1 - p) * scale, (runs, hosts)))
    n, total = np.full(runs, hosts * rows), k.sum(axis=1)
    by_host = clustered(n, total, n * rows, total * rows, (k * k).sum(axis=1), hosts)
    ends = (wilson(total, n), jeffreys(total, n), (by_host.low, by_host.high))
    covered = np.array([np.mean((low <= p) & (p <= high)) for low, high in ends])
    print(f"H {hosts}, rho {rho}, p {p}: Wilson {covered[0]:.3f}, Jeffreys {covered[1]:.3f}, by host {covered[2]:.3f}")
    expected = np.array(COVERAGE[hosts, rows, rho, p])
    chance = 3.5 * np.sqrt(expected * (1 - expected) * (1 / 1000 + 1 / 4000)) + 0.005
    assert (abs(covered - expected) < chance).all(), (covered, expected, chance)
    assert covered[0] < 0.80 or rows == 1
    nominal = np.array([0.90, 0.995])
    low, high = nominal + np.array([-3, 3]) * np.sqrt(nominal * (1 - nominal) / runs)
    assert low < covered[2] < high
