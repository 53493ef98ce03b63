"""Rows that are, bit for bit, what injection makes of host, arc and key: found in one pass over their pixels.

Only for pixels that were not rounded. A row that is not plainly so is none of these, whatever the reason: what is wrong
with it is for :mod:`lensflow.measure.pixels.recompute`, which makes it again as injection did.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection.inject import effective_gain, rows_of_hosts
from lensflow.jit import compiled
from lensflow.lensing.noise import PURPOSE, draw_normals, scale_normals, variance_per_nmgy
from lensflow.measure.pixels.origin import Origin
from lensflow.rng import key_words
from lensflow.stats.hostsums import column


def plainly_made(pairs: xr.Dataset, origin: Origin, bands: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which rows have exactly the required stamp and control in all bands.

    Parameters
    ----------
    pairs : Dataset
    origin : Origin
        With hosts.
    bands : tuple of str

    Returns
    -------
    ndarray of bool, shape (sample,)
        All False where pixels were rounded: their required values are a range.
    """
    hosts, store, n = origin.hosts, origin.store, pairs.sizes["sample"]
    known = "quantize_step_nmgy" in pairs
    if hosts is None or store.stamp_steps_per_sigma or store.arc_steps_per_sigma:
        return np.zeros(n, bool)
    rows = rows_of_hosts(hosts, column(pairs, "host_index").astype(np.int64))
    if origin.injection.noise:
        gain = effective_gain(hosts, list(bands), origin.injection, rows)[rows]
    else:
        gain = np.full((n, len(bands)), np.inf)
    # A step that the settings do not give is for somebody else to look at.
    made = (column(pairs, "quantize_step_nmgy") == 0).all(axis=1) if known else np.ones(n, bool)
    stamp, ctrl, arc = (np.ascontiguousarray(column(pairs, k), np.float32) for k in ("stamp", "ctrl", "arc"))
    image = np.ascontiguousarray(hosts.variables["image"].values, np.float32)
    keys, seed = column(pairs, "row_id").astype(np.uint64), int(pairs.attrs["seed"])
    per_nmgy, words = variance_per_nmgy(gain), key_words(seed, PURPOSE)
    as_made(stamp, ctrl, arc, image, rows, per_nmgy, np.isnan(gain), keys, *words, made)
    return made


@compiled()
def as_made(stamp, ctrl, arc, image, place, per_nmgy, dark, row_id, k0, k1, made):  # type: ignore[no-untyped-def]
    """Set ``made`` to False for rows with a pixel that is not what it must be.

    Parameters
    ----------
    stamp, ctrl, arc : float32, shape (n, band, size, size)
    image : float32, shape (host, band, size, size)
    place : int64, shape (n,)
        Of each row's host in ``image``.
    per_nmgy : float32, shape (n, band)
        Variance of the noise of 1 nMgy; 0 for none.
    dark : bool, shape (n, band)
        Bands without a gain, which must not have an arc.
    row_id, k0, k1 : uint64, shape (n,), and the seed's key words
    made : bool, shape (n,)
        Rows that are False are not looked at.
    """
    bands, pixels = arc.shape[1], arc.shape[2] * arc.shape[3]
    z = np.zeros((pixels + 3) // 4 * 4, np.float32)
    noise = np.zeros(pixels, np.float32)
    for i in range(len(made)):
        for b in range(bands):
            if not made[i]:
                continue
            host, light = image[place[i], b].reshape(pixels), arc[i, b].reshape(pixels)
            first, last = draw_normals(z, light, k0, k1, row_id[i], np.uint64(b))
            noise[:first] = np.float32(0.0)
            noise[last:] = np.float32(0.0)
            scale_normals(noise[first:last], light[first:last], z[first:last], per_nmgy[i, b])
            odd = _odd_pixels(stamp[i, b].reshape(pixels), ctrl[i, b].reshape(pixels), host, light, noise)
            made[i] = odd == 0 and (first == last or not dark[i, b])


@compiled()
def _odd_pixels(stamp, ctrl, host, arc, noise):  # type: ignore[no-untyped-def]
    """Pixels that are not ``float32(host + arc + noise)``, or whose control is not the host; NaN are such."""
    odd = 0
    for p in range(len(stamp)):
        made = np.float32(np.float64(host[p]) + np.float64(arc[p]) + np.float64(noise[p]))
        odd += 0 if (stamp[p] == made) & (ctrl[p] == host[p]) else 1
    return odd
