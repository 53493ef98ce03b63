"""Files of one survey brick, opened when first needed, read tile by tile, with every failure recorded.

No file that is missing, truncated or garbled stops a run: reading it raises :class:`UnreadableFile`, which
says why, and the caller marks the hosts that needed it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import SurveyError
from lensflow.schema import Reason
from lensflow.survey.layout import Layout

# Remote files are read in blocks of this size: a stamp needs a few tiles of some 10 kB, not megabytes.
REMOTE_BLOCK_BYTES = 1 << 18
# Bands of a brick share one pixel grid; these keywords say so.
_GRID_KEYS = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")


class UnreadableFile(SurveyError):
    """A survey file cannot be used; ``reason`` is MISSING_FILE or CORRUPT_FILE, the text names the file."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def open_fits(path: str, stack: ExitStack) -> tuple[fits.HDUList, int]:
    """Open a FITS file at a path or any fsspec URL; return it with the file's size in bytes.

    ``stack`` closes it. Local files are opened by path with memmap off: only what is asked for is read.
    """
    filesystem, inner = fsspec.core.url_to_fs(path)
    if isinstance(filesystem, LocalFileSystem):
        size = Path(inner).stat().st_size
        return stack.enter_context(fits.open(inner, memmap=False)), size
    handle = filesystem.open(inner, "rb", block_size=REMOTE_BLOCK_BYTES, cache_type="blockcache")
    handle = stack.enter_context(handle)
    size = handle.seek(0, 2)
    handle.seek(0)
    return stack.enter_context(fits.open(handle, memmap=False)), size


