"""A galaxy seen at another redshift: distance modulus, K-correction from its own magnitudes, angular size.

Its spectrum is what its broad-band magnitudes say: a power law in wavelength between the effective wavelengths of
neighbouring bands. Filters' widths, lines and breaks inside a band are not in it, nor is any evolution of the galaxy.
Nothing is extrapolated: a wavelength outside the observed ones is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ManifestError
from lensflow.manifest.cosmology import distance_modulus

Floats = NDArray[np.float64]

# Rounding of a ratio of wavelengths: a galaxy that is not moved lies on the edge of its own bands.
_EDGE = 1e-9


def magnitudes_at(
    mag: Floats, band_nm: Sequence[float], z_from: Floats, z_to: Floats, wanted_nm: Sequence[float]
) -> Floats:
    """Magnitudes of galaxies as they would be observed at another redshift, shape (n, wanted).

    ``m(z_to, l) = m(z_from, l (1 + z_from) / (1 + z_to)) + DM(z_to) - DM(z_from) - 2.5 log10((1 + z_to) / (1 +
    z_from))``: the same wavelength of rest in both; the last term is the stretching of the spectrum's frequencies.

    Parameters
    ----------
    mag : ndarray, shape (n, band)
        AB magnitudes at ``z_from``.
    band_nm : sequence of float
        Effective wavelengths of the bands, nm, in any order.
    z_from, z_to : ndarray, shape (n,)
        Redshifts; distances cancel where both are NaN (nothing is moved).
    wanted_nm : sequence of float
        Wavelengths of the result, nm.

    Raises
    ------
    ManifestError
        If a wavelength lies outside the bands: nothing is extrapolated.

    References
    ----------
    Hogg, Baldry, Blanton & Eisenstein 2002, astro-ph/0210394, eq. 8.
    """
    moved = np.isfinite(z_from) & np.isfinite(z_to) & (z_from != z_to)
    stretch = np.ones(len(mag))
    stretch[moved] = (1 + z_to[moved]) / (1 + z_from[moved])
    out = _interpolated(mag, np.asarray(band_nm, np.float64), np.asarray(wanted_nm, np.float64) / stretch[:, None])
    shift = np.zeros(len(mag))
    shift[moved] = distance_modulus(z_to[moved]) - distance_modulus(z_from[moved]) - 2.5 * np.log10(stretch[moved])
    return out + shift[:, None]


def sizes_at(reff_arcsec: Floats, z_from: Floats, z_to: Floats) -> Floats:
    """Angular sizes of galaxies of unchanged length at another redshift, arcsec: times D_A(z_from) / D_A(z_to)."""
    return np.asarray(reff_arcsec * _angular_distance(z_from) / _angular_distance(z_to))


def _angular_distance(z: Floats) -> Floats:
    """Angular-diameter distance in units of 10 pc."""
    return np.asarray(10 ** (distance_modulus(z) / 5) / (1 + z) ** 2)


def movable_from(z_to: Floats, band_nm: Sequence[float], wanted_nm: Sequence[float]) -> tuple[Floats, Floats]:
    """Lowest and highest redshift of a galaxy that can be moved to ``z_to`` without extrapolation.

    Parameters
    ----------
    z_to : ndarray, shape (n,)
    band_nm, wanted_nm : sequence of float
        Observed and wanted wavelengths, nm.

    Returns
    -------
    low, high : ndarray, shape (n,)
        All wanted wavelengths lie within the observed ones between these; none if low > high.
    """
    low = (1 + z_to) * min(band_nm) / min(wanted_nm) - 1
    high = (1 + z_to) * max(band_nm) / max(wanted_nm) - 1
    return low - _EDGE * (1 + z_to), high + _EDGE * (1 + z_to)


def _interpolated(mag: Floats, band_nm: Floats, at_nm: Floats) -> Floats:
    """Magnitudes on the straight lines between bands in the logarithm of wavelength; ``at_nm`` is (n, wanted)."""
    order = np.argsort(band_nm)
    x, y, at = np.log(band_nm[order]), mag[:, order], np.log(at_nm)
    outside = (at < x[0] - 2 * _EDGE) | (at > x[-1] + 2 * _EDGE)
    if outside.any():
        row, band = (int(v) for v in np.argwhere(outside)[0])
        raise ManifestError(
            f"a galaxy's light at {at_nm[row, band]:.0f} nm is needed, and its bands span {band_nm.min():.0f} to "
            f"{band_nm.max():.0f} nm: nothing is extrapolated. Add a band to the table, or keep redshifts apart less."
        )
    if len(x) == 1:
        return np.repeat(y, at.shape[1], axis=1)
    right = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    share = np.clip((at - x[right - 1]) / (x[right] - x[right - 1]), 0.0, 1.0)
    left, after = (np.take_along_axis(y, k, axis=1) for k in (right - 1, right))
    # Exact on a band: 0 and 1 times a magnitude.
    return np.asarray((1 - share) * left + share * after)
