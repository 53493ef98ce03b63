from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import ManifestError, RenderError
from lensflow.lensing import psf
from lensflow.lensing.render import render, render_arcs
from lensflow.lensing.render_reference import lensed_light, ray_positions, render_row_reference

from .rows import error_over_peak, one_row, random_rows, scalars, take

SMALL = {"stamp_size": 24}


def small_row(**changes):
    return one_row(**{"theta_e_arcsec": 0.9, "x_center": 11.6, "y_center": 11.3, **changes})


# --- against the reference -------------------------------------------------------------------------------------


def test_the_reference_is_the_sum_over_rays_of_light_times_psf():
    row = scalars(one_row(x_center=5.6, y_center=5.3, theta_e_arcsec=0.5, psf_fwhm_arcsec=[1.3], src_flux_nmgy=[2.0]))
    size, pad, s, pixel = 12, 2, 2, 0.262
    rays_x = ray_positions(size, pad, s, pixel, 5.6)
    rays_y = ray_positions(size, pad, s, pixel, 5.3)
    light = lensed_light(row, rays_x[None, :], rays_y[:, None]) * (pixel / s) ** 2
    at_x, at_y = (np.arange(size) - 5.6) * pixel, (np.arange(size) - 5.3) * pixel
    for model, tolerance in (("gaussian", 1e-12), ("moffat", 2e-7)):
        direct = np.zeros((size, size))
        for i in range(size):
            for j in range(size):
                r = np.hypot(at_x[j] - rays_x[None, :], at_y[i] - rays_y[:, None])
                direct[i, j] = 2.0 * pixel**2 * np.sum(light * psf.profile(r, 1.3, model))
        got = render_row_reference(
            row,
            stamp_size=size,
            pad_pix=pad,
            supersample=s,
            psf_model=model,
            period_pix=256 if model == "moffat" else 64,
        )[0]
        np.testing.assert_allclose(got, direct, atol=tolerance * direct.max())


def test_the_widest_and_the_narrowest_psf_of_one_row_are_both_right():
    rows = one_row(psf_fwhm_arcsec=[3.8, 1.3, 0.9], theta_e_arcsec=3.0, src_reff_arcsec=0.4)
    reference = render_row_reference(scalars(rows), supersample=12, period_pix=400)
    assert error_over_peak(render_arcs(rows), reference[None])[0] < 1e-3


# --- symmetries ------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_a_quarter_turn_of_the_row_turns_the_image(seed):
    rows = random_rows(1, seed=seed)
    turned = {k: v.copy() for k, v in rows.items()}
    turned["x_center"], turned["y_center"] = 63 - rows["y_center"], rows["x_center"]
    turned["src_x_arcsec"], turned["src_y_arcsec"] = -rows["src_y_arcsec"], rows["src_x_arcsec"]
    for angle in ("lens_phi_rad", "shear_phi_rad", "src_phi_rad"):
        turned[angle] = rows[angle] + np.pi / 2
    expected = np.rot90(render_arcs(rows), k=-1, axes=(2, 3))
    assert error_over_peak(render_arcs(turned), expected)[0] < 2e-6


@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_a_reflection_of_the_row_reflects_the_image(seed):
    rows = random_rows(1, seed=seed)
    mirrored = {**rows, "x_center": 63 - rows["x_center"], "src_x_arcsec": -rows["src_x_arcsec"]}
    for angle in ("lens_phi_rad", "shear_phi_rad", "src_phi_rad"):
        mirrored[angle] = np.pi - rows[angle]
    assert error_over_peak(render_arcs(mirrored), render_arcs(rows)[..., ::-1])[0] < 2e-6


def test_moving_the_lens_by_whole_pixels_moves_the_image():
    row = one_row(src_reff_arcsec=0.2)
    moved = {**row, "x_center": row["x_center"] + 5, "y_center": row["y_center"] - 3}
    a, b = render_arcs(row), render_arcs(moved)
    assert error_over_peak(b[:, :, :-3, 5:], a[:, :, 3:, :-5])[0] < 2e-6


