import json
import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.config import DiagnosticsConfig
from lensflow.errors import ConfigError, StoreError
from lensflow.measure.pixels import ONE_PASS, Block, Settings, measure
from lensflow.stats import codec
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig(bootstrap=60)
PAIRS = pairs_block()
WHOLE = measure(Block(PAIRS, CONFIG), ONE_PASS).results(Settings(CONFIG, 3))


def merged(blocks):
    parts = [measure(Block(b, CONFIG), ONE_PASS) for b in blocks]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def assert_same(results, expected, rtol=1e-10):
    assert list(results) == list(expected)
    for name, ds in expected.items():
        for v in ds.data_vars:
            values, wanted = results[name][v].values, ds[v].values
            if np.issubdtype(wanted.dtype, np.floating):
                # Means near 0 and p values near 0 are differences of larger sums: relative to the largest of them.
                floor = 1e-12 * np.max(np.abs(wanted[np.isfinite(wanted)]), initial=1e-6)
                # Scatter that comes from sums of squares keeps half of the digits.
                loose = 1e-5 if name == "balance" else 1e-6 if "p_value" in v else rtol
                np.testing.assert_allclose(values, wanted, rtol=loose, atol=floor, err_msg=v)
            else:
                np.testing.assert_array_equal(values, wanted, err_msg=v)


@settings(max_examples=8, deadline=None)
@given(parts=st.lists(st.integers(0, 3), min_size=40, max_size=40), order=st.permutations(range(4)))
def test_merging_any_partition_in_any_order_gives_the_same_results(parts, order):
    blocks = [PAIRS.isel(sample=np.flatnonzero(np.array(parts) == p)) for p in order]
    assert_same(merged(blocks).results(Settings(CONFIG, 3)), WHOLE)


def test_order_of_rows_does_not_matter():
    shuffled = PAIRS.isel(sample=np.random.default_rng(0).permutation(PAIRS.sizes["sample"]))
    assert_same(measure(Block(shuffled, CONFIG), ONE_PASS).results(Settings(CONFIG, 3)), WHOLE)


@pytest.mark.parametrize("rows", ["none", "controls", "one"])
def test_blocks_without_injections_give_nan_and_no_error(rows):
    pick = {"none": [], "controls": np.flatnonzero(PAIRS["is_control"]), "one": [1]}[rows]
    few = measure(Block(PAIRS.isel(sample=pick), CONFIG), ONE_PASS)
    results = few.results(Settings(CONFIG, 3))
    assert np.isnan(results["annulus"]["core_low"]).all()
    assert int(results["annulus"]["n_controls"]) == (len(pick) if rows == "controls" else 0)
    if rows != "one":
        assert np.isnan(results["radial_profile"]["profile"]).all()
        assert np.isnan(results["stratified"]["leakage_pct_pooled"]).all()
        assert np.isnan(results["regression"]["slope"]).all()
    rest = PAIRS.isel(sample=np.setdiff1d(np.arange(PAIRS.sizes["sample"]), pick))
    assert_same((measure(Block(rest, CONFIG), ONE_PASS) + few).results(Settings(CONFIG, 3)), WHOLE)


def test_results_come_back_from_strict_json_as_they_were():
    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    text = codec.dumps(WHOLE)
    json.loads(text, parse_constant=refuse)
    back = codec.loads(text)
    for name, ds in WHOLE.items():
        xr.testing.assert_identical(back[name], ds)


def test_every_result_explains_itself():
    for ds in WHOLE.values():
        for v in ds.data_vars.values():
            assert v.attrs["long_name"]
            assert "units" in v.attrs


def test_summaries_travel_between_processes():
    there = pickle.loads(pickle.dumps(measure(Block(PAIRS, CONFIG), ONE_PASS)))
    assert_same(there.results(Settings(CONFIG, 3)), WHOLE)


def test_an_absent_band_is_left_out():
    n_injections = int(WHOLE["annulus"]["n_injections"])
    absent = int((~np.isfinite(PAIRS["psf_fwhm_arcsec"].values[:, 0]) & ~PAIRS["is_control"].values).sum())
    assert absent > 0
    assert WHOLE["annulus"]["n_rows"].values.tolist() == [n_injections - absent, n_injections, n_injections]


def test_a_row_with_a_pixel_that_is_not_finite_is_left_out_and_counted():
    broken = PAIRS.copy(deep=True)
    broken["stamp"][2, 1, 0, 0] = np.nan
    results = measure(Block(broken, CONFIG), ONE_PASS).results(Settings(CONFIG, 3))
    assert results["annulus"]["n_nonfinite"].values.tolist() == [0, 1, 0]
    assert np.isfinite(results["annulus"]["core_mean"]).all()
    without = PAIRS.copy(deep=True)
    without["psf_fwhm_arcsec"][2, 1] = np.nan
    wanted = measure(Block(without, CONFIG), ONE_PASS).results(Settings(CONFIG, 3))
    np.testing.assert_array_equal(results["radial_profile"]["profile"], wanted["radial_profile"]["profile"])


def test_what_is_missing_is_named():
    with pytest.raises(StoreError, match="ctrl is missing"):
        measure(Block(PAIRS.drop_vars("ctrl"), CONFIG), ONE_PASS)


def test_summaries_of_other_strata_are_refused():
    other = DiagnosticsConfig(theta_e_edges=(0, 1, 3), bootstrap=60)
    with pytest.raises(ConfigError, match="different layout"):
        measure(Block(PAIRS, CONFIG), ONE_PASS) + measure(Block(PAIRS, other), ONE_PASS)
    with pytest.raises(ConfigError, match="different layout"):
        measure(Block(PAIRS, CONFIG), ONE_PASS).results(Settings(other, 3))
