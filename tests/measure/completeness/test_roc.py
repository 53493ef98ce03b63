"""ROC curves: scikit-learn's points and areas, known rates, intervals over hosts that cover."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.rates import Allowance, Scored, at_rates, mean_share, recovered_shares
from lensflow.measure.completeness.resolution import Resolution
from lensflow.measure.completeness.roc import roc, roc_in_bins
from lensflow.measure.completeness.thresholds import by_false_positives, by_rate
from lensflow.stats.hostsums import host_weights


def scored(seed=0, p=900, n=1500, hosts=300, decimals=8):
    rng = np.random.default_rng(seed)
    host = np.sort(rng.integers(0, hosts, p))
    level = rng.normal(0, 0.7, hosts)
    positive = rng.normal(1.5, 1, p) + level[host]
    return Scored.of(positive.round(decimals), host, rng.normal(size=n).round(decimals), np.arange(n))


@pytest.mark.parametrize("decimals", [8, 1])
def test_the_share_at_a_rate_is_that_of_the_threshold_that_the_rate_sets(decimals):
    s = scored(decimals=decimals)
    allowed = [Allowance(1e-1), Allowance(1e-3), Allowance(count=0), Allowance(count=10)]
    value, _ = recovered_shares(s, allowed, 2, 0, "x")
    taus = [by_rate(1e-1, s.negative).tau, by_rate(1e-3, s.negative).tau]
    taus += [by_false_positives(m, s.negative).tau for m in (0, 10)]
    np.testing.assert_allclose(value, [(s.positive >= t).mean() for t in taus])
    # scikit-learn's curve, the highest point that is not beyond the rate.
    labels = np.concatenate([np.ones(900), np.zeros(1500)])
    false, true, _ = roc_curve(labels, np.concatenate([s.positive, s.negative]), drop_intermediate=False)
    np.testing.assert_allclose(value[:2], [true[false <= a + 1e-9].max() for a in (1e-1, 1e-3)])


def test_draws_of_hosts_are_those_of_copied_rows():
    """A host drawn twice counts with its rows and its negative twice: the threshold moves with it."""
    s = scored(p=60, n=40, hosts=40)
    _, draws = recovered_shares(s, [Allowance(0.1)], 5, 3, "x")
    hosts = np.unique(np.concatenate([s.positive_host, s.negative_host]))
    for w, found in zip(host_weights(len(hosts), 5, 3, "x").astype(int), draws[:, 0], strict=True):
        of = dict(zip(hosts, w, strict=True))
        positive = np.repeat(s.positive, [of[h] for h in s.positive_host])
        negative = np.repeat(s.negative, [of[h] for h in s.negative_host])
        assert found == pytest.approx((positive >= by_rate(0.1, negative).tau).mean())


def test_areas_are_those_of_scikit_learn():
    s = scored()
    labels, scores = np.concatenate([np.ones(900), np.zeros(1500)]), np.concatenate([s.positive, s.negative])
    whole, _ = mean_share(s, (0.0, 1.0), 1, 0, "x")
    assert whole == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    end = 0.0203  # between two negatives, where the curve is level
    below = false < end
    x, y = np.append(false[below], end), np.append(true[below], true[below].max())
    assert mean_share(s, (0.0, end), 1, 0, "x")[0] == pytest.approx(np.trapezoid(y, x) / end, abs=1e-12)
    narrow = (np.trapezoid(y, x) - true[false <= 0].max() / 1500) / (end - 1 / 1500)
    assert mean_share(s, (1 / 1500, end), 1, 0, "x")[0] == pytest.approx(narrow, abs=1e-12)


def test_the_curve_is_even_in_the_logarithm_and_says_where_it_is_not_known():
    found = roc(scored(), 60, 0)
    fpr = found["curve_fpr"].values
    tabled = np.isin(fpr, [0.1, 0.01, 0.001])
    assert fpr[0] == 1 / 1500 and fpr[-1] == 1 and np.ptp(np.diff(np.log(fpr[~tabled]))) < 1e-9
    # A figure shows what the table says.
    assert tabled.sum() == 3 and found["curve_tpr"].values[tabled].tolist() == found["tpr"].values[2::-1].tolist()
    assert (np.diff(found["curve_tpr"]) >= 0).all() and found["curve_tpr"][-1] == 1
    assert [*np.isnan(found["tpr"].values)] == [False, False, False, True]
    assert [*np.isnan(found["tpr_low"].values)] == [False, False, False, True]
    assert [*found["unsure"].values] == [False, False, True, True]
    assert found["tpr_at"].sel(false_positives=0) <= found["tpr_at"].sel(false_positives=10)
    for name in ("tpr_at", "area", "auroc"):
        assert (found[f"{name}_low"] <= found[name]).all() and (found[name] <= found[f"{name}_high"]).all()
    assert np.isnan(roc(scored(n=90), 50, 0)["area"]) and found["n_hosts"] <= 300


def test_few_negatives_have_every_step_of_their_curve():
    s = scored(n=40)
    found = roc(s, 50, 0)
    np.testing.assert_array_equal(found["curve_fpr"], np.arange(1, 41) / 40)
    falling = np.sort(s.negative)[::-1]
    # At m of n the threshold is just above negative m + 1.
    expected = [(s.positive > tau).mean() for tau in falling[1:]]
    np.testing.assert_allclose(found["curve_tpr"].values[:-1], expected, atol=1e-12)


def test_intervals_at_a_rate_know_hosts_and_the_drawn_threshold():
    """True completeness at the true threshold of the rate; a fixed threshold and rows as units would cover less."""
    truth = 1 - norm.cdf((norm.isf(0.05) - 1.5) / np.hypot(1, 0.7))
    covered, naive = 0, 0
    for seed in range(60):
        s = scored(seed, p=480, n=200, hosts=60)
        estimate = at_rates(s, [Allowance(0.05)], 100, seed)[0]
        covered += estimate.low <= truth <= estimate.high
        half = 1.96 * np.sqrt(estimate.value * (1 - estimate.value) / 480)
        naive += abs(estimate.value - truth) <= half
    assert covered >= 52 > naive + 5


def test_scores_that_say_nothing_are_seen_and_those_that_are_none_refused():
    assert Scored.of([1, 1], [0, 1], [1], [0]).is_constant and not Scored.of([1, 1], [0, 1], [0], [0]).is_constant
    with pytest.raises(CompletenessError, match=r"positive scores: number 1 \(host 7\) is not finite"):
        Scored.of([1, np.nan], [6, 7], [1], [0])
    with pytest.raises(CompletenessError, match="negative scores: there is none"):
        Scored.of([1, 2], [6, 7], [], [])


def test_the_curve_of_a_bin_is_that_of_its_rows_with_all_negatives():
    s = scored(p=400, n=300, hosts=60)
    bins, place = Resolution(), np.arange(400) % 3
    found = roc_in_bins(s, bins, place, 20, 1)
    for k in range(3):
        mine = place == k
        alone = roc(Scored.of(s.positive[mine], s.positive_host[mine], s.negative, s.negative_host), 20, 1)
        np.testing.assert_array_equal(found["tpr"].values[k], alone["tpr"].values)
        np.testing.assert_array_equal(found["curve_tpr"].values[k], alone["curve_tpr"].values)
        assert int(found["n_rows"][k]) == mine.sum()
    assert (found["tpr_low"] <= found["tpr"]).sel(fpr=[0.1, 0.01]).values[:3].all()
    # A rate below 1 / 300 cannot be set; a bin without rows has no curve.
    assert np.isnan(found["tpr"].sel(fpr=1e-3)).all() and found["unsure"].values.tolist() == [False, True, True, True]
    assert np.isnan(found["curve_tpr"].values[3:]).all() and found["n_rows"].values[3:].sum() == 0
