"""Rows whose sources are images: against brute force, against Sersic profiles, and what a row means."""

from pathlib import Path

import numpy as np
import pytest

from lensflow.errors import LensflowError, ManifestError
from lensflow.lensing import psf
from lensflow.lensing.render import render, render_arcs
from lensflow.lensing.source_image import prepare_image_source

from .images import Bank, crooked, lumpy_source, sersic_source, slow_render, with_images
from .references import finer
from .rows import error_over_peak, flux_error, one_row, random_rows, scalars, take, wide_rows

HST = Path(__file__).parents[2].parent / "shared" / "data" / "hst_sources" / "real_galaxy_images_23.5_n1.fits"
needs_hst = pytest.mark.skipif(not HST.is_file(), reason=f"no real data: {HST} is absent")
GOAL = 1e-3
SMALL = {"x_center": 19.6, "y_center": 19.3, "src_flux_nmgy": [3.0], "psf_fwhm_arcsec": [1.4]}


@pytest.mark.parametrize(
    "model, gamma", [("SIE", 2.0), *(pytest.param("EPL", g, marks=pytest.mark.slow) for g in (1.8, 2.25))]
)
@pytest.mark.parametrize("reff", [0.12, pytest.param(0.3, marks=pytest.mark.slow)])
def test_an_image_source_is_rendered_as_brute_force_does(model, gamma, reff):
    source = lumpy_source()
    row = one_row(**SMALL, src_reff_arcsec=reff, lens_model=model, lens_gamma=gamma)
    result = render(with_images(row, "a"), sources=Bank(a=source), stamp_size=40)
    truth = slow_render(scalars(row), source)
    error = error_over_peak(result.arc, truth[None, None])[0]
    print(f"error/peak {error:.1e}, render_err {result.render_err[0]:.1e}")
    assert error < 5e-4
    assert error < 3 * result.render_err[0]
    assert abs(result.arc.sum() / truth.sum() - 1) < 5e-4


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SIE", pytest.param("EPL", marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [30, 31])
def test_an_image_through_a_crooked_kernel_is_brute_force_too(model, size):
    source, kernel = lumpy_source(3), crooked(size).kernel
    row = one_row(**SMALL, src_reff_arcsec=0.25, lens_model=model, lens_gamma=1.9)
    result = render(with_images(row, "a"), sources=Bank(a=source), stamp_size=40, psf_model=kernel[None])
    truth = slow_render(scalars(row), source, kernel)
    error = error_over_peak(result.arc, truth[None, None])[0]
    assert error < 5e-4
    assert error < 3 * result.render_err[0]


@pytest.mark.slow
@pytest.mark.real
@needs_hst
def test_an_hst_galaxy_is_rendered_as_brute_force_does():
    from astropy.io import fits

    source = prepare_image_source(fits.getdata(HST, 8), 0.03)
    row = one_row(**SMALL, src_reff_arcsec=0.2)
    truth = slow_render(scalars(row), source)
    result = render(with_images(row, "a"), sources=Bank(a=source), stamp_size=40)
    assert error_over_peak(result.arc, truth[None, None])[0] < 5e-4


@pytest.fixture(scope="module")
def hst():
    from astropy.io import fits

    with fits.open(HST) as hdus:
        return Bank({str(i): prepare_image_source(hdu.data, 0.03) for i, hdu in enumerate(hdus)})


# Measured against the finer engine in docs/engine.md, on rows of other seeds.
@pytest.mark.real
@needs_hst
@pytest.mark.parametrize(
    ("model", "by_kernel"),
    [
        ("SIE", True),
        pytest.param("SIE", False, marks=pytest.mark.slow),
        ("EPL", False),
        pytest.param("EPL", True, marks=pytest.mark.slow),
    ],
)
def test_hst_galaxies_of_every_size_reach_the_goal(hst, model, by_kernel):
    rows = with_images(wide_rows(20, 5, model), *hst)
    rows["src_reff_arcsec"] = np.geomspace(0.05, 1.2, 20)
    kernels = np.array([psf.kernel(63, fwhm / 0.262, "gaussian") for fwhm in (1.1, 1.6)])
    settings = {"sources": hst, "psf_model": kernels if by_kernel else "moffat"}
    result = render(rows, **settings)
    with finer():
        truth = render_arcs(rows, **settings)
    error, flux = error_over_peak(result.arc, truth), flux_error(result.arc, truth)
    ratio = error / result.render_err
    print(f"error/peak median {np.median(error):.1e}, max {error.max():.1e}; flux {flux.max():.1e}; over render_err "
          f"median {np.median(ratio):.2f}, max {ratio.max():.2f}")  # fmt: skip
    assert error.max() < GOAL
    assert flux.max() < GOAL
    assert ratio.max() < 3
    # Some 3 % of rows are flagged with less error than that; 3 of these 20 with EPL and measured PSFs.
    assert (result.render_err < GOAL).mean() >= 0.8
    assert (result.magnification > 1).all()
    # Cubic convolution undershoots next to bright pixels; the PSF leaves none of it.
    assert (result.arc.min(axis=(2, 3)) > -1e-4 * result.arc.max(axis=(2, 3))).all()


