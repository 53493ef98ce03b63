"""One open file of a brick: its image, the location of its tiles, and their reader."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lensflow.fits.astropy_image import AstropyImage, quiet
from lensflow.fits.choice import choose, read_headers
from lensflow.fits.header import FormatError, Header, MoreBytes
from lensflow.fits.index import ImageIndex, headers, index_hdu, is_image, table_end
from lensflow.fits.known import contradiction, refused, unhandled
from lensflow.fits.transport import ByteRange, Transport
from lensflow.fits.unpack import packing, unpack
from lensflow.survey.sky_grid import needs_tables

# Beyond this it is not a longer header but the data of another HDU.
_HEADER_REACH = 1 << 20


class Source:
    """Bytes of a file: the first ones in memory, others read on demand; a packed file is unpacked.

    Parameters
    ----------
    path : str
    transport : Transport
    head : bytes
        The file's first bytes.
    asked : int or None
        How many were asked for; None for all.

    Attributes
    ----------
    size : int or None
        Bytes of the file, unpacked; None where a store would have to be asked.
    packed : str
        How it is packed; "" if it is not.

    Raises
    ------
    FormatError
        If it is packed in a way that is not read, or damaged.
    """

    def __init__(self, path: str, transport: Transport, head: bytes, asked: int | None) -> None:
        self.path, self._transport, self._head = path, transport, head
        self.packed = packing(head)
        if self.packed:
            self._head = unpack(head, self.packed)
        whole = bool(self.packed) or asked is None or len(head) != asked
        self.size = len(self._head) if whole else transport.size(path)

    @property
    def known(self) -> int:
        """First bytes that are at hand."""
        return len(self._head)

    @property
    def head(self) -> bytes:
        """First bytes of the file."""
        return self._head

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start:stop``, fewer where the file ends."""
        if stop > self.known and (self.size is None or self.known < self.size):
            found = self._transport.read([ByteRange(self.path, start, stop)])[0]
            if isinstance(found, FileNotFoundError):
                return b""
            if len(found) <= stop - start:
                return found
            self._head, self.size = found, len(found)  # the server takes no ranges and sent the whole object
        return self._head[start:stop]

    def whole(self) -> str | bytes:
        """Input for astropy: the path of a local file, or all bytes."""
        if self.size is not None and self.known >= self.size:
            return self._head
        if not self._transport.is_remote:
            return self._transport.local_path(self.path)
        found = self._transport.read([ByteRange(self.path)])[0]
        if isinstance(found, FileNotFoundError):
            raise FormatError("it is gone")
        self._head, self.size = found, len(found)
        return found


def bytes_lacking(head: bytes, asked: int) -> int | None:
    """How many first bytes of a file its index needs, where the ``asked`` first ones are not enough.

    Returns
    -------
    int or None
        None if they are, or if the file is no FITS file; -1 for the whole file.
    """
    try:
        if len(head) < asked:
            return None
        if packing(head):
            return -1
        for header in headers(head):
            if is_image(header):
                stop = table_end(header)
                return stop if stop > len(head) else None
    except FormatError:
        return None
    except MoreBytes as need:
        return max(need.stop, 2 * asked) if need.stop < len(head) + _HEADER_REACH else None
    return None


