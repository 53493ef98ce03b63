import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import ManifestError
from lensflow.lensing.deflectors import deflect_shear, deflect_sie
from lensflow.lensing.image_positions import (
    MAX_IMAGES,
    RING,
    counter_image_radius_arcsec,
    image_multiplicity,
    image_positions,
)

from .rows import angles, axis_ratios, einstein_radii


def random_lenses(n, seed=1, shear=0.1):
    rng = np.random.default_rng(seed)
    theta_e = rng.uniform(0.2, 3, n)
    x, y = rng.uniform(-1, 1, (2, n)) * theta_e
    return [theta_e, rng.uniform(0.33, 1, n), rng.uniform(0, np.pi, n), rng.uniform(0, shear, n),
            rng.uniform(0, np.pi, n), x, y]  # fmt: skip


def residual(images, theta_e, q, phi, shear, shear_phi, src_x, src_y):
    """Largest distance of an image's source from the source, arcsec."""
    theta_e, q, phi, shear, shear_phi, src_x, src_y = (
        np.atleast_1d(v)[:, None] for v in (theta_e, q, phi, shear, shear_phi, src_x, src_y)
    )
    lens = deflect_sie(images.x, images.y, theta_e, q, phi)
    tide = deflect_shear(images.x, images.y, shear, shear_phi)
    off = np.hypot(images.x - lens[0] - tide[0] - src_x, images.y - lens[1] - tide[1] - src_y)
    return np.nanmax(off)


def tangential_caustic(angle, theta_e, q, phi, shear, shear_phi):
    """Source-plane points of the critical curve, where r = k e.Be / det B."""
    g1, g2 = shear * np.cos(2 * shear_phi), shear * np.sin(2 * shear_phi)
    cos, sin = np.cos(angle), np.sin(angle)
    k = theta_e * np.sqrt(q) / np.hypot(q * np.cos(angle - phi), np.sin(angle - phi))
    r = k * (1 - g1 * np.cos(2 * angle) - g2 * np.sin(2 * angle)) / (1 - shear**2)
    ax, ay = deflect_sie(cos, sin, theta_e, q, phi)
    return r * ((1 - g1) * cos - g2 * sin) - ax, r * (-g2 * cos + (1 + g1) * sin) - ay


offsets = st.floats(-3, 3)


@given(st.tuples(einstein_radii, axis_ratios, angles, st.floats(0, 0.1), angles, offsets, offsets))
@settings(max_examples=200, deadline=None)
def test_every_image_satisfies_the_lens_equation(row):
    images = image_positions(*row)
    if images.count[0] != RING:
        assert residual(images, *row) < 1e-12
        assert images.count[0] == np.isfinite(images.x[0]).sum() == np.isfinite(images.y[0]).sum() > 0


@pytest.mark.slow
def test_images_of_many_random_rows_satisfy_the_lens_equation():
    for shear in (0.0, 0.1, 0.6):
        lenses = random_lenses(20_000, shear=shear)
        assert residual(image_positions(*lenses), *lenses) < 1e-12


@given(einstein_radii, angles, st.floats(1e-6, 3))
@settings(max_examples=100, deadline=None)
def test_an_sis_has_two_images_inside_theta_e_and_one_outside(theta_e, angle, share):
    beta = share * theta_e
    if abs(share - 1) < 1e-9:
        return
    images = image_positions(theta_e, 1.0, 0.0, 0.0, 0.0, beta * np.cos(angle), beta * np.sin(angle))
    radii = [theta_e + beta, theta_e - beta] if share < 1 else [theta_e + beta]
    assert images.count[0] == len(radii)
    np.testing.assert_allclose(np.hypot(images.x, images.y)[0, : len(radii)], radii, atol=1e-12)
    expected = [1 + 1 / share, 1 - 1 / share][: len(radii)]
    np.testing.assert_allclose(images.magnification[0, : len(radii)], expected, rtol=1e-6)


def test_a_source_exactly_behind_a_circular_lens_is_a_ring():
    images = image_positions([1.0, 1.0, 1.0], [1, 1, 0.9], 0, [0, 0.05, 0], 0, 0, 0)
    assert images.count.tolist() == [RING, 4, 4]
    assert np.isnan(images.x[0]).all()
    assert image_multiplicity(images)[0] == RING
    assert np.isnan(counter_image_radius_arcsec(images)[0])