# Rows whose inner image lies 1 to 3 pixels from the lens; each was wrong by 1 to 2e-3 of the peak, and not flagged.
@pytest.mark.real
@needs_hst
@pytest.mark.parametrize(
    ("made", "row", "native"),
    [
        (random_rows(40, 30057), 6, False),
        (wide_rows(40, 30007, "SIE"), 5, True),
        (wide_rows(40, 30012, "SIE"), 16, True),
        (wide_rows(40, 30003, "EPL"), 38, False),
    ],
)
def test_an_image_of_a_bright_centre_by_the_lens_is_not_missed(hst, made, row, native):
    one = take(with_images(made, *hst), [row])
    if native:
        one["src_reff_arcsec"] = np.array([np.nan])
    result = render(one, sources=hst)
    with finer():
        truth = render_arcs(one, sources=hst)
    error = error_over_peak(result.arc, truth)[0]
    assert error < 7e-4
    assert error < result.render_err[0]


@pytest.mark.slow
@pytest.mark.real
@needs_hst
def test_render_err_of_hst_galaxies_is_honest_and_seldom_a_false_alarm(hst):
    """On rows that nothing was chosen by."""
    error, said = [], []
    for seed in (8101, 8102):
        for made in (random_rows(40, seed), wide_rows(40, seed, "SIE"), wide_rows(40, seed, "EPL")):
            rows = with_images(made, *hst)
            for reff in (made["src_reff_arcsec"], np.full(40, np.nan)):
                rows["src_reff_arcsec"] = reff
                result = render(rows, sources=hst)
                with finer():
                    truth = render_arcs(rows, sources=hst)
                error.append(error_over_peak(result.arc, truth))
                said.append(result.render_err)
    error, said = np.concatenate(error), np.concatenate(said)
    print(f"{error.size} rows: {np.mean(error > said):.1%} above render_err, up to {(error / said).max():.1f} times; "
          f"{(error > GOAL).sum()} above 1e-3, {np.mean(said > GOAL):.1%} flagged")  # fmt: skip
    assert np.mean(error > said) < 0.025
    assert np.mean(said > GOAL) < 0.05
    assert ((error > GOAL) & (said <= GOAL)).sum() <= 2


@pytest.mark.slow
def test_an_image_whose_pixels_are_minute_loses_no_faint_light():
    # 10^4 samples and more fall on one point of the grid: float32 would drop the faint ones.
    rows = random_rows(2, seed=4, bands=1, src_q=0.6, src_reff_arcsec=0.06)
    image, profile = render(with_images(rows, "s"), sources=Bank(s=sersic_source())), render(rows)
    assert error_over_peak(image.arc, profile.arc).max() < GOAL
    assert flux_error(image.arc, profile.arc).max() < 5e-4


@pytest.mark.parametrize("model", [pytest.param("SIE", marks=pytest.mark.slow), "EPL"])
def test_a_finely_sampled_sersic_image_is_the_sersic_source(model):
    rows = random_rows(6, seed=2, bands=1, src_q=0.6, lens_model=model)
    rows["lens_gamma"] = np.linspace(1.75, 2.25, 6)
    rows["src_reff_arcsec"] = np.linspace(0.15, 0.6, 6)
    image, profile = render(with_images(rows, "s"), sources=Bank(s=sersic_source())), render(rows)
    assert error_over_peak(image.arc, profile.arc).max() < GOAL
    np.testing.assert_allclose(image.magnification, profile.magnification, rtol=1e-3)


def test_too_coarse_panels_over_an_image_show_in_render_err(monkeypatch):
    from lensflow.lensing.engine import quadrature

    rows, bank = with_images(random_rows(12, seed=6, bands=1), "a", "b"), Bank(a=lumpy_source(1), b=lumpy_source(2))
    with finer():
        truth = render_arcs(rows, sources=bank)
    settings = quadrature.SETTINGS.copy()
    settings[:, [quadrature.DETAIL, quadrature.ACROSS]] *= 3.0
    monkeypatch.setattr(quadrature, "SETTINGS", settings)
    result = render(rows, sources=bank)
    error = error_over_peak(result.arc, truth)
    print(f"error/peak up to {error.max():.1e}, over render_err up to {(error / result.render_err).max():.2f}")
    assert (error < 3 * result.render_err).all()


def test_unlensed_flux_is_the_row_s():
    # A lens of next to no mass: the stamp holds the flux, at any scale and rotation.
    for reff, phi in ((0.2, 0.0), (0.5, 1.0), (np.nan, 2.5)):
        row = with_images(one_row(theta_e_arcsec=1e-6, shear=0.0, src_reff_arcsec=reff, src_phi_rad=phi), "a")
        result = render(row, sources=Bank(a=lumpy_source()), psf_model="gaussian")
        np.testing.assert_allclose(result.arc.sum(axis=(2, 3))[0], [3, 5, 8], rtol=2e-4)
        assert result.magnification[0] == pytest.approx(1, abs=2e-4)


