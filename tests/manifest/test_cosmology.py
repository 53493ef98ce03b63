import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM, LambdaCDM
from scipy.integrate import quad

from lensflow.errors import ManifestError
from lensflow.manifest.cosmology import distance_ratio, theta_e_from_redshifts


def test_the_einstein_de_sitter_ratio_is_analytic():
    # D ~ (1 - 1/sqrt(1+z)) / (1+z) without a cosmological constant.
    eds = FlatLambdaCDM(H0=70, Om0=1.0, Tcmb0=0)
    near, far = 1 / np.sqrt(1.5), 1 / np.sqrt(3.0)
    assert distance_ratio(0.5, 2.0, eds) == pytest.approx((near - far) / (1 - far), rel=1e-6)


def test_a_usual_lens_in_planck_s_cosmology():
    # Flat, Omega_m = 0.3097, its 1e-4 of radiation left out: D_ls/D_s = 1 - chi_l/chi_s.
    lens, source = (quad(lambda z: 1 / np.sqrt(0.3097 * (1 + z) ** 3 + 0.6903), 0, end)[0] for end in (0.5, 2.0))
    assert distance_ratio(0.5, 2.0) == pytest.approx(1 - lens / source, rel=1e-3)
    expected = 1.3961 * np.array([1, (300 / 220) ** 2]) * (1 - lens / source)
    assert theta_e_from_redshifts([220, 300], 0.5, 2.0) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("curvature", [-0.2, 0.2])
def test_the_ratio_in_a_curved_space_is_astropy_s(curvature):
    cosmology = LambdaCDM(H0=70, Om0=0.3, Ode0=0.7 - curvature, Tcmb0=0)
    try:
        between = cosmology.angular_diameter_distance(0.5, 2.0)
    except TypeError:
        between = cosmology.angular_diameter_distance_z1z2(0.5, 2.0)
    expected = (between / cosmology.angular_diameter_distance(2.0)).value
    assert distance_ratio(0.5, 2.0, cosmology) == pytest.approx(expected, rel=1e-9)


def test_the_ratio_does_not_depend_on_h0():
    ratios = [distance_ratio(0.3, 1.5, FlatLambdaCDM(H0=h0, Om0=0.3, Tcmb0=0)) for h0 in (50, 100)]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-9)


def test_the_einstein_radius_is_lenstronomy_s():
    lenstronomy = pytest.importorskip("lenstronomy.Cosmo.lens_cosmo")
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    theirs = lenstronomy.LensCosmo(0.4, 1.7, cosmo=cosmology).sis_sigma_v2theta_E(250)
    assert theta_e_from_redshifts(250, 0.4, 1.7, cosmology) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("z_lens, z_source", [(0.5, 0.5), (0.5, [2.0, 0.3]), (0.0, 1.0), (0.5, np.nan)])
def test_a_source_in_front_of_its_lens_is_refused(z_lens, z_source):
    with pytest.raises(ManifestError, match="row"):
        distance_ratio(z_lens, z_source)
