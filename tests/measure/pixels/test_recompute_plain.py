"""Rows that are plainly what injection makes of them: to the last bit, in every pixel, or they are looked at again."""

import numpy as np
import pytest

from lensflow.lensing.noise import PURPOSE, arc_noise, variance_per_nmgy
from lensflow.measure.pixels.recompute_plain import as_made
from lensflow.rng import key_words

N, BANDS, SIZE, SEED = 7, 2, 9, 3


@pytest.fixture
def sound():
    """Rows of three hosts; one band has no gain and no arc in a row, another row is a control."""
    draw = np.random.default_rng(0)
    image = draw.normal(size=(3, BANDS, SIZE, SIZE)).astype(np.float32)
    place, keys = np.array([0, 0, 1, 1, 1, 2, 2]), np.arange(40, 40 + N, dtype=np.uint64)
    arc = np.where(draw.random((N, BANDS, SIZE, SIZE)) < 0.6, draw.exponential(size=(N, BANDS, SIZE, SIZE)), 0)
    arc[2] = arc[4, 1] = 0
    gain = np.full((N, BANDS), 50.0)
    gain[4, 1], gain[5, 0] = np.nan, np.inf
    arc = arc.astype(np.float32)
    noise = arc_noise(arc, np.where(np.isnan(gain), np.inf, gain), keys, SEED)
    stamp = (image[place].astype(np.float64) + arc + noise).astype(np.float32)
    return {
        "stamp": stamp,
        "ctrl": image[place],
        "arc": arc,
        "image": image,
        "place": place,
        "gain": gain,
        "keys": keys,
    }


def made(given, possible=True):
    gain, out = given["gain"], np.full(N, possible)
    pixels = (given[k] for k in ("stamp", "ctrl", "arc", "image", "place"))
    as_made(*pixels, variance_per_nmgy(gain), np.isnan(gain), given["keys"], *key_words(SEED, PURPOSE), out)
    return out


def test_sound_rows_are_made_as_they_must_be(sound):
    assert made(sound).all()
    assert not made(sound, possible=False).any()


@pytest.mark.parametrize("change", [lambda v: np.nextafter(v, np.float32(np.inf)), lambda v: np.float32(np.nan)])
@pytest.mark.parametrize("name", ["stamp", "ctrl", "arc"])
def test_the_last_bit_of_one_pixel_is_noticed_in_its_row_alone(sound, name, change):
    for row, band, v, u in ((0, 0, 0, 0), (3, 1, SIZE - 1, SIZE - 1), (2, 0, 4, 4), (5, 0, 3, 7)):
        given = {k: v.copy() for k, v in sound.items()}
        pixel = given[name][row, band]
        if name == "arc":
            v, u = np.argwhere(pixel != 0)[-1] if pixel.any() else (v, u)
            pixel[v, u] += np.float32(0.5)  # of an arc the last bit may be lost in the sum
        pixel[v, u] = change(pixel[v, u])
        assert np.flatnonzero(~made(given)).tolist() == [row]


def test_an_arc_without_a_gain_another_key_and_another_host_are_noticed(sound):
    without = {**sound, "gain": np.where(np.arange(N)[:, None] == 1, np.nan, sound["gain"])}
    assert np.flatnonzero(~made(without)).tolist() == [1]
    keys = sound["keys"].copy()
    keys[6] += np.uint64(1)
    assert np.flatnonzero(~made({**sound, "keys": keys})).tolist() == [6]
    place = sound["place"].copy()
    place[2] = 2
    assert np.flatnonzero(~made({**sound, "place": place})).tolist() == [2]
