"""Two runs on the same rows: known answers, a test that keeps its size where rows share hosts, and Holm."""

import math

import numpy as np
import pytest
from scipy.stats import chi2 as chi_squared

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.paired import by_stratum, holm, matched, mcnemar, paired


def one_row_a_host(gained, lost, same=100):
    a = np.concatenate([np.zeros(gained), np.ones(lost), np.arange(same) % 2]).astype(bool)
    b = np.concatenate([np.ones(gained), np.zeros(lost), np.arange(same) % 2]).astype(bool)
    return a, b, np.arange(a.size)


@pytest.mark.parametrize(
    ("gained", "lost", "p", "mid_p"),
    [
        (27, 6, 3.2406e-4, 1.9513e-4),
        (21, 3, 2.7716e-4, 1.5652e-4),
        (25, 19, 0.4514, None),
        (6, 27, 3.2406e-4, 1.9513e-4),
    ],
)
def test_mcnemar_has_the_known_p_values(gained, lost, p, mid_p):
    found = paired(*one_row_a_host(gained, lost))
    assert (found.test, found.gained, found.lost) == ("McNemar", gained, lost)
    assert found.p == pytest.approx(p, rel=2e-4)
    assert mid_p is None or found.mid_p == pytest.approx(mid_p, rel=2e-4)
    assert found.difference.value == pytest.approx((gained - lost) / (gained + lost + 100))
    assert mcnemar(5, 5)[0] == 1 and mcnemar(0, 0) == (1, 1)


def test_chi_squared_over_hosts_of_one_row_is_the_known_one():
    assert paired(*one_row_a_host(27, 6)).chi2 == pytest.approx(13.3636, abs=5e-5)