def test_the_centroid_lies_at_the_source_s_position_and_the_image_turns_counter_clockwise():
    source = lumpy_source()
    row = one_row(theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=1.0, src_y_arcsec=-0.5, src_reff_arcsec=0.8,
                  src_phi_rad=0.7)  # fmt: skip
    arc = render(with_images(row, "a"), sources=Bank(a=source), psf_model="gaussian").arc[0, 0].astype(float)
    y, x = np.mgrid[:64, :64]
    cx, cy = (arc * x).sum() / arc.sum(), (arc * y).sum() / arc.sum()
    assert (cx - 31.7, cy - 31.4) == pytest.approx((1.0 / 0.262, -0.5 / 0.262), abs=2e-3)
    xx, yy, xy = (np.sum(arc * a * b) for a, b in ((x - cx, x - cx), (y - cy, y - cy), (x - cx, y - cy)))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    assert (angle - source.phi_rad - 0.7 + np.pi / 2) % np.pi - np.pi / 2 == pytest.approx(0, abs=0.01)


def test_native_scale_is_what_a_radius_of_nan_asks_for():
    source, row = lumpy_source(), one_row(src_reff_arcsec=np.nan)
    native = render_arcs(with_images(row, "a"), sources=Bank(a=source))
    row["src_reff_arcsec"] = np.array([source.half_light_radius_arcsec])
    np.testing.assert_array_equal(native, render_arcs(with_images(row, "a"), sources=Bank(a=source)))


def test_images_and_sersics_mix_and_a_row_alone_has_the_same_bits():
    bank = Bank(a=lumpy_source(1), b=sersic_source(12.0, size=151))
    rows = with_images(random_rows(6, seed=9, bands=2), "b", "", "a")
    whole = render(rows, sources=bank)
    for i in range(6):
        alone = render(take(rows, [i]), sources=bank)
        np.testing.assert_array_equal(whole.arc[i], alone.arc[0])
        assert (whole.render_err[i], whole.magnification[i]) == (alone.render_err[0], alone.magnification[0])
    plain = {k: v for k, v in take(rows, [1, 4]).items() if k != "src_id"}
    np.testing.assert_array_equal(whole.arc[[1, 4]], render_arcs(plain))


def test_magnification_of_a_small_stamp_counts_the_images_beyond_it():
    bank, row = Bank(a=lumpy_source()), with_images(one_row(theta_e_arcsec=5.0, src_x_arcsec=2.0), "a")
    small = {**row, "x_center": np.array([4.0]), "y_center": np.array([4.0])}
    magnified = render(small, sources=bank, stamp_size=9).magnification
    assert magnified == pytest.approx(render(row, sources=bank, stamp_size=99).magnification, rel=1e-3)


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        (with_images(one_row(), "b"), {"sources": Bank(a=None)}, "no source 'b'"),
        (with_images(one_row(), "b"), {}, r"manifest row 0: src_id is 'b', but no sources were given"),
        (one_row(src_reff_arcsec=np.nan), {}, "src_reff_arcsec"),
        (with_images(one_row(src_reff_arcsec=-1.0), "a"), {"sources": Bank(a=lumpy_source())}, "src_reff_arcsec"),
        (with_images(one_row(theta_e_arcsec=-1.0), "a"), {"sources": Bank(a=lumpy_source())}, "theta_e_arcsec"),
    ],
)
def test_what_has_no_answer_is_refused(rows, settings, message):
    with pytest.raises(LensflowError, match=message):
        render(rows, **settings)


def test_a_row_without_its_bank_is_named_with_its_id():
    rows = {**with_images(random_rows(3), "", "x", ""), "row_id": np.array([7, 8, 9], dtype=np.uint64)}
    with pytest.raises(ManifestError, match=r"manifest row 1 \(row_id 8\): src_id is 'x'"):
        render(rows)


def test_a_control_s_source_is_not_looked_up():
    row = with_images(one_row(lens_model="CONTROL"), "nowhere")
    assert not render(row, sources=Bank()).arc.any()
    assert not render(row).arc.any()


@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_a_source_on_a_caustic_and_one_that_covers_the_lens_are_brute_force(model):
    source = lumpy_source(2)
    for reff, x in ((0.15, 0.0), (0.9, 0.1)):
        row = one_row(
            **SMALL, src_reff_arcsec=reff, src_x_arcsec=x, src_y_arcsec=0.0, lens_model=model, lens_gamma=1.85
        )
        result = render(with_images(row, "a"), sources=Bank(a=source), stamp_size=40)
        truth = slow_render(scalars(row), source)
        error = error_over_peak(result.arc, truth[None, None])[0]
        assert error < GOAL
        assert error < 3 * result.render_err[0]
        assert abs(result.arc.sum() / truth.sum() - 1) < 5e-4


def test_an_image_of_four_times_the_pixels_is_the_same_arc():
    # Its finer levels are the coarser image: the levels are chosen by what is seen.
    rows = random_rows(4, seed=3, bands=1, src_reff_arcsec=0.3)
    coarse, fine = sersic_source(10.0, size=151), sersic_source(40.0)
    a, b = (render(with_images(rows, "s"), sources=Bank(s=s)) for s in (coarse, fine))
    assert error_over_peak(a.arc, b.arc).max() < 5 * GOAL
