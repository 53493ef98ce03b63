"""Rows for the metadata gate: distinct rows of some hosts with their counts, and sums over all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import GateError
from lensflow.measure.gate.features import distinct_controls
from lensflow.measure.gate.recipes import sky
from lensflow.measure.metadata.shares import Shares, bits_of
from lensflow.measure.pixels.balance import metadata_columns
from lensflow.stats.hostsums import column

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MetadataRows:
    """Metadata of injection and control rows; identical rows of a host are stored once.

    Attributes
    ----------
    columns : tuple of (name, band)
        The band is "" where there is none.
    values : ndarray, shape (n, column)
        NaN where a row has no value.
    host_index, is_control, split, count : ndarray, shape (n,)
        ``count`` rows of the dataset are alike.
    shares : Shares, optional
        Of all rows of the dataset, where these are only some; by default of these.
    """

    columns: tuple[tuple[str, str], ...]
    values: Floats
    host_index: NDArray[np.int64]
    is_control: NDArray[np.bool_]
    split: NDArray[np.int64]
    count: NDArray[np.int64]
    shares: Shares | None = None

    @classmethod
    def from_block(cls, pairs: xr.Dataset, kept: NDArray[np.int64] | None = None) -> MetadataRows:
        """Rows of a block of pairs with manifest columns and ``ctrl``: their metadata, and the sky's scatter.

        Parameters
        ----------
        pairs : Dataset
        kept : ndarray, optional
            Hosts whose rows are kept; all rows are added up. By default all are kept.
        """
        columns, values = metadata_columns(pairs)
        host, ctrl = column(pairs, "host_index").astype(np.int64), column(pairs, "ctrl")
        first, place = distinct_controls(host, ctrl, np.arange(len(host)))
        scatter = np.where(np.isfinite(column(pairs, "psf_fwhm_arcsec")), sky(ctrl[first])[1][place], np.nan)
        return cls(
            (*columns, *(("sky_sigma_nmgy", str(b)) for b in pairs["band"].values)),
            np.concatenate([values, scatter], axis=1),
            host,
            column(pairs, "is_control").astype(bool),
            column(pairs, "split").astype(np.int64),
            np.ones(len(host), np.int64),
        ).of_hosts(kept)

    def of_hosts(self, kept: NDArray[np.int64] | None) -> MetadataRows:
        """Rows of some hosts, each distinct row once, with the sums over all rows."""
        some = self if kept is None else self.take(np.isin(self.host_index, kept))
        return replace(some, shares=self.over_all).collapsed()

    @property
    def over_all(self) -> Shares:
        """Sums over all rows of the dataset."""
        if self.shares is not None:
            return self.shares
        return Shares.of(self.columns, self.values, self.host_index, self.is_control, self.split, self.count)

    def __add__(self, other: MetadataRows) -> MetadataRows:
        return self.concat([self, other])

    @staticmethod
    def concat(blocks: Iterable[MetadataRows]) -> MetadataRows:
        """Join blocks of the same columns; the order does not matter."""
        parts = list(blocks)
        if not parts or any(p.columns != parts[0].columns for p in parts):
            raise GateError("gates: no blocks of metadata to join, or of different columns")
        names = ("values", "host_index", "is_control", "split", "count")
        joined: dict[str, Any] = {k: np.concatenate([getattr(p, k) for p in parts]) for k in names}
        rows = MetadataRows(parts[0].columns, **joined)
        return replace(rows, shares=reduce(add, [p.over_all for p in parts])).collapsed()

    def collapsed(self) -> MetadataRows:
        """The same rows, sorted by host, each kind of row once."""
        keys = np.column_stack([self.host_index, self.split, self.is_control, bits_of(self.values)])
        _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        count = np.bincount(place.ravel(), weights=self.count, minlength=len(first)).astype(np.int64)
        return replace(self.take(first), count=count, shares=self.shares)

    def take(self, rows: NDArray[Any]) -> MetadataRows:
        """Some of the rows, as a dataset of their own."""
        return MetadataRows(
            self.columns,
            self.values[rows],
            self.host_index[rows],
            self.is_control[rows],
            self.split[rows],
            self.count[rows],
        )

    def of_bands(self, bands: Sequence[str]) -> MetadataRows:
        """Only columns of these bands, and those without a band."""
        kept = [k for k, (_, band) in enumerate(self.columns) if band in ("", *bands)]
        return replace(self, columns=tuple(self.columns[k] for k in kept), values=self.values[:, kept]).collapsed()

    def one_by_one(self) -> MetadataRows:
        """Every row of the dataset by itself."""
        each = self.take(np.repeat(np.arange(len(self.count)), self.count))
        return replace(each, count=np.ones_like(each.count))

    @property
    def names(self) -> list[str]:
        """Names of the columns, with their bands."""
        return [f"{name}_{band}" if band else name for name, band in self.columns]

    @property
    def is_balanced(self) -> bool:
        """Whether both classes have exactly the same distribution of metadata, overall and in every split."""
        return self.over_all.balanced(tuple(band for _, band in self.columns if band))
