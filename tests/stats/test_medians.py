"""The quick median is numpy's, to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lensflow.stats.medians import median_of


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
