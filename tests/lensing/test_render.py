from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import ManifestError, RenderError
from lensflow.lensing.render import render, render_arcs

from .rows import alternating_models, error_over_peak, one_row, random_rows, take, wide_rows

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
    assert error_over_peak(render_arcs(turned), expected)[0] < 4e-4


@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_a_reflection_of_the_row_reflects_the_image(seed):
    rows = random_rows(1, seed=seed)
    mirrored = {**rows, "x_center": 63 - rows["x_center"], "src_x_arcsec": -rows["src_x_arcsec"]}
    for angle in ("lens_phi_rad", "shear_phi_rad", "src_phi_rad"):
        mirrored[angle] = np.pi - rows[angle]
    assert error_over_peak(render_arcs(mirrored), render_arcs(rows)[..., ::-1])[0] < 4e-4


def test_moving_the_lens_by_whole_pixels_moves_the_image():
    row = one_row(src_reff_arcsec=0.2)
    moved = {**row, "x_center": row["x_center"] + 5, "y_center": row["y_center"] - 3}
    a, b = render_arcs(row), render_arcs(moved)
    assert error_over_peak(b[:, :, :-3, 5:], a[:, :, 3:, :-5])[0] < 4e-4


def test_an_unlensed_looking_source_sits_where_its_centre_says():
    # A faint lens far from the source: the light's centroid is the source's position, for even and odd stamps.
    for size in (64, 63):
        row = one_row(
            lens_model="SIS", lens_q=1.0, theta_e_arcsec=1e-6, shear=0.0, src_x_arcsec=0.5, src_y_arcsec=-0.3,
            src_q=1.0, x_center=30.8, y_center=31.9, psf_fwhm_arcsec=[1.2], src_flux_nmgy=[1.0],
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
    np.testing.assert_allclose(flux, result.magnification[0] * row["src_flux_nmgy"][0], rtol=2e-4)


# --- batches ---------------------------------------------------------------------------------------------------


def mixed_rows(n=40):
    """Rows of every kind, whose grids and frequencies differ."""
    parts = [wide_rows(n // 4, seed, model, index) for seed, (model, index) in enumerate(
        [("SIE", 1.0), ("EPL", 1.0), ("SIE", 4.0), ("EPL", 0.5)])]  # fmt: skip
    rows = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
    rows["psf_fwhm_arcsec"][::7, 1] = np.nan
    return rows


def same_bits(a, b):
    for name in ("arc", "magnification", "render_err", "band_magnification"):
        x, y = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(x.view(np.uint8), y.view(np.uint8), err_msg=name)


def part_of(result, index):
    return type(result)(*(getattr(result, f.name)[index].copy() for f in fields(result)))


def test_a_row_has_the_same_bits_in_any_batch():
    rows, models = mixed_rows(), alternating_models(40)
    whole = render(rows, psf_model=models)
    order = np.random.default_rng(0).permutation(40)
    same_bits(render(take(rows, order), psf_model=models[order]), part_of(whole, order))
    for i in range(0, 40, 3):
        same_bits(render(take(rows, [i]), psf_model=models[[i]]), part_of(whole, [i]))
    for k in range(0, 40, 7):
        index = np.arange(k, min(k + 7, 40))
        same_bits(render(take(rows, index), psf_model=models[index]), part_of(whole, index))


def test_threads_do_not_change_a_bit():
    rows, models = mixed_rows(), alternating_models(40)
    whole = render(rows, psf_model=models)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: render(take(rows, [i]), psf_model=models[[i]]), range(40)))
    for i, part in enumerate(parts):
        same_bits(part, part_of(whole, [i]))


def test_other_threads_run_while_a_batch_is_rendered():
    # A thread that counts must get on while the engine works: the whole batch is one call without the GIL.
    import threading
    import time

    rows = random_rows(400)
    render(take(rows, slice(0, 2)))
    counts, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counts[0] += 1
            time.sleep(1e-3)

    thread = threading.Thread(target=count)
    thread.start()
    start = time.perf_counter()
    render(rows)
    taken = time.perf_counter() - start
    stop.set()
    thread.join()
    assert counts[0] > 0.2 * taken / 1e-3 or taken < 0.02


def test_the_psf_model_may_differ_from_row_to_row():
    rows, models = random_rows(4), alternating_models(4)
    mixed = render(rows, psf_model=models)
    for model in ("moffat", "gaussian"):
        index = np.flatnonzero(models == model)
        same_bits(render(take(rows, index), psf_model=model), part_of(mixed, index))
    with pytest.raises(RenderError, match=r"shape \(4,\)"):
        render(rows, psf_model=models[:3])
    with pytest.raises(RenderError, match="no such model"):
        render(rows, psf_model=np.array(["moffat", "airy", "moffat", "moffat"]))


def test_a_band_has_the_same_image_whatever_the_other_bands_are():
    row = one_row()
    alone = {**row, "psf_fwhm_arcsec": row["psf_fwhm_arcsec"][:, :1], "src_flux_nmgy": row["src_flux_nmgy"][:, :1]}
    a, b = render_arcs(row)[:, :1], render_arcs(alone)
    assert error_over_peak(a, b)[0] < 4e-4


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


