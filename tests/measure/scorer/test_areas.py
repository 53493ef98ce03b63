import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtr

from lensflow.measure.scorer.areas import Areas, area_interval

HOST_SD, CORE_SHARE = 0.7, 0.7


def scores(seed, n_hosts, shift, filled_shift, per_host=4):
    """Scores with a known area: hosts differ, and an image's two scores go together."""
    draw = np.random.default_rng(seed)
    n, hosts = n_hosts * per_host, np.arange(n_hosts)
    host = np.repeat(hosts, per_host)
    of_host = HOST_SD * draw.normal(size=n_hosts)

    def both(size):
        one = draw.normal(size=size)
        return one, CORE_SHARE * one + np.sqrt(1 - CORE_SHARE**2) * draw.normal(size=size)

    (stamp, stamp_filled), (ctrl, ctrl_filled) = both(n), both(n_hosts)
    of_row = {
        "stamp": shift + of_host[host] + stamp,
        "stamp_filled": filled_shift + of_host[host] + stamp_filled,
        "row_id": np.arange(n, dtype=np.uint64),
        "host_index": host,
        "theta_e_arcsec": draw.uniform(0.3, 2.4, n),
        "arc_snr": draw.uniform(1, 80, n),
        "split": np.ones(n, np.uint8),
        "absent": np.zeros(n, np.int64),
    }
    of_control = {
        "ctrl": of_host + ctrl,
        "ctrl_filled": of_host + ctrl_filled,
        "ctrl_host": hosts,
        "ctrl_row_id": hosts.astype(np.uint64) * per_host,
    }
    return xr.Dataset({k: ("sample", v) for k, v in of_row.items()} | {k: ("host", v) for k, v in of_control.items()})


def true_area(shift):
    return float(ndtr(shift / np.sqrt(2 * (1 + HOST_SD**2))))


@pytest.mark.parametrize(
    ("n_hosts", "shift", "filled_shift"),
    [
        (10, 1.5, 1.2),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in ((60, 1.8, 1.5), (20, 3.0, 1.9), (60, 3.0, 2.5))),
    ],
)
def test_intervals_hold_the_truth_at_their_level_and_rarely_err_on_the_side_that_passes(n_hosts, shift, filled_shift):
    a, f = true_area(shift), true_area(filled_shift)
    drop = 100 * (a - f) / a
    found = [Areas.of(scores(seed, n_hosts, shift, filled_shift), 200, seed, "test") for seed in range(300)]
    for truth, estimates in ((a, [e.bare for e in found]), (drop, [e.drop_pct for e in found])):
        assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.90
    assert np.mean([e.bare.low > a for e in found]) <= 0.06
    assert np.mean([e.drop_pct.high < drop for e in found]) <= 0.06


def test_no_mistake_among_few_hosts_is_no_certainty():
    few, many = (Areas.of(scores(1, n, 30.0, 30.0), 100, 1, "test") for n in (10, 200))
    assert few.bare.value == many.bare.value == 1
    assert few.bare.low == pytest.approx(10 / (10 + 1.96**2)) and many.bare.low > 0.98
    assert few.bare.high == 1 and few.drop_pct.value == 0 and few.drop_pct.high > 20 > 3 > many.drop_pct.high
    worst = area_interval(0.0, np.zeros(100), 10)
    assert (worst.low, worst.high) == (0, pytest.approx(1 - 10 / (10 + 1.96**2)))


def test_one_host_has_no_interval():
    assert np.isnan(Areas.of(scores(1, 1, 1.0, 1.0), 100, 1, "test").bare.low)


def test_scores_that_the_core_does_not_touch_lose_exactly_nothing():
    block = scores(3, 40, 1.5, 1.5)
    drop = Areas.of(block.assign(stamp_filled=block["stamp"], ctrl_filled=block["ctrl"]), 100, 1, "test").drop_pct
    assert (drop.value, drop.low, drop.high) == (0, 0, 0)
