"""Galaxies at another redshift: astropy judges distances, a power law in frequency the K-correction."""

import numpy as np
import pytest
from astropy.cosmology import Planck18
from hypothesis import assume, given
from hypothesis import strategies as st

from lensflow.errors import ManifestError
from lensflow.manifest.k_correction import magnitudes_at, movable_from, sizes_at

BANDS_NM = (355.0, 473.0, 642.0, 784.0, 926.0)
GRZ_NM = (473.0, 642.0, 926.0)


def one(*values):
    return np.array([values], np.float64) if len(values) > 1 else np.array(values, np.float64)


def power_law(alpha, wave_nm, z):
    """AB magnitudes of L_nu ~ nu^-alpha, absolute magnitude -20 at 500 nm of rest, as observed at a redshift."""
    # m = M(l) + DM + K, K = 2.5 (alpha - 1) log10(1 + z) (Hogg et al. 2002); M(l) = -20 - 2.5 alpha log10(l / 500).
    wave_nm = np.asarray(wave_nm)
    absolute = -20 - 2.5 * alpha * np.log10(wave_nm / 500.0)
    return absolute + Planck18.distmod(z).value + 2.5 * (alpha - 1) * np.log10(1 + z)


@given(st.floats(-2, 4), st.floats(0, 1), st.floats(0.45, 3))
def test_a_power_law_has_the_k_correction_that_it_has_in_closed_form(alpha, share, z_to):
    low, high = movable_from(one(z_to), BANDS_NM, GRZ_NM)
    assert 0.05 < low[0] < high[0]
    z_from = low[0] + share * (high[0] - low[0])
    mag = power_law(alpha, BANDS_NM, z_from)[None]
    found = magnitudes_at(mag, BANDS_NM, one(z_from), one(z_to), GRZ_NM)
    assert found[0] == pytest.approx(power_law(alpha, GRZ_NM, z_to), abs=2e-6)


def test_a_flat_spectrum_in_frequency_loses_the_stretch_alone():
    # alpha = 0: K = -2.5 log10(1 + z), colours stay 0 in AB.
    found = magnitudes_at(np.full((1, 5), 22.0), BANDS_NM, one(0.8), one(1.0), GRZ_NM)
    expected = 22.0 + (Planck18.distmod(1.0) - Planck18.distmod(0.8)).value - 2.5 * np.log10(2.0 / 1.8)
    assert found == pytest.approx(np.full((1, 3), expected), abs=2e-6)


@given(st.lists(st.floats(15, 30), min_size=5, max_size=5), st.floats(0.01, 9))
def test_a_galaxy_that_is_not_moved_keeps_every_bit_of_its_magnitudes(mag, z):
    found = magnitudes_at(np.array([mag]), BANDS_NM, one(z), one(z), GRZ_NM)
    assert found.tolist() == [[mag[1], mag[2], mag[4]]]
    assert magnitudes_at(np.array([mag]), BANDS_NM, one(np.nan), one(np.nan), GRZ_NM).tolist() == found.tolist()


@given(st.permutations(range(5)), st.floats(0.6, 1.2))
def test_the_order_of_the_bands_does_not_count(order, z_to):
    mag, nm = np.array([[24.0, 23.2, 22.9, 22.1, 22.0]]), np.array(BANDS_NM)
    order = list(order)
    straight = magnitudes_at(mag, nm, one(0.8), one(z_to), (500.0, 700.0))
    assert magnitudes_at(mag[:, order], nm[order], one(0.8), one(z_to), (500.0, 700.0)).tolist() == straight.tolist()


