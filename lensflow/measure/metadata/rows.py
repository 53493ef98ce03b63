"""Rows for the metadata gate: distinct rows of some hosts with their counts, and sums over all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import GateError
from lensflow.measure.gate.features import distinct_controls
from lensflow.measure.gate.recipes import sky
from lensflow.measure.metadata.shares import Shares, bits_of
from lensflow.measure.pixels.balance import metadata_columns
from lensflow.stats.hostsums import column

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MetadataRows:
    """Metadata of injection and control rows: some rows, and sums over all.

    Attributes
    ----------
    rows : Dataset
        Over ``sample`` and ``column`` (:func:`rows_of`): ``value``, NaN where a row has none; ``host_index``,
        ``is_control``, ``split`` and ``count``: so many rows of the run are alike.
    shares : Shares
        Of all rows, of which these may be some.
    """

    rows: xr.Dataset
    shares: Shares

    @classmethod
    def of(cls, rows: xr.Dataset, kept: NDArray[np.int64] | None = None) -> MetadataRows:
        """Add up all rows, and keep those of some hosts, each distinct row once.

        Parameters
        ----------
        rows : Dataset
            From :func:`rows_of`.
        kept : ndarray of int64, optional
            Hosts; by default all.

        Returns
        -------
        MetadataRows
        """
        some = rows if kept is None else rows.isel(sample=np.isin(rows["host_index"].values, kept))
        return cls(collapsed(some), shares_of(rows))

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
        return cls.of(
            rows_of(
                (*columns, *(("sky_sigma_nmgy", str(b)) for b in pairs["band"].values)),
                np.concatenate([values, scatter], axis=1),
                host,
                column(pairs, "is_control"),
                column(pairs, "split"),
            ),
            kept,
        )

    def __add__(self, other: MetadataRows) -> MetadataRows:
        return self.concat([self, other])

    @staticmethod
    def concat(blocks: Iterable[MetadataRows]) -> MetadataRows:
        """Join blocks of the same columns; the order does not matter."""
        parts = list(blocks)
        if not parts or any(columns_of(p.rows) != columns_of(parts[0].rows) for p in parts):
            raise GateError("gates: no blocks of metadata to join, or of different columns")
        rows = xr.concat([p.rows for p in parts], "sample", data_vars="all", coords="minimal", join="exact")
        return MetadataRows(collapsed(rows), reduce(add, [p.shares for p in parts]))

    def with_hosts(self, host_index: NDArray[np.int64]) -> MetadataRows:
        """The same rows on other hosts, shape (n,)."""
        return replace(self, rows=collapsed(self.rows.assign(host_index=("sample", host_index))))

    def of_bands(self, bands: Sequence[str]) -> MetadataRows:
        """Only columns of these bands, and those without a band."""
        kept = np.isin(self.rows["of_band"].values, ["", *bands])
        return replace(self, rows=collapsed(self.rows.isel(column=kept)))

    @property
    def is_balanced(self) -> bool:
        """Whether both classes have exactly the same distribution of metadata, overall and in every split."""
        return self.shares.balanced(tuple(band for _, band in columns_of(self.rows) if band))


def rows_of(
    columns: Sequence[tuple[str, str]],
    values: ArrayLike,
    host_index: ArrayLike,
    is_control: ArrayLike,
    split: ArrayLike,
    count: ArrayLike | None = None,
) -> xr.Dataset:
    """Put rows into a Dataset.

    Parameters
    ----------
    columns : sequence of (name, band)
        The band is "" where there is none.
    values : array_like, shape (n, column)
    host_index, is_control, split : array_like, shape (n,)
    count : array_like, shape (n,), optional
        Rows that are alike; by default 1.

    Returns
    -------
    Dataset
        Over ``sample`` and ``column``, with the coordinates ``quantity`` and ``of_band`` of each column.
    """
    number = np.ones(np.shape(host_index), np.int64) if count is None else count
    return xr.Dataset(
        {
            "value": (("sample", "column"), np.asarray(values, np.float64)),
            "host_index": ("sample", np.asarray(host_index, np.int64)),
            "is_control": ("sample", np.asarray(is_control, bool)),
            "split": ("sample", np.asarray(split, np.int64)),
            "count": ("sample", np.asarray(number, np.int64)),
        },
        coords={
            "quantity": ("column", np.array([name for name, _ in columns], dtype=str)),
            "of_band": ("column", np.array([band for _, band in columns], dtype=str)),
        },
    )


def columns_of(rows: xr.Dataset) -> tuple[tuple[str, str], ...]:
    """Name and band of each column; the band is "" where there is none."""
    return tuple(zip(rows["quantity"].values.tolist(), rows["of_band"].values.tolist(), strict=True))


def names_of(rows: xr.Dataset) -> list[str]:
    """Names of the columns, with their bands."""
    return [f"{name}_{band}" if band else name for name, band in columns_of(rows)]


def shares_of(rows: xr.Dataset) -> Shares:
    """Sums over the rows."""
    values: list[Any] = [rows[n].values for n in ("value", "host_index", "is_control", "split", "count")]
    return Shares.of(columns_of(rows), *values)


def collapsed(rows: xr.Dataset) -> xr.Dataset:
    """The same rows, sorted by host, each kind of row once."""
    of_row = [rows[n].values for n in ("host_index", "split", "is_control")]
    keys = np.column_stack([*of_row, bits_of(rows["value"].values)])
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    count = np.bincount(place.ravel(), weights=rows["count"].values, minlength=len(first)).astype(np.int64)
    return rows.isel(sample=first).assign(count=("sample", count))


def one_by_one(rows: xr.Dataset) -> xr.Dataset:
    """Every row by itself."""
    count = rows["count"].values
    each = rows.isel(sample=np.repeat(np.arange(len(count)), count))
    return each.assign(count=("sample", np.ones(each.sizes["sample"], np.int64)))
