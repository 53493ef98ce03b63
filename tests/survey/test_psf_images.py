from __future__ import annotations

from io import BytesIO
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.psf_images import band_of, gaussian_equivalent_fwhm_pix, read_psf_images, usable_psf_image
from lensflow.survey.psf_ratio import map_psfsizes, sample_bricks
from lensflow.survey.psfsize import measured_band_ratio
from tests.survey.brick_factory import BRICK, PSFSIZE, SURVEY, targets, write_brick

SCALE = 0.262
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


def read(content, bands="r", size=31, scale=SCALE):
    return read_psf_images(content, bands, size, scale)


@pytest.mark.parametrize("size", [21, 31, 63])
def test_images_are_cropped_or_padded_about_their_middle_and_sum_to_one(size):
    found = read(psf_file(r=5 * gaussian(5)), "gr", size)
    assert list(found.images) == ["r"]
    assert found.images["r"].shape == (size, size)
    assert found.images["r"].sum() == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(found.images["r"].argmax(), (size, size)) == (size // 2, size // 2)
    assert "bands in the file: 'r'" in found.problems["g"]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((9, 9)), "sums to 0"),
        (np.where(np.eye(31) > 0, np.nan, gaussian(5)), "31 of its pixels are not finite"),
        (-gaussian(5), "negative"),
        (gaussian(5) - 0.1, "negative"),
        (np.ones((9, 7)), "shape"),
        (np.roll(gaussian(4), 12, axis=0), "centred"),
    ],
)
def test_what_is_no_psf_image_has_no_place_and_the_other_bands_keep_theirs(image, why):
    found = read(psf_file(g=gaussian(5), r=image), "gr")
    assert list(found.images) == ["g"]
    assert why in found.problems["r"]


@pytest.mark.parametrize("content", [b"garbage", psf_file(r=gaussian(5))[:5000], b""])
def test_what_is_no_fits_file_is_refused(content):
    with pytest.raises(ValueError, match=":"):
        read(content)


@pytest.mark.parametrize(
    ("card", "value", "band"),
    [("BAND", "r", "r"), ("FILTER", "z DECam SDSS c0004", "z"), ("EXTNAME", "PSF_i", "i"), ("EXTNAME", "g", "g"),
     ("BAND", "R", "R"), ("COMMENT", "r", "")],
)  # fmt: skip
def test_the_band_of_an_image_is_what_its_header_says(card, value, band):
    hdu = fits.ImageHDU(gaussian(5))
    hdu.header[card] = value
    assert band_of(hdu.header) == band


def test_two_images_of_one_band_are_none():
    buffer = BytesIO()
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(gaussian(f), fits.Header({"BAND": "r"})) for f in (4, 6))]
    fits.HDUList(hdus).writeto(buffer)
    assert read(buffer.getvalue()).problems == {"r": "2 HDUs name the band"}


def moffat(fwhm_arcsec, step_arcsec, size, beta=3.0, x0=0.0, y0=0.0):
    """galsim's own Moffat, at the centres of pixels of any size: an independent judge."""
    profile = galsim.Moffat(beta, fwhm=fwhm_arcsec).shift(x0, y0)
    return profile.drawImage(nx=size, ny=size, scale=step_arcsec, method="no_pixel", dtype=np.float64).array


@settings(max_examples=10, deadline=None)
@example(step=1.0, fwhm_pix=4.0, size=70, shift=(0.0, 0.03125), says="PSF_SAMP")
@given(
    step=st.floats(0.4, 1.0),
    fwhm_pix=st.floats(4.0, 7.0),
    size=st.integers(70, 81),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    says=st.sampled_from(["PSF_SAMP", "PIXSCALE", "CD", "CDELT"]),
)
def test_a_psf_image_of_a_stated_sampling_becomes_the_profile_on_the_stamps_pixels(step, fwhm_pix, size, shift, says):
    fwhm = fwhm_pix * SCALE
    even = size % 2 == 0
    offset = [v * step * SCALE for v in shift] if even else (0.0, 0.0)
    image = moffat(fwhm, step * SCALE, size, x0=offset[0], y0=offset[1])
    degrees = step * SCALE / 3600
    header = {
        "PSF_SAMP": {"PSF_SAMP": step},
        "PIXSCALE": {"PIXSCALE": step * SCALE},
        "CD": {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -degrees, "CD2_2": degrees},
        "CDELT": {"CDELT1": -degrees, "CDELT2": degrees, "CUNIT1": "deg", "CUNIT2": "deg"},
    }[says]
    got = usable_psf_image(image, header, 15, SCALE)
    want = moffat(fwhm, SCALE, 15)
    np.testing.assert_allclose(got, want / want.sum(), atol=3e-3 * float((want / want.sum()).max()))
    assert gaussian_equivalent_fwhm_pix(got) == pytest.approx(gaussian_equivalent_fwhm_pix(want), rel=3e-3)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"PSF_SAMP": 0.0}, "not positive"),
        ({"PSF_SAMP": "half"}, "no number"),
        ({"PSF_SAMP": 0.5, "PIXSCALE": 0.262}, "two samplings"),
        ({"PIXSCALE": 100.0}, "means pixels of"),
        ({"CDELT1": 0.13, "CDELT2": 0.13}, "no CTYPE or CUNIT"),
        ({"CDELT1": 1e-5, "CUNIT1": "Hz"}, "no angle"),
    ],
)
def test_a_sampling_that_is_not_understood_is_refused_by_name(header, why):
    with pytest.raises(ValueError, match=why):
        usable_psf_image(gaussian(5), header, 31, SCALE)


def test_an_image_too_coarse_to_be_resampled_is_refused():
    with pytest.raises(ValueError, match="FWHM"):
        usable_psf_image(gaussian(1.8), {"PSF_SAMP": 2.0}, 31, SCALE)


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
    assert (out["band_reasons"] == Reason.NO_PSF_IMAGE).all()
    assert (out["status"] == Status.OK).all()
    assert "No such survey file" in out.attrs["messages"][0]
    write_psf(tmp_path, b"gone")
    out = cut_block(hosts, Layout(str(tmp_path)), "grz", WITH_IMAGES)
    assert (out["band_reasons"] == Reason.CORRUPT_FILE | Reason.NO_PSF_IMAGE).all()
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
    assert not int(out["band_reasons"][0, 0]) & Reason.NO_PSF_IMAGE


def test_a_psf_image_of_another_width_than_the_host_s_psf_is_not_used(tmp_path):
    write_brick(tmp_path)
    write_psf(tmp_path, psf_file(g=gaussian(1.4 / 0.262), r=gaussian(2.1 * 1.3 / 0.262), z=gaussian(0.6 * 1.2 / 0.262)))
    out = cut_block(targets([150], [150]), Layout(str(tmp_path)), "grz", WITH_IMAGES)
    assert out["psf_source"].values.tolist() == [[PsfSource.COADD_PSF, PsfSource.MAP, PsfSource.MAP]]
    off = int(Reason.NO_PSF_IMAGE | Reason.IMPLAUSIBLE_PSF)
    assert out["band_reasons"].values.tolist() == [[0, off, off]]
    assert "PSF image in r is 2.7" in out.attrs["messages"][0]


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
