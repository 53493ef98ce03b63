"""Round stored pixels to steps far below the sky's noise, without bias, so that they compress.

A pixel v becomes ``floor(v / step + u) * step`` with a keyed uniform u: the mean over u is v itself, the error is
below one step and its variance step^2 f (1 - f) for a fractional part f, step^2 / 6 on average. Zeros and whole
multiples stay what they are.

Stamp and control of a row share their u, pixel by pixel. Each image by itself is rounded like the other, so that no
classifier can tell one from the other by its grid; and where no arc changes a pixel both stay equal bit for bit. The
arc has its own u, or its error would repeat the stamp's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import StoreConfig
from lensflow.injection.inject import median_where_positive, rows_of_hosts
from lensflow.jit import compiled
from lensflow.rng import key_words, philox4x32

STAMP, ARC = "rounding", "rounding.arc"
_TWO_ULPS = 2.0**-22  # of a float32, relative
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


def sky_sigma(invvar: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sky noise of a stamp: the median inverse variance of its pixels with data, to the power -1/2.

    Parameters
    ----------
    invvar : ndarray, shape (host, band, y, x)
        nMgy^-2; 0 where there is no data.

    Returns
    -------
    ndarray, shape (host, band)
        nMgy/pixel; NaN where there is no data.
    """
    return 1 / np.sqrt(median_where_positive(invvar, np.ones(invvar.shape[:2], bool)))


def rounding_step(sigma: NDArray[np.float64], steps_per_sigma: int, power_of_two: bool) -> NDArray[np.float32]:
    """Step for a sky sigma, nMgy: at most ``sigma / steps_per_sigma``; 0 (not rounded) without sigma or steps."""
    if not steps_per_sigma:
        return np.zeros(sigma.shape, np.float32)
    step = np.where(np.isfinite(sigma), sigma / steps_per_sigma, 0.0)
    if power_of_two:
        step = np.where(step > 0, 2.0 ** np.floor(np.log2(np.where(step > 0, step, 1.0))), 0.0)
    return step.astype(np.float32)


def round_pixels(
    values: NDArray[np.float32], step: NDArray[np.float32], row_id: NDArray[np.uint64], seed: int, purpose: str = STAMP
) -> NDArray[np.float32]:
    """Round pixels to steps, unbiased.

    Parameters
    ----------
    values : ndarray of float32, shape (sample, band, y, x)
        nMgy/pixel. Pixel number p (in C order) of band b takes word ``p % 4`` of Philox block ``p // 4`` of (row,
        purpose, lane b): the same bits for a row alone, in a batch, or on another worker.
    step : ndarray of float32, shape (sample, band)
        nMgy/pixel; bands with step 0 are returned unchanged.
    row_id : ndarray of uint64, shape (sample,)
    seed : int
        The run's seed.
    purpose : {STAMP, ARC}

    Returns
    -------
    ndarray of float32, shape (sample, band, y, x)
    """
    source = np.ascontiguousarray(values, dtype=np.float32)
    out = np.empty_like(source)
    flat = (*source.shape[:2], -1)
    rows = np.ascontiguousarray(row_id, dtype=np.uint64)
    steps = np.ascontiguousarray(np.broadcast_to(step, source.shape[:2]), dtype=np.float64)
    if source.size:
        _round(source.reshape(flat), steps, rows, *key_words(seed, purpose), out.reshape(flat))
    return out


@compiled()
def _words(out, blocks, k0, k1, row_id, lane):  # type: ignore[no-untyped-def]
    # Separate, without branches, so that it is vectorised.
    low, high = row_id & _LOW, row_id >> _32
    for j in range(blocks):
        a, b, c, d = philox4x32(low, high, np.uint64(j), lane, k0, k1)
        out[4 * j], out[4 * j + 1] = np.uint32(a), np.uint32(b)
        out[4 * j + 2], out[4 * j + 3] = np.uint32(c), np.uint32(d)


@compiled()
def _round(values, step, row_id, k0, k1, out):  # type: ignore[no-untyped-def]
    rows, bands, pixels = values.shape
    blocks = (pixels + 3) // 4
    word = np.empty(4 * blocks, np.uint32)
    for i in range(rows):
        for b in range(bands):
            s = step[i, b]
            if s == 0.0 or not values[i, b].any():
                out[i, b] = values[i, b]
                continue
            _words(word, blocks, k0, k1, row_id[i], np.uint64(b))
            per_step = 1.0 / s
            for p in range(pixels):
                u = (np.float64(word[p]) + 0.5) * (1.0 / 4294967296.0)
                out[i, b, p] = np.float32(np.floor(np.float64(values[i, b, p]) * per_step + u) * s)


