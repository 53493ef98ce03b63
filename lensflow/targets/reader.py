"""Collect lensflow's columns of the selected rows from tables, chunk by chunk; errors name the row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import BrickCutsConfig
from lensflow.errors import TargetError
from lensflow.targets import columns as cols
from lensflow.targets import selection as sel
from lensflow.targets.brick_names import brick_names, names_of_positions
from lensflow.targets.columns import Columns, choose
from lensflow.targets.files import Chunk, TableFile, open_tables
from lensflow.targets.values import Missing

_POSITION_LIMITS = {"ra_deg": (0.0, 360.0), "dec_deg": (-90.0, 90.0)}


class Reader:
    """Collects the columns of the selected rows, chunk by chunk, in compact types."""

    def __init__(
        self,
        bands: tuple[str, ...],
        mapping: dict[str, str],
        missing: Missing,
        selection: str | None = None,
        cuts: BrickCutsConfig | None = None,
        *,
        of_stamps: bool = False,
    ):
        self.bands, self.mapping, self.selection, self.cuts = bands, mapping, selection, cuts
        self.missing, self.of_stamps = missing, of_stamps
        with_cuts = dict.fromkeys((*bands, "r")) if cuts else bands
        identity = [replace(c, required=False) for c in cols.IDENTITY] if of_stamps else cols.IDENTITY
        wanted = [*identity, *cols.OPTIONAL, *(c for b in with_cuts for c in cols.of_band(b))]
        known = {c.name for c in wanted}
        selected = sel.SELECTION_COLUMNS if selection else ()
        self.wanted = [
            *wanted,
            *(cols.Column(n, (n.removesuffix("_nmgy"),), unit="nMgy") for n in selected if n not in known),
        ]
        self.bricks = sel.BrickTable(cuts.table, cuts, bands) if cuts and cuts.table else None
        self.parts: dict[str, list[NDArray]] = {}
        self.n_kept: list[int] = []
        self.n_read = 0
        self.removed: dict[str, int] = {}
        self.notes: list[str] = []
        self.computed_bricks = False

    def read(self, path: str, setting: str = "survey.targets") -> None:
        """Read one file."""
        with open_tables(path, setting) as tables:
            self.take(tables)

    def take(self, tables: Iterable[TableFile]) -> None:
        """Read the first suitable table of a file, or of some in memory."""
        columns = choose(tables, self.wanted, self.mapping, self.missing)
        self._refuse_missing(columns)
        self._note(columns)
        first_row = 0
        for chunk in columns.table.read(columns.file_columns):
            n = len(next(iter(chunk.values())))
            if n:
                self._take(_ChunkOfRows(columns, chunk, first_row, n))
            first_row += n
        if self.of_stamps and not columns.where:
            raise TargetError(
                f"{columns.table.path}: none of its columns ({', '.join(columns.table.names)}) is one that lensflow "
                "reads. Map them with survey.columns: {host_id: COLUMN, ra_deg: COLUMN, ...}."
            )
        self.n_read += first_row

    def _note(self, columns: Columns) -> None:
        path = columns.table.path
        if not self.of_stamps and "host_id" not in columns:
            self.notes.append(
                f"{path}: no column of ids, so hosts are named by their positions (J022.939350-13.468768). If it has "
                "one, map it with survey.columns: {host_id: COLUMN}."
            )
        if not self.of_stamps and "brickname" not in columns:
            self.computed_bricks = True
            self.notes.append(
                f"{path}: no column of bricks, so their names are computed from the positions, for the Legacy Surveys' "
                "bricks of 0.25 deg. For other surveys map a column with survey.columns: {brickname: COLUMN}."
            )

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
        position = rows.position(required=not self.of_stamps)
        brick = self._brick(rows, position)
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
        if "host_id" in rows.columns:
            out["host_id"] = rows.required_text("host_id", keep)
        else:
            of_none = np.zeros(int(keep.sum()), "S1")
            out["host_id"] = of_none if self.of_stamps else names_of_positions(out["ra_deg"], out["dec_deg"])
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
            # A column missing from some files has no values there.
            self.parts.setdefault(name, [self._nothing(name, n) for n in self.n_kept[:n_before]])
            self.parts[name].append(out[name] if name in out else self._nothing(name, self.n_kept[-1]))

    def _brick(self, rows: _ChunkOfRows, position: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bytes_]:
        if "brickname" in rows.columns:
            return rows.text("brickname") if self.of_stamps else rows.required_text("brickname")
        if self.of_stamps:
            return np.zeros(rows.n, "S1")
        return brick_names(position["ra_deg"], position["dec_deg"])

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
        """Whole columns; the chunks are released one column at a time."""
        return {name: np.concatenate(self.parts.pop(name)) for name in list(self.parts)}


class _ChunkOfRows:
    """Rows of one file, and errors that name the row in the file."""

    def __init__(self, columns: Columns, chunk: Chunk, first_row: int, n: int):
        self.columns, self.chunk, self.first_row, self.n = columns, chunk, first_row, n

    def number(self, name: str) -> NDArray[np.float64] | None:
        """Values of a number column; None if the file lacks it."""
        if name.startswith("psfdepth_") and name not in self.columns:
            return self._depth(name, name.removesuffix("_mag"))
        return self.columns.numbers(self.chunk, name, self.first_row) if name in self.columns else None

    def _depth(self, name: str, raw: str) -> NDArray[np.float64] | None:
        if raw not in self.columns:
            return None
        values = self.columns.numbers(self.chunk, raw, self.first_row)
        if raw not in self.columns.mapping and cols.looks_like_magnitudes(values):
            raise TargetError(
                f"{self.columns.table.path}: {raw} may be magnitudes or tractor's inverse variance (nMgy^-2). Say "
                f"which with survey.columns: {{{name}: {raw}}} for magnitudes, {{{raw}: {raw}}} for inverse variance."
            )
        return cols.depth_from_inverse_variance(values)

    def text(self, name: str, keep: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.bytes_]:
        """Return a text column."""
        return self.columns.texts(self.chunk, name, keep, self.first_row)

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

    def position(self, *, required: bool = True) -> dict[str, NDArray[np.float64]]:
        """Positions in degrees; an invalid one is an error. NaN where it is missing and allowed to be."""
        if not required and "ra_deg" not in self.columns and "dec_deg" not in self.columns:
            return {name: np.full(self.n, np.nan) for name in _POSITION_LIMITS}
        for name in _POSITION_LIMITS:
            if name not in self.columns:  # one without the other
                raise self.columns.missing(name, name)
        out = {name: self.columns.numbers(self.chunk, name, self.first_row) for name in _POSITION_LIMITS}
        nowhere = np.isnan(out["ra_deg"]) & np.isnan(out["dec_deg"]) & (not required)
        for name, (low, high) in _POSITION_LIMITS.items():
            bad = ~((out[name] >= low) & (out[name] <= high)) & ~nowhere
            if bad.any():
                row = int(np.argmax(bad))
                host = ""
                if "host_id" in self.columns:
                    host = f" (host {self.text('host_id')[row].decode('utf-8', 'replace')})"
                negative = name == "ra_deg" and bool(((out[name] >= -180) & (out[name] < 0))[bad].all())
                advice = "If RA runs from -180 to 180, write it modulo 360." if negative else "Correct or remove them."
                raise TargetError(
                    f"{self.columns.table.path}: {name} is {out[name][row]} in row {self.first_row + row}{host} "
                    f"and in {int(bad.sum()) - 1} other row(s); it must be in {(low, high)}. {advice}"
                )
        return out


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values as stored. Values beyond the range of float32 are no measurements: NaN, like missing values."""
    return np.where(np.abs(values) <= np.finfo(np.float32).max, values, np.nan).astype(np.float32)


def as_dataset(values: dict[str, NDArray], path: str, bands: Sequence[str]) -> xr.Dataset:
    """Columns as a dataset of targets, text decoded."""
    for name, v in values.items():
        if v.dtype.kind == "S":
            values[name] = cols.as_text(v, path, name)
    return schema.dataset("targets", values, {"band": list(bands)})
