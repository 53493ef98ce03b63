import numpy as np
import pytest

from lensflow.errors import GateError, StoreError
from lensflow.gates import FeatureBlock, core_block
from tests.diagnostics.pairs_factory import SKY_SIGMA, pairs_block

PAIRS = pairs_block(size=64)


def test_features_are_the_pixels_27_to_37_of_injection_rows():
    block = core_block(PAIRS, 10, ["g", "r", "z"])
    rows = np.flatnonzero(~PAIRS["is_control"].values)
    np.testing.assert_array_equal(block.stamp, PAIRS["stamp"].values[rows, :, 27:37, 27:37])
    np.testing.assert_array_equal(block.ctrl, PAIRS["ctrl"].values[rows, :, 27:37, 27:37])
    np.testing.assert_array_equal(block.host_index, PAIRS["host_index"].values[rows])
    np.testing.assert_array_equal(block.row_id, PAIRS["row_id"].values[rows])
    np.testing.assert_array_equal(block.covered, np.isfinite(PAIRS["psf_fwhm_arcsec"].values[rows]))
    assert block.stamp.dtype == np.float32


def test_bands_are_taken_in_the_order_that_is_asked_for():
    every, some = core_block(PAIRS, 6), core_block(PAIRS, 6, ["z", "g"])
    np.testing.assert_array_equal(some.stamp, every.stamp[:, [2, 0]])
    np.testing.assert_array_equal(some.covered, every.covered[:, [2, 0]])


def test_sky_sigma_is_the_scatter_away_from_the_galaxy():
    sigma = np.median(core_block(pairs_block(size=128), 10).sky_sigma, axis=0)
    np.testing.assert_allclose(sigma, list(SKY_SIGMA.values()), rtol=0.2)


def test_joined_blocks_equal_the_whole():
    parts = [core_block(PAIRS.isel(sample=s), 10) for s in (slice(0, 0), slice(0, 13), slice(13, None))]
    whole, joined = core_block(PAIRS, 10), FeatureBlock.concat(parts)
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert len(FeatureBlock.concat(parts)) == len(whole) == 32


def test_blocks_of_controls_only_are_empty():
    block = core_block(PAIRS.isel(sample=np.flatnonzero(PAIRS["is_control"])), 10)
    assert len(block) == 0
    assert block.stamp.shape == (0, 3, 10, 10)


def test_errors_name_the_band_or_variable():
    with pytest.raises(GateError, match="no band 'i'"):
        core_block(PAIRS, 10, ["i"])
    with pytest.raises(StoreError, match="ctrl is missing"):
        core_block(PAIRS.drop_vars("ctrl"), 10)
    with pytest.raises(GateError, match="no block"):
        FeatureBlock.concat([])
    with pytest.raises(GateError, match="different"):
        FeatureBlock.concat([core_block(PAIRS, 10), core_block(PAIRS, 8)])
