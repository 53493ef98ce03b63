"""A realistic population of sources and lenses for a ground-based survey (``plan.preset: realistic``).

Every function is a published relation with its scatter, and turns uniform or normal numbers into values; none of them
draws. Our own choices are marked at the constant. The resulting numbers are in ``docs/population.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from lensflow.errors import ConfigError
from lensflow.manifest.cosmology import distance_modulus, distance_ratio
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]

# Median disc scale length ln(r_d / arcsec) = -1.145 - 0.269 (i - 23) (Miller et al. 2013, MNRAS 429, 2858, eq. B1,
# from HST fits, 18.5 < i < 25.5); a disc's half-light radius is 1.678 scale lengths. Scatter: that of late types at
# fixed mass (van der Wel et al. 2014, ApJ 788, 28: 0.16 to 0.19 dex), slightly widened, since magnitude is not mass.
SIZE_AT_23, SIZE_SLOPE = 1.678 * float(np.exp(-1.145)), -0.269
SIZE_SCATTER_DEX = 0.20

# UV continuum, f_lambda ~ lambda^beta: mean beta -1.38, standard deviation 0.43, d beta / d M = -0.11 for star-forming
# galaxies at 1 < z < 2 (Kurczynski et al. 2014, ApJ 793, L5). Ours: the mean is reached at r = 25, and 0.1 mag on
# either side of r for features that a power law lacks (breaks, lines).
BETA_AT_25, BETA_SLOPE, BETA_SCATTER = -1.38, -0.11, 0.43
COLOUR_SCATTER_MAG = 0.10
# Centres of DECam's filters, nm.
WAVELENGTH_NM = {"u": 355.0, "g": 473.0, "r": 642.0, "i": 784.0, "z": 926.0, "Y": 1009.0, "y": 1009.0}

# n(z) ~ z^2 exp(-z / z0), z0 = 0.0417 i - 0.744, of all galaxies brighter than i (LSST Science Book 2009, sect. 3.7.2).
# Ours: taken for galaxies of magnitude i, whose mean redshift is 0.17 higher by the same formulae (0.83 at i = 24.5).
Z0_SLOPE, Z0_OFFSET, Z_FAR = 0.0417, -0.744, 6.0

# log10(sigma_v) = -2.97 - 0.37 M_r - 0.006 M_r^2 (Hyde & Bernardi 2009, MNRAS 394, 1978), scatter 0.07 dex
# (Bernardi et al. 2003, AJ 125, 1849).
SIGMA_OF_M = (-2.97, -0.37, -0.006)
SIGMA_SCATTER_DEX = 0.07
# K-correction of a red galaxy in r at its own g-r (Chilingarian et al. 2010, MNRAS 405, 1409; to z = 0.5, straight on
# beyond), and its passive brightening 0.85 z (Bernardi et al. 2003).
_K_Z = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 1.50)
_K_R = (0.0, 0.048, 0.090, 0.137, 0.192, 0.264, 0.349, 0.459, 0.580, 0.726, 0.927, 4.277)
EVOLUTION = 0.85
# A host without a redshift (ours): a luminous red galaxy of M_r = -22.8 at r = 20; half of a difference in r is taken
# for luminosity, half for distance.
M_AT_20, LUMINOSITY_SHARE = -22.8, 0.5
_Z_NEAR, _Z_HOST = 0.02, 1.2

# 1 - q is Rayleigh distributed with scale 0.38 - 5.7e-4 sigma_v (Collett 2015, ApJ 811, 20, from SDSS), q > 0.5 (ours:
# flatter ones are discs).
Q_SCALE, Q_OF_SIGMA, LEAST_Q = 0.38, -5.7e-4, 0.5
_LEAST_Q_SCALE = 0.05
# Both components of the shear are normal, 0.05 wide (neighbours and line of sight: Keeton, Kochanek & Seljak 1997, ApJ
# 482, 604; Wagner-Carena et al. 2021, ApJ 909, 187, simulate with it); up to 0.25.
SHEAR_SCALE, MOST_SHEAR = 0.05, 0.25

_ROWS_AT_ONCE, _NODES = 2048, 96


def magnitude_of_counts(u: Floats, brightest: float, faintest: float, slope: float) -> Floats:
    """Magnitudes with density ``10**(slope m)`` between two ends; uniform if the slope is 0."""
    k = slope * np.log(10) * (faintest - brightest)
    share = np.log1p(u * np.expm1(k)) / k if abs(k) > 1e-9 else u
    return np.clip(brightest + (faintest - brightest) * share, brightest, faintest)


def half_light_radius(i_mag: Floats, u: Floats) -> Floats:
    """Half-light radius along the major axis, arcsec: log-normal around the median at the magnitude."""
    return median_radius(i_mag) * 10 ** (SIZE_SCATTER_DEX * ndtri(u))


def median_radius(i_mag: Floats) -> Floats:
    """Median half-light radius of faint discs of an i magnitude, arcsec."""
    return np.asarray(SIZE_AT_23 * np.exp(SIZE_SLOPE * (i_mag - 23)))


def uv_slope(r_mag: Floats, normal: Floats) -> Floats:
    """Slope beta of the UV continuum: fainter sources are bluer."""
    return BETA_AT_25 + BETA_SLOPE * (r_mag - 25) + BETA_SCATTER * normal


def wavelengths_nm(bands: Sequence[str], lacks: str, who: str) -> list[float]:
    """Effective wavelengths of bands, nm.

    Parameters
    ----------
    bands : sequence of str
    lacks, who : str
        Words of the error: what such a band lacks, and who knows which bands.

    Raises
    ------
    ConfigError
        If one is not known.
    """
    missing = [b for b in bands if b not in WAVELENGTH_NM]
    if missing:
        known = ", ".join(b for b in WAVELENGTH_NM if b != "y")
        raise ConfigError(f"bands: {lacks} {', '.join(missing)}; {who} {known}")
    return [WAVELENGTH_NM[b] for b in bands]


def colours_of_slope(beta: Floats, normals: Floats, bands: Sequence[str], reference: str = "r") -> Floats:
    """Magnitude in every band minus that in the reference band, shape (n, band).

    Parameters
    ----------
    beta : ndarray, shape (n,)
    normals : ndarray, shape (n, 2)
        Departures from the power law, standard normal: bluewards of r (in g, u) and redwards (in z; those of i and Y
        lie on the power law between).
    bands : sequence of str
    reference : str

    Raises
    ------
    ConfigError
        If a band's wavelength is not known.
    """
    wavelengths_nm((*bands, reference), "no colour prior for", "plan.colours knows")

    def minus_r(band: str) -> Floats:
        way = np.log10(WAVELENGTH_NM[band] / WAVELENGTH_NM["r"])
        red = way / np.log10(WAVELENGTH_NM["z"] / WAVELENGTH_NM["r"])
        off = normals[:, 0] if way < 0 else -red * normals[:, 1]
        return -2.5 * (beta + 2) * way + COLOUR_SCATTER_MAG * off

    return np.stack([minus_r(b) - minus_r(reference) for b in bands], axis=1)


def i_magnitude(flux_nmgy: Floats, bands: Sequence[str], reference: int) -> Floats:
    """Magnitude in i: its own, or on the power law between r and z, or that of the reference band.

    A source without flux counts as 25 mag: it is invisible.
    """
    mag = mag_of_flux(flux_nmgy)
    names = list(bands)
    if "i" in names:
        out = mag[:, names.index("i")]
    elif {"r", "z"} <= set(names):
        r, z = mag[:, names.index("r")], mag[:, names.index("z")]
        share = np.log(WAVELENGTH_NM["i"] / WAVELENGTH_NM["r"]) / np.log(WAVELENGTH_NM["z"] / WAVELENGTH_NM["r"])
        with np.errstate(invalid="ignore"):
            out = r - share * (r - z)
    else:
        out = mag[:, reference]
    return np.where(np.isfinite(out), out, 25.0)


def source_redshift(i_mag: Floats, z_lens: Floats, u: Floats) -> Floats:
    """Redshift of a lensed source: the counts' n(z) behind the lens, times the lens's cross-section (D_ls / D_s)^2."""
    out = np.empty(len(u))
    steps = np.linspace(0, 1, _NODES)
    for first in range(0, len(u), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        lenses, lens = np.unique(z_lens[rows], return_inverse=True)
        near = lenses[:, None]
        # Nodes are dense just behind the lens, where the weight rises steeply.
        z = near + (Z_FAR - near) * steps**2
        ratio = np.zeros_like(z)
        ratio[:, 1:] = distance_ratio(np.broadcast_to(near, z.shape)[:, 1:], z[:, 1:])
        z0 = np.clip(Z0_SLOPE * i_mag[rows, None] + Z0_OFFSET, 0.1, 0.5)
        density = ((z * ratio) ** 2)[lens] * np.exp(-z[lens] / z0)
        mass = np.cumsum((density[:, 1:] + density[:, :-1]) * np.diff(z, axis=1)[lens], axis=1)
        mass = np.concatenate([np.zeros((len(mass), 1)), mass / mass[:, -1:]], axis=1)
        out[rows] = _invert(mass, z[lens], u[rows])
    return out


def _invert(mass: Floats, z: Floats, u: Floats) -> Floats:
    """Value at which each row's cumulative share reaches u."""
    right = np.clip((mass < u[:, None]).sum(axis=1), 1, mass.shape[1] - 1)
    rows = np.arange(len(u))
    low, high = mass[rows, right - 1], mass[rows, right]
    part = np.divide(u - low, high - low, out=np.full(len(u), 0.5), where=high > low)
    return np.asarray(z[rows, right - 1] + part * (z[rows, right] - z[rows, right - 1]))


