"""Target tables: read, map columns, merge duplicates, refuse what cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fsspec
import numpy as np
import xarray as xr
from astropy.table import Table
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import TargetError, did_you_mean

REQUIRED = ("host_id", "ra_deg", "dec_deg", "brickname")
OPTIONAL = ("sigma_v_km_s", "z_lens")
# Sweep and tractor catalogues, and what teams commonly write.
SYNONYMS = {
    "host_id": ("target_id", "targetid", "id", "objid"),
    "ra_deg": ("ra",),
    "dec_deg": ("dec",),
    "brickname": ("brick",),
}
# 0.1": far below any seeing, far above a catalogue's rounding.
SAME_POSITION_DEG = 0.1 / 3600


def read_targets(
    path: str, bands: Sequence[str] = ("g", "r", "z"), columns: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Read a target table.

    Parameters
    ----------
    path : str
        CSV, ECSV, FITS or parquet; any fsspec URL.
    bands : sequence of str
        Bands whose fluxes are looked for (``flux_{band}_nmgy`` or ``flux_{band}``).
    columns : mapping, optional
        lensflow name -> column of the table, for tables that name things otherwise.

    Returns
    -------
    Dataset with dim ``host`` (and ``band``): the variables of ``schema.TARGETS``. ``attrs["n_read"]`` and
    ``attrs["n_duplicates"]`` count the rows read and those merged into an earlier one.

    Raises
    ------
    TargetError
        If the table cannot be read, is empty, lacks a column, or a position is not a number.
    """
    table = _read(path)
    if len(table) == 0:
        raise TargetError(f"{path}: the target table is empty. Give a table with at least one host.")
    take = _Columns(path, table, dict(columns or {}))
    values = {name: take.required(name) for name in REQUIRED}
    position = {n: _numbers(path, n, values[n]) for n in ("ra_deg", "dec_deg")}
    for name, limit in (("ra_deg", (0.0, 360.0)), ("dec_deg", (-90.0, 90.0))):
        bad = ~((position[name] >= limit[0]) & (position[name] <= limit[1]))
        if bad.any():
            row = int(np.argmax(bad))
            raise TargetError(
                f"{path}: {name} is {position[name][row]} in row {row} (host {values['host_id'][row]!s}) and in "
                f"{int(bad.sum()) - 1} other row(s); it must be in {limit}. Correct or remove them."
            )
    flux = np.full((len(table), len(bands)), np.nan)
    for k, band in enumerate(bands):
        column = take(f"flux_{band}_nmgy", also=(f"flux_{band}",))
        if column is not None:
            flux[:, k] = _numbers(path, f"flux_{band}_nmgy", column)
    arrays = {
        "host_id": _text(values["host_id"]),
        "ra_deg": position["ra_deg"],
        "dec_deg": position["dec_deg"],
        "brickname": _text(values["brickname"]),
        "flux_nmgy": flux,
    }
    for name in OPTIONAL:
        column = take(name)
        arrays[name] = np.full(len(table), np.nan) if column is None else _numbers(path, name, column)
    take.refuse_unused()
    keep = _first_of_each(arrays["host_id"], arrays["brickname"], arrays["ra_deg"], arrays["dec_deg"])
    _refuse_ambiguous_ids(path, arrays["host_id"][keep])
    out = schema.dataset("targets", {k: v[keep] for k, v in arrays.items()}, {"band": list(bands)})
    out.attrs.update(source=str(path), n_read=len(table), n_duplicates=int((~keep).sum()))
    return out


def _read(path: str) -> Table:
    name = str(path).lower()
    try:
        with fsspec.open(path, "rb") as file:
            if name.endswith((".fits", ".fits.gz", ".fit", ".fits.fz")):
                return Table.read(file, format="fits")
            if name.endswith((".parquet", ".parq")):
                import pyarrow.parquet

                arrow = pyarrow.parquet.read_table(file)
                return Table({c: arrow[c].to_numpy() for c in arrow.column_names})
            if name.endswith(".ecsv"):
                return Table.read(file.read().decode(), format="ascii.ecsv")
            if name.endswith((".csv", ".txt")):
                return Table.read(file.read().decode(), format="ascii.csv")
    except FileNotFoundError as error:
        raise TargetError(f"{path}: no such target table. Check survey.targets.") from error
    except Exception as error:
        raise TargetError(f"{path}: cannot read the target table ({type(error).__name__}: {error}).") from error
    raise TargetError(f"{path}: unknown kind of target table; known endings: .csv, .ecsv, .fits, .parquet")


