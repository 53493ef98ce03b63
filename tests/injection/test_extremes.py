import numpy as np
import pytest

from lensflow.injection.extremes import extremes


@pytest.mark.parametrize("odd", [None, np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, -1e-45])
def test_extremes_are_those_that_numpy_finds(odd):
    rng = np.random.default_rng(1)
    arc, stamp = rng.normal(size=(2, 6, 3, 9, 9)).astype(np.float32)
    arc[0], arc[1], arc[2], arc[3] = 0, abs(arc[1]), -abs(arc[2]), -0.0
    for place in ((0, 0, 3, 4), (4, 2, 8, 8)):
        if odd is not None:
            arc[place] = odd
    stamp[5, 1, 0, 0] = np.nan
    found = extremes(arc, stamp)
    finite = np.isfinite(arc).all(axis=(2, 3))
    np.testing.assert_array_equal(found.finite, finite & np.isfinite(stamp).all(axis=(2, 3)))
    np.testing.assert_array_equal(found.lit, (arc != 0).any(axis=(2, 3)))
    np.testing.assert_array_equal(found.peak[finite], np.maximum(arc.max(axis=(2, 3)), 0)[finite])
    np.testing.assert_array_equal(found.dip[finite], np.minimum(arc.min(axis=(2, 3)), 0)[finite])
    assert not (found.dip < -1e-4 * found.peak)[~finite & np.isnan(arc).any(axis=(2, 3))].any()
