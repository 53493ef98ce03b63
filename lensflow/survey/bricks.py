"""Files of one survey brick: indexed once, read tile by tile and all at once, with every failure recorded.

No file that is missing, truncated or garbled stops a run: reading it raises or returns :class:`UnreadableFile`, which
says why, and the caller marks the hosts that needed it. A store that cannot be reached does stop it: see
:mod:`lensflow.survey.transport`.
"""

from __future__ import annotations

import math
import time
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import SurveyError
from lensflow.schema import Reason
from lensflow.survey.fits_index import FormatError, Header, ImageIndex, MoreBytes, index_image
from lensflow.survey.layout import BAND_PRODUCTS, Layout
from lensflow.survey.tile_codecs import BadTile, decode_tiles, gunzip
from lensflow.survey.transport import ByteRange, Transport, merge_ranges, whole_is_cheaper

# Headers and tile index of a full-size brick's file: 64 kB hold them.
HEAD_BYTES = 1 << 16
# Bands of a brick share one pixel grid; these keywords say so. The last ones stand in either form of the matrix.
_GRID_KEYS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
_MATRIX_KEYS = ("CDELT1", "CDELT2", *(f"{m}{i}_{j}" for m in ("CD", "PC") for i in (1, 2) for j in (1, 2)))

Access = Literal["auto", "ranges", "whole"]
Product = tuple[str, str]  # product, band ("" where it has none)


