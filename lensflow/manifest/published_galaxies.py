"""A table of galaxies built from published distributions, for ``plan.source_table: {table: published}``.

The relations are those of :mod:`lensflow.manifest.population`; what a table adds is that they hold together: a lens
chooses among whole galaxies, so that the bright ones, most of which are in front of it or just behind, are rarer among
its sources than in the sky. Redshifts are those of galaxies *of* a magnitude: the published ones, of all galaxies
brighter than a limit, differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import integrate

from lensflow import rng
from lensflow.manifest import population as p
from lensflow.manifest.source_priors import R_I_OVER_R_Z
from lensflow.manifest.source_table import SourceTable

Floats = NDArray[np.float64]

# Galaxies of the table: enough that a lens finds thousands of different ones behind it.
N_GALAXIES = 200_000
# Slope of the cumulative counts in i (LSST Science Book 2009, sect. 3.7.2): N(< i) = 46 x 10**(0.31 (i - 25)).
COUNTS_SLOPE_I = 0.31
_NODES, _STEP_MAG = 1200, 0.05


def redshift_of_magnitude(i_mag: Floats, u: Floats) -> Floats:
    """Redshift of galaxies of an i magnitude.

    ``N(< i, z) ~ 10**(0.31 i) z^2 exp(-z / z0) / (2 z0^3)`` differentiated by i, with ``z0 = 0.0417 i - 0.744``:
    ``n(z | i) ~ z^2 exp(-z / z0) / z0^3 (0.31 ln 10 + z0' (z / z0^2 - 3 / z0))``, 0 where that is negative (nearby, at
    i < 23).

    Parameters
    ----------
    i_mag, u : ndarray, shape (n,)
        Magnitudes and uniform numbers.

    References
    ----------
    LSST Science Book 2009, arXiv:0912.0201, sect. 3.7.2.
    """
    z = np.linspace(0, p.Z_FAR, _NODES)
    # Quantiles at magnitudes 0.05 apart, straight in between.
    place = np.asarray(i_mag, np.float64) / _STEP_MAG
    low = np.floor(place).astype(np.int64)
    share = place - low
    out = np.zeros(len(u))
    for node in np.unique([low, low + 1]):
        density = redshift_density(np.array(node * _STEP_MAG), z)
        mass = integrate.cumulative_trapezoid(density, z, initial=0)
        for rows, weight in ((low == node, 1 - share), (low + 1 == node, share)):
            out[rows] += weight[rows] * np.interp(u[rows], mass / mass[-1], z)
    return out


def redshift_density(i_mag: Floats, z: Floats) -> Floats:
    """Density of redshifts of galaxies of an i magnitude, not normalised; shapes broadcast."""
    z0 = np.clip(p.Z0_SLOPE * i_mag + p.Z0_OFFSET, 0.1, 0.5)
    growth = COUNTS_SLOPE_I * np.log(10) + p.Z0_SLOPE * (z / z0**2 - 3 / z0)
    return np.asarray(z**2 * np.exp(-z / z0) / z0**3 * np.maximum(growth, 0.0))


@lru_cache(maxsize=2)
def published_galaxies(
    bands: Sequence[str], brightest: float, faintest: float, slope: float, n: int = N_GALAXIES
) -> SourceTable:
    """Galaxies of published distributions: magnitude, colours, size and redshift of each; always the same ones.

    Parameters
    ----------
    bands : tuple of str
        Of u, g, r, i, z, Y.
    brightest, faintest : float
        Ends of the r magnitude.
    slope : float
        Of the counts, dex per magnitude.
    n : int
        Number of galaxies.

    Raises
    ------
    ConfigError
        If a band's wavelength is not known.
    """
    rows = np.arange(n, dtype=np.uint64)
    u = rng.uniform(0, rows, "published_galaxies", 4)
    r_mag = p.magnitude_of_counts(u[:, 0], brightest, faintest, slope)
    beta = p.uv_slope(r_mag, rng.normal(0, rows, "published_colours", 1)[:, 0])
    scatter = rng.normal(0, rows, "published_scatter", 2)
    mag = r_mag[:, None] + p.colours_of_slope(beta, scatter, bands)
    r_z = -p.colours_of_slope(beta, scatter, ["z"])[:, 0]
    i_mag = r_mag - R_I_OVER_R_Z * r_z
    z = np.maximum(redshift_of_magnitude(i_mag, u[:, 1]), 1e-3)
    size = p.half_light_radius(i_mag, u[:, 2])
    order = np.argsort(z, kind="stable")
    return SourceTable(
        path="published",
        bands=tuple(bands),
        band_nm=tuple(p.WAVELENGTH_NM[b] for b in bands),
        row=order,
        name=order.astype(str),
        z=z[order],
        mag=mag[order],
        reff_arcsec=size[order],
        weight=np.ones(n),
        n_read=n,
    )
