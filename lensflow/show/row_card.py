"""One row of the pairs for a reader: every truth value in a table, and its pixels as one picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.show.figures_images import side_by_side
from lensflow.show.numbers import MISSING, number, unit
from lensflow.show.table import Column, Table, words
from lensflow.stats import codec

# Said in the head of the table, or by the names of the bands.
_IN_THE_HEAD = ("host_id", "row_id", "sample", "band", "split", "host_index", "replicate", "is_control")
_PIXELS = ("ctrl", "arc", "stamp")


@dataclass(frozen=True, eq=False)
class _Pixels:
    """What a picture asks of a row."""

    ctrl: NDArray[np.float32]
    absent: tuple[str, ...]


def row_title(row: xr.Dataset) -> str:
    """Name of a row in words: host, number, split."""
    kind = "control" if bool(row["is_control"]) else "injection"
    split = (*schema.SPLITS, "guard")[int(row["split"])]
    return (
        f"Row {int(row['sample'])}, row_id {int(row['row_id'])}: {kind} {int(row['replicate'])} of host "
        f"{row['host_id'].item()}, split {split}"
    )


def row_table(row: xr.Dataset, full: bool = False) -> Table:
    """Every value of a row without pixels: one line a quantity, flags that are set in one.

    Parameters
    ----------
    row : Dataset
        As ``lf.open_run(RUN).row(ROW)`` gives it.
    full : bool
        With a column that says what each value is.

    Returns
    -------
    Table
    """
    columns = [words("quantity"), Column("value", words=True, wrap=True), Column("unit", words=True)]
    lines: list[tuple[str, ...]] = [line[:3] for line in _lines(row)]
    if full:
        columns.append(Column("what it is", words=True, wrap=True))
        lines = list(_lines(row))
    return Table(row_title(row), columns, lines)


def row_values(row: xr.Dataset) -> dict[str, Any]:
    """Every value of a row without pixels as plain JSON types; of bands by their names, NaN as None.

    Parameters
    ----------
    row : Dataset
        As ``lf.open_run(RUN).row(ROW)`` gives it.

    Returns
    -------
    dict
    """
    out: dict[str, Any] = {}
    for name in map(str, row.variables):
        of = row[name]
        if of.dims == ("band",) and name != "band":
            out[name] = codec.encode(dict(zip(row["band"].values.tolist(), of.values.tolist(), strict=True)), name)
        elif not of.ndim:
            out[name] = codec.encode(of.values[()], name)
    return out


def viewer_link(row: xr.Dataset, real: bool) -> str:
    """Address of the row's place in the viewer of the Legacy Surveys; empty for a synthetic survey or without a place.

    Parameters
    ----------
    row : Dataset
        With ``ra_deg`` and ``dec_deg``.
    real : bool
        Whether the survey is of the sky.
    """
    ra, dec = float(row["ra_deg"]), float(row["dec_deg"])
    if not real or not (np.isfinite(ra) and np.isfinite(dec)):
        return ""
    return f"https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"


def row_picture(row: xr.Dataset, pixel_scale_arcsec: float) -> bytes:
    """PNG of host, arc and stamp side by side in the reports' stretch, with a labelled scale bar in the first.

    Parameters
    ----------
    row : Dataset
        As ``lf.open_run(RUN).row(ROW)`` gives it.
    pixel_scale_arcsec : float

    Returns
    -------
    bytes
    """
    bands = row["band"].values.tolist()
    absent = tuple(b for b, fwhm in zip(bands, row["psf_fwhm_arcsec"].values, strict=True) if not np.isfinite(fwhm))
    of = _Pixels(row["ctrl"].values, absent)
    return side_by_side([row[n].values for n in _PIXELS], of, bands, pixel_scale_arcsec)


def _lines(row: xr.Dataset) -> Iterator[tuple[str, str, str, str]]:
    flags = []
    for name in map(str, row.variables):
        of = row[name]
        if name in _IN_THE_HEAD or of.ndim > 1 or (of.ndim == 1 and of.dims != ("band",)):
            continue
        if of.dtype.kind == "b" and not of.ndim:
            flags += [name] if bool(of) else []
            continue
        value = f"{float(of):.6f}" if of.attrs.get("units") == "deg" else _value(of)
        yield name, value, unit(of.attrs.get("units", "")), str(of.attrs.get("long_name", ""))
    yield (
        "flags that are set",
        ", ".join(flags) or "none",
        "",
        "quality flags and marks; is_clean: no quality flag",
    )


def _value(of: xr.DataArray) -> str:
    if of.dims == ("band",):
        return "  ".join(f"{b} {_one(v)}" for b, v in zip(of["band"].values, of.values, strict=True))
    return _one(of.values[()])


def _one(value: object) -> str:
    if isinstance(value, np.floating | float):
        return number(float(value))
    return str(value) or MISSING
