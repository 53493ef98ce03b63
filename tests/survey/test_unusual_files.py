"""Files that lensflow's own reader does not handle, or not alone: the pixels are astropy's, or the file is refused."""

import bz2
import gzip
from io import BytesIO

import fsspec
import numpy as np
import pytest
from astropy.io import fits

from lensflow.schema import Reason
from lensflow.survey.bricks import open_brick
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import BRICK, SIZE, SURVEY, brick_wcs, file_of, targets, write_brick

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
CORNERS = np.array([[90, 60], [-20, 270], [140, 140]])


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    root = tmp_path_factory.mktemp("brick")
    return root, write_brick(root, bands="gr")


def pixels(shape=(SIZE, SIZE), dtype=np.float32):
    rng = np.random.default_rng(3)
    image = rng.normal(0, 0.004, shape)
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    image[..., 100:110, 80:90] = np.nan
    return image.astype(dtype)


def content_of(*hdus):
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)
    return buffer.getvalue()


def plain(image, **cards):
    """A plain image whose cards are written as they are; astropy's writer would change some."""
    header = fits.ImageHDU(image, brick_wcs().to_header()).header
    for key, value in cards.items():
        header[key] = value
    data = image.astype(image.dtype.newbyteorder(">")).tobytes()
    return fits.PrimaryHDU().header.tostring().encode() + header.tostring().encode() + data + bytes(-len(data) % 2880)


def tiled(image, edit=None, **how):
    """A compressed image; ``edit`` changes cards of its table of tiles."""
    content = content_of(fits.CompImageHDU(image, brick_wcs().to_header(), tile_shape=(100, 100), **how))
    if edit:
        with fits.open(BytesIO(content), disable_image_compression=True) as hdus:
            header, start = hdus[1].header, hdus[1].fileinfo()["datLoc"]
            edit(header)
            content = content[:2880] + header.tostring().encode() + content[start:]
    return content


def assert_equals_astropy(survey, content, product="image", band="r", slow=True, named=""):
    """Put a file in the brick's place, and hold its windows against astropy's pixels."""
    root, _ = survey
    path = file_of(root, product, band)
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with fits.open(BytesIO(content)) as hdus:
            truth = np.asarray(next(h.data for h in hdus if h.data is not None and h.data.ndim > 1), dtype=float)
        truth = np.pad(truth.reshape(SIZE, SIZE), 64)
        with open_brick(Layout(str(root)), BRICK, "gr", (product,)) as brick:
            assert brick.problem(product, band) is None
            assert bool(brick.through_astropy(product, band)) == slow
            assert named in brick.through_astropy(product, band)
            found, errors = brick.windows(product, band, CORNERS, 64, 0)
        assert errors == [None] * 3
        for (y, x), window in zip(CORNERS, found, strict=True):
            np.testing.assert_array_equal(window, truth[y + 64 : y + 128, x + 64 : x + 128])
    finally:
        path.write_bytes(before)


def refusal(survey, content, product="image", band="r"):
    root, _ = survey
    path = file_of(root, product, band)
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with open_brick(Layout(str(root)), BRICK, "gr", (product,)) as brick:
            problem = brick.problem(product, band)
            if problem is None:
                problem = next(error for error in brick.windows(product, band, CORNERS, 64, 0)[1] if error)
    finally:
        path.write_bytes(before)
    assert problem.reason == Reason.CORRUPT_FILE
    assert str(path) in str(problem)
    return str(problem)


