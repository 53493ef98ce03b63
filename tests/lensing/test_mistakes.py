"""Mistakes that others made, made again on purpose: each must fail the check that the engine passes."""

import numpy as np
import pytest

from lensflow.lensing import psf
from lensflow.lensing.render import render_arcs
from lensflow.lensing.render_reference import lensed_light, ray_positions

from .references import brute_force
from .rows import error_over_peak, one_row, scalars

PIXEL = 0.262
ROW = one_row(src_reff_arcsec=0.25, src_flux_nmgy=[5.0], psf_fwhm_arcsec=[1.3])
GOAL = 1e-3


@pytest.fixture(scope="module")
def truth():
    return brute_force(ROW, np.array(["moffat"]), tolerance=2e-6)  # a hundredth of the least that is missed


def misses(arc, truth):
    """Error over peak, in units of the goal."""
    return error_over_peak(arc, truth)[0] / GOAL


def convolve(light, kernel_of, period=192):
    """Light in pixels of the padded field, convolved with the kernel laid out on the periodic canvas."""
    row = scalars(ROW)
    kernel = kernel_of(row["psf_fwhm_arcsec"][0] / PIXEL)
    image = np.fft.irfft2(np.fft.rfft2(light, s=(period, period)) * np.fft.rfft2(kernel), s=(period, period))
    return row["src_flux_nmgy"][0] * image[None, None, 16:80, 16:80]


def binned_light(s):
    row = scalars(ROW)
    x, y = (ray_positions(64, 16, s, PIXEL, row[k]) for k in ("x_center", "y_center"))
    return lensed_light(row, x[None, :], y[:, None]).reshape(96, s, 96, s).mean(axis=(1, 3)) * PIXEL**2


def full_kernel(fwhm_pix, period=192):
    axis = np.fft.fftfreq(period, 1 / period)
    return psf.profile(np.hypot(axis[:, None], axis), fwhm_pix)


def clipped(fwhm_pix, shift, size=19, period=192):
    kernel = np.zeros((period, period))
    kernel[:size, :size] = psf.kernel(size, fwhm_pix) / psf.kernel(size, fwhm_pix).sum()
    return shift(kernel)


@pytest.mark.slow
def test_the_engine_itself_passes(truth):
    assert misses(render_arcs(ROW), truth) < 0.3


def test_sampling_at_pixel_centres_only_is_caught(truth):
    assert misses(convolve(binned_light(1), full_kernel), truth) > 10


def test_the_pixel_applied_twice_is_caught(truth):
    # 8 x 8 rays averaged over their pixel, then convolved with the effective PSF: about 1 % of the peak.
    assert misses(convolve(binned_light(8), full_kernel), truth) > 5


def test_a_clipped_kernel_is_caught(truth):
    assert misses(convolve(binned_light(8), lambda w: clipped(w, lambda k: np.roll(k, (-9, -9), (0, 1)))), truth) > 10


def test_a_kernel_left_in_the_corner_and_ifftshifted_is_caught(truth):
    assert misses(convolve(binned_light(8), lambda w: clipped(w, np.fft.ifftshift)), truth) > 500


def test_sigma_taken_for_fwhm_is_caught(truth):
    assert misses(render_arcs({**ROW, "psf_fwhm_arcsec": ROW["psf_fwhm_arcsec"] * 2.3548}), truth) > 100


def test_psfsize_taken_for_the_moffat_fwhm_is_caught(truth):
    assert misses(render_arcs({**ROW, "psf_fwhm_arcsec": ROW["psf_fwhm_arcsec"] / 0.811}), truth) > 50


def test_a_centre_half_a_pixel_off_is_caught(truth):
    assert misses(render_arcs({**ROW, "x_center": ROW["x_center"] + 0.5}), truth) > 50


def test_a_missing_sqrt_q_is_caught(truth):
    wrong = {**ROW, "theta_e_arcsec": ROW["theta_e_arcsec"] / np.sqrt(ROW["lens_q"])}
    assert misses(render_arcs(wrong), truth) > 100


def test_a_slope_taken_for_isothermal_is_caught():
    row = one_row(lens_model="EPL", lens_gamma=2.1, src_reff_arcsec=0.25)
    assert error_over_peak(render_arcs({**row, "lens_gamma": np.array([2.0])}), render_arcs(row))[0] > 20 * GOAL
