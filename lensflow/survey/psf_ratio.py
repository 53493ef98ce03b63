"""PSF size of each band relative to r, measured on the run's own bricks before cutting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.survey.bricks import UnreadableFile, open_brick
from lensflow.survey.layout import Layout


def sample_bricks(names: ArrayLike, n_bricks: int) -> list[str]:
    """``n_bricks`` of the different names, evenly spread over their sorted list (the sky); all if there are fewer."""
    every = np.unique(np.asarray(names).astype(str))
    if len(every) <= n_bricks:
        return every.tolist()
    return every[((np.arange(n_bricks) + 0.5) * len(every) / n_bricks).astype(int)].tolist()


def map_psfsizes(
    layout: Layout, brick: str, bands: Sequence[str], ra_deg: ArrayLike, dec_deg: ArrayLike
) -> NDArray[np.float64]:
    """PSF sizes from a brick's maps at sky positions, in arcsec; NaN where there is no map, or 0 in it.

    Returns
    -------
    ndarray, shape (position, band)

    Raises
    ------
    TransportError
        If the survey cannot be reached.
    """
    with open_brick(layout, brick, bands, ("psfsize",)) as opened:
        out = np.full((np.size(ra_deg), len(bands)), np.nan)
        if opened.wcs is None:
            return out
        x, y = opened.wcs.to_pixel(ra_deg, dec_deg)
        on_sky = np.hypot(x, y) < 1e7
        pixel = np.stack([np.floor(np.where(on_sky, v, -1e6) + 0.5) for v in (y, x)], axis=1).astype(np.int64)
        for b, band in enumerate(bands):
            try:
                found, errors = opened.windows("psfsize", band, pixel, 1, 0)
            except UnreadableFile:
                continue
            good = np.array([e is None for e in errors], dtype=bool) & (found[:, 0, 0] > 0)
            out[good, b] = found[good, 0, 0]
    return out
