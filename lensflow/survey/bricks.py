"""Files of one survey brick: indexed once, read tile by tile and all at once, with every failure recorded.

No file that is missing, truncated or garbled stops a run: reading it raises or returns :class:`UnreadableFile`, which
says why, and the caller marks the hosts that needed it. A store that cannot be reached does stop it: see
:mod:`lensflow.fits.transport`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import SurveyError
from lensflow.fits.header import BLOCK, FormatError, MoreBytes
from lensflow.fits.tile_codecs import decode_tiles
from lensflow.fits.transport import ByteRange, Transport, merge_ranges, whole_is_cheaper
from lensflow.schema import Reason
from lensflow.survey.brick_file import BrickFile, Source, bytes_lacking, open_file
from lensflow.survey.layout import Layout
from lensflow.survey.sky_grid import SkyGrid, grid_of, needs_tables, wcs_cards
from lensflow.survey.weights import as_invvar

# Headers and tile index of a full-size brick's file: 64 kB hold them.
HEAD_BYTES = 1 << 16
# Suffixes of files compressed as a whole, which are read whole at once.
_PACKED = (".gz", ".bz2", ".xz")
# Integer products; their undefined pixels get the value of pixels off the image.
_WHOLE_NUMBERS: dict[str, np.iinfo[Any]] = {"maskbits": np.iinfo(np.int32), "nexp": np.iinfo(np.int64)}

# What reading a brick takes, as its attributes count it.
SPENT = ("seconds_io", "bytes_read", "bytes_whole", "n_files_opened", "n_through_astropy")

Access = Literal["auto", "ranges", "whole"]
Product = tuple[str, str]  # product, band ("" where it has none)


class UnreadableFile(SurveyError):
    """A survey file cannot be used; ``reason`` is MISSING_FILE or CORRUPT_FILE, the text names the file."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Brick:
    """The files of one brick; made by :func:`open_brick`.

    Attributes
    ----------
    wcs : SkyGrid or None
        Of the first readable image, r before the other bands; None if there is none.
    shape : (int, int) or None
        Pixels (y, x) of that image.
    n_files_opened, n_through_astropy, seconds_io
        Files whose index was read, those of them that astropy reads, and seconds of reading and decompressing.
    bytes_read, bytes_whole
        Bytes moved so far, and the size of all files that were opened.
    """

    def __init__(
        self, layout: Layout, name: str, bands: Sequence[str], transport: Transport, access: Access = "auto"
    ) -> None:
        self.layout, self.name, self.bands, self.access = layout, name, tuple(bands), access
        self.n_files_opened = self.n_through_astropy = 0
        self.bytes_whole = 0
        self.seconds_io = 0.0
        self.wcs: SkyGrid | None = None
        self.shape: tuple[int, int] | None = None
        self._transport = transport
        self._moved_before = transport.bytes_moved
        self._files: dict[Product, BrickFile | UnreadableFile] = {}
        self._contents: dict[Product, bytes] = {}
        self._taken: dict[str, float] = dict.fromkeys(SPENT, 0)

    @property
    def bytes_read(self) -> int:
        """Bytes moved for this brick so far."""
        return self._transport.bytes_moved - self._moved_before

    def take_spent(self) -> dict[str, float]:
        """What reading took since this was last asked for, by the names of SPENT."""
        now = {name: getattr(self, name) for name in SPENT}
        before, self._taken = self._taken, now
        return {name: now[name] - before[name] for name in SPENT}

    def load(self, products: Sequence[Product]) -> None:
        """Read the index of several files at once, images first; each file is opened once, failures are remembered.

        Raises
        ------
        TransportError
        """
        begin = time.perf_counter()
        # r first: its WCS is the brick's, the others are compared with it.
        new = [p for p in dict.fromkeys(products) if p not in self._files]
        for product in [p for p in new if not self.layout.has(p[0])]:
            text = f"No {product[0]} in this layout: {self.layout.kind} names one file for the planes of a band."
            self._files[product] = UnreadableFile(Reason.MISSING_FILE, text)
            new.remove(product)
        new.sort(key=lambda p: (p[0] != "image", p[1] != "r"))
        paths = [self.layout.path(self.name, *product) for product in new]
        heads = self._read_heads(paths)
        for product, path, (head, asked) in zip(new, paths, heads, strict=True):
            self._open(product, path, head, asked)
        self.seconds_io += time.perf_counter() - begin

    def close(self) -> None:
        """Close files that astropy holds open."""
        for found in self._files.values():
            if isinstance(found, BrickFile):
                found.close()

    def file(self, product: str, band: str = "") -> BrickFile:
        """Return the indexed file.

        Raises
        ------
        UnreadableFile
            If the file is missing, truncated, no FITS image, of another shape or without the brick's WCS.
        """
        self.load([(product, band)])
        found = self._files[product, band]
        if isinstance(found, UnreadableFile):
            raise UnreadableFile(found.reason, str(found))
        return found

    def problem(self, product: str, band: str = "") -> UnreadableFile | None:
        """Why the file cannot be used, or None if it can."""
        try:
            self.file(product, band)
        except UnreadableFile as error:
            return error
        return None

    def card(self, product: str, band: str, key: str) -> Any:
        """Value of a card of the header that belongs to a product's image; None if there is none.

        The HDU of the image is asked first, then the file's first HDU.

        Raises
        ------
        UnreadableFile
            As :meth:`file`, and if the card cannot be read or is given twice with different values.
        """
        source = self.file(product, band)
        try:
            return source.card(key)
        except FormatError as error:
            raise _corrupt("FITS header cannot be read", source.path, error) from error

    def through_astropy(self, product: str, band: str = "") -> str:
        """Return why astropy reads a file, more slowly than lensflow's own reader; "" if it does not."""
        found = self._files.get((product, band))
        if not isinstance(found, BrickFile):
            return ""
        wcs = self.wcs.through_astropy if product == "image" and self.wcs is not None else ""
        reasons = [found.through_astropy, f"WCS with {wcs}" if wcs else ""]
        return "; ".join(reason for reason in reasons if reason)

    def fetch(self, wanted: Mapping[Product, tuple[NDArray[np.int64], int]]) -> None:
        """Fetch the compressed tiles that windows touch, of several files at once; unreadable files are left out.

        From disk only those tiles are read. Over a network they are read as ranges or the file as a whole,
        whichever is faster (:func:`~lensflow.fits.transport.whole_is_cheaper`), unless ``access`` says which.

        Parameters
        ----------
        wanted : mapping
            (product, band) -> corners (window, 2) as (y, x), and the window's size.
        """
        begin = time.perf_counter()
        ranges: list[ByteRange] = []
        owners: list[BrickFile] = []
        beyond: dict[Product, int] = {}
        for product, (corners, size) in wanted.items():
            source = self._files.get(product)
            if not isinstance(source, BrickFile) or source.index is None:
                continue
            if source.look_beyond is not None:
                beyond[product] = len(ranges)
                ranges.append(ByteRange(source.path, source.look_beyond, source.look_beyond + BLOCK))
                owners.append(source)
            for start, stop in self._missing_ranges(source, source.wanted_rows(corners, size)[0]):
                ranges.append(ByteRange(source.path, start, stop))
                owners.append(source)
        parts = self._transport.read(ranges)
        for source, wish, part in zip(owners, ranges, parts, strict=True):
            if isinstance(part, FileNotFoundError):
                part = b""  # it existed a moment ago: treat it as truncated to nothing
            assert wish.stop is not None
            if len(part) > wish.stop - wish.start:  # the server takes no ranges and sent the whole object
                source.keep(0, math.inf, part)
            else:
                source.keep(wish.start, wish.stop, part)
        for product, k in beyond.items():
            self._look_beyond(product, owners[k], ranges[k], parts[k])
        self.seconds_io += time.perf_counter() - begin

    def _look_beyond(
        self, product: Product, source: BrickFile, wish: ByteRange, part: bytes | FileNotFoundError
    ) -> None:
        """Choose again where the file holds more HDUs than its first bytes showed."""
        source.look_beyond = None
        if isinstance(part, FileNotFoundError):
            return
        if len(part) > BLOCK:  # the whole object
            part = part[wish.start :]
        if part.startswith(b"XTENSION"):
            whole = self._transport.read([ByteRange(source.path)])[0]
            self.n_files_opened -= 1
            self._open(product, source.path, whole, None)

    def windows(
        self, product: str, band: str, corners: NDArray[np.int64], size: int, fill: float
    ) -> tuple[NDArray[Any], list[UnreadableFile | None]]:
        """Read ``size`` x ``size`` pixels from each corner (y, x); every tile is decompressed once.

        Parameters
        ----------
        corners : ndarray of int64, shape (window, 2)
        fill : float
            Value of pixels off the image.

        Returns
        -------
        pixels : ndarray, shape (window, size, size)
        errors : list
            Per window, why it cannot be read (then its pixels mean nothing) or None. A tile that cannot be
            decompressed strikes only the windows on it: what a host gets never depends on the other hosts.

        Raises
        ------
        UnreadableFile
            As :meth:`file`.
        """
        self.file(product, band)
        self.fetch({(product, band): (corners, size)})
        source = self.file(product, band)
        begin = time.perf_counter()
        if source.astropy is not None:
            out, on_bad = source.astropy.windows(corners, size, fill)
        else:
            out, on_bad = _own_windows(source, corners, size, fill)
        if product == "invvar" and self.layout.weights != "invvar":
            out = as_invvar(out, self.layout.weights)
        if product in _WHOLE_NUMBERS:
            out = _whole_numbers(out, fill, on_bad, _WHOLE_NUMBERS[product])
        errors: list[UnreadableFile | None] = [None] * len(corners)
        for window, why in on_bad.items():
            errors[window] = UnreadableFile(Reason.CORRUPT_FILE, f"FITS tile cannot be read: {source.path} ({why}).")
        self.seconds_io += time.perf_counter() - begin
        return out, errors

    def content(self, product: str, band: str = "") -> bytes:
        """Read a small file whole, once.

        Raises
        ------
        UnreadableFile
            If it is missing.
        """
        if (product, band) in self._contents:
            return self._contents[product, band]
        begin = time.perf_counter()
        path = self.layout.path(self.name, product, band)
        found = self._transport.read([ByteRange(path)])[0]
        self.seconds_io += time.perf_counter() - begin
        if isinstance(found, FileNotFoundError):
            raise UnreadableFile(Reason.MISSING_FILE, f"No such survey file: {path}.")
        self.n_files_opened += 1
        self.bytes_whole += len(found)
        self._contents[product, band] = found
        return found

    def _read_heads(self, paths: Sequence[str]) -> list[tuple[bytes | FileNotFoundError, int | None]]:
        """First bytes of files, up to the end of the index, and how many were asked for; None for all."""
        asked: list[int | None] = [None if path.endswith(_PACKED) else HEAD_BYTES for path in paths]
        heads = self._transport.read([ByteRange(p, 0, s) for p, s in zip(paths, asked, strict=True)])
        for _ in range(4):  # a header, or a table, longer than was read; a file that is packed whatever its name
            more = {}
            for k, head in enumerate(heads):
                stop = asked[k]
                if isinstance(head, bytes) and stop is not None and len(head) == stop:
                    lacking = bytes_lacking(head, stop)
                    if lacking is not None:
                        more[k] = lacking
            if not more:
                break
            wishes = [ByteRange(paths[k], 0, None) if stop < 0 else ByteRange(paths[k], asked[k] or 0, stop)
                      for k, stop in more.items()]  # fmt: skip
            for (k, stop), part in zip(more.items(), self._transport.read(wishes), strict=True):
                head = heads[k]
                if isinstance(head, bytes) and isinstance(part, bytes):
                    heads[k], asked[k] = (part, None) if stop < 0 else (head + part, stop)
        return list(zip(heads, asked, strict=True))

    def _open(self, product: Product, path: str, head: bytes | FileNotFoundError, asked: int | None) -> None:
        """Open a file, or remember why it cannot be used."""
        opened = None
        try:
            if isinstance(head, FileNotFoundError):
                raise UnreadableFile(Reason.MISSING_FILE, f"No such survey file: {path}.")
            opened = self._opened(product, path, head, asked)
            self._hold_against_brick(product, opened)
        except UnreadableFile as error:
            self._files[product] = error
            if opened is not None:
                opened.close()
            return
        self._files[product] = opened
        self.n_files_opened += 1
        self.n_through_astropy += opened.astropy is not None
        self.bytes_whole += opened.size or opened.end

    def _opened(self, product: Product, path: str, head: bytes, asked: int | None) -> BrickFile:
        size = len(head)
        try:
            source = Source(path, self._transport, head, asked)
            size = source.size or source.known
            role = self.layout.weights if product[0] == "invvar" else product[0]
            return open_file(source, role, self.shape)
        except MoreBytes as error:
            need = f"{'' if error.exact else 'at least '}{error.stop / 1e6:.3g}"
            text = f"FITS file truncated: {path} (read {size / 1e6:.3g} of {need} MB)."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        except FormatError as error:
            raise _corrupt("FITS file cannot be read", path, error) from error

    def _missing_ranges(self, source: BrickFile, tiles: NDArray[np.int64]) -> list[tuple[int, int]]:
        index = source.index
        assert index is not None
        starts, stops = index.start[tiles], index.start[tiles] + index.length[tiles]
        lacking = [
            (int(a), int(b)) for a, b in zip(starts, stops, strict=True) if b > a and source.bytes_of(a, b) is None
        ]
        if not lacking:
            return []
        if not self._transport.is_remote:
            return merge_ranges(lacking, gap=0)
        ranges = merge_ranges(lacking)
        if self.access == "whole" or (self.access == "auto" and whole_is_cheaper(ranges, source.end)):
            return [(0, source.end)]
        return ranges

    def _hold_against_brick(self, product: Product, opened: BrickFile) -> None:
        """Take the brick's WCS from its first image; all other files must have the same pixel grid."""
        if opened.shape != (self.shape or opened.shape):
            text = f"FITS image has the wrong shape: {opened.path} has {opened.shape}, expected {self.shape}."
            raise UnreadableFile(Reason.CORRUPT_FILE, text)
        cards = wcs_cards(opened.header)
        if self.wcs is not None and self.wcs.cards == cards and not needs_tables(opened.header):
            return
        if product[0] != "image" and (self.wcs is None or "CTYPE1" not in cards):
            return  # weights and maps may come without a WCS: their shape is the brick's
        try:
            grid = grid_of(opened.header, opened.shape, opened.astropy.hdus if opened.astropy else None)
        except FormatError as error:
            raise _corrupt("FITS image cannot be used", opened.path, error) from error
        if self.wcs is None:
            self.wcs, self.shape = grid, opened.shape
        elif not self.wcs.same_as(grid):
            which = "the bands" if product[0] == "image" else "the files"
            text = (
                f"WCS differs between {which} of a brick: {opened.path} has {_short(cards)}, expected "
                f"{_short(self.wcs.cards)}."
            )
            raise UnreadableFile(Reason.CORRUPT_FILE, text)


