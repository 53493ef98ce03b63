import warnings
from pathlib import Path

import numpy as np
import pytest

from lensflow.errors import LensflowError, ManifestError, RenderError
from lensflow.lensing import psf
from lensflow.lensing.deflectors import deflect_shear, deflect_sie
from lensflow.lensing.psf_image import prepare_kernel
from lensflow.lensing.render import render
from lensflow.lensing.render_image import render_images
from lensflow.lensing.render_reference import ray_positions
from lensflow.lensing.source_image import prepare_image_source
from lensflow.lensing.sources import sersic_profile

from .rows import error_over_peak, one_row, random_rows, scalars, take

DATA = Path(__file__).parents[2].parent / "shared" / "data"
HST = DATA / "hst_sources" / "real_galaxy_images_23.5_n1.fits"
COADD_PSF = DATA / "ls_dr9_brick" / "coadd" / "059" / "0591m305" / "coadd-psf-0591m305.fits"
needs_hst = pytest.mark.skipif(not HST.is_file(), reason=f"no real data: {HST} is absent")
needs_psf = pytest.mark.skipif(not COADD_PSF.is_file(), reason=f"no real data: {COADD_PSF} is absent")


class Bank(dict):
    def get(self, source_id):
        if source_id not in self:
            raise RenderError(f"no source {source_id!r}")
        return self[source_id]


def model(image, scale=0.03):
    return prepare_image_source(image, scale, background=None, noise="keep")


def sersic_source(reff_pix=40.0, q=0.6, size=601, **shape):
    """A finely sampled exponential, averaged over 3 x 3 points a pixel."""
    axis = (np.arange(size * 3) + 0.5) / 3 - 0.5 - (size - 1) / 2
    fine = sersic_profile(axis, axis[:, None], reff_pix, 1.0, q, **shape)
    return model(fine.reshape(size, 3, size, 3).mean(axis=(1, 3)))


