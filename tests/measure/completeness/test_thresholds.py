"""Thresholds recover no more negatives than allowed, and the true rate lies where the beta distribution says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, kstest

from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.thresholds import (
    by_false_positives,
    by_rate,
    by_value,
    no_false_positive_bound,
    true_rate,
)


@pytest.mark.parametrize(
    ("n", "rate", "m", "low", "high"),
    [(1_000, 1e-2, 10, 0.55, 1.83), (10_000, 1e-3, 10, 0.55, 1.84), (50_000, 1e-3, 50, 0.76, 1.32),
     (50_000, 1e-4, 5, 0.44, 2.33)],
)  # fmt: skip
def test_rates_set_by_few_negatives_are_known_as_well_as_published(n, rate, m, low, high):
    found = by_rate(rate, np.random.default_rng(0).permutation(n))
    assert (found.allowed, found.achieved, found.n_negatives, found.unsure) == (m, m, n, m < 10)
    assert (found.true_rate.low / rate, found.true_rate.high / rate) == pytest.approx((low, high), abs=6e-3)
    assert found.true_rate.value == pytest.approx((m + 1) / (n + 1))


@settings(max_examples=80)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_no_more_than_allowed_are_recovered_and_a_lower_threshold_would_recover_more(scores, data):
    m = data.draw(st.integers(0, len(scores) - 1))
    x = np.array(scores, np.float64)
    found = by_false_positives(m, x)
    assert found.achieved == (x >= found.tau).sum() <= m
    assert (x >= np.nextafter(found.tau, -np.inf)).sum() > m
    assert found.tied == (found.achieved < m)
    again = by_rate((m + 0.5) / len(x), x) if m else found
    assert again.tau == found.tau


def test_a_rate_that_is_a_whole_number_of_negatives_is_not_lost_to_rounding():
    for n, rate, m in ((1000, 1e-3, 1), (30, 0.1, 3), (10_000, 7e-4, 7), (1000, 0.029, 29)):
        assert by_rate(rate, np.arange(n)).allowed == m


def test_equal_scores_recover_none_at_a_rate():
    found = by_rate(0.1, np.full(50, 0.3))
    assert found.achieved == 0 and found.tied and found.tau == np.nextafter(0.3, 1)


@pytest.mark.parametrize(
    ("rate", "n", "text"),
    [
        (1e-4, 516, "false-positive rate 1e-4 needs 10,000 negatives at least; 516 were given. The smallest rate that "
         "they can set is 2e-3"),
        (1e-3, 999, "false-positive rate 1e-3 needs 1,000 negatives at least; 999 were given. The smallest .* is 2e-3"),
        (1.5e-3, 100, "false-positive rate 1.5e-3 needs 667 negatives at least; 100 were given. .* set is 1e-2"),
    ],
)  # fmt: skip
def test_a_rate_that_the_negatives_cannot_set_is_refused_with_the_one_that_they_can(rate, n, text):
    with pytest.raises(CompletenessError, match=text):
        by_rate(rate, np.arange(n))
    smallest = float(text.rpartition(" ")[2])
    assert by_rate(smallest, np.arange(n)).allowed >= 1


def test_thresholds_that_are_none_are_refused():
    for wrong in (0, 1, -0.1, math.nan):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            by_rate(wrong, np.arange(10))
    with pytest.raises(ConfigError, match="finite score"):
        by_value(math.nan)
    with pytest.raises(ConfigError, match="from 0 on"):
        by_false_positives(-1, np.arange(10))
    with pytest.raises(CompletenessError, match="10 false positives need more than 10 negatives; 10 were given"):
        by_false_positives(10, np.arange(10))
    with pytest.raises(CompletenessError, match="2 of 4 scores are not finite, the first is number 1"):
        by_rate(0.5, [0, np.nan, 1, np.inf])
    with pytest.raises(CompletenessError, match="there is none"):
        by_value(0, [])


def test_a_given_threshold_has_the_exact_binomial_interval():
    found = by_value(90, np.arange(100))
    exact = binomtest(10, 100).proportion_ci(0.95, "exact")
    assert (found.achieved, found.unsure) == (10, False)
    assert (found.true_rate.low, found.true_rate.high) == pytest.approx((exact.low, exact.high))
    none = by_value(1e9, np.arange(300))
    assert none.true_rate.low == 0 and none.unsure
    assert none.true_rate.high == pytest.approx(1 - 0.05 ** (1 / 300)) and 300 * none.true_rate.high == pytest.approx(
        3, abs=0.05
    )
    assert by_value(0.5).n_negatives == 0 and math.isnan(by_value(0.5).true_rate.value)
    assert no_false_positive_bound(1) == pytest.approx(0.95)


@pytest.mark.parametrize(("n", "rate", "steps"), [(300, 0.02, 50), (1000, 0.05, 15), (300, 0.1, 12), (1000, 0.05, 100)])
def test_where_scores_tie_the_interval_of_the_true_rate_still_covers_it(n, rate, steps):
    rng = np.random.default_rng(1)
    below = above = tied = 0
    grid = np.arange(steps) / steps
    for _ in range(2000):
        found = by_rate(rate, np.floor(rng.random(n) * steps) / steps)
        truth = np.mean(grid >= found.tau)
        below, above = below + (truth < found.true_rate.low), above + (truth > found.true_rate.high)
        tied += found.tied
        assert found.true_rate.low <= found.true_rate.value <= found.true_rate.high
    # Of the distribution without ties the lower end would be above the truth in up to 98 % of the sets.
    assert tied > 1000 and below / 2000 < 0.035 and above / 2000 < 0.045


@pytest.mark.parametrize(("n", "rate"), [(300, 0.02), (1000, 0.05)])
def test_the_true_rate_follows_the_beta_distribution(n, rate):
    rng = np.random.default_rng(1)
    # For uniform scores the true rate at tau is 1 - tau.
    taus = np.array([by_rate(rate, rng.random(n)).tau for _ in range(2000)])
    m = int(n * rate)
    assert kstest(1 - taus, beta(m + 1, n - m).cdf).pvalue > 0.01
    assert kstest(1 - taus, beta(m, n - m + 1).cdf).pvalue < 0.01  # the test could notice one negative more
    interval = true_rate(m, n)
    assert np.mean((interval.low <= 1 - taus) & (1 - taus <= interval.high)) == pytest.approx(0.95, abs=0.015)
