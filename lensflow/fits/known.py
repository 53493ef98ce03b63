"""What lensflow's own reader of FITS images fully understands; everything else goes to astropy.

The tests compare this reader with astropy bit for bit on everything accepted here. A card that bears on
the meaning of the pixels and is not among these is not guessed at: the file is read through astropy, which is slower,
and what astropy would not read right either is refused by name (:func:`refused`).
"""

from __future__ import annotations

import re

import numpy as np

from lensflow.fits.header import FormatError, Header
from lensflow.fits.index import MAX_COLUMNS, PLAIN, ImageIndex, table_columns

# Pixels that astropy may unpack at once: the largest images of surveys have 10^8.
MAX_PIXELS = 1 << 28
# Cards about the layout or the meaning of pixels in the file.
_PLAIN = re.compile(r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|EXTEND|BLOCKED)\Z")
_TILED = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|(TTYPE|TFORM|TNULL|TSCAL|TZERO|TDIM|TBCOL)\d+"
    r"|BSCALE|BZERO|BLANK|ZIMAGE|ZTABLE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZCMPTYPE|ZNAME\d+|ZVAL\d+|ZMASKCMP|ZQUANTIZ|ZDITHER0"
    r"|ZBLANK|ZSCALE|ZZERO|ZPCOUNT|ZGCOUNT|ZTENSION|ZSIMPLE|ZEXTEND|ZBLOCKED|ZTHEAP|ZTILELEN|ZFORM\d+|ZCTYP\d+)\Z"
)
_HARMLESS = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|EXTEND|BLOCKED|TFIELDS|(TTYPE|TFORM)\d+|BSCALE|BZERO|ZIMAGE|ZBITPIX"
    r"|ZNAXIS[12]?|ZTILE[12]|ZCMPTYPE|ZNAME\d+|ZVAL\d+|ZQUANTIZ|ZDITHER0|ZBLANK|ZPCOUNT|ZGCOUNT|ZTENSION|ZSIMPLE|ZEXTEND"
    r"|ZBLOCKED)\Z"
)
_ALGORITHMS = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")
_SETTINGS = {"BLOCKSIZE", "BYTEPIX", "NOISEBIT", "SCALE", "SMOOTH"}
_COLUMNS = {
    "COMPRESSED_DATA": "PQ",
    "GZIP_COMPRESSED_DATA": "PQ",
    "UNCOMPRESSED_DATA": "PQ",
    "ZSCALE": "D",
    "ZZERO": "D",
}
# Zero points of the unsigned integers that FITS stores as signed ones, and of signed bytes.
_UNSIGNED = {8: -128.0, 16: 32768.0, 32: 2147483648.0}
_TABLE_FORM = re.compile(r"\d{0,9}([LXBIJKAEDCM]|A\d{1,9}|[PQ][LXBIJKAEDCM](\(\d{0,18}\))?)\Z")
_TEXT_FORM = re.compile(r"(A|I|F|E|D)\d{1,4}(\.\d{1,4})?\Z")
_STRUCTURE = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|TTYPE\d+|TFORM\d+|Z(IMAGE|NAXIS\d*|BITPIX))\Z"
)


def unhandled(header: Header, index: ImageIndex) -> str:
    """Return the feature of an image that lensflow's own reader does not fully handle; "" if there is none.

    Parameters
    ----------
    header : Header
    index : ImageIndex
        Of the same HDU.
    """
    if not header.is_text:
        return "bytes in its header that are not ASCII"
    bearing = _TILED if index.algorithm else _PLAIN
    cards = [key for key in (*header.cards, *header.odd) if bearing.match(key)]
    other = [key for key in cards if not _HARMLESS.match(key)]
    if other:
        return f"its card {other[0]}"
    if unusual := header.unusual(cards):
        return unusual
    integers = index.dtype[0] in "iu"
    bits = header.integer("ZBITPIX" if index.algorithm else "BITPIX", low=-64)
    shifted = index.bscale == 1 and integers and index.bzero == _UNSIGNED.get(bits)
    if not shifted and (index.bscale != 1 or index.bzero != 0):
        return "its BSCALE and BZERO"
    return _unhandled_tiles(header, index, integers, bits) if index.algorithm else _unhandled_plain(header)


def _unhandled_plain(header: Header) -> str:
    if header.integer("PCOUNT", 0) or header.integer("GCOUNT", 1) != 1:
        return "its PCOUNT and GCOUNT"
    return ""


