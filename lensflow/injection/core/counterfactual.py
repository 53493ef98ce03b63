"""Displaced or altered arcs: negatives with the same flux.

A classifier that distinguishes a stamp from its host plus such an arc sees the arc's shape or position; one that cannot
only sees that light was added. All use the added light (stamp - ctrl, including shot noise), so that the noise of the
two classes does not differ either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry, rng
from lensflow.errors import ConfigError
from lensflow.lensing import psf

Pixels = NDArray[np.floating]
MOVE_PIX = 16.0


def shuffle_arc(
    added: Pixels, x_center: ArrayLike, y_center: ArrayLike, row_id: NDArray[np.uint64], seed: int
) -> Pixels:
    """Shuffle the pixels of each 1-pixel ring about the target: the radial profile stays, the shape is lost.

    Parameters
    ----------
    added : ndarray, shape (n, band, y, x)
        stamp - ctrl, nMgy/pixel. All bands are shuffled alike: colours stay.
    x_center, y_center : array_like, shape (n,)
    row_id : ndarray of uint64, shape (n,)
        Keys of the permutations: a row's is the same in any batch.
    seed : int

    Returns
    -------
    ndarray, shape (n, band, y, x)
    """
    n, bands, size = added.shape[0], added.shape[1], added.shape[-1]
    rings = geometry.ring_index(size, x_center, y_center, 2 * size).reshape(n, -1)
    flat, out = added.reshape(n, bands, -1), np.empty_like(added).reshape(n, bands, -1)
    for k in range(n):
        key = rng.uniform(seed, row_id[k : k + 1], "injection.core.shuffle", size * size)[0]
        ordered = np.argsort(rings[k], kind="stable")
        shuffled = np.lexsort((key, rings[k]))
        out[k][:, ordered] = flat[k][:, shuffled]
    return out.reshape(added.shape)


def rotate_arc(added: Pixels, x_center: ArrayLike, y_center: ArrayLike) -> Pixels:
    """Rotate by 180 degrees about the target, pixel by pixel: nothing is interpolated, so noise and grain stay.

    The rotation is about the half pixel next to the target, at most 0.25 pix off on either axis; pixels that leave the
    stamp are lost, pixels without an origin are 0.

    Parameters
    ----------
    added : ndarray, shape (n, band, y, x)
    x_center, y_center : array_like, shape (n,)
    """
    size = added.shape[-1]
    turned = added[..., ::-1, ::-1]
    # Pixel p goes to round(2 c) - p, and the flip took it to size - 1 - p.
    dx, dy = (np.rint(2 * np.asarray(c, np.float64)).astype(np.int64) - (size - 1) for c in (x_center, y_center))
    return _shift(turned, dx, dy)


def move_arc(added: Pixels, row_id: NDArray[np.uint64], seed: int, distance_pix: float = MOVE_PIX) -> Pixels:
    """Shift by whole pixels in a direction drawn from the row's key; pixels that leave the stamp are lost.

    Parameters
    ----------
    added : ndarray, shape (n, band, y, x)
    row_id : ndarray of uint64, shape (n,)
    seed : int
    distance_pix : float
    """
    angle = 2 * np.pi * rng.uniform(seed, row_id, "injection.core.move")[:, 0]
    dx, dy = (np.rint(distance_pix * f(angle)).astype(np.int64) for f in (np.cos, np.sin))
    return _shift(added, dx, dy)


def add_core_blob(
    arc: Pixels,
    x_center: ArrayLike,
    y_center: ArrayLike,
    psf_fwhm_pix: NDArray[np.floating],
    model: str = "moffat",
    beta: float = 3.5,
) -> Pixels:
    """Point sources at the targets with the same light within r < 5 pix as the arcs.

    Parameters
    ----------
    arc : ndarray, shape (n, band, y, x)
        Noiseless arcs, nMgy/pixel.
    x_center, y_center : array_like, shape (n,)
    psf_fwhm_pix : ndarray, shape (n, band)
        NaN where a band is absent: no blob there.
    model, beta
        Of the PSF, as for :func:`lensflow.lensing.psf.profile`.

    Returns
    -------
    ndarray, shape (n, band, y, x)
        Unlensed, noiseless.
    """
    size = arc.shape[-1]
    r = geometry.radius_pix(size, x_center, y_center)
    core = r < geometry.CORE_RADIUS_PIX
    if not core.any(axis=(1, 2)).all():
        raise ConfigError("core blob: a target lies off its stamp")
    wanted = np.einsum("nbyx,nyx->nb", arc.astype(np.float64), core)
    known = np.isfinite(psf_fwhm_pix)
    blob = np.zeros(arc.shape)
    for b in range(arc.shape[1]):
        width = np.where(known[:, b], psf_fwhm_pix[:, b], 1.0)[:, None, None]
        blob[:, b] = psf.profile(r, width, model, beta)
    inside = np.einsum("nbyx,nyx->nb", blob, core)
    out: Pixels = blob * np.where(known, wanted / inside, 0.0)[..., None, None]
    return out


def _shift(images: Pixels, dx: NDArray[np.int64], dy: NDArray[np.int64]) -> Pixels:
    """Shift each image by whole pixels, filling with zeros."""
    size, out = images.shape[-1], np.zeros_like(images)
    for k, (x, y) in enumerate(zip(dx.tolist(), dy.tolist(), strict=True)):
        to_y, to_x = slice(max(y, 0), size + min(y, 0)), slice(max(x, 0), size + min(x, 0))
        from_y, from_x = slice(max(-y, 0), size + min(-y, 0)), slice(max(-x, 0), size + min(-x, 0))
        out[k][..., to_y, to_x] = images[k][..., from_y, from_x]
    return out