def dimming(z: Floats) -> Floats:
    """Apparent minus absolute r magnitude (z = 0, passively evolved) of a red galaxy."""
    return distance_modulus(z) + np.interp(z, _K_Z, _K_R) - EVOLUTION * z


def assumed_redshift(r_mag: Floats) -> Floats:
    """Redshift of a host that has none, from its r magnitude alone; between 0.02 and 1.2."""
    absolute = M_AT_20 + LUMINOSITY_SHARE * (r_mag - 20)
    nodes = np.linspace(_Z_NEAR, _Z_HOST, 400)
    return np.interp(r_mag - absolute, dimming(nodes), nodes)


def log_sigma(r_mag: Floats, z: Floats) -> Floats:
    """Mean log10 of the velocity dispersion (km/s) of a red galaxy of an r magnitude and redshift."""
    m = np.clip(r_mag - dimming(z), -26.0, -15.0)
    return np.asarray(SIGMA_OF_M[0] + SIGMA_OF_M[1] * m + SIGMA_OF_M[2] * m**2)


def lens_sigma(mean_log_sigma: Floats, u: Floats, least_km_s: Floats | float = 0.0) -> Floats:
    """Velocity dispersion of a lens, km/s.

    Log-normal around the mean at its luminosity, weighted by the cross-section (sigma^4): at equal luminosity heavier
    galaxies are more often lenses. Not below ``least_km_s``.
    """
    centre = mean_log_sigma + 4 * np.log(10) * SIGMA_SCATTER_DEX**2
    with np.errstate(divide="ignore"):
        cut = (np.log10(least_km_s) - centre) / SIGMA_SCATTER_DEX
    # Beyond 6 standard deviations the share is below 1e-9: the lens then has the least dispersion.
    below = ndtr(np.minimum(cut, 6.0))
    out = 10 ** (centre + SIGMA_SCATTER_DEX * ndtri(np.clip(below + u * (1 - below), 1e-15, 1 - 1e-15)))
    return np.asarray(np.maximum(out, least_km_s))


def lens_axis_ratio(sigma_v_km_s: Floats, u: Floats) -> Floats:
    """Axis ratio of a lens: heavier galaxies are rounder."""
    return 1 - _rayleigh(u, axis_ratio_scale(sigma_v_km_s), 1 - LEAST_Q)


def axis_ratio_scale(sigma_v_km_s: Floats) -> Floats:
    """Scale of the Rayleigh distribution of 1 - q."""
    return np.asarray(np.maximum(Q_SCALE + Q_OF_SIGMA * sigma_v_km_s, _LEAST_Q_SCALE))


def shear_strength(u: Floats) -> Floats:
    """Strength of a shear with normally distributed components."""
    return _rayleigh(u, SHEAR_SCALE, MOST_SHEAR)


def _rayleigh(u: Floats, scale: Floats | float, most: float) -> Floats:
    """Rayleigh-distributed numbers up to ``most``."""
    return np.asarray(scale * np.sqrt(-2 * np.log1p(u * np.expm1(-0.5 * (most / scale) ** 2))))
