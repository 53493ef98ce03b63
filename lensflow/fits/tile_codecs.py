"""Compressed tiles in, pixels out, for every compression of the FITS standard; many tiles a call.

Rice and gzip, which nearly all survey files use, are decoded here. The rest (HCOMPRESS, PLIO) goes through astropy's
public reader, as a small FITS file in memory that holds only the wanted tiles.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lensflow.fits import rice
from lensflow.fits.astropy_image import quiet
from lensflow.fits.header import BLOCK, CARD
from lensflow.fits.index import BY_ALGORITHM, GZIPPED, PLAIN, ImageIndex

Buffer = bytes | memoryview


def decode_tiles(
    index: ImageIndex, tiles: Sequence[int], data: Sequence[Buffer], rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[Any], dict[int, str]]:
    """Decode tiles of one image.

    Parameters
    ----------
    index : ImageIndex
    tiles : sequence of int
        Their numbers.
    data : sequence of bytes
        Their bytes, as they lie in the file.
    rows : ndarray of int64, shape (len(tiles),), optional
        How many of its first rows are wanted of each tile; default all. A tile is decoded to its end all the same, for
        that is where damage shows.

    Returns
    -------
    pixels : ndarray, shape (len(tiles), tile_y, tile_x)
        Slimmer tiles at the end of an axis fill the first rows and columns; what was not wanted is undefined.
    bad : dict
        Position in ``tiles`` -> why that tile cannot be decoded; its pixels are undefined.
    """
    shapes = [tuple(s.stop - s.start for s in index.tile_slices(t)) for t in tiles]
    sizes = np.array([y * x for y, x in shapes], dtype=np.int64)
    flat = np.empty((len(tiles), index.tile_shape[0] * index.tile_shape[1]), index.dtype)
    bad: dict[int, str] = {}
    by_algorithm = []
    for k, tile in enumerate(tiles):
        how = index.how[tile]
        if how == BY_ALGORITHM:
            by_algorithm.append(k)
            continue
        try:
            pixel = np.dtype(index.dtype).newbyteorder(">")
            n_bytes = int(sizes[k]) * pixel.itemsize
            raw = _gunzip(data[k], n_bytes) if how == GZIPPED else bytes(data[k]) if how == PLAIN else b""
            if len(raw) != n_bytes:
                raise ValueError(f"{len(raw)} bytes for {sizes[k]} pixels")
            flat[k, : sizes[k]] = np.frombuffer(raw, pixel)
        except (zlib.error, ValueError) as error:
            bad[k] = _bad(error)
    if by_algorithm:
        at = np.array(by_algorithm)
        wanted = sizes if rows is None else np.minimum(sizes, rows * np.array([x for _, x in shapes]))
        bad |= _by_algorithm(index, np.asarray(tiles), data, sizes, wanted, shapes, at, flat)
    return _into_shape(_scaled(index, flat), index.tile_shape, shapes), bad


def _gunzip(data: Buffer, most: int) -> bytes:
    """Decompress a tile of at most ``most`` bytes, to the end of its checksum."""
    stream = zlib.decompressobj(wbits=31)
    raw = stream.decompress(data, most + 1)
    if not stream.eof or stream.unused_data:
        raise ValueError("the gzip data do not end where the tile does")
    return raw


def _bad(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _by_algorithm(
    index: ImageIndex,
    tiles: NDArray[np.int64],
    data: Sequence[Buffer],
    sizes: NDArray[np.int64],
    wanted: NDArray[np.int64],
    shapes: Sequence[tuple[int, ...]],
    at: NDArray[np.int64],
    flat: NDArray[Any],
) -> dict[int, str]:
    """Decode the tiles in rows ``at`` of ``flat`` by ZCMPTYPE; return errors by row."""
    quantised = index.scale is not None
    chosen = [data[k] for k in at]
    lossless_floats = index.algorithm.startswith("GZIP") and not quantised
    values: NDArray[Any] = np.zeros((len(at), flat.shape[1]), index.dtype if lossless_floats else np.int32)
    if index.algorithm in ("GZIP_1", "GZIP_2"):
        bad = _gzipped(chosen, sizes[at], values, index.algorithm == "GZIP_2")
    elif index.algorithm in ("RICE_1", "RICE_ONE") and index.settings.get("BYTEPIX", 4) in (1, 2, 4):
        bad = _riced(index, chosen, sizes[at], values)
    else:
        bad = _by_astropy(index, chosen, [shapes[k] for k in at], values)
    if not quantised:
        flat[at] = values
    else:
        assert index.scale is not None and index.zero is not None
        numbers = tiles[at]
        floats = np.empty(values.shape, index.dtype)
        four_bytes = index.algorithm not in ("RICE_1", "RICE_ONE") or index.settings.get("BYTEPIX", 4) == 4
        rice.dequantise_tiles(
            values, wanted[at], numbers + index.dither_seed, index.scale[numbers], index.zero[numbers], index.dither,
            index.dither == 2 and four_bytes, rice.RANDOM, rice.FIRST, floats,
        )  # fmt: skip
        if index.blank is not None:
            floats[values == index.blank] = np.nan
        flat[at] = floats
    return {int(at[k]): tile for k, tile in bad.items()}


def _riced(
    index: ImageIndex, data: Sequence[Buffer], sizes: NDArray[np.int64], values: NDArray[np.int32]
) -> dict[int, str]:
    length = np.array([len(d) for d in data], dtype=np.int64)
    together = np.frombuffer(b"".join(data), np.uint8)
    byte_pix = index.settings.get("BYTEPIX", 4)
    decoded = rice.rice_tiles(
        together, np.cumsum(length) - length, length, sizes, index.settings.get("BLOCKSIZE", 32), byte_pix, values
    )
    if byte_pix == 2:  # two's complement in the lower half
        values[...] = values.astype(np.int16)
    short = np.flatnonzero(decoded < sizes).tolist()
    return {k: "the Rice code ends too early" if decoded[k] >= 0 else "its Rice code is garbled" for k in short}


def _gzipped(data: Sequence[Buffer], sizes: NDArray[np.int64], values: NDArray[Any], shuffled: bool) -> dict[int, str]:
    bad = {}
    for k, (tile, n) in enumerate(zip(data, sizes, strict=True)):
        try:
            raw = _gunzip(tile, 8 * int(n))
            width, rest = divmod(len(raw), int(n))
            if rest or width not in (1, 2, 4, 8):
                raise ValueError(f"{len(raw)} bytes for {n} pixels")
            kind = "f" if values.dtype.kind == "f" else "u" if width == 1 else "i"
            if shuffled:
                raw = np.frombuffer(raw, np.uint8)[: width * n].reshape(width, n).T.tobytes()
            values[k, :n] = np.frombuffer(raw, np.dtype(f">{kind}{width}"), n)
        except (zlib.error, ValueError, TypeError) as error:
            bad[k] = _bad(error)
    return bad


def _by_astropy(
    index: ImageIndex, data: Sequence[Buffer], shapes: Sequence[tuple[int, ...]], values: NDArray[np.int32]
) -> dict[int, str]:
    """Decode tiles as the integers that they hold, all of one shape together; one by one where that fails."""
    bad: dict[int, str] = {}
    for shape in dict.fromkeys(shapes):
        same = [k for k, s in enumerate(shapes) if s == shape]
        try:
            values[same, : shape[0] * shape[1]] = _mini_file(index, [data[k] for k in same], shape)
            continue
        except Exception as error:  # any error of a codec on garbage
            if len(same) == 1:
                bad[same[0]] = _bad(error)
                continue
        for k in same:
            for tile in _by_astropy(index, [data[k]], [shape], values[k : k + 1]).values():
                bad[k] = tile
    return bad


def _mini_file(index: ImageIndex, data: Sequence[Buffer], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Pixels (tile, pixel) of tiles of one shape, through an image in memory that stacks them along y."""
    length = np.array([len(d) for d in data], dtype=">i4")
    letter, width = ("I", 2) if index.algorithm == "PLIO_1" else ("B", 1)  # PLIO counts in 16-bit words
    table = np.stack([length // width, np.cumsum(length) - length], axis=1).astype(">i4").tobytes()
    pcount = int(length.sum())
    cards: dict[str, Any] = {
        "XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": len(data), "PCOUNT": pcount,
        "GCOUNT": 1, "TFIELDS": 1, "TTYPE1": "COMPRESSED_DATA", "TFORM1": f"1P{letter}", "ZIMAGE": True, "ZBITPIX": 32,
        "ZNAXIS": 2, "ZNAXIS1": shape[1], "ZNAXIS2": shape[0] * len(data), "ZTILE1": shape[1], "ZTILE2": shape[0],
        "ZCMPTYPE": index.algorithm,
    }  # fmt: skip
    settings = {k: index.header.get(k) for k in index.header.cards if k.startswith(("ZNAME", "ZVAL"))}
    header = fits.Header([(k, v) for k, v in {**cards, **settings}.items()])
    body = table + b"".join(data)
    primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
    file = primary.tostring().encode() + header.tostring().encode() + body + b"\0" * (-len(body) % BLOCK)
    assert len(header.tostring()) % CARD == 0
    with quiet(), fits.open(BytesIO(file)) as hdus:
        return np.asarray(hdus[1].data, dtype=np.int32).reshape(len(data), -1)


def _scaled(index: ImageIndex, flat: NDArray[Any]) -> NDArray[Any]:
    scale, zero = index.bscale, index.bzero
    if scale == 1 and zero == 0:
        return flat
    if scale == 1 and flat.dtype.kind in "iu" and float(zero).is_integer():
        return flat.astype(np.int64) + int(zero)
    return flat * np.float64(scale) + np.float64(zero)


def _into_shape(flat: NDArray[Any], tile: tuple[int, int], shapes: Sequence[tuple[int, ...]]) -> NDArray[Any]:
    out = flat.reshape(len(shapes), *tile)
    for k, shape in enumerate(shapes):
        if shape != tile:
            y, x = shape
            out[k, :y, :x] = flat[k, : y * x].reshape(y, x).copy()
    return out
