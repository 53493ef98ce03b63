import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import LensflowWarning, RenderError
from lensflow.lensing import psf
from lensflow.lensing.psf_image import kernel_transform, prepare_kernel

COADD = Path(__file__).parents[2].parent / "shared" / "data" / "ls_dr9_brick" / "coadd" / "059" / "0591m305"
COADD_PSF = COADD / "coadd-psf-0591m305.fits"


def gaussian(size, fwhm, dx=0.0, dy=0.0):
    axis = np.arange(size) - (size - 1) / 2
    return psf.profile(np.hypot((axis - dy)[:, None], axis - dx), fwhm, "gaussian")


def image_of_a_point(kernel_psf, size=41, dx=0.0, dy=0.0, period=64):
    """A point at (dx, dy) from the middle pixel, convolved and sampled at pixel centres."""
    f = np.fft.fftfreq(period)
    at = (size - 1) / 2 + np.array([dx, dy])
    spectrum = kernel_psf.transform(f, f) * np.exp(-2j * np.pi * (f * at[0] + f[:, None] * at[1]))
    return np.fft.ifft2(spectrum).real[:size, :size]


@pytest.mark.parametrize("size", [32, 33])
def test_a_centred_kernel_has_unit_flux_and_stays_as_it_is(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = prepare_kernel(7 * gaussian(size, 4.5))
    assert prepared.kernel.sum() == pytest.approx(1, abs=1e-14)
    assert not prepared.recentred
    assert (prepared.offset_x_pix, prepared.offset_y_pix) == pytest.approx((0, 0), abs=1e-8)
    assert prepared.noise_equivalent_area_pix == pytest.approx(psf.noise_equivalent_area(4.5, "gaussian"), rel=1e-6)
    assert prepared.psfsize_pix == pytest.approx(4.5, rel=1e-6)


@pytest.mark.parametrize("size", [32, 33])
def test_a_point_stays_where_it_is(size):
    prepared = prepare_kernel(gaussian(size, 4.5))
    for dx, dy in ((0, 0), (0.3, -0.45), (3, 2)):
        image = image_of_a_point(prepared, dx=dx, dy=dy)
        axis = np.arange(41) - 20
        centroid = (image.sum(axis=0) @ axis, image.sum(axis=1) @ axis)
        assert centroid == pytest.approx((dx, dy), abs=1e-6)


@pytest.mark.parametrize("fwhm, error", [(6.0, 1e-12), (4.0, 2e-7), (3.0, 7e-5), (2.5, 1e-3), (2.0, 1e-2)])
def test_the_band_limit_costs_what_is_claimed(fwhm, error):
    prepared = prepare_kernel(gaussian(41, fwhm))
    worst = 0.0
    for dx, dy in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.25, 0.1)):
        truth = gaussian(41, fwhm, dx, dy)
        worst = max(worst, np.abs(image_of_a_point(prepared, dx=dx, dy=dy) - truth).max() / truth.max())
    assert worst < error
    assert worst > error / 2 or fwhm == 6.0


def test_the_transform_is_the_analytic_one_below_nyquist_and_zero_beyond():
    f = np.linspace(-0.7, 0.7, 57)
    hat = kernel_transform(prepare_kernel(gaussian(40, 5.0)).kernel, f, f)
    truth = psf.gaussian_transform(np.hypot(f[:, None], f), 5.0)
    inside = np.abs(f) < 0.5
    np.testing.assert_allclose(hat[np.ix_(inside, inside)], truth[np.ix_(inside, inside)], atol=1e-7)
    assert (hat[~inside] == 0).all() and (hat[:, ~inside] == 0).all()


@given(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.sampled_from([30, 31]))
@settings(max_examples=15, deadline=None)
def test_an_off_centre_kernel_is_recentred_with_a_warning_or_refused(dx, dy, size):
    kernel = gaussian(size, 4.0, dx, dy)
    if np.hypot(dx, dy) < 0.051:
        return
    with pytest.warns(LensflowWarning, match="recentred"):
        prepared = prepare_kernel(kernel)
    assert prepared.recentred
    assert (prepared.offset_x_pix, prepared.offset_y_pix) == pytest.approx((dx, dy), abs=2e-3)
    np.testing.assert_allclose(prepared.kernel, gaussian(size, 4.0), atol=1e-5 * kernel.max())
    with pytest.raises(RenderError, match="centroid off by"):
        prepare_kernel(kernel, recentre=False)


def test_the_convention_of_a_peak_at_half_the_size_is_caught():
    # An even kernel made for an FFT peaks at n/2: half a pixel from (n - 1)/2 on both axes.
    with pytest.raises(RenderError, match=r"\+0.500, \+0.500"):
        prepare_kernel(gaussian(32, 4.0, 0.5, 0.5), recentre=False)


def test_a_kernel_in_the_array_s_corner_is_refused():
    with pytest.raises(RenderError, match="wrong array"):
        prepare_kernel(np.fft.ifftshift(gaussian(33, 4.0)))


@pytest.mark.parametrize("size, fwhm_arcsec, lost", [(19, 1.35, 0.022), (31, 1.35, 0.0025), (19, 2.2, 0.12)])
def test_clipped_wings_are_estimated_and_warned_of(size, fwhm_arcsec, lost):
    fwhm = fwhm_arcsec / 0.262
    truth = 1 - psf.kernel(size, fwhm).sum()
    assert truth == pytest.approx(lost, rel=0.3)
    with pytest.warns(LensflowWarning, match="beyond its"):
        estimate = prepare_kernel(psf.kernel(size, fwhm)).clipped_flux
    assert estimate == pytest.approx(truth, rel=0.35)


def test_a_large_enough_kernel_draws_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare_kernel(psf.kernel(63, 1.35 / 0.262)).clipped_flux < 1e-3


@pytest.mark.parametrize(
    "kernel, message",
    [
        (np.ones((5, 7)), "square"),
        (np.ones((3, 3)), "at least 5"),
        (np.zeros((9, 9)), "positive flux"),
        (np.full((9, 9), np.nan), "not finite"),
    ],
)
def test_what_is_no_psf_is_refused(kernel, message):
    with pytest.raises(RenderError, match=message):
        prepare_kernel(kernel, name="r band")


@pytest.mark.real
@pytest.mark.skipif(not COADD_PSF.is_file(), reason=f"no real data: {COADD_PSF} is absent")
def test_the_real_coadd_psfs_have_the_survey_s_psfsize():
    from astropy.io import fits

    with fits.open(COADD_PSF) as hdus:
        for hdu, band, psfsize in zip(hdus, "grz", (1.369, 1.249, 1.249), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LensflowWarning)
                prepared = prepare_kernel(hdu.data, name=f"coadd-psf {band}")
            print(band, prepared.offset_x_pix, prepared.offset_y_pix, prepared.recentred, prepared.clipped_flux)
            assert prepared.psfsize_pix * 0.262 == pytest.approx(psfsize, abs=0.01)
            assert prepared.kernel.sum() == pytest.approx(1, abs=1e-12)
            # What lies beyond Nyquist is not there: the samples are the whole PSF.
            f = np.array([-0.499, 0.0, 0.499])
            edge = np.abs(prepared.transform(f, f))
            assert edge[1, 1] == pytest.approx(1)
            assert max(edge[0, 1], edge[1, 0], edge[0, 0]) < 2e-3
