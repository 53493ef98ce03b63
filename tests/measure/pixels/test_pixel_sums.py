"""Every sum of the compiled pass equals plain numpy on whole arrays."""

import numpy as np
import pytest

from lensflow import geometry
from lensflow.measure.pixels import pixel_sums as sums_of
from lensflow.measure.pixels.differences import regions
from lensflow.measure.pixels.pixel_sums import N_SUMS, outer_sums, pixel_sums

N, BANDS, SIZE, RINGS = 5, 2, 24, 9
CORE_PIX = geometry.CORE_RADIUS_PIX


@pytest.fixture(scope="module")
def given():
    """Random images, an arc with zeros, a shift for two of the rows, and a step for one of the bands."""
    draw = np.random.default_rng(0)
    shape = (N, BANDS, SIZE, SIZE)
    ctrl, arc, rest = (draw.normal(size=shape).astype(np.float32) for _ in range(3))
    arc[arc < 0.8] = 0
    rest[np.abs(rest) < 0.5] = 0
    middle = geometry.centre(SIZE)
    return {
        "stamp": ctrl + arc + rest, "ctrl": ctrl, "arc": arc,
        "x": middle + draw.uniform(-0.5, 0.5, N), "y": middle + draw.uniform(-0.5, 0.5, N),
        "step": np.tile([0.0, 0.4], (N, 1)), "power": np.array([-1, 0, -1, 1, -1]),
        "moved": draw.normal(size=(2, BANDS, SIZE, SIZE)).astype(np.float32),
    }  # fmt: skip


@pytest.fixture(scope="module")
def summed(given):
    pixels, difference, residual = np.zeros((N, RINGS)), np.zeros((N, BANDS, RINGS)), np.zeros((N, BANDS, RINGS))
    sums = np.zeros((N, BANDS, N_SUMS))
    outside, _ = regions(SIZE)
    pixel_sums(
        given["stamp"], given["ctrl"], given["arc"], np.arange(N), given["x"], given["y"], given["step"], outside,
        CORE_PIX, given["power"], given["moved"], pixels, difference, residual, sums,
    )  # fmt: skip
    return {"pixels": pixels, "difference": difference, "residual": residual, "sums": sums, "outside": outside}


def parts(given):
    """Control, difference, residual in double precision."""
    stamp, ctrl, arc = (given[k].astype(np.float64) for k in ("stamp", "ctrl", "arc"))
    return ctrl, stamp - ctrl, stamp - ctrl - arc


def test_rings_hold_the_pixels_and_the_light_of_their_radii(given, summed):
    _, difference, residual = parts(given)
    ring = geometry.ring_index(SIZE, given["x"], given["y"], RINGS - 1)
    for k in range(RINGS):
        here = ring == k
        np.testing.assert_array_equal(summed["pixels"][:, k], here.sum(axis=(1, 2)))
        for name, values in (("difference", difference), ("residual", residual)):
            wanted = (values * here[:, None]).sum(axis=(2, 3))
            np.testing.assert_allclose(summed[name][..., k], wanted, rtol=1e-11, atol=1e-12)


def test_sums_of_the_shift_are_those_of_its_least_squares(given, summed):
    ctrl, _, residual = parts(given)
    gradient_y, gradient_x = (np.gradient(ctrl, axis=k) for k in (2, 3))
    outside = summed["outside"]
    inner = {"x": gradient_x[..., outside], "y": gradient_y[..., outside]}
    rest = residual[..., outside]
    shifted = np.full_like(residual, np.nan)
    rows = given["power"] >= 0
    shifted[rows] = residual[rows] + given["moved"][given["power"][rows]]
    for prefix, values, of in (("G", rest, np.ones(N, bool)), ("P", shifted[..., outside], rows)):
        for a, b in ("XX", "XY", "YY", "XD", "YD"):
            one, other = inner[a.lower()], -values if b == "D" else inner[b.lower()]
            wanted = np.where(of[:, None], (one * other).sum(axis=-1), 0)
            found = summed["sums"][..., getattr(sums_of, prefix + a + b)]
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10, err_msg=prefix + a + b)


def test_sums_of_the_core_before_and_after_moving_the_control_by_a_pixel(given, summed):
    ctrl, difference, residual = parts(given)
    core = geometry.ring_index(SIZE, given["x"], given["y"], SIZE)[:, None] < CORE_PIX
    power = (given["power"] >= 0)[:, None]
    s = summed["sums"]
    np.testing.assert_allclose(s[..., sums_of.CONTROL_CORE], (ctrl * core).sum(axis=(2, 3)), rtol=1e-11)
    np.testing.assert_allclose(s[..., sums_of.CORE], np.where(power, (residual**2 * core).sum(axis=(2, 3)), 0))
    left = difference - given["arc"] + ctrl
    moves = {"CORE_RIGHT": (1, 3), "CORE_LEFT": (-1, 3), "CORE_UP": (1, 2), "CORE_DOWN": (-1, 2)}
    for name, (by, axis) in moves.items():
        after = (left - np.roll(ctrl, by, axis)) ** 2 * core
        wanted = np.where(power, after.sum(axis=(2, 3)), 0)
        np.testing.assert_allclose(s[..., getattr(sums_of, name)], wanted, rtol=1e-11, err_msg=name)


def test_light_and_changed_pixels_are_counted(given, summed):
    _, difference, residual = parts(given)
    arc, s = given["arc"], summed["sums"]
    np.testing.assert_allclose(s[..., sums_of.RESIDUAL_SQUARE], (residual**2).sum(axis=(2, 3)), rtol=1e-11)
    np.testing.assert_allclose(s[..., sums_of.ARC_SQUARE], (arc.astype(float) ** 2).sum(axis=(2, 3)), rtol=1e-11)
    changed = np.abs(difference) > 2 * given["step"][..., None, None]
    np.testing.assert_array_equal(s[..., sums_of.TOUCHED], (changed & (arc == 0)).sum(axis=(2, 3)))
    np.testing.assert_array_equal(s[..., sums_of.LIT], (changed | (arc != 0)).sum(axis=(2, 3)))
    assert (s[:, 1, sums_of.TOUCHED] < s[:, 0, sums_of.TOUCHED]).all()  # the rounded band lets more pass


def test_a_core_at_the_stamps_corner_reads_no_pixel_beyond_it(given):
    sums = np.zeros((1, 1, N_SUMS))
    one = np.ones((1, 1, SIZE, SIZE), np.float32)
    pixel_sums(
        one, one, 0 * one, np.zeros(1, np.int64), np.zeros(1), np.full(1, SIZE - 1.0), np.zeros((1, 1)),
        np.zeros((SIZE, SIZE), bool), CORE_PIX, np.zeros(1, np.int64), 0 * one, np.zeros((1, 9)), np.zeros((1, 1, 9)),
        np.zeros((1, 1, 9)), sums,
    )  # fmt: skip
    assert (sums[0, 0, sums_of.CORE : sums_of.CORE_DOWN + 1] == 0).all()


def test_outer_sums_are_those_of_the_pixels(given):
    _, outer = regions(SIZE)
    core = geometry.disc(SIZE, geometry.centre(SIZE), geometry.centre(SIZE))
    found = np.zeros((N, BANDS, 3))
    outer_sums(given["stamp"], given["arc"], given["ctrl"], outer, core, found)
    left = (given["stamp"].astype(np.float64) - given["arc"])[..., outer]
    wanted = [left.sum(axis=-1), (left**2).sum(axis=-1), given["ctrl"].astype(np.float64)[..., core].sum(axis=-1)]
    np.testing.assert_allclose(found, np.stack(wanted, axis=-1), rtol=1e-11)