def _corrupt(what: str, path: str, error: Exception) -> UnreadableFile:
    return UnreadableFile(Reason.CORRUPT_FILE, f"{what}: {path} ({error}).")


def _short(cards: Mapping[str, str]) -> str:
    shown = [f"{key} {value}" for key, value in cards.items() if key[:5] in ("CTYPE", "CRVAL", "CRPIX")]
    return f"({', '.join(shown)})"


def _own_windows(
    source: BrickFile, corners: NDArray[np.int64], size: int, fill: float
) -> tuple[NDArray[Any], dict[int, str]]:
    """Decode the tiles that windows touch; return the windows and, by window, why one cannot be read."""
    index = source.index
    assert index is not None
    tiles, rows = source.wanted_rows(corners, size)
    data, short = [], {}
    for k, tile in enumerate(tiles.tolist()):
        start, length = int(index.start[tile]), int(index.length[tile])
        part = source.bytes_of(start, start + length)
        if part is None or len(part) < length:
            short[k] = "the file ends before it"
            part = memoryview(b"")
        data.append(part)
    pixels, bad = decode_tiles(index, tiles.tolist(), data, rows)
    return _gather(source, corners, size, fill, tiles, pixels, {**bad, **short})


def _whole_numbers(pixels: NDArray[Any], fill: float, bad: dict[int, str], limits: np.iinfo[Any]) -> NDArray[Any]:
    """Convert windows of an integer product to integers; record invalid ones in ``bad``."""
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 4 and pixels.dtype != np.uint32:
        return pixels
    if pixels.dtype.kind == "f":
        pixels = np.where(np.isnan(pixels), fill, pixels)
        odd = (pixels != np.floor(pixels)) | (np.abs(pixels) > 2.0**53)
    else:
        odd = np.zeros(pixels.shape, bool)
    odd |= (pixels < limits.min) | (pixels > limits.max)
    for window in np.flatnonzero(odd.any(axis=(1, 2))).tolist():
        bad.setdefault(window, f"it holds {pixels[window][odd[window]][0]}, where a whole number is needed")
    return np.where(odd, 0, pixels).astype(np.int64)


