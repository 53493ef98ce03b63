"""Rows whose PSFs are measured kernels: against brute force, against analytic PSFs, and which kernel a row gets."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from lensflow.errors import LensflowWarning, ManifestError, RenderError
from lensflow.lensing import psf
from lensflow.lensing.engine import kernel_set
from lensflow.lensing.psf_image import prepare_kernel
from lensflow.lensing.render import render, render_arcs
from lensflow.lensing.render_reference import adaptive_samples, image_of_samples

from .images import crooked
from .references import brute_force, finer
from .rows import error_over_peak, flux_error, one_row, random_rows, scalars, take, wide_rows

COADD_PSF = (
    Path(__file__).parents[2].parent / "shared/data/ls_dr9_brick/coadd/059/0591m305/coadd-psf-0591m305.fits"
)  # fmt: skip
needs_psf = pytest.mark.skipif(not COADD_PSF.is_file(), reason=f"no real data: {COADD_PSF} is absent")
WIDTHS = (1.05, 1.6)


def sampled(size, *widths, model="gaussian"):
    """Kernels of the widths in arcsec, (band, size, size)."""
    return np.array([psf.kernel(size, fwhm / 0.262, model) for fwhm in widths])


def without_fwhm(rows):
    return {k: v for k, v in rows.items() if k != "psf_fwhm_arcsec"}


@pytest.fixture
def wide():
    """Rows of the wide ranges with the widths of the sampled kernels."""

    def make(n, seed, model, index):
        rows = wide_rows(n, seed, model, index)
        rows["psf_fwhm_arcsec"][:] = WIDTHS
        return rows

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "model", "n"),
    [
        (30, "SIE", 0.5),
        (31, "EPL", 1.0),
        # Steep cusps cost brute force its time.
        pytest.param(31, "SIE", 4.0, marks=pytest.mark.slow),
        *(pytest.param(30, model, n, marks=pytest.mark.slow) for model, n in [("SIE", 2.0), ("EPL", 4.0)]),
        *(pytest.param(31, model, n, marks=pytest.mark.slow) for model, n in [("SIE", 1.0), ("EPL", 2.0)]),
    ],
)
def test_a_crooked_kernel_is_brute_force_for_every_profile_and_lens(size, model, n):
    rows = wide_rows(1, seed=int(10 * n) + size, model=model, index=n, size=26)
    rows["psf_fwhm_arcsec"][:] = 1.4
    rows["src_reff_arcsec"] = np.clip(rows["src_reff_arcsec"], 0.08, 0.8)
    kernels = [crooked(size).kernel, crooked(size).kernel[::-1]]
    result = render(rows, stamp_size=26, psf_model=np.array(kernels))
    truth = brute_force(rows, np.array(["moffat"]), 26, tolerance=1e-5, kernels=kernels)
    error, flux = error_over_peak(result.arc, truth), flux_error(result.arc, truth)
    print(f"error/peak {error}, flux {flux}, render_err {result.render_err}")
    assert (error < 5e-4).all()
    assert (flux < 5e-4).all()
    assert (error < 3 * result.render_err).all()


@pytest.mark.parametrize(
    ("model", "n"),
    [
        *(("SIE", 1.0), ("EPL", 4.0)),
        *(pytest.param("SIE", n, marks=pytest.mark.slow) for n in (0.5, 2.0, 4.0)),
        *(pytest.param("EPL", n, marks=pytest.mark.slow) for n in (0.5, 1.0, 2.0)),
    ],
)
def test_sampled_profiles_do_what_the_analytic_ones_do(wide, model, n):
    # Down to 4 pixels a sampled Gaussian is the analytic one to 2e-7; wings beyond 95 pixels are 1e-5.
    rows = wide(30, 8, model, n)
    for size, name in ((94, "gaussian"), (95, "moffat")):
        result = render(rows, psf_model=sampled(size, *WIDTHS, model=name))
        with finer():
            truth = render_arcs(rows, psf_model=name)
        error = error_over_peak(result.arc, truth)
        ratio = error / result.render_err
        print(f"{model} n={n} {name}: error/peak {error.max():.1e}, over render_err {ratio.max():.2f}")
        assert error.max() < 1e-3
        assert flux_error(result.arc, truth).max() < 1e-3
        assert np.mean(ratio <= 3) >= 0.99


@pytest.mark.parametrize("size", [30, 31])
def test_a_point_like_source_draws_the_kernel_itself(size):
    kernel = crooked(size)
    center = 20 + (size - 1) % 2 / 2
    row = one_row(theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=0.0, src_y_arcsec=0.0, src_reff_arcsec=0.02, src_n=0.5,
                  src_q=1.0, src_flux_nmgy=[1.0], psf_fwhm_arcsec=[1.0], x_center=center, y_center=center)  # fmt: skip
    arc = render_arcs(row, psf_model=[kernel], stamp_size=41)[0, 0]
    first = int(center - (size - 1) / 2)
    # A Gaussian of 0.02 arcsec broadens it by a little; a flip would change it by a third.
    np.testing.assert_allclose(arc[first : first + size, first : first + size], kernel.kernel, atol=5e-3 * arc.max())


def test_the_cut_leaves_out_less_than_it_says_and_a_smooth_kernel_is_cut_low():
    for kernel in (crooked(31).kernel, psf.kernel(63, 6.0, "gaussian")):
        cut, neglected = kernel_set._cut(kernel)
        assert 0 < cut < 0.5
        assert neglected < kernel_set.NEGLECTED
    noisy = psf.kernel(33, 4.0, "gaussian") + 1e-3 * np.random.default_rng(0).normal(size=(33, 33))
    assert kernel_set._cut(noisy)[0] > 0.69


@pytest.mark.parametrize(("noise", "alone"), [pytest.param(1e-3, 1e-2, marks=pytest.mark.slow), (1e-4, 1e-3)])
def test_a_noisy_kernel_is_used_up_to_the_corner_of_its_frequencies(noise, alone):
    row = one_row(src_reff_arcsec=0.06, src_n=0.5, psf_fwhm_arcsec=[1.2], src_flux_nmgy=[1.0], x_center=13.2,
                  y_center=12.7)  # fmt: skip
    white = noise * np.random.default_rng(0).normal(size=(64, 64))
    kernel = prepare_kernel(psf.kernel(64, 4.0, "gaussian") + white).kernel
    arc = render_arcs(row, stamp_size=26, psf_model=kernel[None])
    samples = adaptive_samples(scalars(row), stamp_size=26, tolerance=1e-5, max_depth=14)
    # The engine's period: stamp, margin and half a kernel.
    near, far = (
        image_of_samples(samples, 4.0, stamp_size=26, period_pix=period, kernel=kernel)[None, None]
        for period in (26 + 16 + 32, 300)
    )
    assert error_over_peak(arc, near)[0] < 2e-4
    # Noise has power at the band limit, and what oscillates beyond the kernel's edge depends on the period.
    assert error_over_peak(arc, far)[0] < alone


# --- which kernel a row gets -------------------------------------------------------------------------------------


def test_kernels_per_row_per_call_and_by_index_are_the_same():
    rows = random_rows(4, bands=2)
    a, b = sampled(41, 1.1, 1.3), sampled(41, 1.2, 1.5)
    by_index = render_arcs(rows, psf_model=np.array([a, b]), psf_index=[0, 1, 1, 0])
    np.testing.assert_array_equal(render_arcs(rows, psf_model=np.array([a, b, b, a])), by_index)
    for kernels, index in ((a, [0, 3]), (b, [1, 2])):
        np.testing.assert_array_equal(render_arcs(take(rows, index), psf_model=kernels), by_index[index])
    prepared = [prepare_kernel(k) for k in a]
    np.testing.assert_array_equal(render_arcs(take(rows, [0, 3]), psf_model=prepared), by_index[[0, 3]])
    nested = [prepared, [prepare_kernel(k) for k in b]]
    np.testing.assert_array_equal(render_arcs(rows, psf_model=nested, psf_index=[0, 1, 1, 0]), by_index)


def test_a_row_has_the_same_bits_beside_any_other():
    rows = random_rows(9, bands=2)
    kernels = np.array([sampled(41, 1.1, 1.3), sampled(41, 1.7, 1.2), sampled(41, 1.2, 2.0)])
    index = np.arange(9) % 3
    whole = render(rows, psf_model=kernels, psf_index=index)
    order = np.argsort(index, kind="stable")
    sorted_rows = render(take(rows, order), psf_model=kernels, psf_index=index[order])
    np.testing.assert_array_equal(sorted_rows.arc, whole.arc[order])
    np.testing.assert_array_equal(sorted_rows.render_err, whole.render_err[order])
    for i in range(9):
        np.testing.assert_array_equal(
            render_arcs(take(rows, [i]), psf_model=kernels, psf_index=index[[i]])[0], whole.arc[i]
        )


def test_kernels_of_different_sizes_and_parities_mix():
    rows = random_rows(3, bands=3)
    kernels = [prepare_kernel(psf.kernel(size, 4.5, "gaussian")) for size in (40, 51, 64)]
    arc = render_arcs(rows, psf_model=kernels)
    rows["psf_fwhm_arcsec"][:] = 4.5 * 0.262
    assert error_over_peak(arc, render_arcs(rows, psf_model="gaussian")).max() < 4e-4


def test_the_width_need_not_be_known_and_its_nan_says_that_a_band_is_absent():
    rows, kernels = random_rows(3, bands=2), sampled(41, 1.1, 1.3)
    arc = render_arcs(rows, psf_model=kernels)
    np.testing.assert_array_equal(render_arcs(without_fwhm(rows), psf_model=kernels), arc)
    rows["psf_fwhm_arcsec"][1, 0] = np.nan
    rows["src_flux_nmgy"][1, 0] = np.nan
    result = render(rows, psf_model=kernels)
    assert not result.arc[1, 0].any() and result.arc[1, 1].any()
    assert np.isfinite(result.render_err).all()
    rows["psf_fwhm_arcsec"][1] = np.nan
    dark = render(rows, psf_model=kernels)
    assert not dark.arc[1].any() and np.isnan(dark.render_err[1]) and dark.magnification[1] > 1


def test_a_kernel_of_nan_or_none_is_an_absent_band_unless_the_width_says_otherwise():
    rows, kernels = random_rows(2, bands=2), sampled(41, 1.1, 1.3)
    partly = np.array([kernels, kernels])
    partly[1, 0] = np.nan
    arc = render_arcs(without_fwhm(rows), psf_model=partly)
    assert not arc[1, 0].any() and arc[1, 1].any() and arc[0].any(axis=(1, 2)).all()
    arc = render_arcs(without_fwhm(rows), psf_model=[None, prepare_kernel(kernels[1])])
    assert not arc[:, 0].any() and arc[:, 1].any(axis=(1, 2)).all()
    with pytest.raises(RenderError, match=r"row 1, band 0: psf_fwhm_arcsec must be NaN \(band absent\)"):
        render(rows, psf_model=partly)
    assert not render_arcs(without_fwhm(rows), psf_model=[None, None]).any()


def test_controls_and_kernels_that_no_row_uses_are_not_looked_at():
    rows = random_rows(2, bands=2)
    rows["lens_model"] = np.array(["CONTROL", "SIE"])
    kernels = np.array([sampled(41, 1.1, 1.3), np.full((2, 41, 41), np.inf), np.zeros((2, 41, 41))])
    arc = render_arcs(rows, psf_model=kernels, psf_index=[-5, 0])
    assert not arc[0].any() and arc[1].any()


def test_an_off_centre_kernel_is_recentred_with_a_warning_that_names_it():
    axis = np.arange(41) - 20
    moved = psf.profile(np.hypot(axis - 0.4, axis[:, None]), 5.0, "gaussian")
    kernels = np.array([sampled(41, 1.31), moved[None]])
    rows = random_rows(2, bands=1)
    with pytest.warns(LensflowWarning, match=r"PSF kernel 1, band 0 \(manifest row 1\): .*recentred"):
        arc = render_arcs(rows, psf_model=kernels, psf_index=[0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        centred = render_arcs(rows, psf_model=np.array([kernels[0], kernels[0]]))
    assert error_over_peak(arc[1:], centred[1:])[0] < 5e-3  # 5 pixels and 1.31 arcsec: the same width


@pytest.mark.parametrize(
    "kernels, settings, message",
    [
        (np.zeros((2, 41, 41)), {}, "PSF kernel band 0: its sum is 0"),
        (sampled(41, 1.1), {}, "kernels of 1 bands, src_flux_nmgy has 2"),
        (np.ones((41, 41)), {}, r"must have the shape \(band, k, k\)"),
        (sampled(41, 1.1, 1.2)[None], {}, "1 sets of kernels for 3 rows; say by psf_index"),
        (sampled(41, 1.1, 1.2)[None], {"psf_index": [0, 1, 0]}, r"row 1: psf_index must be in \[0, 0\], not 1"),
        (sampled(41, 1.1, 1.2)[None], {"psf_index": [0, 0]}, r"shape \(3,\)"),
        (sampled(41, 1.1, 1.2)[None], {"psf_index": [0.0, 0.0, 0.0]}, "whole numbers"),
        (sampled(41, 1.1, 1.2), {"psf_index": [0, 0, 0]}, "leading axis"),
        ("moffat", {"psf_index": [0, 0, 0]}, "names an analytic profile"),
        (np.full((2, 41, 41), np.inf), {}, "not finite"),
        ([prepare_kernel(psf.kernel(41, 5.0)), "moffat"], {}, "must be a KernelPSF or None"),
    ],
)
@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
def test_kernels_that_cannot_serve_are_refused(kernels, settings, message):
    with pytest.raises(RenderError, match=message):
        render(random_rows(3, bands=2), psf_model=kernels, **settings)


def test_a_manifest_without_rows_to_count_is_refused_as_one():
    rows = {k: v for k, v in random_rows(2, bands=1).items() if k != "lens_model"}
    with pytest.raises(ManifestError, match="no column 'lens_model'"):
        render(rows, psf_model=sampled(41, 1.1))
    none = render(take(random_rows(2, bands=1), slice(0, 0)), psf_model=sampled(41, 1.1))
    assert none.arc.shape == (0, 1, 64, 64)


@pytest.mark.real
@needs_psf
@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")  # 0.1 % of the flux beyond the z kernel
def test_arcs_through_real_psfs_hold_the_flux_and_say_their_error():
    from astropy.io import fits

    with fits.open(COADD_PSF) as hdus:
        kernels = np.array([hdu.data for hdu in hdus if hdu.data is not None], dtype=np.float64)
    rows = random_rows(40, seed=1)
    result = render(without_fwhm(rows), psf_model=kernels)
    with finer():
        truth = render_arcs(without_fwhm(rows), psf_model=kernels)
    error = error_over_peak(result.arc, truth)
    print(f"error/peak {error.max():.1e}, over render_err {(error / result.render_err).max():.2f}")
    assert error.max() < 5e-4
    assert (error < 3 * result.render_err).all()
    share = result.arc.sum((2, 3)) / (rows["src_flux_nmgy"] * result.magnification[:, None])
    assert ((share > 0.97) & (share < 1.001)).all()
