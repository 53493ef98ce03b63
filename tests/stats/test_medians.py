"""The quick median is numpy's, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lensflow.stats.medians import median_of, sky_of
from lensflow.units import median_and_sigma


@settings(max_examples=60, deadline=None)
@given(
    values=npst.arrays(
        st.sampled_from([np.float32, np.float64]),
        npst.array_shapes(min_dims=1, max_dims=3, max_side=9),
        elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.inf, -np.inf, np.nan, 0.0]),
    )
)
def test_any_values_have_numpys_median(values):
    with np.errstate(invalid="ignore"):
        found, wanted = median_of(values), np.median(values, axis=-1)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("n", [2827, 4096])
def test_an_images_pixels_have_numpys_median(n):
    values = np.random.default_rng(n).normal(size=(5, 2, n)).astype(np.float32)
    np.testing.assert_array_equal(median_of(values), np.median(values, axis=-1))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 2827])
def test_level_and_scatter_of_a_sky_are_those_of_numpys_medians_to_the_bit(n, kind):
    values = np.random.default_rng(n).normal(3, 1, size=(4, 3, n)).astype(kind)
    values[0, 0, : n // 3] = values[0, 0, 0]  # values that repeat
    if n > 2:
        values[1, 1, 5] = np.nan
    kept = values.copy()
    for found, wanted in zip(sky_of(values), median_and_sigma(values), strict=True):
        assert found.dtype == wanted.dtype == kind
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(values, kept)
