"""Every known fault is noticed by the diagnostics that must notice it; the sound run is called sound."""

from contextlib import nullcontext

import pytest

from lensflow.lensing.render import render
from lensflow.measure.pixels import alarms
from lensflow.measure.zoo.faults import FAULTS, examine
from lensflow.measure.zoo.small_run import small_run
from tests.measure.conftest import CONFIG
from tests.quick import few_images

pytestmark = pytest.mark.whole

# One of each kind, quick ones: renderer, pixels, noise, classes.
QUICK = ("missing sqrt(q)", "one-pixel shift", "wrong gain", "controls of good seeing")


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=[] if f.name in QUICK else pytest.mark.slow, id=f.name) for f in FAULTS]
)
def test_each_fault_is_caught_by_the_diagnostics_that_must(fault, run):
    # What a sound renderer draws is not drawn again by brute force.
    with few_images() if fault.name in QUICK and fault.renderer is render else nullcontext():
        found = alarms(examine(fault, run, CONFIG))
    assert set(fault.caught_by) <= set(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 6, 7])
def test_sound_runs_raise_no_alarm(seed):
    assert alarms(examine(None, small_run(40, 4, seed))) == {}


def test_the_zoo_holds_every_fault_that_is_known():
    names = {f.name for f in FAULTS}
    assert len(names) == len(FAULTS) >= 20
    assert all(f.caught_by for f in FAULTS)
