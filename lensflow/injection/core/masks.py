"""Masks of the core: weights of the pixels, and masking of batches for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry
from lensflow.errors import ConfigError, did_you_mean
from lensflow.injection.core.handling import WIDTH_PIX

METHODS = ("hard", "taper", "tanh")


def keep_weights(
    size: int,
    x_center: ArrayLike,
    y_center: ArrayLike,
    radius_pix: float,
    method: str = "hard",
    width_pix: float = WIDTH_PIX,
) -> NDArray[np.float32]:
    """Fraction of each pixel kept by a mask around the target.

    Parameters
    ----------
    size : int
        Stamp size in pixels.
    x_center, y_center : array_like, shape (n,) or scalar
        Target in stamp pixels: the mask is centred where the lens is, not on the stamp.
    radius_pix : float
        0 masks nothing, with any method.
    method : {"hard", "taper", "tanh"}
        ``hard``: 0 at r < radius, else 1. ``taper``: exactly 0 at r <= radius, a half cosine to exactly 1 at
        radius + width. ``tanh``: ``(1 + tanh((r - radius) / width)) / 2``: 1/2 at the radius and nowhere exactly 0.
    width_pix : float
        Of the transition.

    Returns
    -------
    ndarray of float32, shape (n, size, size) or (size, size)

    Raises
    ------
    ConfigError
        If the method is unknown, the radius negative, or the width not positive.
    """
    if method not in METHODS:
        raise ConfigError(f"core mask: no method {method!r}, only {', '.join(METHODS)}.{did_you_mean(method, METHODS)}")
    if not radius_pix >= 0 or not width_pix > 0:
        raise ConfigError(f"core mask: radius {radius_pix} pix must be >= 0 and width {width_pix} pix > 0")
    r = geometry.radius_pix(size, x_center, y_center)
    if radius_pix == 0:
        keep = np.ones_like(r)
    elif method == "hard":
        keep = np.where(r < radius_pix, 0.0, 1.0)
    elif method == "taper":
        keep = 0.5 - 0.5 * np.cos(np.pi * np.clip((r - radius_pix) / width_pix, 0, 1))
    else:
        keep = 0.5 + 0.5 * np.tanh((r - radius_pix) / width_pix)
    return keep.astype(np.float32)


def mask_arcs(arc: NDArray[np.float32], keep: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Mask the cores of arcs.

    Parameters
    ----------
    arc : ndarray of float32, shape (n, band, y, x)
    keep : ndarray of float32, shape (n, y, x)
        From :func:`keep_weights`, about each lens.

    Returns
    -------
    masked : ndarray of float32, shape (n, band, y, x)
    removed : ndarray, shape (n, band)
        Flux removed by the mask, nMgy.
    """
    masked = (keep[:, None] * arc).astype(arc.dtype)
    # Row by row in one order of summing: the same bits for any batch.
    removed = (arc.astype(np.float64) - masked).reshape(*arc.shape[:2], -1).sum(axis=-1)
    return masked, removed


def mask_batch(
    images: NDArray[Any],
    radius_pix: float,
    x_center: ArrayLike | None = None,
    y_center: ArrayLike | None = None,
    method: str = "hard",
    width_pix: float = WIDTH_PIX,
    fill: str = "zero",
) -> NDArray[Any]:
    """Mask the core of a batch of images, for training: the same for both classes, so that it carries no information.

    Parameters
    ----------
    images : ndarray, shape (..., y, x)
        Stamps and controls alike; of any number of leading axes (sample, band). Mask before or after normalisation, but
        before any operation on neighbourhoods.
    radius_pix : float
        Pixels; 0 returns the images as they are.
    x_center, y_center : array_like, optional
        Target in stamp pixels: scalars, or shape (n,) for images (n, ..., y, x). The stamp's middle without.
    method : {"hard", "taper", "tanh"}
        ``hard``: 0 at r < radius, else 1. ``taper``: exactly 0 at r <= radius, a half cosine to exactly 1 at
        radius + width. ``tanh``: ``(1 + tanh((r - radius) / width)) / 2``, nowhere exactly 0.
    width_pix : float
        Width of the transition, pixels.
    fill : {"zero", "sky"}
        What takes the core's place: 0, or the median of each image at r >= 20 pix. Never a median near the core:
        the arc's light there would tell the classes apart.

    Returns
    -------
    ndarray
        New, of the images' dtype.

    Raises
    ------
    ConfigError
        If the images are not square, or an argument is unknown.
    """
    if images.ndim < 2 or images.shape[-1] != images.shape[-2]:
        raise ConfigError(f"core mask: images must have shape (..., size, size), not {images.shape}")
    if fill not in ("zero", "sky"):
        raise ConfigError(f"core mask: fill is zero or sky, not {fill!r}")
    size = images.shape[-1]
    middle = geometry.centre(size)
    x, y = (middle if c is None else np.asarray(c, np.float64) for c in (x_center, y_center))
    keep = keep_weights(size, x, y, radius_pix, method, width_pix)
    if keep.ndim == 3:
        if images.ndim < 3 or len(keep) not in (1, len(images)):
            raise ConfigError(f"core mask: {len(keep)} centres for images of shape {images.shape}")
        keep = keep.reshape(len(keep), *[1] * (images.ndim - 3), size, size)
    level = _sky(images) if fill == "sky" else images.dtype.type(0)
    # Kept pixels keep their bits; masked ones are set to the level, even if NaN.
    return np.where(keep == 1, images, np.where(keep == 0, level, keep * images + (1 - keep) * level)).astype(
        images.dtype
    )


def _sky(images: NDArray[Any]) -> NDArray[Any]:
    size = images.shape[-1]
    middle = geometry.centre(size)
    away = geometry.annulus(size, middle, middle, geometry.ANNULUS_INNER_PIX)
    if not away.any():
        raise ConfigError(f"core mask: a stamp of {size} pixels has none at r >= {geometry.ANNULUS_INNER_PIX:g} pix")
    return np.asarray(np.median(images[..., away], axis=-1)[..., None, None])
