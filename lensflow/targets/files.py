"""Tables at any fsspec URL: FITS, parquet and text are read a chunk of rows at a time, VOTables whole.

The only module that opens tables: targets, hosts of stamps, bricks tables and a plan's table. Memory is bounded by a
chunk, not by the file: a sweep catalogue of a million objects with all columns is 1 GB, lensflow's columns of it are a
tenth of that.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.fits.header import FormatError
from lensflow.fits.reach import options
from lensflow.fits.table import FitsTable, fits_tables
from lensflow.targets import globs
from lensflow.targets.text_table import read_dialect, read_rows

if TYPE_CHECKING:
    from astropy.table import Table  # of few formats, and half a second of a process: imported where it is needed

CHUNK_BYTES = 32 << 20
CHUNK_ROWS = 200_000

Chunk = dict[str, Any]


@dataclass(frozen=True)
class TableFile:
    """An open table.

    Attributes
    ----------
    path : str
    names : tuple of str
        Columns of the file.
    read : callable
        ``read(columns)`` yields chunks of these columns in the file's order, as the file has them: NumPy arrays,
        masked where values are missing, or pyarrow arrays; all text where the file does not say what they are (CSV).
        :mod:`lensflow.targets.values` makes numbers and texts of them.
    units : mapping
        Column -> unit, where the file states one.
    title : str
        Which of the file's tables it is; empty if it has one.
    """

    path: str
    names: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Chunk]]
    units: Mapping[str, str] = field(default_factory=dict)
    title: str = ""


def expand(paths: str | Sequence[str]) -> list[str]:
    """Files matched by a path, a glob or a list of them; those of a glob sorted by name.

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
def open_tables(path: str, setting: str = "survey.targets") -> Iterator[Iterator[TableFile]]:
    """Open the tables of a file, one after the other; its kind follows from its suffix (.gz may follow).

    Parameters
    ----------
    path : str
    setting : str
        Setting that gave the path, for messages.

    Raises
    ------
    TargetError
        If the file is missing, of unknown kind, holds no table, is damaged or cut short; also while its chunks are
        read.
    """
    name = str(path).lower()
    for packed in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(packed)
    opener = next((o for endings, o in _KINDS.items() if name.endswith(endings)), None)
    if opener is None:
        known = ", ".join(e for endings in _KINDS for e in endings)
        raise TargetError(f"{path}: unknown kind of table; known endings: {known} (each also with .gz)")
    try:
        with fsspec.open(path, "rb", compression="infer", **options(path)) as file:
            yield opener(str(path), file)
    except TargetError:
        raise
    except FileNotFoundError as error:
        raise TargetError(f"{path}: no such table. Check {setting}.") from error
    except FormatError as error:
        raise TargetError(f"{path}: not a FITS table that can be read: {error}. Fetch it again.") from error
    except Exception as error:  # malformed tables raise many kinds of errors
        raise TargetError(f"{path}: cannot read the table ({type(error).__name__}: {error}).") from error


def _open_fits(path: str, file: BinaryIO) -> Iterator[TableFile]:
    # Further tables are opened only when needed: in a gzipped file that means reading all of the first.
    found = False
    for table in fits_tables(path, file):
        found = True
        yield _of_fits(path, table)
    if not found:
        yield from _ascii_tables_of_fits(path, file)


def _of_fits(path: str, table: FitsTable) -> TableFile:
    step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // table.width))

    def read(columns: Sequence[str]) -> Iterator[Chunk]:
        with fsspec.open(path, "rb", compression="infer", **options(path)) as rows:
            yield from table.read(rows, columns, step)

    return TableFile(path, table.names, read, table.units, table.title)


def _ascii_tables_of_fits(path: str, file: BinaryIO) -> Iterator[TableFile]:
    from astropy.io import fits
    from astropy.table import Table

    file.seek(0)
    with warnings.catch_warnings(action="ignore"), fits.open(io.BytesIO(file.read()), memmap=False) as hdus:
        found = [(h.name, Table.read(h)) for h in hdus if isinstance(h, fits.TableHDU)]
    if not found:
        raise TargetError(f"{path}: no plain binary table in this FITS file. Tables packed by fpack: use funpack.")
    yield from (_of_astropy(path, table, name) for name, table in found)


