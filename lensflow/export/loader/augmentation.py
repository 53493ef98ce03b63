"""Augmentation: quarter turns, flips, shifts by cropping, core masks; keyed by (seed, epoch, row), exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry, rng
from lensflow.config import CoreMaskConfig, LoaderConfig
from lensflow.errors import ConfigError
from lensflow.export.pixels.kernels import mask_cores

# Where the annulus begins and ends that fills a core, in stamp sides.
ANNULUS = (0.3125, 0.5)


@dataclass(frozen=True, eq=False)
class Moves:
    """How each sample of a batch is turned, flipped and cropped.

    Attributes
    ----------
    turn : ndarray of uint8, shape (n,)
        Quarter turns as ``numpy.rot90`` of (y, x).
    flip : ndarray of bool, shape (n,)
        Along x, after the turn.
    corner : ndarray of int64, shape (n, 2)
        First row and column of the crop, before both.
    size : int
        Side after the crop, pixels.
    """

    turn: NDArray[np.uint8]
    flip: NDArray[np.bool_]
    corner: NDArray[np.int64]
    size: int

    def targets(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where targets are after the moves, pixels: within half a pixel of the middle if they were, less the shift.

        Parameters
        ----------
        x, y : ndarray, shape (n,)
            Before.

        Returns
        -------
        x, y : ndarray of float64, shape (n,)
        """
        last = self.size - 1
        a, b = x.astype(np.float64) - self.corner[:, 1], y.astype(np.float64) - self.corner[:, 0]
        # rot90 takes the value at (y, x) = (u, last - v) to (v, u).
        for k in (1, 2, 3):
            again = self.turn >= k
            a, b = np.where(again, b, a), np.where(again, last - a, b)
        return np.where(self.flip, last - a, a), b


def moves(row_id: NDArray[np.uint64], size: int, settings: LoaderConfig, seed: int, epoch: int, on: bool) -> Moves:
    """Draw the moves of samples.

    Parameters
    ----------
    row_id : ndarray of uint64, shape (n,)
        Keys: a stamp and its control are moved alike.
    size : int
        Side of the images, pixels.
    settings : LoaderConfig
        ``augment``, ``max_shift_pix``.
    seed, epoch : int
    on : bool
        False: none, and the middle is cropped.

    Returns
    -------
    Moves

    Raises
    ------
    ConfigError
        If the crop leaves nothing.
    """
    reach, n = settings.max_shift_pix, len(row_id)
    left = size - 2 * reach
    if left < 2:
        raise ConfigError(f"training.max_shift_pix: {reach} leaves {left} of {size} pixels")
    turn, flip, corner = np.zeros(n, np.uint8), np.zeros(n, bool), np.full((n, 2), reach, np.int64)
    if on and (settings.augment or reach):
        u = rng.uniform(seed, row_id, "loader.augment", 4, lane=epoch)
        if settings.augment:
            turn, flip = (4 * u[:, 0]).astype(np.uint8), u[:, 1] < 0.5
        if reach:
            corner = np.floor(u[:, 2:] * (2 * reach + 1)).astype(np.int64)
    return Moves(turn, flip, corner, left)


def mask_probability(mask: CoreMaskConfig, epoch: int, epochs: int | None) -> float:
    """Share of samples that are masked in an epoch: from the first number to the second, linear over the epochs.

    Raises
    ------
    ConfigError
        If the numbers differ and the number of epochs is not known.
    """
    first, last = mask.probability
    if first == last or epochs == 1:
        return first
    if epochs is None:
        raise ConfigError(
            f"training.core_mask.probability goes from {first:g} to {last:g} over the epochs: say how many (epochs=50)"
        )
    return first + (last - first) * min(epoch / (epochs - 1), 1.0)


def put_core_masks(
    x: NDArray[np.float32],
    columns: dict[str, NDArray[Any]],
    lacks: NDArray[np.bool_],
    moved: Moves,
    mask: CoreMaskConfig,
    probability: float,
    seed: int,
    epoch: int,
    channels: int,
) -> NDArray[np.bool_]:
    """Mask the cores of some samples of a batch, in place; which ones and with what depends on the row alone.

    Parameters
    ----------
    x : ndarray of float32, shape (n, channel, y, x)
        After the moves; changed.
    columns : dict
        ``row_id``, ``x_center``, ``y_center`` (before the moves).
    lacks : ndarray of bool, shape (n,)
        Samples that lack data somewhere.
    moved : Moves
    mask : CoreMaskConfig
    probability : float
    seed, epoch : int
    channels : int
        Channels that are images.

    Returns
    -------
    ndarray of bool, shape (n,)
        The masked ones.

    Raises
    ------
    ConfigError
        If the annulus that the fill comes from reaches into the mask.
    """
    size = x.shape[-1]
    inner, outer = (f * size for f in ANNULUS)
    if mask.r1 + 1 > inner:
        raise ConfigError(
            f"training.core_mask: r1 {mask.r1:g} pix reaches the annulus of its fill, {inner:g} to {outer:g} pix of "
            f"{size}"
        )
    row_id = columns["row_id"]
    masked: NDArray[np.bool_] = rng.uniform(seed, row_id, "loader.core_mask", lane=epoch)[:, 0] < probability
    some = np.flatnonzero(masked)
    xc, yc = moved.targets(columns["x_center"], columns["y_center"])
    middle = geometry.centre(size)
    xc, yc = (np.where(np.isfinite(c), c, middle) for c in (xc, yc))
    pixels = int(np.ceil(np.pi * (mask.r1 + 1) ** 2)) + 8
    draws = rng.uniform(seed, row_id[some], "loader.core_fill", pixels, lane=epoch)
    mask_cores(x, some, lacks[some], xc[some], yc[some], (mask.r0, mask.r1), (inner, outer), draws, channels)
    return masked
