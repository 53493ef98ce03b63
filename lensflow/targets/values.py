"""Exact values of a table's column as numbers or text: absent values are missing, never text or 0.

A column is given as its file has it: a NumPy array (masked where values are missing) or a pyarrow array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Markers of missing values in text tables, spreadsheets, NumPy, pandas and VizieR.
MISSING_TEXTS = frozenset(
    ["", "-", "--", "---", "nan", "NaN", "NAN", "-nan", "N/A", "n/a", "NA", "<NA>", "#N/A", "None", "none", "NONE",
     "null", "NULL", "Null", "\\N", "NaT", "masked"]
)  # fmt: skip
# Those that may also be names in a text column.
_NAMES_TOO = frozenset(["NA", "masked"])
# Whole numbers below this are exact in a floating-point column.
_EXACT = {4: 2.0**24, 8: 2.0**53, 2: 2.0**11}
_MANGLED = re.compile(rb"[+-]?\d+(\.\d*)?[eE]\+\d+")
_FLOAT_TEXT = re.compile(rb"[+-]?\d{16,}\.0*")

# Makes an error from a row (counted from the first given value) and the reason.
Fail = Callable[[int, str], Exception]


@dataclass(frozen=True)
class Missing:
    """Markers of a missing value, besides the format's own null.

    Attributes
    ----------
    texts : frozenset of str
    numbers : tuple of float
        In columns of numbers.
    """

    texts: frozenset[str] = MISSING_TEXTS
    numbers: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str | float] = ()) -> Missing:
        """Return the usual markers and the config's (``survey.missing_values``)."""
        own = [str(v).strip() for v in values]
        numbers = []
        for text in own:
            try:
                numbers.append(float(text))
            except ValueError:
                continue
        return cls(MISSING_TEXTS | set(own), tuple(v for v in numbers if v == v))


def as_numbers(values: Any, missing: Missing, fail: Fail) -> NDArray[np.float64]:
    """Values as float64, NaN if missing.

    Parameters
    ----------
    values : ndarray or pyarrow.Array
    missing : Missing
    fail : callable

    Raises
    ------
    Exception
        From ``fail``, for the first value that is not a number.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        out = _numbers_of_arrow(values, missing, fail)
    elif values.dtype.kind in "SUO":
        out = _numbers_of_arrow(_arrow_of(values), missing, fail)
    elif values.dtype.kind in "biuf":
        out = np.array(np.ma.getdata(values), dtype=np.float64)
        out[np.ma.getmaskarray(values)] = np.nan
    else:
        raise fail(0, f"{_first(values)!r}, which is not a number")
    for number in missing.numbers:
        # A float32 column has the float32 nearest to the config's value.
        out[(out == number) | (out == float(np.float32(number)))] = np.nan
    return out


def as_text(values: Any, missing: Missing, fail: Fail) -> NDArray[np.bytes_]:
    """Values as UTF-8 bytes without blanks at the ends, empty if missing; whole numbers digit by digit.

    Raises
    ------
    Exception
        From ``fail``, for the first value whose digits are lost: a floating-point number that is not whole or
        beyond what its type holds exactly, or one that a spreadsheet wrote as 3.96277E+16.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = _plain(values)
        kind = values.type
        if pa.types.is_floating(kind):
            values = np.ma.masked_invalid(np.asarray(values.to_numpy(zero_copy_only=False)))
        elif pa.types.is_nested(kind):
            raise fail(0, f"a {kind}, not one value")
        else:
            binary = values if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else values.cast(pa.string())
            filled = binary.cast(pa.large_binary()).fill_null(b"")
            return _checked(_stripped(filled.to_numpy(zero_copy_only=False)), missing, fail)
    if values.dtype.kind == "O":
        return as_text(_arrow_of(values), missing, fail)
    mask, plain = np.ma.getmaskarray(values), np.ma.getdata(values)
    if plain.dtype.kind == "f":
        return _text_of_floats(plain, mask | np.isnan(plain), fail)
    if plain.dtype.kind == "U":
        plain = np.strings.encode(plain, "utf-8")
    return _checked(np.where(mask, b"", _stripped(plain)), missing, fail)


