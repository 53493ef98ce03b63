"""Filters pass what they say, ends included; sorting puts rows without a value last."""

import numpy as np
import pytest

from lensflow import schema
from lensflow.store.tags import Tag
from lensflow.view.filters import Filter, Range, among, ordered
from lensflow.view.tags import Tags


def test_ranges_hold_their_ends_and_no_row_without_a_value(rows):
    theta_e = rows.values("theta_e_arcsec")
    low, high = np.nanquantile(theta_e, [0.2, 0.8], method="nearest")
    mask = Filter("all", (Range("theta_e_arcsec", low, high),)).mask(rows)
    np.testing.assert_array_equal(mask, (theta_e >= low) & (theta_e <= high))
    assert mask[theta_e == low].all() and mask[theta_e == high].all() and not mask[rows.is_control].any()
    assert Filter("all", (Range("theta_e_arcsec"),)).mask(rows).all()


@pytest.mark.parametrize("kind", ["injections", "controls", "all"])
def test_kinds(rows, kind):
    expected = {"injections": ~rows.is_control, "controls": rows.is_control, "all": np.ones(len(rows), bool)}[kind]
    np.testing.assert_array_equal(Filter(kind).mask(rows), expected)


def test_splits_status_and_flags(rows):
    np.testing.assert_array_equal(Filter("all", splits=("val",)).mask(rows), rows.split == 1)
    np.testing.assert_array_equal(
        Filter("all", statuses=("OK",)).mask(rows), rows.values("status") == schema.Status.OK.value
    )
    flag = next(f for f in rows.flags if 0 < rows.values(f).sum() < len(rows))
    is_set = rows.values(flag)
    np.testing.assert_array_equal(Filter("all", with_flags=(flag,)).mask(rows), is_set)
    np.testing.assert_array_equal(Filter("all", without_flags=(flag,)).mask(rows), ~is_set)
    assert not Filter("all", with_flags=(flag,), without_flags=(flag,)).mask(rows).any()


def test_worst_rows_of_a_verdict_and_of_an_unknown_one(rows):
    worst = {"core_r": np.array([4, 1])}
    assert np.flatnonzero(Filter("all", worst_of="core_r").mask(rows, worst)).tolist() == [1, 4]
    assert not Filter("all", worst_of="other").mask(rows, worst).any()


def test_tags(rows, tmp_path):
    tags = Tags(tmp_path / "tags.csv")
    tags.put({int(rows.row_id[2]): Tag("a", "ring"), int(rows.row_id[5]): Tag("b", "artefact"), 77: Tag("c", "ring")})
    assert np.flatnonzero(Filter("all", tag="ring").mask(rows, tags=tags)).tolist() == [2]
    assert np.flatnonzero(Filter("all", tag="*").mask(rows, tags=tags)).tolist() == [2, 5]


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_a_value_are_sorted_last(rows, descending):
    places = np.arange(len(rows))
    out = ordered(rows, places, "snr_matched", descending)
    values = rows.values("snr_matched")[out]
    known = values[np.isfinite(values)]
    assert np.isnan(values[len(known) :]).all() and sorted(out) == places.tolist()
    steps = np.diff(known)
    assert ((steps <= 0) if descending else (steps >= 0)).all()


def test_shuffled_rows_are_the_same_each_time_and_not_in_order(rows):
    places = np.flatnonzero(among(len(rows), np.arange(0, len(rows), 2)))
    once, again = (ordered(rows, places, "shuffled") for _ in range(2))
    assert once.tolist() == again.tolist() != places.tolist() and sorted(once) == places.tolist()
    assert ordered(rows, places, "row", True).tolist() == places[::-1].tolist()
    flag = next(f for f in rows.flags if 0 < rows.values(f)[places].sum() < len(places))
    flags = rows.values(flag)[ordered(rows, places, flag, True)]
    assert (np.diff(flags.astype(int)) <= 0).all()