@dataclass
class BrickFile:
    """One file: its image, and the parts of it that were fetched.

    Attributes
    ----------
    path : str
    header, primary : Header
        Of the image that was chosen, and of the file's first HDU.
    shape : (int, int)
        Pixels (y, x).
    index : ImageIndex or None
        Where its tiles are; None where astropy reads them.
    astropy : AstropyImage or None
    through_astropy : str
        What of it lensflow's own reader does not handle, so that astropy reads it, slower; "" if nothing.
    size : int or None
        Bytes of the file, unpacked, where they are known.
    look_beyond : int or None
        Byte where another HDU may begin; None where it is known that none does.
    """

    path: str
    header: Header
    primary: Header
    shape: tuple[int, int]
    index: ImageIndex | None
    astropy: AstropyImage | None
    through_astropy: str
    size: int | None
    look_beyond: int | None
    _first: list[int] = field(default_factory=list)  # sorted
    _parts: list[tuple[float, bytes]] = field(default_factory=list)  # byte that was read up to, bytes

    @property
    def end(self) -> int:
        """Bytes of the file up to the end of the image."""
        return self.header.data_end

    def card(self, key: str) -> Any:
        """Value of a header card, of the image's HDU or else of the file's first one; None if there is none.

        Raises
        ------
        FormatError
            If it is given twice with different values, or cannot be read.
        """
        for header in (self.header, self.primary):
            if key in header.repeated and (why := contradiction(header, key)):
                raise FormatError(why)
            if not header.odd and key not in header.repeated:
                value = header.get(key)
            else:
                try:
                    with quiet():
                        value = fits.Header.fromstring(header.printable).get(key)
                except (fits.VerifyError, ValueError) as error:
                    raise FormatError(str(error).strip()) from error
            if value is not None:
                return value
        return None

    def tiles_of(self, corners: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tile rows and columns that windows touch: first and last (window, 4), and whether there are any."""
        assert self.index is not None
        n, tile = np.array(self.shape), np.array(self.index.tile_shape)
        first, last = np.maximum(corners, 0), np.minimum(corners + size, n) - 1
        return np.concatenate([first // tile, last // tile], axis=1), (last >= first).all(axis=1)

    def wanted_rows(self, corners: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of all tiles that windows touch, sorted, and how many of its first rows are wanted of each."""
        spans, on = self.tiles_of(corners, size)
        assert self.index is not None
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
        """Store the result of a read of bytes ``start:stop``; infinity means the end of the file."""
        if start == 0 and stop == math.inf:
            self._first.clear()
            self._parts.clear()
        k = bisect_right(self._first, start)
        self._first.insert(k, start)
        self._parts.insert(k, (stop, part))

    def close(self) -> None:
        """Close files that astropy holds open."""
        if self.astropy is not None:
            self.astropy.close()


def open_file(source: Source, product: str, shape: tuple[int, int] | None) -> BrickFile:
    """Find the image of a product in a file and its reader.

    Parameters
    ----------
    source : Source
    product : str
    shape : (int, int) or None
        Pixels of the brick (y, x), where they are known.

    Raises
    ------
    MoreBytes
        If the file ends before the image does.
    FormatError
        If there is no such image, or it cannot be read right.
    """
    hdus, complete = read_headers(source.read, source.size, source.known)
    try:
        image = choose(hdus, product, shape)
    except FormatError:
        if complete:
            raise
        hdus, complete = read_headers(source.read, source.size, source.known, to_end=True)
        image = choose(hdus, product, shape)
    header = image.header
    if why := refused(header):
        raise FormatError(why)
    if source.size is not None and source.size < header.data_end:
        raise MoreBytes(header.data_end, exact=True)
    index, why = None, ""
    if image.n_axes != 2:
        why = f"{image.n_axes} axes, of which {image.n_axes - 2} have one pixel"
    else:
        stop = table_end(header)
        head, first = source.head, 0
        if stop > source.known:
            head, first = source.read(header.data_start, stop), header.data_start
        index = index_hdu(header, head, first)
        why = unhandled(header, index)
    reader = None
    if why or (product == "image" and needs_tables(header)):
        reader = AstropyImage(source.whole(), image)
        why, index = why or "distortions that are tables of their own", None
    opened = BrickFile(
        path=source.path,
        header=header,
        primary=hdus[0],
        shape=image.shape,
        index=index,
        astropy=reader,
        through_astropy=why,
        size=source.size,
        look_beyond=None if complete else hdus[-1].end,
    )
    if reader is None:
        everything = source.known >= header.data_end
        opened.keep(0, math.inf if everything else source.known, source.head)
    return opened