def select(values: Any, keep: NDArray[np.bool_] | slice) -> Any:
    """Return some of a column's values."""
    if isinstance(values, pa.Array | pa.ChunkedArray) and not isinstance(keep, slice):
        return values.filter(pa.array(keep))
    return values[keep]


def shape_of_one(values: Any) -> tuple[int, ...]:
    """Shape of a column's value in each row: () for one value."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return (-1,) if pa.types.is_nested(values.type) else ()
    return tuple(values.shape[1:])


def _plain(values: Any) -> Any:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_binary_view(values.type) or pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    return values


def _arrow_of(values: NDArray[Any]) -> Any:
    """NumPy text and objects as a pyarrow array."""
    mask, plain = np.ma.getmaskarray(values), np.ma.getdata(values)
    if plain.dtype.kind == "S":
        plain = _stripped(plain)
    if plain.dtype.kind != "O":
        return pa.array(plain.tolist(), mask=mask)
    try:
        return pa.array(plain, mask=mask, from_pandas=True)
    except (pa.ArrowException, OverflowError):  # of several types, or integers beyond 64 bits
        return pa.array([None if v is None else v if isinstance(v, bytes) else str(v) for v in plain], mask=mask)


def _numbers_of_arrow(values: Any, missing: Missing, fail: Fail) -> NDArray[np.float64]:
    values = _plain(values)
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        raise fail(0, f"a {kind}, not a number")
    if pa.types.is_boolean(kind):
        values = values.cast(pa.uint8())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            values = values.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise fail(0, f"bytes that are not text ({error})") from error
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        out = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.array(out, dtype=np.float64)
    text = pc.utf8_trim_whitespace(values)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(sorted(missing.texts), text.type)), None, text)
    try:
        out = text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        out = np.array([_number(v, i, fail) for i, v in enumerate(text.to_pylist())])
    return np.array(out, dtype=np.float64)


def _number(text: str | None, row: int, fail: Fail) -> float:
    try:
        if text is None or "_" not in text:
            return np.nan if text is None else float(text)
    except ValueError:
        pass
    hint = "; angles are read as decimal numbers" if re.search(r"\d[:hd ]\s*\d", str(text)) else ""
    raise fail(row, f"{text!r}, which is not a number{hint}")


def _stripped(values: NDArray[Any]) -> NDArray[np.bytes_]:
    out = values.astype("S")
    return np.strings.strip(out) if out.dtype.itemsize else out.astype("S1")


def _text_of_floats(values: NDArray[Any], mask: NDArray[np.bool_], fail: Fail) -> NDArray[np.bytes_]:
    limit = _EXACT.get(values.dtype.itemsize, 2.0**53)
    with np.errstate(invalid="ignore"):
        inexact = ~mask & ~((values == np.floor(values)) & (np.abs(values) < limit))
    if inexact.any():
        row = int(np.argmax(inexact))
        raise fail(
            row,
            f"{values[row]!s} in a column of floating-point numbers, which holds whole numbers exactly only below "
            f"{limit:.0f}: write the column as integers or as text",
        )
    digits = np.where(mask, 0, values).astype(np.int64).astype("S")
    return np.where(mask, b"", digits)


def _checked(values: NDArray[np.bytes_], missing: Missing, fail: Fail) -> NDArray[np.bytes_]:
    nothing = [t.encode() for t in missing.texts if t not in _NAMES_TOO]
    values = np.where(np.isin(values, nothing), b"", values)
    odd = np.flatnonzero((np.strings.find(np.strings.lower(values), b"e+") > 0) | (np.strings.find(values, b".") > 15))
    for row in odd:
        if _MANGLED.fullmatch(values[row]) or _FLOAT_TEXT.fullmatch(values[row]):
            shown = values[row].decode("utf-8", "replace")
            raise fail(
                int(row),
                f"{shown!r}: a number of many digits that was written as a floating-point number (by a spreadsheet?), "
                "so that its last digits are lost. Export the column as text or as integers from the source",
            )
    return values


def _first(values: Any) -> Any:
    flat = np.ma.getdata(values).ravel()
    return flat[0] if flat.size else None
