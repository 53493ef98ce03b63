"""Images of galaxies as they would be seen at another redshift: size and magnitude."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.manifest.k_correction import magnitudes_at, sizes_at
from lensflow.manifest.population import WAVELENGTH_NM, wavelengths_nm

Floats = NDArray[np.float64]

# An image's own magnitude is in i (F814W).
NATIVE_NM = WAVELENGTH_NM["i"]


def image_wavelengths_nm(bands: Sequence[str]) -> list[float]:
    """Effective wavelengths of the bands that an image's magnitude is moved in, nm; unknown bands are a ConfigError."""
    return wavelengths_nm(bands, "no wavelength for", "plan.sources.redshift with magnitude: native knows")


def moved_size(size_arcsec: Floats, z_image: Floats, src_z: Floats) -> Floats:
    """Half-light radius of each image as seen at the source's redshift, arcsec."""
    out = size_arcsec.copy()
    known = np.isfinite(z_image) & np.isfinite(src_z)
    out[known] = sizes_at(size_arcsec[known], z_image[known], src_z[known])
    return out


def moved_magnitude(i_mag: Floats, z_image: Floats, src_z: Floats, colours: Floats, bands: Sequence[str]) -> Floats:
    """Magnitude in i of each image as seen at the source's redshift.

    The plan's colours are the spectrum that it has there: the light seen in i at ``z_image`` is at i (1 + src_z) / (1 +
    z_image) from ``src_z``, and is brighter or fainter than i's by the colour between the two.

    Parameters
    ----------
    i_mag, z_image, src_z : ndarray, shape (n,)
        NaN redshifts: unchanged.
    colours : ndarray, shape (n, band)
        Magnitudes of the source's spectrum in the run's bands, to a constant.
    bands : sequence of str
    """
    out = i_mag.copy()
    known = np.isfinite(z_image) & np.isfinite(src_z)
    nm = image_wavelengths_nm(bands)
    spectrum = colours[known]
    # Seen from z_image, where i's magnitude is the image's own, the spectrum's constant follows.
    there = magnitudes_at(spectrum, nm, src_z[known], z_image[known], (NATIVE_NM,))[:, 0]
    here = magnitudes_at(spectrum, nm, src_z[known], src_z[known], (NATIVE_NM,))[:, 0]
    out[known] = i_mag[known] + here - there
    return out
