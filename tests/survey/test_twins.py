"""The same galaxy twice is found by its pixels, whatever was done to them; galaxies that only look alike are not."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

import lensflow as lf
from lensflow.errors import CopiedStampsError, LensflowWarning
from lensflow.measure.zoo.small_run import small_run
from lensflow.stats.kept_rows import KeptRows
from lensflow.survey import twins
from lensflow.survey.portraits import NOTHING, portraits
from lensflow.survey.textures import matches
from lensflow.survey.twins import Positions, find_twins

DES = Path(__file__).resolve().parents[3] / "shared" / "data" / "des_lrg"
N = 60
SCALE = 0.262


@pytest.fixture(scope="module")
def stamps():
    """Galaxies with neighbours on correlated sky, every sixth without g; and where they have data."""
    hosts = small_run(N, 1).hosts
    return hosts["image"].values, hosts["invvar"].values > 0


def twins_of(image, good, positions=None):
    rows = portraits(np.arange(len(image)), image, good).rows
    return find_twins(rows, lambda hosts: (image[hosts], good[hosts]), image.shape[-1], positions)


def noise_of(image):
    flat = image.reshape(*image.shape[:2], -1)
    median = np.median(flat, axis=-1, keepdims=True)
    return 1.4826 * np.median(np.abs(flat - median), axis=-1)[..., None, None]


def with_noise(image, amount, seed=1):
    draw = np.random.default_rng(seed)
    return (image + amount * noise_of(image) * draw.normal(size=image.shape)).astype("f4")


def moved(image, dx, dy, seed=2):
    """Stamps of the same galaxies cut elsewhere: sky comes in from outside."""
    out = with_noise(np.zeros_like(image), 0) + noise_of(image) * np.random.default_rng(seed).normal(size=image.shape)
    size = image.shape[-1]
    out[..., max(dy, 0) : size + min(dy, 0), max(dx, 0) : size + min(dx, 0)] = image[
        ..., max(-dy, 0) : size - max(dy, 0), max(-dx, 0) : size - max(dx, 0)
    ]
    return out.astype("f4")


WHOLE = np.flatnonzero(np.arange(N) % 6)[:12]  # with data in every band

CHANGES = {
    "copied": (lambda v: v, True),
    "turned": (lambda v: np.rot90(v, 1, (-2, -1)), True),
    "turned and mirrored": (lambda v: np.rot90(v, 3, (-2, -1))[..., ::-1], True),
    "moved by 1": (lambda v: moved(v, 1, 0), True),
    "moved by (8, -6)": (lambda v: moved(v, 8, -6), True),
    "in other units": (lambda v: v * np.float32(3.7), False),
    "each band in its own units, with a pedestal": (
        lambda v: v * np.array([1.3, 0.7, 2.0], "f4")[:, None, None] + np.float32(0.02),
        False,
    ),
    "with half a sigma of noise on top, turned": (lambda v: np.rot90(with_noise(v, 0.5), 2, (-2, -1)), False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_galaxy_is_found_again_whatever_was_done_to_its_pixels(stamps, change):
    image, good = stamps
    how, same_bits = CHANGES[change]
    both = np.concatenate([image, np.ascontiguousarray(how(image[WHOLE]))])
    found = twins_of(both, np.concatenate([good, good[WHOLE]])).found
    assert {(t.a, t.b) for t in found} == {(int(a), N + k) for k, a in enumerate(WHOLE)}
    assert all(t.exact is same_bits and t.one_galaxy for t in found)


def test_what_was_done_is_said(stamps):
    image, good = stamps
    later = np.rot90(moved(image[WHOLE[:1]], 5, 0), 1, (-2, -1))[..., ::-1]
    (twin,) = twins_of(np.concatenate([image, later]), np.concatenate([good, good[WHOLE[:1]]])).found
    undone = later[0, 1]
    undone = np.rot90(undone, {"": 0, "turned by 90 degrees": 1}[twin.turn.partition(" and mirrored")[0]])[:, ::-1]
    dx, dy = twin.moved_pix
    assert np.array_equal(np.roll(undone, (dy, dx), (0, 1))[8:-8, 8:-8], image[WHOLE[0], 1, 8:-8, 8:-8])
    assert "the same bits" in twin.describe() and "5" in twin.describe()


def test_galaxies_that_only_look_alike_are_not_taken_for_one():
    y, x = np.mgrid[:64, :64] - 31.5
    galaxy = 0.3 * np.exp(-np.hypot(x, y) / 4) + 0.4 * np.exp(-0.5 * np.hypot(x - 15, y + 9) ** 2 / 4)
    draw = np.random.default_rng(3)
    image = (galaxy + 0.004 * draw.normal(size=(60, 3, 64, 64))).astype("f4")
    found = twins_of(image, np.ones(image.shape, bool))
    assert found.found == () and found.n_compared > 5


def test_sound_hosts_raise_no_alarm(stamps):
    assert twins_of(*stamps).found == ()


@pytest.mark.slow
def test_two_thousand_sound_hosts_raise_no_alarm():
    made = [small_run(500, 1, seed=s).hosts for s in range(4)]
    image = np.concatenate([m["image"].values for m in made])
    good = np.concatenate([m["invvar"].values > 0 for m in made])
    assert twins_of(image, good).found == ()


@pytest.mark.real
@pytest.mark.skipif(not DES.is_dir(), reason=f"no real data: {DES} is absent")
def test_real_galaxies_are_told_apart_and_found_again():
    image = np.stack([fits.getdata(DES / f"image-{b}.fits") for b in "grz"], axis=1)[:, :, 13:77, 13:77].astype("f4")
    assert twins_of(image, np.isfinite(image)).found == ()
    both = np.concatenate([image, np.rot90(with_noise(image[:10], 0.5), 1, (-2, -1))])
    assert {(t.a, t.b) for t in twins_of(both, np.isfinite(both)).found} == {(k, 31 + k) for k in range(10)}


def test_stamps_that_overlap_on_the_sky_are_no_twins_and_no_news_where_positions_say_so():
    sky = np.random.default_rng(4).normal(size=(1, 3, 100, 100)).astype("f4")
    image = np.concatenate([sky[..., :64, :64], sky[..., 10:74, 24:88]])
    good = np.ones(image.shape, bool)
    (pair,) = twins_of(image, good).found
    assert pair.moved_pix == (24, 10) and pair.exact and not pair.one_galaxy
    here = Positions([10.0, 10.0 + 24 * SCALE / 3600], [0.0, 10 * SCALE / 3600], SCALE)
    assert twins_of(image, good, here).found == ()
    elsewhere = Positions([10.0, 11.0], [0.0, 0.0], SCALE)
    assert len(twins_of(image, good, elsewhere).found) == 1


def test_copies_of_copies_are_one_galaxy_under_its_first_place(stamps):
    image, good = stamps
    five = np.concatenate([image, *[image[WHOLE[:1]]] * 4])
    twins = twins_of(five, np.concatenate([good, *[good[WHOLE[:1]]] * 4]))
    first = twins.first_of(np.arange(N + 4))
    assert set(first[N:].tolist()) == {int(WHOLE[0])} and np.array_equal(first[:N], np.arange(N))


def test_a_galaxy_that_is_there_many_times_is_compared_once_and_none_of_its_copies_is_lost(stamps, monkeypatch):
    image, good = stamps
    compared = []

    def counted(image, good, pairs):
        compared.extend(pairs)
        return matches(image, good, pairs)

    monkeypatch.setattr(twins, "matches", counted)
    copies = 50
    of = np.concatenate([np.arange(N), np.repeat(WHOLE[:3], copies), WHOLE[:1]])
    many = np.ascontiguousarray(image[of])
    many[-1] = np.rot90(many[-1], 1, (-2, -1))
    found = twins_of(many, good[of])
    first = found.first_of(np.arange(len(of)))
    assert np.array_equal(first, of)
    assert found.n_compared < 2 * len(of) and len(compared) < N


def test_the_limit_counts_pixels_that_differ_and_what_is_left_is_counted(stamps, monkeypatch):
    image, good = stamps
    of = np.concatenate([np.repeat(WHOLE[:2], 40), np.arange(N)])
    monkeypatch.setattr(twins, "MAX_COMPARED", 3)
    monkeypatch.setattr(twins, "_AT_ONCE", 4)
    found = twins_of(image[of], good[of])
    # Both galaxies' copies come first: they have most in common.
    assert np.array_equal(found.first_of(np.arange(82)), [*([0] * 40), *([40] * 40), 80, 0])
    assert found.n_compared > 78 and found.n_left > 0 and found.n_unknown == 0
    monkeypatch.setattr(twins, "MAX_READ", 10)
    few = twins_of(image[of], good[of])
    assert few.n_compared < 20 and few.n_unknown > 0
    assert few.n_compared + few.n_left + few.n_unknown == found.n_compared + found.n_left


def test_hosts_with_the_same_rings_of_light_are_a_chain_and_others_still_have_their_nearest():
    rings = np.random.default_rng(4).normal(size=(60, 30)).astype("f4")
    group = np.array([5, *range(10, 30)])
    rings[group] = rings[5]
    rings[50] = rings[40] * np.float32(1.001)
    columns = {"sketch": (("host", "square"), np.full((60, 18), NOTHING)), "rings": (("host", "moment"), rings)}
    rows = xr.Dataset(columns | {"depth": ("host", np.ones(60, "f4"))}, coords={"host": np.arange(60)})
    pairs, shares = twins.candidates(rows)
    among = pairs[np.isin(pairs, group).any(axis=1)]
    assert {tuple(p) for p in among.tolist()} == {(int(a), int(b)) for a, b in pairwise(group)}
    assert [40, 50] in pairs.tolist() and not shares.any()


def test_hosts_without_pixels_are_counted_and_compared_with_nobody(stamps):
    image, good = stamps
    blank = np.zeros((3, *image.shape[1:]), np.float32)
    blank[1] = np.nan
    none = np.zeros(blank.shape, bool)
    none[2] = True  # data that are all 0
    twins = twins_of(np.concatenate([image, blank]), np.concatenate([good, none]))
    assert twins.found == () and twins.n_blank == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.integers(0, 7), st.integers(0, 2**31))
def test_a_sketch_does_not_know_how_a_stamp_is_turned(size, turn, seed):
    image = np.random.default_rng(seed).normal(size=(1, 2, size, size)).astype("f4")
    turned = np.ascontiguousarray(np.rot90(image[..., ::-1] if turn > 3 else image, turn % 4, (-2, -1)))
    a, b = (portraits(np.zeros(1, int), v).rows["sketch"].values for v in (image, turned))
    assert np.array_equal(a, b) and (a != NOTHING).any()


def test_a_host_of_two_blocks_has_one_portrait(stamps):
    image, good = stamps
    parts = [portraits(np.arange(k, k + n), image[k : k + n], good[k : k + n]) for k, n in ((5, 10), (9, 0), (0, 10))]
    joined, whole = KeptRows.concat(parts).rows, portraits(np.arange(15), image[:15], good[:15]).rows
    assert joined.drop_vars(["rings", "depth"]).identical(whole.drop_vars(["rings", "depth"]))
    xr.testing.assert_allclose(joined, whole, rtol=1e-3, atol=1e-5)
    assert {n: v.dtype for n, v in joined.items()} == {n: v.dtype for n, v in whole.items()}


def imported(image, **more):
    images = {b: image[:, k] for k, b in enumerate("grz")}
    return lf.import_stamps(images, pixel_scale_arcsec=SCALE, psfsize_arcsec=dict.fromkeys("grz", 1.3), **more)


def test_stamps_that_are_given_twice_are_refused_and_the_rows_to_leave_out_are_named(stamps):
    image = stamps[0][WHOLE]
    twice = np.concatenate([image, np.rot90(image[:5], 1, (-2, -1))])
    with pytest.raises(CopiedStampsError, match=r"5 of 17 stamps are copies .* row 12 \(stamp-00012\) and row 0 ") as e:
        imported(twice)
    assert e.value.rows.tolist() == [12, 13, 14, 15, 16]
    assert imported(np.delete(twice, e.value.rows, axis=0)).sizes["host"] == len(WHOLE)


def test_stamps_that_show_a_galaxy_in_other_bits_are_named(stamps):
    image = stamps[0][WHOLE]
    names = [f"h{k}" for k in range(len(image) + 1)]
    with pytest.warns(LensflowWarning, match=r"1 pair\(s\) of stamps .* row 12 \(h12\) and row 3 \(h3\): textures"):
        imported(np.concatenate([image, with_noise(image[3:4], 0.5)]), host_id=names)