@pytest.mark.parametrize("offset", [1e-3, 1e-6, 1e-9, 1e-11])
def test_a_source_almost_exactly_behind_the_lens_has_two_images(offset):
    images = image_positions(1.3, 1.0, 0.4, 0.0, 0.0, offset, 0.0)
    assert images.count[0] == 2
    np.testing.assert_allclose(images.x[0, :2], [1.3 + offset, -1.3 + offset], atol=1e-13)


@pytest.mark.parametrize("q, shear", [(0.4, 0.0), (0.7, 0.0), (0.95, 0.03), (0.6, 0.1), (1.0, 0.08)])
def test_crossing_the_tangential_caustic_adds_two_images(q, shear):
    angle = np.linspace(0.03, 2 * np.pi, 200)
    lens = (1.1, q, 0.5, shear, 1.9)
    cx, cy = tangential_caustic(angle, *lens)
    # Of the points on either side of a fold, one has two images more. Cusps, where the curve turns, are left out.
    dx, dy = np.gradient(cx), np.gradient(cy)
    speed = np.hypot(dx, dy)
    smooth = speed > 0.2 * speed.max()
    nx, ny = (-dy / speed)[smooth], (dx / speed)[smooth]
    near, far = (image_positions(*lens, cx[smooth] + step * nx, cy[smooth] + step * ny).count for step in (1e-6, -1e-6))
    assert smooth.sum() > 50
    assert (np.abs(near - far) == 2).all()


@pytest.mark.parametrize("q, shear", [(0.4, 0.0), (0.8, 0.0), (0.6, 0.1)])
def test_crossing_the_cut_adds_one_image(q, shear):
    angle = np.linspace(0, 2 * np.pi, 100)
    cut = -np.array(deflect_sie(np.cos(angle), np.sin(angle), 0.9, q, 0.5))
    inside, outside = (image_positions(0.9, q, 0.5, shear, 1.9, *(cut * s)).count for s in (1 - 1e-6, 1 + 1e-6))
    assert (inside - outside == 1).all()


@pytest.mark.slow
def test_the_area_of_four_images_is_that_of_the_caustic():
    # SIS with shear: an astroid-like caustic; for an SIE without shear, Kormann et al. 1994, by Green's theorem.
    lens = (1.0, 0.6, 0.0, 0.0, 0.0)
    angle = np.linspace(0, 2 * np.pi, 4001)
    cx, cy = tangential_caustic(angle, *lens)
    area = abs(0.5 * np.sum(cx[:-1] * np.diff(cy) - cy[:-1] * np.diff(cx)))
    axis = np.linspace(-0.6, 0.6, 301)
    x, y = (v.ravel() for v in np.meshgrid(axis, axis))
    measured = np.mean(image_positions(*lens, x, y).count == 4) * (axis[-1] - axis[0] + axis[1] - axis[0]) ** 2
    assert measured == pytest.approx(area, rel=0.01)


def test_parities_balance():
    # Poincare-Hopf: without the lens's own centre, minima - saddles is 0 inside of the cut and 1 outside.
    lenses = random_lenses(20_000, seed=4)
    images = image_positions(*lenses)
    parity = np.nansum(np.sign(images.magnification), axis=1)
    assert set(images.count) == {1, 2, 3, 4}
    assert (parity == images.count % 2).all()


@given(st.floats(0.01, 0.1), angles, st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))
@settings(max_examples=50, deadline=None)
def test_the_signed_magnifications_of_four_images_of_a_sheared_sis_sum_to_the_invariant(shear, phi, x, y):
    # Witt & Mao 2000, MNRAS 311, 689: 2 / (1 - shear^2), whatever the source's position.
    images = image_positions(1.0, 1.0, 0.0, shear, phi, x, y)
    if images.count[0] == 4:
        assert np.nansum(images.magnification) == pytest.approx(2 / (1 - shear**2), rel=1e-6)