def before_rounding(
    values: NDArray[np.float32], step: NDArray[np.float32], row_id: NDArray[np.uint64], seed: int, purpose: str = STAMP
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ends of the interval of pixels that :func:`round_pixels` maps to the given ones, wider by two float32 each way.

    The draw is known, so the interval is one step wide and its start is known. Bands with step 0 are returned
    unchanged.

    Parameters
    ----------
    values, step, row_id, seed, purpose
        As for :func:`round_pixels`; ``values`` are whole multiples of the step.

    Returns
    -------
    low, high : ndarray of float32, shape (sample, band, y, x)
    """
    source = np.ascontiguousarray(values, dtype=np.float32)
    low, high = np.empty_like(source), np.empty_like(source)
    flat = (*source.shape[:2], -1)
    rows = np.ascontiguousarray(row_id, dtype=np.uint64)
    steps = np.ascontiguousarray(np.broadcast_to(step, source.shape[:2]), dtype=np.float64)
    if source.size:
        _unround(source.reshape(flat), steps, rows, *key_words(seed, purpose), low.reshape(flat), high.reshape(flat))
    return low, high


@compiled()
def _unround(values, step, row_id, k0, k1, low, high):  # type: ignore[no-untyped-def]
    rows, bands, pixels = values.shape
    blocks = (pixels + 3) // 4
    word = np.empty(4 * blocks, np.uint32)
    for i in range(rows):
        for b in range(bands):
            s = step[i, b]
            if s == 0.0:
                low[i, b] = values[i, b]
                high[i, b] = values[i, b]
                continue
            _words(word, blocks, k0, k1, row_id[i], np.uint64(b))
            per_step = 1.0 / s
            for p in range(pixels):
                u = (np.float64(word[p]) + 0.5) * (1.0 / 4294967296.0)
                k = np.rint(np.float64(values[i, b, p]) * per_step) - u
                first, last = k * s, (k + 1.0) * s
                low[i, b, p] = np.float32(first - _TWO_ULPS * abs(first))
                high[i, b, p] = np.float32(last + _TWO_ULPS * abs(last))


def rounding_steps(
    invvar: NDArray[np.float32], rows: NDArray[np.int64], store: StoreConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Steps of stamp and control, and of the arc, shape (sample, band) each; 0 if not rounded.

    Parameters
    ----------
    invvar : ndarray, shape (host, band, y, x)
        nMgy^-2.
    rows : ndarray of int64, shape (sample,)
        Row of each sample's host.
    store : StoreConfig
    """
    used, of_sample = np.unique(rows, return_inverse=True)
    sigma = sky_sigma(invvar[used])[of_sample]
    power_of_two = store.quantize_step == "power_of_two"
    return (
        rounding_step(sigma, store.stamp_steps_per_sigma, power_of_two),
        rounding_step(sigma, store.arc_steps_per_sigma, power_of_two),
    )


def as_stored(
    block: xr.Dataset, hosts: xr.Dataset, manifest: xr.Dataset, store: StoreConfig, with_ctrl: bool = True
) -> xr.Dataset:
    """Prepare an injected block for the store: rounded according to the settings, with its controls if wanted."""
    rows = rows_of_hosts(hosts, manifest.variables["host_index"].values)
    if with_ctrl:
        block = block.assign(ctrl=(schema.CTRL.dims, hosts.variables["image"].values[rows], schema.CTRL.attrs))
    return round_block(block, hosts.variables["invvar"].values, rows, manifest, store)


def round_block(
    block: xr.Dataset,
    invvar: NDArray[np.float32],
    rows: NDArray[np.int64],
    manifest: xr.Dataset,
    store: StoreConfig,
) -> xr.Dataset:
    """Round a block's stamps, controls and arcs according to the settings, and store the steps.

    Parameters
    ----------
    block : Dataset
        ``stamp``, ``arc`` and, if wanted, ``ctrl`` (sample, band, y, x), nMgy/pixel.
    invvar : ndarray, shape (host, band, y, x)
        nMgy^-2.
    rows : ndarray of int64, shape (sample,)
        Row of each sample's host in ``invvar``.
    manifest : Dataset
        The samples' rows; attrs ``seed``.
    store : StoreConfig

    Returns
    -------
    Dataset
        With ``quantize_step_nmgy`` (sample, band), the step of stamp and control; 0 where they are not rounded.
    """
    n, m = store.stamp_steps_per_sigma, store.arc_steps_per_sigma
    step, changed = np.zeros((manifest.sizes["sample"], manifest.sizes["band"]), np.float32), {}
    if n or m:
        step, fine = rounding_steps(invvar, rows, store)
        keys, seed = manifest.variables["row_id"].values, int(manifest.attrs["seed"])
        plan = (("stamp", step, STAMP, n), ("ctrl", step, STAMP, n), ("arc", fine, ARC, m))
        for name, by, purpose, wanted in plan:
            if wanted and name in block:
                changed[name] = round_pixels(block[name].values, by, keys, seed, purpose)
    (v,) = schema.ROUNDING
    rounded = {k: (block[k].dims, a, block[k].attrs) for k, a in changed.items()}
    return block.assign({**rounded, v.name: (v.dims, step, v.attrs)})


def rounding_attrs(steps_per_sigma: int, kind: str, bands: Sequence[str]) -> dict[str, Any]:
    """State the rounding of an array and its error per band, for the array's attrs."""
    at_most = 1 / steps_per_sigma
    return {
        "quantize": f"sky/{steps_per_sigma}",
        "quantize_step": kind,
        "quantize_scheme": "floor(value / step + u) * step, u uniform in (0, 1) and keyed by row: unbiased; "
        "step <= sky sigma / N, sky sigma = median(invvar)^-1/2 of the host's stamp in the band",
        "quantize_error_max_in_sky_sigma": dict.fromkeys(bands, at_most),
        "quantize_error_rms_at_most_in_sky_sigma": dict.fromkeys(bands, round(at_most / 6**0.5, 8)),
        "quantize_error_mean": dict.fromkeys(bands, 0.0),
    }
