"""Source of a host's PSF size in each band: a chain of fallbacks, pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.schema import PsfSource

# Effective wavelengths of the DECam filters in nm (Legacy Surveys), for the theoretical ratio only.
WAVELENGTH_NM = {"u": 385.0, "g": 477.0, "r": 637.0, "i": 774.0, "z": 916.0, "Y": 988.0}
REFERENCE_BAND = "r"
# Impossible PSF sizes: no image is sharper than half a pixel, and no survey keeps exposures of 5 arcsec.
MIN_PIXELS, MAX_ARCSEC = 0.5, 5.0
# ... nor does the PSF of a brick change by more than this factor over it.
MAX_FACTOR_OFF_MEDIAN = 2.0


def theory_band_ratio(band: str) -> float:
    """PSF size in ``band`` over that in r for Kolmogorov seeing, ``(lambda / lambda_r)^(-1/5)``: 1.06 for g.

    NaN for a band whose wavelength is not known: such a band has no r fallback. Real surveys choose their
    nights by band (g/r was 1.16 in a DR10 run), so a measured ratio is preferred wherever there is one.

    References
    ----------
    Fried 1966, JOSA 56, 1372 (seeing goes as lambda^(-1/5)).
    """
    wavelength = WAVELENGTH_NM.get(band, np.nan)
    return float((wavelength / WAVELENGTH_NM[REFERENCE_BAND]) ** -0.2)


def implausible(
    size_arcsec: ArrayLike, pixel_scale_arcsec: float, median_arcsec: ArrayLike = np.nan
) -> NDArray[np.bool_]:
    """PSF sizes that cannot be: below half a pixel, above 5 arcsec, or off the brick's median by more than a factor 2.

    Parameters
    ----------
    size_arcsec : array_like
        NaN and what is not positive are no sizes, and not judged.
    pixel_scale_arcsec : float
        NaN where unknown: no lower limit then.
    median_arcsec : array_like
        Of the brick, broadcast to the sizes; NaN where unknown.
    """
    size, median = np.asarray(size_arcsec, np.float64), np.asarray(median_arcsec, np.float64)
    known = np.isfinite(size) & (size > 0)
    with np.errstate(invalid="ignore"):
        odd = (size < MIN_PIXELS * pixel_scale_arcsec) | (size > MAX_ARCSEC)
        odd |= (size > MAX_FACTOR_OFF_MEDIAN * median) | (size * MAX_FACTOR_OFF_MEDIAN < median)
    return np.asarray(known & odd)


def choose_psfsize(
    map_value: ArrayLike,
    catalogue: ArrayLike,
    r_value: ArrayLike,
    covered: ArrayLike,
    ratio: ArrayLike,
    image_value: ArrayLike = np.nan,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Take the first usable PSF size of: PSF image if requested, map, catalogue or brick value, r scaled.

    A PSF image comes first because an arc is convolved with that very image.

    A value is usable if it is finite and > 0. Where the band is not covered nothing is: an arc in a band
    without an exposure would be a sign that no real lens shows, whatever a fallback offers.

    Parameters
    ----------
    map_value, catalogue, r_value : array_like
        PSF sizes in arcsec that broadcast to (host, band): from the survey's map at the target, from the
        target table or config, and the size already chosen for r; NaN or 0 where there is none.
    covered : array_like of bool
        The survey has an exposure of the target in the band.
    ratio : array_like
        Band over r, for the r fallback; NaN = no fallback.
    image_value : array_like
        Size from the coadd PSF image; NaN where none is used.

    Returns
    -------
    psfsize_arcsec : ndarray of float32
        NaN where there is none.
    psf_source : ndarray of uint8
        Codes of :class:`lensflow.schema.PsfSource`.
    """
    scaled = np.asarray(r_value, dtype=np.float64) * np.asarray(ratio, dtype=np.float64)
    candidates = (
        (PsfSource.FALLBACK_R, scaled),
        (PsfSource.MANIFEST, np.asarray(catalogue, dtype=np.float64)),
        (PsfSource.MAP, np.asarray(map_value, dtype=np.float64)),
        (PsfSource.COADD_PSF, np.asarray(image_value, dtype=np.float64)),
    )
    shape = np.broadcast_shapes(np.shape(covered), *(value.shape for _, value in candidates))
    size = np.full(shape, np.nan, dtype=np.float32)
    source = np.full(shape, PsfSource.NONE, dtype=np.uint8)
    for code, value in candidates:  # from the last resort to the first choice, each overwriting the one before
        usable = np.asarray(covered, dtype=bool) & np.isfinite(value) & (value > 0)
        size = np.where(usable, value, size).astype(np.float32)
        source = np.where(usable, code, source).astype(np.uint8)
    return size, source


def measured_band_ratio(psfsize_arcsec: ArrayLike, psf_source: ArrayLike, bands: Sequence[str]) -> dict[str, float]:
    """Median PSF size of each band over r, over the hosts whose sizes in both bands come from the map.

    Parameters
    ----------
    psfsize_arcsec, psf_source : array_like, shape (host, band)
    bands : sequence of str

    Returns
    -------
    dict
        Band to ratio, 1 for r. Bands without a single such host are left out (the theory stands in for
        them); empty where there is no r.
    """
    names = list(bands)
    if REFERENCE_BAND not in names:
        return {}
    size = np.asarray(psfsize_arcsec, dtype=np.float64)
    from_map = np.asarray(psf_source) == PsfSource.MAP
    r = names.index(REFERENCE_BAND)
    out = {}
    for b, band in enumerate(names):
        both = from_map[:, b] & from_map[:, r]
        if both.any():
            out[band] = float(np.median(size[both, b] / size[both, r]))
    return out
