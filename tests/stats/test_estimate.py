"""A number and its interval stay together: printed, subtracted, kept in Datasets and in JSON."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import GateError
from lensflow.stats.estimate import NOT_MEASURED, Estimate, with_interval

ESTIMATES = st.tuples(st.floats(-10, 10), st.floats(0.01, 5), st.floats(0.01, 5), st.integers(0, 99)).map(
    lambda v: Estimate(v[0], v[0] - v[1], v[0] + v[2], v[3])
)


@given(ESTIMATES, ESTIMATES)
def test_a_difference_turns_round_and_lies_within_its_interval(a, b):
    there, back = a - b, b - a
    np.testing.assert_allclose([there.value, there.low, there.high], [-back.value, -back.high, -back.low], atol=1e-12)
    assert there.low <= there.value <= there.high
    assert there.n_hosts == min(a.n_hosts, b.n_hosts)


def test_independent_estimates_differ_by_chance_in_5_percent():
    draw = np.random.default_rng(0).normal(size=(4000, 2))
    hits = [Estimate(p, p - 1.96, p + 1.96).excludes(Estimate(q, q - 1.96, q + 1.96)) for p, q in draw]
    assert 0.035 < np.mean(hits) < 0.065


def test_estimates_that_go_together_differ_more_surely():
    a, b = Estimate(0.9, 0.85, 0.94), Estimate(0.8, 0.74, 0.85)
    apart, together = a - b, a.less(b, 0.8)
    assert apart.value == together.value == pytest.approx(0.1)
    assert apart.low < together.low < together.high < apart.high
    symmetric = Estimate(0.9, 0.85, 0.95)
    none = symmetric.less(symmetric, 1.0)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 0), abs=1e-9)


@given(ESTIMATES, st.floats(-5, 5))
def test_a_factor_keeps_the_interval_around_the_value(a, factor):
    scaled = factor * a
    assert scaled.low <= scaled.value <= scaled.high
    assert scaled.high - scaled.low == pytest.approx(abs(factor) * (a.high - a.low), abs=1e-12)


@pytest.mark.parametrize(("number", "beyond"), [(0.49, True), (0.5, False), (0.6, False), (0.7, False), (0.71, True)])
def test_what_lies_beyond_the_interval_is_excluded_and_its_ends_are_not(number, beyond):
    assert Estimate(0.6, 0.5, 0.7).excludes(number) is beyond


def test_without_an_interval_nobody_says_whether_two_numbers_differ():
    for one, other in ((NOT_MEASURED, 0.5), (Estimate(0.5), 0.9), (Estimate(0.5, 0.4, 0.6), math.nan)):
        with pytest.raises(GateError, match="without an interval"):
            one.excludes(other)
    with pytest.raises(GateError, match="without an interval"):
        Estimate(0.5, 0.4, 0.6).excludes(NOT_MEASURED)
    assert not NOT_MEASURED.is_measured and not Estimate(0.5).is_measured and Estimate(0.5, 0.4, 0.6).is_measured


def test_it_prints_itself_without_a_minus_before_zero():
    assert str(Estimate(0.7531, 0.726, 0.781)) == "0.753 [0.726, 0.781]"
    assert f"{Estimate(-0.0001, -0.0004, 0.02):+z.3f}" == "+0.000 [+0.000, +0.020]"


@given(ESTIMATES, st.sampled_from(["value", "auc", "excess"]))
def test_fields_come_back_exactly_through_json(a, name):
    tree = json.loads(json.dumps(a.fields(name), allow_nan=False))
    assert Estimate.from_fields(tree, name, a.n_hosts) == Estimate(a.value, a.low, a.high, a.n_hosts)
    lost = Estimate.from_fields({**tree, name: None}, name)
    assert math.isnan(lost.value) and lost.low == a.low


def test_three_variables_of_a_dataset_are_read_at_a_place():
    value = np.array([[0.1, 0.2], [0.3, 0.4]])
    made = with_interval("x", ["band", "ring"], (value, (value - 1, value + 1)), "pixel", "a shift")
    ds = xr.Dataset({**made, "n_hosts": ("band", [7, 9])}, coords={"band": ["g", "r"]})
    assert Estimate.in_dataset(ds, "x", {"band": "r", "ring": 0}) == Estimate(0.3, -0.7, 1.3, 9)
    assert ds["x_low"].attrs == {"units": "pixel", "long_name": "lower end of the 95 % host bootstrap"}
    with pytest.raises(GateError, match="4 values along"):
        Estimate.in_dataset(ds, "x")
    with pytest.raises(GateError, match="x_low is not in"):
        Estimate.in_dataset(ds.drop_vars("x_low"), "x", {"band": "r", "ring": 0})
