from __future__ import annotations

import fsspec
import numpy as np
import pytest
from astropy.io import fits

from lensflow.errors import SurveyError
from lensflow.schema import Reason
from lensflow.survey import bricks
from lensflow.survey.bricks import UnreadableFile, brick_pixel_scale_arcsec, open_brick
from lensflow.survey.layout import Layout
from tests.survey.brick_factory import BRICK, SIZE, brick_wcs, file_of, write_brick

# astropy warns of the files that these tests break on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
WINDOW = slice(90, 154), slice(60, 124)
CORNER = np.array([[90, 60]])


def window(brick, product, band, corner=CORNER, size=64, fill=0):
    """One window; raises its error."""
    pixels, errors = brick.windows(product, band, np.asarray(corner).reshape(-1, 2), size, fill)
    if errors[0] is not None:
        raise errors[0]
    return pixels[0]


def test_a_window_equals_the_slice_of_the_full_image(tmp_path):
    truth = write_brick(tmp_path)
    with open_brick(Layout(str(tmp_path)), BRICK, "grz") as brick:
        for (product, band), image in truth.items():
            np.testing.assert_array_equal(window(brick, product, band), image[WINDOW])


def test_pixels_off_the_image_take_the_fill_value(tmp_path):
    truth = write_brick(tmp_path, bands="r")
    with open_brick(Layout(str(tmp_path)), BRICK, "r") as brick:
        pixels = window(brick, "image", "r", (-10, 280), 64, 7)
        np.testing.assert_array_equal(pixels[10:, :20], truth["image", "r"][:54, 280:])
        assert (pixels[:10] == 7).all()
        assert (pixels[:, 20:] == 7).all()
        assert (window(brick, "image", "r", (400, 0), 64, 7) == 7).all()


def test_each_file_is_opened_once_and_only_touched_tiles_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(bricks, "HEAD_BYTES", 2880)  # the test's files are as small as a usual head
    write_brick(tmp_path, bands="r")
    with open_brick(Layout(str(tmp_path)), BRICK, "r") as brick:
        assert brick.n_files_opened == 1  # the image, for its WCS
        opened = brick.bytes_read
        window(brick, "image", "r", (10, 10))
        one_tile = brick.bytes_read - opened
        window(brick, "image", "r", (90, 90))
        four_tiles = brick.bytes_read - opened
        assert brick.n_files_opened == 1
        assert 3 * one_tile < four_tiles < 5 * one_tile
        window(brick, "image", "r", (120, 30))
        assert brick.bytes_read - opened == four_tiles  # the tiles are there
        window(brick, "image", "r", (0, 0), size=SIZE)
        size = file_of(tmp_path, "image", "r").stat().st_size
        assert size - 2880 < brick.bytes_read < size + 2880
        assert brick.bytes_whole == size
        assert brick.seconds_io > 0


def test_wcs_positions_count_from_zero(tmp_path):
    write_brick(tmp_path, bands="r")
    with open_brick(Layout(str(tmp_path)), BRICK, "r") as brick:
        assert brick.shape == (SIZE, SIZE)
        x, y = brick.wcs.to_pixel([10.0, 190.0, np.nan], [5.0, -5.0, 5.0])
    np.testing.assert_allclose([x[0], y[0]], (SIZE - 1) / 2, atol=1e-9)
    assert np.isnan(x[1:]).all()  # the other side of the sky has no pixel


def test_wcs_comes_from_r_first_then_from_any_band(tmp_path):
    write_brick(tmp_path, bands="gr", skip=[("image", "r")])
    with open_brick(Layout(str(tmp_path)), BRICK, "gr") as brick:
        assert brick.wcs is not None
        assert brick.problem("image", "r").reason == Reason.MISSING_FILE
        assert brick.problem("image", "g") is None