def test_magnification_is_the_inverse_of_the_jacobian():
    lenses = random_lenses(300, seed=6)
    images, h = image_positions(*lenses), 1e-6
    theta_e, q, phi, shear, shear_phi = (v[:, None] for v in lenses[:5])

    def source(x, y):
        lens, tide = deflect_sie(x, y, theta_e, q, phi), deflect_shear(x, y, shear, shear_phi)
        return np.array([x - lens[0] - tide[0], y - lens[1] - tide[1]])

    ddx = (source(images.x + h, images.y) - source(images.x - h, images.y)) / (2 * h)
    ddy = (source(images.x, images.y + h) - source(images.x, images.y - h)) / (2 * h)
    inverse = ddx[0] * ddy[1] - ddx[1] * ddy[0]
    # Images close to the lens's centre, where finite differences fail, are left out.
    clear = np.hypot(images.x, images.y) > 0.05
    np.testing.assert_allclose(1 / images.magnification[clear], inverse[clear], atol=1e-5, rtol=1e-5)


def test_nothing_is_lost_on_the_symmetry_axes():
    for position in ((0.05, 0.0), (0.0, 0.05), (0.0, 0.0), (-0.05, 0.0)):
        images = image_positions(1.0, 0.7, 0.0, 0.03, [0.0, np.pi / 2], *position)
        assert images.count.tolist() == [4, 4]


def test_ellipticity_against_a_strong_shear_makes_six_images():
    lens = (1.0, 0.3872201206410016, 0.0, 0.2862056099493521, 0.09382774144773165, -0.04364643, 0.03067283)
    images = image_positions(*lens)
    assert images.count[0] == 6 <= MAX_IMAGES
    assert residual(images, *lens) < 1e-13


def test_images_come_farthest_first_and_the_counter_image_is_the_last():
    lenses = random_lenses(2000, seed=8)
    images = image_positions(*lenses)
    radius = np.hypot(images.x, images.y)
    assert (np.diff(radius, axis=1)[np.isfinite(np.diff(radius, axis=1))] <= 0).all()
    counter = counter_image_radius_arcsec(images)
    single = images.count == 1
    assert np.isnan(counter[single]).all()
    np.testing.assert_array_equal(counter[~single], np.nanmin(radius[~single], axis=1))


def test_a_row_alone_and_in_a_batch_has_the_same_bits():
    lenses = random_lenses(20, seed=9)
    whole, alone = image_positions(*lenses), image_positions(*(v[7:8] for v in lenses))
    for a, b in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(a[7:8], b)


@pytest.mark.parametrize("column, value", [(0, 0.0), (0, np.nan), (1, 1.2), (1, 0.0), (3, 1.0), (3, -0.1), (5, np.inf)])
def test_an_impossible_value_is_named_with_its_row(column, value):
    lenses = [v.copy() for v in random_lenses(4)]
    lenses[column][2] = value
    with pytest.raises(ManifestError, match="row 2"):
        image_positions(*lenses)


@pytest.mark.slow
def test_a_row_takes_less_than_100_microseconds_of_a_core():
    lenses = random_lenses(5000)
    image_positions(*lenses)
    start = time.thread_time()
    image_positions(*lenses)
    assert (time.thread_time() - start) / 5000 < 100e-6


def test_images_are_those_of_lenstronomy():
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LensModel.Solver.lens_equation_solver import LensEquationSolver
    from lenstronomy.Util.param_util import phi_q2_ellipticity, shear_polar2cartesian

    lenses = random_lenses(25, seed=11)
    images = image_positions(*lenses)
    solver = LensEquationSolver(LensModel(["SIE", "SHEAR"]))
    for i, (theta_e, q, phi, shear, shear_phi, x, y) in enumerate(zip(*lenses, strict=True)):
        e1, e2 = phi_q2_ellipticity(phi, q)
        g1, g2 = shear_polar2cartesian(shear_phi, shear)
        sie = {"theta_E": theta_e, "e1": e1, "e2": e2, "center_x": 0, "center_y": 0}
        theirs = np.array(
            solver.image_position_from_source(
                x,
                y,
                [sie, {"gamma1": g1, "gamma2": g2}],
                min_distance=0.02 * theta_e,
                search_window=8 * theta_e,
                precision_limit=1e-10,
                num_iter_max=200,
            )
        )
        # Its grid can miss an image next to the singular centre; what it finds must be ours.
        ours = np.array([images.x[i], images.y[i]])[:, : images.count[i]]
        distance = np.hypot(*(theirs[:, :, None] - ours[:, None, :]))
        assert distance.min(axis=1).max() < 1e-6
        missed = distance.min(axis=0) > 1e-6
        assert (np.hypot(*ours[:, missed]) < 0.1 * theta_e).all()
