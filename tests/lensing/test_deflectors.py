import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.lensing.deflectors import deflect_epl, deflect_shear, deflect_sie, deflect_sis

from .rows import angles, axis_ratios, einstein_radii, positions


@given(einstein_radii, st.floats(1e-6, 1e3), angles)
@settings(max_examples=50, deadline=None)
def test_sis_deflects_by_theta_e_at_every_radius(theta_e, r, phi):
    ax, ay = deflect_sis(r * np.cos(phi), r * np.sin(phi), theta_e)
    assert np.hypot(ax, ay) == pytest.approx(theta_e, rel=1e-13)


def test_a_point_at_theta_e_maps_to_the_origin():
    phi = np.linspace(0, 2 * np.pi, 17)
    x, y = 1.3 * np.cos(phi), 1.3 * np.sin(phi)
    ax, ay = deflect_sis(x, y, 1.3)
    np.testing.assert_allclose([x - ax, y - ay], 0, atol=1e-15)


@pytest.mark.parametrize("gap", [0.0, 1e-16, 1e-12, 1e-9, 1e-6])
def test_sie_tends_to_the_sis_smoothly(gap):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200))
    np.testing.assert_allclose(deflect_sie(x, y, 1.2, 1 - gap, 0.7), deflect_sis(x, y, 1.2), atol=2 * gap + 5e-15)


def radius_of_the_critical_curve(theta_e, q, phi, angle, scale=1.0):
    # The deflection does not depend on radius, so det A = 1 - k/r: k from finite differences at r = 1.
    h, x, y = 1e-5, np.cos(angle), np.sin(angle)
    xp, xm = deflect_sie(x + h, y, theta_e, q, phi), deflect_sie(x - h, y, theta_e, q, phi)
    yp, ym = deflect_sie(x, y + h, theta_e, q, phi), deflect_sie(x, y - h, theta_e, q, phi)
    a11, a21 = 1 - scale * (xp[0] - xm[0]) / (2 * h), -scale * (xp[1] - xm[1]) / (2 * h)
    a12, a22 = -scale * (yp[0] - ym[0]) / (2 * h), 1 - scale * (yp[1] - ym[1]) / (2 * h)
    return 1 - (a11 * a22 - a12 * a21)


def critical_area(theta_e, q, phi, scale=1.0):
    angle = np.arange(720) * (2 * np.pi / 720)
    r = radius_of_the_critical_curve(theta_e, q, phi, angle, scale)
    return 0.5 * np.sum(r**2) * (2 * np.pi / 720)


@given(einstein_radii, axis_ratios, angles)
@settings(max_examples=30, deadline=None)
def test_the_critical_curve_encloses_the_area_of_a_circle_of_radius_theta_e(theta_e, q, phi):
    assert critical_area(theta_e, q, phi) == pytest.approx(np.pi * theta_e**2, rel=1e-6)


@pytest.mark.parametrize("q", [0.5, 0.7, 0.9])
def test_the_critical_area_catches_a_missing_sqrt_q(q):
    assert abs(critical_area(1.5, q, 0.3, scale=1 / np.sqrt(q)) / (np.pi * 1.5**2) - 1) > 0.1


@given(positions, positions, einstein_radii, axis_ratios, angles)
@settings(max_examples=50, deadline=None)
def test_sie_is_the_textbook_form(x, y, theta_e, q, phi):
    ax, ay = deflect_sie(x, y, theta_e, q, phi)
    c, s = np.cos(phi), np.sin(phi)
    u, v, f = c * x + s * y, c * y - s * x, np.sqrt(1 - q * q)
    psi = np.hypot(q * u, v)
    if f < 1e-3 or psi < 1e-3:
        return
    along = theta_e * np.sqrt(q) / f * np.arctan(f * u / psi)
    across = theta_e * np.sqrt(q) / f * np.arctanh(f * v / psi)
    np.testing.assert_allclose([ax, ay], [c * along - s * across, s * along + c * across], atol=1e-9)


def test_deflections_are_finite_everywhere_and_zero_at_the_centre():
    tiny = np.array([0.0, 5e-324, 1e-310, 1e-200, 1e-30])
    for q in (1.0, 0.5, 0.05, 1e-4):
        alpha = np.array(deflect_sie(tiny[:, None], tiny[None, :], 1.0, q, 0.0))
        assert np.isfinite(alpha).all()
        assert (alpha[:, 0, 0] == 0).all()
    assert deflect_sis(0.0, 0.0, 2.0) == (0, 0)


