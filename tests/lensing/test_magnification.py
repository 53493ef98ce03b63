import numpy as np
import pytest
from scipy.integrate import quad

from lensflow.lensing.render import render
from lensflow.lensing.sources import sersic_b

from .references import finer
from .rows import alternating_models, one_row, random_rows, wide_rows

SIS = {"lens_model": "SIS", "lens_q": 1.0, "shear": 0.0}


def sis_mu(beta, theta_e):
    return np.where(beta < theta_e, 2 * theta_e / np.maximum(beta, 1e-12), 1 + theta_e / np.maximum(beta, 1e-12))


def sis_mu_of_a_centred_exponential(theta_e, reff):
    h = reff / float(sersic_b(1))

    def ring(r):
        return r * np.exp(-r / h) / h**2 * float(sis_mu(r, theta_e))

    return quad(ring, 0, theta_e)[0] + quad(ring, theta_e, theta_e + 60 * h)[0]


@pytest.mark.parametrize(("theta_e", "reff"), [(1.5, 0.3), (0.5, 0.8), (2.5, 1.2)])
def test_a_source_behind_an_sis_has_the_analytic_mean_magnification(theta_e, reff):
    row = one_row(**SIS, theta_e_arcsec=theta_e, src_reff_arcsec=reff, src_q=1.0, src_x_arcsec=0.0, src_y_arcsec=0.0)
    mu = render(row).magnification[0]
    assert mu == pytest.approx(sis_mu_of_a_centred_exponential(theta_e, reff), rel=3e-4)


@pytest.mark.parametrize("beta", [0.4, 0.9, 2.0])
def test_a_small_source_has_the_magnification_of_a_point(beta):
    row = one_row(**SIS, theta_e_arcsec=1.5, src_reff_arcsec=0.05, src_q=1.0, src_x_arcsec=beta, src_y_arcsec=0.0)
    assert render(row).magnification[0] == pytest.approx(float(sis_mu(beta, 1.5)), rel=1e-2)


def test_the_light_outside_a_small_field_is_not_forgotten():
    row = one_row(src_reff_arcsec=1.3, src_n=1.0, theta_e_arcsec=1.0)
    large = render(row).magnification[0]
    small = one_row(src_reff_arcsec=1.3, src_n=1.0, theta_e_arcsec=1.0, x_center=3.7, y_center=3.4)
    assert render(small, stamp_size=8).magnification[0] == pytest.approx(large, rel=3e-4)


@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_an_image_beyond_the_field_counts_in_full(model):
    # The source lies 11 arcsec away: outside of what a stamp of 16 pixels follows, inside of what 128 pixels do.
    row = one_row(lens_model=model, lens_gamma=2.1, src_x_arcsec=11.0, src_reff_arcsec=0.3)
    few = {**row, "x_center": np.array([7.5]), "y_center": np.array([7.5])}
    many = {**row, "x_center": np.array([63.5]), "y_center": np.array([63.5])}
    expected = render(many, stamp_size=128).magnification[0]
    assert render(few, stamp_size=16).magnification[0] == pytest.approx(expected, rel=1e-3)
    assert expected > 1.05


def test_extended_wings_count_in_full():
    # Far from the lens mu = 1 + theta_E / beta, so a de Vaucouleurs source that fills the field keeps its wings.
    row = one_row(**SIS, theta_e_arcsec=0.5, src_reff_arcsec=1.5, src_n=4.0, src_q=1.0, src_x_arcsec=3.0)
    few = render({**row, "x_center": np.array([15.5]), "y_center": np.array([15.5])}, stamp_size=32)
    many = render({**row, "x_center": np.array([71.5]), "y_center": np.array([71.5])}, stamp_size=144)
    assert few.magnification[0] == pytest.approx(many.magnification[0], rel=3e-4)


def test_magnification_is_at_least_one_within_the_error():
    rows = random_rows(24, seed=4, theta_e_arcsec=np.full(24, 0.2), src_x_arcsec=np.linspace(0.5, 2.5, 24))
    result = render(rows)
    assert (result.magnification >= 1 - 3 * result.render_err).all()


@pytest.mark.slow
@pytest.mark.parametrize("n", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("model", ["SIE", "EPL"])
def test_magnification_is_that_of_ten_times_the_samples(model, n):
    rows, models = wide_rows(40, seed=2, model=model, index=n), alternating_models(40)
    coarse = render(rows, psf_model=models).magnification
    with finer():
        fine = render(rows, psf_model=models).magnification
    difference = np.abs(coarse / fine - 1)
    print(f"magnification, {model} n={n}: median {np.median(difference):.1e}, max {difference.max():.1e}")
    assert np.median(difference) < 2e-4
    assert difference.max() < 1e-3
    assert (coarse >= 1).all()


def test_controls_have_no_magnification():
    row = one_row(lens_model="CONTROL", theta_e_arcsec=0.0)
    assert np.isnan(render(row).magnification[0])
