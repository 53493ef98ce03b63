"""Catalogue files at any fsspec URL, read a chunk of rows at a time: FITS, parquet, CSV, ECSV.

Memory is bounded by a chunk, not by the file: a sweep catalogue of a million objects with all its columns is
1 GB, the columns that lensflow keeps of it are a tenth of that.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import fsspec
import numpy as np
from numpy.typing import NDArray

from lensflow import globs
from lensflow.errors import TargetError
from lensflow.survey.fits_header import FormatError
from lensflow.targets.fits_table import FitsTable

CHUNK_BYTES = 32 << 20
CHUNK_ROWS = 200_000

Chunk = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TableFile:
    """An open table.

    Attributes
    ----------
    path : str
    names : tuple of str
        Columns of the file.
    read : callable
        ``read(columns, text)`` yields chunks of these columns in the file's order, as 1-D arrays. Columns in
        ``text`` are to be read as text where the file itself does not say what they are (CSV: an id 007 stays
        007); all others are numbers. Missing values are NaN in numbers and empty in text.
    """

    path: str
    names: tuple[str, ...]
    read: Callable[[Sequence[str], Collection[str]], Iterator[Chunk]]


def expand(paths: str | Sequence[str]) -> list[str]:
    """Files behind a path, a glob or a list of them; those of a glob in the order of their names.

    Raises
    ------
    TargetError
        If a glob matches nothing, or nothing is given.
    """
    out: list[str] = []
    for path in [paths] if isinstance(paths, str) else paths:
        found = globs.expand(path)
        if not found:
            raise TargetError(f"{path}: no file of this pattern. Check survey.targets.")
        out += found
    if not out:
        raise TargetError("survey.targets: no target table is named.")
    return out


@contextlib.contextmanager
def open_table(path: str) -> Iterator[TableFile]:
    """Open a table; its kind is told by the ending of its name (.gz and the like may follow).

    Raises
    ------
    TargetError
        If the file is missing, of unknown kind, damaged or cut short; also while its chunks are read.
    """
    name = str(path).lower()
    for packed in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(packed)
    opener = next((o for endings, o in _KINDS.items() if name.endswith(endings)), None)
    if opener is None:
        known = ", ".join(e for endings in _KINDS for e in endings)
        raise TargetError(f"{path}: unknown kind of target table; known endings: {known}")
    try:
        with fsspec.open(path, "rb", compression="infer") as file:
            yield opener(str(path), file)
    except TargetError:
        raise
    except FileNotFoundError as error:
        raise TargetError(f"{path}: no such target table. Check survey.targets.") from error
    except FormatError as error:
        raise TargetError(f"{path}: not a FITS table that can be read: {error}. Fetch it again.") from error
    except Exception as error:  # a table can be malformed in as many ways as there are formats
        raise TargetError(f"{path}: cannot read the target table ({type(error).__name__}: {error}).") from error


def _open_fits(path: str, file: BinaryIO) -> TableFile:
    table = FitsTable(path, file)
    step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // table.width))

    def read(columns: Sequence[str], text: Collection[str]) -> Iterator[Chunk]:
        with fsspec.open(path, "rb", compression="infer") as rows:
            yield from table.read(rows, columns, step)

    return TableFile(path, table.names, read)


def _open_parquet(path: str, file: BinaryIO) -> TableFile:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(file)

    def read(columns: Sequence[str], text: Collection[str]) -> Iterator[Chunk]:
        for batch in table.iter_batches(batch_size=CHUNK_ROWS, columns=list(columns)):
            yield {c: _arrow_column(batch.column(c)) for c in columns}

    return TableFile(path, tuple(table.schema_arrow.names), read)


def _open_csv(path: str, file: BinaryIO) -> TableFile:
    """CSV, or ECSV: comment lines in front, whose ``# delimiter:`` counts (a space without one)."""
    skip, delimiter = 0, ","
    while (line := file.readline()).startswith(b"#"):
        skip += 1
        if b"%ECSV" in line:
            delimiter = " "
        elif line.startswith(b"# delimiter:"):
            delimiter = line.split(b":", 1)[1].strip().strip(b"'\"").decode() or " "
    names = tuple(next(csv.reader([line.decode("utf-8-sig").strip()], delimiter=delimiter), ()))

    def read(columns: Sequence[str], text: Collection[str]) -> Iterator[Chunk]:
        import pyarrow
        import pyarrow.csv

        kinds = {c: pyarrow.string() if c in text else pyarrow.float64() for c in columns}
        # NumPy's and pandas' spellings of a missing value; none of them in text, where NA may be a name.
        options = pyarrow.csv.ConvertOptions(
            include_columns=list(columns), column_types=kinds, null_values=["", "nan", "NaN", "NAN", "NULL", "null"]
        )
        parsing = pyarrow.csv.ParseOptions(delimiter=delimiter)
        with fsspec.open(path, "rb", compression="infer") as again:
            for _ in range(skip):
                again.readline()
            reading = pyarrow.csv.ReadOptions(block_size=CHUNK_BYTES // 4)
            try:
                for batch in pyarrow.csv.open_csv(again, reading, parsing, options):
                    yield {c: _arrow_column(batch.column(c)) for c in columns}
            except pyarrow.ArrowInvalid as error:
                if "conversion error" in str(error):
                    raise TargetError(f"{path}: holds something that is not a number ({error}).") from error
                raise

    return TableFile(path, names, read)


def _arrow_column(column: Any) -> NDArray[Any]:
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        return np.asarray(column.fill_null("").to_numpy(zero_copy_only=False))
    return np.asarray(column.to_numpy(zero_copy_only=False))


_KINDS: dict[tuple[str, ...], Callable[[str, BinaryIO], TableFile]] = {
    (".csv", ".ecsv", ".txt"): _open_csv,
    (".fits", ".fit", ".fits.fz"): _open_fits,
    (".parquet", ".parq"): _open_parquet,
}
