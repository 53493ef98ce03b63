"""Train / val / test by sky cell, balanced by hosts: a cell is never divided between splits."""

from __future__ import annotations

import numpy as np
from astropy import units
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike, NDArray

from lensflow import rng
from lensflow.config import SplitsConfig


def sky_cells(ra_deg: ArrayLike, dec_deg: ArrayLike, host_id: ArrayLike, nside: int) -> NDArray[np.int64]:
    """Sky cell of every host.

    Parameters
    ----------
    ra_deg, dec_deg : array_like, shape (n,)
        Positions; NaN where the host has none (stamps without WCS).
    host_id : array_like of str, shape (n,)
        Names; a host without a position is a cell of its own, numbered below zero by its name's hash.
    nside : int
        HEALPix resolution; nested order.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    ra = np.asarray(ra_deg, dtype=np.float64)
    dec = np.asarray(dec_deg, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    cells = -1 - (rng.hash_ids(host_id) >> np.uint64(2)).astype(np.int64)
    if known.any():
        healpix = HEALPix(nside=nside, order="nested")
        cells[known] = healpix.lonlat_to_healpix(ra[known] * units.deg, dec[known] * units.deg)
    return cells


def assign_splits(cells: ArrayLike, config: SplitsConfig, seed: int) -> NDArray[np.uint8]:
    """Split of every host: whole cells, dealt so that host counts match the fractions.

    Cells come in the order of a keyed hash and each goes to the split that is furthest below its share of
    hosts. A plain threshold on the hash gave 26/40/35 where 70/15/15 was asked for, because cells hold very
    different numbers of hosts.

    Returns
    -------
    ndarray of uint8, shape (n,): 0 train, 1 val, 2 test.
    """
    names, inverse, counts = np.unique(np.asarray(cells), return_inverse=True, return_counts=True)
    order = np.argsort(rng.uniform(seed, names.astype(np.uint64), "splits")[:, 0], kind="stable")
    wanted = np.asarray(config.fractions) * counts.sum()
    held = np.zeros(3)
    split_of_cell = np.empty(len(names), dtype=np.uint8)
    # Large cells first: the small ones then even out what the large ones left.
    for k in order[np.argsort(-counts[order], kind="stable")]:
        choice = int(np.argmax(wanted - held))
        split_of_cell[k] = choice
        held[choice] += counts[k]
    return split_of_cell[inverse]
