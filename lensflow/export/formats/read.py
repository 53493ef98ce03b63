"""Read an export as a stranger would: ``export.json``, and the files that it names, a file at a time."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from numpy.typing import NDArray

from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ExportError
from lensflow.export.formats.columns import COLUMNS, POSITIVE
from lensflow.export.formats.folder import run_of
from lensflow.export.formats.record import read_record
from lensflow.store import paths

# Rows of a unit of an export in one file.
UNIT_ROWS = 1024


@dataclass(frozen=True)
class Piece:
    """A unit of an export: a file, or rows of one.

    Attributes
    ----------
    path : str
    split : str
    first, rows : int
        Rows of the file.
    """

    path: str
    split: str
    first: int
    rows: int


@dataclass(frozen=True)
class Export:
    """An export on disk, opened by :func:`open_export`.

    Attributes
    ----------
    out : str
    record : dict
        Content of ``export.json``.
    """

    out: str
    record: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, y, x) of an image."""
        c, h, w = self.record["shape"]
        return int(c), int(h), int(w)

    @property
    def is_normalised(self) -> bool:
        """Whether images are normalised; else they are in nMgy/pixel."""
        return bool(self.record["pixels"] == "normalised")

    def pieces(self, split: str) -> list[Piece]:
        """Units of a split, in the order of the export.

        Raises
        ------
        ExportError
            If the split was not exported.
        """
        if split not in self.record["splits"]:
            raise ExportError(f"{self.out}: has no split {split}; it has {', '.join(self.record['splits'])}")
        if self.record["format"] in ("npy", "zarr"):
            splits, first = self._index["split"].to_numpy(zero_copy_only=False), 0
            where = np.flatnonzero(splits == split)
            first, stop = int(where[0]), int(where[-1]) + 1
            return [Piece("x.npy", split, at, min(UNIT_ROWS, stop - at)) for at in range(first, stop, UNIT_ROWS)]
        files = [f for f in self.record["files"] if f["split"] == split and f["rows"]]
        return [Piece(f["path"], split, 0, f["rows"]) for f in sorted(files, key=lambda f: f["path"])]

    def read(self, piece: Piece, pixels: bool = True) -> dict[str, NDArray[Any]]:
        """Samples of a unit: ``x`` as it is stored, and the columns.

        Parameters
        ----------
        piece : Piece
        pixels : bool
            Without: columns alone.

        Returns
        -------
        dict
            ``x`` (n, channel, y, x) in the export's number format; text columns as str, ``negative_kind`` as its index.

        Raises
        ------
        ExportError
            If the file has other rows than ``export.json`` says, or no pixels of its own (zarr).
        """
        form = self.record["format"]
        if form in ("npy", "zarr"):
            table = self._index.slice(piece.first, piece.rows)
            out = self._columns(table)
            if pixels:
                out["x"] = self._rows(piece)
        elif form == "webdataset":
            out = self._tar(piece, pixels)
        else:
            out = self._parquet(piece, pixels)
        if len(out["y"]) != piece.rows:
            raise ExportError(f"{self.out}: {piece.path} has {len(out['y'])} rows, export.json says {piece.rows}")
        return out

    def samples(self, split: str) -> xr.Dataset:
        """Columns of all samples of a split, with ``unit``, in the order of the export."""
        blocks = [self.read(p, pixels=False) for p in self.pieces(split)]
        unit = np.repeat(np.arange(len(blocks), dtype=np.int32), [len(b["y"]) for b in blocks])
        joined = {k: np.concatenate([b[k] for b in blocks]) for k in blocks[0]}
        return xr.Dataset({"unit": ("sample", unit), **{k: ("sample", v) for k, v in joined.items()}})

    def __iter__(self) -> Iterator[Piece]:
        """Every unit."""
        for split in self.record["splits"]:
            yield from self.pieces(split)

    @cached_property
    def _index(self) -> pa.Table:
        return self._table("index.parquet")

    def _table(self, path: str) -> pa.Table:
        fs, place = paths.filesystem(paths.join(self.out, path))
        try:
            with paths.explain_errors(place), fs.open(place, "rb") as file:
                return pq.ParquetFile(file).read()
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise ExportError(f"{self.out}: {path} is missing or damaged ({error}). Export the run again.") from error

    def _columns(self, table: pa.Table, prefix: str = "") -> dict[str, NDArray[Any]]:
        out: dict[str, NDArray[Any]] = {}
        for column in COLUMNS:
            name = prefix + column.name
            if name in table.column_names:
                out[column.name] = _native(column.name, table[name].to_numpy(zero_copy_only=False))
        return out

    def _rows(self, piece: Piece) -> NDArray[Any]:
        if self.record["format"] == "zarr":
            raise ExportError(
                f"{self.out}: an export of format zarr has no pixels of its own: they are those of the run "
                f"{run_of(self.record, self.out)} (lensflow.run.export.open_view)."
            )
        place = paths.join(self.out, piece.path)
        if paths.is_local(place):
            every = np.load(paths.local_path(place), mmap_mode="r", allow_pickle=False)
            return np.array(every[piece.first : piece.first + piece.rows])
        fs, at = paths.filesystem(place)
        dtype = np.dtype(self.record["dtype"])
        size = int(np.prod(self.shape)) * dtype.itemsize
        total = sum(f["bytes"] for f in self.record["files"] if f["path"] == piece.path)
        rows = sum(s["rows"] for s in self.record["splits"].values())
        start = total - rows * size + piece.first * size
        content = fs.cat_file(at, start=start, end=start + piece.rows * size)
        return np.frombuffer(content, dtype).reshape(piece.rows, *self.shape)

    def _parquet(self, piece: Piece, pixels: bool) -> dict[str, NDArray[Any]]:
        table = self._table(piece.path)
        hats = self.record["format"] == "hats"
        out = self._columns(table, "sim_" if hats else "")
        if hats:
            out |= {"ra_deg": table["ra"].to_numpy(), "dec_deg": table["dec"].to_numpy()}
        if pixels:
            column = table["image"].combine_chunks().field("flux") if hats else table["x"].combine_chunks()
            while pa.types.is_nested(column.type):
                column = column.flatten()
            out["x"] = column.to_numpy(zero_copy_only=False).reshape(-1, *self.shape)
        return out

    def _tar(self, piece: Piece, pixels: bool) -> dict[str, NDArray[Any]]:
        records: dict[str, dict[str, Any]] = {}
        images: dict[str, NDArray[Any]] = {}
        fs, place = paths.filesystem(paths.join(self.out, piece.path))
        with paths.explain_errors(place), fs.open(place, "rb") as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                if kind == "json":
                    records[key] = json.loads(_content(tar, member))
                elif kind == "x.npy" and pixels:
                    images[key] = np.load(io.BytesIO(_content(tar, member)), allow_pickle=False)
        if pixels and records.keys() != images.keys():
            raise ExportError(f"{self.out}: {piece.path} has samples without an image, or images without a sample")
        out: dict[str, NDArray[Any]] = {"key": np.array(list(records))}
        for column in COLUMNS[1:]:
            if records and column.name in next(iter(records.values())):
                values = [r[column.name] for r in records.values()]
                out[column.name] = _native(column.name, _typed(values, column.arrow))
        if pixels:
            out["x"] = np.stack([images[k] for k in records]) if records else np.empty((0, *self.shape))
        return out


def open_export(out: str) -> Export:
    """Open the folder of an export.

    Parameters
    ----------
    out : str
        Path or URL.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        If there is no finished export.
    """
    return Export(out, read_record(out))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _typed(values: list[Any], arrow: pa.DataType) -> NDArray[Any]:
    if pa.types.is_floating(arrow):
        values = [np.nan if v is None else v for v in values]
    dtype = arrow.to_pandas_dtype()
    return np.array(values) if pa.types.is_string(arrow) else np.array(values, dtype=dtype)


def _native(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if name == "negative_kind":
        known = {POSITIVE: -1, **{k: i for i, k in enumerate(NEGATIVE_KINDS)}}
        return np.array([known[str(v)] for v in values], np.int8)
    return values.astype(str) if values.dtype == object else values
