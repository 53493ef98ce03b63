"""Exact signs of a class, without statistics: bits of the metadata, contradictory flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.stats.hostsums import Floats, column

# Flags that take a row out of the clean subset: all of the schema's but that of the subset itself and the marks.
FLAGS = tuple(v.name for v in schema.FLAGS if v.name != "is_clean" and v not in schema.MARKS)
_NONE = np.uint64(2**64 - 1)


@dataclass(frozen=True, eq=False)
class Marks:
    """Bits of every host's metadata by class, and rows whose flags contradict each other.

    Attributes
    ----------
    hosts : ndarray of int64, shape (h,)
    bits : ndarray of uint64, shape (h, 4)
        Smallest and largest hash of a row's metadata: of injections, then of controls. A class that the host lacks has
        its smallest above its largest.
    contradicted : int
        Rows called clean that carry a flag.
    """

    hosts: NDArray[np.int64]
    bits: NDArray[np.uint64]
    contradicted: int

    @classmethod
    def from_rows(cls, pairs: xr.Dataset, metadata: Floats) -> Marks:
        """Read the marks of a block whose rows have this metadata, (row, column)."""
        host, control = column(pairs, "host_index").astype(np.int64), column(pairs, "is_control").astype(bool)
        clean = np.where(np.isnan(metadata), np.nan, metadata + 0.0)  # one NaN, one zero
        words = np.ascontiguousarray(clean).view(np.uint64).reshape(metadata.shape)
        key = np.zeros(len(host), np.uint64)
        for k, word in enumerate(words.T):
            key = rng.mix_ids(key ^ word, np.uint64(k))
        key = np.minimum(key, _NONE - np.uint64(1))
        bits = np.empty((len(host), 4), np.uint64)
        for c in (False, True):
            own = control == c
            bits[:, 2 * c], bits[:, 2 * c + 1] = np.where(own, key, _NONE), np.where(own, key, np.uint64(0))
        flags = [column(pairs, f).astype(bool) for f in FLAGS if f in pairs]
        contradicted = 0
        if flags and "is_clean" in pairs:
            contradicted = int((column(pairs, "is_clean").astype(bool) & np.logical_or.reduce(flags)).sum())
        return cls(*_by_host(host, bits), contradicted)

    @classmethod
    def none(cls) -> Marks:
        """Of no rows."""
        return cls(np.empty(0, np.int64), np.empty((0, 4), np.uint64), 0)

    def __add__(self, other: Marks) -> Marks:
        hosts, bits = np.concatenate([self.hosts, other.hosts]), np.concatenate([self.bits, other.bits])
        return Marks(*_by_host(hosts, bits), self.contradicted + other.contradicted)

    @property
    def differing(self) -> NDArray[np.int64]:
        """Hosts with rows of both classes, identical within each, whose metadata differ in bits between the classes."""
        low, high = self.bits[:, 0::2], self.bits[:, 1::2]
        alike = (low == high).all(axis=1)
        return self.hosts[alike & (low[:, 0] != low[:, 1])]


def number_format(values: Floats) -> Floats:
    """Trailing zero bits of numbers: values that went through single precision have 29 and more. NaN for NaN and 0."""
    words = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    lowest = (words & -words).astype(np.uint64)
    zeros = np.log2(np.maximum(lowest, np.uint64(1)).astype(np.float64))
    return np.where(np.isfinite(values) & (values != 0), zeros, np.nan)


def absent_pixels(pairs: xr.Dataset) -> Floats:
    """Content of the pixels of bands without data, (row, band): 0 zeros, 1 NaN, 2 anything else; NaN elsewhere."""
    gone = ~np.isfinite(column(pairs, "psf_fwhm_arcsec"))
    out = np.full(gone.shape, np.nan)
    for row, band in np.argwhere(gone):
        stamp = column(pairs, "stamp")[row, band]
        out[row, band] = 0.0 if not stamp.any() else 1.0 if np.isnan(stamp).all() else 2.0
    return out


def _by_host(host: NDArray[np.int64], bits: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    if not host.size:
        return host, bits
    order = np.argsort(host, kind="stable")
    hosts, first = np.unique(host[order], return_index=True)
    ends = [(np.minimum if k % 2 == 0 else np.maximum).reduceat(bits[order, k], first) for k in range(bits.shape[1])]
    return hosts, np.stack(ends, axis=1)
