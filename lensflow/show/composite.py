"""Colours of an image: one stretch, fixed in nMgy, so that the same light has the same colour in every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import LensflowError

# The Legacy Surveys viewer's factors of g, r, i, z, with its softening and offset: who knows its colours knows these.
# The others continue them by wavelength. A galaxy of old stars is orange, an arc of young ones blue.
BAND_WEIGHTS = {"u": 12.0, "g": 6.0, "r": 3.4, "i": 3.0, "z": 2.2, "y": 2.0}
SOFTENING, OFFSET = 20.0, 0.03
# The viewer's factors are those of nMgy in a pixel of this size.
VIEWER_PIXEL_ARCSEC = 0.262
WAVELENGTHS = {b: k for k, b in enumerate("ugrizy")}


def composite_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands for blue, green and red, by wavelength: three of three or more, two (green is their mean), or one."""
    ordered = sorted(bands, key=lambda b: WAVELENGTHS.get(b, len(WAVELENGTHS)))
    if len(ordered) <= 3:
        return tuple(ordered)
    return ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]


def weights(bands: Sequence[str]) -> dict[str, float]:
    """Factor of each band in a composite."""
    return {b: BAND_WEIGHTS.get(b, BAND_WEIGHTS["r"]) for b in bands}


def composite(
    image: NDArray, bands: Sequence[str], absent: Sequence[str] = (), pixel_scale_arcsec: float = VIEWER_PIXEL_ARCSEC
) -> NDArray[np.uint8]:
    """Colour image of the available bands, in the Legacy Surveys viewer's stretch.

    The mean of the weighted bands is stretched by arcsinh and the bands keep their ratios, so that bright pixels keep
    their colour. Nothing of it depends on the image or the run: equal surface brightness has an equal colour.

    Parameters
    ----------
    image : ndarray, shape (band, y, x)
        nMgy/pixel; pixels that are not finite are shown as 0.
    bands, absent : sequence of str
        Names of the bands, and of those without data.
    pixel_scale_arcsec : float
        Size of a pixel, arcsec.

    Returns
    -------
    ndarray of uint8, shape (y, x, 3)
        Rows as in the image: the first is the lowest one of the sky.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133; ``sdss_rgb`` of legacypipe and the viewer at legacysurvey.org.
    """
    use = composite_bands([b for b in bands if b not in absent] or bands)
    factor = {b: w * (VIEWER_PIXEL_ARCSEC / pixel_scale_arcsec) ** 2 for b, w in weights(bands).items()}
    layers = [factor[b] * np.nan_to_num(np.asarray(image[list(bands).index(b)], dtype=np.float64)) for b in use]
    if len(layers) == 2:
        layers.insert(1, (layers[0] + layers[1]) / 2)
    blue, green, red = layers if len(layers) == 3 else layers * 3
    rgb = np.maximum(np.stack([red, green, blue], axis=-1) + OFFSET, 0.0)
    mean = rgb.mean(axis=-1, keepdims=True)
    stretched = np.arcsinh(SOFTENING * mean) / np.sqrt(SOFTENING)
    rgb *= stretched / np.where(mean > 0, mean, 1.0)
    return (255 * np.clip(rgb, 0.0, 1.0) + 0.5).astype(np.uint8)


def colour_note(bands: Sequence[str], absent: Sequence[str]) -> str:
    """Describe which band has which colour."""
    use = composite_bands([b for b in bands if b not in absent] or bands)
    if len(use) == 1:
        return f"{use[0]} in grey"
    return f"{use[-1]} red, {use[1] if len(use) == 3 else 'mean'} green, {use[0]} blue"


def rgb(
    image: xr.DataArray | ArrayLike,
    bands: Sequence[str] | None = None,
    pixel_scale_arcsec: float = VIEWER_PIXEL_ARCSEC,
) -> NDArray[np.uint8]:
    """Colours of a stamp, host or arc: those of the reports and of the Legacy Surveys viewer.

    One stretch, fixed in nMgy/arcsec^2: the same light has the same colours in every figure and every run.

    Parameters
    ----------
    image : DataArray or array_like, shape (band, y, x)
        nMgy/pixel, as ``pairs["stamp"].isel(sample=0)``. A band without any finite pixel is left out.
    bands : sequence of str, optional
        Names of the bands; by default those of the DataArray.
    pixel_scale_arcsec : float
        Size of a pixel, arcsec.

    Returns
    -------
    ndarray of uint8, shape (y, x, 3)
        For ``plt.imshow(..., origin="lower")``.

    Raises
    ------
    LensflowError
        If the bands' names are not known, or their number is not the image's; or without (band, y, x).
    """
    if bands is None:
        if not isinstance(image, xr.DataArray) or "band" not in image.coords:
            raise LensflowError("lf.rgb: name the bands, as bands=('g', 'r', 'z'): the image does not name them")
        bands = [str(b) for b in image["band"].values]
    if isinstance(image, xr.DataArray) and "band" in image.dims:
        image = image.transpose("band", ...)
    values = np.asarray(image)
    if values.ndim != 3 or len(values) != len(bands):
        raise LensflowError(
            f"lf.rgb: an image of shape {values.shape} for the bands {', '.join(bands)}; it takes one of (band, y, x)"
        )
    absent = [b for b, layer in zip(bands, values, strict=True) if not np.isfinite(layer).any()]
    return composite(values, bands, absent, pixel_scale_arcsec)
