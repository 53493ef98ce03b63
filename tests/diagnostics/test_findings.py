"""All diagnostics on a real, small run: nothing is amiss, and the lazy way says the same as the one pass."""

import itertools

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.config import DiagnosticsConfig
from lensflow.diagnostics import DIAGNOSTICS, Status, Summaries, alarms, findings
from lensflow.diagnostics.deflection_check import deflection_check
from lensflow.diagnostics.specimens import Specimens
from lensflow.diagnostics.zoo import small_run
from tests.diagnostics.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=100)


@pytest.fixture(scope="module")
def run():
    return small_run(hosts=24, per_host=4)


@pytest.fixture(scope="module")
def pairs(run):
    return run.pairs()


@pytest.fixture(scope="module")
def results(run, pairs):
    return Summaries.from_block(pairs, CONFIG).results(CONFIG, 1, run.injection)


def test_a_sound_run_has_no_alarm_and_every_diagnostic_is_tested(results):
    found = findings(results)
    assert {f.diagnostic for f in found} == set(DIAGNOSTICS) == set(results)
    assert alarms(found) == {}
    assert all(f.status is Status.OK for f in found), [f for f in found if f.status is not Status.OK]


def test_specimens_are_the_same_rows_however_the_work_is_divided(pairs):
    whole = Specimens.from_block(pairs)
    n = pairs.sizes["sample"]
    for edges in ([0, 7, 50, n], [0, 60, n]):
        parts = [Specimens.from_block(pairs.isel(sample=slice(a, b))) for a, b in itertools.pairwise(edges)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        assert np.array_equal(total.keys, whole.keys)
        assert np.array_equal(total.arc, whole.arc)
        assert np.array_equal(total.columns["row_id"], whole.columns["row_id"])


def test_the_lazy_way_says_what_the_one_pass_says(run, results):
    config = run.config.model_copy(update={"diagnostics": CONFIG, "seed": 1})
    lazy = lf.diagnose(run.lazy(chunk=17), config)
    assert list(lazy) == list(results)
    for name, ds in results.items():
        for v in ds.data_vars:
            if ds[v].dtype.kind == "f":
                floor = 1e-9 * np.max(np.abs(ds[v].values[np.isfinite(ds[v].values)]), initial=1e-6)
                np.testing.assert_allclose(lazy[name][v], ds[v], rtol=1e-5, atol=floor, err_msg=f"{name}.{v}")
            else:
                xr.testing.assert_equal(lazy[name][v], ds[v])


def test_a_shift_of_a_tenth_of_a_pixel_is_found_with_its_size(results):
    found = results["alignment"]
    assert (found["injected_found_low"] > 0.09).all()
    assert np.allclose(found["injected_found"], 0.1, atol=0.005)


def test_noise_names_the_declared_sky(results):
    noise = results["noise"]
    assert np.allclose(noise["sky_mag"], noise["sky_mag_declared"], atol=0.05)


def test_deflections_of_the_installed_code_are_those_of_the_lens_equation():
    found = deflection_check()
    assert np.allclose(found["place"], found["place_expected"], atol=4e-3)
    assert np.allclose(found["flux"], found["flux_expected"], rtol=8e-3)


def test_what_cannot_be_made_anew_is_said():
    pairs = pairs_block()
    found = findings(Summaries.from_block(pairs, CONFIG).results(CONFIG, 1))
    untested = {f.diagnostic: f.text for f in found if f.status is Status.NOT_TESTED}
    assert "do not say psf_model" in untested["psf"] and "do not say psf_model" in untested["rendering"]


@pytest.mark.parametrize("rows", ["controls", "injections", "one host"])
def test_a_missing_class_or_a_single_host_is_not_tested_and_no_alarm(pairs, rows):
    pick = {
        "controls": pairs["is_control"].values,
        "injections": ~pairs["is_control"].values,
        "one host": pairs["host_index"].values == pairs["host_index"].values[0],
    }[rows]
    few = pairs.isel(sample=pick)
    sums = Summaries.from_block(few, CONFIG)
    found = findings(sums.one_pass(CONFIG, 1))
    assert alarms(found) == {}
    untested = {(f.diagnostic, f.check) for f in found if f.status is Status.NOT_TESTED}
    assert ("balance", "means of the classes") in untested
    if rows != "injections":
        assert ("annulus", "pedestal at r >= 20 pix") in untested
