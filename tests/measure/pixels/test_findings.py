"""All diagnostics on a real, small run: nothing is amiss, and the lazy way says the same as the one pass."""

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.measure.pixels import DIAGNOSTICS, Block, Settings, Status, alarms, findings, measure
from tests.measure.conftest import CONFIG
from tests.measure.pixels.pairs_factory import pairs_block
from tests.quick import few_images

pytestmark = pytest.mark.whole


def test_a_sound_run_has_no_alarm_and_every_diagnostic_is_tested(results):
    found = findings(results)
    assert {f.diagnostic for f in found} == set(DIAGNOSTICS) == set(results)
    assert alarms(found) == {}
    assert all(f.status is Status.OK for f in found), [f for f in found if f.status is not Status.OK]


@pytest.mark.slow
def test_the_lazy_way_says_what_the_one_pass_says(run, results):
    config = run.config.model_copy(update={"diagnostics": CONFIG, "seed": 1})
    lazy = lf.diagnose(run.lazy(chunk=17), config, run.hosts)
    assert list(lazy) == list(results)
    for name, ds in results.items():
        for v in ds.data_vars:
            if ds[v].dtype.kind == "f":
                floor = 1e-9 * np.max(np.abs(ds[v].values[np.isfinite(ds[v].values)]), initial=1e-6)
                np.testing.assert_allclose(lazy[name][v], ds[v], rtol=1e-5, atol=floor, err_msg=f"{name}.{v}")
            else:
                xr.testing.assert_equal(lazy[name][v], ds[v])


def test_what_cannot_be_made_anew_is_said():
    pairs = pairs_block()
    found = findings(measure(Block(pairs, CONFIG)).results(Settings(CONFIG, 1)))
    untested = {f.diagnostic: f.text for f in found if f.status is Status.NOT_TESTED}
    assert "do not say psf_model" in untested["psf"] and "do not say psf_model" in untested["rendering"]


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["controls", "injections", "one host"])
def test_a_missing_class_or_a_single_host_is_not_tested_and_no_alarm(pairs, rows):
    pick = {
        "controls": pairs["is_control"].values,
        "injections": ~pairs["is_control"].values,
        "one host": pairs["host_index"].values == pairs["host_index"].values[0],
    }[rows]
    few = pairs.isel(sample=pick)
    with few_images():  # which have no classes
        found = findings(measure(Block(few, CONFIG)).results(Settings(CONFIG, 1)))
    assert alarms(found) == {}
    untested = {(f.diagnostic, f.check) for f in found if f.status is Status.NOT_TESTED}
    assert ("balance", "means of the classes") in untested
    if rows != "injections":
        assert ("annulus", "pedestal at r >= 20 pix") in untested
