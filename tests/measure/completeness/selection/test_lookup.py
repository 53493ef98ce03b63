"""Isotonic regression over one axis of SNR, and over nothing else."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.selection.lookup import Grid

VALUE = np.array([0.10, 0.30, 0.20, 0.55, 0.50, 0.90])
ROWS = np.array([50, 10, 200, 40, 300, 30])


def grid(*names, tested=True):
    """One bin below, one above and one for what is unknown beside six; the same along further axes of one bin."""
    axes = (Ranges(names[0], tuple(map(float, range(7)))), *(Ranges(n, (0.0, 1.0)) for n in names[1:]))
    inside = axes[0].is_inside
    many = np.broadcast_to(np.asarray(tested), 6)

    def spread(values, outside):
        out = np.full(len(inside), outside, dtype=np.asarray(values).dtype if outside == 0 else float)
        out[inside] = values
        for axis in axes[1:]:
            out = np.multiply.outer(out, axis.is_inside.astype(out.dtype))
        return out

    arrays = [spread(VALUE + d, np.nan) for d in (0.0, -0.05, 0.05)]
    return Grid(axes, *arrays, spread(many, 0).astype(bool), spread(ROWS, 0), spread(ROWS, 0), "enough")


def centres(places=range(6)):
    return [np.array([k + 0.5 for k in places])]


def test_it_is_scikit_learns_regression_weighed_by_the_rows_of_each_cell():
    found = grid("snr_peak_r").isotonic(centres())
    for values, got in ((VALUE, found.value), (VALUE - 0.05, found.low), (VALUE + 0.05, found.high)):
        judge = IsotonicRegression().fit(centres()[0], values, sample_weight=ROWS)
        np.testing.assert_allclose(got, judge.predict(centres()[0]), atol=1e-12)
    assert (np.diff(found.value) >= 0).all() and found.support.all()
    between = grid("snr_peak_r").isotonic([np.array([3.0])]).value
    np.testing.assert_allclose(between, found.value[2:4].mean())


def test_a_cell_that_is_not_tested_moves_no_other_and_is_no_support():
    tested = np.arange(6) != 4
    found = grid("snr_matched_r", tested=tested).isotonic(centres())
    judge = IsotonicRegression().fit(centres()[0][tested], VALUE[tested], sample_weight=ROWS[tested])
    np.testing.assert_allclose(found.value[tested], judge.predict(centres()[0][tested]), atol=1e-12)
    assert found.support.tolist() == tested.tolist() and np.isnan(found.value[4])


@pytest.mark.parametrize("names", [("theta_e_arcsec",), ("snr_peak_r", "src_mag_r"), ("resolution",)])
def test_over_anything_but_one_snr_it_is_refused(names):
    points = [np.array([0.5])] * len(names)
    with pytest.raises(CompletenessError, match="for a selection function over one SNR, not over " + names[0]):
        grid(*names).isotonic(points)
