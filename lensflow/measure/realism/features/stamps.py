"""Features of stamps in memory, and how many lack one for which reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from lensflow import geometry
from lensflow.errors import RealismError
from lensflow.measure.lens_light import Light, subtract
from lensflow.measure.lens_light.subtract import targets
from lensflow.measure.realism.features import kernel
from lensflow.measure.realism.features.names import FATAL, FEATURES, HIGH_K_PER_PIXEL, NAMES, NOTES, Note
from lensflow.units import median_and_sigma

# Stamps at a time: 25 MB of residuals in three bands of 64 x 64 pixels.
BATCH = 256
COLOURS = ("g", "z")
# Fewer have no scatter to speak of.
SKY_PIXELS = 16


def features(
    images: NDArray[np.floating],
    invvar: NDArray[np.floating],
    psfsize_arcsec: NDArray[np.floating],
    pixel_scale_arcsec: float,
    bands: Sequence[str],
    x_center: ArrayLike | None = None,
    y_center: ArrayLike | None = None,
    *,
    reference: str = "r",
    light: Light = "radial",
) -> xr.Dataset:
    """Measure the features of stamps, from nothing but their pixels, noise and PSF width.

    The lens's light is taken off each band (:func:`lensflow.measure.lens_light.subtract`); what is left is the
    residual. sigma is 1.4826 MAD of the reference band's residual at r >= 20 pixels. The arc zone is 0.5 psfsize <= r
    <= 4 arcsec about the target. The arc's pixels are those of the zone above 1.5 sigma that share edges with others in
    groups of 4 or more; all bands use those of the reference band. Definitions of the features:
    :data:`lensflow.measure.realism.features.FEATURES` and docs/realism-features.md.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel. A pixel without data is NaN, or has ``invvar`` 0.
    invvar : ndarray, shape (n, band, y, x)
        1/nMgy^2.
    psfsize_arcsec : ndarray, shape (n, band)
        FWHM; NaN (or 0) where the band is absent.
    pixel_scale_arcsec : float
    bands : sequence of str
    x_center, y_center : array_like, shape (n,), optional
        Targets, pixels; the stamp's middle where None or NaN.
    reference : str
        Band of the arc's pixels, and of all features but the colours.
    light : {"radial", "smooth"}
        Model of the lens's light.

    Returns
    -------
    Dataset, dim sample
        The features, NaN where one cannot be measured; ``note`` (bits of :class:`Note`) says why. ``mask_pixels``:
        number of the arc's pixels. A stamp without an arc has ``arc_snr`` and ``knots`` 0.

    Raises
    ------
    RealismError
        If shapes do not agree, or the scale is not above 0.
    GateError
        If a target is not on its stamp, or there is no such model of the light.
    """
    pixels, weights = np.asarray(images), np.asarray(invvar)
    psf = np.ascontiguousarray(psfsize_arcsec, dtype=np.float64)
    names = list(bands)
    if pixels.ndim != 4 or weights.shape != pixels.shape or psf.shape != pixels.shape[:2]:
        raise RealismError(
            f"features: images {pixels.shape} and invvar {weights.shape} must be (n, band, y, x), and psfsize_arcsec "
            f"{psf.shape} (n, band)"
        )
    if len(names) != pixels.shape[1] or len(set(names)) != len(names):
        raise RealismError(f"features: {pixels.shape[1]} bands of images, named {', '.join(names) or 'by nobody'}")
    if not (np.isfinite(pixel_scale_arcsec) and pixel_scale_arcsec > 0):
        raise RealismError(f"features: a pixel scale of {pixel_scale_arcsec} arcsec; it must be above 0")
    n, (height, width) = len(pixels), pixels.shape[-2:]
    if height != width:
        raise RealismError(f"features: stamps are square, not {height} x {width} pixels")
    x, y = (targets(v, n, width) for v in (x_center, y_center))
    out, note, count = np.full((n, len(NAMES)), np.nan), np.zeros(n, np.int64), np.zeros(n, np.int64)
    at = [names.index(b) if b in names else -1 for b in (reference, *COLOURS)]
    sky, scale = geometry.sky_pixels(width), float(pixel_scale_arcsec)
    for first in range(0, n, BATCH):
        some = slice(first, first + BATCH)
        ivar = np.ascontiguousarray(weights[some], dtype=np.float64)
        known = np.isfinite(pixels[some]) & np.isfinite(ivar) & (ivar > 0)
        residual = subtract(np.where(known, pixels[some], np.nan), light, x[some], y[some])
        masked = np.zeros((len(residual), height, width))
        sigma = _sky_sigma(residual, at[0], sky)
        if at[0] >= 0:  # what is left of a constant stamp is rounding
            bright = np.abs(np.where(known[:, at[0]], pixels[some][:, at[0]], 0)).max(axis=(1, 2))
            sigma = np.where(sigma > 1e-7 * bright, sigma, np.nan)
        kernel.measure_stamps(
            residual, ivar, psf[some] / scale, x[some], y[some], sigma, scale, *at,
            out[some], note[some], count[some], masked,
        )  # fmt: skip
        _high_k(masked, out[some], note[some])
    columns: dict[str, Any] = {
        f.name: ("sample", out[:, k], {"units": f.units, "long_name": f.meaning}) for k, f in enumerate(FEATURES)
    }
    columns["mask_pixels"] = ("sample", count.astype(np.int32), {"units": "pixel", "long_name": "the arc's pixels"})
    columns["note"] = ("sample", note.astype(np.uint16), _note_attrs())
    return xr.Dataset(columns, attrs={"reference": reference, "light": light})


def _sky_sigma(residual: NDArray[np.float64], band: int, sky: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Scaled MAD of one band's sky, shape (n,); NaN where fewer than ``SKY_PIXELS`` have data."""
    out = np.full(len(residual), np.nan)
    if band < 0:
        return out
    away = residual[:, band][:, sky]
    has = np.isfinite(away)
    whole = has.all(axis=1)
    if whole.any() and away.shape[1] >= SKY_PIXELS:
        out[whole] = median_and_sigma(away[whole])[1]
    for k in np.flatnonzero(~whole & (has.sum(axis=1) >= SKY_PIXELS)):
        out[k] = median_and_sigma(away[k, has[k]])[1]
    return out


