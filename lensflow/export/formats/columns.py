"""Columns of an exported sample beside its pixels: one table for every format, the card and Croissant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ExportError

POSITIVE = "positive"


@dataclass(frozen=True)
class Column:
    """A column of an export.

    Attributes
    ----------
    name : str
    arrow : pyarrow.DataType
    croissant : str
        Its type in Croissant.
    units : str
    meaning : str
    """

    name: str
    arrow: pa.DataType
    croissant: str
    units: str
    meaning: str


COLUMNS = (
    Column("key", pa.string(), "sc:Text", "", "position in the split's order, a permutation keyed by the seed"),
    Column("y", pa.int8(), "sc:Integer", "", "label: 1 with an arc, 0 without"),
    Column("weight", pa.float32(), "sc:Float", "", "weight of the sample in a loss"),
    Column("negative_kind", pa.string(), "sc:Text", "", "kind of negative; 'positive' for positives"),
    Column("sample_id", pa.uint64(), "sc:Integer", "", "unique, keyed, says nothing of the class"),
    Column("row_id", pa.uint64(), "sc:Integer", "", "row of the run's manifest: the positive, or whose control it is"),
    Column("pair_id", pa.int64(), "sc:Integer", "", "the same for a stamp and its control; below 0 for none"),
    Column("host_id", pa.string(), "sc:Text", "", "host galaxy"),
    Column("host_index", pa.int64(), "sc:Integer", "", "its place in the run's cutouts; below 0: an object of a table"),
    Column("ra_deg", pa.float64(), "sc:Float", "deg", "right ascension of the host, ICRS"),
    Column("dec_deg", pa.float64(), "sc:Float", "deg", "declination of the host, ICRS"),
    Column("psfsize_arcsec", pa.float32(), "sc:Float", "arcsec", "PSF size in the reference band"),
    Column("theta_e_arcsec", pa.float32(), "sc:Float", "arcsec", "Einstein radius of the row; truth, not a feature"),
    Column("snr", pa.float32(), "sc:Float", "", "snr_matched of the row, all bands together; truth, not a feature"),
    Column("x_center", pa.float32(), "sc:Float", "pixel", "target in the stamp, x; pixel centres are integers"),
    Column("y_center", pa.float32(), "sc:Float", "pixel", "target in the stamp, y"),
    Column("stratum", pa.int32(), "sc:Integer", "", "cell of theta_E x PSF size"),
    Column("host_mag", pa.float32(), "sc:Float", "mag", "AB magnitude of the host, reference band; NaN = none"),
    Column("bad_pixel_frac", pa.float32(), "sc:Float", "", "share of the stamp's pixels with a mask bit"),
    Column("is_clean", pa.bool_(), "sc:Boolean", "", "no quality flag of the row is set"),
)  # fmt: skip
# What a search has beside the image; all others say which sample it is, or the truth.
FEATURES = ("psfsize_arcsec", "ra_deg", "dec_deg", "host_mag", "bad_pixel_frac", "x_center", "y_center")
NEEDED = ("sample_id", "row_id", "y", "weight", "negative_kind", "host_id", "host_index", "pair_id")


def known_columns(samples: xr.Dataset) -> tuple[Column, ...]:
    """Columns that these samples have.

    Parameters
    ----------
    samples : Dataset

    Returns
    -------
    tuple of Column

    Raises
    ------
    ExportError
        If one that every export needs is missing.
    """
    missing = [n for n in NEEDED if n not in samples]
    if missing:
        raise ExportError(f"the view's samples lack {', '.join(missing)}")
    return tuple(c for c in COLUMNS if c.name == "key" or c.name in samples)


def values_of(samples: xr.Dataset, where: NDArray[np.int64], keys: list[str]) -> dict[str, Any]:
    """Columns of some samples, as written.

    Parameters
    ----------
    samples : Dataset
    where : ndarray of int64
        Positions.
    keys : list of str

    Returns
    -------
    dict
        Name -> values, in the order of :data:`COLUMNS`.

    Raises
    ------
    ExportError
        If a column does not fit its type exactly.
    """
    out: dict[str, Any] = {}
    for column in known_columns(samples):
        if column.name == "key":
            out["key"] = np.array(keys, dtype=object)
            continue
        values = samples[column.name].values[where]
        if column.name == "negative_kind":
            out[column.name] = _kinds(values)
        elif pa.types.is_string(column.arrow):
            out[column.name] = values.astype(str).astype(object)
        else:
            out[column.name] = _exactly(column, values)
    return out


def _kinds(values: NDArray) -> NDArray[np.object_]:
    names = np.array([*NEGATIVE_KINDS, POSITIVE], dtype=object)
    if ((values < -1) | (values >= len(NEGATIVE_KINDS))).any():
        raise ExportError(f"negative_kind {values.max()} is none of {', '.join(NEGATIVE_KINDS)}")
    return names[values]


def _exactly(column: Column, values: NDArray) -> NDArray:
    dtype = column.arrow.to_pandas_dtype()
    if np.dtype(dtype).kind in "iub" and values.dtype.kind == "f":
        raise ExportError(f"{column.name}: {values.dtype} values for a column of {column.arrow}")
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if np.dtype(dtype).kind in "iu" and (cast != values).any():
        raise ExportError(f"{column.name}: {values[cast != values][0]} does not fit {column.arrow}")
    return cast


def arrow_table(values: Mapping[str, Any], metadata: Mapping[str, str]) -> pa.Table:
    """Arrow table of columns (without pixels).

    Parameters
    ----------
    values : mapping
        As :func:`values_of` gives them.
    metadata : mapping of str
        Of the table.

    Returns
    -------
    pyarrow.Table
    """
    chosen = [c for c in COLUMNS if c.name in values]
    arrays = [pa.array(values[c.name], type=c.arrow) for c in chosen]
    return pa.Table.from_arrays(arrays, schema=pa.schema([field_of(c) for c in chosen], metadata=dict(metadata)))


def field_of(column: Column) -> pa.Field:
    """Arrow field of a column, with unit and meaning."""
    return pa.field(column.name, column.arrow, metadata={"units": column.units, "meaning": column.meaning})
