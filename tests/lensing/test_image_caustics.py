"""Image sources on caustics, where the map is singular, against brute force; rays that end before their light."""

import numpy as np
import pytest

from lensflow.lensing.deflectors import deflect_epl, deflect_shear, deflect_sie
from lensflow.lensing.engine import image_angles, pack, quadrature, render_rows, shoot
from lensflow.lensing.engine.records import Pictures
from lensflow.lensing.render import render
from lensflow.lensing.rows import read_rows

from .images import Bank, lumpy_source, slow_render, with_images
from .rows import error_over_peak, scalars, take, wide_rows

GOAL = 1e-3
SIZE = 40


def source_plane(row, x, y):
    """Position in the source plane, arcsec."""
    lens = (x, y, row["theta_e_arcsec"], row["lens_q"], row["lens_phi_rad"])
    ax, ay = deflect_epl(*lens, row["lens_gamma"]) if row["lens_model"] == "EPL" else deflect_sie(*lens)
    gx, gy = deflect_shear(x, y, row["shear"], row["shear_phi_rad"])
    return x - ax - gx, y - ay - gy


def on_the_caustic(row, angle):
    """Source position of the critical point furthest out in a direction."""
    r = row["theta_e_arcsec"] * np.linspace(3.0, 0.3, 2701)
    x, y, h = r * np.cos(angle), r * np.sin(angle), 1e-5
    (ax, ay), (bx, by) = source_plane(row, x + h, y), source_plane(row, x - h, y)
    (cx, cy), (dx, dy) = source_plane(row, x, y + h), source_plane(row, x, y - h)
    determinant = (ax - bx) * (cy - dy) - (ay - by) * (cx - dx)
    at = int(np.argmax(determinant < 0))
    assert at > 0, "no critical curve in this direction"
    return source_plane(row, x[at], y[at])


def caustic_rows(n, seed, model):
    """Small sources whose centres lie on the outer caustic, at folds and cusps alike."""
    rng = np.random.default_rng(seed)
    rows = wide_rows(n, seed, model, size=SIZE)
    rows["theta_e_arcsec"] = rng.uniform(0.5, 1.8, n)
    rows["src_reff_arcsec"] = np.exp(rng.uniform(np.log(0.06), np.log(0.5), n))
    rows["psf_fwhm_arcsec"] = rng.uniform(1.0, 1.8, (n, 1))
    rows["src_flux_nmgy"] = np.ones((n, 1))
    # An axisymmetric lens has a point for a caustic.
    rows["lens_model"][:] = model
    rows["lens_q"] = rng.uniform(0.4, 0.9, n)
    for i in range(n):
        angle = rows["lens_phi_rad"][i] if i % 3 == 0 else rng.uniform(0, 2 * np.pi)
        rows["src_x_arcsec"][i], rows["src_y_arcsec"][i] = on_the_caustic(scalars(rows, i), angle)
    return rows


@pytest.mark.parametrize("model", ["SIE", "EPL"])
@pytest.mark.parametrize("n, seed", [(4, 11), pytest.param(40, 12, marks=pytest.mark.slow)])
def test_a_source_on_a_caustic_is_brute_force(model, n, seed):
    bank = Bank({str(k): lumpy_source(k) for k in range(4)})
    rows = with_images(caustic_rows(n, seed, model), *bank)
    result = render(rows, sources=bank, stamp_size=SIZE)
    truth = np.array([slow_render(scalars(rows, i), bank[rows["src_id"][i]], s=16)[None] for i in range(n)])
    error = error_over_peak(result.arc, truth)
    # Where 16 x 16 rays a pixel are too few for the truth: on 2 of 40 rows they are 4e-3 from 32 x 32 and 48 x 48.
    for i in np.flatnonzero(error > 0.5 * GOAL):
        truth[i] = slow_render(scalars(rows, i), bank[rows["src_id"][i]], s=48)[None]
    error = error_over_peak(result.arc, truth)
    flux = np.abs(result.arc.sum(axis=(1, 2, 3)) / truth.sum(axis=(1, 2, 3)) - 1)
    ratio = error / result.render_err
    print(f"{model}: error/peak median {np.median(error):.1e}, max {error.max():.1e}; flux {flux.max():.1e}; over "
          f"render_err up to {ratio.max():.2f}")  # fmt: skip
    assert error.max() < GOAL
    assert flux.max() < GOAL
    assert ratio.max() < 2


