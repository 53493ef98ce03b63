"""What all diagnostics start from: rows and bands kept, left out and counted, the same in any block."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import geometry
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels.differences import INJECTED_SHIFT_PIX, Differences, _moved, regions
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = DiagnosticsConfig()
PAIRS = pairs_block(n_hosts=8, size=44)
WHOLE = Differences.from_block(PAIRS, CONFIG)
PER_ROW = [f.name for f in fields(Differences) if f.type in ("Floats", "NDArray[np.int64]", "NDArray[np.bool_]")
           and f.name != "n_nonfinite"]  # fmt: skip


def test_sums_equal_plain_numpy_on_the_full_arrays():
    rows = ~PAIRS["is_control"].values
    stamp, ctrl, arc = (PAIRS[k].values[rows].astype(np.float64) for k in ("stamp", "ctrl", "arc"))
    covered = np.isfinite(PAIRS["psf_fwhm_arcsec"].values[rows])
    np.testing.assert_array_equal(WHOLE.covered, covered)
    core = geometry.disc(44, PAIRS["x_center"].values[rows], PAIRS["y_center"].values[rows])[:, None]
    outer = geometry.annulus(44, PAIRS["x_center"].values[rows], PAIRS["y_center"].values[rows], 20)[:, None]

    def summed(values, where=1):
        return np.where(covered, (values * where).sum(axis=(2, 3)), 0)

    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(WHOLE.difference.sum(axis=-1), summed(stamp - ctrl), **close)
    np.testing.assert_allclose(WHOLE.residual.sum(axis=-1), summed(stamp - ctrl - arc), **close)
    np.testing.assert_allclose(WHOLE.inside(WHOLE.difference), summed(stamp - ctrl, core), **close)
    np.testing.assert_allclose(WHOLE.outside(WHOLE.residual), summed(stamp - ctrl - arc, outer), **close)
    np.testing.assert_allclose(WHOLE.control_core, summed(ctrl, core), **close)
    assert (WHOLE.pixels.sum(axis=1) == 44 * 44).all()


@settings(max_examples=15, deadline=None)
@given(parts=st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_a_row_has_the_same_bits_in_any_block(parts):
    injections = np.flatnonzero(~PAIRS["is_control"].values)
    for p in set(parts):
        rows = np.flatnonzero(np.array(parts) == p)
        part = Differences.from_block(PAIRS.isel(sample=rows), CONFIG)
        here = np.flatnonzero(np.isin(injections, rows))
        assert set(PER_ROW) >= {"host_index", "covered", "pixels", "difference", "residual", "sums", "filled"}
        for name in PER_ROW:
            np.testing.assert_array_equal(getattr(part, name), getattr(WHOLE, name)[here], err_msg=name)


def test_rows_lie_in_the_stratum_of_their_theta_e_and_the_last_one_holds_the_rest():
    config = DiagnosticsConfig(theta_e_edges=(0.5, 1.0, 2.0))
    d = Differences.from_block(PAIRS, config)
    theta = PAIRS["theta_e_arcsec"].values[~PAIRS["is_control"].values]
    wanted = np.select([(theta >= 0.5) & (theta < 1), (theta >= 1) & (theta < 2)], [0, 1], 2)
    np.testing.assert_array_equal(d.stratum, wanted)
    cells = d.by_stratum(d.control_core)
    np.testing.assert_array_equal(cells.sum(axis=1), d.control_core)
    assert all((cells[d.stratum != s, s] == 0).all() for s in range(3))


def test_light_in_a_band_without_psf_is_noticed_and_a_pixel_that_is_not_finite_is_counted():
    assert not WHOLE.filled.any()
    rows = np.flatnonzero(~PAIRS["is_control"].values)
    absent = int(np.flatnonzero(~WHOLE.covered[:, 0])[0])
    lit = PAIRS.copy(deep=True)
    lit["arc"][rows[absent], 0, 5, 6] = 0.1
    assert np.argwhere(Differences.from_block(lit, CONFIG).filled).tolist() == [[absent, 0]]

    broken = PAIRS.copy(deep=True)
    broken["stamp"][rows[3], 1, 0, 0] = np.nan
    broken["ctrl"][rows[4], 2, 20, 20] = np.inf
    d = Differences.from_block(broken, CONFIG)
    assert d.n_nonfinite.tolist() == [0, 1, 1]
    assert not d.covered[3, 1] and not d.covered[4, 2]
    assert (d.sums[3, 1] == 0).all() and (d.difference[4, 2] == 0).all()


@pytest.mark.parametrize(("value", "largest"), [(0.25, 0.25), (np.nan, 0.0)])
def test_a_changed_control_is_counted_even_where_the_change_has_no_size(value, largest):
    assert (WHOLE.n_controls, WHOLE.n_controls_changed, WHOLE.max_control_change) == (8, 0, 0.0)
    changed = PAIRS.copy(deep=True)
    row = int(np.flatnonzero(PAIRS["is_control"].values)[1])
    changed["stamp"][row, 1, 3, 4] += value
    d = Differences.from_block(changed, CONFIG)
    assert d.n_controls_changed == 1 and d.max_control_change == pytest.approx(largest, rel=1e-5)


def test_the_known_shift_is_one_along_both_axes_and_one_row_in_eight_has_it():
    size = 40
    f = 2 * np.pi * np.arange(size) / size
    wave = (np.sin(2 * f)[None, :] + np.cos(3 * f)[:, None]).astype(np.float32)
    ids = np.arange(4000, dtype=np.uint64)
    power, moved = _moved(np.broadcast_to(wave, (4000, 1, size, size)), np.arange(4000), ids)
    assert set(power) == {-1, 0} and len(moved) == 1  # one control is moved once
    assert 400 < (power >= 0).sum() < 600
    by = 2 * np.pi * INJECTED_SHIFT_PIX / size
    wanted = np.sin(2 * (f - by))[None, :] + np.cos(3 * (f - by))[:, None] - wave
    np.testing.assert_allclose(moved[0, 0], wanted, atol=1e-6)
    again, _ = _moved(np.broadcast_to(wave, (4000, 1, size, size)), np.arange(4000), ids[::-1])
    np.testing.assert_array_equal(again >= 0, (power >= 0)[::-1])


def test_each_row_has_the_shift_of_its_own_control():
    draw = np.random.default_rng(4)
    ctrl = draw.normal(size=(3, 2, 16, 16)).astype(np.float32)[[0] * 30 + [1] * 30 + [0] * 30 + [2] * 30]
    ctrl[60:90, 1, 3, 3] += np.arange(30)  # rows that were rounded, each by itself
    rows, ids = np.arange(120), np.arange(120, dtype=np.uint64)
    power, moved = _moved(ctrl, rows, ids)
    shifted = np.flatnonzero(power >= 0)
    assert 5 <= len(moved) < len(shifted)
    for k in shifted:
        alone, of_row = _moved(ctrl[k : k + 1], np.arange(1), ids[k : k + 1])
        assert alone.tolist() == [0]
        np.testing.assert_array_equal(moved[power[k]], of_row[0])


def test_a_column_of_rows_is_repeated_over_bands_and_a_missing_one_is_nan():
    theta = WHOLE.per_band("theta_e_arcsec")
    assert theta.shape == WHOLE.covered.shape and (theta[:, 0] == theta[:, 2]).all()
    fwhm = PAIRS["psf_fwhm_arcsec"].values[~PAIRS["is_control"].values]
    np.testing.assert_array_equal(WHOLE.per_band("psf_fwhm_arcsec")[:, 1], fwhm[:, 1])
    assert np.isnan(WHOLE.per_band("no_such_column")).all()


@pytest.mark.parametrize("size", [64, 48, 30])
def test_regions_lie_outside_the_arcs_off_the_edge_and_are_never_empty(size):
    outside, outer = regions(size)
    r = geometry.radius_pix(size, geometry.centre(size), geometry.centre(size))
    assert outside.any() and outer.any() and not outside[[0, -1]].any() and not outside[:, [0, -1]].any()
    assert r[outside].min() >= min(16, size / 2 - 2) and r[outer].min() >= min(20, size / 2 - 2)


def test_blocks_of_controls_only_have_no_rows():
    d = Differences.from_block(PAIRS.isel(sample=np.flatnonzero(PAIRS["is_control"].values)), CONFIG)
    assert d.host_index.size == 0 and d.sums.shape[0] == 0 and d.n_controls == 8
    assert d.columns(["row_id", "no_such_column"]).sizes == {"sample": 0}