@pytest.mark.parametrize("n", [0.3, 1.0, 4.0, 8.0])
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("SIS", {"lens_q": 1.0}),
        ("SIE", {"lens_q": 0.2}),
        ("SIE", {"lens_q": 1.0, "src_q": 1.0}),
        ("SIE", {"lens_q": 0.05, "src_q": 0.05}),
        ("EPL", {"lens_gamma": 1.5}),
        ("EPL", {"lens_gamma": 2.5}),
        ("EPL", {"lens_gamma": 2.0}),
    ],
)
def test_a_source_exactly_behind_the_lens_is_finite(model, n, changes):
    row = one_row(
        lens_model=model, src_n=n, src_x_arcsec=0.0, src_y_arcsec=0.0, shear=0.0, x_center=32.0, y_center=31.0,
        lens_phi_rad=0.0, src_phi_rad=0.0, **changes,
    )  # fmt: skip
    result = render(row)
    assert np.isfinite(result.arc).all()
    assert np.isfinite([result.magnification[0], result.render_err[0]]).all()
    assert result.magnification[0] >= 1
    assert result.render_err[0] < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"theta_e_arcsec": 1e-9},
        {"theta_e_arcsec": 30.0},
        {"src_reff_arcsec": 1e-3},
        {"src_reff_arcsec": 30.0},
        {"src_x_arcsec": 1e3},
        {"shear": 0.9},
        {"src_q": 1e-3},
        {"psf_fwhm_arcsec": [0.2, 20.0, 1.0]},
        {"x_center": -0.5, "y_center": 63.5},
        {"lens_model": "EPL", "lens_gamma": 1.1},
        {"lens_model": "EPL", "lens_gamma": 2.9},
    ],
)
def test_rows_far_outside_the_ranges_are_finite(changes):
    result = render(one_row(**changes))
    assert np.isfinite(result.arc).all()
    assert np.isfinite(result.magnification).all()
    assert np.isfinite(result.render_err).all()


def test_an_epl_without_a_slope_column_is_isothermal():
    sie, epl = render_arcs(one_row()), render_arcs(one_row(lens_model="EPL"))
    np.testing.assert_array_equal(epl, sie)
    steeper = render_arcs(one_row(lens_model="EPL", lens_gamma=2.001))
    assert 0 < error_over_peak(steeper, sie)[0] < 5e-3


def test_the_slope_of_other_models_is_not_looked_at():
    np.testing.assert_array_equal(render_arcs(one_row(lens_gamma=np.nan)), render_arcs(one_row()))


def test_the_arc_is_exactly_0_below_1e_6_of_its_peak():
    arc = render_arcs(one_row(src_reff_arcsec=0.2), psf_model="gaussian")
    peak = arc.max(axis=(2, 3), keepdims=True)
    assert (np.abs(arc)[arc != 0] >= 0.999e-6 * np.broadcast_to(peak, arc.shape)[arc != 0]).all()
    assert (arc == 0).any()


def test_rows_that_share_some_of_the_last_row_s_psfs_are_what_they_are_alone():
    rows = random_rows(9, seed=21)
    widths = np.array([[1.2, 1.3, 1.4], [1.2, 1.3, 1.4], [1.3, 1.2, 1.4], [1.2, np.nan, 1.4], [1.2, 1.35, 1.4]])
    rows["psf_fwhm_arcsec"] = widths[[0, 1, 1, 2, 3, 0, 4, 1, 0]]
    models = np.array(["moffat"] * 2 + ["gaussian", "moffat", "moffat", "moffat", "moffat", "gaussian", "moffat"])
    together = render_arcs(rows, psf_model=models)
    for i in range(9):
        alone = render_arcs(take(rows, [i]), psf_model=models[i])
        assert np.array_equal(together[i : i + 1], alone), i


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


@pytest.mark.parametrize("size", [1, 8, 33, 41, 64, 100])
@pytest.mark.parametrize("bands", [1, 4])
def test_any_stamp_size_and_any_number_of_bands(size, bands):
    rows = random_rows(2, bands=bands, x_center=(size - 1) / 2 - 0.2, y_center=(size - 1) / 2 + 0.3)
    arc, error = render_arcs(rows, return_error=True, stamp_size=size)
    assert arc.shape == (2, bands, size, size)
    assert arc.dtype == np.float32
    assert (error > 0).all()
    assert (arc.max(axis=(2, 3)) > 0).all()


def test_a_stamp_is_the_middle_of_a_larger_one():
    for small, large in ((64, 96), (33, 65)):
        cut = (large - small) // 2
        rows = random_rows(3, src_reff_arcsec=0.3, theta_e_arcsec=1.2)
        rows["x_center"] += (small - 64) / 2
        rows["y_center"] += (small - 64) / 2
        moved = {**rows, "x_center": rows["x_center"] + cut, "y_center": rows["y_center"] + cut}
        a, b = render_arcs(rows, stamp_size=small), render_arcs(moved, stamp_size=large)
        assert error_over_peak(b[:, :, cut:-cut, cut:-cut], a).max() < 4e-4


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


def test_a_psf_narrower_than_half_a_pixel_is_refused():
    with pytest.raises(RenderError, match=r"row 0, band 1: psf_fwhm_arcsec must be >= 0\.131 arcsec"):
        render_arcs(one_row(psf_fwhm_arcsec=[1.2, 0.1, 1.2]))


@pytest.mark.parametrize("gamma", [1.0, 3.0, np.nan])
def test_an_impossible_slope_is_refused(gamma):
    with pytest.raises(ManifestError, match=r"row 0: lens_gamma must be in \(1, 3\)"):
        render_arcs(one_row(lens_model="EPL", lens_gamma=gamma))


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
    for geometry in ({"stamp_size": 0}, {"stamp_size": 1.5}, {"pixel_scale_arcsec": 0.0}):
        with pytest.raises(RenderError, match=next(iter(geometry))):
            render_arcs(row, **geometry)
    with pytest.raises(RenderError, match="no such model"):
        render_arcs(row, psf_model="airy")
