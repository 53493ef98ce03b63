"""Shared parts of the readers: files as ``export.json`` lists them, columns of tables, the shape of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.check.parts import ExportFile
from lensflow.store import paths

ROWS_AT_ONCE = 512
# Of files that may hold samples.
SUFFIXES = (".parquet", ".tar", ".npy", ".npz", ".h5", ".hdf5", ".csv", ".gz")
UNSIGNED = ("sample_id", "row_id")


class Listed:
    """An export's folder and the files that its ``export.json`` lists.

    Parameters
    ----------
    out : str
    description : mapping
        Content of ``export.json``.
    suffix : str
        Of the files that hold samples.
    """

    def __init__(self, out: str, description: Mapping[str, Any], suffix: str):
        self.out = out
        self.description = dict(description)
        self.shape = tuple(int(n) for n in description["shape"])
        self.rows: dict[str, int] = {}
        found = []
        for entry in description["files"]:
            if entry["path"].endswith(suffix) and entry.get("rows"):
                found.append(ExportFile(entry["path"], str(entry.get("split", "")), int(entry.get("bytes", 0))))
                self.rows[entry["path"]] = int(entry["rows"])
        if not found:
            raise ExportError(f"{out}: export.json lists no file {suffix} with samples")
        self.files = tuple(sorted(found, key=lambda f: (f.split, f.name)))
        listed = {entry["path"] for entry in description["files"]}
        there = (n for n in paths.sizes_below(out) if n.endswith(SUFFIXES) and not n.startswith("."))
        self.unlisted = tuple(sorted(n for n in there if n not in listed))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file of the export for reading."""
        place = paths.join(self.out, name)
        fs, key = paths.filesystem(place)
        if not fs.exists(key):
            raise ExportError(f"{place}: is missing, and export.json lists it. Export the run again.")
        with paths.explain_errors(place), fs.open(key, "rb") as file:
            yield file

    def require(self, name: str, found: int) -> None:
        """Refuse a file that holds other samples than ``export.json`` says."""
        if found != self.rows[name]:
            raise ExportError(
                f"{paths.join(self.out, name)}: holds {found:,} samples, and export.json says {self.rows[name]:,}. "
                "It is not what was exported: export the run again."
            )


def columns_of(table: pa.Table, split: str = "") -> dict[str, NDArray[Any]]:
    """Columns of a table as arrays; texts as texts, ids unsigned."""
    out: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            out[name] = np.array([v or "" for v in column.to_pylist()], dtype=str)
        else:
            values = column.to_numpy()
            out[name] = values.astype(np.uint64) if name in UNSIGNED else values
    if split and "split" not in out:
        out["split"] = np.full(table.num_rows, split)
    return out


def images_of(values: NDArray[Any], n: int, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Images of flat numbers."""
    if values.size != n * int(np.prod(shape)):
        raise ExportError(f"{name}: {values.size:,} pixels in {n:,} samples, which are not {shape} each")
    return values.reshape(n, *shape)


def texts(n: int, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    """Keys of the samples, empty where they have none."""
    return np.asarray(columns["key"].astype(str)) if "key" in columns else np.full(n, "")