def _open_parquet(path: str, file: BinaryIO) -> Iterator[TableFile]:
    table = pyarrow.parquet.ParquetFile(file)

    def read(columns: Sequence[str]) -> Iterator[Chunk]:
        if not columns:
            return
        for batch in table.iter_batches(batch_size=CHUNK_ROWS, columns=list(columns)):
            yield {c: batch.column(c) for c in columns}

    yield TableFile(path, tuple(table.schema_arrow.names), read, _units_of_parquet(table.schema_arrow))


def _units_of_parquet(schema: pyarrow.Schema) -> dict[str, str]:
    """Units as astropy writes them beside a parquet table, as a VOTable in its metadata, or with each column."""
    from astropy.io import votable
    from astropy.table.meta import get_header_from_yaml

    units: dict[str, str] = {}
    whole = schema.metadata or {}
    with warnings.catch_warnings(action="ignore"):
        if b"table_meta_yaml" in whole:
            lines = whole[b"table_meta_yaml"].decode().splitlines()
            for column in get_header_from_yaml(lines).get("datatype", ()):
                if column.get("unit"):
                    units[column["name"]] = str(column["unit"])
        if b"IVOA.VOTable-Parquet.content" in whole:
            first = votable.parse_single_table(io.BytesIO(whole[b"IVOA.VOTable-Parquet.content"]), verify="ignore")
            units |= {f.name: str(f.unit) for f in first.fields if f.unit is not None}
    for column in schema:
        about = column.metadata or {}
        for key in (b"unit", b"units"):
            if key in about:
                units[column.name] = about[key].decode("utf-8", "replace")
    return units


def _open_text(path: str, file: BinaryIO) -> Iterator[TableFile]:
    dialect = read_dialect(path, file)
    if dialect is None:
        from astropy.table import Table

        with fsspec.open(path, "rb", compression="infer", **options(path)) as again:
            text = again.read().decode("utf-8-sig")
        yield _of_astropy(path, Table.read(text, format="ascii.ecsv"))
        return

    def read(columns: Sequence[str]) -> Iterator[Chunk]:
        with fsspec.open(path, "rb", compression="infer", **options(path)) as again:
            yield from read_rows(path, again, dialect, columns, CHUNK_BYTES // 4)

    yield TableFile(path, dialect.names, read, dialect.units)


def _open_votable(path: str, file: BinaryIO) -> Iterator[TableFile]:
    from astropy.io import votable

    with warnings.catch_warnings(action="ignore"):
        every = [
            (t.name or t.ID or f"table {i}", t.to_table(use_names_over_ids=True))
            for i, t in enumerate(votable.parse(io.BytesIO(file.read()), verify="ignore").iter_tables())
        ]
    if not every:
        raise TargetError(f"{path}: no table in this VOTable file.")
    yield from (_of_astropy(path, table, name) for name, table in every)


def _of_astropy(path: str, table: Table, title: str = "") -> TableFile:
    """Return a table that astropy has read whole."""
    columns = {name: table[name] for name in table.colnames if isinstance(table[name], np.ndarray)}
    units = {name: str(c.unit) for name, c in columns.items() if getattr(c, "unit", None) is not None}

    def read(names: Sequence[str]) -> Iterator[Chunk]:
        if len(table) and names:
            yield {name: _native(columns[name]) for name in names}

    return TableFile(path, tuple(columns), read, units, title)


def _native(column: Any) -> NDArray[Any]:
    values = np.ma.asarray(column) if hasattr(column, "mask") else np.asarray(column)
    return values if values.dtype.kind == "O" else values.astype(values.dtype.newbyteorder("="))


_KINDS: dict[tuple[str, ...], Callable[[str, BinaryIO], Iterator[TableFile]]] = {
    (".csv", ".ecsv", ".txt", ".tsv", ".dat"): _open_text,
    (".fits", ".fit", ".fits.fz"): _open_fits,
    (".parquet", ".parq"): _open_parquet,
    (".vot", ".votable", ".xml"): _open_votable,
}
