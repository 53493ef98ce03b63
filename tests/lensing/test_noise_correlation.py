from pathlib import Path

import numpy as np
import pytest

from lensflow.errors import RenderError
from lensflow.lensing.noise_correlation import correlated_noise_factor, noise_autocorrelation

DES = Path(__file__).parents[2].parent / "shared" / "data" / "des_lrg"


def white(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def box(noise):
    """Mean of 2 x 2 pixels: rho is 1, 1/2, 1/4 at the lags 0, (0, 1), (1, 1), and sums to 4."""
    return (noise + np.roll(noise, 1, -1) + np.roll(noise, 1, -2) + np.roll(noise, (1, 1), (-1, -2))) / 2


def with_galaxy(noise, amplitude=30.0):
    y, x = np.mgrid[: noise.shape[-2], : noise.shape[-1]]
    return noise + amplitude * np.exp(-np.hypot(x - noise.shape[-1] / 2, y - noise.shape[-2] / 2) / 4)


def test_white_noise_has_no_correlation_and_a_factor_of_one():
    noise = with_galaxy(white(20, 2, 64, 64))
    measured = noise_autocorrelation(noise)
    assert measured.rho.shape == (2, 7, 7)
    assert (measured.rho[:, 3, 3] == 1).all()
    others = np.delete(measured.rho.reshape(2, 49), 24, axis=1)
    assert np.abs(others).max() < 0.02
    np.testing.assert_allclose(measured.sigma, 1, rtol=0.02)
    np.testing.assert_allclose(correlated_noise_factor(measured), 1, atol=0.1)


def test_smoothed_noise_has_the_correlation_of_its_kernel():
    measured = noise_autocorrelation(with_galaxy(box(white(40, 1, 64, 64, seed=1))))
    expected = np.outer([0, 0, 0.5, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 0.5, 0, 0])
    np.testing.assert_allclose(measured.rho[0], expected, atol=0.03)
    assert correlated_noise_factor(measured)[0] == pytest.approx(2, abs=0.1)


def test_rho_is_symmetric_and_keeps_the_axes_apart():
    noise = white(1, 128, 128, seed=2)
    rho = noise_autocorrelation(noise + np.roll(noise, 1, -1)).rho[0]
    np.testing.assert_array_equal(rho, rho[::-1, ::-1])
    assert rho[3, 4] == pytest.approx(0.5, abs=0.05)
    assert abs(rho[4, 3]) < 0.05


@pytest.mark.slow
def test_the_factor_is_what_the_scatter_of_template_sums_says():
    template = np.zeros((64, 64))
    y, x = np.mgrid[:64, :64] - 31.5
    template = np.exp(-0.5 * ((np.hypot(x, y) - 8) / 2) ** 2)  # a ring, as an arc's matched filter
    noise = box(white(1500, 64, 64, seed=3))
    sums = np.tensordot(noise, template, axes=2)
    measured = sums.std() / np.sqrt(np.sum(template**2))
    factor = correlated_noise_factor(noise[:60, None], template)[0]
    assert factor == pytest.approx(measured, rel=0.06)


def test_one_pixel_has_no_neighbour_to_share_noise_with():
    one = np.zeros((64, 64))
    one[30, 30] = 5
    noise = box(white(1, 64, 64))
    assert correlated_noise_factor(noise, one)[0] == 1
    assert np.isnan(correlated_noise_factor(noise, 0 * one)[0])
    assert 1 < correlated_noise_factor(noise, np.ones((64, 64)))[0] <= correlated_noise_factor(noise)[0]


def test_one_stamp_gives_the_factor_to_about_ten_percent():
    noise = with_galaxy(box(white(40, 1, 64, 64, seed=4)))
    factors = np.array([correlated_noise_factor(stamp)[0] for stamp in noise])
    print(factors.mean(), factors.std())
    assert factors.mean() == pytest.approx(2, abs=0.15)
    assert factors.std() < 0.25


def test_a_gradient_and_bad_pixels_are_no_correlation():
    y, x = np.mgrid[:64, :64]
    noise = white(10, 1, 64, 64, seed=5) + 0.05 * x - 0.03 * y
    noise[:, 0, 3, 5] = 1e6
    noise[:, 0, 10:12, 20] = np.nan
    valid = np.ones(noise.shape, dtype=bool)
    noise[:, 0, 50:] = 77
    valid[:, 0, 50:] = False
    measured = noise_autocorrelation(noise, valid=valid)
    assert measured.pixels[0] <= 10 * 50 * 64
    np.testing.assert_allclose(measured.sigma, 1, rtol=0.05)
    assert correlated_noise_factor(measured)[0] == pytest.approx(1, abs=0.15)


def test_a_band_without_sky_is_nan():
    image = np.stack([white(64, 64), np.full((64, 64), np.nan)])
    measured = noise_autocorrelation(image)
    assert measured.pixels[1] == 0
    factor = correlated_noise_factor(measured)
    assert np.isfinite(factor[0]) and np.isnan(factor[1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: noise_autocorrelation(white(64, 64)),
        lambda: noise_autocorrelation(white(1, 6, 6)),
        lambda: correlated_noise_factor(white(2, 64, 64), np.ones((3, 64, 64))),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(RenderError, match="shape"):
        call()


@pytest.mark.real
@pytest.mark.skipif(not DES.is_dir(), reason=f"no real data: {DES} is absent")
def test_des_coadds_have_the_noise_of_a_lanczos_resampling():
    from astropy.io import fits

    image = np.stack([fits.getdata(DES / f"image-{band}.fits") for band in "grz"], axis=1)
    measured = noise_autocorrelation(image)
    lag1, lag2 = (np.mean([measured.rho[:, 3, 3 + k], measured.rho[:, 3 + k, 3]], axis=0) for k in (1, 2))
    factor = correlated_noise_factor(measured)
    print("lag 1", lag1, "lag 2", lag2, "sigma", measured.sigma, "factor", factor)
    # 0.2-0.25 at lag 1 is what clipping pixels without a mask of objects gives; light never is negative at lag 2.
    assert ((lag1 > 0.08) & (lag1 < 0.16)).all()
    assert ((lag2 > -0.1) & (lag2 < -0.02)).all()
    np.testing.assert_allclose(measured.sigma, [0.0029, 0.0044, 0.0125], rtol=0.2)
    assert ((factor > 1.1) & (factor < 1.5)).all()
