"""Limits of what chance does to class balance hold their level with few hosts, and find what is there."""

import numpy as np
import pytest

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Settings, Status, exchange, findings
from tests.measure.pixels.simulated_hosts import disjoint_balance

CONFIG = DiagnosticsConfig(bootstrap=50)


def judged(n_hosts, seed, **how):
    return findings({"balance": disjoint_balance(n_hosts, seed, **how).result(Settings(CONFIG, seed))})


def alarmed(found):
    return any(f.status is Status.ALARM for f in found)


def test_few_hosts_of_their_own_for_each_class_are_no_alarm():
    assert not any(alarmed(judged(30, seed)) for seed in range(8))


def test_a_shift_of_half_a_standard_deviation_is_found_with_two_hundred_hosts():
    found = judged(200, 1, shift=0.8)
    assert alarmed(found) and "c0" in next(f for f in found if f.status is Status.ALARM).where


def test_places_with_fewer_than_eight_hosts_of_a_class_are_named_and_not_tested():
    few = judged(100, 3, splits=(0.9, 0.05, 0.05))
    assert few[0].status is Status.OK
    assert (few[-1].check, few[-1].where) == ("places not tested by themselves", "val, test")
    fewer = judged(14, 3)
    assert fewer[0].status is Status.NOT_TESTED and "7 hosts of a class: at least 8" in fewer[0].text
    assert "places not tested by themselves" not in {f.check for f in fewer}


def test_columns_that_are_alike_on_every_host_with_both_classes_have_no_room_for_chance():
    draw = np.random.default_rng(0)
    sums = np.zeros((20, 1, 2, 3, 4))
    values = draw.normal(size=(20, 1, 3))
    for c, rows in enumerate((4, 1)):
        sums[:, :, c, :, 0], sums[:, :, c, :, 1] = rows, rows * values
    found = exchange.chance_limits(sums, np.array([True, True]), 1, "test")
    assert (found.mean == 0).all() and (found.missing == 0).all()
    sums[:, :, 1, 0, 1] += 0.5  # one column, of the controls
    assert np.median(exchange.chance_limits(sums, np.array([True, True]), 1, "test").mean[:, 0]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("n_hosts", [20, 30, 40, 60, 80, 200, 700])
def test_sound_runs_alarm_in_two_of_a_thousand_whatever_their_hosts(n_hosts):
    """Of 200 runs of each size, 4 alarms or more would have a probability of 1e-3 at the level of 0.2 %."""
    assert sum(alarmed(judged(n_hosts, seed, splits=(0.6, 0.2, 0.2))) for seed in range(200)) < 4