def test_pixel_scale_is_read_from_the_wcs(tmp_path):
    write_brick(tmp_path, bands="g", wcs=brick_wcs(scale_arcsec=0.3))
    assert brick_pixel_scale_arcsec(Layout(str(tmp_path)), BRICK, "rg") == pytest.approx(0.3, rel=1e-9)
    with pytest.raises(SurveyError, match=r"brick 9999p999: no readable image in g, r\. .*image-g\.fits\.fz"):
        brick_pixel_scale_arcsec(Layout(str(tmp_path)), "9999p999", "gr")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.05, 0.5, 0.98])
def test_a_truncated_file_is_corrupt_at_any_length(tmp_path, kept):
    write_brick(tmp_path, bands="gr")
    path = file_of(tmp_path, "image", "r")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with open_brick(Layout(str(tmp_path)), BRICK, "gr") as brick:
        problem = brick.problem("image", "r")
        assert problem.reason == Reason.CORRUPT_FILE
        assert str(path) in str(problem)
        if kept >= 0.5:
            assert "FITS file truncated" in str(problem)
            assert "MB)" in str(problem)
        assert brick.wcs is not None  # from g
        with pytest.raises(UnreadableFile):
            window(brick, "image", "r")


@pytest.mark.parametrize("content", [b"", b"not a FITS file at all", b"\x00" * 9000, b"SIMPLE  =  T" * 2000])
def test_garbage_is_corrupt_and_not_a_crash(tmp_path, content):
    write_brick(tmp_path, bands="gr")
    file_of(tmp_path, "invvar", "r").write_bytes(content)
    with open_brick(Layout(str(tmp_path)), BRICK, "gr") as brick:
        assert brick.problem("invvar", "r").reason == Reason.CORRUPT_FILE


def test_wrong_shape_no_wcs_and_another_grid_are_corrupt(tmp_path):
    def small(products):
        products["invvar", "g"] = products["invvar", "g"][:200]

    write_brick(tmp_path, edit=small)
    shifted = brick_wcs(ra_deg=10.01).to_header()
    for band, header in (("g", fits.Header()), ("z", shifted)):
        hdu = fits.CompImageHDU(np.zeros((SIZE, SIZE), np.float32), header=header)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file_of(tmp_path, "image", band), overwrite=True)
    with open_brick(Layout(str(tmp_path)), BRICK, "grz") as brick:
        assert "wrong shape" in str(brick.problem("invvar", "g"))
        assert "WCS" in str(brick.problem("image", "g"))
        assert "WCS differs" in str(brick.problem("image", "z"))
        assert brick.problem("image", "g").reason == Reason.CORRUPT_FILE


def test_an_image_without_wcs_alone_gives_no_wcs(tmp_path):
    write_brick(tmp_path, bands="r")
    hdu = fits.CompImageHDU(np.zeros((SIZE, SIZE), np.float32))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file_of(tmp_path, "image", "r"), overwrite=True)
    with open_brick(Layout(str(tmp_path)), BRICK, "r") as brick:
        assert brick.wcs is None
        assert brick.problem("image", "r").reason == Reason.CORRUPT_FILE


def test_an_uncompressed_image_is_read_too(tmp_path):
    truth = write_brick(tmp_path, bands="r")
    hdu = fits.ImageHDU(truth["image", "r"], header=brick_wcs().to_header())
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file_of(tmp_path, "image", "r"), overwrite=True)
    with open_brick(Layout(str(tmp_path)), BRICK, "r") as brick:
        np.testing.assert_array_equal(window(brick, "image", "r"), truth["image", "r"][WINDOW])


def test_any_fsspec_root_serves(tmp_path):
    truth = write_brick(tmp_path, bands="r")
    remote = fsspec.filesystem("memory")
    remote.put(str(tmp_path / "coadd"), "/lensflow-test-bricks/coadd", recursive=True)
    try:
        for root in ("memory://lensflow-test-bricks", f"file://{tmp_path}"):
            with open_brick(Layout(root), BRICK, "gr") as brick:
                np.testing.assert_array_equal(window(brick, "image", "r"), truth["image", "r"][WINDOW])
                assert brick.problem("image", "g").reason == Reason.MISSING_FILE
    finally:
        remote.rm("/lensflow-test-bricks", recursive=True)