class UnreadableFile(SurveyError):
    """A survey file cannot be used; ``reason`` is MISSING_FILE or CORRUPT_FILE, the text names the file."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass
class BrickFile:
    """One file: its index and the parts of it that were fetched."""

    path: str
    index: ImageIndex
    _first: list[int] = field(default_factory=list)  # sorted
    _parts: list[tuple[float, bytes]] = field(default_factory=list)  # byte that was read up to, bytes

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (y, x)."""
        return self.index.shape

    def tiles_of(self, corners: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tile rows and columns that windows touch: first and last (window, 4), and whether there are any."""
        n, tile = np.array(self.shape), np.array(self.index.tile_shape)
        first, last = np.maximum(corners, 0), np.minimum(corners + size, n) - 1
        return np.concatenate([first // tile, last // tile], axis=1), (last >= first).all(axis=1)

    def wanted_rows(self, corners: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of all tiles that windows touch, sorted, and how many of its first rows are wanted of each."""
        spans, on = self.tiles_of(corners, size)
        columns, height = self.index.grid[1], self.index.tile_shape[0]
        stop = np.minimum(corners[:, 0] + size, self.shape[0])
        rows: dict[int, int] = {}
        for (y0, x0, y1, x1), end in zip(spans[on].tolist(), stop[on].tolist(), strict=True):
            for y in range(y0, y1 + 1):
                wanted = min(end - y * height, height)
                for tile in range(y * columns + x0, y * columns + x1 + 1):
                    rows[tile] = max(wanted, rows.get(tile, 0))
        tiles = np.array(sorted(rows), dtype=np.int64)
        return tiles, np.array([rows[t] for t in tiles.tolist()], dtype=np.int64)

    def bytes_of(self, start: int, stop: int) -> memoryview | None:
        """Fetched bytes ``start:stop`` of the file, fewer where it ends early; None if they were not fetched."""
        k = bisect_right(self._first, start) - 1
        if k < 0 or stop > self._parts[k][0]:
            return None
        first = self._first[k]
        return memoryview(self._parts[k][1])[start - first : stop - first]

    def keep(self, start: int, stop: float, part: bytes) -> None:
        """Keep the answer to a read of bytes ``start:stop``; infinity stands for the end of the file."""
        if start == 0 and stop == math.inf:
            self._first.clear()
            self._parts.clear()
        k = bisect_right(self._first, start)
        self._first.insert(k, start)
        self._parts.insert(k, (stop, part))


class Brick:
    """The files of one brick; made by :func:`open_brick`.

    Attributes
    ----------
    wcs : WCS or None
        Of the first readable image, r before the other bands; None if there is none.
    shape : (int, int) or None
        Pixels (y, x) of that image.
    n_files_opened, seconds_io
        Files whose index was read, and seconds of reading and decompressing.
    bytes_read, bytes_whole
        Bytes moved so far, and the size of all files that were opened.
    """

    def __init__(
        self, layout: Layout, name: str, bands: Sequence[str], transport: Transport, access: Access = "auto"
    ) -> None:
        self.layout, self.name, self.bands, self.access = layout, name, tuple(bands), access
        self.n_files_opened = 0
        self.bytes_whole = 0
        self.seconds_io = 0.0
        self.wcs: WCS | None = None
        self.shape: tuple[int, int] | None = None
        self._transport = transport
        self._moved_before = transport.bytes_moved
        self._files: dict[Product, BrickFile | UnreadableFile] = {}
        self._grid: tuple[float, ...] = ()

    @property
    def bytes_read(self) -> int:
        """Bytes moved for this brick so far."""
        return self._transport.bytes_moved - self._moved_before

    def load(self, products: Sequence[Product]) -> None:
        """Read the index of several files at once, images first; each file is opened once, failures are remembered.

        Raises
        ------
        TransportError
        """
        begin = time.perf_counter()
        # r first: its WCS is the brick's, the others are held against it.
        new = [p for p in dict.fromkeys(products) if p not in self._files]
        new.sort(key=lambda p: (p[0] != "image", p[1] != "r"))
        paths = [self.layout.path(self.name, *product) for product in new]
        heads = self._read_heads(paths)
        for product, path, head in zip(new, paths, heads, strict=True):
            try:
                self._files[product] = self._open(product, path, head)
            except UnreadableFile as error:
                self._files[product] = error
        self.seconds_io += time.perf_counter() - begin

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

    def fetch(self, wanted: Mapping[Product, tuple[NDArray[np.int64], int]]) -> None:
        """Fetch the compressed tiles that windows touch, of several files at once; unreadable files are left out.

        From disk only those tiles are read. Over a network they are read as ranges or the file as a whole,
        whichever is faster (:func:`~lensflow.survey.transport.whole_is_cheaper`), unless ``access`` says which.

        Parameters
        ----------
        wanted : mapping
            (product, band) -> corners (window, 2) as (y, x), and the window's size.
        """
        begin = time.perf_counter()
        ranges: list[ByteRange] = []
        owners: list[BrickFile] = []
        for product, (corners, size) in wanted.items():
            source = self._files.get(product)
            if not isinstance(source, BrickFile):
                continue
            for start, stop in self._missing_ranges(source, source.wanted_rows(corners, size)[0]):
                ranges.append(ByteRange(source.path, start, stop))
                owners.append(source)
        for source, wish, part in zip(owners, ranges, self._transport.read(ranges), strict=True):
            if isinstance(part, FileNotFoundError):
                part = b""  # it was there a moment ago: what is left of it is nothing
            assert wish.stop is not None
            if len(part) > wish.stop - wish.start:  # the server takes no ranges and sent the whole object
                source.keep(0, math.inf, part)
            else:
                source.keep(wish.start, wish.stop, part)
        self.seconds_io += time.perf_counter() - begin

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
        source = self.file(product, band)
        self.fetch({(product, band): (corners, size)})
        begin = time.perf_counter()
        tiles, rows = source.wanted_rows(corners, size)
        data, short = [], {}
        for k, tile in enumerate(tiles.tolist()):
            start, length = int(source.index.start[tile]), int(source.index.length[tile])
            part = source.bytes_of(start, start + length)
            if part is None or len(part) < length:
                short[k] = BadTile("the file ends before it", 0)
                part = memoryview(b"")
            data.append(part)
        pixels, bad = decode_tiles(source.index, tiles.tolist(), data, rows)
        out, on_bad = _gather(source, corners, size, fill, tiles, pixels, {**bad, **short})
        errors: list[UnreadableFile | None] = [None] * len(corners)
        for window, why in on_bad.items():
            errors[window] = UnreadableFile(Reason.CORRUPT_FILE, f"FITS tile cannot be read: {source.path} ({why}).")
        self.seconds_io += time.perf_counter() - begin
        return out, errors

    def content(self, product: str, band: str = "") -> bytes:
        """Read a small file whole.

        Raises
        ------
        UnreadableFile
            If it is missing.
        """
        begin = time.perf_counter()
        path = self.layout.path(self.name, product, band)
        found = self._transport.read([ByteRange(path)])[0]
        self.seconds_io += time.perf_counter() - begin
        if isinstance(found, FileNotFoundError):
            raise UnreadableFile(Reason.MISSING_FILE, f"No such survey file: {path}.")
        self.n_files_opened += 1
        self.bytes_whole += len(found)
        return found

    def _read_heads(self, paths: Sequence[str]) -> list[bytes | FileNotFoundError]:
        """First bytes of files, up to the end of the index; whole where the name says that it is gzipped."""
        stops = [None if path.endswith(".gz") else HEAD_BYTES for path in paths]
        heads = self._transport.read([ByteRange(p, 0, s) for p, s in zip(paths, stops, strict=True)])
        for _ in range(4):  # a header, or a table, longer than was read
            more = {}
            for k, head in enumerate(heads):
                stop = stops[k]
                if isinstance(head, FileNotFoundError) or stop is None or len(head) < stop:
                    continue
                try:
                    index_image(head)
                except MoreBytes as need:
                    more[k] = max(need.stop, 2 * stop)
                except FormatError:
                    pass
            if not more:
                break
            rest = self._transport.read([ByteRange(paths[k], stops[k] or 0, stop) for k, stop in more.items()])
            for (k, stop), part in zip(more.items(), rest, strict=True):
                head = heads[k]
                if isinstance(head, bytes) and isinstance(part, bytes):
                    heads[k], stops[k] = head + part, stop
        return heads

    def _open(self, product: Product, path: str, head: bytes | FileNotFoundError) -> BrickFile:
        if isinstance(head, FileNotFoundError):
            raise UnreadableFile(Reason.MISSING_FILE, f"No such survey file: {path}.")
        whole = path.endswith(".gz")
        try:
            if whole:
                head = gunzip(head)
            index = index_image(head)
        except MoreBytes as error:
            text = f"FITS file truncated: {path} (read {len(head) / 1e6:.3g} of at least {error.stop / 1e6:.3g} MB)."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        except (FormatError, zlib.error) as error:
            raise UnreadableFile(Reason.CORRUPT_FILE, f"FITS file cannot be read: {path} ({error}).") from error
        size = len(head) if whole else self._transport.size(path)
        if size is not None and size < index.end:
            text = f"FITS file truncated: {path} (read {size / 1e6:.3g} of {index.end / 1e6:.3g} MB)."
            raise UnreadableFile(Reason.CORRUPT_FILE, text)
        if index.shape != (self.shape or index.shape):
            text = f"FITS image has the wrong shape: {path} has {index.shape}, expected {self.shape}."
            raise UnreadableFile(Reason.CORRUPT_FILE, text)
        opened = BrickFile(path, index)
        opened.keep(0, math.inf if whole or len(head) >= index.end else len(head), head)
        if product[0] == "image":
            self._set_grid(opened)
        self.n_files_opened += 1
        self.bytes_whole += size or index.end
        return opened

    def _missing_ranges(self, source: BrickFile, tiles: NDArray[np.int64]) -> list[tuple[int, int]]:
        index = source.index
        starts, stops = index.start[tiles], index.start[tiles] + index.length[tiles]
        lacking = [
            (int(a), int(b)) for a, b in zip(starts, stops, strict=True) if b > a and source.bytes_of(a, b) is None
        ]
        if not lacking:
            return []
        if not self._transport.is_remote:
            return merge_ranges(lacking, gap=0)
        ranges = merge_ranges(lacking)
        if self.access == "whole" or (self.access == "auto" and whole_is_cheaper(ranges, index.end)):
            return [(0, index.end)]
        return ranges

    def _set_grid(self, opened: BrickFile) -> None:
        """Take the brick's WCS from its first image; hold the others against it."""
        header = opened.index.header
        try:
            grid = tuple(float(header.get(k)) for k in _GRID_KEYS)
            grid += tuple(header.number(k, 0) for k in _MATRIX_KEYS)
        except (FormatError, TypeError, ValueError) as error:
            raise UnreadableFile(Reason.CORRUPT_FILE, f"FITS image has no WCS: {opened.path}.") from error
        if self.wcs is not None:
            if not np.allclose(grid, self._grid, rtol=0, atol=1e-7):
                text = (
                    f"WCS differs between the bands of a brick: {opened.path} has {_short(grid)}, "
                    f"expected {_short(self._grid)}."
                )
                raise UnreadableFile(Reason.CORRUPT_FILE, text)
            return
        try:
            wcs = _tangent_wcs(header)
        except Exception as error:  # wcslib has a dozen ways to refuse a header
            text = f"FITS image has no usable WCS of the sky: {opened.path} ({error})."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        self.wcs, self.shape, self._grid = wcs, opened.shape, grid


def _short(grid: tuple[float, ...]) -> str:
    return f"({', '.join(f'{v:g}' for v in grid if v)})"


def _tangent_wcs(header: Header) -> WCS:
    """WCS of the sky from the cards that survey coadds have.

    Built from numbers, not from the header's text: astropy parses each of its hundred cards, and warns of many.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [str(header.get(f"CTYPE{i}", "")) for i in (1, 2)]
    wcs.wcs.cunit = [str(header.get(f"CUNIT{i}", "deg")) for i in (1, 2)]
    wcs.wcs.crval = [header.number(f"CRVAL{i}", 0) for i in (1, 2)]
    wcs.wcs.crpix = [header.number(f"CRPIX{i}", 0) for i in (1, 2)]
    if any(f"CD{i}_{j}" in header.cards for i in (1, 2) for j in (1, 2)):
        wcs.wcs.cd = [[header.number(f"CD{i}_{j}", 0) for j in (1, 2)] for i in (1, 2)]
    else:
        wcs.wcs.cdelt = [header.number(f"CDELT{i}", 1) for i in (1, 2)]
        wcs.wcs.pc = [[header.number(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    if "LONPOLE" in header.cards:
        wcs.wcs.lonpole = header.number("LONPOLE", 180)
    wcs.wcs.set()
    if not wcs.has_celestial:
        raise FormatError(f"CTYPE is {', '.join(wcs.wcs.ctype)}")
    return wcs


def _gather(
    source: BrickFile,
    corners: NDArray[np.int64],
    size: int,
    fill: float,
    tiles: NDArray[np.int64],
    pixels: NDArray[Any],
    bad: Mapping[int, BadTile],
) -> tuple[NDArray[Any], dict[int, str]]:
    """Put windows together from decoded tiles; return them and, by window, why one cannot be read."""
    out = np.full((len(corners), size, size), fill, dtype=pixels.dtype)
    slot = {int(tile): k for k, tile in enumerate(tiles)}
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
                if k in bad and b - ty * tile_y > bad[k].good_rows:
                    broken.setdefault(window, bad[k].why)
                    continue
                c, d = max(x, tx * tile_x, 0), min(x + size, (tx + 1) * tile_x, width)
                part = pixels[k, a - ty * tile_y : b - ty * tile_y, c - tx * tile_x : d - tx * tile_x]
                out[window, a - y : b - y, c - x : d - x] = part
    return out, broken


@contextmanager
def open_brick(
    layout: Layout, brick: str, bands: Sequence[str], products: Sequence[str] = ("image",), access: Access = "auto"
) -> Iterator[Brick]:
    """Give the files of a brick; ``products`` are indexed at once, others when asked for, all closed at the end.

    Never fails for want of a file: see :meth:`Brick.problem`.

    Raises
    ------
    TransportError
        If the store cannot be reached.
    """
    with Transport(layout.root) as transport:
        opened = Brick(layout, brick, bands, transport, access)
        opened.load([(p, b) for p in ("image", *products) for b in (bands if p in BAND_PRODUCTS else ("",))])
        yield opened


def wcs_to_pixel(wcs: WCS, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Zero-based pixel position (x, y) of sky positions; NaN where the projection has no answer.

    Survey coadds are pure tangent projections, so no distortion terms are applied.
    """
    sky = np.atleast_1d(np.asarray(ra_deg, dtype=np.float64)), np.atleast_1d(np.asarray(dec_deg, dtype=np.float64))
    x, y = wcs.wcs_world2pix(*sky, 0)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def pixel_scale_arcsec(wcs: WCS) -> float:
    """Side of a pixel in arcsec: the square root of its area on the sky at the reference point."""
    return float(np.sqrt(proj_plane_pixel_area(wcs.celestial)) * 3600)


def brick_pixel_scale_arcsec(layout: Layout, brick: str, bands: Sequence[str]) -> float:
    """Pixel scale from the WCS of the brick's first readable image, r before the other bands.

    Raises
    ------
    SurveyError
        If no image of the brick can be read; the message says why for every band.
    """
    with open_brick(layout, brick, bands) as opened:
        if opened.wcs is not None:
            return pixel_scale_arcsec(opened.wcs)
        why = " ".join(str(opened.problem("image", band)) for band in opened.bands)
    raise SurveyError(f"brick {brick}: no readable image in {', '.join(bands)}. {why} Is survey.root right?")
