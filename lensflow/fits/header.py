"""Headers of FITS files: cards as text, values read only where they are plain, sizes counted; bytes in, no I/O.

A reader may trust a header only as far as it understands it. Therefore each header knows which of its cards are unusual
- another syntax than the plain one, or given twice - and :mod:`lensflow.fits.known` sends a file whose meaning may
hang on such a card to astropy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

BLOCK = 2880
CARD = 80
# A longer header is no header; survey files have some 10 kB.
MAX_HEADER_BYTES = 1 << 20
MAX_HDUS = 100
# Numbers as FITS 4.0, 4.2 has them, and 1.0e1, which some writers make. Not 1.0d1: wcslib would read 1.0.
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,60}\.?[0-9]{0,60}|\.[0-9]{1,60})(?:[EDe][+-]?[0-9]{1,5})?\Z")
_STRING = re.compile(r"'((?:[^']|'')*)' *(?:/.*)?\Z")
_KEY = re.compile(r"[A-Z0-9_-]{1,8}\Z")
_NOT_TEXT = re.compile(r"[^ -~]")
_COMMENTARY = ("", "COMMENT", "HISTORY")


class FormatError(ValueError):
    """The bytes are no FITS image that can be indexed; the text says why."""


class MoreBytes(Exception):
    """The index ends beyond the bytes given; ``stop`` is how many from the file's start are needed (at least)."""

    def __init__(self, stop: int, exact: bool = False) -> None:
        super().__init__(f"{stop} bytes needed")
        self.stop, self.exact = stop, exact


@dataclass(frozen=True)
class Header:
    """Cards of one HDU, values parsed on access.

    Attributes
    ----------
    cards : dict
        Keyword -> text after the equals sign, of the first card with that keyword.
    text : str
        The cards as they are in the file, Latin-1, up to END.
    start, data_start : int
        Bytes of the file where the header and the data begin.
    repeated : frozenset of str
        Keywords that are given twice (COMMENT, HISTORY and blanks excepted).
    odd : frozenset of str
        Keywords of cards in another form than ``KEYWORD = value``: HIERARCH, CONTINUE, lower case, tabs, no equals
        sign.
    """

    cards: dict[str, str]
    text: str
    data_start: int
    start: int = 0
    repeated: frozenset[str] = field(default_factory=frozenset)
    odd: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def parse(cls, head: bytes, start: int) -> Header:
        """Read the header that begins at byte ``start``.

        Raises
        ------
        MoreBytes, FormatError
        """
        cards: dict[str, str] = {}
        last = ""
        repeated: set[str] = set()
        odd: set[str] = set()
        for block in range(start, start + MAX_HEADER_BYTES, BLOCK):
            if len(head) < block + BLOCK and b"END" + b" " * 77 not in head[block:]:
                raise MoreBytes(block + BLOCK)
            text = head[block : block + BLOCK].decode("latin-1")
            for at in range(0, len(text) // CARD * CARD, CARD):
                card = text[at : at + CARD]
                key = card[:8].rstrip(" ")
                if block == start and at == 0 and key not in ("SIMPLE", "XTENSION"):
                    raise FormatError(f"it begins with {key!r} instead of SIMPLE or XTENSION")
                if key == "END":
                    whole = head[start : block + at + CARD].decode("latin-1")
                    return cls(cards, whole, block + BLOCK, start, frozenset(repeated), frozenset(odd))
                if key in _COMMENTARY:
                    continue
                if key == "CONTINUE":
                    odd.add(last)
                if card[8:10] != "= " or not _KEY.match(key):
                    odd.add(_keyword(card))
                    if card[8:10] != "= ":
                        continue
                last = key
                if key in cards:
                    repeated.add(key)
                else:
                    cards[key] = card[10:]
        raise FormatError("its header has no END")

    def shifted(self, by: int) -> Header:
        """Return the same header at ``by`` bytes further on, for one that was parsed from a part of a file."""
        return replace(self, start=self.start + by, data_start=self.data_start + by)

    @property
    def is_text(self) -> bool:
        """Whether every byte is printable ASCII, as the standard has it."""
        return _NOT_TEXT.search(self.text) is None

    @property
    def printable(self) -> str:
        """Text with a question mark for every byte that is not printable ASCII, as astropy reads it."""
        return _NOT_TEXT.sub("?", self.text)

    def get(self, key: str, default: Any = None) -> Any:
        """Value of a card: str, bool, int or float.

        Raises
        ------
        FormatError
            If the card holds no plain value.
        """
        if key not in self.cards:
            return default
        text = self.cards[key].strip(" ")
        if text.startswith("'"):
            string = _STRING.match(text)
            if string is None:
                raise FormatError(f"{key} = {_short(text)} is a string without end")
            return string[1].replace("''", "'").rstrip(" ")
        text = text.split("/", 1)[0].strip(" ")
        if text in ("T", "F"):
            return text == "T"
        if _INTEGER.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text.upper().replace("D", "E"))
        raise FormatError(f"{key} = {_short(text)} is no value")

    def integer(self, key: str, default: int | None = None, low: int = 0) -> int:
        """Value of a card that must be an integer >= ``low``, and small enough to count bytes with.

        Raises
        ------
        FormatError
        """
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 62:
            raise FormatError(f"{key} is {value!r}, an integer >= {low} is needed")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Value of a card that must be a finite number.

        Raises
        ------
        FormatError
        """
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise FormatError(f"{key} is {value!r}, a finite number is needed")
        return value

    def string(self, key: str, default: str = "") -> str:
        """Value of a card as stripped text; ``default`` if there is none or it cannot be read."""
        try:
            return str(self.get(key, default)).strip()
        except FormatError:
            return default

    def unusual(self, keys: Iterable[str]) -> str:
        """Name the first of ``keys`` that is given twice, in an odd form or without a plain value; "" if none is."""
        for key in keys:
            if key in self.repeated:
                return f"{key} given twice"
            if key in self.odd:
                return f"the form of its card {key}"
            try:
                self.get(key)
            except FormatError as error:
                return str(error)
        return ""

    @property
    def data_bytes(self) -> int:
        """Length of the data that follow, without padding."""
        n = self.integer("NAXIS", 0)
        if n == 0 or n > 999:
            return 0
        size = abs(self.integer("BITPIX", 8, -64)) // 8
        for axis in range(n):
            size *= self.integer(f"NAXIS{axis + 1}")
        return (size + self.integer("PCOUNT", 0)) * self.integer("GCOUNT", 1, 1)

    @property
    def data_end(self) -> int:
        """Byte after the data: a file that ends here is whole, though its last block lacks its padding."""
        return self.data_start + self.data_bytes

    @property
    def end(self) -> int:
        """Byte after the data and their padding: where the next HDU begins."""
        return self.data_start + -(-self.data_bytes // BLOCK) * BLOCK


def _keyword(card: str) -> str:
    """Keyword that an unusual card may be meant for, in capitals."""
    words = card.replace("\t", " ").replace("=", " ").upper().split()
    if words[:1] == ["HIERARCH"] and len(words) > 1:
        return words[1]
    return words[0] if words else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
