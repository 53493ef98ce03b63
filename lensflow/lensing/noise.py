"""Shot noise of the arc: gain, a keyed Gaussian draw, and the inverse variance that goes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import RenderError
from lensflow.jit import compiled
from lensflow.rng import fill_normal_f4, key_words
from lensflow.units import nmgy_of_mag

PURPOSE = "arc_noise"


def gain_from_invvar(
    invvar_median: ArrayLike, sky_mag_arcsec2: ArrayLike, pixel_scale_arcsec: float
) -> NDArray[np.float64]:
    """Effective gain of a sky-limited coadd.

    The variance of a blank pixel is its sky flux over the gain, so the gain is sky flux per pixel times invvar.

    Parameters
    ----------
    invvar_median : array_like
        Typical inverse variance of the stamp, nMgy^-2 (per pixel); 0 where there is no data.
    sky_mag_arcsec2 : array_like
        Sky brightness, AB mag/arcsec^2.
    pixel_scale_arcsec : float
        Pixel size, arcsec.

    Returns
    -------
    ndarray of float64
        Electrons per nMgy; 0 where there is no data.
    """
    sky_nmgy = nmgy_of_mag(np.asarray(sky_mag_arcsec2, dtype=np.float64)) * pixel_scale_arcsec**2
    return np.asarray(sky_nmgy * np.asarray(invvar_median, dtype=np.float64))


def gain_from_exposure(
    nexp: ArrayLike, exptime_s: ArrayLike, electrons_per_s_per_nmgy: ArrayLike
) -> NDArray[np.float64]:
    """Effective gain from the exposures: ``nexp`` x seconds x electrons per second and nMgy.

    Parameters
    ----------
    nexp : array_like
        Number of exposures.
    exptime_s : array_like
        Length of each, seconds.
    electrons_per_s_per_nmgy : array_like
        Electrons per second of a source of 1 nMgy.

    Returns
    -------
    ndarray of float64
        Electrons per nMgy, of the inputs' common shape.
    """
    nexp, seconds, rate = (np.asarray(v, dtype=np.float64) for v in (nexp, exptime_s, electrons_per_s_per_nmgy))
    return np.asarray(nexp * seconds * rate)


def arc_noise(arc: ArrayLike, gain: ArrayLike, row_id: ArrayLike, seed: int, lane0: int = 0) -> NDArray[np.float32]:
    """Draw the arc's shot noise.

    A Gaussian of variance ``max(arc, 0) / gain`` where the arc is not 0, and exactly 0 elsewhere. Pixel (y, x) of
    row r and band b takes single-precision normal number ``y * nx + x`` (``rng.normal_f4``) of (r, "arc_noise",
    lane ``lane0 + b``): the same bits for a row alone, in a batch, or on another worker.

    Parameters
    ----------
    arc : array_like, shape (n, band, y, x)
        Noiseless arc, nMgy/pixel.
    gain : array_like, broadcast to (n, band)
        Electrons per nMgy; infinite gives exactly 0.
    row_id : array_like of uint64, shape (n,)
        Keys of the rows.
    seed : int
        The run's seed.
    lane0 : int
        Lane of the first band.

    Returns
    -------
    ndarray of float32, shape (n, band, y, x)

    Raises
    ------
    RenderError
        If a band that holds an arc has a gain that is not positive; the message names the first such row and band.
    """
    values = np.ascontiguousarray(arc, dtype=np.float32)
    if values.ndim != 4:
        raise RenderError(f"arc must have the dimensions (sample, band, y, x), not the shape {values.shape}")
    rows = np.ascontiguousarray(row_id, dtype=np.uint64).ravel()
    if rows.size != values.shape[0]:
        raise RenderError(f"row_id has {rows.size} rows, the arc {values.shape[0]}")
    gains = np.ascontiguousarray(np.broadcast_to(np.asarray(gain, dtype=np.float64), values.shape[:2]))
    bad = ~(gains > 0) & (values != 0).any(axis=(2, 3))
    if bad.any():
        i, band = (int(v) for v in np.argwhere(bad)[0])
        raise RenderError(
            f"row {i} (row_id {rows[i]}), band {band}: gain must be positive where there is an arc, "
            f"not {gains[i, band]}"
        )
    out = np.zeros(values.shape, dtype=np.float32)
    flat = (values.shape[0], values.shape[1], -1)
    words = key_words(seed, PURPOSE)
    _draw(out.reshape(flat), values.reshape(flat), variance_per_nmgy(gains), rows, *words, np.uint64(lane0))
    return out


@compiled()
def draw_normals(z, light, k0, k1, row_id, lane):  # type: ignore[no-untyped-def]
    """Fill ``z``, a multiple of 4 in length, with the normals of a band's pixels from its first lit to its last.

    Returns the range of those pixels; ``z`` is left alone outside of it (up to the block of four).
    """
    first, last = 0, light.size
    while first < last and light[first] == 0:
        first += 1
    while last > first and light[last - 1] == 0:
        last -= 1
    start = first >> 2
    fill_normal_f4(z[4 * start :], ((last + 3) >> 2) - start, k0, k1, row_id, lane, start)
    return first, last


@compiled()
def scale_normals(out, light, z, per_nmgy):  # type: ignore[no-untyped-def]
    """Noise of variance ``light * per_nmgy`` from standard normals. No fused operations: the same bits anywhere."""
    for p in range(light.size):
        out[p] = np.sqrt(max(light[p], np.float32(0)) * per_nmgy) * z[p]


@compiled()
def _draw(out, arc, per_nmgy, row_id, k0, k1, lane0):  # type: ignore[no-untyped-def]
    rows, bands, pixels = arc.shape
    z = np.zeros((pixels + 3) // 4 * 4, np.float32)
    for i in range(rows):
        for b in range(bands):
            if per_nmgy[i, b] > 0:
                light = arc[i, b]
                first, last = draw_normals(z, light, k0, k1, row_id[i], lane0 + np.uint64(b))
                scale_normals(out[i, b, first:last], light[first:last], z[first:last], per_nmgy[i, b])


def variance_per_nmgy(gain: ArrayLike) -> NDArray[np.float32]:
    """Variance (nMgy^2) of the shot noise of 1 nMgy: 1/gain, 0 where the gain is infinite or there is none."""
    gains = np.asarray(gain, dtype=np.float64)
    return np.asarray(np.divide(1.0, gains, out=np.zeros(gains.shape), where=gains > 0), dtype=np.float32)


def updated_invvar(invvar: ArrayLike, arc: ArrayLike, gain: ArrayLike) -> NDArray[np.floating]:
    """Inverse variance with the arc's shot noise: ``1 / (1/invvar + arc/gain)``; 0 (no data) stays 0.

    Parameters
    ----------
    invvar : array_like, shape (..., y, x)
        nMgy^-2.
    arc : array_like, shape (..., y, x)
        nMgy/pixel; negative values add no variance.
    gain : array_like, shape (...) or scalar
        Electrons per nMgy; infinite returns ``invvar`` bit for bit.

    Returns
    -------
    ndarray
        Shape and dtype of ``invvar`` (float32 or float64).
    """
    ivar = np.asarray(invvar)
    ivar = ivar if ivar.dtype in (np.float32, np.float64) else ivar.astype(np.float64)
    gains = np.asarray(gain, dtype=np.float64)
    gains = gains[..., None, None] if gains.ndim else gains
    light = np.maximum(np.asarray(arc, dtype=np.float64), 0.0)
    # No arc adds no variance, whatever the gain (0/0 where a band has no data).
    extra = np.divide(light, gains, out=np.zeros(np.broadcast_shapes(light.shape, gains.shape)), where=light > 0)
    return np.asarray(ivar / (1.0 + ivar * extra)).astype(ivar.dtype)