@given(st.floats(0, 1), st.floats(0.8, 5))
def test_moving_there_and_back_is_nothing(share, z_to):
    # A power law goes through the interpolation unchanged, so what is left are the distances.
    low, high = movable_from(one(z_to), BANDS_NM, (600.0,))
    z_from = low[0] + share * (high[0] - low[0])
    mag = power_law(1.3, BANDS_NM, z_from)[None]
    there = magnitudes_at(mag, BANDS_NM, one(z_from), one(z_to), (600.0,))
    back = magnitudes_at(there, (600.0,), one(z_to), one(z_to), (600.0,))
    assert back == pytest.approx(power_law(1.3, (600.0,), z_to)[None], abs=5e-6)
    size = sizes_at(sizes_at(one(0.4), one(z_from), one(z_to)), one(z_to), one(z_from))
    assert size == pytest.approx(0.4, rel=1e-12)


@given(st.floats(0.05, 6), st.floats(0.05, 6))
def test_sizes_go_with_astropy_s_angular_diameter_distance(z_from, z_to):
    expected = 0.3 * (Planck18.angular_diameter_distance(z_from) / Planck18.angular_diameter_distance(z_to)).value
    assert sizes_at(one(0.3), one(z_from), one(z_to)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("z_to", [0.2, 1.2])
def test_a_wavelength_beyond_the_bands_is_an_error_and_never_a_number(z_to):
    # From 0.5 with g r z alone: bluer than g at a higher redshift, redder than z at a lower one.
    with pytest.raises(ManifestError, match=r"at \d+ nm is needed, and its bands span 473 to 926 nm: nothing is extra"):
        magnitudes_at(np.full((1, 3), 22.0), GRZ_NM, one(0.5), one(z_to), GRZ_NM)


@given(st.floats(0.05, 5), st.floats(0.05, 5))
def test_a_galaxy_is_movable_where_moving_it_is_no_error(z_from, z_to):
    low, high = movable_from(one(z_to), BANDS_NM, GRZ_NM)
    assume(min(abs(z_from - low[0]), abs(z_from - high[0])) > 1e-6)
    inside = low[0] <= z_from <= high[0]
    if inside:
        magnitudes_at(np.full((1, 5), 22.0), BANDS_NM, one(z_from), one(z_to), GRZ_NM)
    else:
        with pytest.raises(ManifestError):
            magnitudes_at(np.full((1, 5), 22.0), BANDS_NM, one(z_from), one(z_to), GRZ_NM)


# Boxes of about DECam's widths: ends and effective wavelength, nm.
FILTERS = {"u": (320, 390, 355), "g": (400, 546, 473), "r": (568, 716, 642), "i": (709, 859, 784),
           "z": (850, 1002, 926), "Y": (953, 1065, 1009)}  # fmt: skip
STEPS = [(0.6, 0.8), (0.9, 1.1), (1.2, 1.4), (1.0, 1.3), (1.5, 1.8)]


def through_filter(band, z, beta, break_nm, drop):
    """AB magnitude of f_lambda ~ lambda^beta, fainter by a factor below a break, counted in photons through a box."""
    low, high, _ = FILTERS[band]
    seen = np.linspace(low, high, 2000)
    rest = seen / (1 + z)
    light = (rest / 300) ** beta * np.where(rest < break_nm, 1 / drop, 1.0) / (1 + z)
    photons = np.trapezoid(light * seen, seen) / np.trapezoid(1 / seen, seen)
    return -2.5 * np.log10(photons) + Planck18.distmod(z).value


@pytest.mark.parametrize(
    "beta, break_nm, drop, most", [(-1.6, 0, 1.0, 0.003), (-1.6, 390, 1.6, 0.16), (-0.3, 400, 2.2, 0.34)]
)
def test_what_effective_wavelengths_cost_beside_whole_filters_is_what_the_docs_say(beta, break_nm, drop, most):
    worst = 0.0
    for z_from, z_to in STEPS:
        mag = np.array([[through_filter(b, z_from, beta, break_nm, drop) for b in FILTERS]])
        nm = [f[2] for f in FILTERS.values()]
        found = magnitudes_at(mag, nm, one(z_from), one(z_to), GRZ_NM)[0]
        worst = max(worst, np.abs(found - [through_filter(b, z_to, beta, break_nm, drop) for b in "grz"]).max())
    assert most / 2 < worst < most or (drop == 1 and worst < most)
