"""The lens's light is taken off: galaxies to the noise, arcs hardly, and either class by its own pixels alone."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from lensflow.errors import GateError
from lensflow.measure.lens_light import LIGHT, subtract
from lensflow.measure.lens_light.subtract import subtracted
from tests.measure.realism.drawn_stamps import SIGMA, drawn, turned

Y, X = np.indices((64, 64))


def radius(of, i):
    return np.hypot(X - of.x_center[i], Y - of.y_center[i])


def test_the_radial_profile_is_that_of_scipy():
    of = drawn(5, noise=0.5, q=0.8)
    left = subtract(of.images, "radial", of.x_center, of.y_center)
    for i in range(5):
        r = radius(of, i)
        ring = r.astype(int)
        known = np.unique(ring)
        image = of.images[i, 1].astype(float)
        value = np.array([np.median(image[ring == k]) for k in known])
        value[1:-1] = np.median([value[:-2], value[1:-1], value[2:]], axis=0)
        at = np.array([np.median(r[ring == k]) for k in known])
        # Slopes at the ends are the module's own: parabola about the target, level beyond.
        inside = (r >= at[1]) & (r <= at[-2])
        np.testing.assert_allclose(left[i, 1][inside], (image - PchipInterpolator(at, value)(r))[inside], atol=1e-12)


def test_a_round_galaxy_is_gone_without_noise():
    of = drawn(8, flux=0.0, noise=0.0)
    left = subtract(of.images, "radial", of.x_center, of.y_center)
    peak = of.images.max(axis=(2, 3), keepdims=True)
    assert np.abs(left / peak).max() < 0.04
    assert np.abs(left / peak)[:, :, :20].max() < 1e-3  # far out


@pytest.mark.parametrize("light", LIGHT)
@pytest.mark.parametrize("host", [5.0, 500.0])
def test_the_middle_of_a_cuspy_galaxy_is_not_blown_up(light, host):
    of = drawn(6, flux=0.0, host=host, noise=0.3)
    images = of.images.copy()
    images[0, :, 27:37, 27:37] = np.nan  # no data there at all
    left = subtract(images, light, of.x_center, of.y_center)
    peak = of.images.max(axis=(2, 3), keepdims=True)
    assert np.isfinite(left[1:]).all() and np.nanmax(np.abs(left) / peak) < 0.2


def test_an_elliptical_galaxy_is_left_by_rings_and_gone_with_an_ellipse():
    of = drawn(12, flux=0.0, noise=0.3, q=0.6)
    zone = np.stack([(radius(of, i) >= 3) & (radius(of, i) < 15) for i in range(12)])
    round_, smooth = (subtract(of.images, k, of.x_center, of.y_center)[:, 1] for k in LIGHT)
    rms = [np.sqrt(np.mean(v[zone] ** 2)) / (0.3 * SIGMA[1]) for v in (round_, smooth)]
    assert rms[0] > 8 and rms[1] < 2
    _, ellipse = subtracted(of.images, "smooth", of.x_center, of.y_center)
    # (a - b)/(a + b) of an axis ratio of 0.6 is 0.25.
    np.testing.assert_allclose(np.hypot(*np.moveaxis(ellipse[:, 1], -1, 0)), 0.25, atol=0.04)
    assert not subtracted(of.images, "radial", of.x_center, of.y_center)[1].any()


def test_a_ring_is_taken_off_by_rings_and_kept_by_gaussians():
    # The worst case of a median: an arc all the way round.
    of = drawn(6, flux=0.0, noise=0.3, off=False)
    r = np.hypot(X - 31.5, Y - 31.5)
    arc = np.exp(-0.5 * ((r - 9) / 1.5) ** 2)
    arc *= 4.0 / arc.sum()
    kept = []
    for light in LIGHT:
        before, after = (subtract(v, light) for v in (of.images, (of.images + arc).astype(np.float32)))
        kept.append(float(np.mean((after - before)[:, 1].sum(axis=(1, 2))) / 4.0))
    assert abs(kept[0]) < 0.1 and kept[1] > 0.6


@pytest.mark.parametrize("light", LIGHT)
def test_an_arc_keeps_its_shape_and_most_of_its_light(light):
    lit, dark = drawn(20, 2, noise=0.3), drawn(20, 2, flux=0.0, noise=0.3)
    arc = (lit.images.astype(float) - dark.images)[:, 1]
    after, before = (subtract(v.images, light, v.x_center, v.y_center)[:, 1] for v in (lit, dark))
    share = ((after - before) * arc).sum(axis=(1, 2)) / (arc**2).sum(axis=(1, 2))
    assert 0.75 < np.median(share) <= 1


@pytest.mark.parametrize("light", LIGHT)
@pytest.mark.parametrize(("quarter", "flip"), [(1, False), (2, True), (3, True)])
def test_quarter_turns_and_flips_turn_the_result(light, quarter, flip):
    of = drawn(6, q=0.7)
    other = turned(of, quarter, flip)
    left = np.rot90(subtract(of.images, light, of.x_center, of.y_center), quarter, (2, 3))
    np.testing.assert_allclose(
        subtract(other["images"], light, other["x_center"], other["y_center"]),
        left[..., ::-1] if flip else left,
        atol=1e-12,
    )


@pytest.mark.parametrize("light", LIGHT)
def test_a_stamp_and_band_is_treated_alone(light):
    of = drawn(5, q=0.8)
    every = subtract(of.images, light, of.x_center, of.y_center)
    alone = subtract(of.images[3:4, 1:2], light, of.x_center[3:4], of.y_center[3:4])
    np.testing.assert_array_equal(alone, every[3:4, 1:2])


@pytest.mark.parametrize("light", LIGHT)
def test_pixels_without_data_stay_so_and_change_no_other(light):
    of = drawn(4, noise=0.3)
    images = of.images.copy()
    images[1, :, 30:33, 40:43] = np.nan
    images[2, 0] = np.nan
    left = subtract(images, light, of.x_center, of.y_center)
    np.testing.assert_array_equal(np.isnan(left), np.isnan(images))
    whole = subtract(of.images, light, of.x_center, of.y_center)
    np.testing.assert_array_equal(left[[0, 3]], whole[[0, 3]])
    assert np.nanmax(np.abs(left[1] - whole[1])) < 8 * SIGMA.max()


@pytest.mark.parametrize("light", LIGHT)
def test_a_constant_stamp_is_0(light):
    left = subtract(np.full((2, 1, 32, 32), 3.5), light)
    assert (left == 0).all() if light == "radial" else np.abs(left).max() < 1e-6


def test_what_cannot_be_is_refused():
    images = np.zeros((2, 1, 8, 8))
    with pytest.raises(GateError, match="Did you mean 'radial'"):
        subtract(images, "radiel")
    with pytest.raises(GateError, match="row 1: a target at 9 is not on a stamp of 8 pixels"):
        subtract(images, "radial", np.array([3.5, 9.0]))
    with pytest.raises(GateError, match=r"shape \(n, band, y, x\)"):
        subtract(images[0])


def test_a_target_that_is_not_known_is_the_middle():
    of = drawn(3, off=False)
    np.testing.assert_array_equal(
        subtract(of.images, "radial", np.full(3, np.nan), np.full(3, np.nan)), subtract(of.images)
    )
