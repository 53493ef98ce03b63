"""PSF images sampled at another scale than the survey's pixels, against galsim; and kernels that are too narrow."""

import warnings

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import LensflowWarning, RenderError
from lensflow.lensing import prepare_kernel, psf, resample_kernel
from lensflow.lensing.psf_image import kernel_fwhm_pix

PIXEL = 0.262


def drawn(fwhm_arcsec, size, scale, **shear):
    """The effective PSF (a survey pixel's response included) sampled at a scale, by galsim."""
    profile = (
        galsim.Moffat(beta=3.5, fwhm=fwhm_arcsec).shear(**shear) if shear else galsim.Moffat(3.5, fwhm=fwhm_arcsec)
    )
    whole = galsim.Convolve(profile, galsim.Pixel(PIXEL))
    return whole.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=float).array


@pytest.mark.parametrize(
    "oversampling, size", [(2, 101), (2, 100), (3, 151), (1 / 0.6, 91), (PIXEL / 0.2, 81), (0.9, 41)]
)
def test_a_resampled_kernel_is_what_galsim_draws_at_the_pixels(oversampling, size):
    fine = drawn(1.1, size, PIXEL / oversampling, g1=0.1, g2=-0.05)
    found = resample_kernel(fine, oversampling)
    expected = drawn(1.1, len(found), PIXEL, g1=0.1, g2=-0.05)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(found - expected / fine.sum()).max() < 2e-4 * expected.max()
    assert kernel_fwhm_pix(found) == pytest.approx(kernel_fwhm_pix(expected), rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.floats(3.0, 8.0), st.floats(0.9, 5.0), st.floats(0.1, 100.0))
def test_flux_centre_and_width_are_kept_at_any_scale_and_normalisation(fwhm_pix, oversampling, flux):
    size = 2 * int(25 * oversampling) + 1
    fine = flux * psf.kernel(size, fwhm_pix * oversampling, "gaussian")
    found = resample_kernel(fine, oversampling)
    axis = np.arange(len(found)) - (len(found) - 1) / 2
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert (found.sum(axis=0) @ axis, found.sum(axis=1) @ axis) == pytest.approx((0, 0), abs=1e-6)
    assert np.abs(found - psf.kernel(len(found), fwhm_pix, "gaussian")).max() < 1e-3 * found.max()


def test_a_kernel_at_the_pixels_own_scale_stays_as_it_is():
    kernel = psf.kernel(31, 4.0)
    assert np.allclose(resample_kernel(kernel, 1.0), kernel / kernel.sum(), atol=1e-15)


def test_the_size_asked_for_crops_or_pads_about_the_centre():
    fine = psf.kernel(101, 9.0)
    whole = resample_kernel(fine, 2.0)
    assert whole.shape == (51, 51)
    assert np.array_equal(resample_kernel(fine, 2.0, size=31), whole[10:-10, 10:-10])
    padded = resample_kernel(fine, 2.0, size=63)
    assert np.array_equal(padded[6:-6, 6:-6], whole) and padded.sum() == pytest.approx(whole.sum(), abs=1e-15)
    with pytest.raises(RenderError, match="size must be odd"):
        resample_kernel(fine, 2.0, size=30)


@pytest.mark.parametrize(
    "kernel, oversampling, why",
    [
        (np.ones((5, 6)), 2.0, "square and finite"),
        (np.full((7, 7), np.nan), 2.0, "square and finite"),
        (np.zeros((7, 7)), 2.0, "positive flux"),
        (psf.kernel(31, 4.0), 0.0, "oversampling must be positive"),
        (psf.kernel(31, 4.0), np.nan, "oversampling must be positive"),
        (psf.kernel(31, 1.5), 0.5, "of its own samples"),
    ],
)
def test_what_cannot_be_resampled_is_refused(kernel, oversampling, why):
    with pytest.raises(RenderError, match=f"band z: .*{why}"):
        resample_kernel(kernel, oversampling, name="band z")


@pytest.mark.parametrize("model, beta", [("gaussian", 3.5), ("moffat", 3.5), ("moffat", 2.5)])
def test_a_kernels_fwhm_is_measured_to_one_percent(model, beta):
    for fwhm in (2.0, 2.5, 4.0, 9.0):
        assert kernel_fwhm_pix(psf.kernel(41, fwhm, model, beta)) == pytest.approx(fwhm, rel=0.01)
    # Between four pixels the peak of a narrow PSF is not seen.
    for fwhm, error in ((2.5, 0.04), (4.0, 0.01), (9.0, 0.01)):
        assert kernel_fwhm_pix(psf.kernel(42, fwhm, model, beta)) == pytest.approx(fwhm, rel=error)


@pytest.mark.parametrize("model", ["gaussian", "moffat"])
def test_a_kernel_narrower_than_two_pixels_is_refused(model):
    with pytest.raises(RenderError, match=r"band g: its FWHM is 1\.\d+ pixels; below 2 .*resample_kernel"):
        prepare_kernel(psf.kernel(41, 1.8, model), name="band g")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LensflowWarning)
        assert prepare_kernel(psf.kernel(41, 2.0, model)).fwhm_pix == pytest.approx(2.0, rel=0.01)
    spike = np.zeros((9, 9))
    spike[4, 4] = 1
    with pytest.raises(RenderError, match="below 2"):
        prepare_kernel(spike)


def test_an_asymmetric_kernel_is_centred_on_its_core_and_the_warning_names_both_centroids():
    skirted = 0.7 * psf.kernel(41, 4.0, "gaussian") + 0.3 * np.roll(psf.kernel(41, 8.0, "gaussian"), 3, axis=1)
    with pytest.warns(LensflowWarning, match=r"Gaussian-weighted; the plain first moment is at \+0\.9\d\d"):
        prepared = prepare_kernel(skirted)
    assert prepared.recentred and 0.2 < prepared.offset_x_pix < 0.6
