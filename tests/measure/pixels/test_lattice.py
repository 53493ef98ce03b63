"""Stamps on their controls' lattice: what a quantised survey leaves, and what sound runs show."""

import numpy as np
import pytest
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels import Block, Status
from lensflow.measure.pixels.judges_exact import lattice as judge
from lensflow.measure.pixels.lattice import Lattice
from lensflow.measure.zoo.small_run import SKY_SIGMA, small_run


@pytest.fixture(scope="module")
def few_pairs():
    return small_run(24, 3, 11).pairs()


def found(pairs):
    return list(judge(Lattice.from_block(Block(pairs)).result(Settings())))


def alarms(pairs):
    return {f.check.rpartition("lattice ")[2] for f in found(pairs) if f.status is Status.ALARM}


def rounded(values, per_sigma):
    step = np.array(list(SKY_SIGMA.values()))[:, None, None] / per_sigma
    return (np.round(values / step) * step).astype(np.float32)


def with_pixels(pairs, **values):
    return pairs.assign({n: (pairs[n].dims, v.astype(np.float32)) for n, v in values.items()})


@pytest.mark.parametrize(("per_sigma", "gain"), [(4, 1.0), (64, 1.0), (4, 0.003)])
def test_arcs_added_to_quantised_hosts_are_an_alarm_and_rounding_both_afterwards_is_not(few_pairs, per_sigma, gain):
    stamp, ctrl = few_pairs["stamp"].values, few_pairs["ctrl"].values
    hosts = rounded(ctrl, per_sigma)
    mixed = with_pixels(few_pairs, ctrl=hosts, stamp=hosts + np.float32(gain) * (stamp - ctrl))
    # The brightest arcs take the outskirts off the lattice, too, and there is none left to compare the middle with.
    assert alarms(mixed) >= {"in the outskirts" if gain == 1 else "in the middle"}
    result = Lattice.from_block(Block(mixed)).result(Settings())
    assert result["rounded_share"].values.min() == 1 and result["ctrl_share"].values.min() == 1
    both = with_pixels(few_pairs, ctrl=hosts, stamp=rounded(mixed["stamp"].values, per_sigma))
    assert alarms(both) == set()


@pytest.mark.parametrize("other", ["stamp", "ctrl"])
def test_one_class_rounded_as_a_whole_is_an_alarm(few_pairs, other):
    """Its middle lies on the lattice as its outskirts do: only the other class says that there should be none."""
    assert "in the outskirts" in alarms(with_pixels(few_pairs, **{other: rounded(few_pairs[other].values, 16)}))


@pytest.mark.parametrize("survey_sky", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_sound_runs_raise_no_alarm_and_four_in_a_hundred_pixels_lie_on_any_lattice(seed, survey_sky):
    pairs = small_run(12, 2, seed, survey_sky=survey_sky).pairs()
    assert alarms(pairs) == set()
    result = Lattice.from_block(Block(pairs)).result(Settings())
    np.testing.assert_allclose(result["stamp_share"], 0.04, atol=0.005)
    np.testing.assert_allclose(result["ctrl_share"], 0.04, atol=0.005)


def test_blocks_add_up_to_the_whole_in_any_order(few_pairs):
    whole = Lattice.from_block(Block(few_pairs)).result(Settings())
    n = few_pairs.sizes["sample"]
    parts = [Lattice.from_block(Block(few_pairs.isel(sample=slice(k, k + 7)))) for k in range(0, n, 7)]
    total = parts[-1]
    for part in parts[:-1]:
        total = total + part
    xr.testing.assert_allclose(total.result(Settings()), whole, rtol=1e-9)


def test_without_injections_nothing_is_tested(few_pairs):
    only_controls = few_pairs.isel(sample=np.flatnonzero(few_pairs["is_control"].values))
    assert {f.status for f in found(only_controls)} == {Status.NOT_TESTED}