@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_a_ray_s_turn_is_the_derivative_of_its_line(model):
    packed = pack.pack(read_rows(wide_rows(6, 3, model), 64, 0.262), np.full(6, "moffat"), 3.5, 64, 0.262)
    for p, series in zip(packed.geometry, packed.series, strict=True):
        for angle in (0.3, 1.7, 4.0):
            lines = []
            for moved in (angle - 1e-5, angle + 1e-5):
                ray = np.zeros(quadrature.RAY)
                quadrature.trace(np.cos(moved), np.sin(moved), p, series, ray)
                lines.append(ray[:4].copy())
            lanes = np.zeros((22, 8))
            quadrature.trace(np.cos(angle), np.sin(angle), p, series, ray)
            image_angles.turned(np.cos(angle), np.sin(angle), p, ray, lanes, 2)
            expected = (lines[1] - lines[0]) / 2e-5
            np.testing.assert_allclose(lanes[:4, 2], expected, atol=1e-6 * np.abs(expected).max())


def test_small_images_are_read_at_finer_levels_and_nothing_else_is():
    rows = take(wide_rows(2, 5, "SIE"), [0, 0, 0])
    rows["src_reff_arcsec"] = np.array([0.05, 0.15, 3.0])
    bank = Bank(a=lumpy_source())
    image, sersic = (
        pack.pack(read_rows(r, 64, 0.262, sources=b), np.full(3, "moffat"), 3.5, 64, 0.262).settings
        for r, b in ((with_images(rows, "a"), bank), (rows, None))
    )
    small, middle, large = image[:, :, quadrature.DETAIL] / sersic[:, :, quadrature.DETAIL]
    assert (small < middle).all() and (middle < 1).all() and (large == 1).all() and (small >= 0.35).all()
    others = [k for k in range(image.shape[2]) if k != quadrature.DETAIL]
    np.testing.assert_array_equal(image[:, :, others], sersic[:, :, others])


@pytest.mark.parametrize("closed", [True, False])
def test_rays_through_leaves_of_any_density_integrate_what_is_smooth(closed):
    rng = np.random.default_rng(2)
    width = 0.5 ** rng.integers(2, 5, 40)
    width *= 2 * np.pi / width.sum()
    leaves = np.stack([7.0 - (np.cumsum(width) - 0.5 * width), width, np.exp(rng.uniform(1, 3.5, 40))], axis=1)
    start = 7.0 if not closed else leaves[0, 0]
    every = image_angles.even_out(leaves, 40, closed)
    count = image_angles.whole_rays(every)
    angles, weights, before, part = [], [], 0.0, 0
    for k in range(count):
        while True:
            begin, length, one, two = image_angles.segment(leaves, 40, closed, part)
            within = count / every * 0.5 * length * (one + two)
            if before + within >= k + 0.5 or part == (39 if closed else 40):
                break
            before, part = before + within, part + 1
        u, density = image_angles.place_in_segment((k + 0.5 - before) / (count / every * length), one, two)
        angles.append(begin - u * length)
        weights.append(every / count / density)
    angles, weights = np.array(angles), np.array(weights)
    assert (np.diff(angles) < 0).all()
    assert angles[0] < start
    # From ray to ray the density changes little, whatever the leaves asked for.
    assert (np.abs(np.diff(weights)) < 0.3 * weights[1:]).all()
    if closed:
        for wave in (0, 1, 3):
            exact = 2 * np.pi * (wave == 0)
            assert (weights * np.cos(wave * angles)).sum() == pytest.approx(exact, abs=1e-3 * 2 * np.pi)
    else:  # light that is 0 at the ends
        light = np.sin(0.5 * (7.0 - angles)) ** 4
        assert (weights * light).sum() == pytest.approx(0.75 * np.pi, rel=1e-3)


def test_rays_and_leaves_that_end_early_are_in_render_err(monkeypatch):
    rows, bank = with_images(take(wide_rows(2, 5, "EPL"), [1]), "a"), Bank(a=lumpy_source())
    read = read_rows(rows, 64, 0.262, sources=bank)
    packed = pack.pack(read, np.array(["moffat"]), 3.5, 64, 0.262)
    images, whole = read.images, shoot.shoot_space()
    pictures = Pictures(images.pixels, images.frame, images.levels, images.place)

    def rendered(space):
        # The compiled loop cannot be given a smaller work space; the same loop as Python wrote it can.
        monkeypatch.setattr(shoot, "shoot_space", lambda: space)
        arc, results = np.zeros((1, 2, 64, 64), np.float32), np.empty((1, render_rows.RESULTS))
        psfs = pack.psfs(3.5, read.kernels)
        render_rows.render_rows.py_func(arc, packed, psfs, pictures, render_rows.CONSTANTS, results)
        return arc, results[0, 2]

    arc, error = rendered(whole)
    np.testing.assert_allclose(arc, render(rows, sources=bank).arc, atol=1e-5 * arc.max())
    assert error < GOAL
    for cut in ({"steps": np.empty((2, 40, 8))}, {"leaves": np.zeros((40, 3))}):
        less, error = rendered(whole._replace(**cut))
        print(f"{next(iter(cut))}: {np.abs(less - arc).max() / arc.max():.1e} of the peak is missing")
        assert error >= render_rows.ENDED_EARLY
