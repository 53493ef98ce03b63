"""False positives per square degree and purity: known answers, and nothing of the sky assumed."""

import re

import numpy as np
import pytest
import xarray as xr

from lensflow.config.completeness import SkyConfig
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.purity import found_per_square_degree, missing, purity, sky_table
from lensflow.measure.completeness.thresholds import by_rate, by_value
from lensflow.stats.estimate import Estimate
from lensflow.stats.proportions import clustered

SKY = SkyConfig(parents_per_deg2=1400, lenses_per_deg2=0.3, population="grade A")
SHARE = clustered(4000, 3200, 16000, 12800, 10640, 1000)
C = Estimate(float(SHARE.value), float(SHARE.low), float(SHARE.high), 1000)


@pytest.mark.parametrize(("fpr", "c", "expected"), [(1e-3, 0.8, 0.146), (1e-4, 0.75, 0.616), (1e-5, 0.6, 0.928)])
def test_purity_has_the_known_values(fpr, c, expected):
    found = found_per_square_degree(1400, fpr, 0.3, c)
    assert found.purity == pytest.approx(expected, abs=5e-4)
    assert found.false_positives_per_deg2 == pytest.approx(1400 * fpr)
    assert found_per_square_degree(1400, 1e-3, 0.3, 0.8).false_positives_per_deg2 == pytest.approx(1.4)
    assert np.isnan(found_per_square_degree(1400, 0, 0.3, 0).purity)


def test_intervals_hold_the_scatter_of_rate_and_completeness():
    threshold = by_rate(1e-3, np.arange(50_000))
    found = purity(SKY, threshold, C, float(SHARE.n_star), seed=1, own_controls=True)
    rate = threshold.true_rate
    assert found["false_positives_per_deg2"] == pytest.approx(1400 * rate.value)
    np.testing.assert_allclose(found["false_positives_per_deg2_low"], 1400 * rate.low, rtol=0.03)
    np.testing.assert_allclose(found["false_positives_per_deg2_high"], 1400 * rate.high, rtol=0.03)
    np.testing.assert_allclose(
        [found["found_per_deg2_low"], found["found_per_deg2_high"]], [0.3 * C.low, 0.3 * C.high], rtol=0.01
    )
    # Purity falls with the rate and rises with completeness: no wider than the two worst corners.
    worst = found_per_square_degree(1400, rate.high, 0.3, C.low).purity
    best = found_per_square_degree(1400, rate.low, 0.3, C.high).purity
    assert worst < found["purity_low"] < found["purity"] < found["purity_high"] < best
    assert "not bare LRGs" in found.attrs["negatives"] and found.attrs["population"] == "grade A"
    again = purity(SKY, threshold, C, float(SHARE.n_star), seed=1, own_controls=False)
    assert again.equals(found) and again.attrs["negatives"] == "real non-lenses"


def test_no_false_positive_among_few_negatives_is_no_purity_of_one():
    found = purity(SKY, by_value(1e9, np.arange(300)), C, float(SHARE.n_star), seed=0, own_controls=True)
    assert found["purity_low"] < found["purity"] < 0.06 and 0.3 < found["purity_high"] < 0.9


def test_numbers_of_the_sky_that_are_missing_are_named():
    threshold = by_rate(1e-2, np.arange(1000))
    assert missing(SKY) == []
    assert missing(SkyConfig(parents=100, area_deg2=2.0)) == ["completeness.sky.lenses_per_deg2, with population"]
    with pytest.raises(CompletenessError, match=r"parents_per_deg2 .* and completeness\.sky\.lenses"):
        purity(SkyConfig(), threshold, C, 100.0, 0, True)
    with pytest.raises(CompletenessError, match="give negatives"):
        purity(SKY, by_value(0.5), C, 100.0, 0, True)
    with pytest.raises(CompletenessError, match="a completeness with an interval"):
        purity(SKY, threshold, Estimate(0.5), np.nan, 0, True)


def curves_of(shares, n_star=200.0):
    """Completeness of all rows at some thresholds."""
    value = np.array(shares)[:, None]
    names = {"completeness": value, "completeness_low": value - 0.05, "completeness_high": value + 0.05,
             "n_star": np.full(value.shape, n_star), "n_hosts": np.full(value.shape, 100)}  # fmt: skip
    return xr.Dataset({n: (("threshold", "curve"), v) for n, v in names.items()}, {"curve": ["all"]})


def test_the_table_of_the_sky_has_the_numbers_of_each_threshold():
    scores = np.arange(50_000)
    taus = [by_rate(1e-2, scores), by_rate(1e-3, scores)]
    found = sky_table(SKY, taus, curves_of([0.8, 0.6]), 1, own_controls=True)
    assert found.attrs["verdict"] == "" and found["reason"].values.tolist() == ["", ""]
    for k, c in enumerate((0.8, 0.6)):
        one = purity(SKY, taus[k], Estimate(c, c - 0.05, c + 0.05, 100), 200.0, 1, own_controls=True)
        for name in one.data_vars:
            assert float(found[name][k]) == float(one[name])
    assert "spirals" in found.attrs["negatives"] and "reweight" in found.attrs["completeness_of"]


@pytest.mark.parametrize(
    ("sky", "shares", "value", "flaw", "says"),
    [
        (SkyConfig(), [0.8], None, "", r"needs completeness.sky.parents_per_deg2 .* and completeness.sky.lenses_per"),
        (SkyConfig(parents=100, area_deg2=2), [0.8], None, "", "needs completeness.sky.lenses_per_deg2, with"),
        (SKY, [np.nan], None, "", "needs a completeness with an interval"),
        (SKY, [0.8], 0.5, "", "needs a false-positive rate: give negatives"),
        (SKY, [0.8], None, "it reads what was injected", "it reads what was injected"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_and_no_number_given(sky, shares, value, flaw, says):
    tau = by_rate(1e-2, np.arange(5_000)) if value is None else by_value(value)
    found = sky_table(sky, [tau], curves_of(shares), 1, True, flaw)
    assert found.attrs["verdict"] == "NOT_TESTABLE"
    assert re.search(says, found.attrs["reason"]) and re.search(says, str(found["reason"].values[0]))
    assert all(np.isnan(found[n]).all() for n in found.data_vars if n != "reason")
    assert set(found.data_vars) == set(
        sky_table(SKY, [by_rate(1e-2, np.arange(500))], curves_of([0.8]), 1, True).data_vars
    )
