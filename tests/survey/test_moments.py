import numpy as np
import pytest

from lensflow.survey.moments import light_shape
from lensflow.survey.photometry import with_measurements
from tests.factories import make_cutouts

SIGMA = 0.0024


def galaxy(q, phi, x, y, sigma=2.8, flux=10.0, size=64):
    """A sum of Gaussians of one axis ratio: a core as wide as the seeing, wings, and a shape that is known."""
    yy, xx = np.mgrid[:size, :size]
    u = np.cos(phi) * (xx - x) + np.sin(phi) * (yy - y)
    v = np.cos(phi) * (yy - y) - np.sin(phi) * (xx - x)
    total = 0.0
    for share, width in ((0.3, 0.7), (0.4, 1.0), (0.3, 1.6)):
        s = sigma * width
        total = total + share * np.exp(-0.5 * (u**2 + (v / q) ** 2) / s**2) / (2 * np.pi * s**2 * q)
    return flux * total


def measured(images, x, y, seed=0, bad=None):
    gen = np.random.default_rng(seed)
    image = (np.array(images) + SIGMA * gen.normal(size=np.shape(images))).astype(np.float32)
    invvar = np.full(image.shape, SIGMA**-2, np.float32)
    if bad is not None:
        invvar[bad], image[bad] = 0, 0
    return light_shape(image, invvar, np.asarray(x, float), np.asarray(y, float))


def random_galaxies(n, seed=1, low=0.5):
    gen = np.random.default_rng(seed)
    q, phi = gen.uniform(low, 1, n), gen.uniform(0, np.pi, n)
    x, y = 31.5 + gen.uniform(-0.5, 0.5, (2, n))
    return q, phi, x, y


def turned(phi, truth):
    return (phi - truth + np.pi / 2) % np.pi - np.pi / 2


def test_the_shape_of_a_lone_galaxy():
    q, phi, x, y = random_galaxies(150)
    q_, phi_ = measured([galaxy(*row) for row in zip(q, phi, x, y, strict=True)], x, y)
    assert q_ == pytest.approx(q, abs=0.02) and abs(np.mean(q_ - q)) < 2e-3
    long = q < 0.85
    assert abs(turned(phi_, phi)[long]).max() < 0.04
    assert phi_.min() >= 0 and phi_.max() < np.pi


def test_neighbours_change_the_shape_little():
    q, phi, x, y = random_galaxies(150)
    gen = np.random.default_rng(2)
    r, angle = gen.uniform(5, 10, 150), gen.uniform(0, 2 * np.pi, 150)
    images = [
        galaxy(*row) + galaxy(1.0, 0.0, row[2] + a * np.cos(b), row[3] + a * np.sin(b), sigma=2.1, flux=2.0)
        for row, a, b in zip(zip(q, phi, x, y, strict=True), r, angle, strict=True)
    ]
    q_, phi_ = measured(images, x, y)
    assert np.std(q_ - q) < 0.03 and abs(np.mean(q_ - q)) < 0.01
    assert np.std(turned(phi_, phi)[q < 0.8]) < 0.06


def test_a_turned_stamp_turns_the_angle():
    image = galaxy(0.6, 0.4, 31.5, 31.5)
    _, phi = measured([image, np.rot90(image, k=-1)], [31.5] * 2, [31.5] * 2)
    # rot90(k=-1) turns the picture by +90 degrees in (x, y) with y up.
    assert abs(turned(phi[1], phi[0] + np.pi / 2)) < 0.02


def test_a_few_dead_pixels_do_no_harm_and_many_give_nothing():
    q, phi, x, y = random_galaxies(20)
    images = [galaxy(*row) for row in zip(q, phi, x, y, strict=True)]
    few, many = np.zeros((2, 20, 64, 64), bool)
    few[:, 33, 28:32] = True
    many[:, 30:36] = True
    assert measured(images, x, y, bad=few)[0] == pytest.approx(q, abs=0.02)
    many[:, :, 20:44] |= many[:, :, 20:44].any(axis=1, keepdims=True)
    assert np.isnan(measured(images, x, y, bad=many)[0]).all()


def test_noise_alone_and_unknown_places_have_no_shape():
    q, phi = measured(np.zeros((3, 64, 64)), [31.5, np.nan, 3.0], [31.5] * 3)
    assert np.isnan(q).all() and np.isnan(phi).all()


def test_cutouts_carry_the_shape_in_r_and_none_where_r_is_absent():
    cutouts = with_measurements(make_cutouts(3, absent=((1, 1),)))
    assert np.isnan(cutouts["host_q"].values).tolist() == [False, True, False]
    assert (cutouts["host_q"].values[[0, 2]] > 0.93).all() and cutouts["host_q"].dtype == np.float32