@given(positions, positions, einstein_radii, axis_ratios, angles)
@settings(max_examples=30, deadline=None)
def test_an_isothermal_epl_is_the_sie(x, y, theta_e, q, phi):
    if np.hypot(x, y) < 1e-100:  # where each calls itself the centre
        return
    epl, sie = deflect_epl(x, y, theta_e, q, phi, 2.0), deflect_sie(x, y, theta_e, q, phi)
    np.testing.assert_allclose(epl, sie, atol=1e-12 * theta_e)


@pytest.mark.parametrize("gamma", [1.7, 2.3])
def test_a_round_epl_deflects_by_its_enclosed_mass(gamma):
    r = np.array([0.1, 0.7, 1.3, 5.0])
    ax, ay = deflect_epl(r, 0.0, 1.3, 1.0, 0.0, gamma)
    np.testing.assert_allclose(ax, 1.3 * (r / 1.3) ** (2 - gamma), rtol=1e-13)
    np.testing.assert_allclose(ay, 0, atol=1e-15)


@pytest.mark.parametrize("gamma", [1.7, 2.0, 2.3])
@pytest.mark.parametrize("q", [0.33, 0.8])
def test_the_ellipse_of_area_pi_theta_e_squared_holds_a_mean_convergence_of_1(q, gamma):
    # The mean convergence inside a curve is the flux of alpha through it, over twice its area (Gauss).
    angle = np.arange(2000) * (2 * np.pi / 2000)
    a, b = 1.4 / np.sqrt(q), 1.4 * np.sqrt(q)
    x, y = a * np.cos(angle), b * np.sin(angle)
    ax, ay = deflect_epl(x, y, 1.4, q, 0.0, gamma)
    flux = np.sum(ax * b * np.cos(angle) + ay * a * np.sin(angle)) * (2 * np.pi / 2000)
    assert flux / (2 * np.pi * 1.4**2) == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize("gamma", [1.7, 1.95, 2.3])
@pytest.mark.parametrize("q", [0.33, 0.6, 0.95])
def test_power_law_deflections_are_those_of_lenstronomy(q, gamma):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.Util.param_util import phi_q2_ellipticity

    x, y = np.random.default_rng(4).uniform(-4, 4, (2, 500))
    e1, e2 = phi_q2_ellipticity(0.8, q)
    arguments = {"theta_E": 1.3, "gamma": gamma, "e1": e1, "e2": e2, "center_x": 0, "center_y": 0}
    theirs = LensModel(["EPL"]).alpha(x, y, [arguments])
    np.testing.assert_allclose(deflect_epl(x, y, 1.3, q, 0.8, gamma), theirs, atol=1e-9)


def test_power_law_deflections_are_finite_at_the_centre():
    assert deflect_epl(0.0, 0.0, 1.0, 0.5, 0.3, 2.3) == (0, 0)


def test_arguments_broadcast():
    ax, ay = deflect_sie(np.ones((4, 1)), np.ones(5), 1.0, np.full((3, 1, 1), 0.5), 0.1)
    assert ax.shape == ay.shape == (3, 4, 5)


def test_shear_along_x_stretches_x():
    ax, ay = deflect_shear(2.0, 3.0, 0.1, 0.0)
    assert (ax, ay) == pytest.approx((0.2, -0.3))


@pytest.mark.parametrize("q", [0.33, 0.6, 0.95])
def test_deflections_are_those_of_lenstronomy(q):
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.Util.param_util import phi_q2_ellipticity, shear_polar2cartesian

    x, y = np.random.default_rng(3).uniform(-4, 4, (2, 500))
    phi, theta_e, shear, shear_phi = 0.8, 1.3, 0.07, 2.2
    e1, e2 = phi_q2_ellipticity(phi, q)
    g1, g2 = shear_polar2cartesian(shear_phi, shear)
    lens = LensModel(["SIE", "SHEAR"])
    theirs = lens.alpha(
        x,
        y,
        [
            {"theta_E": theta_e, "e1": e1, "e2": e2, "center_x": 0, "center_y": 0},
            {"gamma1": g1, "gamma2": g2},
        ],
    )
    ours = np.add(deflect_sie(x, y, theta_e, q, phi), deflect_shear(x, y, shear, shear_phi))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
