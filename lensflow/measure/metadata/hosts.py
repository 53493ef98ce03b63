"""Features of the host gate: unlensed pixels of hosts of injections, against those of control hosts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lensflow import geometry
from lensflow.config import GateConfig
from lensflow.measure.gate.machine import chosen_hosts
from lensflow.measure.gate.means import mean_weights
from lensflow.measure.gate.recipes import sky
from lensflow.measure.metadata.rows import MetadataRows, rows_of
from lensflow.measure.pixels.host_shapes import SHAPES, host_shapes
from lensflow.stats.hostsums import column

Floats = NDArray[np.float64]

RING_EDGES_PIX = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25)
BLOCK_PIX, BLOCKS_ACROSS = 4, 8


@dataclass(frozen=True, eq=False)
class Keep:
    """What is kept of the rows of both classes: those of the hosts that a gate fits; of all others, sums.

    Attributes
    ----------
    hosts : mapping of ndarray
        Kind of gate -> hosts whose rows are kept.
    """

    hosts: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, config: GateConfig, host_index: NDArray[np.int64], is_control: NDArray[np.bool_], seed: int) -> Keep:
        """Choose from the hosts and classes of all rows of the dataset, before any pixel is read.

        Parameters
        ----------
        config : GateConfig
            Its gates, and ``max_pairs`` rows of each at most.
        host_index, is_control : ndarray, shape (n,)
        seed : int
        """
        kept = {}
        for kind in config.unpaired_kinds:
            rows = host_index if kind == "metadata" else host_index[first_of_class(host_index, is_control)]
            kept[kind] = chosen_hosts(rows, config.max_pairs, seed)
        return cls(kept)


def first_of_class(host_index: NDArray[np.int64], is_control: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that are the first of their host and class."""
    out = np.zeros(len(host_index), bool)
    out[np.unique(2 * host_index + is_control, return_index=True)[1]] = True
    return out


def continued(host_index: NDArray[np.int64], is_control: NDArray[np.bool_], rows: int) -> NDArray[np.int64]:
    """Blocks of so many rows, and those of their hosts and classes that an earlier one has.

    Returns
    -------
    ndarray, shape (n, 2)
        Block, and twice the host, 1 more for controls; each pair once.
    """
    code = 2 * host_index + is_control
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    block = np.arange(len(code)) // rows
    later = np.flatnonzero(block != block[first[place]])
    return np.unique(np.stack([block[later], code[later]], axis=1), axis=0)


def unpaired_rows(pairs: xr.Dataset, config: GateConfig, keep: Keep | None = None) -> dict[str, MetadataRows]:
    """Rows of both classes for the gates of a config that do not compare a stamp with its own control, by kind."""
    made = {"metadata": MetadataRows.from_block, "host": host_rows}
    return {kind: made[kind](pairs, keep.hosts[kind] if keep else None) for kind in config.unpaired_kinds}


def host_rows(pairs: xr.Dataset, kept: NDArray[np.int64] | None = None) -> MetadataRows:
    """One row for each host and class of a block: profile, squares of 4 pixels, shape, size, colour, neighbours.

    Light is in asinh of sky sigma, so that no galaxy outweighs the others; squares are of the mean of the bands. A band
    without data is missing.

    Parameters
    ----------
    pairs : Dataset
        With ``first_of_class``, only rows where it is true count: a host may lie in several blocks.
    kept : ndarray, optional
        As :meth:`MetadataRows.from_block`.
    """
    host, control = column(pairs, "host_index").astype(np.int64), column(pairs, "is_control").astype(bool)
    first = np.flatnonzero(
        pairs["first_of_class"].values if "first_of_class" in pairs else first_of_class(host, control)
    )
    bands = [str(b) for b in pairs["band"].values]
    ctrl = column(pairs, "ctrl")[first]
    there = np.isfinite(column(pairs, "psf_fwhm_arcsec"))[first]
    names, values = _features(ctrl, bands)
    of_band = np.array([bands.index(b) if b else len(bands) for _, b in names])
    there = np.concatenate([there, there.any(axis=1, keepdims=True)], axis=1)
    values = np.where(there[:, of_band], values, np.nan)
    return MetadataRows.of(rows_of(names, values, host[first], control[first], column(pairs, "split")[first]), kept)


def _features(ctrl: NDArray[np.float32], bands: list[str]) -> tuple[tuple[tuple[str, str], ...], Floats]:
    n, size = len(ctrl), ctrl.shape[-1]
    median, sigma = sky(ctrl)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (ctrl - median[..., None, None]) / np.where(sigma > 0, sigma, np.nan)[..., None, None]
    scaled = scaled.reshape(n, len(bands), size * size)
    weights, n_rings = _means(size)
    with warnings.catch_warnings():  # a host without any data, which the gate's rows then lack
        warnings.simplefilter("ignore", RuntimeWarning)
        every = np.nan_to_num(np.nanmean(scaled, axis=1))
    means = np.asarray(np.nan_to_num(scaled).reshape(-1, size * size) @ weights, np.float64)
    rings = np.arcsinh(means.reshape(n, len(bands), weights.shape[1])[..., :n_rings])
    squares = np.arcsinh(np.asarray(every @ weights, np.float64)[:, n_rings:])
    shapes = host_shapes(ctrl)
    names: list[tuple[str, str]] = [(f"square_{k}", "") for k in range(squares.shape[1])]
    values: list[Floats] = [squares]
    for b, band in enumerate(bands):
        names += [(f"ring_{r}", band) for r in RING_EDGES_PIX[:n_rings]]
        names += [(name, band) for name in SHAPES]
        values += [rings[:, b], shapes[:, b]]
        if b:
            names.append(("colour", band))
            values.append((rings[:, b, :5].mean(axis=1) - rings[:, b - 1, :5].mean(axis=1))[:, None])
    return tuple(names), np.concatenate(values, axis=1)


@lru_cache(maxsize=4)
def _means(size: int) -> tuple[csr_array, int]:
    """Weights (pixel, feature): rings, then squares about the centre; and the number of rings."""
    middle = geometry.centre(size)
    y, x = np.mgrid[:size, :size] - middle
    r = np.hypot(x, y)
    edges = [e for e in RING_EDGES_PIX if e <= size / 2]
    ring = np.digitize(r, edges) - 1
    ring = np.where(r < edges[-1], ring, -1)
    half = BLOCK_PIX * BLOCKS_ACROSS / 2
    inside = (np.abs(x) < half) & (np.abs(y) < half)
    square = ((y + half) // BLOCK_PIX) * BLOCKS_ACROSS + (x + half) // BLOCK_PIX
    n_rings = len(edges) - 1
    labels = [np.asarray(v, np.int64).ravel() for v in (ring, np.where(inside, square, -1))]
    return mean_weights(labels, [n_rings, int(labels[1].max()) + 1]), n_rings
