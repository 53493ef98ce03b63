"""What a scorer is given beside the images is its host's, row by row; a scorer that needs it never goes without."""

import numpy as np
import pytest

from lensflow.errors import GateError
from lensflow.measure.scorer.beside import features_of, needs_features
from lensflow.measure.scorer.scorer import as_scorer, own_control, score_block, score_images
from tests.measure.pixels.pairs_factory import pairs_block

PAIRS = pairs_block(n_hosts=12, per_host=3)
N_BANDS = PAIRS.sizes["band"]
# Another PSF for every host and band.
PSF = 1 + PAIRS["host_index"].values[:, None] / 10 + np.arange(N_BANDS) / 100
WITH_PSF = PAIRS.assign(psfsize_arcsec=(("sample", "band"), PSF))


class Seeing:
    """The PSF of one band alone."""

    needs_features = ("psf_fwhm",)

    def __init__(self, band=0):
        self.band = band

    def __call__(self, images, features):
        return features[:, self.band]


def test_each_image_is_scored_with_the_psf_of_its_own_host_and_a_pair_shares_it(monkeypatch):
    monkeypatch.setattr("lensflow.measure.scorer.scorer.BATCH", 5)
    for band in range(N_BANDS):
        found = score_block(WITH_PSF, as_scorer(Seeing(band)), 5.0).rows
        expected = 1 + found["host_index"].values / 10 + band / 100
        for name in ("stamp", "stamp_filled"):
            np.testing.assert_allclose(found[name].values, expected)
        np.testing.assert_array_equal(found["ctrl"].values[own_control(found)], found["stamp"].values)
        np.testing.assert_array_equal(found["ctrl_filled"].values, found["ctrl"].values)


def test_a_scorer_that_gets_none_is_an_error_that_names_both():
    with pytest.raises(GateError, match=r"net: was made for images with psf_fwhm beside them, and is given images a"):
        as_scorer(Seeing(), "net")(np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(GateError, match=r"with psf_fwhm beside them, and these rows have no psfsize_arcsec"):
        score_block(PAIRS, as_scorer(Seeing()), 5.0)
    with pytest.raises(GateError, match="is given images alone"):
        score_images(as_scorer(Seeing()), np.zeros((2, 3, 8, 8), np.float32))


def test_other_scorers_get_images_alone():
    images_alone = as_scorer(lambda *given: np.full(len(given[0]), float(len(given))))
    assert (score_block(WITH_PSF, images_alone, 5.0).rows["stamp"].values == 1).all()
    assert features_of(images_alone, PAIRS) is None

    class Vgg:  # networks of torchvision have an attribute of this name
        features = "layers"

        def __call__(self, images):
            return images.mean(axis=(1, 2, 3))

    assert needs_features(Vgg()) == () and score_block(PAIRS, as_scorer(Vgg()), 5.0).rows["stamp"].size


@pytest.mark.parametrize("wanted", [("snr",), ("psf_fwhm", "theta_e_arcsec"), "psf_fwhm", (1,)])
def test_what_could_tell_the_class_is_refused_by_name(wanted):
    scorer = Seeing()
    scorer.needs_features = wanted
    with pytest.raises(GateError, match=r"snr|theta_e_arcsec|must be a tuple"):
        as_scorer(scorer)


def test_a_score_that_depends_on_the_rows_beside_it_is_found_in_features_too():
    def careless(images, features):
        return features[:, 0] - features[:, 0].mean()

    careless.needs_features = ("psf_fwhm",)
    with pytest.raises(GateError, match="must not depend on the images beside it"):
        score_block(WITH_PSF, as_scorer(careless), 5.0)
