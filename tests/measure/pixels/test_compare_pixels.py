"""Comparing stamps with what they must be: the compiled pass and plain numpy count the same pixels."""

import numpy as np
import pytest

from lensflow.measure.pixels.recompute import compare_pixels
from lensflow.measure.pixels.rendering import beyond_ends

N, BANDS, SIZE = 12, 2, 8


def apart(value, low, high):
    """How far values are beyond two ends."""
    odd, missing = np.isnan(value) | np.isnan(low), np.isnan(value) & np.isnan(low)
    with np.errstate(invalid="ignore"):
        beyond = np.maximum(np.maximum(low.astype(float) - value, value.astype(float) - high), 0.0)
    return np.where(missing, 0.0, np.where(odd, np.inf, beyond))


def off_lattice(value, step):
    wide, step = value.astype(float), step[..., None, None].astype(float)
    nearest = (np.floor(wide / np.where(step > 0, step, 1) + 0.5) * step).astype(np.float32)
    return np.where((step > 0) & np.isfinite(wide), np.abs(wide - nearest), 0.0)


def plainly(given):
    """Counts and furthest pixels as whole arrays give them."""
    stamp, low, high, ctrl = (given[k] for k in ("stamp", "low", "high", "ctrl"))
    control = given["control"][given["place"]]
    off = np.maximum(apart(stamp, low, high), apart(ctrl, control, control))
    off = np.maximum(off, np.where(low != high, off_lattice(stamp, given["step"]), 0.0))
    off = np.maximum(off, off_lattice(given["arc"], given["fine"]))
    counts = np.stack([(off > 0).sum(axis=(2, 3)), (low == high).sum(axis=(2, 3))], axis=-1)
    flat = off.reshape(*off.shape[:2], -1)
    where = np.where(flat.max(axis=-1) > 0, flat.argmax(axis=-1), 0)
    return counts, np.stack([flat.max(axis=-1), where], axis=-1)


def pixels(seed, rounded):
    """Sound rows of five hosts; the last rows have an arc that is known to an interval."""
    draw = np.random.default_rng(seed)
    control = draw.normal(size=(5, BANDS, SIZE, SIZE)).astype(np.float32)
    place = np.sort(draw.integers(0, 5, N))
    arc = np.where(draw.random((N, BANDS, SIZE, SIZE)) < 0.5, 0, draw.random((N, BANDS, SIZE, SIZE))).astype("f4")
    stamp = control[place] + arc
    out = {"stamp": stamp, "low": stamp.copy(), "high": stamp.copy(), "ctrl": control[place], "control": control}
    out |= {"place": place, "arc": arc, **{k: np.zeros((N, BANDS), np.float32) for k in ("step", "fine")}}
    if rounded:
        out["step"][N // 2 :], out["fine"][N // 2 :, 1] = 0.25, 0.125
        rows = slice(N // 2, N)
        out["low"][rows] -= 0.2
        out["stamp"][rows] = np.floor(out["stamp"][rows] / 0.25 + 0.5) * 0.25
    return out


def compared(given):
    counts, furthest = np.zeros((N, BANDS, 2), np.int64), np.zeros((N, BANDS, 2))
    names = ("stamp", "low", "high", "ctrl", "control", "place", "step", "arc", "fine")
    compare_pixels(*(given[k] for k in names), counts, furthest)
    return counts, furthest


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_counts_and_the_furthest_pixel_are_those_of_whole_arrays(seed, rounded):
    given, draw = pixels(seed, rounded), np.random.default_rng(seed + 100)
    if not rounded:
        assert compared(given)[0][..., 0].sum() == 0
    for name, change in (("stamp", 1e-3), ("ctrl", np.nan), ("stamp", np.nan), ("stamp", 7.0), ("ctrl", -2.0)):
        given[name][tuple(draw.integers(0, given[name].shape))] += change
    given["stamp"][3, 0, 2, 2] = given["low"][3, 0, 2, 2] = given["high"][3, 0, 2, 2] = np.nan  # nothing amiss there
    for found, wanted in zip(compared(given), plainly(given), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert plainly(given)[0][..., 0].sum() >= 4


@pytest.mark.parametrize("name", ["stamp", "ctrl"])
def test_the_last_bit_of_one_pixel_is_noticed_wherever_it_is(name):
    for v, u in ((0, 0), (0, SIZE - 1), (SIZE - 1, SIZE - 1), (3, 5)):
        given = pixels(1, False)
        one = given[name][7, 1]
        one[v, u] = np.nextafter(one[v, u], np.float32(np.inf))
        counts, furthest = compared(given)
        assert np.argwhere(counts[..., 0]).tolist() == [[7, 1]]
        assert furthest[7, 1, 0] > 0 and furthest[7, 1, 1] == v * SIZE + u


@pytest.mark.parametrize("seed", range(4))
def test_distances_of_renderings_are_those_of_whole_arrays(seed):
    draw = np.random.default_rng(seed)
    shape = (N, BANDS, SIZE, SIZE)
    low, rendered = (draw.normal(size=shape).astype(np.float32) for _ in range(2))
    high = low + draw.random(shape).astype(np.float32) * (seed % 2)
    keep = np.broadcast_to(draw.random((N, 1, SIZE, SIZE)), shape)
    low[2, 1, 3, 3] = high[2, 1, 3, 3] = np.nan
    rendered[4, 0, 0, 0] = np.nan
    want = keep * rendered.astype(np.float64)
    off = np.maximum(low - want, 0) - np.maximum(want - high, 0)
    off[np.isnan(off)] = np.inf
    found = np.zeros((N, BANDS, 2))
    beyond_ends(low, high, rendered, keep, found)
    np.testing.assert_array_equal(found[..., 0], np.abs(off).max(axis=(2, 3)))
    np.testing.assert_allclose(found[..., 1], off.sum(axis=(2, 3)), rtol=1e-12, atol=1e-12)
    assert np.argwhere(np.isinf(found[..., 0])).tolist() == [[2, 1], [4, 0]]