def test_a_run_against_itself_differs_by_exactly_nothing():
    a, _, host = one_row_a_host(27, 6)
    for hosts in (host, host // 4):
        found = paired(a, a, hosts, scores=(host, host))
        assert (found.gained, found.lost, found.p, found.difference.value, found.score_difference) == (0, 0, 1, 0, 0)
        assert found.difference.low < 0 < found.difference.high < 0.3 and math.isnan(found.chi2)


def simulated(rng, hosts, rows, effect=0.0):
    """Outcomes of two runs that agree in much; gains and losses of a host go together."""
    host = np.repeat(np.arange(hosts), rows)
    level = rng.normal(0, 1.2, hosts)[host]
    turn = rng.normal(0, 1.0, hosts)[host]
    noise = rng.logistic(size=(2, hosts * rows)) * 0.6
    return level - turn / 2 + noise[0] > 0, level + turn / 2 + effect + noise[1] > 0, host


def test_the_statistics_are_the_definition_host_by_host():
    a, b, host = simulated(np.random.default_rng(0), 60, 5)
    valid = np.random.default_rng(1).random(300) < 0.9
    found = paired(a, b, host, valid, (np.zeros(300), np.arange(300.0)))
    net = np.array([((b & ~a) & valid & (host == h)).sum() - ((a & ~b) & valid & (host == h)).sum() for h in range(60)])
    n = np.array([(valid & (host == h)).sum() for h in range(60)])
    assert found.chi2 == pytest.approx(net.sum() ** 2 / (net**2).sum()) and found.test == "clustered chi2"
    assert found.p == pytest.approx(chi_squared.sf(found.chi2, 1)) and found.discordant_hosts == (net != 0).sum()
    d = net.sum() / n.sum()
    assert found.difference.value == pytest.approx(b[valid].mean() - a[valid].mean()) == pytest.approx(d)
    assert found.difference.sd == pytest.approx(math.sqrt(60 / 59 * ((net - d * n) ** 2).sum()) / n.sum())
    assert found.left_out == (~valid).sum() and found.score_difference == np.arange(300)[valid].mean()
    with pytest.raises(CompletenessError, match="none of 300 rows is valid in both"):
        paired(a, b, host, np.zeros(300, bool))


def test_few_hosts_that_differ_are_tested_by_flipping_signs():
    a, b = np.zeros(24, bool), np.arange(24) % 3 > 0
    found = paired(a, b, np.arange(24) // 4)
    assert found.test == "sign flips" and found.discordant_hosts == 6
    # All six hosts gain: two of 64 flips are as far.
    assert found.p == pytest.approx(2 / 64, abs=0.012)
    # No flip of 29 hosts that all gain is as far, save the one that was seen: never a p of 0.
    assert paired(np.zeros(58, bool), np.ones(58, bool), np.arange(58) // 2).p == 1 / 2000
    assert found.p == paired(a, b, np.arange(24) // 4).p and paired(a, b, np.zeros(24)).difference.n_hosts == 1


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [20, 150])
def test_a_true_null_is_rejected_as_often_as_it_says_and_by_row_far_more_often(hosts):
    rng = np.random.default_rng(4)
    runs = [simulated(rng, hosts, 8) for _ in range(2000)]
    by_host = np.mean([paired(*run, seed=k).p < 0.05 for k, run in enumerate(runs)])
    by_row = np.mean([mcnemar(int((b & ~a).sum()), int((a & ~b).sum()))[0] < 0.05 for a, b, _ in runs])
    power = np.mean([paired(*simulated(rng, hosts, 8, 1.5)).p < 0.05 for _ in range(100)])
    print(f"{hosts} hosts: rejected by host {by_host:.3f}, by row {by_row:.3f}; power {power:.2f}")
    assert 0.035 <= by_host <= 0.07 and by_row > 0.10 and power > 0.5


def test_holm_corrects_as_published():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm([0.5, np.nan, 0.9]), [1, np.nan, 1])
    assert holm([]).size == 0


def test_strata_show_gains_and_losses_and_are_of_nothing_measured():
    a, b, host = simulated(np.random.default_rng(2), 60, 6, effect=1.0)
    place = np.arange(360) % 3
    found = by_stratum("theta_e_arcsec", ["low", "middle", "high", "none"], place, a, b, host)
    assert found["gained"].sum() == (b & ~a).sum() and found["lost"].sum() == (a & ~b).sum()
    alone = paired(a[place == 1], b[place == 1], host[place == 1])
    assert found["p"].values[1] == alone.p and found["difference_low"].values[1] == alone.difference.low
    assert (found["p_holm"].values[:3] >= found["p"].values[:3]).all() and np.isnan(found["p"].values[3])
    assert found["n_rows"].values[3] == 0
    with pytest.raises(CompletenessError, match="'score' is measured after noise or scoring"):
        by_stratum("score", ["low"], place, a, b, host)


def test_rows_of_one_manifest_are_matched_and_others_refused_by_name():
    ids = np.arange(50, dtype=np.uint64)
    order = np.random.default_rng(0).permutation(50)
    columns = {"theta_e_arcsec": ids / 10, "src_z": np.full(50, np.nan), "src_id": ids.astype(str)}
    shuffled = {k: v[order] for k, v in columns.items()}
    first, second = matched(ids, ids[order], columns, shuffled)
    np.testing.assert_array_equal(ids[first], ids[order][second])
    other = {**shuffled, "psf_fwhm_arcsec": np.ones((50, 3)), "theta_e_arcsec": shuffled["theta_e_arcsec"] + 1e-12}
    with pytest.raises(CompletenessError, match="theta_e_arcsec, psf_fwhm_arcsec differ"):
        matched(ids, ids[order], columns, other)
    matched(ids, ids[order], columns, other, owned=["psf_fwhm_arcsec", "theta_e_arcsec"])
    with pytest.raises(CompletenessError, match=r"2 rows are in the first run only \(0, 1\); 1 rows are in the second"):
        matched(ids, np.append(ids[2:], np.uint64(99)), columns, columns)
    with pytest.raises(CompletenessError, match="occurs twice in the second run"):
        matched(ids, np.append(ids, ids[:1]), columns, columns)
