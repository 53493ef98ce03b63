from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.psf_images import gaussian_equivalent_fwhm_pix, read_psf_images
from lensflow.survey.psf_ratio import map_psfsizes, sample_bricks
from lensflow.survey.psfsize import measured_band_ratio
from tests.survey.brick_factory import BRICK, PSFSIZE, SURVEY, targets, write_brick

WITH_IMAGES = SURVEY.model_copy(update={"psf_images": True, "psf_image_size": 31})


def gaussian(fwhm_pix, size=31):
    axis = np.arange(size) - size // 2
    return np.exp(-4 * np.log(2) * (axis[:, None] ** 2 + axis**2) / fwhm_pix**2)


def psf_file(**images):
    buffer = BytesIO()
    hdus = [(fits.ImageHDU if k else fits.PrimaryHDU)(image.astype(np.float32)) for k, image in
            enumerate(images.values())]  # fmt: skip
    for hdu, band in zip(hdus, images, strict=True):
        hdu.header["BAND"] = band
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def write_psf(root, content):
    Path(Layout(str(root)).path(BRICK, "psf")).write_bytes(content)


@pytest.mark.parametrize("fwhm", [3.0, 5.3, 8.0])
def test_the_size_of_a_gaussian_image_is_its_fwhm(fwhm):
    assert gaussian_equivalent_fwhm_pix(3 * gaussian(fwhm, 63)) == pytest.approx(fwhm, rel=1e-3)


@pytest.mark.parametrize("size", [21, 31, 63])
def test_images_are_cropped_or_padded_about_their_middle_and_sum_to_one(size):
    image = read_psf_images(psf_file(r=5 * gaussian(5)), "gr", size)
    assert list(image) == ["r"]
    assert image["r"].shape == (size, size)
    assert image["r"].sum() == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(image["r"].argmax(), (size, size)) == (size // 2, size // 2)


@pytest.mark.parametrize("image", [None, np.ones((8, 8)), np.zeros((9, 9)), np.full((9, 9), np.nan), np.ones((9, 7))])
def test_what_is_no_psf_image_is_refused(image):
    content = b"garbage" if image is None else psf_file(r=image)
    with pytest.raises(ValueError):
        read_psf_images(content, "r", 31)


def test_a_host_gets_its_bricks_psf_images_and_their_size(tmp_path):
    write_brick(tmp_path)
    write_psf(tmp_path, psf_file(g=gaussian(6), r=gaussian(5)))
    out = cut_block(targets([150, 60], [150, 60]), Layout(str(tmp_path)), "grz", WITH_IMAGES)
    image, from_map = PsfSource.COADD_PSF, PsfSource.MAP
    assert out["psf_source"].values.tolist() == [[image, image, from_map]] * 2
    np.testing.assert_allclose(out["psfsize_arcsec"][0], [6 * 0.262, 5 * 0.262, PSFSIZE["z"]], rtol=1e-3)
    np.testing.assert_allclose(out["psf_kernel"].sum(("psf_y", "psf_x"), skipna=False)[:, :2], 1, rtol=1e-6)
    assert np.isnan(out["psf_kernel"][:, 2]).all()
    assert (out["status"] == Status.OK).all()


def test_without_the_file_the_chain_goes_on_and_a_broken_one_is_said(tmp_path):
    write_brick(tmp_path)
    hosts = targets([150], [150])
    out = cut_block(hosts, Layout(str(tmp_path)), "grz", WITH_IMAGES)
    assert (out["psf_source"] == PsfSource.MAP).all()
    assert np.isnan(out["psf_kernel"]).all()
    write_psf(tmp_path, b"gone")
    out = cut_block(hosts, Layout(str(tmp_path)), "grz", WITH_IMAGES)
    assert (out["band_reasons"] == Reason.CORRUPT_FILE).all()
    assert int(out["status"][0]) == Status.PARTIAL
    assert "PSF images cannot be read" in out.attrs["messages"][0]


def test_a_band_without_exposure_has_no_psf_image(tmp_path):
    def gap(products):
        products["nexp", "g"][:] = 0

    write_brick(tmp_path, edit=gap)
    write_psf(tmp_path, psf_file(g=gaussian(6), r=gaussian(5), z=gaussian(5)))
    out = cut_block(targets([150], [150]), Layout(str(tmp_path)), "grz", WITH_IMAGES)
    assert out["psf_source"].values[0].tolist() == [PsfSource.NONE, PsfSource.COADD_PSF, PsfSource.COADD_PSF]
    assert np.isnan(out["psf_kernel"][0, 0]).all()


def test_the_ratio_of_the_bands_is_measured_on_the_maps(tmp_path):
    def hole(products):
        products["psfsize", "g"][:150] = 0

    write_brick(tmp_path, edit=hole, skip=[("psfsize", "z")])
    hosts = targets([100, 150, 1e4], [100, 200, 100])
    sizes = map_psfsizes(Layout(str(tmp_path)), BRICK, "grz", hosts["ra_deg"], hosts["dec_deg"])
    np.testing.assert_allclose(sizes, [[np.nan, 1.3, np.nan], [1.4, 1.3, np.nan], [np.nan] * 3], rtol=1e-4)
    source = np.where(sizes > 0, PsfSource.MAP, PsfSource.NONE)
    assert measured_band_ratio(sizes, source, "grz") == pytest.approx({"g": 1.4 / 1.3, "r": 1.0}, rel=1e-4)
    missing = map_psfsizes(Layout(str(tmp_path)), "9999p999", "gr", [1.0], [1.0])
    assert np.isnan(missing).all()


def test_sampled_bricks_are_spread_over_all():
    names = [f"{k:04d}" for k in range(100)] * 3
    assert sample_bricks(names, 4) == ["0012", "0037", "0062", "0087"]
    assert sample_bricks(["b", "a", "b"], 4) == ["a", "b"]
    assert sample_bricks(names, 0) == []
