"""The shape of a host's light comes back free of the PSF, or not at all and with a reason."""

import galsim
import numpy as np
import pytest

from lensflow.lensing.psf import psf_fwhm_from_psfsize
from lensflow.schema import HostShape
from lensflow.survey.host_shape import image_psf, light_shape, measure_shapes, moffat_psf
from lensflow.survey.photometry import with_measurements
from tests.factories import make_cutouts
from tests.survey.shape_factory import PIXEL_ARCSEC, SIGMA, noisy, sersic, turned

PSF = moffat_psf(5.0)
X, Y = 31.7, 31.4


def measured(image, psf=PSF, x=X, y=Y, seed=0, invvar=None):
    seen, weight = noisy(image, seed)
    return light_shape(seen, weight if invvar is None else invvar, x, y, psf)


@pytest.mark.parametrize("index", [1.0, 4.0])
@pytest.mark.parametrize("q", [pytest.param(0.4, marks=pytest.mark.slow), 0.6, 0.8])
def test_a_galaxy_drawn_by_brute_force_has_its_own_axis_ratio_and_angle_not_those_of_the_seeing(index, q):
    found = measured(sersic(index, 4.5, q, 2.1, X, Y, flux=15.0))
    assert found.source is HostShape.FIT and found.q_error < 0.05
    assert found.q == pytest.approx(q, abs=0.03) and abs(turned(found.phi_rad, 2.1)) < np.deg2rad(4)


def test_a_round_galaxy_is_round():
    q = [measured(sersic(4.0, 4.5, 1.0, 0.0, X, Y, flux=15.0), seed=s).q for s in range(4)]
    assert min(q) > 0.9


def test_a_turned_and_a_mirrored_stamp_turn_and_mirror_the_angle():
    image = sersic(1.0, 5.0, 0.5, 0.4, X, Y)
    phi = measured(image).phi_rad
    # rot90(k=-1) turns the picture by +90 degrees in (x, y) with y up.
    quarter = measured(np.rot90(image, k=-1), x=63 - Y, y=X)
    mirrored = measured(image[:, ::-1], x=63 - X)
    assert abs(turned(quarter.phi_rad, phi + np.pi / 2)) < 0.03 and abs(turned(mirrored.phi_rad, -phi)) < 0.03
    assert 0 <= quarter.phi_rad < np.pi and quarter.q == pytest.approx(0.5, abs=0.03)


def test_a_long_psf_of_the_hosts_own_image_is_taken_off():
    psf = galsim.Moffat(3.0, fwhm=1.1).shear(q=0.85, beta=1.2 * galsim.radians)
    galaxy = galsim.Sersic(2.0, half_light_radius=0.9, flux=15).shear(q=0.8, beta=0.2 * galsim.radians)

    def drawn(what, n):
        return what.drawImage(nx=n, ny=n, scale=PIXEL_ARCSEC, method="no_pixel", dtype=float).array

    kernel, image = drawn(psf, 63), drawn(galsim.Convolve(galaxy, psf).shift(0.2 * PIXEL_ARCSEC, 0), 65)
    own = measured(image, image_psf(kernel), x=32.2, y=32.0)
    assert own.q == pytest.approx(0.8, abs=0.03) and abs(turned(own.phi_rad, 0.2)) < 0.06
    assert abs(turned(measured(image, moffat_psf(5.3), x=32.2, y=32.0).phi_rad, 0.2)) > 0.12


def test_a_neighbour_changes_the_shape_little():
    off = []
    for k, angle in enumerate(np.linspace(0, 6, 6)):
        r = 7.0 + k % 3
        beside = sersic(1.0, 2.0, 1.0, 0.0, X + r * np.cos(angle), Y + r * np.sin(angle), flux=4.0)
        found = measured(sersic(2.0, 4.5, 0.6, 0.4, X, Y) + beside, seed=k)
        assert found.source is HostShape.FIT
        off.append((found.q - 0.6, turned(found.phi_rad, 0.4)))
    worst = np.abs(off).max(axis=0)
    assert worst[0] < 0.08 and worst[1] < 0.13