def _high_k(masked: NDArray[np.float64], out: NDArray[np.float64], note: NDArray[np.int64]) -> None:
    """Fill the share of power above ``HIGH_K_PER_PIXEL``: the transform is the one thing that is not compiled here."""
    size = masked.shape[-1]
    power = np.abs(fft.rfft2(masked)) ** 2
    # The half plane stands for both, but for its columns 0 and, of an even size, the last.
    power[..., 1 : (size + 1) // 2] *= 2
    power = power.reshape(len(power), -1)
    k = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)).ravel()
    # Copied in order, so that a stamp's sum has the same bits beside any others.
    whole, fine = power.sum(axis=1), np.ascontiguousarray(power[:, k > HIGH_K_PER_PIXEL]).sum(axis=1)
    lit = whole > 0
    out[lit, kernel.HIGH_K] = fine[lit] / whole[lit]


def _note_attrs() -> dict[str, Any]:
    names = " ".join(n.name.lower() for n in Note if n.name)
    return {"units": "", "long_name": "why features lack", "flag_masks": [int(n) for n in Note], "flag_meanings": names}


def counts(found: xr.Dataset) -> xr.Dataset:
    """Count the stamps that lack each feature, by reason.

    Parameters
    ----------
    found : Dataset
        As :func:`features` gives, or rows of it.

    Returns
    -------
    Dataset, dims feature, note
        ``rows``: stamps whose feature is NaN and that have this note (a stamp may have several); ``lacking``
        (feature): stamps whose feature is NaN; ``measured`` (feature).

    Raises
    ------
    RealismError
        If a feature is NaN and no note says why.
    """
    note = found["note"].values.astype(np.int64)
    rows = np.zeros((len(FEATURES), len(Note)), np.int64)
    lacking = np.zeros(len(FEATURES), np.int64)
    for k, feature in enumerate(FEATURES):
        gone = np.isnan(found[feature.name].values)
        why = note & int(FATAL | feature.lacks)
        if (gone & (why == 0)).any():
            row = int(np.argmax(gone & (why == 0)))
            raise RealismError(f"row {row}: {feature.name} is NaN, and no note says why")
        lacking[k] = gone.sum()
        rows[k] = [(gone & ((why & int(n)) > 0)).sum() for n in Note]
    return xr.Dataset(
        {
            "rows": (("feature", "note"), rows, {"units": "1", "long_name": "stamps that lack the feature, by note"}),
            "lacking": ("feature", lacking, {"units": "1", "long_name": "stamps that lack the feature"}),
            "measured": ("feature", len(note) - lacking, {"units": "1", "long_name": "stamps that have it"}),
        },
        coords={
            "feature": list(NAMES),
            "note": [str(n.name).lower() for n in Note],
            "why": ("note", [NOTES[n] for n in Note]),
        },
    )
