"""Shape of the light of unlensed hosts, which would show a selection of hosts by appearance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.stats.medians import sky_of

Floats = NDArray[np.float64]

# Of each band: moments with a round Gaussian weight about the stamp's centre, and light of others.
SHAPES = ("e1", "e2", "ellipticity", "cos_2phi", "sin_2phi", "size_pix", "neighbours")
_WEIGHT_PIX, _NEAR_PIX, _SIGMA = 4.0, 10.0, 5.0


def host_shapes(ctrl: NDArray[np.float32]) -> Floats:
    """Ellipticity, orientation, size and neighbours of galaxies.

    Parameters
    ----------
    ctrl : ndarray of float32, shape (host, band, y, x)
        nMgy/pixel; 0 where there is no data.

    Returns
    -------
    ndarray, shape (host, band, len(SHAPES))
        ``e1``, ``e2``: (xx - yy) and 2 xy over (xx + yy) of the weighted second moments; ``ellipticity`` and the cosine
        and sine of twice the angle; ``size_pix``: root of the mean moment; ``neighbours``: share of pixels beyond 10
        pixels that are 5 sky sigma above the sky. NaN where there is no light.
    """
    n, bands, size = ctrl.shape[0], ctrl.shape[1], ctrl.shape[-1]
    weights, near = _weights(size)
    flat = ctrl.reshape(n, bands, size * size)
    sky, sigma = sky_of(flat.take(np.flatnonzero(geometry.sky_pixels(size).ravel()), axis=-1))
    light, xx, yy, xy = np.moveaxis(((flat - sky[..., None]).astype(np.float64) @ weights), -1, 0)
    bright = np.count_nonzero((flat > (sky + _SIGMA * sigma)[..., None]) & near, axis=-1) / np.count_nonzero(near)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = (light > 0) & (xx + yy > 0)
        e1, e2 = np.clip((xx - yy) / (xx + yy), -1, 1), np.clip(2 * xy / (xx + yy), -1, 1)
        e = np.hypot(e1, e2)
        out = np.stack([e1, e2, e, e1 / e, e2 / e, np.sqrt((xx + yy) / (2 * light)), bright], axis=-1)
    return np.where(known[..., None] & np.isfinite(out), out, np.nan)


@lru_cache(maxsize=4)
def _weights(size: int) -> tuple[Floats, NDArray[np.bool_]]:
    middle = geometry.centre(size)
    y, x = np.mgrid[:size, :size] - middle
    r = np.hypot(x, y)
    w = np.exp(-0.5 * (r / _WEIGHT_PIX) ** 2) * (r < 4 * _WEIGHT_PIX)
    weights = np.stack([w, w * x * x, w * y * y, w * x * y], axis=-1).reshape(-1, 4)
    return weights, (r >= _NEAR_PIX).ravel()
