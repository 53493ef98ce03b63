import numpy as np
import pytest

from lensflow.lensing import correlated_noise_factor
from lensflow.survey.photometry import noise_correlation_factor
from tests.factories import make_cutouts


def test_every_stamp_is_measured_by_itself_on_its_pixels_with_data():
    cutouts = make_cutouts(3, absent=((1, 0),))
    image, invvar = cutouts["image"].values.copy(), cutouts["invvar"].values.copy()
    image[2, 1, :20], invvar[2, 1, :20] = 99, 0
    got = noise_correlation_factor(image, invvar)
    assert np.isnan(got[1, 0]) and np.isfinite(np.delete(got.ravel(), 3)).all()
    assert got[2] == pytest.approx(correlated_noise_factor(image[2], valid=invvar[2] > 0), rel=1e-6)
    assert np.abs(np.delete(got.ravel(), 3) - 1).max() < 0.4


def test_a_stamp_of_a_few_pixels_has_no_factor():
    cutouts = make_cutouts(1, size=7)
    assert np.isnan(cutouts["noise_correlation_factor"].values).all()