def _gather(
    source: BrickFile,
    corners: NDArray[np.int64],
    size: int,
    fill: float,
    tiles: NDArray[np.int64],
    pixels: NDArray[Any],
    bad: Mapping[int, str],
) -> tuple[NDArray[Any], dict[int, str]]:
    """Put windows together from decoded tiles; return them and, by window, why one cannot be read."""
    out = np.full((len(corners), size, size), fill, dtype=pixels.dtype)
    slot = {int(tile): k for k, tile in enumerate(tiles)}
    assert source.index is not None
    tile_y, tile_x = source.index.tile_shape
    columns = source.index.grid[1]
    height, width = source.shape
    spans, on = source.tiles_of(corners, size)
    broken: dict[int, str] = {}
    for window in np.flatnonzero(on).tolist():
        (y, x), (ty0, tx0, ty1, tx1) = corners[window].tolist(), spans[window].tolist()
        for ty in range(ty0, ty1 + 1):
            a, b = max(y, ty * tile_y, 0), min(y + size, (ty + 1) * tile_y, height)
            for tx in range(tx0, tx1 + 1):
                k = slot[ty * columns + tx]
                if k in bad:
                    broken.setdefault(window, bad[k])
                    continue
                c, d = max(x, tx * tile_x, 0), min(x + size, (tx + 1) * tile_x, width)
                part = pixels[k, a - ty * tile_y : b - ty * tile_y, c - tx * tile_x : d - tx * tile_x]
                out[window, a - y : b - y, c - x : d - x] = part
    return out, broken


