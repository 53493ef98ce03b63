"""Do real survey pixels lie on a lattice? Legacy Surveys coadds are quantised, with dither; DES stamps are not."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensflow.measure.pixels import bits_lattice as lattice

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here: no real pixels to look at"),
]
COADDS = {"dr9": "ls_dr9_brick/coadd/059/0591m305/legacysurvey-0591m305-image-{}.fits.fz",
          "dr6": "ls_dr6_brick/coadd/095/0959p805/legacysurvey-0959p805-image-{}.fits.fz"}  # fmt: skip
SIZE = 64


def image_of(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as hdus:
            return next(h.data for h in hdus if h.data is not None)


def cutouts_of(image):
    """All cutouts without a pixel that has no data."""
    rows, columns = (n // SIZE for n in image.shape)
    parts = image[: rows * SIZE, : columns * SIZE].reshape(rows, SIZE, columns, SIZE).swapaxes(1, 2)
    parts = parts.reshape(-1, SIZE, SIZE)
    return parts[np.isfinite(parts).all(axis=(1, 2)) & ((parts != 0).mean(axis=(1, 2)) > 0.99)][:200]


def shares_of(cutouts):
    return lattice.zone_shares(cutouts.astype(np.float32))[:, [lattice.ON_INNER, lattice.ON_OUTER]]


@pytest.mark.parametrize(
    ("survey", "band", "least"), [("dr9", "g", 9), ("dr9", "r", 9), ("dr9", "z", 9), ("dr6", "g", 200)]
)
def test_coadds_of_the_legacy_surveys_lie_on_no_lattice_when_they_are_read(survey, band, least):
    cutouts = cutouts_of(image_of(SHARED / COADDS[survey].format(band)))
    assert len(cutouts) >= least
    shares = shares_of(cutouts)
    np.testing.assert_allclose(shares.mean(axis=0), 2 * lattice.ON_LATTICE, atol=0.003)
    assert shares.max() < 0.08


def test_des_stamps_lie_on_no_lattice():
    for band in "grz":
        images = image_of(SHARED / "des_lrg" / f"image-{band}.fits")[:, 13:77, 13:77]
        np.testing.assert_allclose(shares_of(images).mean(axis=0), 2 * lattice.ON_LATTICE, atol=0.004)


def test_steps_of_a_coadd_would_be_seen_if_it_had_been_rounded_without_dither():
    """The same pixels rounded to the same file's steps, of 1e-4 nMgy."""
    path = SHARED / COADDS["dr6"].format("g")
    with fits.open(path, disable_image_compression=True) as hdus:
        header = hdus[1].header
        assert header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"
        steps = np.unique(hdus[1].data["ZSCALE"])
    np.testing.assert_allclose(steps, 1e-4, rtol=1e-6)
    cutouts = cutouts_of(image_of(path))[:20]
    without = (np.round(cutouts / 1e-4) * 1e-4).astype(np.float32)
    found = lattice.zone_shares(without)
    assert found[:, [lattice.ON_INNER, lattice.ON_OUTER]].min() > 0.99
    np.testing.assert_allclose(found[:, lattice.STEP], 1e-4, rtol=1e-3)
