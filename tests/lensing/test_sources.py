import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammainccinv

from lensflow.lensing.sources import sersic_amplitude, sersic_b, sersic_profile


def test_b_of_the_exponential_and_de_vaucouleurs_profiles():
    assert float(sersic_b(1)) == pytest.approx(1.6783469900166605, rel=1e-12)
    assert float(sersic_b(4)) == pytest.approx(7.669249442500, rel=1e-10)


@pytest.mark.parametrize("n", [0.3, 0.5, 1.0, 2.5, 4.0, 8.0])
def test_the_analytic_flux_is_the_integral_and_half_lies_within_reff(n):
    reff, q, flux = 0.4, 0.6, 3.0

    def ring(t):  # in log radius, along the major axis
        r = np.exp(t)
        return 2 * np.pi * q * r**2 * float(sersic_profile(r, 0.0, reff, n, q, 0.0, flux))

    inside = quad(ring, -25, np.log(reff), limit=200)[0]
    far = reff * (float(gammainccinv(2 * n, 1e-12)) / float(sersic_b(n))) ** n
    outside = quad(ring, np.log(reff), np.log(far), limit=200)[0]
    assert inside == pytest.approx(flux / 2, rel=1e-8)
    assert outside == pytest.approx(flux / 2, rel=1e-8)


def test_the_amplitude_is_the_brightness_at_reff():
    assert float(sersic_profile(0.5, 0, 0.5, 2.0, 0.7, 0.0, 4.0)) == pytest.approx(
        float(sersic_amplitude(4.0, 0.5, 2.0, 0.7))
    )


def test_the_major_axis_points_along_phi():
    c, s = np.cos(0.4), np.sin(0.4)
    along = sersic_profile(0.6 * c, 0.6 * s, 0.3, 1.0, 0.5, 0.4)
    across = sersic_profile(-0.3 * s, 0.3 * c, 0.3, 1.0, 0.5, 0.4)
    assert float(along) == pytest.approx(float(across), rel=1e-12)
