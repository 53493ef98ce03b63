"""Numbers of an arm: those of paired runs in every stratum, Holm over all strata, and an interaction that is one."""

import math

import numpy as np
import pytest

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.paired import holm, paired
from lensflow.measure.realism.sweep.numbers import Scored, Stratum, against_reference, interaction, mean_over_hosts


def scored(recovered, score=None, valid=None):
    recovered = np.atleast_2d(np.asarray(recovered, bool))
    n = recovered.shape[1]
    return Scored(recovered, np.zeros(n) if score is None else np.asarray(score, float),
                  np.ones(n, bool) if valid is None else np.asarray(valid, bool))  # fmt: skip


@pytest.fixture
def made():
    """Forty hosts of six rows; the arm gains in the second stratum alone."""
    rng = np.random.default_rng(3)
    hosts, bright = np.repeat(np.arange(40), 6), np.arange(240) % 2
    a = rng.uniform(size=240) < 0.5
    b = a | ((bright == 1) & (rng.uniform(size=240) < 0.4))
    return hosts, bright, a, b


def test_every_stratum_is_what_a_paired_comparison_of_its_rows_gives(made):
    hosts, bright, a, b = made
    strata = {"src_mag_r": Stratum(["faint", "bright", "empty"], bright)}
    found = against_reference(scored([a, a]), scored([b, a]), hosts, strata)
    one = found.isel(threshold=0)
    assert list(one["bin"].values) == ["all rows", "faint", "bright"]  # no row, no stratum
    for k, pick in enumerate((np.ones(240, bool), bright == 0, bright == 1)):
        alone = paired(a[pick], b[pick], hosts[pick])
        at = one.isel(stratum=k)
        assert float(at["difference"]) == alone.difference.value and float(at["p"]) == alone.p
        assert (int(at["gained"]), int(at["lost"]), int(at["n_hosts"])) == (alone.gained, alone.lost, alone.n_hosts)
        assert float(at["recovered_arm"]) - float(at["recovered_reference"]) == pytest.approx(alone.difference.value)
    assert float(one["p"][1]) == 1 and float(one["p"][2]) < 1e-3
    same = found.isel(threshold=1)
    assert (same["gained"] == 0).all() and (same["lost"] == 0).all() and (same["p"] == 1).all()


def test_holm_is_over_all_strata_of_all_variables(made):
    hosts, bright, a, b = made
    strata = {"one": Stratum(["x", "y"], bright), "two": Stratum(["u", "v", "w"], np.arange(240) % 3)}
    one = against_reference(scored(a), scored(b), hosts, strata).isel(threshold=0)
    p = one["p"].values[1:]
    assert len(p) == 5
    np.testing.assert_array_equal(one["p_holm"].values[1:], holm(p))
    assert float(one["p_holm"][0]) == float(one["p"][0])  # of all rows there is one


def test_the_mean_score_difference_is_of_valid_rows_and_has_the_hosts_as_units(made):
    hosts, _, a, b = made
    rng = np.random.default_rng(5)
    shift = rng.normal(size=40)[hosts]  # the rows of a host move together
    score = rng.normal(size=240)
    valid = np.arange(240) != 7
    other = np.where(valid, score + shift + 0.5, np.nan)
    at = against_reference(scored(a, score), scored(b, other, valid), hosts, {}).isel(threshold=0, stratum=0)
    assert int(at["left_out"]) == 1 and int(at["n_rows"]) == 239
    expected = (other - score)[valid]
    assert float(at["score_difference"]) == pytest.approx(expected.mean())
    half = float(at["score_difference_high"]) - expected.mean()
    by_row = 1.96 * expected.std() / math.sqrt(239)
    assert half > 1.8 * by_row


def test_mean_over_hosts_is_the_t_interval_where_every_host_has_one_row():
    values = np.random.default_rng(0).normal(2.0, 1.0, 25)
    found = mean_over_hosts(values, np.arange(25))
    half = 2.0638986 * values.std(ddof=1) / 5
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    alone = mean_over_hosts(np.ones(3), np.zeros(3, int))
    assert alone.value == 1 and math.isnan(alone.low)


def test_an_interaction_is_found_where_there_is_one_and_not_where_effects_add():
    rng = np.random.default_rng(1)
    n = 1200
    hosts = np.repeat(np.arange(200), 6)
    u = rng.uniform(size=n)

    def arms(p00, p10, p01, p11):
        return [scored(u < p, score=np.full(n, p)) for p in (p00, p10, p01, p11)]

    added = interaction(arms(0.2, 0.3, 0.4, 0.5), hosts).isel(threshold=0)
    assert float(added["interaction_low"]) < 0 < float(added["interaction_high"]) and float(added["p"]) > 0.05
    assert float(added["score_interaction"]) == pytest.approx(0)
    crossed = interaction(arms(0.2, 0.3, 0.4, 0.8), hosts).isel(threshold=0)
    assert float(crossed["interaction"]) == pytest.approx(0.3, abs=0.06) and float(crossed["p"]) < 1e-6
    assert float(crossed["score_interaction"]) == pytest.approx(0.3)
    assert (int(crossed["n_rows"]), int(crossed["n_hosts"])) == (n, 200)


def test_no_host_that_differs_is_no_certainty():
    four = [scored([True, False] * 10) for _ in range(4)]
    found = interaction(four, np.repeat(np.arange(10), 2)).isel(threshold=0)
    assert float(found["interaction"]) == 0 and float(found["interaction_high"]) > 0.3


def test_nothing_valid_in_both_is_an_error():
    a, b = scored([True], valid=[True]), scored([True], valid=[False])
    with pytest.raises(CompletenessError, match="none of 1 rows is valid in both arms"):
        against_reference(a, b, np.array([0]), {})
    with pytest.raises(CompletenessError, match="all four arms"):
        interaction([a, a, a, b], np.array([0]))