@dataclass
class BrickFile:
    """One opened file: the image in HDU 1 and the compressed size of each of its tiles."""

    path: str
    hdu: Any
    tile_bytes: NDArray[np.int64] | None  # (tile row, tile column); None where the image is not compressed

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (y, x)."""
        return (int(self.hdu.shape[0]), int(self.hdu.shape[1]))

    def bytes_of(self, y: slice, x: slice) -> int:
        """Bytes that reading ``[y, x]`` takes from the file: the compressed tiles that it touches."""
        if self.tile_bytes is None:
            return (y.stop - y.start) * (x.stop - x.start) * abs(int(self.hdu.header["BITPIX"])) // 8
        ty, tx = (int(n) for n in self.hdu.tile_shape)
        rows, columns = slice(y.start // ty, -(-y.stop // ty)), slice(x.start // tx, -(-x.stop // tx))
        return int(self.tile_bytes[rows, columns].sum())


class Brick:
    """The files of one brick; made by :func:`open_brick`.

    Attributes
    ----------
    wcs : WCS or None
        Of the first readable image, r before the other bands; None if there is none.
    shape : (int, int) or None
        Pixels (y, x) of that image.
    n_files_opened, bytes_read, seconds_io
        What was spent so far. ``bytes_read`` counts the compressed tiles that were touched (each time they
        were) and each file's header and tile index; a cache below may have read more.
    """

    def __init__(self, layout: Layout, name: str, bands: Sequence[str], stack: ExitStack) -> None:
        self.layout, self.name, self.bands = layout, name, tuple(bands)
        self.n_files_opened = 0
        self.bytes_read = 0
        self.seconds_io = 0.0
        self.wcs: WCS | None = None
        self.shape: tuple[int, int] | None = None
        self._stack = stack
        self._files: dict[tuple[str, str], BrickFile | UnreadableFile] = {}
        self._grid: tuple[float, ...] = ()
        for band in sorted(self.bands, key=lambda b: b != "r"):
            try:
                self.file("image", band)
            except UnreadableFile:
                continue
            break

    def file(self, product: str, band: str = "") -> BrickFile:
        """Return the opened file; each is opened once, and a failure is remembered.

        Raises
        ------
        UnreadableFile
            If the file is missing, truncated, no FITS image, of another shape or without the brick's WCS.
        """
        key = (product, band)
        if key not in self._files:
            begin = time.perf_counter()
            try:
                self._files[key] = self._open(product, band)
            except UnreadableFile as error:
                self._files[key] = error
            self.seconds_io += time.perf_counter() - begin
        found = self._files[key]
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

    def read(self, product: str, band: str, y: slice, x: slice) -> NDArray[Any]:
        """Read the pixels ``[y, x]``, which lie on the image; only the tiles that hold them are decompressed.

        Raises
        ------
        UnreadableFile
            As :meth:`file`, or if one of the tiles cannot be decompressed. Other tiles stay readable: what
            a host gets never depends on which hosts were read before it.
        """
        source = self.file(product, band)
        begin = time.perf_counter()
        try:
            pixels = np.asarray(source.hdu.section[y, x])
            self.bytes_read += source.bytes_of(y, x)
        except Exception as error:  # zlib, struct, numpy, OSError, ...: a bad tile shows in many ways
            place = f"pixels [{y.start}:{y.stop}, {x.start}:{x.stop}]"
            text = f"FITS tile cannot be read: {source.path}, {place} ({type(error).__name__}: {error})."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        finally:
            self.seconds_io += time.perf_counter() - begin
        return pixels

    def window(self, product: str, band: str, corner: tuple[int, int], size: int, fill: float) -> NDArray[Any]:
        """Read ``size`` x ``size`` pixels from ``corner`` (y, x); those off the image are ``fill``."""
        shape = self.file(product, band).shape
        on = [slice(max(c, 0), min(c + size, n)) for c, n in zip(corner, shape, strict=True)]
        if any(s.stop <= s.start for s in on):
            return np.full((size, size), fill)
        pixels = self.read(product, band, on[0], on[1])
        if pixels.shape == (size, size):
            return pixels
        out = np.full((size, size), fill, dtype=pixels.dtype)
        out[tuple(slice(s.start - c, s.stop - c) for s, c in zip(on, corner, strict=True))] = pixels
        return out

    def _open(self, product: str, band: str) -> BrickFile:
        path = self.layout.path(self.name, product, band)
        try:
            hdus, size = open_fits(path, self._stack)
            hdu = hdus[1]
            info = hdu.fileinfo()
            end = int(info["datLoc"]) + int(info["datSpan"])
            shape = tuple(hdu.shape)
            tile_bytes = _tile_bytes(hdu) if size >= end and len(shape) == 2 else None
            grid = _grid(hdu.header) if product == "image" else ()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UnreadableFile(Reason.MISSING_FILE, f"No such survey file: {path}.") from error
        except Exception as error:  # whatever astropy or the filesystem makes of garbage, the answer is the same
            text = f"FITS file cannot be read: {path} ({type(error).__name__}: {error})."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        if size < end:
            text = f"FITS file truncated: {path} (read {size / 1e6:.3g} of {end / 1e6:.3g} MB)."
            raise UnreadableFile(Reason.CORRUPT_FILE, text)
        if len(shape) != 2 or shape != (self.shape or shape):
            text = f"FITS image has the wrong shape: {path} has {shape}, expected {self.shape or '(y, x)'}."
            raise UnreadableFile(Reason.CORRUPT_FILE, text)
        opened = BrickFile(path, hdu, tile_bytes)
        if product == "image":
            self._set_grid(opened, grid)
        self.n_files_opened += 1
        self.bytes_read += int(info["datLoc"]) + (int(hdu.compressed_data.nbytes) if tile_bytes is not None else 0)
        return opened

    def _set_grid(self, opened: BrickFile, grid: tuple[float, ...]) -> None:
        """Take the brick's WCS from its first image; hold the others against it."""
        if not grid:
            raise UnreadableFile(Reason.CORRUPT_FILE, f"FITS image has no WCS: {opened.path}.")
        if self.wcs is not None:
            if not np.allclose(grid, self._grid, rtol=0, atol=1e-7):
                text = f"WCS differs between the bands of a brick: {opened.path} has {grid}, expected {self._grid}."
                raise UnreadableFile(Reason.CORRUPT_FILE, text)
            return
        try:
            # fix=False: the fixes concern dates and units that play no part here, and each one warns.
            wcs = WCS(opened.hdu.header, naxis=2, fix=False)
            usable = wcs.has_celestial
        except Exception as error:  # wcslib has a dozen ways to refuse a header
            text = f"FITS image has no usable WCS: {opened.path} ({error})."
            raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        if not usable:
            raise UnreadableFile(Reason.CORRUPT_FILE, f"FITS image has no WCS of the sky: {opened.path}.")
        self.wcs, self.shape, self._grid = wcs, opened.shape, grid


def _grid(header: fits.Header) -> tuple[float, ...]:
    return tuple(float(header[k]) for k in _GRID_KEYS) if all(k in header for k in _GRID_KEYS) else ()


def _tile_bytes(hdu: Any) -> NDArray[np.int64] | None:
    """Compressed size of every tile from the file's own index, shape (tile row, tile column)."""
    if not isinstance(hdu, fits.CompImageHDU):
        return None
    table = hdu.compressed_data
    size = np.zeros(len(table), dtype=np.int64)
    for name in ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA"):
        if name in table.dtype.names:
            size += np.asarray(table[name])[:, 0]
    return size.reshape([-(-n // t) for n, t in zip(hdu.shape, hdu.tile_shape, strict=True)])


@contextmanager
def open_brick(layout: Layout, brick: str, bands: Sequence[str]) -> Iterator[Brick]:
    """Give the files of a brick; they are opened when first read, once, and closed at the end.

    Never fails for want of a file: see :meth:`Brick.problem`.
    """
    with ExitStack() as stack:
        yield Brick(layout, brick, bands, stack)


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