def test_a_blend_of_equals_has_no_shape_but_a_reason():
    pair = sersic(4.0, 3.0, 1.0, 0.0, X - 2.4, Y) + sersic(4.0, 3.0, 1.0, 0.0, X + 2.4, Y)
    found = measured(pair)
    assert found.source is HostShape.POOR_FIT and np.isnan(found.q) and np.isnan(found.phi_rad)


def test_what_cannot_be_measured_says_why():
    galaxy, star = sersic(1.0, 4.5, 0.6, 0.4, X, Y), sersic(1.0, 0.05, 0.6, 0.4, X, Y, flux=10.0)
    hole = np.full(galaxy.shape, SIGMA**-2, np.float32)
    hole[30:34] = 0
    cases = {
        HostShape.FAINT: measured(0 * galaxy),
        HostShape.UNRESOLVED: measured(star),
        HostShape.NO_DATA: measured(galaxy, invvar=hole),
        HostShape.OFF_CENTRE: measured(galaxy, x=X + 3.0),
        HostShape.NOT_MEASURED: measured(galaxy, x=np.nan),
    }
    assert {want: found.source for want, found in cases.items()} == {want: want for want in cases}
    assert all(np.isnan(found.q) for found in cases.values())
    assert measured(galaxy, x=4.0, y=4.0).source is HostShape.NO_DATA


def test_a_few_dead_pixels_do_no_harm():
    dead = np.full((64, 64), SIGMA**-2, np.float32)
    dead[33, 28:32] = 0
    assert measured(sersic(1.0, 4.5, 0.6, 0.4, X, Y), invvar=dead).q == pytest.approx(0.6, abs=0.03)


def test_cutouts_are_measured_in_r_where_asked_for_and_say_where_each_shape_comes_from():
    cutouts = make_cutouts(3, absent=((1, 1),))
    assert (cutouts["host_shape_source"].values == HostShape.NOT_MEASURED).all()
    cutouts = with_measurements(cutouts, host_shapes=True)
    source = [HostShape.FIT, HostShape.NOT_MEASURED, HostShape.FIT]
    assert cutouts["host_shape_source"].values.tolist() == source
    assert np.isnan(cutouts["host_q"].values).tolist() == [False, True, False]
    assert (cutouts["host_q"].values[[0, 2]] > 0.9).all() and cutouts["host_q"].dtype == np.float32


def test_hosts_with_psf_images_are_measured_with_them():
    cutouts = make_cutouts(2)
    y, x = np.mgrid[-15:16, -15:16]
    kernel = np.exp(-0.5 * (x**2 / 5.0 + y**2 / 3.0))
    kernels = np.broadcast_to(kernel / kernel.sum(), (2, 3, 31, 31)).astype(np.float32)
    own = cutouts.assign(psf_kernel=(("host", "band", "psf_y", "psf_x"), kernels))
    q, phi, _ = measure_shapes(own, np.arange(2))
    # A round image behind a PSF that is long in x is long in y.
    assert (q < 0.9).all() and np.abs(turned(phi, np.pi / 2)).max() < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("index", [1.0, 4.0])
@pytest.mark.parametrize("reff", [0.6, 1.2, 2.5])
@pytest.mark.parametrize("q", [0.4, 0.6, 0.8])
def test_the_bias_against_galsim_is_as_documented(index, reff, q):
    draw = np.random.default_rng(5)
    psf = galsim.Moffat(2.6, fwhm=float(psf_fwhm_from_psfsize(1.3, "moffat", 2.6)))
    off = []
    for k in range(16):
        phi, (dx, dy) = draw.uniform(0, np.pi), draw.uniform(-0.5, 0.5, 2)
        galaxy = galsim.Sersic(index, half_light_radius=reff * np.sqrt(q), flux=15.8)
        seen = galsim.Convolve(galaxy.shear(q=q, beta=phi * galsim.radians), psf)
        image = seen.drawImage(nx=64, ny=64, scale=PIXEL_ARCSEC, method="no_pixel", offset=(dx, dy), dtype=float).array
        found = measured(image, moffat_psf(1.3 / PIXEL_ARCSEC), 31.5 + dx, 31.5 + dy, seed=k)
        off.append((found.q - q, turned(found.phi_rad, phi)))
    assert abs(np.mean(off, axis=0)[0]) < 0.02 and np.rad2deg(np.std(off, axis=0)[1]) < 7
