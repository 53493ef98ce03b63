"""Rows of a FITS binary table, a chunk at a time, from any seekable file: only the requested columns.

Read by their place in the file: astropy's table reader loads the whole table, its memory maps work on local files
only, and a damaged header makes it warn, or loop over 10^9 columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.fits.header import BLOCK, FormatError, Header, MoreBytes
from lensflow.fits.index import TableColumn, table_columns

MAX_ROW_BYTES = 1 << 24
MAX_HDUS = 100
_DTYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16"}
# TZERO that turns a signed integer into the unsigned one of its width, or a byte into a signed one (FITS 4.0, 5.2.5).
_UNSIGNED = {("I", 2**15): "u2", ("J", 2**31): "u4", ("K", 2**63): "u8"}


class FitsTable:
    """A binary table of a file.

    Parameters
    ----------
    path : str
        For messages.
    header : Header
    start : int
        Byte where its rows begin.

    Raises
    ------
    FormatError
        If its header makes no sense.
    """

    def __init__(self, path: str, header: Header, start: int):
        self.path, self.header, self.start = path, header, start
        self.n_rows, self.width = header.integer("NAXIS2"), header.integer("NAXIS1", low=1)
        if self.width > MAX_ROW_BYTES:
            raise FormatError(f"its rows have {self.width} bytes")
        self.columns = table_columns(header)
        self.names = tuple(c.name for c in self.columns)
        stated = {c.name: header.get(f"TUNIT{c.number}") for c in self.columns}
        self.units = {name: str(unit) for name, unit in stated.items() if unit not in (None, "")}
        self.title = str(header.get("EXTNAME", ""))

    def read(self, file: BinaryIO, names: Sequence[str], step: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield ``step`` rows at a time of the named columns.

        Raises
        ------
        TargetError
            If rows are missing at the end.
        """
        wanted = {name: self.columns[self.names.index(name)] for name in names}
        file.seek(self.start)
        for first in range(0, self.n_rows, step):
            n = min(step, self.n_rows - first)
            content = file.read(n * self.width)
            if len(content) < n * self.width:
                lost = self.n_rows - first - len(content) // self.width
                raise TargetError(f"{self.path}: cut short, {lost} of {self.n_rows} rows are missing. Fetch it again.")
            rows = np.frombuffer(content, np.uint8).reshape(n, self.width)
            yield {name: self._values(rows, column) for name, column in wanted.items()}

    def _values(self, rows: NDArray[np.uint8], column: TableColumn) -> NDArray[Any]:
        """Values of a column, scaled; masked where an integer is the column's TNULL."""
        raw = np.ascontiguousarray(rows[:, column.offset : column.offset + column.n_bytes])
        if column.kind == "A":
            if column.n_bytes == 0:
                return np.zeros(len(rows), "S1")
            after_nul = np.logical_or.accumulate(raw == 0, axis=1)  # a NUL ends a text (FITS 4.0, 7.3.3.1)
            return np.where(after_nul, np.uint8(0), raw).view(f"S{column.n_bytes}")[:, 0]
        if column.kind not in _DTYPES or column.repeat == 0:
            form = self.header.get(f"TFORM{column.number}")
            raise TargetError(f"{self.path}: {column.name} has format {form!r}; a number or a text is needed.")
        values = raw.view(_DTYPES[column.kind])
        values = values[:, 0] if column.repeat == 1 else values
        if column.kind == "L":
            return values == b"T"
        scale = self.header.number(f"TSCAL{column.number}", 1)
        zero = self.header.number(f"TZERO{column.number}", 0)
        key = f"TNULL{column.number}"
        null = None
        if key in self.header.cards and column.kind in "BIJK":
            null = values == self.header.integer(key, low=-(1 << 62))
        out: NDArray[Any] = values
        if scale == 1 and (column.kind, zero) in _UNSIGNED:
            kind = _UNSIGNED[column.kind, int(zero)]
            native = values.astype(values.dtype.newbyteorder("="))
            out = native.view(kind) ^ np.array(1, kind) << np.array(8 * native.itemsize - 1, kind)
        elif (scale, zero) != (1, 0):
            out = values * np.float64(scale) + np.float64(zero)
        return out if null is None or not null.any() else np.ma.array(out, mask=null)


def fits_tables(path: str, file: BinaryIO) -> Iterator[FitsTable]:
    """Binary tables of a file, in its order; those packed by fpack and images in tiles are left out.

    Parameters
    ----------
    path : str
        For messages.
    file : file
        Seekable, opened for reading bytes.

    Raises
    ------
    TargetError
        If the file ends within its first header.
    FormatError
        If a header makes no sense and there is no table before it.
    """
    found, start = False, 0
    for hdu in range(MAX_HDUS):
        try:
            header = _header(file, start)
            if header is None:
                if hdu == 0:
                    raise TargetError(f"{path}: cut short within its header. Fetch it again.")
                break
            if header.get("XTENSION") == "BINTABLE" and not (header.get("ZIMAGE") or header.get("ZTABLE")):
                table = FitsTable(path, header, start + header.data_start)
                found = True
                yield table
            start += header.end
        except FormatError:
            if found:  # data after the table are not needed
                break
            raise


def _header(file: BinaryIO, start: int) -> Header | None:
    """Header that begins at a byte; None if the file ends before it."""
    file.seek(start)
    head, more = b"", 8 * BLOCK
    while True:
        part = file.read(more)
        head += part
        try:
            return Header.parse(head, 0)
        except MoreBytes:
            if len(part) < more:
                return None
            more = 2 * len(head)
