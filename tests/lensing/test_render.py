from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import ManifestError, RenderError
from lensflow.lensing import canvas, psf
from lensflow.lensing.kernels import pack_row, shoot_grid
from lensflow.lensing.render import render, render_arcs
from lensflow.lensing.render_reference import lensed_light, ray_positions, render_row_reference
from lensflow.lensing.rows import read_rows

from .rows import error_over_peak, one_row, random_rows, scalars, take

SMALL = {"stamp_size": 24, "pad_pix": 6, "supersample": 4}


def small_row(**changes):
    return one_row(**{"theta_e_arcsec": 0.9, "x_center": 11.6, "y_center": 11.3, **changes})


# --- against the reference -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0.5, 1.0, 2.3])
@pytest.mark.parametrize(("model", "q"), [("SIS", 1.0), ("SIE", 0.4), ("SIE", 0.9999)])
def test_the_compiled_rays_see_the_light_that_numpy_sees(model, q, n):
    row = scalars(one_row(lens_model=model, lens_q=q, src_n=n, src_reff_arcsec=0.15))
    size, s, pixel = 40, 3, 0.262
    names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec",
             "src_reff_arcsec", "src_n", "src_q", "src_phi_rad")  # fmt: skip
    parameters, central = pack_row(*(float(row[k]) for k in names))
    row["x_center"] = row["y_center"] = 19.5
    x, y = (ray_positions(size, 0, s, pixel, 19.5) for _ in range(2))
    light = np.zeros((size * s, size * s))
    shoot_grid(light, s, -19.5 * pixel, -19.5 * pixel, pixel, parameters)
    expected = lensed_light(row, x[None, :], y[:, None])
    np.testing.assert_allclose(light * central, expected, atol=3e-12 * central)
    assert n == 2.3 or (light == 0).any()  # dark pixels are skipped, and the comparison above has seen them


@pytest.mark.parametrize("psf_model", psf.MODELS)
@pytest.mark.parametrize(
    "geometry", [SMALL, {**SMALL, "stamp_size": 23, "supersample": 3}, {**SMALL, "supersample": 1}]
)
def test_the_renderer_is_the_reference(psf_model, geometry):
    # The arc's own floor (1e-6) and float32 aside: compare where the arc is kept.
    row = small_row()
    period = 90
    for band in range(3):
        single = {**row, "psf_fwhm_arcsec": row["psf_fwhm_arcsec"][:, [band]], "src_flux_nmgy": np.ones((1, 1))}
        arc = render_arcs(single, psf_model=psf_model, **geometry)[0, 0].astype(np.float64)
        reference = render_row_reference(scalars(single), psf_model=psf_model, period_pix=period, **geometry)[0]
        peak = reference.max()
        kept = arc != 0
        wrap = 1e-10 if psf_model == "gaussian" else 2e-5  # the Moffat's wings wrap round both canvases a little
        assert np.abs(arc - reference)[kept].max() <= wrap * peak + 6e-8 * peak
        assert np.abs(reference[~kept]).max(initial=0) <= (1e-6 + wrap) * peak


@pytest.mark.parametrize("psf_model", psf.MODELS)
def test_on_one_canvas_the_difference_from_the_reference_is_1e_10_of_the_peak(psf_model, monkeypatch):
    monkeypatch.setattr(canvas, "ARC_FLOOR", 0.0)
    for seed in range(3):
        row = random_rows(1, seed=seed)
        one = canvas.Canvas(64, 0.262, psf_model, 3.5, 4, 16)
        period = one._period(float(row["psf_fwhm_arcsec"].max()) / 0.262)
        arc = np.zeros((3, 64, 64))  # float64: the method writes into whatever it is given
        one.render_row(read_rows(row, 64, 0.262, 4), 0, arc)
        reference = render_row_reference(scalars(row), psf_model=psf_model, supersample=4, period_pix=period)
        assert error_over_peak(arc[None], reference[None])[0] <= 1e-10


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


def test_what_wraps_round_the_canvas_is_below_1e_4_of_the_peak_for_the_widest_psf():
    rows = one_row(psf_fwhm_arcsec=[3.8, 1.3, 0.9], theta_e_arcsec=3.0)
    reference = render_row_reference(scalars(rows), supersample=2, period_pix=400)
    assert error_over_peak(render_arcs(rows, supersample=2), reference[None])[0] < 1e-4


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
    assert error_over_peak(a, b)[0] < 1e-6


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
    # With the lens on a ray (odd supersample, whole-pixel centre) the deflection's centre itself is sampled.
    row = one_row(lens_model=model, src_x_arcsec=0.0, src_y_arcsec=0.0, shear=0.0, x_center=32.0, y_center=31.0)
    result = render(row, supersample=5)
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


@pytest.mark.parametrize("geometry", [{"stamp_size": 33}, {"stamp_size": 64}, {"stamp_size": 41, "pad_pix": 0}])
@pytest.mark.parametrize("bands", [1, 4])
def test_any_stamp_size_and_any_number_of_bands(geometry, bands):
    size = geometry["stamp_size"]
    rows = random_rows(2, bands=bands, x_center=size / 2 - 0.3, y_center=size / 2 - 0.7)
    arc, error = render_arcs(rows, return_error=True, supersample=4, **geometry)
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


def test_a_psf_narrower_than_the_rays_is_refused():
    with pytest.raises(RenderError, match="raise supersample"):
        render_arcs(one_row(psf_fwhm_arcsec=[1.2, 0.3, 1.2]), supersample=1)


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
    for geometry in ({"stamp_size": 0}, {"supersample": 0}, {"pad_pix": -1}, {"pixel_scale_arcsec": 0.0}):
        with pytest.raises(RenderError, match=next(iter(geometry))):
            render_arcs(row, **geometry)
    with pytest.raises(RenderError, match="no such model"):
        render_arcs(row, psf_model="airy")