def _unhandled_tiles(header: Header, index: ImageIndex, integers: bool, bits: int) -> str:
    quantised, settings = index.scale is not None, index.settings
    if header.string("XTENSION") != "BINTABLE" or header.get("BITPIX") != 8 or header.get("NAXIS") != 2:
        return "its table of tiles"
    for column in table_columns(header):
        kinds = _COLUMNS.get(column.name)
        if kinds is None or column.kind not in kinds or column.repeat != 1:
            return f"the column {column.name or column.number} of its tiles, {column.form}"
        words = "I" if index.algorithm == "PLIO_1" and column.name == "COMPRESSED_DATA" else "B"
        if kinds == "PQ" and column.form.strip().lstrip("0123456789")[1:2] != words:
            return f"the column {column.name} of its tiles, {column.form}"
    if index.algorithm not in _ALGORITHMS:
        return f"ZCMPTYPE {index.algorithm}"
    if not set(settings) <= _SETTINGS:
        return f"the setting {min(set(settings) - _SETTINGS)}"
    bytes_a_pixel = settings.get("BYTEPIX", 4)
    if index.algorithm == "RICE_1" and bytes_a_pixel != (4 if quantised else bits // 8):
        return f"{bytes_a_pixel} bytes a pixel in its Rice code"
    if index.algorithm not in ("GZIP_1", "GZIP_2") and not (quantised or integers):
        return f"floats that are not quantised in {index.algorithm}"
    if quantised == integers:
        lossless = "its ZBLANK" if index.blank is not None else _unhandled_floats(header)
        return "integers that are quantised" if quantised else lossless
    if integers:
        return "its ZBLANK" if index.blank is not None else "64-bit integers" if bits == 64 else ""
    assert index.scale is not None and index.zero is not None
    if not (np.isfinite(index.scale).all() and np.isfinite(index.zero).all() and (index.scale != 0).all()):
        return "a tile whose ZSCALE is 0 or not finite"
    if index.dither > 0 and not index.dither_seed >= 1:
        return "dithering without ZDITHER0"
    return _unhandled_floats(header) or ("tiles that are not compressed" if (index.how == PLAIN).any() else "")


def _unhandled_floats(header: Header) -> str:
    method = header.get("ZQUANTIZ", "NO_DITHER")
    known = ("NO_DITHER", "SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2")
    return "" if method in known else f"ZQUANTIZ {method}"


def refused(header: Header) -> str:
    """Return the feature of an image that neither lensflow nor astropy reads correctly; "" if there is none."""
    for key in header.cards:
        if _TILED.match(key) or _PLAIN.match(key):
            if key in header.repeated and (why := contradiction(header, key)):
                return why
            try:
                header.get(key)
            except FormatError as error:
                return str(error)
    if header.string("XTENSION", "IMAGE") == "IMAGE" and header.get("GROUPS") is True:
        return "it holds random groups"
    tiled = header.get("ZIMAGE") is True
    if tiled and ("ZSCALE" in header.cards or "ZZERO" in header.cards):
        return "ZSCALE and ZZERO are cards of its header, where a column of its table of tiles is needed"
    if tiled and "ZMASKCMP" in header.cards:
        return "it has a mask of null pixels (ZMASKCMP)"
    if tiled:
        names = {column.name.upper() for column in table_columns(header)}
        if "NULL_PIXEL_MASK" in names:
            return "it has a mask of null pixels (NULL_PIXEL_MASK)"
        whole = header.integer("ZBITPIX", low=-64) > 0
        if whole and ("ZBLANK" in header.cards or "ZBLANK" in names):
            # astropy would return the null value as if it were data.
            return "its integers have undefined pixels by ZBLANK"
    return ""


def contradiction(header: Header, key: str) -> str:
    """Report a card given twice with different values; "" if the values are equal."""
    values = {v for card in _cards(header) if card[:8].rstrip() == key for v in [card[10:].split("/")[0].strip()]}
    return f"{key} is given twice, as {' and '.join(sorted(values)[:3])}" if len(values) > 1 else ""


def _cards(header: Header) -> list[str]:
    return [header.text[at : at + 80] for at in range(0, len(header.text), 80)]


def check_structure(header: Header) -> None:
    """Refuse an HDU whose layout astropy should not be asked to follow: absurd sizes, formats that are none.

    Raises
    ------
    FormatError
    """
    cards = [key for key in (*header.cards, *header.odd) if _STRUCTURE.match(key)]
    if unusual := header.unusual(cards):
        raise FormatError(f"the layout of its data cannot be told for certain: {unusual}")
    if header.integer("NAXIS", 0) > 9:
        raise FormatError(f"NAXIS is {header.get('NAXIS')}")
    if header.integer("BITPIX", 8, -64) not in (8, 16, 32, 64, -32, -64):
        raise FormatError(f"BITPIX is {header.get('BITPIX')}")
    kind = header.string("XTENSION", "IMAGE")
    if kind in ("BINTABLE", "TABLE"):
        n = header.integer("TFIELDS", 0)
        if n > MAX_COLUMNS:
            raise FormatError(f"TFIELDS is {n}, a table has at most {MAX_COLUMNS} columns")
        form = _TABLE_FORM if kind == "BINTABLE" else _TEXT_FORM
        for i in range(1, n + 1):
            text = header.string(f"TFORM{i}")
            if not form.match(text):
                raise FormatError(f"TFORM{i} is {text!r}, no format of a column")
