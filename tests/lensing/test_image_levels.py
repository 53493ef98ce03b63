"""Coarser copies of an image keep its flux, centroid and size, and its detail up to what their knots can hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from lensflow.lensing.engine import image_lookup
from lensflow.lensing.image_levels import FRAME, make_levels
from lensflow.lensing.source_image import interpolate


def level_of(levels, k):
    start, rows, columns = levels.frame[k]
    return levels.pixels[start : start + rows * columns].reshape(rows, columns).astype(float)


def blob(x, y, width, shape=(67, 90)):
    i, j = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-0.5 * ((j - x) ** 2 + (i - y) ** 2) / width**2)


@given(st.floats(25, 60), st.floats(20, 45), st.floats(1.0, 6.0), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_every_level_has_the_flux_and_the_centroid_of_the_image(x, y, width, seed):
    image = blob(x, y, width) * np.random.default_rng(seed).uniform(0.5, 1.5, (67, 90))
    levels = make_levels(image, 4.0)
    assert len(levels.frame) == 3
    i, j = np.mgrid[:67, :90]
    for k in range(3):
        light, knots = level_of(levels, k), 2**k
        at = [(np.arange(n) - FRAME) * knots for n in light.shape]
        assert light.sum() * knots**2 == pytest.approx(image.sum(), rel=1e-6)
        assert light.sum(0) @ at[1] / light.sum() == pytest.approx((image * j).sum() / image.sum(), abs=2e-3)
        assert light.sum(1) @ at[0] / light.sum() == pytest.approx((image * i).sum() / image.sum(), abs=2e-3)


def test_a_level_holds_what_is_smooth_on_its_knots_and_drops_what_is_not():
    spline = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)
    for width, worst in ((12.0, 2e-4), (2.0, None)):
        image = blob(84.3, 73.1, width, (150, 170))
        light = level_of(make_levels(image, 4.0), 2)
        y, x = (np.nan_to_num(spline(np.arange(n)[:, None] / 4 + FRAME - np.arange(m)))
                for n, m in zip(image.shape, light.shape, strict=True))  # fmt: skip
        away = np.abs(y @ light @ x.T - image).max()
        assert away < worst if worst else away > 0.02


def test_light_between_pixels_is_cubic_convolution_or_the_spline():
    rng = np.random.default_rng(1)
    image = np.ascontiguousarray(rng.uniform(0, 1, (20, 24)), dtype=np.float32)
    spline = BSpline.basis_element(np.arange(-2, 3), extrapolate=False)
    from lensflow.jit import compiled

    @compiled()
    def look(pixels, start, kind, tx, ty, taps):
        return image_lookup.between_pixels(pixels, start, 24, taps, kind, tx, ty)

    for x, y in rng.uniform(2, 17, (50, 2)):
        i, j = int(y), int(x)
        found = [
            look(image.ravel(), (i - 1) * 24 + j - 1, kind, np.float32(x - j), np.float32(y - i), image_lookup.TAPS)
            for kind in (0, 1)
        ]
        truth = np.nan_to_num(spline(y - np.arange(20))) @ image @ np.nan_to_num(spline(x - np.arange(24)))
        assert found == pytest.approx([interpolate.py_func(image, x, y), truth], abs=2e-6)
