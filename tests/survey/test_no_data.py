"""Pixels without data that nothing in the file marks: what is found, and what must never be taken for it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lensflow.schema import Reason, Status
from lensflow.survey.layout import Layout
from lensflow.survey.no_data import SENTINELS, dithered_zeros, padding
from tests.survey.brick_factory import BRICK, SURVEY, brick_wcs, targets, write_brick


def through_fits(image, method=1, level=4, tile=(50, 100), seed=3):
    """An image as astropy reads it back from a tile-compressed file."""
    buffer = io.BytesIO()
    hdu = fits.CompImageHDU(image, quantize_method=method, quantize_level=level, dither_seed=seed, tile_shape=tile)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    return fits.getdata(io.BytesIO(buffer.getvalue()), 1)


@settings(max_examples=15, deadline=None)
@example(columns=98, level=2, scale=1e-3, spread=0.5, seed=3)
@given(
    columns=st.integers(0, 100),
    level=st.sampled_from([2, 4, 16]),
    scale=st.sampled_from([1e-3, 1.0, 4e4, 1e9]),
    spread=st.floats(0.01, 0.5),
    seed=st.integers(1, 10_000),
)
def test_dithered_zeros_of_any_image_are_found_and_no_weight_above_a_step_is_taken_for_one(
    columns, level, scale, spread, seed
):
    rng = np.random.default_rng(seed)
    weights = (scale * rng.uniform(1 - spread, 1 + spread, (100, 100))).astype(np.float32)
    weights[:, :columns] = 0
    stored = through_fits(weights, level=level, seed=seed)
    nothing = dithered_zeros(stored) | (stored == 0)
    # A weight that comes back as less than a step of the quantisation may be a zero of a tile with larger steps.
    step = 2 * 1.001 * np.abs(stored[weights == 0]).max(initial=0)
    assert not nothing[(weights > 0) & (stored > step)].any()
    # A zero that the dither moved beyond the step that its neighbours show may be missed, one in a thousand.
    assert (~nothing[weights == 0]).sum() <= 1e-3 * max((weights == 0).sum(), 1)


def test_exact_zeros_and_low_weights_are_left_as_they_are():
    weights = np.full((60, 60), 5e4, np.float32)
    weights[:, :20] = 0
    weights[:, 20:25] = 5e4 / 100  # one exposure beside a hundred
    assert not dithered_zeros(weights).any()


def test_a_large_negative_weight_is_an_error_and_not_the_scale_of_the_others():
    weights = np.full((60, 60), 5e4, np.float32)
    weights[3, 4] = -5e4
    assert not dithered_zeros(weights).any()


def test_a_target_in_a_dithered_gap_has_no_coverage(tmp_path):
    from lensflow.survey.cutouts import cut_block

    def gap(products):
        products["invvar", "g"][:, :160] = 0
        products["image", "g"][:, :160] = 0
        for band in "grz":
            products.pop(("nexp", band))

    products = write_brick(tmp_path, edit=gap)
    weights = products["invvar", "g"].copy()
    weights[:, :160] = 0
    stored = fits.CompImageHDU(
        weights, brick_wcs().to_header(), quantize_method=1, quantize_level=4, dither_seed=5, tile_shape=(100, 300)
    )
    path = Layout(str(tmp_path)).path(BRICK, "invvar", "g")
    fits.HDUList([fits.PrimaryHDU(), stored]).writeto(path, overwrite=True)
    assert (fits.getdata(path, 1)[:, :160] != 0).any()
    out = cut_block(targets([150, 250], [150, 150]), Layout(str(tmp_path)), "grz", SURVEY)
    assert out["covered"].values[:, 0].tolist() == [False, True]
    assert int(out["band_reasons"][0, 0]) & Reason.NO_COVERAGE
    assert not int(out["band_reasons"][0, 0]) & Reason.NONFINITE
    assert (out["invvar"].values[0, 0][:, :40] == 0).all()
    assert out["status"].values.tolist() == [Status.PARTIAL, Status.OK]


@settings(max_examples=40, deadline=None)
@given(
    value=st.sampled_from([*SENTINELS, 1e20, -1e30, np.nan, np.inf, 0.37]),
    left=st.integers(0, 20),
    top=st.integers(0, 20),
    sky=st.sampled_from([0.0, 0.37, -3.0, 1000.0]),
    quantum=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 10_000),
)
def test_a_frame_of_any_value_is_padding_and_no_pixel_of_the_sky_is(value, left, top, sky, quantum, seed):
    stamp = np.random.default_rng(seed).normal(sky, 1.0, (64, 64))
    if quantum:
        stamp = np.round(stamp / quantum) * quantum
    frame = np.zeros((64, 64), bool)
    frame[:top], frame[:, :left] = True, True
    stamp[frame] = value
    found = padding(stamp.astype(np.float32))
    assert found[frame].all()
    # A pixel of a quantised sky that has the frame's own value and touches it cannot be told from it.
    alike = (stamp == value) & ~frame
    assert not (found & ~frame & ~alike).any()


@pytest.mark.parametrize("seed", range(5))
def test_sparse_counts_are_no_padding(seed):
    counts = np.random.default_rng(seed).poisson(0.7, (80, 80)).astype(np.float32)
    assert padding(counts).mean() < 1e-3


def test_a_hole_of_zeros_is_padding_and_a_saturated_star_is_not():
    stamp = np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32)
    stamp[30:36, 40:46] = 0
    stamp[10:16, 10:16] = 5e4
    found = padding(stamp)
    assert found[30:36, 40:46].all()
    assert found.sum() == 36


def test_one_line_of_zeros_along_an_edge_is_padding():
    stamp = np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32)
    stamp[:, -1] = 0
    found = padding(stamp)
    assert found[:, -1].all()
    assert found.sum() == 64
