"""Text tables (CSV, ECSV, TSV, blank-separated), a chunk of rows at a time: every column is read as text.

Columns are converted to numbers later (:mod:`lensflow.targets.values`), so that an id 007 stays 007. Rows are read with
pyarrow; tables separated by blanks, or with blanks after the delimiter, with Python's csv.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lensflow.errors import TargetError

_DELIMITERS = ("\t", ",", ";", "|")
_BLANKS = " "
_LINES_LOOKED_AT = 50
_ROWS_OF_BLANKS = 20_000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Dialect:
    """Format of a text table.

    Attributes
    ----------
    names : tuple of str
    skip : int
        Lines before the first row.
    delimiter : str
        A blank means any number of blanks and tabs.
    spaced : bool
        Blanks follow the delimiter.
    units : dict
        Column -> unit (ECSV).
    """

    names: tuple[str, ...]
    skip: int
    delimiter: str
    spaced: bool
    units: dict[str, str] = field(default_factory=dict)


def read_dialect(path: str, file: BinaryIO) -> Dialect | None:
    """Read the lines before the first row; None for an ECSV with columns of objects (read by astropy).

    Blank lines and lines that begin with ``#`` are skipped. The names are in the first other line, or in the last
    line with ``#`` if that has as many fields as the first row and no number among them.
    """
    comments: list[str] = []
    skip, first = 0, ""
    while line := file.readline():
        text = line.removeprefix(_BOM if skip == 0 else b"").decode("utf-8", "replace").rstrip("\r\n")
        if text.strip() and not text.lstrip().startswith("#"):
            first = text
            break
        skip += 1
        if text.strip():
            comments.append(text.lstrip())
    following = [file.readline().decode("utf-8", "replace").rstrip("\r\n") for _ in range(_LINES_LOOKED_AT)]
    if any("%ECSV" in c for c in comments[:1]):
        return _ecsv(path, comments, first, skip)
    if comments and _has_number(_fields(first, _delimiter(first))):
        header = comments[-1].lstrip("#").strip()
        for delimiter in (_delimiter(first), _delimiter(header)):
            names = _fields(header, delimiter)
            if len(names) == len(_fields(first, _delimiter(first))) and not _has_number(names):
                lines = [first, *following]
                return Dialect(tuple(names), skip, _delimiter(first), _is_spaced(lines, _delimiter(first)))
    delimiter = _delimiter(first)
    return Dialect(tuple(_fields(first, delimiter)), skip + 1, delimiter, _is_spaced([first, *following], delimiter))


def _ecsv(path: str, comments: Sequence[str], first: str, skip: int) -> Dialect | None:
    from astropy.table import Table

    with warnings.catch_warnings(action="ignore"):  # units are checked where a column is used
        head = Table.read("\n".join([*comments, first, ""]), format="ascii.ecsv")
    delimiter = next((c.split(":", 1)[1].strip().strip("'\"") for c in comments if c.startswith("# delimiter:")), " ")
    delimiter = delimiter or _BLANKS
    names = tuple(_fields(first, delimiter))
    if tuple(head.colnames) != names:
        return None
    units = {name: str(head[name].unit) for name in names if getattr(head[name], "unit", None) is not None}
    return Dialect(names, skip + 1, delimiter, spaced=delimiter == _BLANKS, units=units)


def _delimiter(line: str) -> str:
    counts = {d: line.count(d) for d in _DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if counts[best]:
        return best
    return _BLANKS if len(line.split()) > 1 else ","


def _fields(line: str, delimiter: str) -> list[str]:
    if delimiter == _BLANKS:
        line = line.replace("\t", _BLANKS).strip()
    return [f.strip() for f in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def _has_number(fields: Sequence[str]) -> bool:
    for text in fields:
        try:
            float(text)
        except ValueError:
            continue
        return True
    return False


def _is_spaced(lines: Sequence[str], delimiter: str) -> bool:
    return delimiter == _BLANKS or any(f"{delimiter} " in line for line in lines)


def read_rows(
    path: str, file: BinaryIO, dialect: Dialect, columns: Sequence[str], block_bytes: int
) -> Iterator[dict[str, Any]]:
    """Yield the columns as pyarrow text arrays, null where a field is empty.

    Parameters
    ----------
    path : str
        For messages.
    file : file
        At its beginning.
    dialect : Dialect
    columns : sequence of str
    block_bytes : int
        Bytes read at once.

    Raises
    ------
    TargetError
        If a row has more or fewer fields than there are names.
    """
    for _ in range(dialect.skip):
        file.readline()
    if not dialect.names or not columns:
        return
    place = {name: dialect.names.index(name) for name in columns}
    rows = _split_by_csv(path, file, dialect, place) if dialect.spaced else _split(path, file, dialect, block_bytes,
                                                                                   place)  # fmt: skip
    yield from rows


def _split(
    path: str, file: BinaryIO, dialect: Dialect, block_bytes: int, place: dict[str, int]
) -> Iterator[dict[str, Any]]:
    labels = [str(i) for i in range(len(dialect.names))]
    wanted = list(dict.fromkeys(labels[i] for i in place.values()))
    options = pyarrow.csv.ConvertOptions(
        include_columns=wanted, column_types={c: pa.string() for c in wanted}, strings_can_be_null=False
    )
    try:
        batches = pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(block_size=block_bytes, column_names=labels),
            pyarrow.csv.ParseOptions(delimiter=dialect.delimiter),
            options,
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    for batch in batches:
        chunk = {name: batch.column(labels[i]) for name, i in place.items()}
        for name, values in chunk.items():
            quoted = pc.any(pc.starts_with(pc.utf8_ltrim_whitespace(values), pattern='"')).as_py()
            if quoted:
                raise TargetError(
                    f"{path}: {name} has quotation marks within a field (blanks before them?). Write the table again "
                    "with quotes at the beginning of a field or without."
                )
        yield chunk


def _split_by_csv(path: str, file: BinaryIO, dialect: Dialect, place: dict[str, int]) -> Iterator[dict[str, Any]]:
    lines: Iterable[str] = (line.decode() for line in file)
    if dialect.delimiter == _BLANKS:
        lines = (line.replace("\t", _BLANKS).strip() for line in lines)
    rows = csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=True, strict=True)
    taken: dict[str, list[str]] = {name: [] for name in place}
    number = 0
    for row in rows:
        if not row or (row == [""] and len(dialect.names) > 1):
            continue
        if len(row) != len(dialect.names):
            raise TargetError(
                f"{path}: row {number} has {len(row)} fields, the header {len(dialect.names)} "
                f"({', '.join(dialect.names)})."
                + (" A missing value needs a sign of its own between blanks, or another delimiter." * spaces(dialect))
            )
        for name, i in place.items():
            taken[name].append(row[i])
        number += 1
        if number % _ROWS_OF_BLANKS == 0:
            yield {name: pa.array(values, pa.string()) for name, values in taken.items()}
            taken = {name: [] for name in place}
    if any(taken.values()):
        yield {name: pa.array(values, pa.string()) for name, values in taken.items()}


def spaces(dialect: Dialect) -> bool:
    """Whether blanks separate the columns."""
    return dialect.delimiter == _BLANKS
