"""The rule of alarms: the same small chance of a false one at any number of hosts."""

import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from lensflow.measure.pixels.judging import ALARM, Finding, Status, against, alarm_widths, within
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import interval


def means_over_hosts(n_hosts, offset=0.0, places=4000):
    """Means of values of hosts that scatter by 1 about ``offset``, with their intervals, as a diagnostic gives them."""
    draw = np.random.default_rng(n_hosts)
    values = offset + draw.normal(size=(places, n_hosts))
    drawn = draw.multinomial(n_hosts, np.full(n_hosts, 1 / n_hosts), size=400) / n_hosts @ values.T
    low, high = interval(drawn, np.full(places, n_hosts))
    columns = {"x": values.mean(axis=1), "x_low": low, "x_high": high, "n_hosts": np.full(places, n_hosts)}
    return xr.Dataset({k: ("place", v, {"long_name": k}) for k, v in columns.items()})


def share_beyond(widths, ds):
    reach = np.maximum(ds["x_high"] - ds["x"], ds["x"] - ds["x_low"])
    return float((abs(ds["x"]) > widths * reach).mean())


@pytest.mark.parametrize("n_hosts", [3, 4, 6, 8, 12, 40])
def test_sound_comparisons_of_few_hosts_are_no_more_alarms_than_of_many(n_hosts):
    assert share_beyond(alarm_widths(n_hosts), means_over_hosts(n_hosts)) <= 0.002


def test_twice_the_half_width_alone_would_alarm_in_one_of_fifty_at_4_hosts():
    assert share_beyond(ALARM, means_over_hosts(4)) > 0.01


def test_with_many_hosts_the_rule_is_twice_the_half_width():
    assert alarm_widths(10**6) == pytest.approx(ALARM, rel=1e-4)

    np.testing.assert_array_equal(
        alarm_widths([2, 9, 400]), t.isf(norm.sf(ALARM * norm.isf(0.025)), [1, 8, 399]) / t.isf(0.025, [1, 8, 399])
    )
    assert np.all(np.diff(alarm_widths([2, 3, 4, 8, 40, 400])) < 0)


def test_that_nothing_is_found_with_4_hosts_is_not_called_ok_but_a_gross_fault_is_still_an_alarm():
    assert against("d", "c", means_over_hosts(4, places=1), "x").status is Status.NOT_TESTED
    assert against("d", "c", means_over_hosts(4, offset=100.0, places=1), "x").status is Status.ALARM
    assert against("d", "c", means_over_hosts(40, places=1), "x").status is Status.OK


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(list(Status)))
def test_a_finding_that_is_kept_and_read_again_is_the_same(value, low, high, expected, limit, status):
    found = Finding("d", "c", status, "g", Estimate(value, low, high), expected, "text", "1", limit)
    again = Finding.from_dict(found.to_dict())
    assert repr(again) == repr(found)
    assert {"value", "low", "high"} <= set(found.to_dict())


def test_the_limit_of_a_deviation_is_no_end_of_an_interval():
    found = within("d", "c", xr.DataArray([0.1, 0.3], dims="row", attrs={"long_name": "error"}), 0.5)
    assert found.limit == 0.5 and found.value == 0.3 and not found.found.is_measured and math.isnan(found.found.high)
