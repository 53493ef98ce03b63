"""Magnitudes and robust scatter against astropy, scipy and the definition."""

import re
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, norm

import lensflow
from lensflow import geometry
from lensflow.units import MAD_TO_SIGMA, mag_of_flux, median_and_sigma, nmgy_of_mag


@given(st.floats(5, 35))
def test_a_magnitude_is_a_flux_and_back(magnitude):
    assert mag_of_flux(nmgy_of_mag(magnitude)) == pytest.approx(magnitude, abs=1e-9)
    # astropy's AB zero point is 3631 Jy to 2e-5.
    jansky = (magnitude * u.ABmag).to(u.Jy).value
    assert nmgy_of_mag(magnitude) * 3.631e-6 == pytest.approx(jansky, rel=1e-4)


def test_without_light_there_is_no_magnitude_and_no_warning():
    with np.errstate(all="raise"):
        found = mag_of_flux(np.array([1.0, 0.0, -3.0, np.nan], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([22.5, np.nan, np.nan, np.nan]))
    assert mag_of_flux(100.0, zero_point=30) == 25


def test_the_scale_of_a_median_absolute_deviation_is_a_gaussians():
    assert pytest.approx(1 / norm.ppf(0.75), rel=1e-14) == MAD_TO_SIGMA
    values = np.random.default_rng(3).normal(7, 0.3, (4, 5, 301))
    median, sigma = median_and_sigma(values)
    np.testing.assert_allclose(sigma, median_abs_deviation(values, axis=-1, scale="normal"), rtol=1e-6)
    np.testing.assert_array_equal(median, np.median(values, axis=-1))
    assert median_and_sigma(values.astype(np.float32))[1].dtype == np.float32


def test_no_other_module_has_a_zero_point_or_a_scale_of_its_own():
    root = Path(lensflow.__file__).parent
    own = re.compile(r"(?<![\w.])(22\.5 - 2\.5|-0\.4 \* \([^)]* - 22\.5|1\.4826\d* \*|= 1\.4826|= 22\.5)")
    found = [p for p in root.rglob("*.py") if own.search(re.sub(r'""".*?"""', "", p.read_text(), flags=re.S))]
    assert found == [root / "units.py"]


@pytest.mark.parametrize("size", [8, 33, 64, 101])
def test_every_stamp_has_sky_pixels_that_reach_its_corners(size):
    sky, r = geometry.sky_pixels(size), geometry.radius_pix(size, (size - 1) / 2, (size - 1) / 2)
    assert sky[0, 0] and 0 < sky.mean() < 1
    assert sky.sum() == (r >= 20).sum() or size / 2 - 2 < 20
