"""The slow renderers that judge the engine, judged themselves: against direct sums and against each other."""

import numpy as np
import pytest

from lensflow.lensing import psf
from lensflow.lensing.render_reference import (
    adaptive_samples,
    image_of_samples,
    lensed_light,
    ray_positions,
    render_row_reference,
)

from .rows import one_row, scalars

PIXEL = 0.262


def small_row(**changes):
    return scalars(
        one_row(
            **{
                "x_center": 5.6,
                "y_center": 5.3,
                "theta_e_arcsec": 0.5,
                "psf_fwhm_arcsec": [1.3],
                "src_flux_nmgy": [2.0],
                **changes,
            }
        )
    )


def direct_sum(x, y, flux, size, model):
    """Sum over samples of flux x PSF, at the pixel centres; positions in pixels."""
    image = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            image[i, j] = np.sum(flux * psf.profile(np.hypot(j - x, i - y), 1.3 / PIXEL, model))
    return image


@pytest.mark.parametrize(("model", "tolerance"), [("gaussian", 1e-12), ("moffat", 2e-7)])
def test_uniform_rays_are_the_sum_over_rays_of_light_times_psf(model, tolerance):
    row, size, pad, s = small_row(), 12, 2, 2
    rays_x, rays_y = ray_positions(size, pad, s, PIXEL, 5.6), ray_positions(size, pad, s, PIXEL, 5.3)
    light = lensed_light(row, rays_x[None, :], rays_y[:, None]) * (PIXEL / s) ** 2
    direct = 2.0 * direct_sum(rays_x[None, :] / PIXEL + 5.6, rays_y[:, None] / PIXEL + 5.3, light, size, model)
    period = 256 if model == "moffat" else 64
    got = render_row_reference(
        row, stamp_size=size, pad_pix=pad, supersample=s, psf_model=model, period_pix=period
    )[0]  # fmt: skip
    np.testing.assert_allclose(got, direct, atol=tolerance * direct.max())


@pytest.mark.parametrize(("model", "tolerance"), [("gaussian", 1e-6), ("moffat", 2e-6)])
def test_the_fourier_sum_over_samples_is_the_direct_one(model, tolerance):
    rng = np.random.default_rng(0)
    samples = np.array([rng.uniform(-2, 13, 200), rng.uniform(-2, 13, 200), rng.uniform(0, 1, 200)])
    direct = direct_sum(*samples, 12, model)
    got = image_of_samples(samples, 1.3 / PIXEL, stamp_size=12, psf_model=model, period_pix=200)
    np.testing.assert_allclose(got, direct, atol=tolerance * direct.max())


def test_adaptive_cells_are_what_many_uniform_rays_tend_to():
    row = small_row(src_n=0.5, src_reff_arcsec=0.3)
    samples = adaptive_samples(row, stamp_size=12, pad_pix=4, tolerance=1e-8)
    fine = 2.0 * image_of_samples(samples, 1.3 / PIXEL, stamp_size=12, psf_model="gaussian", period_pix=64)
    errors = []
    for s in (4, 8, 16):
        uniform = render_row_reference(
            row, stamp_size=12, pad_pix=4, supersample=s, psf_model="gaussian", period_pix=64
        )[0]  # fmt: skip
        errors.append(np.abs(uniform - fine).max() / fine.max())
    assert errors[2] < min(errors[:2])
    assert errors[2] < 1e-4


@pytest.mark.parametrize(
    ("model", "beta", "rays", "fwhm"),
    [("moffat", 3.5, 8, 1.3), ("moffat", 2.5, 8, 1.1), ("gaussian", 3.5, 8, 0.6), ("gaussian", 3.5, 2, 0.4)],
)
def test_frequencies_that_the_narrowest_psf_lets_nothing_through_at_are_left_out_and_change_nothing(
    monkeypatch, model, beta, rays, fwhm
):
    row = small_row(psf_fwhm_arcsec=[1.6, np.nan, fwhm], src_flux_nmgy=[2.0, 1.0, 3.0])
    shape = {"stamp_size": 12, "pad_pix": 6, "supersample": rays, "psf_model": model, "psf_beta": beta}
    asked = []

    def counted(f, *args):
        asked.append(np.size(f))
        return psf.transform(f, *args)

    monkeypatch.setattr("lensflow.lensing.render_reference.transform", counted)
    fast, some = render_row_reference(row, **shape), sum(asked)
    monkeypatch.setattr("lensflow.lensing.render_reference.NOTHING", 1e-300)
    asked.clear()
    whole = render_row_reference(row, **shape)
    assert some <= sum(asked) * (0.6 if rays > 2 else 1)
    assert np.abs(fast - whole).max() <= 1e-14 * whole.max()
    assert not fast[1].any() and fast[2].any()


@pytest.mark.slow
def test_adaptive_cells_hold_the_flux_of_a_steep_source():
    # A lens too weak to matter: the field holds the source's own flux, cusp included.
    row = small_row(theta_e_arcsec=1e-9, shear=0.0, src_n=4.0, src_reff_arcsec=0.1, src_q=0.5)
    samples = adaptive_samples(row, stamp_size=12, pad_pix=100, tolerance=1e-7)
    assert samples[2].sum() == pytest.approx(1.0, abs=1e-3)
