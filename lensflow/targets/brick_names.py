"""Names of the Legacy Surveys' bricks from positions: rows of 0.25 deg in Dec, each divided evenly in RA."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BRICK_DEG = 0.25


def brick_names(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.bytes_]:
    """Name of the brick that contains each position, such as ``0229m135``.

    Rows of bricks are centred on multiples of 0.25 deg in Dec. A row has the smallest even number of equal bricks in RA
    that are at most 0.25 deg wide; the rows at the poles have one. A brick is named by its centre: RA and \\|Dec\\| in
    tenths of a degree, cut off.

    Parameters
    ----------
    ra_deg : ndarray, shape (n,)
        In [0, 360].
    dec_deg : ndarray, shape (n,)

    Returns
    -------
    ndarray of bytes, shape (n,)

    References
    ----------
    Dey et al. 2019, AJ 157, 168, section 4.1; the survey's own table is survey-bricks.fits.gz, and its code
    desiutil.brick.
    """
    n_rows = round(180 / BRICK_DEG) + 1
    row = np.clip(np.floor((dec_deg + 90 + BRICK_DEG / 2) / BRICK_DEG).astype(np.int64), 0, n_rows - 1)
    centre_dec = -90 + BRICK_DEG * row
    widest = np.deg2rad(np.abs(centre_dec) - BRICK_DEG / 2)
    n_columns = (2 * np.ceil(360 / BRICK_DEG * np.cos(widest) / 2)).astype(np.int64)
    n_columns = np.where((row == 0) | (row == n_rows - 1), 1, n_columns)
    column = np.minimum(np.floor(ra_deg % 360 / 360 * n_columns).astype(np.int64), n_columns - 1)
    # To 10^-4 deg first, so that a centre of 39.6 is not taken for 39.59999.
    centre_ra = np.rint(360 * (column + 0.5) / n_columns * 1e4).astype(np.int64)
    tenths_ra = np.char.zfill((centre_ra // 1000).astype(str), 4)
    tenths_dec = np.char.zfill((np.rint(np.abs(centre_dec) * 100).astype(np.int64) // 10).astype(str), 3)
    sign = np.where(centre_dec >= 0, "p", "m")
    return np.char.add(np.char.add(tenths_ra, sign), tenths_dec).astype("S8")


def names_of_positions(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.bytes_]:
    """Name of each object from its position, such as ``J022.939350-13.468768``: to 0.004", far finer than seeing.

    Two positions have one name only if they are the same object for :mod:`lensflow.targets.duplicates`.
    """
    return np.array([f"J{a:010.6f}{d:+010.6f}" for a, d in zip(ra_deg, dec_deg, strict=True)], dtype="S21")
