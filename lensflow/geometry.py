"""The centre convention, and the pixel regions used everywhere else.

Array element ``[i, j]`` is the pixel whose centre lies at ``y = i``, ``x = j``. A stamp of n pixels has its
geometric centre at ``(n - 1) / 2``; a target lies within half a pixel of it, at (``x_center``, ``y_center``).
Lenses, discs and annuli are centred on the target's position; the gate's core box is whole pixels about the
geometric centre. No other module computes a centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ConfigError

CORE_RADIUS_PIX = 5.0
CORE_BOX_PIX = 10
ANNULUS_INNER_PIX = 20.0


def centre(size: int) -> float:
    """Geometric centre of a stamp of ``size`` pixels, in pixels: 31.5 for 64."""
    if size < 1:
        raise ConfigError(f"stamp size must be at least 1 pixel, not {size}")
    return (size - 1) / 2


def stamp_corner(position: ArrayLike, size: int) -> NDArray[np.int64]:
    """First pixel of the stamp with ``position`` nearest its geometric centre.

    Parameters
    ----------
    position : array_like
        Pixel coordinates of the targets in the parent image, along one axis.
    size : int
        Stamp size in pixels.

    Returns
    -------
    ndarray of int64
        ``floor(position - (size - 1)/2 + 1/2)``: halves always go up, so that neighbouring targets are
        treated alike (round-half-even would not).
    """
    return np.floor(np.asarray(position, dtype=np.float64) - centre(size) + 0.5).astype(np.int64)


def pixel_grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel-centre coordinates ``(x, y)`` of a stamp, each of shape ``(size, size)``."""
    axis = np.arange(size, dtype=np.float64)
    x, y = np.meshgrid(axis, axis)
    return x, y


def radius_pix(size: int, x_center: ArrayLike, y_center: ArrayLike) -> NDArray[np.float64]:
    """Distance of every pixel centre from the target.

    Parameters
    ----------
    size : int
        Stamp size in pixels.
    x_center, y_center : array_like, shape (n,) or scalar
        Target position in stamp pixels.

    Returns
    -------
    ndarray, shape (n, size, size) or (size, size)
    """
    x, y = pixel_grid(size)
    xc = np.asarray(x_center, dtype=np.float64)[..., None, None]
    yc = np.asarray(y_center, dtype=np.float64)[..., None, None]
    return np.hypot(x - xc, y - yc)


def disc(size: int, x_center: ArrayLike, y_center: ArrayLike, radius: float = CORE_RADIUS_PIX) -> NDArray[np.bool_]:
    """Pixels whose centres lie closer than ``radius`` pixels to the target."""
    return radius_pix(size, x_center, y_center) < radius


def annulus(
    size: int, x_center: ArrayLike, y_center: ArrayLike, inner: float, outer: float = np.inf
) -> NDArray[np.bool_]:
    """Pixels with ``inner <= r < outer`` (pixels) around the target."""
    r = radius_pix(size, x_center, y_center)
    return (r >= inner) & (r < outer)


def sky_pixels(size: int) -> NDArray[np.bool_]:
    """Pixels at r >= 20 from the stamp's centre; of a stamp that ends before, the corners. Shape (size, size)."""
    middle = centre(size)
    return annulus(size, middle, middle, min(ANNULUS_INNER_PIX, max(size / 2 - 2, 0.0)))


def core_box(size: int, width: int = CORE_BOX_PIX) -> tuple[slice, slice]:
    """Return ``(y, x)`` slices of the gate's core box: ``[27:37]`` on both axes for 64 pixels and width 10."""
    if not 0 < width <= size:
        raise ConfigError(f"a core box of {width} pixels does not fit a stamp of {size} pixels")
    first = int(stamp_corner(centre(size), width))
    return slice(first, first + width), slice(first, first + width)


def ring_index(size: int, x_center: ArrayLike, y_center: ArrayLike, n_rings: int) -> NDArray[np.int64]:
    """Ring number of every pixel: ring k holds ``k <= r < k + 1`` pixels; beyond the last it is ``n_rings``."""
    r = radius_pix(size, x_center, y_center)
    return np.minimum(r.astype(np.int64), n_rings)


def edge_frame(size: int, width: int) -> NDArray[np.bool_]:
    """Pixels within ``width`` pixels of the stamp's edge, shape (size, size)."""
    near = np.minimum(np.arange(size), np.arange(size)[::-1]) < width
    return near[:, None] | near[None, :]


def blocks(size: int, width: int) -> NDArray[np.int64]:
    """Number of the square of ``width`` pixels that contains each pixel, row by row from 0, shape (size, size).

    Squares at the upper ends are narrower where ``width`` does not divide ``size``.
    """
    along = np.arange(size) // width
    return along[:, None] * (along[-1] + 1) + along[None, :]


def sector_index(size: int, x_center: ArrayLike, y_center: ArrayLike, n_sectors: int) -> NDArray[np.int64]:
    """Sector number of every pixel, counter-clockwise from +x, 0 to ``n_sectors - 1``; shape as :func:`radius_pix`."""
    x, y = pixel_grid(size)
    xc = np.asarray(x_center, dtype=np.float64)[..., None, None]
    yc = np.asarray(y_center, dtype=np.float64)[..., None, None]
    angle = np.arctan2(y - yc, x - xc) % (2 * np.pi)
    return np.minimum((angle * n_sectors / (2 * np.pi)).astype(np.int64), n_sectors - 1)