def lumpy_source(seed=0):
    """A galaxy of knots: no symmetry that could hide a flip."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:61, :61]
    image = np.zeros((61, 61))
    for _ in range(6):
        cx, cy, width = rng.uniform(18, 42), rng.uniform(18, 42), rng.uniform(2, 5)
        image += rng.uniform(0.3, 1) * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / width**2)
    return model(image)


def keys(distance):
    """Cubic convolution kernel of Keys 1981, written out."""
    d = np.abs(distance)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def slow_light(row, source, x, y):
    """Surface brightness, arcsec^-2, every step written out in numpy."""
    ax, ay = deflect_sie(x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"])
    gx, gy = deflect_shear(x, y, row["shear"], row["shear_phi_rad"])
    bx, by = x - ax - gx - row["src_x_arcsec"], y - ay - gy - row["src_y_arcsec"]
    scale = source.pixel_scale_arcsec * row["src_reff_arcsec"] / source.half_light_radius_arcsec
    c, s = np.cos(row["src_phi_rad"]), np.sin(row["src_phi_rad"])
    px, py = (c * bx + s * by) / scale + source.x_center, (c * by - s * bx) / scale + source.y_center
    light = np.zeros(px.shape)
    ny, nx = source.pixels.shape
    i0, j0 = np.floor(py).astype(int), np.floor(px).astype(int)
    for di in range(-1, 3):
        for dj in range(-1, 3):
            i, j = i0 + di, j0 + dj
            inside = (i >= 0) & (i < ny) & (j >= 0) & (j < nx)
            pixel = source.pixels[np.clip(i, 0, ny - 1), np.clip(j, 0, nx - 1)] * inside
            light += keys(px - j) * keys(py - i) * pixel
    return light / scale**2


def slow_render(row, source, stamp_size=40, s=16, pad=12, period=96):
    """Brute force: uniform rays, Moffat transform, one ray after the other in numpy; one band."""
    pixel, field = 0.262, stamp_size + 2 * pad
    x, y = (ray_positions(stamp_size, pad, s, pixel, row[k]) for k in ("x_center", "y_center"))
    light = slow_light(row, source, x[None, :], y[:, None]) * (pixel / s) ** 2
    f = np.fft.fftfreq(period)
    wave_x, wave_y = (np.exp(-2j * np.pi * np.outer(f, v)) for v in 2 * [np.arange(field * s) / s - 0.5 + 0.5 / s])
    hat = psf.transform(np.hypot(f[:, None], f), row["psf_fwhm_arcsec"][0] / pixel)
    image = np.fft.ifft2((wave_y @ light @ wave_x.T) * hat).real
    return row["src_flux_nmgy"][0] * image[pad : pad + stamp_size, pad : pad + stamp_size]


def image_rows(rows, *ids):
    n = len(rows["theta_e_arcsec"])
    return {**rows, "src_id": np.array([ids[i % len(ids)] for i in range(n)])}


SMALL = {"x_center": 19.6, "y_center": 19.3, "src_flux_nmgy": [3.0], "psf_fwhm_arcsec": [1.4]}


@pytest.mark.parametrize("reff", [0.12, 0.3])
def test_an_image_source_is_rendered_as_brute_force_does(reff):
    source = lumpy_source()
    row = one_row(**SMALL, src_reff_arcsec=reff)
    result = render_images(image_rows(row, "a"), Bank(a=source), stamp_size=40)
    truth = slow_render(scalars(row), source)
    error = error_over_peak(result.arc, truth[None, None])[0]
    assert error < 5e-4
    assert error < 3 * result.render_err[0] + 1e-5
    assert abs(result.arc.sum() / truth.sum() - 1) < 1e-3


@pytest.mark.real
@needs_hst
def test_an_hst_galaxy_is_rendered_as_brute_force_does():
    from astropy.io import fits

    source = prepare_image_source(fits.getdata(HST, 8), 0.03)
    row = one_row(**SMALL, src_reff_arcsec=0.2)
    truth = slow_render(scalars(row), source)
    error = error_over_peak(render_images(image_rows(row, "a"), Bank(a=source), stamp_size=40).arc, truth[None, None])
    assert error[0] < 1e-3


@pytest.mark.real
@needs_hst
def test_hst_galaxies_of_every_size_reach_the_goal():
    from astropy.io import fits

    with fits.open(HST) as hdus:
        bank = Bank({str(i): prepare_image_source(hdu.data, 0.03) for i, hdu in enumerate(hdus)})
    rows = image_rows(random_rows(10, seed=5, bands=1, src_reff_arcsec=np.linspace(0.1, 0.6, 10)), *bank)
    result = render_images(rows, bank)
    truth = render_images(rows, bank, tolerance=0.0, max_refinement=8)
    error = error_over_peak(result.arc, truth.arc)
    uniform = error_over_peak(render_images(rows, bank, max_refinement=1).arc, truth.arc)
    print(f"error/peak median {np.median(error):.1e}, max {error.max():.1e}; 8 x 8 rays alone: {uniform.max():.1e}")
    assert error.max() < 1e-3
    assert uniform.max() > 2e-3
    assert (error < 3 * result.render_err + 2e-5).all()
    assert (result.magnification > 1).all()
    # Cubic convolution undershoots next to bright pixels; the PSF leaves none of it.
    assert (result.arc.min(axis=(2, 3)) > -1e-4 * result.arc.max(axis=(2, 3))).all()


def test_a_finely_sampled_sersic_image_is_the_sersic_source():
    rows = random_rows(6, seed=2, bands=1, src_q=0.6)
    rows["src_reff_arcsec"] = np.linspace(0.15, 0.6, 6)
    by_image = render_images(image_rows(rows, "s"), Bank(s=sersic_source()))
    # Uniform rays miss cusps: the Sersic renderer gets more of them.
    by_profile = render(rows)
    error = error_over_peak(by_image.arc, by_profile.arc)
    print(error)
    assert error.max() < 1e-3
    np.testing.assert_allclose(by_image.magnification, by_profile.magnification, rtol=1e-3)


def test_sersic_rows_are_those_of_the_adaptive_engine():
    rows = random_rows(4, seed=3)
    mine, engine = render_images(rows), render(rows)
    assert error_over_peak(mine.arc, engine.arc).max() < 1e-3
    np.testing.assert_allclose(mine.magnification, engine.magnification, rtol=2e-3)


def test_refinement_repairs_a_cusp_that_single_rays_miss():
    row = one_row(src_reff_arcsec=0.06, src_flux_nmgy=[3.0], psf_fwhm_arcsec=[1.2])
    truth = render(row).arc
    coarse, fine = render_images(row, max_refinement=1), render_images(row)
    assert error_over_peak(fine.arc, truth) < 1e-3 < error_over_peak(coarse.arc, truth)
    assert fine.render_err < coarse.render_err


def test_unlensed_flux_is_the_row_s():
    # A lens of next to no mass: the stamp holds the flux, at any scale and rotation.
    for reff, phi in ((0.2, 0.0), (0.5, 1.0), (np.nan, 2.5)):
        row = image_rows(one_row(theta_e_arcsec=1e-6, shear=0.0, src_reff_arcsec=reff, src_phi_rad=phi), "a")
        result = render_images(row, Bank(a=lumpy_source()), psf="gaussian")
        np.testing.assert_allclose(result.arc.sum(axis=(2, 3))[0], [3, 5, 8], rtol=1e-4)
        assert result.magnification[0] == pytest.approx(1, abs=1e-4)


def test_the_centroid_lies_at_the_source_s_position_and_the_image_turns_counter_clockwise():
    source = lumpy_source()
    row = one_row(theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=1.0, src_y_arcsec=-0.5, src_reff_arcsec=0.8,
                  src_phi_rad=0.7)  # fmt: skip
    arc = render_images(image_rows(row, "a"), Bank(a=source), psf="gaussian").arc[0, 0].astype(float)
    y, x = np.mgrid[:64, :64]
    cx, cy = (arc * x).sum() / arc.sum(), (arc * y).sum() / arc.sum()
    assert (cx - 31.7, cy - 31.4) == pytest.approx((1.0 / 0.262, -0.5 / 0.262), abs=1e-3)
    xx, yy, xy = (np.sum(arc * a * b) for a, b in ((x - cx, x - cx), (y - cy, y - cy), (x - cx, y - cy)))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    assert (angle - source.phi_rad - 0.7 + np.pi / 2) % np.pi - np.pi / 2 == pytest.approx(0, abs=0.01)


def test_native_scale_is_what_a_radius_of_nan_asks_for():
    source, row = lumpy_source(), one_row(src_reff_arcsec=np.nan)
    native = render_images(image_rows(row, "a"), Bank(a=source)).arc
    row["src_reff_arcsec"] = np.array([source.half_light_radius_arcsec])
    np.testing.assert_array_equal(native, render_images(image_rows(row, "a"), Bank(a=source)).arc)


def test_a_sampled_moffat_kernel_does_what_the_analytic_one_does():
    rows = random_rows(4, seed=7)
    rows["psf_fwhm_arcsec"][:] = (1.5, 1.3, 1.2)
    kernels = [prepare_kernel(psf.kernel(95, fwhm / 0.262)) for fwhm in (1.5, 1.3, 1.2)]
    by_kernel, analytic = render_images(rows, psf=kernels), render_images(rows)
    # The kernel's own clipped wings: 3e-5 of the flux.
    assert error_over_peak(by_kernel.arc, analytic.arc).max() < 5e-5
    np.testing.assert_allclose(by_kernel.arc.sum((2, 3)), analytic.arc.sum((2, 3)), rtol=3e-4)


@pytest.mark.parametrize("size", [30, 31])
def test_a_point_like_source_draws_the_kernel_itself(size):
    axis = np.arange(size) - (size - 1) / 2
    kernel = prepare_kernel(psf.profile(np.hypot(axis * 1.2, axis[:, None] - 0.1 * axis), 4.0, "gaussian"))
    center = 20 + (size - 1) % 2 / 2
    row = one_row(theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=0.0, src_y_arcsec=0.0, src_reff_arcsec=0.02, src_n=0.5,
                  src_q=1.0, src_flux_nmgy=[1.0], psf_fwhm_arcsec=[1.0], x_center=center, y_center=center)  # fmt: skip
    arc = render_images(row, psf=[kernel], stamp_size=41).arc[0, 0]
    first = int(center - (size - 1) / 2)
    # A Gaussian of 0.02 arcsec broadens it by a little; a flip or a shift of 0.1 pixels would change it by 5 %.
    np.testing.assert_allclose(arc[first : first + size, first : first + size], kernel.kernel, atol=5e-3 * arc.max())


@pytest.mark.real
@needs_psf
@needs_hst
def test_real_galaxies_through_real_psfs():
    from astropy.io import fits

    with fits.open(COADD_PSF) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernels = [prepare_kernel(hdu.data) for hdu in hdus]
    bank = Bank(a=prepare_image_source(fits.getdata(HST, 1), 0.03))
    rows = {k: v for k, v in random_rows(3, seed=1).items() if k != "psf_fwhm_arcsec"}
    result = render_images(image_rows(rows, "a"), bank, psf=kernels)
    assert (result.render_err < 1e-3).all()
    # Flux closure: the stamp holds nearly all of magnification x flux.
    share = result.arc.sum((2, 3)) / (rows["src_flux_nmgy"] * result.magnification[:, None])
    assert ((share > 0.97) & (share < 1.001)).all()


def test_absent_bands_and_controls_are_zero():
    rows = random_rows(3, seed=1)
    rows["lens_model"] = np.array(["SIE", "CONTROL", "SIS"])
    rows["psf_fwhm_arcsec"][2, 1] = np.nan
    rows = image_rows(rows, "a")
    kernels = [prepare_kernel(psf.kernel(63, 5.0)), prepare_kernel(psf.kernel(63, 5.0)), None]
    for result in (render_images(rows, Bank(a=lumpy_source()), psf=kernels),):
        assert not result.arc[1].any() and not result.arc[2, 1].any() and not result.arc[:, 2].any()
        assert result.arc[0, :2].any(axis=(1, 2)).all()
        assert np.isnan(result.magnification[1])


def test_images_and_sersics_mix_and_a_row_alone_has_the_same_bits():
    rows, bank = image_rows(random_rows(4, seed=9, bands=1), "a", ""), Bank(a=lumpy_source())
    whole = render_images(rows, bank).arc
    for i in range(4):
        np.testing.assert_array_equal(whole[i], render_images(take(rows, slice(i, i + 1)), bank).arc[0])
    plain = {k: v for k, v in take(rows, slice(1, 2)).items() if k != "src_id"}
    np.testing.assert_array_equal(whole[1], render_images(plain).arc[0])


def test_magnification_of_a_small_stamp_counts_the_images_beyond_it():
    bank = Bank(a=lumpy_source())
    small = image_rows(one_row(x_center=4.0, y_center=4.0), "a")
    magnified = render_images(small, bank, stamp_size=9, pad_pix=0).magnification
    assert magnified == pytest.approx(render_images(image_rows(one_row(), "a"), bank).magnification, rel=1e-3)


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        (image_rows(one_row(), "b"), {"sources": Bank(a=None)}, "no source 'b'"),
        (image_rows(one_row(), "b"), {}, "no sources were given"),
        (one_row(src_reff_arcsec=np.nan), {}, "src_reff_arcsec"),
        (one_row(), {"psf": [None]}, "one per band"),
        (one_row(), {"psf": "airy"}, "no such model"),
        (one_row(), {"supersample": 0}, "supersample"),
        (one_row(), {"pixel_scale_arcsec": np.nan}, "pixel_scale_arcsec"),
        (one_row(theta_e_arcsec=-1.0), {}, "theta_e_arcsec"),
    ],
)
def test_what_has_no_answer_is_refused(rows, settings, message):
    with pytest.raises(LensflowError, match=message):
        render_images(rows, **settings)


def test_a_control_s_source_is_not_looked_up():
    row = image_rows(one_row(lens_model="CONTROL"), "nowhere")
    assert not render_images(row, Bank()).arc.any()
    with pytest.raises(ManifestError):
        render_images(image_rows(one_row(), "nowhere"))
