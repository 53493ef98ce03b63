import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import lensing
from lensflow.errors import ManifestError
from lensflow.lensing import angles as a

ratios = st.floats(0.05, 1.0)


def axis_distance(first, second):
    return np.abs((np.asarray(first) - second + np.pi / 2) % np.pi - np.pi / 2)


@given(ratios)
def test_an_ellipticity_gives_the_axis_ratio_back(q):
    assert a.q_from_ellipticity(a.ellipticity_from_q(q)) == pytest.approx(q, abs=1e-14)


def test_known_values():
    assert a.ellipticity_from_q(0.5) == pytest.approx(1 / 3)


@given(q=st.floats(0.05, 0.999), phi=st.floats(-10, 10))
def test_components_go_both_ways(q, phi):
    back_q, back_phi = lensing.q_phi_from_components(*lensing.components_from_q_phi(q, phi))
    assert back_q == pytest.approx(q, abs=1e-12)
    assert 0 <= back_phi < np.pi
    assert axis_distance(back_phi, phi) < 1e-9


def test_the_ellipse_along_x_has_e1_alone():
    e1, e2 = a.components_from_q_phi(0.6, [0, np.pi / 4, np.pi / 2])
    e = e1[0]
    np.testing.assert_allclose([e1, e2], [[e, 0, -e], [0, e, 0]], atol=1e-15)
    assert a.q_phi_from_components(0.0, 0.0) == (1, 0)


def test_components_are_those_of_lenstronomy_and_galsim():
    util = pytest.importorskip("lenstronomy.Util.param_util")
    galsim = pytest.importorskip("galsim")
    q, phi = 0.63, 1.1
    assert a.components_from_q_phi(q, phi) == pytest.approx(util.phi_q2_ellipticity(phi, q))
    shape = galsim.Shear(q=q, beta=phi * galsim.radians)
    assert a.components_from_q_phi(q, phi) == pytest.approx((shape.g1, shape.g2))


@given(st.floats(-1e-18, 0) | st.floats(-100, 100))
def test_an_axis_angle_lies_in_its_half_turn(phi):
    assert 0 <= a.axis_angle(phi) < np.pi


NORTH_UP = np.array([[-1.0, 0.0], [0.0, 1.0]]) * 0.262 / 3600


def test_north_up_and_east_left_is_a_quarter_turn():
    # +y is north: PA 0. +x is west: PA 90 degrees (an axis). Half way from +x to +y is north-west, PA 135.
    phi = np.array([np.pi / 2, 0.0, np.pi / 4, 3 * np.pi / 4])
    expected = np.array([0, 90, 135, 45])
    np.testing.assert_allclose(np.degrees(a.position_angle_from_phi(phi, NORTH_UP)), expected, atol=1e-12)
    assert a.phi_from_position_angle(np.radians(45), NORTH_UP) == pytest.approx(3 * np.pi / 4)


@given(st.floats(0, 3.14), st.floats(-3, 3), st.booleans())
@settings(max_examples=50)
def test_position_angles_go_both_ways(phi, turn, mirrored):
    c, s = np.cos(turn), np.sin(turn)
    cd = np.array([[c, -s], [s, c]]) @ (np.diag([-1, 1]) if mirrored else np.eye(2)) * 7e-5
    assert axis_distance(a.phi_from_position_angle(a.position_angle_from_phi(phi, cd), cd), phi) < 1e-12


@pytest.mark.parametrize("turn", [0.0, 0.4, 2.5])
def test_the_position_angle_is_the_sky_s(turn):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [59.1, -30.5], [32, 32]
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = NORTH_UP @ np.array([[c, -s], [s, c]])
    for phi in (0.1, 1.0, 2.0, 3.0):
        start = wcs.pixel_to_world(31, 31)
        end = wcs.pixel_to_world(31 + 5 * np.cos(phi), 31 + 5 * np.sin(phi))
        expected = start.position_angle(end).rad
        assert axis_distance(a.position_angle_from_phi(phi, wcs.pixel_scale_matrix), expected) < 1e-5


def test_the_einstein_radius_of_a_velocity_dispersion():
    assert a.theta_e_from_sigma_v(220, 1.0) == pytest.approx(4 * np.pi * (220 / 299792.458) ** 2 * 206264.806)
    assert a.theta_e_from_sigma_v(220, 1.0) == pytest.approx(1.396, abs=1e-3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: a.ellipticity_from_q([0.5, 0.0]),
        lambda: a.q_from_ellipticity(1.0),
        lambda: a.q_from_ellipticity(np.nan),
        lambda: a.q_phi_from_components(0.8, 0.8),
        lambda: a.position_angle_from_phi(0.0, [[1, 1], [1, 1]]),
        lambda: a.position_angle_from_phi(0.0, np.eye(3)),
        lambda: a.theta_e_from_sigma_v(-1, 0.5),
        lambda: a.theta_e_from_sigma_v(200, [0.5, 0.0]),
    ],
)
def test_what_has_no_answer_is_refused(call):
    with pytest.raises(ManifestError):
        call()