@pytest.mark.parametrize(
    ("cards", "named"),
    [
        ({"BSCALE": 1e-4, "BZERO": 0.5, "BLANK": 7}, "BLANK"),
        ({"BSCALE": 1e-4, "BZERO": 0.5}, "BSCALE"),
        ({"BLANK": 7}, "BLANK"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_scaled_integers_and_their_undefined_pixels_are_astropys(survey, cards, named, dtype):
    assert_equals_astropy(survey, plain(pixels(dtype=dtype), **cards), named=named)


def test_scaled_floats_are_astropys(survey):
    assert_equals_astropy(survey, plain(pixels(), BSCALE=2.0, BZERO=1.0), named="BSCALE")


@pytest.mark.parametrize(
    ("how", "slow"),
    [
        ({"compression_type": "NOCOMPRESS", "quantize_level": 0}, True),
        ({"compression_type": "GZIP_1", "quantize_level": 0}, False),
        ({"compression_type": "GZIP_2", "quantize_level": 0}, False),
        ({"quantize_method": 1, "dither_seed": 5}, False),
        ({"quantize_method": 2, "dither_seed": 5}, False),
        ({"quantize_method": -1}, False),
        ({"compression_type": "HCOMPRESS_1", "quantize_method": 1, "dither_seed": 5}, False),
    ],
)
def test_compressed_floats_with_undefined_pixels_are_astropys(survey, how, slow):
    assert_equals_astropy(survey, tiled(pixels(), **how), slow=slow)


@pytest.mark.parametrize("shape", [(1, SIZE, SIZE), (1, 1, SIZE, SIZE)])
def test_axes_of_one_pixel_are_left_out(survey, shape):
    assert_equals_astropy(survey, content_of(fits.ImageHDU(pixels(shape), brick_wcs().to_header())), named="axes")
    assert_equals_astropy(survey, content_of(fits.CompImageHDU(pixels(shape), brick_wcs().to_header())), named="axes")


def test_integers_with_zblank_are_refused_because_astropy_would_give_the_number_that_stands_for_none(survey):
    def edit(header):
        header["ZBLANK"] = 7

    content = tiled(pixels(dtype=np.int32), edit, compression_type="RICE_1")
    assert "ZBLANK" in refusal(survey, content)


def test_a_scale_for_all_tiles_as_a_card_is_refused_because_astropy_would_not_apply_it(survey):
    def edit(header):
        header["ZSCALE"], header["ZZERO"] = 0.5, 0.0

    assert "ZSCALE" in refusal(survey, tiled(pixels(dtype=np.int32), edit, compression_type="RICE_1"))


def test_bytes_that_are_not_ascii_lower_case_exponents_and_a_missing_padding_do_no_harm(survey):
    content = plain(pixels(), HISTORY="temperature 12.5 xC", NOTE="a", LONGER="b")
    assert_equals_astropy(survey, content.replace(b"12.5 xC", b"12.5 \xb0C"), named="ASCII")
    assert_equals_astropy(survey, content[: len(content) - (-SIZE * SIZE * 4 % 2880)], slow=False)
    exponent = brick_wcs().to_header().cards["CRVAL1"].image.encode()
    assert_equals_astropy(survey, content.replace(exponent, b"CRVAL1  =                1.0e1".ljust(80)), slow=False)


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lambda b: gzip.compress(b[:9000]) + gzip.compress(b[9000:])]
)
def test_a_packed_file_is_known_by_its_bytes_whatever_its_name(survey, pack):
    root, truth = survey
    path = file_of(root, "image", "r")
    before = path.read_bytes()
    try:
        path.write_bytes(pack(before))
        with open_brick(Layout(str(root)), BRICK, "gr") as brick:
            found, errors = brick.windows("image", "r", CORNERS[:1], 64, 0)
        np.testing.assert_array_equal(found[0], truth["image", "r"][90:154, 60:124])
        assert errors == [None]
        path.write_bytes(b"\x1f\x9d" + before)
        with open_brick(Layout(str(root)), BRICK, "gr") as brick:
            assert "compress (.Z)" in str(brick.problem("image", "r"))
    finally:
        path.write_bytes(before)


def test_quality_bits_before_the_image_are_not_cut_as_pixels_from_disk_or_store(survey):
    sky = brick_wcs().to_header()
    image = pixels()
    content = content_of(
        fits.ImageHDU(np.full((SIZE, SIZE), 7, np.int16), sky, name="DQ"), fits.ImageHDU(image, sky, name="SCI")
    )
    root, _ = survey
    remote = fsspec.filesystem("memory")
    remote.put(str(root / "coadd"), "/lensflow-test-dq/coadd", recursive=True)
    first_unnamed = content_of(fits.ImageHDU(image * 2, sky), fits.ImageHDU(image, sky, name="SCI"))
    layout = Layout("memory://lensflow-test-dq")
    try:
        for each in (content, first_unnamed):
            remote.pipe(layout.path(BRICK, "image", "r"), each)
            with open_brick(layout, BRICK, "gr") as brick:
                found, errors = brick.windows("image", "r", CORNERS[:1], 64, 0)
            assert errors == [None]
            np.testing.assert_array_equal(found[0], image[90:154, 60:124])
        remote.pipe(
            layout.path(BRICK, "image", "r"), content_of(fits.ImageHDU(image, sky), fits.ImageHDU(image * 2, sky))
        )
        with open_brick(layout, BRICK, "gr") as brick:
            block = cut_block(targets([150], [150]), layout, "gr", SURVEY)
        assert any("equal claim" in line for line in block.attrs["messages"])
    finally:
        remote.rm("/lensflow-test-dq", recursive=True)


def test_masks_without_a_value_count_as_off_the_brick_and_those_that_are_no_numbers_are_refused(survey):
    bits = pixels(dtype=np.int16)
    content = plain(bits, BLANK=7)
    root, _ = survey
    path = file_of(root, "maskbits")
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        with open_brick(Layout(str(root)), BRICK, "gr") as brick:
            found, errors = brick.windows("maskbits", "", CORNERS[:1], 64, 1)
        assert errors == [None]
        expected = bits[90:154, 60:124]
        np.testing.assert_array_equal(found[0], np.where(expected == 7, 1, expected))
    finally:
        path.write_bytes(before)
    assert "whole number" in refusal(survey, plain(pixels()), "maskbits", "")


def test_weights_on_another_grid_than_the_image_are_refused(survey):
    other = fits.ImageHDU(pixels(), brick_wcs(ra_deg=10.001).to_header())
    assert "WCS differs between the files" in refusal(survey, content_of(other), "invvar", "r")
    turned = brick_wcs().to_header()
    del turned["PC*"]
    turned["CDELT1"], turned["CDELT2"], turned["CROTA2"] = -0.262 / 3600, 0.262 / 3600, 5.0
    assert "WCS differs" in refusal(survey, content_of(fits.ImageHDU(pixels(), turned)), "image", "g")


def test_cards_are_read_from_the_image_or_the_first_hdu_and_two_values_are_refused(survey):
    root, _ = survey
    path = file_of(root, "image", "r")
    before = path.read_bytes()
    primary = fits.PrimaryHDU()
    primary.header["MAGZERO"], primary.header["BUNIT"] = 27.0, "nothing"
    hdu = fits.ImageHDU(pixels(), brick_wcs().to_header())
    hdu.header["BUNIT"], hdu.header["HIERARCH ESO DET"] = "adu", 5
    hdu.header["LONG"] = "x" * 100
    twice = fits.ImageHDU(pixels(), brick_wcs().to_header())
    twice.header["EXPTIME"] = 1.0
    twice.header.append(("EXPTIME", 2.0))
    try:
        fits.HDUList([primary, hdu]).writeto(path, overwrite=True)
        with open_brick(Layout(str(root)), BRICK, "gr") as brick:
            found = [brick.card("image", "r", key) for key in ("BUNIT", "MAGZERO", "LONG", "NOTHING")]
            assert found == ["adu", 27.0, "x" * 100, None]
        fits.HDUList([primary, twice]).writeto(path, overwrite=True)
        with (
            open_brick(Layout(str(root)), BRICK, "gr") as brick,
            pytest.raises(Exception, match="EXPTIME is given twice"),
        ):
            brick.card("image", "r", "EXPTIME")
    finally:
        path.write_bytes(before)