def test_an_unlensed_looking_source_sits_where_its_centre_says():
    # A faint lens far from the source: the light's centroid is the source's position, for even and odd stamps.
    for size in (64, 63):
        row = one_row(
            lens_model="SIS", theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=0.5, src_y_arcsec=-0.3, src_q=1.0,
            x_center=30.8, y_center=31.9, psf_fwhm_arcsec=[1.2], src_flux_nmgy=[1.0],
        )  # fmt: skip
        arc = render_arcs(row, stamp_size=size, psf_model="gaussian")[0, 0].astype(np.float64)
        axis = np.arange(size)
        cx, cy = arc.sum(0) @ axis / arc.sum(), arc.sum(1) @ axis / arc.sum()
        assert (cx, cy) == pytest.approx((30.8 + 0.5 / 0.262, 31.9 - 0.3 / 0.262), abs=1e-3)
        assert arc.sum() == pytest.approx(1.0, rel=1e-3)


def test_the_arc_is_linear_in_the_flux():
    row = one_row()
    double = {**row, "src_flux_nmgy": 2 * row["src_flux_nmgy"]}
    np.testing.assert_array_equal(render_arcs(double), 2 * render_arcs(row))
    dark = {**row, "src_flux_nmgy": 0 * row["src_flux_nmgy"]}
    assert (render_arcs(dark) == 0).all()


def test_the_flux_of_the_stamp_is_magnification_times_unlensed_flux():
    row = one_row(src_reff_arcsec=0.3, psf_fwhm_arcsec=[1.2] * 3)
    result = render(row, psf_model="gaussian")
    flux = result.arc.sum(axis=(2, 3), dtype=np.float64)[0]
    np.testing.assert_allclose(flux, result.magnification[0] * row["src_flux_nmgy"][0], rtol=1e-4)


# --- batches ---------------------------------------------------------------------------------------------------


def test_a_row_has_the_same_bits_in_any_batch():
    rows = random_rows(5, seed=9)
    whole = render(rows)
    back = render(take(rows, slice(None, None, -1)))
    np.testing.assert_array_equal(back.arc[::-1], whole.arc)
    np.testing.assert_array_equal(back.magnification[::-1], whole.magnification)
    for i in range(5):
        alone = render(take(rows, [i]))
        np.testing.assert_array_equal(alone.arc[0], whole.arc[i])
        assert alone.render_err[0] == whole.render_err[i]


def test_threads_do_not_change_a_bit():
    rows = random_rows(6, seed=10)
    whole = render_arcs(rows)
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda i: render_arcs(take(rows, [i])), range(6)))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_band_has_the_same_image_whatever_the_other_bands_are():
    row = one_row()
    alone = {**row, "psf_fwhm_arcsec": row["psf_fwhm_arcsec"][:, :1], "src_flux_nmgy": row["src_flux_nmgy"][:, :1]}
    a, b = render_arcs(row)[:, :1], render_arcs(alone)
    # The bands of a row share the sampling, which the sharpest PSF decides: equal within a hundredth of the goal.
    assert error_over_peak(a, b)[0] < 1e-5


def test_an_xarray_dataset_will_do():
    import xarray as xr

    row = one_row()
    dataset = xr.Dataset({k: (("sample", "band")[: v.ndim], v) for k, v in row.items()})
    np.testing.assert_array_equal(render_arcs(dataset), render_arcs(row))


def test_no_rows_render_to_no_rows():
    result = render(take(one_row(), slice(0, 0)))
    assert result.arc.shape == (0, 3, 64, 64)
    assert result.render_err.shape == result.magnification.shape == (0,)


# --- edges -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["SIS", "SIE"])
def test_a_source_exactly_behind_the_lens_is_finite(model):
    # The lens on a pixel's centre: the singular point itself is a likely sample.
    row = one_row(lens_model=model, src_x_arcsec=0.0, src_y_arcsec=0.0, shear=0.0, x_center=32.0, y_center=31.0)
    result = render(row)
    assert np.isfinite(result.arc).all()
    assert np.isfinite([result.magnification[0], result.render_err[0]]).all()


def test_the_arc_is_exactly_0_below_1e_6_of_its_peak():
    arc = render_arcs(one_row(src_reff_arcsec=0.2), psf_model="gaussian")
    peak = arc.max(axis=(2, 3), keepdims=True)
    assert (np.abs(arc)[arc != 0] >= 0.999e-6 * np.broadcast_to(peak, arc.shape)[arc != 0]).all()
    assert (arc == 0).any()