@contextmanager
def open_brick(
    layout: Layout, brick: str, bands: Sequence[str], products: Sequence[str] = ("image",), access: Access = "auto"
) -> Iterator[Brick]:
    """Open the files of a brick; ``products`` are indexed at once, others on demand, all closed at the end.

    A missing file is never an error here: see :meth:`Brick.problem`.

    Raises
    ------
    TransportError
        If the store cannot be reached.
    """
    with Transport(layout.root) as transport:
        opened = Brick(layout, brick, bands, transport, access)
        opened.load([(p, b) for p in ("image", *products) for b in layout.bands_of(p, bands)])
        try:
            yield opened
        finally:
            opened.close()


def brick_pixel_scale_arcsec(layout: Layout, brick: str, bands: Sequence[str]) -> float:
    """Pixel scale from the WCS of the brick's first readable image, r before the other bands.

    Raises
    ------
    SurveyError
        If no image of the brick can be read; the message says why for every band.
    """
    with open_brick(layout, brick, bands) as opened:
        if opened.wcs is not None:
            return opened.wcs.pixel_scale_arcsec
        why = " ".join(str(opened.problem("image", band)) for band in opened.bands)
    raise SurveyError(f"brick {brick}: no readable image in {', '.join(bands)}. {why} Is survey.root right?")