class _Columns:
    """Finds a column by the config's mapping, the lensflow name, or a synonym, whatever its case."""

    def __init__(self, path: str, table: Table, mapping: dict[str, str]):
        self.path, self.table, self.mapping = path, table, mapping
        self.by_name = {c.lower(): c for c in table.colnames}
        self.unused = set(mapping)

    def required(self, name: str) -> NDArray:
        """Return a column that must be there."""
        column = self(name)
        if column is None:
            raise self._missing(name, name)
        return column

    def __call__(self, name: str, also: Sequence[str] = ()) -> NDArray | None:
        """Return a column, or None where the table has none and the config names none."""
        self.unused.discard(name)
        options = (self.mapping[name],) if name in self.mapping else (name, *SYNONYMS.get(name, ()), *also)
        for option in options:
            if option.lower() in self.by_name:
                column = self.table[self.by_name[option.lower()]]
                if hasattr(column, "mask") and np.any(column.mask) and column.dtype.kind == "f":
                    return np.ma.filled(column, np.nan)
                if hasattr(column, "mask") and np.any(column.mask):
                    row = int(np.argmax(column.mask))
                    raise TargetError(f"{self.path}: {option} has no value in row {row}. Fill or remove the row.")
                return np.asarray(column)
        if name in self.mapping:
            raise self._missing(name, options[0])
        return None

    def _missing(self, name: str, wanted: str) -> TargetError:
        return TargetError(
            f"{self.path}: no column {wanted!r} for {name}.{did_you_mean(wanted, self.table.colnames)} "
            f"Columns: {', '.join(self.table.colnames)}. Map it with survey.columns: {{{name}: COLUMN}}."
        )

    def refuse_unused(self) -> None:
        if self.unused:
            name = sorted(self.unused)[0]
            known = [v.name for v in schema.TARGETS] + [f"flux_{b}_nmgy" for b in "griz"]
            raise TargetError(f"survey.columns.{name}: lensflow reads no such column.{did_you_mean(name, known)}")


def _text(values: NDArray) -> NDArray[np.str_]:
    if values.dtype.kind == "S":
        return np.char.strip(np.char.decode(values, "utf-8"))
    return np.char.strip(values.astype(str))


def _numbers(path: str, name: str, values: NDArray) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TargetError(f"{path}: {name} holds something that is not a number ({error}).") from error


def _first_of_each(
    host_id: NDArray, brick: NDArray, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """True for the first row of every (brick, host id) and of every sky position."""
    keep = np.ones(len(host_id), dtype=bool)
    seen_id: set[tuple[str, str]] = set()
    seen_cell: set[tuple[int, int]] = set()
    step = SAME_POSITION_DEG
    x = np.floor(ra_deg * np.cos(np.deg2rad(dec_deg)) / step).astype(np.int64)
    y = np.floor(dec_deg / step).astype(np.int64)
    for i in range(len(keep)):
        name, cell = (brick[i], host_id[i]), (int(x[i]), int(y[i]))
        near = {(cell[0] + dx, cell[1] + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
        if name in seen_id or not near.isdisjoint(seen_cell):
            keep[i] = False
        else:
            seen_id.add(name)
            seen_cell.add(cell)
    return keep


def _refuse_ambiguous_ids(path: str, host_id: NDArray) -> None:
    names, counts = np.unique(host_id, return_counts=True)
    if (counts > 1).any():
        name = names[np.argmax(counts)]
        raise TargetError(
            f"{path}: host_id {name!r} names {counts.max()} different positions. Ids must be unique over the whole "
            f"table: map another column with survey.columns: {{host_id: COLUMN}}."
        )