def test_an_absent_band_is_exactly_0_and_leaves_the_others_alone():
    row = one_row()
    absent = {k: v.copy() for k, v in row.items()}
    absent["psf_fwhm_arcsec"][0, 1] = np.nan
    absent["src_flux_nmgy"][0, 1] = np.nan
    arc = render_arcs(absent)
    assert (arc[0, 1] == 0).all()
    np.testing.assert_array_equal(arc[0, [0, 2]], render_arcs(row)[0, [0, 2]])


def test_a_row_without_any_band_has_a_magnification_and_no_arc():
    result = render(one_row(psf_fwhm_arcsec=[np.nan] * 3))
    assert (result.arc == 0).all()
    assert np.isnan(result.render_err[0])
    assert result.magnification[0] > 1


def test_controls_are_exactly_0_and_are_not_looked_at():
    rows = take(random_rows(2), [0, 1])
    rows["lens_model"] = np.array(["CONTROL", "SIE"])
    rows["is_control"] = np.array([True, False])
    for key in ("theta_e_arcsec", "src_reff_arcsec", "src_n"):
        rows[key][0] = 0.0
    rows["src_flux_nmgy"][0] = np.nan
    result = render(rows)
    assert (result.arc[0] == 0).all()
    assert np.isnan([result.render_err[0], result.magnification[0]]).all()
    assert result.arc[1].max() > 0


@pytest.mark.parametrize("geometry", [{"stamp_size": 33}, {"stamp_size": 64}, {"stamp_size": 41}])
@pytest.mark.parametrize("bands", [1, 4])
def test_any_stamp_size_and_any_number_of_bands(geometry, bands):
    size = geometry["stamp_size"]
    rows = random_rows(2, bands=bands, x_center=size / 2 - 0.3, y_center=size / 2 - 0.7)
    arc, error = render_arcs(rows, return_error=True, **geometry)
    assert arc.shape == (2, bands, size, size)
    assert arc.dtype == np.float32
    assert (error > 0).all()
    assert (arc.max(axis=(2, 3)) > 0).all()


# --- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("theta_e_arcsec", 0.0),
        ("theta_e_arcsec", np.nan),
        ("lens_q", 0.0),
        ("lens_q", 1.01),
        ("lens_phi_rad", np.inf),
        ("shear", 1.0),
        ("shear", -0.1),
        ("src_x_arcsec", np.nan),
        ("src_reff_arcsec", 0.0),
        ("src_n", 0.2),
        ("src_n", 9.0),
        ("src_q", 1.5),
        ("x_center", 70.0),
        ("y_center", np.nan),
    ],
)
def test_an_impossible_row_is_refused_with_its_number_and_value(column, value):
    rows = random_rows(3)
    rows["row_id"] = np.array([11, 22, 33], dtype=np.uint64)
    rows[column][1] = value
    with pytest.raises(ManifestError, match=rf"row 1 \(row_id 22\): {column} must be .* not {value}"):
        render_arcs(rows)


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.inf])
def test_a_psf_without_width_is_refused(fwhm):
    rows = random_rows(3)
    rows["psf_fwhm_arcsec"][2, 1] = fwhm
    with pytest.raises(RenderError, match=r"row 2, band 1: psf_fwhm_arcsec must be positive"):
        render_arcs(rows)


@pytest.mark.parametrize("flux", [-1.0, np.nan, np.inf])
def test_an_impossible_flux_is_refused(flux):
    rows = random_rows(3)
    rows["src_flux_nmgy"][1, 2] = flux
    with pytest.raises(ManifestError, match=r"row 1, band 2: src_flux_nmgy"):
        render_arcs(rows)


def test_unknown_models_columns_and_geometries_are_refused():
    with pytest.raises(ManifestError, match=r"row 0: lens_model .* not 'SIEE'\. Did you mean 'SIE'"):
        render_arcs(one_row(lens_model="SIEE"))
    row = one_row()
    with pytest.raises(ManifestError, match="no column 'lens_q'"):
        render_arcs({k: v for k, v in row.items() if k != "lens_q"})
    with pytest.raises(ManifestError, match="is_control"):
        render_arcs({**row, "is_control": np.array([True])})
    with pytest.raises(ManifestError, match="bands differ"):
        render_arcs({**row, "src_flux_nmgy": np.ones((1, 2))})
    for geometry in ({"stamp_size": 0}, {"pixel_scale_arcsec": 0.0}):
        with pytest.raises(RenderError, match=next(iter(geometry))):
            render_arcs(row, **geometry)
    with pytest.raises(RenderError, match="no such model"):
        render_arcs(row, psf_model="airy")
