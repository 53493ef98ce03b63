from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lensflow.fits.header import FormatError, MoreBytes
from lensflow.fits.index import headers, index_hdu, is_image
from lensflow.fits.tile_codecs import decode_tiles

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")


def file_of(image, **settings):
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, **settings)]).writeto(buffer)
    return buffer.getvalue()


def index_image(content):
    """Index of the first image of a file."""
    return index_hdu(next(h for h in headers(content) if is_image(h)), content)


def read_all(content):
    """Every tile of a file, put together; and what could not be decoded."""
    index = index_image(content)
    tiles = list(range(len(index.start)))
    data = [content[index.start[t] : index.start[t] + index.length[t]] for t in tiles]
    pixels, bad = decode_tiles(index, tiles, data)
    out = np.zeros(index.shape, pixels.dtype)
    for k, tile in enumerate(tiles):
        y, x = index.tile_slices(tile)
        out[y, x] = pixels[k, : y.stop - y.start, : x.stop - x.start]
    return out, bad


def assert_equals_astropy(content):
    ours, bad = read_all(content)
    theirs = fits.getdata(BytesIO(content), 1)
    assert not bad
    np.testing.assert_array_equal(ours, theirs)
    if theirs.dtype.kind == "f":  # bit for bit, the sign of zero included
        assert (np.signbit(ours) == np.signbit(theirs)).all()


def noisy(shape=(130, 117), dtype=np.float32):
    rng = np.random.default_rng(5)
    image = rng.normal(0, 0.004, shape)
    image[20:40, 30:60] = 0  # exact zeros, which SUBTRACTIVE_DITHER_2 keeps
    image[90:, :50] += 10
    return image.astype(dtype)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("method", [-1, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantised_floats_equal_astropys_bit_for_bit(compression, method, dtype):
    assert_equals_astropy(
        file_of(noisy(dtype=dtype), compression_type=compression, tile_shape=(50, 40), quantize_method=method,
                dither_seed=9_990, quantize_level=16)
    )  # fmt: skip


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_integers_equal_astropys(compression, dtype):
    image = np.random.default_rng(1).poisson(3, (90, 75)).astype(dtype)
    image[:10] = 0
    assert_equals_astropy(file_of(image, compression_type=compression, tile_shape=(40, 30)))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_unsigned_integers_are_shifted_back(dtype):
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (60, 50)).astype(dtype)
    ours, bad = read_all(file_of(image, compression_type="RICE_1", tile_shape=(40, 30)))
    np.testing.assert_array_equal(ours, image)
    assert not bad


def test_constant_and_nan_tiles_that_cannot_be_quantised_are_lossless():
    image = noisy()
    image[:50, :40] = 3.25
    image[50:100, :40] = np.nan
    image[60, 60] = np.nan
    assert_equals_astropy(file_of(image, compression_type="RICE_1", tile_shape=(50, 40), quantize_method=2))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    hnp.arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(1, 40)),
               elements=st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3)),
    st.sampled_from([(1, 40), (7, 9), (40, 40)]),
)  # fmt: skip
def test_rice_takes_any_integers_in_any_tiles(image, tile):
    shape = tuple(min(t, n) for t, n in zip(tile, image.shape, strict=True))
    ours, bad = read_all(file_of(image, compression_type="RICE_1", tile_shape=shape))
    np.testing.assert_array_equal(ours, image)
    assert not bad


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(0, 5))
def test_the_first_rows_of_a_tile_are_those_of_the_whole_tile(rows, tile):
    content = file_of(noisy((100, 120)), compression_type="RICE_1", tile_shape=(50, 40), quantize_method=2)
    index = index_image(content)
    data = [content[index.start[tile] : index.start[tile] + index.length[tile]]]
    part, _ = decode_tiles(index, [tile], data, np.array([rows]))
    whole, _ = decode_tiles(index, [tile], data)
    np.testing.assert_array_equal(part[0, :rows], whole[0, :rows])


@pytest.mark.parametrize("rows", [None, np.array([5])])
def test_a_rice_tile_cut_short_or_garbled_is_bad_whatever_rows_of_it_are_wanted(rows):
    content = file_of(noisy((50, 40)), compression_type="RICE_1", tile_shape=(50, 40), quantize_method=2)
    index = index_image(content)
    data = content[index.start[0] : index.start[0] + index.length[0]]
    half = len(data) // 2
    for damaged in (
        data[:half],
        data[:half] + bytes(range(100)) + data[half + 100 :],
        data + b"\0\0",
        data[:-40] + data,
    ):
        assert 0 in decode_tiles(index, [0], [damaged], rows)[1]
    assert not decode_tiles(index, [0], [data], rows)[1]


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"]))
def test_garbage_in_a_tile_is_pixels_or_a_reason_and_never_a_crash(garbage, compression):
    content = file_of(noisy((40, 30)), compression_type=compression, tile_shape=(40, 30), quantize_method=2)
    pixels, bad = decode_tiles(index_image(content), [0], [garbage])
    assert pixels.shape == (1, 40, 30)
    assert all(bad.values())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_mutated_header_is_refused_or_indexed_within_the_file(data):
    content = bytearray(file_of(noisy((40, 30)), compression_type="RICE_1", tile_shape=(20, 30), quantize_method=2))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, 9_000))
        content[at % len(content)] = data.draw(st.integers(0, 255))
    try:
        index = index_image(bytes(content))
    except (FormatError, MoreBytes):
        return
    assert (index.start + index.length <= index.end).all()
    tiles = list(range(min(len(index.start), 4)))
    decode_tiles(index, tiles, [bytes(content[index.start[t] : index.start[t] + index.length[t]]) for t in tiles])


def test_a_plain_image_in_the_primary_hdu_is_read():
    buffer = BytesIO()
    image = noisy((30, 20))
    fits.PrimaryHDU(image).writeto(buffer)
    ours, bad = read_all(buffer.getvalue())
    np.testing.assert_array_equal(ours, image)
    assert not bad


def test_a_head_too_short_says_how_many_bytes_it_needs():
    content = file_of(noisy(), compression_type="RICE_1", tile_shape=(50, 40))
    have = 100
    for _ in range(10):
        try:
            index_image(content[:have])
            break
        except MoreBytes as error:
            assert error.stop > have
            have = error.stop
    assert have < len(content)
