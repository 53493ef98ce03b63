"""Hosts of stamps: from a table with one row per stamp, or from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import schema
from lensflow.errors import TargetError
from lensflow.targets import columns as cols
from lensflow.targets import values as val
from lensflow.targets.duplicates import repeated
from lensflow.targets.reader import Reader, as_dataset
from lensflow.targets.values import Missing


def read_stamp_hosts(
    path: str,
    n_stamps: int,
    bands: Sequence[str],
    columns: Mapping[str, str] | None = None,
    missing_values: Sequence[str | float] = (),
) -> xr.Dataset:
    """Read the table of a cube of stamps: one row per stamp, in the cube's order.

    Parameters
    ----------
    path : str
        As for :func:`read_targets`.
    n_stamps : int
        Rows that the table must have.
    bands, columns, missing_values
        As for :func:`read_targets`.

    Returns
    -------
    Dataset with dim ``host`` (and ``band``)
        host_id (``stamp-00000`` and so on where the table has none), ra_deg and dec_deg (NaN where it has none),
        brickname (empty where it has none), flux_nmgy, and those of ``schema.CATALOGUE`` that the table has.

    Raises
    ------
    TargetError
        As :func:`read_targets`; also for a wrong number of rows, and for a repeated id.
    """
    reader = Reader(tuple(bands), dict(columns or {}), Missing.of(missing_values), of_stamps=True)
    reader.read(path, "survey.stamps.hosts")
    if reader.n_read != n_stamps:
        raise TargetError(f"hosts table {path} has {reader.n_read} rows, the cubes have {n_stamps} stamps")
    values = reader.values()
    names = values["host_id"]
    if (names == b"").all():
        values["host_id"] = np.array([f"stamp-{i:05d}" for i in range(n_stamps)], dtype="S")
    elif (again := repeated(names)).size:
        shown = names[again[0]].decode("utf-8", "replace")
        raise TargetError(f"hosts table {path}: host_id {shown!r} stands there twice, in row {again[0]} again")
    return as_dataset(values, path, bands)


def hosts_of_arrays(
    n_stamps: int,
    n_bands: int,
    host_id: ArrayLike | None = None,
    ra_deg: ArrayLike | None = None,
    dec_deg: ArrayLike | None = None,
    z_lens: ArrayLike | None = None,
    sigma_v_km_s: ArrayLike | None = None,
) -> xr.Dataset:
    """Make the table of hosts of stamps from arrays; missing values are NaN, names are ``stamp-00000``, ...

    Raises
    ------
    TargetError
        If an array has not one value per stamp, a name is empty or repeated, or a position is invalid.
    """
    given = {"ra_deg": ra_deg, "dec_deg": dec_deg, "z_lens": z_lens, "sigma_v_km_s": sigma_v_km_s}
    arrays: dict[str, NDArray] = {"brickname": np.full(n_stamps, "", "U1")}
    for name, values in {"host_id": host_id, **given}.items():
        if values is None:
            continue
        array = values if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
        if array.shape != (n_stamps,):
            raise TargetError(f"{name} has shape {array.shape}; one value for each of the {n_stamps} stamps is needed")
        fail = partial(_array_error, name)
        if name == "host_id":
            text = val.as_text(array, Missing(), fail)
            if (text == b"").any() or repeated(text).size:
                row = int(np.argmax(text == b"")) if (text == b"").any() else int(repeated(text)[0])
                raise TargetError(f"host_id is {array[row]!r} in row {row}, which is no name or stands there twice")
            arrays[name] = cols.as_text(text, "import_stamps", name)
        else:
            arrays[name] = val.as_numbers(array, Missing(), fail)
    if "host_id" not in arrays:
        arrays["host_id"] = np.array([f"stamp-{i:05d}" for i in range(n_stamps)], dtype=str)
    nowhere = np.full(n_stamps, np.nan)
    ra, dec = arrays.setdefault("ra_deg", nowhere), arrays.setdefault("dec_deg", nowhere)
    on_sky = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90) | (np.isnan(ra) & np.isnan(dec))
    if not on_sky.all():
        row = int(np.argmin(on_sky))
        raise TargetError(
            f"({ra[row]}, {dec[row]}) in row {row} is no position: ra_deg in 0 to 360, dec_deg in -90 to 90"
        )
    for name in ("z_lens", "sigma_v_km_s"):
        arrays.setdefault(name, nowhere)
    arrays["flux_nmgy"] = np.full((n_stamps, n_bands), np.nan)
    return schema.dataset("targets", arrays)


def _array_error(name: str, row: int, what: str) -> TargetError:
    return TargetError(f"{name} holds {what}, in row {row}")
