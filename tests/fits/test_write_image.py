"""Files with compressed images: the bytes that astropy writes, tile for tile, and its way out where a tile needs it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from lensflow.fits.write_image import hcompressed, quantised, riced

TILE = 20


def header() -> fits.Header:
    out = fits.Header()
    out["BRICKNAM"] = ("0591m305", "a comment")
    out["CD1_1"] = -7.277777777777778e-05
    out["BUNIT"] = "nanomaggy"
    return out


def by_astropy(image: np.ndarray, **how: Any) -> bytes:
    content = BytesIO()
    hdu = fits.CompImageHDU(image, header(), tile_shape=(TILE, TILE), **how)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(content)
    return content.getvalue()


def sky(shape: tuple[int, int], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.01, shape).astype(np.float32)
    image[rng.random(shape) < 0.1] = 0
    image[: shape[0] // 2, shape[1] // 3 :] = 0  # tiles of nothing else
    image[-1, -1] = 60
    return image


@pytest.mark.parametrize("shape", [(60, 60), (47, 33), (7, 12), (41, 2)])
@pytest.mark.parametrize("step", [1.5e-4, 1e-6, 3.0])
def test_quantised_images_are_astropys_byte_for_byte(shape: tuple[int, int], step: float) -> None:
    image = sky(shape)
    how = {"compression_type": "RICE_1", "quantize_level": -step, "quantize_method": 2}
    for seed in (1, 9999):  # the second's random numbers end within the first tiles
        assert quantised(image, header(), TILE, step, seed) == by_astropy(image, dither_seed=seed, **how)


def test_random_numbers_begin_again_within_a_large_tile() -> None:
    image = sky((150, 150))
    how = {"compression_type": "RICE_1", "quantize_level": -1e-4, "quantize_method": 2, "dither_seed": 7}
    content = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, header(), tile_shape=(150, 150), **how)]).writeto(content)
    assert quantised(image, header(), 150, 1e-4, 7) == content.getvalue()


@pytest.mark.parametrize("kind", ["flags", "few", "any", "none", "alternating", "int16"])
def test_integers_are_astropys_byte_for_byte(kind: str) -> None:
    rng, shape = np.random.default_rng(2), (47, 60)
    image = {
        "flags": (rng.random(shape) < 0.02) * 2**20,
        "few": rng.integers(0, 2, shape),
        "any": rng.integers(-(2**31), 2**31, shape),
        "none": np.zeros(shape),
        "alternating": np.where(np.indices(shape).sum(axis=0) % 2, 2**31 - 1, -(2**31)),
        "int16": rng.integers(0, 6, shape),
    }[kind].astype(np.int16 if kind == "int16" else np.int32)
    assert riced(image, header(), TILE) == by_astropy(image, compression_type="RICE_1")


def test_images_of_hcompress_are_those_that_are_coded_one_by_one() -> None:
    images = [np.random.default_rng(k).integers(0, 6, (48, 64)).astype(np.int16) for k in range(3)]
    files = hcompressed(images, [header()] * 3, TILE)
    assert files == [by_astropy(i, compression_type="HCOMPRESS_1", hcomp_scale=0) for i in images]
    assert hcompressed([], [], TILE) == []


@pytest.mark.parametrize("what", ["one pixel", "nan", "range"])
def test_tiles_that_cannot_be_quantised_are_left_to_astropy(what: str) -> None:
    image = sky((41, 41) if what == "one pixel" else (40, 40))
    if what != "one pixel":
        image[3, 3] = {"nan": np.nan, "range": 3e6}[what]
    content = quantised(image, header(), TILE, 1e-4, 5)
    with fits.open(BytesIO(content)) as hdus:
        read = np.asarray(hdus[1].data)
    np.testing.assert_array_equal(np.isnan(read), np.isnan(image))
    np.testing.assert_allclose(read, image, rtol=1e-6, atol=0.51e-4)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="an image of float32 is needed, not float64"):
        quantised(np.zeros((4, 4)), header(), TILE, 1e-4, 5)  # type: ignore[arg-type]
