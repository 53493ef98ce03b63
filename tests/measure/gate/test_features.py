import numpy as np
import pytest

from lensflow.errors import GateError, StoreError
from lensflow.measure.gate import feature_rows
from lensflow.measure.gate.features import features_of, sources_of
from lensflow.stats.kept_rows import KeptRows
from tests.measure.pixels.pairs_factory import SKY_SIGMA, pairs_block

PAIRS = pairs_block(size=64)
CORE = ("core_r", "core_all")
ROWS = np.flatnonzero(~PAIRS["is_control"].values)


def boxes(values):
    return values[ROWS][:, :, 27:37, 27:37].reshape(len(ROWS), 3, 100)


def test_core_features_are_the_pixels_27_to_37_of_injection_rows():
    block = feature_rows(PAIRS, CORE, 10)
    assert sources_of(block) == ["core_raw"]
    core = features_of(block, "core_raw")
    np.testing.assert_array_equal(core.stamp, boxes(PAIRS["stamp"].values))
    np.testing.assert_array_equal(core.ctrl, boxes(PAIRS["ctrl"].values))
    np.testing.assert_array_equal(core.expected, boxes(PAIRS["ctrl"].values + PAIRS["arc"].values))
    for name in ("host_index", "row_id", "theta_e_arcsec", "arc_snr", "split"):
        np.testing.assert_array_equal(block[name], PAIRS[name].values[ROWS])
    np.testing.assert_array_equal(block["covered"], np.isfinite(PAIRS["psf_fwhm_arcsec"].values[ROWS]))
    assert core.stamp.dtype == np.float32


def test_controls_that_differ_within_a_host_are_kept_apart():
    own = PAIRS.copy(deep=True)
    own["ctrl"].values[ROWS] += np.arange(len(ROWS), dtype=np.float32)[:, None, None, None]
    block = feature_rows(own, CORE, 10)
    np.testing.assert_array_equal(features_of(block, "core_raw").ctrl, boxes(own["ctrl"].values))


def test_pairs_without_arcs_have_no_reference():
    block = feature_rows(PAIRS.drop_vars("arc"), CORE, 10)
    assert features_of(block, "core_raw").expected is None


def test_sky_sigma_is_the_scatter_away_from_the_galaxy():
    sigma = np.median(feature_rows(pairs_block(size=128), CORE, 10)["sky_sigma"], axis=0)
    np.testing.assert_allclose(sigma, list(SKY_SIGMA.values()), rtol=0.2)


def test_joined_blocks_equal_the_whole_in_every_recipe():
    recipes = ("core_r", "core_all_robust", "stamp_all_asinh", "colour_all", "power_r", "noise_all", "azimuth_all")
    parts = [feature_rows(PAIRS.isel(sample=s), recipes, 10) for s in (slice(0, 0), slice(0, 13), slice(13, None))]
    whole, joined = feature_rows(PAIRS, recipes, 10), KeptRows.concat(map(KeptRows, parts)).rows
    assert joined.sizes["sample"] == whole.sizes["sample"] == 32
    assert set(sources_of(whole)) == {
        "core_raw", "core_robust", "stamp_asinh", "brightness_raw", "power_raw", "noise_raw", "azimuth_raw"
    }  # fmt: skip
    for name in sources_of(whole):
        for kind, values in features_of(whole, name)._asdict().items():
            other = getattr(features_of(joined, name), kind)
            np.testing.assert_allclose(other, values, rtol=1e-5, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(joined["host_index"], whole["host_index"])


def test_blocks_of_controls_only_are_empty():
    block = feature_rows(PAIRS.isel(sample=np.flatnonzero(PAIRS["is_control"])), ("core_all", "power_all"), 10)
    assert block.sizes["sample"] == 0
    assert features_of(block, "core_raw").stamp.shape == (0, 3, 100)


def test_errors_name_the_recipe_band_or_variable():
    with pytest.raises(GateError, match="no band 'i'"):
        feature_rows(PAIRS, ["core_i"], 10)
    with pytest.raises(GateError, match="Did you mean 'core'"):
        feature_rows(PAIRS, ["coer_all"], 10)
    with pytest.raises(StoreError, match="ctrl is missing"):
        feature_rows(PAIRS.drop_vars("ctrl"), CORE, 10)
    with pytest.raises(GateError, match=r"size of core_raw\.feature"):
        KeptRows.concat([KeptRows(feature_rows(PAIRS, CORE, n)) for n in (10, 8)])
