from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import j0

from lensflow import geometry
from lensflow.errors import RenderError
from lensflow.lensing import psf


def test_moffat_width_from_psfsize_is_0_811():
    assert float(psf.psf_fwhm_from_psfsize(1.0, "moffat", 3.5)) == pytest.approx(0.811, abs=5e-4)
    assert float(psf.psf_fwhm_from_psfsize(1.3, "gaussian")) == pytest.approx(1.3, rel=1e-15)
    assert np.isnan(psf.psf_fwhm_from_psfsize(np.nan))


@given(st.floats(1.1, 50.0))
@settings(max_examples=40, deadline=None)
def test_the_profile_has_the_noise_equivalent_area_that_psfsize_declares(beta):
    fwhm = float(psf.psf_fwhm_from_psfsize(1.4, "moffat", beta))
    area = psf.noise_equivalent_area(fwhm, "moffat", beta)
    assert float(area) == pytest.approx(float(psf.noise_equivalent_area(1.4, "gaussian")), rel=1e-12)


@pytest.mark.parametrize(("model", "beta"), [("gaussian", 3.5), ("moffat", 3.5), ("moffat", 2.5), ("moffat", 4.765)])
def test_noise_equivalent_area_is_one_over_the_integral_of_the_square(model, beta):
    integral = quad(lambda r: 2 * np.pi * r * float(psf.profile(r, 1.3, model, beta)) ** 2, 0, 60, limit=200)[0]
    assert float(psf.noise_equivalent_area(1.3, model, beta)) == pytest.approx(1 / integral, rel=1e-7)


@pytest.mark.parametrize(("model", "beta"), [("gaussian", 3.5), ("moffat", 3.5), ("moffat", 2.5), ("moffat", 4.765)])
@pytest.mark.parametrize("f", [0.0, 0.1, 0.4, 0.9])
def test_the_transform_is_the_hankel_transform_of_the_profile(model, beta, f):
    def ring(r):
        return 2 * np.pi * r * float(psf.profile(r, 1.3, model, beta)) * j0(2 * np.pi * f * r)

    pieces = (
        np.concatenate([np.linspace(0, 40, 41), np.geomspace(40, 4000, 60)[1:]]) if f == 0 else np.arange(0, 200, 2)
    )
    numeric = sum(quad(ring, a, b)[0] for a, b in pairwise(pieces))
    assert float(psf.transform(f, 1.3, model, beta)) == pytest.approx(numeric, abs=2e-6)


def test_the_closed_form_is_the_bessel_form():
    f = np.linspace(0, 3, 50)
    near = psf.moffat_transform(f, 1.2, np.nextafter(3.5, 4))
    np.testing.assert_allclose(psf.moffat_transform(f, 1.2, 3.5), near, atol=1e-12)


@pytest.mark.parametrize("model", psf.MODELS)
def test_the_profile_falls_to_half_at_half_the_fwhm(model):
    assert float(psf.profile(0.65, 1.3, model) / psf.profile(0, 1.3, model)) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("model", psf.MODELS)
@pytest.mark.parametrize("size", [40, 41])
def test_kernels_sit_on_the_geometric_centre_and_hold_the_flux_that_the_profile_says(model, size):
    kernel = psf.kernel(size, 5.0, model)
    axis = np.arange(size)
    assert (kernel.sum(0) @ axis / kernel.sum(), kernel.sum(1) @ axis / kernel.sum()) == pytest.approx(
        (geometry.centre(size),) * 2, abs=1e-10
    )
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])
    held = 1 - (1 + (size / 2 / (5.0 / (2 * np.sqrt(2 ** (1 / 3.5) - 1)))) ** 2) ** -2.5 if model == "moffat" else 1.0
    assert held - 1e-4 <= kernel.sum() <= 1 + 1e-9


@pytest.mark.parametrize(("fwhm", "lost"), [(1.35, 0.022), (3.77, 0.38)])
def test_a_kernel_of_19_pixels_loses_what_the_physics_page_says(fwhm, lost):
    assert 1 - psf.kernel(19, fwhm / 0.262).sum() == pytest.approx(lost, abs=0.005)


@pytest.mark.parametrize("model", psf.MODELS)
def test_the_profile_falls_to_a_level_at_its_radius(model):
    r = psf.level_radius(1e-3, 1.3, model)
    assert float(psf.profile(r, 1.3, model) / psf.profile(0, 1.3, model)) == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("model", psf.MODELS)
def test_the_scale_length_is_the_unit_of_the_profile(model):
    length = float(psf.scale_length(1.3, model))
    fall = np.exp(-0.5) if model == "gaussian" else 2**-3.5
    assert float(psf.profile(length, 1.3, model) / psf.profile(0, 1.3, model)) == pytest.approx(fall, rel=1e-12)


def test_beyond_the_cutoff_the_transform_is_dark():
    for model in psf.MODELS:
        f = psf.cutoff_frequency(model, 3.5, 1e-12)
        assert 0.9e-12 < float(psf.transform(f, 1.0, model)) <= 1e-12


def test_a_blurred_thin_ring_of_8_pixels_has_7_7_percent_within_5_pixels():
    phi = np.arange(720) * (2 * np.pi / 720)
    x, y = geometry.pixel_grid(64)
    image = sum(
        psf.profile(np.hypot(x - 31.5 - 8 * np.cos(a), y - 31.5 - 8 * np.sin(a)), 1.5 / 0.262, "gaussian") for a in phi
    )
    assert image[geometry.disc(64, 31.5, 31.5)].sum() / image.sum() == pytest.approx(0.077, abs=0.004)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.inf, np.nan])
def test_a_width_that_is_not_positive_is_refused(fwhm):
    with pytest.raises(RenderError, match="FWHM must be positive"):
        psf.moffat_transform(0.1, fwhm)
    with pytest.raises(RenderError, match="FWHM must be positive"):
        psf.gaussian_transform(0.1, fwhm)


def test_unknown_models_and_infinite_flux_are_refused():
    with pytest.raises(RenderError, match="Did you mean 'moffat'"):
        psf.transform(0.1, 1.0, "mofat")
    with pytest.raises(RenderError, match="above 1"):
        psf.transform(0.1, 1.0, "moffat", 1.0)


@pytest.mark.parametrize("beta", [2.0, 2.05, 2.6, 3.0, 3.7, 6.5])
def test_a_plane_of_frequencies_has_the_values_of_its_frequencies_one_by_one(beta):
    f = np.hypot(*np.meshgrid(np.linspace(0, 3, 170), np.linspace(1e-7, 3, 170)))
    plane = psf.moffat_transform(f, 4.7, beta)
    some = np.random.default_rng(3).integers(0, f.size, 2000)
    np.testing.assert_allclose(plane.ravel()[some], psf.moffat_transform(f.ravel()[some], 4.7, beta), atol=1e-9)
    assert plane.min() >= -1e-9
