"""Variances and standard deviations as inverse variances."""

import numpy as np
import pytest

from lensflow.survey.image_units import UnitError, weight_factor
from lensflow.survey.weights import as_invvar


@pytest.mark.parametrize("kind", ["variance", "rms"])
def test_what_is_no_noise_has_no_weight_and_what_cannot_be_stays_visible(kind):
    sigma = np.full((2, 8, 8), 0.004, np.float32)
    stored = sigma**2 if kind == "variance" else sigma.copy()
    stored[0, 0, :5] = [0, np.inf, np.nan, -stored[1, 0, 0], 1e-9]
    out = as_invvar(stored, kind)
    np.testing.assert_allclose(out[1], 62500, rtol=1e-4)
    assert out[0, 0, 0] == 0 and out[0, 0, 1] == 0 and out[0, 0, 4] == 0  # the last is a zero that a codec has moved
    assert np.isnan(out[0, 0, 2]) and out[0, 0, 3] < 0
    np.testing.assert_allclose(out[0, 1:], 62500, rtol=1e-4)


def test_inverse_variances_are_left_alone():
    stored = np.array([[[1.0, 0.0, np.nan]]], np.float32)
    np.testing.assert_array_equal(as_invvar(stored, "invvar"), stored)


@pytest.mark.parametrize(
    ("unit", "weights", "factor"),
    [
        (None, "invvar", 0.25),
        (None, "variance", 0.25),
        (None, "rms", 0.25),
        ("nanomaggy", "rms", 1.0),
        ("nanomaggy**2", "variance", 1.0),
        ("nanomaggy2", "variance", 1.0),
        ("nanomaggy", "variance", 1.0),  # a copy of the image's header
        ("adu2", "variance", 0.25),
    ],
)
def test_a_factor_is_that_of_what_the_file_says_or_of_the_image(unit, weights, factor):
    assert weight_factor(lambda key: unit, 2.0, weights) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("unit", "weights"),
    [("nanomaggy**2", "invvar"), ("nJy2", "invvar"), ("nJy2", "rms"), ("1/nJy^2", "variance"), ("nanomaggy^-2", "rms")],
)
def test_a_unit_that_contradicts_the_setting_is_refused(unit, weights):
    with pytest.raises(UnitError, match="BUNIT"):
        weight_factor(lambda key: unit, 2.0, weights)
