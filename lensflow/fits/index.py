"""Index of the pixels of a FITS image in its file, from the file's first bytes: bytes in, an index out, no I/O.

Survey images are tile-compressed (FITS 4.0, section 10): a binary table with one row per tile says where the tile's
bytes lie. Knowing that index, a reader fetches the tiles that it needs and nothing else. Plain images are indexed as
tiles of one row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.fits.header import MAX_HDUS, FormatError, Header, MoreBytes

MAX_TABLE_BYTES = 1 << 26
# A whole image of 3600 x 3600 pixels in one tile is the largest that surveys make.
MAX_TILE_PIXELS = 1 << 24
MAX_AXIS_PIXELS = 1 << 20
MAX_COLUMNS = 999  # FITS 4.0, 7.3.1
MAX_DITHER_SEED = 10_000  # FITS 4.0, 10.2
_DITHER = {"NO_DITHER": -1, "NONE": 0, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}
_PIXELS = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}
_ELEMENT_BYTES = {"B": 1, "I": 2, "J": 4, "E": 4, "D": 8}
_COLUMN_BYTES = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_TFORM = re.compile(r"\s*(\d{0,9})([LXBIJKAEDCMPQ])(.*)")
# Pairs as dtypes: numpy has Python parse their texts, in which Python 3.11 can fail.
_COLUMN_DTYPE = {"P": np.dtype((">i4", 2)), "Q": np.dtype((">i8", 2)), "D": ">f8", "E": ">f4", "J": ">i4", "I": ">i2"}

# Encoding of one tile: the file's own algorithm, gzipped pixels, or plain pixels.
BY_ALGORITHM, GZIPPED, PLAIN, ABSENT = range(4)


@dataclass(frozen=True)
class ImageIndex:
    """Location and encoding of every tile of an image; tiles count along x first.

    Attributes
    ----------
    header : Header
        Of the image's HDU, WCS included.
    shape, tile_shape : (int, int)
        (y, x) in pixels; the last tiles of an axis may be slimmer.
    dtype : str
        Of the pixels before BSCALE and BZERO.
    algorithm : str
        ZCMPTYPE; "" for an image that is not compressed.
    start, length : ndarray of int64, shape (tile,)
        Bytes ``start : start + length`` of the file.
    how : ndarray of uint8, shape (tile,)
        BY_ALGORITHM, GZIPPED, PLAIN or ABSENT.
    scale, zero : ndarray of float64, shape (tile,), or None
        Quantisation of floats.
    dither, dither_seed : int
        ZQUANTIZ as a number (-1 none, 1, 2) and ZDITHER0.
    blank : int or None
        Quantised value that stands for NaN.
    settings : mapping
        Settings of the algorithm (ZNAMEi -> ZVALi).
    bscale, bzero : float
        Stored pixels times bscale plus bzero are the image's.
    end : int
        Bytes of a file that is complete to the end of the image.
    """

    header: Header
    shape: tuple[int, int]
    tile_shape: tuple[int, int]
    dtype: str
    algorithm: str
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    how: NDArray[np.uint8]
    scale: NDArray[np.float64] | None
    zero: NDArray[np.float64] | None
    dither: int
    dither_seed: int
    blank: int | None
    settings: Mapping[str, int]
    bscale: float
    bzero: float
    end: int

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along (y, x)."""
        return tuple(-(-n // t) for n, t in zip(self.shape, self.tile_shape, strict=True))  # type: ignore[return-value]

    def tile_slices(self, tile: int) -> tuple[slice, slice]:
        """Pixels ``[y, x]`` of the image that a tile holds."""
        at = divmod(int(tile), self.grid[1])
        return tuple(  # type: ignore[return-value]
            slice(k * t, min((k + 1) * t, n)) for k, t, n in zip(at, self.tile_shape, self.shape, strict=True)
        )


def is_image(header: Header) -> bool:
    """Whether an HDU holds an image, compressed or plain."""
    return header.get("ZIMAGE") is True or (
        header.get("XTENSION", "IMAGE") == "IMAGE" and header.integer("NAXIS", 0) > 0
    )


def index_hdu(header: Header, head: bytes, first: int = 0) -> ImageIndex:
    """Index the image of one HDU, of two dimensions.

    What the index says of a file that :func:`lensflow.fits.known.unhandled` objects to means nothing.

    Parameters
    ----------
    header : Header
    head : bytes
        Bytes of the file from ``first`` on, as many as there are at hand.
    first : int

    Raises
    ------
    MoreBytes
        If ``head`` ends before the index does.
    FormatError
        If the description of the image contradicts itself.
    """
    return _compressed(header, head, first) if header.get("ZIMAGE") is True else _plain(header)


def table_end(header: Header) -> int:
    """Byte up to which a file must be read for the index of an image: the end of its table of tiles.

    Raises
    ------
    FormatError
        If the table is too large.
    """
    if header.get("ZIMAGE") is not True:
        return header.data_start
    n_bytes = header.integer("NAXIS1", low=1) * header.integer("NAXIS2", low=1)
    if n_bytes > MAX_TABLE_BYTES:
        raise FormatError(f"its table of tiles has {n_bytes} bytes")
    return header.data_start + n_bytes


def headers(head: bytes) -> Iterator[Header]:
    """Headers of a file's HDUs, one after the other; MoreBytes where ``head`` ends."""
    start = 0
    for _ in range(MAX_HDUS):
        header = Header.parse(head, start)
        yield header
        start = header.end
    raise FormatError(f"it holds more than {MAX_HDUS} HDUs")


@dataclass(frozen=True)
class TableColumn:
    """One column of a binary table: ``repeat`` values of a kind (letter of TFORM) at byte ``offset`` of a row."""

    number: int
    name: str
    form: str
    kind: str
    repeat: int
    offset: int
    n_bytes: int


def table_columns(header: Header) -> list[TableColumn]:
    """Columns of a binary table's rows.

    Raises
    ------
    FormatError
        If a format is none, or the columns do not make up the rows.
    """
    n_fields, width = header.integer("TFIELDS", low=1), header.integer("NAXIS1", low=1)
    if n_fields > MAX_COLUMNS:
        raise FormatError(f"TFIELDS is {n_fields}, a table has at most {MAX_COLUMNS} columns")
    columns, at = [], 0
    for i in range(1, n_fields + 1):
        form = str(header.get(f"TFORM{i}", ""))
        parts = _TFORM.match(form)
        if parts is None:
            raise FormatError(f"TFORM{i} is {form!r}, no format of a column")
        repeat, kind = int(parts[1] or 1), parts[2]
        n_bytes = -(-repeat // 8) if kind == "X" else repeat * _COLUMN_BYTES[kind]
        columns.append(TableColumn(i, str(header.get(f"TTYPE{i}", "")).strip(), form, kind, repeat, at, n_bytes))
        at += n_bytes
    if at != width:
        raise FormatError(f"its table has columns of {at} bytes in rows of {width}")
    return columns


def _shape(header: Header, prefix: str) -> tuple[int, int]:
    if header.integer(f"{prefix}NAXIS") != 2:
        raise FormatError(f"its image has {header.get(f'{prefix}NAXIS')} dimensions instead of (y, x)")
    return header.integer(f"{prefix}NAXIS2", low=1), header.integer(f"{prefix}NAXIS1", low=1)


def _dtype(header: Header, key: str) -> str:
    bits = header.get(key)
    if bits not in _PIXELS:
        raise FormatError(f"{key} is {bits!r}, known are {', '.join(map(str, _PIXELS))}")
    return _PIXELS[bits]


def _plain(header: Header) -> ImageIndex:
    shape, dtype = _shape(header, ""), _dtype(header, "BITPIX")
    row = shape[1] * np.dtype(dtype).itemsize
    if max(shape) > MAX_AXIS_PIXELS:
        raise FormatError(f"its image has {shape[1]} x {shape[0]} pixels")
    return ImageIndex(
        header=header,
        shape=shape,
        tile_shape=(1, shape[1]),
        dtype=dtype,
        algorithm="",
        start=header.data_start + np.arange(shape[0], dtype=np.int64) * row,
        length=np.full(shape[0], row, np.int64),
        how=np.full(shape[0], PLAIN, np.uint8),
        scale=None,
        zero=None,
        dither=-1,
        dither_seed=0,
        blank=None,
        settings={},
        bscale=header.number("BSCALE", 1),
        bzero=header.number("BZERO", 0),
        end=header.data_end,
    )


def _compressed(header: Header, head: bytes, first: int) -> ImageIndex:
    shape = _shape(header, "Z")
    tile_shape = header.integer("ZTILE2", 1, 1), header.integer("ZTILE1", shape[1], 1)
    if math.prod(map(min, shape, tile_shape)) > MAX_TILE_PIXELS or max(tile_shape) > MAX_TILE_PIXELS:
        raise FormatError(f"its tiles have {tile_shape[1]} x {tile_shape[0]} pixels")
    n_tiles = math.prod(-(-n // t) for n, t in zip(shape, tile_shape, strict=True))
    width, rows = header.integer("NAXIS1", low=1), header.integer("NAXIS2", low=1)
    if rows != n_tiles:
        raise FormatError(f"its table has {rows} rows for {n_tiles} tiles")
    stop = table_end(header)
    if first + len(head) < stop:
        raise MoreBytes(stop)
    columns = table_columns(header)
    table = np.frombuffer(head, _table_dtype(columns, width), rows, header.data_start - first)
    heap = header.data_start + header.integer("THEAP", width * rows)
    start, length, how = _tile_bytes(table, columns, header, heap, n_tiles)
    quantised = "ZSCALE" in (table.dtype.names or ())
    method = str(header.get("ZQUANTIZ", "NO_DITHER")).upper()
    if method not in _DITHER:
        raise FormatError(f"ZQUANTIZ is {method!r}, known are {', '.join(_DITHER)}")
    dither_seed = header.integer("ZDITHER0", 0)
    if dither_seed > MAX_DITHER_SEED:
        raise FormatError(f"ZDITHER0 is {dither_seed}, at most {MAX_DITHER_SEED} is possible")
    return ImageIndex(
        header=header,
        shape=shape,
        tile_shape=tile_shape,
        dtype=_dtype(header, "ZBITPIX"),
        algorithm=str(header.get("ZCMPTYPE", "")).upper(),
        start=start,
        length=length,
        how=how,
        scale=_per_tile(table, "ZSCALE") if quantised else None,
        zero=_per_tile(table, "ZZERO") if quantised else None,
        dither=_DITHER[method],
        dither_seed=dither_seed,
        blank=header.integer("ZBLANK", low=-(1 << 62)) if "ZBLANK" in header.cards else None,
        settings=_settings(header),
        bscale=header.number("BSCALE", 1),
        bzero=header.number("BZERO", 0),
        end=header.data_end,
    )


def _settings(header: Header) -> dict[str, int]:
    """Settings of the compression algorithm, those that could make a decoder run wild checked."""
    out = {}
    for i in range(1, 100):
        name = header.get(f"ZNAME{i}")
        if name is None:
            break
        if isinstance(header.get(f"ZVAL{i}"), int):  # the others concern writers
            out[str(name).upper()] = header.integer(f"ZVAL{i}", low=-(1 << 31))
    if not 1 <= out.get("BLOCKSIZE", 32) <= 1 << 16:
        raise FormatError(f"its Rice blocks have {out['BLOCKSIZE']} pixels")
    if out.get("BYTEPIX", 4) not in (1, 2, 4, 8):
        raise FormatError(f"its pixels have {out['BYTEPIX']} bytes")
    return out


def _table_dtype(columns: list[TableColumn], width: int) -> np.dtype[Any]:
    single = [c for c in columns if c.repeat == 1]
    names = [c.name.upper() or f"column {c.number}" for c in single]
    if len(set(names)) != len(names):
        raise FormatError("two columns of its tile table have one name")
    formats = [_COLUMN_DTYPE.get(c.kind, f"V{c.n_bytes}") for c in single]
    return np.dtype({"names": names, "formats": formats, "offsets": [c.offset for c in single], "itemsize": width})


def _tile_bytes(
    table: NDArray[Any], columns: list[TableColumn], header: Header, heap: int, n_tiles: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    start, length = np.zeros(n_tiles, np.int64), np.zeros(n_tiles, np.int64)
    how = np.full(n_tiles, ABSENT, np.uint8)
    forms = {c.name.upper(): c.form for c in columns}
    for name, meaning in (("COMPRESSED_DATA", BY_ALGORITHM), ("GZIP_COMPRESSED_DATA", GZIPPED),
                          ("UNCOMPRESSED_DATA", PLAIN)):  # fmt: skip
        if name not in (table.dtype.names or ()) or table.dtype[name].subdtype is None:
            continue
        element = forms[name].strip().lstrip("0123456789")[1:2]
        if element not in _ELEMENT_BYTES:
            raise FormatError(f"{name} has format {forms[name]!r}")
        count, offset = (table[name][:, k].astype(np.int64) for k in (0, 1))
        limit = 1 << 48  # no sum below overflows
        if (count < 0).any() or (offset < 0).any() or (count > limit).any() or (offset > limit).any():
            raise FormatError(f"{name} has a negative or absurd length or offset")
        take = (how == ABSENT) & (count > 0)
        start[take], length[take], how[take] = heap + offset[take], count[take] * _ELEMENT_BYTES[element], meaning
    if (start + length > header.data_start + header.data_bytes).any():
        raise FormatError("a tile lies beyond the end of its table's heap")
    return start, length, how


def _per_tile(table: NDArray[Any], name: str) -> NDArray[np.float64]:
    if name not in (table.dtype.names or ()) or table.dtype[name].kind not in "iuf":
        raise FormatError(f"{name} is no column of numbers")
    return table[name].astype(np.float64)
