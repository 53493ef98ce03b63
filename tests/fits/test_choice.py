"""Which image of a file is meant."""

from io import BytesIO

import numpy as np
import pytest
from astropy.io import fits

from lensflow.fits.choice import choose, read_headers
from lensflow.fits.header import FormatError
from tests.survey.brick_factory import brick_wcs

SKY = brick_wcs().to_header()


def image(name="", shape=(30, 30), dtype=np.float32, sky=True):
    return fits.ImageHDU(np.zeros(shape, dtype), SKY if sky else None, name=name or None)


def chosen(product, *hdus, shape=None):
    buffer = BytesIO()
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *hdus]).writeto(buffer)
    content = buffer.getvalue()
    headers, complete = read_headers(lambda a, b: content[a:b], len(content), len(content))
    assert complete
    return choose(headers, product, shape).hdu


@pytest.mark.parametrize(
    "names", [("DQ", "SCI"), ("WHT", "SCI"), ("MASK", "VARIANCE", "IMAGE"), ("ERR", ""), ("CTX", "SCI", "WHT")]
)
def test_an_image_is_known_by_its_name_wherever_it_is(names):
    want = next(k for k, name in enumerate(names) if name in ("SCI", "IMAGE", ""))
    assert chosen("image", *map(image, names)) == want + 1


def test_each_product_finds_its_own_extension_of_one_file():
    hdus = [image("SCI"), image("MSK", dtype=np.int32), image("WGT"), image("NEXP_R", dtype=np.int16)]
    assert [chosen(p, *hdus) for p in ("image", "maskbits", "invvar", "nexp")] == [1, 2, 3, 4]


def test_among_images_without_names_the_one_with_a_sky_of_the_right_kind_and_size_is_meant():
    assert chosen("image", image(sky=False), image()) == 2
    assert chosen("image", image(dtype=np.int16), image()) == 2
    assert chosen("maskbits", image(), image(dtype=np.int16)) == 2
    assert chosen("image", image(shape=(20, 20)), image(shape=(30, 31)), shape=(30, 31)) == 2
    assert chosen("image", image(shape=(8, 8)), image(shape=(30, 31))) == 2


def test_tables_and_lists_of_numbers_are_no_images():
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.zeros(3))])
    assert chosen("image", table, image(shape=(7,), sky=False), image(), table) == 3


def test_axes_of_one_pixel_do_not_count():
    assert chosen("image", image(shape=(1, 1, 30, 30))) == 1
    with pytest.raises(FormatError, match="HDU 1 has 3 dimensions"):
        chosen("image", image(shape=(3, 30, 30)))


def test_where_extname_says_nothing_exttype_does_as_older_pipelines_of_hsc_write_it():
    planes = [image(), image(dtype=np.int16), image()]
    for hdu, kind in zip(planes, ("IMAGE", "MASK", "VARIANCE"), strict=True):
        hdu.header["EXTTYPE"] = kind
    assert [chosen(p, *planes) for p in ("image", "maskbits", "variance")] == [1, 2, 3]
    planes[0].header["EXTNAME"] = "CHI2"  # the name that a file gives itself counts
    with pytest.raises(FormatError, match="HDU 1 CHI2"):
        chosen("image", *planes)


@pytest.mark.parametrize(("product", "advised"), [("image", "IMAGE"), ("variance", "VARIANCE"), ("invvar", "INVVAR")])
def test_the_name_that_is_advised_is_one_that_is_then_taken(product, advised):
    with pytest.raises(FormatError, match=f"Name one of them {advised} in EXTNAME"):
        chosen(product, image(), image())
    assert chosen(product, image(), image(advised)) == 2


@pytest.mark.parametrize("names", [("", ""), ("SCI", "SCI"), ("SCI", "IMAGE")])
def test_two_images_of_equal_claim_are_refused_by_name(names):
    with pytest.raises(FormatError, match=r"2 images with an equal claim.*HDU 1.*30 x 30 pixels.*HDU 2"):
        chosen("image", *map(image, names))


def test_an_image_named_as_another_thing_is_not_taken_for_want_of_a_better():
    with pytest.raises(FormatError, match="none of its images is named as image: HDU 1 DQ"):
        chosen("image", image("DQ", dtype=np.int16))
    with pytest.raises(FormatError, match="VARIANCE"):
        chosen("invvar", image("VARIANCE"))
    assert chosen("invvar", image("SCI")) == 1  # a header copied from the image


def test_bytes_after_the_last_extension_are_not_taken_for_one():
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), image("SCI")]).writeto(buffer)
    content = buffer.getvalue() + b"\0" * 5000
    headers, complete = read_headers(lambda a, b: content[a:b], len(content), len(content))
    assert len(headers) == 2
    assert complete
