import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaincinv

from lensflow.errors import ManifestError
from lensflow.lensing import image_positions, magnification, point_magnification
from lensflow.lensing.deflectors import deflect_epl, deflect_shear
from lensflow.lensing.render import render
from lensflow.lensing.sources import sersic_b

from .rows import alternating_models, angles, axis_ratios, einstein_radii, one_row, random_rows

SIS = {"lens_model": "SIS", "lens_q": 1.0, "shear": 0.0, "src_q": 1.0, "src_y_arcsec": 0.0}


@pytest.mark.parametrize("beta", [0.3, 0.8, 1.3])
def test_a_small_source_behind_an_sis_is_magnified_by_two_theta_e_over_beta(beta):
    rows = one_row(**SIS, theta_e_arcsec=1.5, src_x_arcsec=beta, src_reff_arcsec=0.01)
    assert magnification(rows)[0] == pytest.approx(2 * 1.5 / beta, rel=2e-3)


def test_beyond_the_einstein_radius_one_image_is_left():
    rows = one_row(**SIS, theta_e_arcsec=0.5, src_x_arcsec=2.0, src_reff_arcsec=0.02)
    assert magnification(rows)[0] == pytest.approx(1 + 0.5 / 2.0, rel=2e-3)


def test_it_is_the_renderers_whatever_the_psf_the_flux_and_the_place():
    rows = random_rows(40, seed=6)
    expected = render(rows, psf_model=alternating_models(40)).magnification
    alone = {k: v for k, v in rows.items() if k not in ("psf_fwhm_arcsec", "src_flux_nmgy", "x_center", "y_center")}
    np.testing.assert_allclose(magnification(alone), expected, rtol=1e-3)
    assert (magnification(alone) >= 1).all()


@pytest.mark.slow
def test_a_source_has_the_mean_of_its_points_magnifications():
    rows = random_rows(6, seed=7, src_reff_arcsec=np.linspace(0.05, 0.5, 6), src_q=1.0)
    got = magnification(rows)
    # Points of an exponential: equal shares of the flux in radius, a golden spiral in angle.
    # The caustics make their mean converge slowly: to 1 % with this many.
    k = np.arange(40_000)
    radius = gammaincinv(2, (k + 0.5) / k.size) / sersic_b(1.0)
    x, y = radius * np.cos(2.399963 * k), radius * np.sin(2.399963 * k)
    for i in range(6):
        q = 1.0 if rows["lens_model"][i] == "SIS" else rows["lens_q"][i]
        lens = (rows["theta_e_arcsec"][i], q, *(rows[n][i] for n in ("lens_phi_rad", "shear", "shear_phi_rad")))
        reff = rows["src_reff_arcsec"][i]
        images = image_positions(*lens, rows["src_x_arcsec"][i] + reff * x, rows["src_y_arcsec"][i] + reff * y)
        mean = np.nansum(np.abs(images.magnification), axis=1).mean()
        assert got[i] == pytest.approx(mean, rel=2e-2), i


def test_controls_have_none_and_a_missing_column_is_named():
    assert np.isnan(magnification(one_row(lens_model="CONTROL", theta_e_arcsec=0.0))[0])
    with pytest.raises(ManifestError, match="lens_model"):
        magnification({"theta_e_arcsec": np.ones(1)})
    rows = one_row()
    del rows["src_n"]
    with pytest.raises(ManifestError, match="src_n"):
        magnification(rows)


def test_a_point_behind_an_sis():
    r = np.array([0.3, 0.9, 1.4, 1.6, 3.0])
    np.testing.assert_allclose(point_magnification(0, r, 1.5), 1 / (1 - 1.5 / r), rtol=1e-12)
    assert np.isinf(point_magnification(1.5, 0, 1.5)) and point_magnification(0, 0, 1.5) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.1, 4), st.floats(0, 6.28), einstein_radii, axis_ratios, angles, st.floats(1.5, 2.5), st.floats(0, 0.2),
    angles,
)  # fmt: skip
def test_the_jacobian_is_that_of_the_deflections(r, direction, theta_e, q, phi, gamma, shear, shear_phi):
    x, y, h = r * np.cos(direction), r * np.sin(direction), 1e-5 * r

    def source(x, y):
        lens, tide = deflect_epl(x, y, theta_e, q, phi, gamma), deflect_shear(x, y, shear, shear_phi)
        return np.array([x - lens[0] - tide[0], y - lens[1] - tide[1]])

    jacobian = np.stack([source(x + h, y) - source(x - h, y), source(x, y + h) - source(x, y - h)]) / (2 * h)
    inverse = 1 / point_magnification(x, y, theta_e, q, phi, gamma, shear, shear_phi)
    scale = 1 + np.abs(jacobian).max() ** 2
    assert np.linalg.det(jacobian) == pytest.approx(inverse, abs=1e-7 * scale)


@settings(max_examples=40, deadline=None)
@given(einstein_radii, axis_ratios, angles, st.floats(0, 0.1), angles, st.floats(0.05, 0.9), angles)
def test_images_have_the_magnification_of_their_place(theta_e, q, phi, shear, shear_phi, offset, direction):
    beta = offset * theta_e * np.array([np.cos(direction), np.sin(direction)])
    images = image_positions(theta_e, q, phi, shear, shear_phi, *beta)
    for k in range(images.count[0]):
        mu = point_magnification(images.x[0, k], images.y[0, k], theta_e, q, phi, 2.0, shear, shear_phi)
        assert 1 / mu == pytest.approx(1 / images.magnification[0, k], abs=1e-9 * (1 + abs(1 / mu)))
