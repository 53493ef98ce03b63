"""Target tables: read in chunks, select, merge duplicates, refuse what cannot be used; every row is counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import BrickCutsConfig
from lensflow.errors import TargetError, did_you_mean
from lensflow.targets import columns as cols
from lensflow.targets import selection as sel
from lensflow.targets.columns import Columns
from lensflow.targets.duplicates import first_of_each, repeated
from lensflow.targets.files import Chunk, expand, open_table

_POSITION_LIMITS = {"ra_deg": (0.0, 360.0), "dec_deg": (-90.0, 90.0)}


def read_targets(
    path: str | Sequence[str],
    bands: Sequence[str] = ("g", "r", "z"),
    columns: Mapping[str, str] | None = None,
    selection: str | None = None,
    brick_cuts: BrickCutsConfig | None = None,
) -> xr.Dataset:
    """Read target tables.

    Files are read in chunks of rows and the selection is applied to each chunk, so memory holds one chunk and
    lensflow's columns of the rows that were taken.

    Parameters
    ----------
    path : str or sequence of str
        CSV, ECSV, FITS or parquet, target tables or sweep and tractor catalogues; any fsspec URL, globs too.
    bands : sequence of str
        Bands whose fluxes, PSF sizes and depths are looked for (``flux_{band}_nmgy`` or ``flux_{band}``, ...).
    columns : mapping, optional
        lensflow name -> column of the table, for tables that name things otherwise.
    selection : str, optional
        A key of :data:`lensflow.targets.selection.SELECTIONS`.
    brick_cuts : BrickCutsConfig, optional
        Cuts on extinction, seeing and depth.

    Returns
    -------
    Dataset with dim ``host`` (and ``band``)
        Variables of ``schema.TARGETS``; those of ``schema.CATALOGUE`` as far as a table has them. Hosts are in the
        order of files and rows. In the attrs, ``n_read`` = ``n_removed`` + ``n_duplicates`` + hosts; ``removed`` is
        reason -> rows (a row counts once, under the first cut that it fails).

    Raises
    ------
    TargetError
        If a table cannot be read, there are no rows, none is left, a column is missing, or a position is not one.
    """
    if selection is not None and selection not in sel.SELECTIONS:
        raise TargetError(f"selection {selection!r} is not known.{did_you_mean(selection, sel.SELECTIONS)}")
    paths = expand(path)
    reader = _Reader(tuple(bands), dict(columns or {}), selection, brick_cuts)
    for p in paths:
        reader.read(p)
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    if reader.n_read == 0:
        raise TargetError(f"{shown}: the target table is empty. Give a table with at least one host.")
    n_kept = reader.n_read - sum(reader.removed.values())
    if n_kept == 0:
        why = ", ".join(f"{k} {n:,}" for k, n in reader.removed.items() if n)
        raise TargetError(f"{shown}: none of {reader.n_read:,} rows is selected ({why}). Check survey.selection.")
    values = reader.values()
    keep = first_of_each(values["host_id"], values["brickname"], values["ra_deg"], values["dec_deg"])
    if not keep.all():
        values = {name: v[keep] for name, v in values.items()}
    _refuse_ambiguous_ids(shown, values["host_id"])
    for name, v in values.items():
        if v.dtype.kind == "S":
            values[name] = cols.as_text(v, shown, name)
    out = schema.dataset("targets", values, {"band": list(bands)})
    removed = {k: n for k, n in reader.removed.items() if n}
    out.attrs.update(
        source=shown,
        n_read=reader.n_read,
        n_removed=sum(removed.values()),
        removed=removed,
        n_duplicates=int((~keep).sum()),
    )
    return out


class _Reader:
    """Collects the columns of the rows that are taken, chunk by chunk, in compact types."""

    def __init__(
        self, bands: tuple[str, ...], mapping: dict[str, str], selection: str | None, cuts: BrickCutsConfig | None
    ):
        self.bands, self.mapping, self.selection, self.cuts = bands, mapping, selection, cuts
        with_cuts = dict.fromkeys((*bands, "r")) if cuts else bands
        wanted = [*cols.IDENTITY, *cols.OPTIONAL, *(c for b in with_cuts for c in cols.of_band(b))]
        known = {c.name for c in wanted}
        selected = sel.SELECTION_COLUMNS if selection else ()
        self.wanted = [*wanted, *(cols.Column(n, (n.removesuffix("_nmgy"),)) for n in selected if n not in known)]
        self.bricks = sel.BrickTable(cuts.table, cuts, bands) if cuts and cuts.table else None
        self.parts: dict[str, list[NDArray]] = {}
        self.n_kept: list[int] = []
        self.n_read = 0
        self.removed: dict[str, int] = {}

    def read(self, path: str) -> None:
        """Read one file."""
        with open_table(path) as table:
            columns = Columns(table, self.wanted, self.mapping)
            self._refuse_missing(columns)
            first_row = 0
            for chunk in table.read(*columns.file_columns()):
                n = len(next(iter(chunk.values())))
                if n:
                    self._take(_ChunkOfRows(columns, chunk, first_row, n))
                first_row += n
            self.n_read += first_row

    def _refuse_missing(self, columns: Columns) -> None:
        if self.selection:
            for name in sel.SELECTION_COLUMNS:
                if name not in columns:
                    raise columns.missing(name, name, f", which selection {self.selection} needs")
        if self.cuts and not self.bricks:
            for name in sel.brick_quantities(self.cuts):
                if name not in columns and not (name == "psfdepth_r_mag" and "psfdepth_r" in columns):
                    raise columns.missing(name, name, ", which survey.brick_cuts needs (or give it a bricks table)")

    def _take(self, rows: _ChunkOfRows) -> None:
        position = rows.position()
        brick = rows.required_text("brickname")
        at = self.bricks.rows(brick) if self.bricks else None
        numbers: dict[str, NDArray[np.float64]] = {}

        def number(name: str) -> NDArray[np.float64] | None:
            if name not in numbers:
                own = rows.number(name)
                if self.bricks and at is not None and name in self.bricks.values:
                    of_brick = self.bricks.look_up(name, at)
                    own = of_brick if own is None else np.where(np.isfinite(own), own, of_brick)
                if own is None:
                    return None
                numbers[name] = own
            return numbers[name]

        keep = np.ones(rows.n, dtype=bool)
        for reason, fails in self._cuts(rows, number, at):
            self.removed[reason] = self.removed.get(reason, 0) + int((keep & fails).sum())
            keep &= ~fails
        out: dict[str, NDArray] = {name: v[keep] for name, v in position.items()}
        out["brickname"] = brick[keep]
        out["host_id"] = rows.required_text("host_id", keep)
        out |= {c.name: rows.text(c.name, keep) for c in cols.OPTIONAL if c.is_text and c.name in rows.columns}
        for name in (c.name for c in cols.OPTIONAL if not c.is_text):
            if (values := number(name)) is not None:
                out[name] = _single(values[keep])
        per_band = {"flux_nmgy": "flux_{}_nmgy", "catalogue_psfsize_arcsec": "psfsize_{}_arcsec",
                    "psfdepth_mag": "psfdepth_{}_mag"}  # fmt: skip
        for name, pattern in per_band.items():
            found = [number(pattern.format(b)) for b in self.bands]
            if name == "flux_nmgy" or any(v is not None for v in found):
                out[name] = np.full((int(keep.sum()), len(self.bands)), np.nan, np.float32)
                for k, values in enumerate(found):
                    if values is not None:
                        out[name][:, k] = _single(values[keep])
        n_before = len(self.n_kept)
        self.n_kept.append(int(keep.sum()))
        for name in out.keys() | self.parts.keys():
            # A column that earlier or later files lack is without values there.
            self.parts.setdefault(name, [self._nothing(name, n) for n in self.n_kept[:n_before]])
            self.parts[name].append(out[name] if name in out else self._nothing(name, self.n_kept[-1]))

    def _cuts(self, rows: _ChunkOfRows, number: Any, at: NDArray[np.int64] | None) -> Iterable[Any]:
        if self.cuts:
            names = sel.brick_quantities(self.cuts)
            if self.bricks and at is not None:
                yield "brick not in the bricks table", at < 0
                values = {n: self.bricks.look_up(n, at) for n in names}
            else:
                values = {n: number(n) for n in names}
            yield from sel.brick_cuts(self.cuts, values)
        if self.selection:
            flux = {b: number(f"flux_{b}_nmgy") for b in sel.SELECTION_BANDS}
            yield from sel.selection_cuts(self.selection, rows.text("type"), flux)

    def _nothing(self, name: str, n: int) -> NDArray:
        v = schema.variable("targets", name)
        if v.dtype == "U":
            return np.zeros(n, "S1")
        return np.full((n, len(self.bands)) if "band" in v.dims else n, np.nan, np.float32)

    def values(self) -> dict[str, NDArray]:
        """Whole columns; the chunks are let go one column at a time."""
        return {name: np.concatenate(self.parts.pop(name)) for name in list(self.parts)}


class _ChunkOfRows:
    """Rows of one file, and errors that name the row in the file."""

    def __init__(self, columns: Columns, chunk: Chunk, first_row: int, n: int):
        self.columns, self.chunk, self.first_row, self.n = columns, chunk, first_row, n

    def number(self, name: str) -> NDArray[np.float64] | None:
        """Values of a number column; None where the file lacks it."""
        if name.startswith("psfdepth_") and name not in self.columns:
            return self._depth(name, name.removesuffix("_mag"))
        return self.columns.numbers(self.chunk, name) if name in self.columns else None

    def _depth(self, name: str, raw: str) -> NDArray[np.float64] | None:
        if raw not in self.columns:
            return None
        values = self.columns.numbers(self.chunk, raw)
        if raw not in self.columns.mapping and cols.looks_like_magnitudes(values):
            raise TargetError(
                f"{self.columns.table.path}: {raw} may be magnitudes or tractor's inverse variance (nMgy^-2). Say "
                f"which with survey.columns: {{{name}: {raw}}} for magnitudes, {{{raw}: {raw}}} for inverse variance."
            )
        return cols.depth_from_inverse_variance(values)

    def text(self, name: str, keep: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.bytes_]:
        """Return a text column."""
        return self.columns.texts(self.chunk, name, keep)

    def required_text(self, name: str, keep: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.bytes_]:
        """Return a text column that must have a value in every row."""
        out = self.text(name, keep)
        bad = out == b""
        if bad.any():
            row = self.first_row + int(np.arange(self.n)[keep][np.argmax(bad)])
            raise TargetError(
                f"{self.columns.table.path}: {name} ({'-'.join(self.columns.where[name])}) has no value in row {row} "
                f"and in {int(bad.sum()) - 1} other row(s). Fill or remove them."
            )
        return out

    def position(self) -> dict[str, NDArray[np.float64]]:
        """Positions in degrees; one that is not on the sky is an error."""
        out = {}
        for name, (low, high) in _POSITION_LIMITS.items():
            values = self.columns.numbers(self.chunk, name)
            bad = ~((values >= low) & (values <= high))
            if bad.any():
                row = int(np.argmax(bad))
                host = self.text("host_id")[row].decode("utf-8", "replace")
                raise TargetError(
                    f"{self.columns.table.path}: {name} is {values[row]} in row {self.first_row + row} (host {host}) "
                    f"and in {int(bad.sum()) - 1} other row(s); it must be in {(low, high)}. Correct or remove them."
                )
            out[name] = values
        return out


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values as they are stored. What no float32 can hold is no measurement: NaN, as any value that is missing."""
    return np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.nan).astype(np.float32)


def _refuse_ambiguous_ids(path: str, host_id: NDArray[np.bytes_]) -> None:
    again = repeated(host_id)
    if again.size:
        name = host_id[again[0]]
        shown, times = name.decode("utf-8", "replace"), int((host_id == name).sum())
        raise TargetError(
            f"{path}: host_id {shown!r} names {times} different positions. Ids must be unique over the whole table: "
            "map another column with survey.columns: {host_id: COLUMN}."
        )
