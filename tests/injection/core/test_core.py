"""Masks, counterfactual arcs and matched controls: what they change, what they leave alone, what they cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import geometry
from lensflow.errors import ConfigError, GateError, StoreError
from lensflow.injection.core import (
    Handling,
    add_core_blob,
    handle_core,
    host_pods,
    keep_weights,
    mask_batch,
    match_controls,
    move_arc,
    removed_fraction,
    rotate_arc,
    shuffle_arc,
)
from tests.measure.pixels.pairs_factory import pairs_block

RADII = st.floats(0, 12)
CENTRES = st.floats(30, 33)


@pytest.fixture
def pairs():
    return pairs_block(n_hosts=4, per_host=3, size=64, absent_band_every=0).assign_attrs(pixel_scale_arcsec=0.262)


def test_a_mask_of_5_pixels_on_pixel_32_leaves_31_of_the_100_gate_pixels_open():
    keep = keep_weights(64, 32, 32, 5)
    assert keep[geometry.core_box(64, 10)].sum() == 31


@given(RADII, CENTRES, CENTRES, st.floats(0.5, 4))
@settings(max_examples=30, deadline=None)
def test_a_taper_is_0_inside_1_beyond_its_width_and_never_falls_with_radius(radius, x, y, width):
    r = geometry.radius_pix(64, x, y).ravel()
    hard, taper = (keep_weights(64, x, y, radius, m, width).ravel() for m in ("hard", "taper"))
    if radius > 0:
        assert not taper[r <= radius].any() and (hard == (r >= radius)).all()
    assert (taper[r >= radius + width] == 1).all() and (taper <= hard).all()
    assert (np.diff(taper[np.argsort(r)]) >= -1e-6).all()


def test_tanh_is_one_half_at_its_radius_and_so_never_zeroes_the_core():
    keep = keep_weights(65, 32, 32, 5, "tanh", 2)
    assert keep[32, 37] == 0.5 and keep.min() > 0


def test_radius_0_is_off_for_every_method():
    for method in ("hard", "taper", "tanh"):
        assert (keep_weights(16, 7.5, 7.5, 0, method) == 1).all()


@pytest.mark.parametrize("wrong", [{"method": "sharp"}, {"radius_pix": -1}, {"radius_pix": np.nan}, {"width_pix": 0}])
def test_a_mask_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match="core mask"):
        keep_weights(**{"size": 16, "x_center": 8, "y_center": 8, "radius_pix": 3, **wrong})


@pytest.mark.parametrize("shape", [(16, 16), (5, 16, 16), (5, 3, 16, 16), (2, 5, 3, 16, 16)])
def test_a_training_mask_blanks_the_core_of_batches_of_any_shape_and_keeps_the_other_bits(shape):
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    masked = mask_batch(images, 4)
    core = geometry.disc(16, 7.5, 7.5, 4)
    assert not masked[..., core].any() and np.array_equal(masked[..., ~core], images[..., ~core])
    assert masked.dtype == images.dtype and images[..., core].any()


def test_a_training_mask_follows_each_target_and_hides_even_nan():
    images = np.full((2, 3, 32, 32), np.nan, np.float32)
    masked = mask_batch(images, 3, x_center=[10, 20], y_center=[12, 16])
    for k, (x, y) in enumerate(((10, 12), (20, 16))):
        core = geometry.disc(32, x, y, 3)
        assert (masked[k][:, core] == 0).all() and np.isnan(masked[k][:, ~core]).all()


def test_filled_with_sky_a_core_says_nothing_of_the_arc(pairs):
    rows = np.flatnonzero(~pairs["is_control"].values)
    far = geometry.annulus(64, 31.5, 31.5, 20)
    stamp, ctrl = pairs["stamp"].values[rows].copy(), pairs["ctrl"].values[rows]
    stamp[..., far] = ctrl[..., far]
    core = geometry.disc(64, 31.5, 31.5, 5)
    a, b = (mask_batch(v, 5, fill="sky")[..., core] for v in (stamp, ctrl))
    assert np.array_equal(a, b) and a.any()


@pytest.mark.parametrize(
    "call", [lambda: mask_batch(np.zeros((4, 8, 9)), 2), lambda: mask_batch(np.zeros((4, 8, 8)), 2, [1, 2], [1, 2]),
             lambda: mask_batch(np.zeros((8, 8)), 2, fill="mean"), lambda: mask_batch(np.zeros((8, 8)), 2, fill="sky")]
)  # fmt: skip
def test_batches_that_cannot_be_masked_are_refused(call):
    with pytest.raises(ConfigError, match="core mask"):
        call()


@given(st.integers(0, 2**63))
@settings(max_examples=15, deadline=None)
def test_a_shuffled_arc_keeps_every_ring_and_colour_and_is_the_same_in_any_batch(key):
    added = np.random.default_rng(1).normal(size=(3, 2, 32, 32))
    added[:, 1] = 2 * added[:, 0]
    ids, x = np.array([key, 1, 2], np.uint64), np.array([15.5, 16.2, 15.0])
    out = shuffle_arc(added, x, x, ids, seed=3)
    ring = geometry.ring_index(32, x, x, 64)
    for k in range(3):
        for r in np.unique(ring[k])[:20]:
            where = ring[k] == r
            assert np.array_equal(np.sort(out[k, 0][where]), np.sort(added[k, 0][where]))
    assert np.array_equal(out[:, 1], 2 * out[:, 0]) and not np.array_equal(out, added)
    assert np.array_equal(shuffle_arc(added[1:2], x[1:2], x[1:2], ids[1:2], seed=3), out[1:2])


@given(CENTRES, CENTRES)
@settings(max_examples=20, deadline=None)
def test_half_a_turn_mirrors_the_arc_about_the_target(x, y):
    added = np.zeros((1, 1, 64, 64))
    added[0, 0, 40, 25] = 1.0
    yy, xx = np.argwhere(rotate_arc(added, [x], [y])[0, 0] == 1)[0]
    assert abs((xx + 25) / 2 - x) <= 0.25 + 1e-9 and abs((yy + 40) / 2 - y) <= 0.25 + 1e-9


def test_two_half_turns_are_none_within_the_stamp(pairs):
    arc = pairs["arc"].values.astype(np.float64)
    x, y = pairs["x_center"].values, pairs["y_center"].values
    again = rotate_arc(rotate_arc(arc, x, y), x, y)
    assert np.array_equal(again[..., 4:60, 4:60], arc[..., 4:60, 4:60])


def test_a_moved_arc_lies_16_pixels_off_with_the_same_pixels():
    added = np.zeros((20, 1, 64, 64))
    added[:, 0, 30:33, 30:33] = np.arange(1, 10).reshape(3, 3)
    out = move_arc(added, np.arange(20, dtype=np.uint64), seed=1)
    places = [np.argwhere(v[0] == 5)[0] - 31 for v in out]
    assert all(abs(np.hypot(*p) - 16) <= 0.75 for p in places) and len({tuple(p) for p in places}) > 5
    assert np.array_equal(out.sum(axis=(1, 2, 3)), added.sum(axis=(1, 2, 3)))


def test_a_blob_holds_the_arcs_core_flux_in_each_band_and_none_where_the_band_is_absent(pairs):
    arc, x, y = (pairs[n].values for n in ("arc", "x_center", "y_center"))
    fwhm = pairs["psf_fwhm_arcsec"].values / 0.262
    fwhm[0, 1] = np.nan
    blob = add_core_blob(arc, x, y, fwhm)
    core = geometry.disc(64, x, y)
    got, want = (np.einsum("nbyx,nyx->nb", v.astype(float), core) for v in (blob, arc))
    want[0, 1] = 0
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-15)


PARTS = ["none", "mask_5", "taper_5", "tanh_5", "blank_5", "theta_e_1", "blob", "shuffled", "rotated", "moved"]


@pytest.mark.parametrize("name", PARTS)
def test_every_handling_keeps_ctrl_plus_arc_as_the_noiseless_stamp_and_counts_its_cost(pairs, name):
    out = handle_core(pairs, name)
    kept = pairs if name != "theta_e_1" else pairs.isel(sample=pairs["is_control"] | (pairs["theta_e_arcsec"] >= 1))
    assert out.sizes["sample"] == kept.sizes["sample"] and out.attrs["core_handling"] == name
    shot = kept["stamp"].values - (kept["ctrl"].values + kept["arc"].values)
    left = out["stamp"].values - (out["ctrl"].values + out["arc"].values)
    assert (np.abs(left) <= np.abs(shot) + 2e-6).all()
    removed = out["core_flux_removed_nmgy"].values
    assert (removed >= -1e-6).all() and (removed.any() == (name in ("mask_5", "taper_5", "tanh_5", "blank_5")))
    control = out["is_control"].values
    assert np.array_equal(out["stamp"].values[control], out["ctrl"].values[control])


def test_a_hard_mask_gives_the_controls_own_bits_inside_and_the_stamps_outside(pairs):
    out = handle_core(pairs, "mask_5")
    core = geometry.disc(64, pairs["x_center"], pairs["y_center"])[:, None]
    assert np.array_equal(out["stamp"].values, np.where(core, pairs["ctrl"].values, pairs["stamp"].values))
    share = removed_fraction(out, pairs["arc"].values)
    arc, rows = pairs["arc"].values, ~pairs["is_control"].values
    expected = (arc * core).sum(axis=(1, 2, 3))[rows] / arc.sum(axis=(1, 2, 3))[rows]
    np.testing.assert_allclose(share[rows], expected, rtol=1e-4)
    assert np.isnan(share[~rows]).all()


def test_a_blank_core_is_0_in_both_classes(pairs):
    out = handle_core(pairs, "blank_6")
    core = np.broadcast_to(geometry.disc(64, pairs["x_center"], pairs["y_center"], 6)[:, None], out["stamp"].shape)
    assert not out["stamp"].values[core].any() and not out["ctrl"].values[core].any()
    assert np.array_equal(out["stamp"].values[~core], pairs["stamp"].values[~core])


def test_names_are_read_and_wrong_ones_explained():
    how = Handling.parse("taper_5.5+theta_e_1+matched")
    assert (how.mask, how.radius_pix, how.theta_e_min_arcsec, how.negatives) == ("taper", 5.5, 1.0, "matched")
    assert how.pixels == "taper_5.5" and not how.is_experiment and Handling.parse("rotated").is_experiment
    assert Handling.parse("theta_e_1").pixels == "none" and "0 at r <= 5.5" in how.describe()
    for wrong, said in (("msak_5", "no such part"), ("mask_5+blank_3", "two parts"), ("none+mask_5", "no such part")):
        with pytest.raises(GateError, match=said):
            Handling.parse(wrong)


def test_pairs_that_cannot_be_handled_are_refused(pairs):
    with pytest.raises(StoreError, match="no arc"):
        handle_core(pairs.drop_vars("arc"), "mask_5")
    with pytest.raises(GateError, match="tune_core"):
        handle_core(pairs, "matched")
    del pairs.attrs["pixel_scale_arcsec"]
    with pytest.raises(ConfigError, match="pixel_scale_arcsec"):
        handle_core(pairs, "blob")


@given(st.integers(2, 300))
@settings(max_examples=30, deadline=None)
def test_pods_are_of_like_brightness_and_of_two_hosts_at_least(n):
    bright = np.random.default_rng(n).uniform(1, 100, n)
    pod = host_pods(bright)
    assert np.bincount(pod).min() >= 2
    assert (np.diff(pod[np.argsort(bright)]) >= 0).all() and pod.max() + 1 >= min(10, n // 2)


def test_a_matched_control_is_another_hosts_of_the_same_pod_and_the_nearest_there():
    draw = np.random.default_rng(2)
    host = np.repeat(np.arange(40) * 3, 4)
    ctrl = np.repeat(draw.uniform(1, 30, (40, 3)), 4, axis=0)
    stamp = ctrl * draw.uniform(1, 1.5, (160, 1))
    row, pod = match_controls(stamp, ctrl, host, np.full(3, 0.1))
    assert (host[row] != host).all() and np.array_equal(pod[row], pod)
    look = lambda v: np.arcsinh(v / 0.1)  # noqa: E731
    for k in range(0, 160, 13):
        others = np.flatnonzero((pod == pod[k]) & (host != host[k]))
        nearest = ((look(ctrl[others]) - look(stamp[k])) ** 2).sum(axis=1).min()
        assert ((look(ctrl[row[k]]) - look(stamp[k])) ** 2).sum() == pytest.approx(nearest)


def test_one_host_cannot_be_matched():
    with pytest.raises(GateError, match="two hosts"):
        match_controls(np.ones((3, 1)), np.ones((3, 1)), np.zeros(3, np.int64), np.ones(1))
