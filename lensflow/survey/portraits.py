"""A portrait of each host: a few dozen numbers that identify the same galaxy among a million others.

Two parts, each the same however the stamp is turned by 90 degrees, mirrored, or moved by whole pixels:

- a *sketch*: of every square of 3 x 3 pixels a hash of its bits, blind to the square's orientation, of which the
  smallest few are kept (Broder 1997, min-hash). Stamps that share a part of their pixels share some of these, others
  none.
- *rings*: light, and strength of its first two angular moments, in rings about the brightest place, in units of the
  light within 6 pixels, from bands divided by their noise: blind to each band's calibration and level, and changed
  little by noise on top.

A portrait only proposes: :mod:`lensflow.survey.twins` compares pixels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from lensflow import geometry
from lensflow.stats.kept_rows import KeptRows
from lensflow.stats.medians import sky_of
from lensflow.survey.sketches import sketch_images

Images = NDArray[np.float32]
Hashes = NDArray[np.uint64]

# Hashes kept of each band.
SKETCH = 6
# Squares with this hash do not count: no data, or all of one value.
NOTHING = np.uint64(2**64 - 1)
RING_EDGES_PIX = (0.0, 1.5, 3.0, 4.5, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0)
_INNER_RINGS = 4  # within 6 pixels: the unit of light
# A maximum further out than this belongs to a neighbour.
_MOVED_PIX = 12
_AT_ONCE = 32


def portraits(host: NDArray[np.integer], image: Images, has_data: NDArray[np.bool_] | None = None) -> KeptRows:
    """Compute the portraits of a block of hosts.

    Parameters
    ----------
    host : ndarray of int, shape (h,)
        Their places among all hosts.
    image : ndarray of float32, shape (h, band, y, x)
        In whatever units; a pixel that is not finite has no data.
    has_data : ndarray of bool, shape (h, band, y, x), optional

    Returns
    -------
    KeptRows
        Hosts (host), each once and sorted: ``sketch`` (host, square), uint64, hashes of squares of each band,
        ``NOTHING`` where there are fewer; ``rings`` (host, moment), float32, NaN for a host without light; ``depth``
        (host), float32, light within 6 pixels over the noise of one pixel.
    """
    good = np.isfinite(image) if has_data is None else has_data & np.isfinite(image)
    image = np.where(good, image, np.float32(0)).astype(np.float32, copy=False)
    if not len(image):  # columns like those of a blank stamp
        blank = portraits(np.zeros(1, np.int64), np.zeros((1, *image.shape[1:]), np.float32))
        return replace(blank, rows=blank.rows.isel(host=[]))
    parts = [slice(k, k + _AT_ONCE) for k in range(0, len(image), _AT_ONCE)]
    sketch = np.concatenate([_sketch(image[p], good[p]) for p in parts])
    rings, depth = (np.concatenate(v) for v in zip(*(_rings(image[p], good[p]) for p in parts), strict=True))
    columns = {"sketch": (("host", "square"), sketch), "rings": (("host", "moment"), rings), "depth": ("host", depth)}
    rows = xr.Dataset(columns, coords={"host": np.asarray(host, np.int64)})
    return KeptRows(_each_once(rows), ("host",), _each_once)


def _each_once(rows: xr.Dataset) -> xr.Dataset:
    return rows.drop_duplicates("host").sortby("host")


def _sketch(image: Images, good: NDArray[np.bool_]) -> Hashes:
    """Sketch of each stamp (h, band, y, x)."""
    n, bands, size = image.shape[:3]
    bits = np.ascontiguousarray(image + np.float32(0)).view(np.uint32)  # -0 is 0
    sketch = np.empty((n * bands, SKETCH), np.uint64)
    flat = (n * bands, size, size)
    sketch_images(bits.reshape(flat), np.ascontiguousarray(good).reshape(flat), NOTHING, sketch)
    return sketch.reshape(n, bands * SKETCH)


def _rings(image: Images, good: NDArray[np.bool_]) -> tuple[Images, Images]:
    """Rings and depth of each stamp (h, band, y, x)."""
    stack = _centred(light_in_noise(image, good))
    weights = _moments(image.shape[-1])
    sums = (stack.reshape(len(image), -1) @ weights).reshape(len(image), -1, 5)
    unit = sums[:, :_INNER_RINGS, 0].sum(axis=1)
    unit = np.where(unit > 0, unit, np.float32(np.nan))
    strengths = [sums[..., 0], np.hypot(sums[..., 1], sums[..., 2]), np.hypot(sums[..., 3], sums[..., 4])]
    rings = np.concatenate(strengths, axis=1) / unit[:, None]
    return rings.astype(np.float32, copy=False), unit.astype(np.float32, copy=False)


def light_in_noise(image: Images, good: NDArray[np.bool_]) -> Images:
    """Sum over the bands of the light above the sky, in units of the noise: (h, band, y, x) to (h, y, x)."""
    n, bands, size = len(image), image.shape[1], image.shape[-1]
    flat = image.reshape(n, bands, -1)[..., _sky_pixels(size)]
    sky, sigma = sky_of(flat)
    there = (sigma > 0) & good.any(axis=(2, 3))
    scale = np.where(there, 1 / np.where(sigma > 0, sigma, 1), 0)
    scale = (scale / np.sqrt(np.maximum(there.sum(axis=1, keepdims=True), 1))).astype(np.float32)
    if good.all():
        total = (scale[:, None] @ image.reshape(n, bands, -1))[:, 0] - (scale * sky).sum(axis=1, keepdims=True)
        return total.reshape(n, size, size).astype(np.float32)
    above = (image - sky[..., None, None].astype(np.float32)) * good
    return (scale[:, None] @ above.reshape(n, bands, -1)).reshape(n, size, size).astype(np.float32)


def _centred(light: Images) -> Images:
    """Move the brightest place near the middle into the middle, by whole pixels."""
    size = light.shape[-1]
    smooth = ndimage.uniform_filter(light, (0, 3, 3), mode="constant")
    low, high = max(size // 2 - _MOVED_PIX, 0), min(size // 2 + _MOVED_PIX, size)
    near = smooth[:, low:high, low:high]
    at = near.reshape(len(near), -1).argmax(axis=1)
    out = np.zeros_like(light)
    for k, (dy, dx) in enumerate(zip(*np.divmod(at, max(high - low, 1)), strict=True)):
        y, x = size // 2 - low - int(dy), size // 2 - low - int(dx)
        out[k, max(y, 0) : size + min(y, 0), max(x, 0) : size + min(x, 0)] = light[
            k, max(-y, 0) : size - max(y, 0), max(-x, 0) : size - max(x, 0)
        ]
    return out


@lru_cache(maxsize=4)
def _sky_pixels(size: int) -> NDArray[np.int64]:
    """Every third pixel far from the middle: enough for a median."""
    return np.flatnonzero(geometry.sky_pixels(size))[::3]


@lru_cache(maxsize=4)
def _moments(size: int) -> Images:
    """Weights (pixel, ring * (1, cos, sin, cos 2, sin 2)) about the middle pixel."""
    y, x = np.mgrid[:size, :size] - size // 2
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    ring = (np.digitize(r, RING_EDGES_PIX) - 1).ravel()
    n = len(RING_EDGES_PIX) - 1
    out = np.zeros((size * size, n, 5), np.float32)
    waves = np.stack([np.ones_like(phi), np.cos(phi), np.sin(phi), np.cos(2 * phi), np.sin(2 * phi)], axis=-1)
    inside = np.flatnonzero(ring < n)
    out[inside, ring[inside]] = waves.reshape(-1, 5)[inside]
    return out.reshape(size * size, n * 5)
