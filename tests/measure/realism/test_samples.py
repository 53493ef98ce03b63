"""Rows of matched sets: both sides, finite or missing, and injections in the place of real lenses."""

import numpy as np
import pytest
import xarray as xr

from lensflow.errors import RealismError
from lensflow.measure.realism.samples import MatchedRows
from tests.measure.realism.drawn import matched_rows


def test_rows_are_sorted_by_set_with_the_real_lens_first():
    rows = MatchedRows.of(["a"], [[1.0], [2.0], [3.0], [4.0]], [0, 1, 1, 0], [5, 5, 2, 2])
    assert rows.sets.tolist() == [2, 2, 5, 5]
    assert rows.is_real.tolist() == [True, False, True, False]
    assert rows.values[:, 0].tolist() == [3.0, 4.0, 2.0, 1.0]


def test_a_set_of_one_side_is_refused_by_name():
    with pytest.raises(RealismError, match="set 9 has no injection"):
        MatchedRows.of(["a"], np.zeros((3, 1)), [1, 0, 1], [1, 1, 9])
    with pytest.raises(RealismError, match="set 9 has no real lens"):
        MatchedRows.of(["a"], np.zeros((3, 1)), [1, 0, 0], [1, 1, 9])


def test_an_infinite_feature_is_refused_and_a_missing_one_is_not():
    with pytest.raises(RealismError, match=r"feature b of row 1 .set 4. is infinite"):
        MatchedRows.of(["a", "b"], [[0.0, 1.0], [np.nan, np.inf]], [1, 0], [4, 4])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(RealismError, match="shape"):
        MatchedRows.of(["a"], np.zeros((2, 2)), [1, 0], [1, 1])


def test_datasets_are_joined_and_a_missing_feature_is_named():
    real = xr.Dataset({"a": ("sample", [1.0]), "mask_pixels": ("sample", [3])}, coords={"set": ("sample", [0])})
    other = xr.Dataset({"a": ("sample", [2.0, 3.0])}, coords={"set": ("sample", [0, 0])})
    rows = MatchedRows.of_datasets(real, other)
    assert rows.names == ("a",)
    assert rows.values[:, 0].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(RealismError, match="injections: a missing"):
        MatchedRows.of_datasets(real, other.drop_vars("a"))


def test_taking_rows_drops_sets_that_lose_a_side():
    rows = matched_rows(5, 2)
    kept = rows.take((rows.sets != 1) | ~rows.is_real)
    assert kept.set_ids.tolist() == [0, 2, 3, 4]


def test_injections_alone_leave_out_every_real_lens_and_put_one_injection_in_its_place():
    rows = matched_rows(20, 3)
    alone = rows.injections_alone(1, "test")
    assert alone.n_real == 20
    assert alone.n_injected == 40
    assert not np.isin(alone.values[:, 0], rows.values[rows.is_real, 0]).any()


def test_another_version_takes_the_place_of_its_own_row():
    rows = matched_rows(20, 3)
    other = rows.in_place_of_real(rows.injected_values + 100.0, 1, "test")
    assert (other.values[other.is_real] > 50).all()
    assert (other.values[~other.is_real] < 50).all()
    # The row that was brightened is not left beside it.
    assert not np.isin(np.round(other.values[other.is_real] - 100, 6), np.round(other.values[~other.is_real], 6)).any()
