"""Duplicate stamps: refused if they are exact copies, reported if they only correlate."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import CopiedStampsError, LensflowWarning
from lensflow.survey.portraits import Images, portraits
from lensflow.survey.twins import Positions, Twin, Twins, find_twins

_NAMED = 10
# Between the places of two stamps on the sky and their pixels: what centring to whole pixels and rounding take.
_OFF_PIX = 1.5


def refuse_copies(stamps: xr.Dataset, ra_deg: ArrayLike, dec_deg: ArrayLike, pixel_scale_arcsec: float) -> Twins:
    """Refuse stamps with the pixels of another one, before they are used.

    Parameters
    ----------
    stamps : Dataset
        With host_id, image and invvar, in the order in which they were given.
    ra_deg, dec_deg : array_like, shape (host,)
        NaN where unknown. Stamps that overlap and are moved as far as their positions say are no copies.
    pixel_scale_arcsec : float

    Returns
    -------
    Twins

    Raises
    ------
    CopiedStampsError
        If a galaxy stands there twice, bit by bit (also turned by 90 degrees, mirrored or moved by a few pixels); its
        ``rows`` are those to leave out.

    Warns
    -----
    LensflowWarning
        If stamps show one galaxy in other bits (with noise on top, in other units), or overlap although no position
        says so.
    """
    image, good = stamps["image"].values, stamps["invvar"].values > 0

    def read(hosts: NDArray[np.int64]) -> tuple[Images, NDArray[np.bool_]]:
        return image[hosts], good[hosts]

    positions = Positions(ra_deg, dec_deg, pixel_scale_arcsec)
    twins = find_twins(portraits(np.arange(len(image)), image, good).rows, read, image.shape[-1], positions)
    names = stamps["host_id"].values

    def say(found: list[Twin]) -> str:
        first = [f"row {t.b} ({names[t.b]!s}) and row {t.a} ({names[t.a]!s}): {t.describe()}" for t in found[:_NAMED]]
        return "; ".join(first) + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")

    copies = [t for t in twins.found if t.one_galaxy and t.exact and not _as_placed(t, positions)]
    if copies:
        rows = sorted({t.b for t in copies})
        raise CopiedStampsError(
            f"{len(rows)} of {len(image)} stamps are copies of others: {say(copies)}. A galaxy that is given twice can "
            f"be in two splits. Leave out rows {', '.join(map(str, rows[:_NAMED]))}"
            f"{f' and {len(rows) - _NAMED} more' if len(rows) > _NAMED else ''} (the error's rows has all of them).",
            np.array(rows),
        )
    if twins.found:
        warnings.warn(
            f"{len(twins.found)} pair(s) of stamps show the same pixels: {say(list(twins.found))}. If that is one "
            "galaxy, leave one of each out: it can be in two splits, which the check splits then refuses.",
            LensflowWarning,
            stacklevel=3,
        )
    return twins


def _as_placed(twin: Twin, positions: Positions) -> bool:
    """Whether stamps are shifted as their positions imply: two targets in one galaxy, which splits keep together."""
    moved = float(np.hypot(*twin.moved_pix))
    apart = float(positions.apart_pix(np.array([[twin.a, twin.b]]))[0])
    return not twin.turn and moved >= 1 and abs(apart - moved) < _OFF_PIX
