import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import schema
from lensflow.config import SplitsConfig
from lensflow.errors import LensflowWarning, SplitError
from lensflow.sky import unit_vectors
from lensflow.targets.splits import (
    ARC,
    arc_keys,
    assign_splits,
    check_splits,
    guard_band,
    region_cells,
    sky_cells,
    spark_xxhash64,
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 2000))
def test_fractions_are_met_within_two_points(seed, n):
    cells = np.random.default_rng(seed).poisson(30, n) * 7 + np.random.default_rng(seed + 1).integers(0, 60, n)
    split = assign_splits(cells, SplitsConfig(), seed)
    share = np.bincount(split, minlength=3) / n
    assert np.abs(share - (0.7, 0.15, 0.15)).max() < 0.02 + np.bincount(cells).max() / n


@given(st.permutations(range(40)))
@settings(max_examples=20)
def test_the_split_of_a_host_does_not_depend_on_the_order(order):
    cells = np.arange(40) // 3
    split = assign_splits(cells, SplitsConfig(), 1)
    assert np.array_equal(assign_splits(cells[list(order)], SplitsConfig(), 1), split[list(order)])


def test_a_cell_is_never_divided():
    cells = np.repeat(np.arange(30), 5)
    split = assign_splits(cells, SplitsConfig(), 3).reshape(30, 5)
    assert (split == split[:, :1]).all()


def test_hosts_without_a_position_are_cells_of_their_own():
    cells = sky_cells([np.nan, np.nan, 10.0], [np.nan, np.nan, 5.0], ["a", "b", "c"], 64)
    assert (cells[:2] < 0).all() and cells[0] != cells[1] and cells[2] >= 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_splits_get_rich_and_poor_cells_alike(seed):
    # Dealing the largest cells to the emptiest split in absolute numbers gave all of them to train.
    sizes = np.random.default_rng(seed).integers(1, 60, 400)
    split = assign_splits(np.repeat(np.arange(400), sizes), SplitsConfig(), seed)
    of_cell = split[np.cumsum(sizes) - 1]
    means = [sizes[of_cell == k].mean() for k in range(3)]
    assert max(means) / min(means) < 1.15


def test_a_share_of_zero_gets_no_host():
    assert set(assign_splits(np.arange(50), SplitsConfig(fractions=(0.8, 0.2, 0.0)), 1).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"ABC", 4105715581806190027)],  # Spark's documentation of xxhash64
)
def test_the_historic_hash_is_spark_s(content, value):
    assert spark_xxhash64(content) == value


def test_the_historic_rule_is_a_threshold_on_each_cell_and_says_what_it_misses():
    cells = np.repeat([3, 8, 11], [1000, 10, 10])
    config = SplitsConfig(rule="xxhash64")
    with pytest.warns(LensflowWarning, match=r"gives .* 70/15/15 was asked for"):
        split = assign_splits(cells, config, seed=1)
    for cell, s in zip(cells, split, strict=True):
        percent = spark_xxhash64(int(cell).to_bytes(8, "little")) % 100
        assert s == (0 if percent < 70 else 1 if percent < 85 else 2)
    # It looks at nothing but the cell: not at the seed, not at the other hosts.
    with pytest.warns(LensflowWarning):
        assert np.array_equal(assign_splits(cells[:500], config, seed=2), split[:500])


def test_regions_are_cells_by_their_names_alone():
    cells = region_cells(["north", "south", "north", "x"])
    assert cells[0] == cells[2] and len(set(cells.tolist())) == 3
    assert region_cells(["x"])[0] == cells[3]
    with pytest.raises(SplitError, match="no region"):
        region_cells(["x", ""])


def hosts(seed, n=120):
    """Crowded hosts about RA 0, so that the guard band matters."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.normal(0, 0.03, n) % 360, rng.normal(-2, 0.03, n)
    names = np.array([f"h{i}" for i in range(n)])
    cells = sky_cells(ra, dec, names, 4096)
    split = guard_band(ra, dec, assign_splits(cells, SplitsConfig(), seed), GUARD_ARCSEC)
    columns = {"host_id": names, "ra_deg": ra, "dec_deg": dec, "cell": cells, "split": split}
    return xr.Dataset({k: ("host", v) for k, v in columns.items()})


GUARD_ARCSEC = 25.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_after_the_guard_band_no_two_splits_are_near_in_any_order_of_rows(seed, random):
    ds = hosts(seed)
    used = ds["split"].values < schema.GUARD
    xyz = unit_vectors(ds["ra_deg"].values, ds["dec_deg"].values)[used]
    apart = np.rad2deg(2 * np.arcsin(np.linalg.norm(xyz[:, None] - xyz[None], axis=-1) / 2)) * 3600
    split = ds["split"].values[used]
    assert (apart[split[:, None] != split[None]] > GUARD_ARCSEC).all()
    assert check_splits(ds, guard_arcsec=GUARD_ARCSEC)["hosts"] == used.sum()
    order = list(range(ds.sizes["host"]))
    random.shuffle(order)
    before = assign_splits(ds["cell"].values, SplitsConfig(), seed)
    again = guard_band(ds["ra_deg"].values[order], ds["dec_deg"].values[order], before[order], GUARD_ARCSEC)
    assert np.array_equal(again, ds["split"].values[order])
    # Only who has a near host in another split is taken out, and never for a lower split's sake.
    assert (ds["split"].values[used] == before[used]).all() and (before[~used] < 2).all()


def test_no_guard_takes_nobody_out():
    ds = hosts(3)
    split = np.array([0, 1] * 60, np.uint8)
    assert np.array_equal(guard_band(ds["ra_deg"], ds["dec_deg"], split, 0.0), split)


def make(**changes):
    base = {
        "host_id": np.array(["a", "b", "c", "d"]),
        "ra_deg": np.array([0.0, 1.0, 2.0, 359.999]),
        "dec_deg": np.zeros(4),
        "cell": np.array([1, 2, 3, 1]),
        "split": np.array([0, 1, 2, 0], np.uint8),
    }
    return xr.Dataset({k: ("host", v) for k, v in {**base, **changes}.items()})


def rows(**changes):
    base = {
        "host_index": np.array([0, 0, 1, 2]),
        "split": np.array([0, 0, 1, 2], np.uint8),
        "is_control": np.array([False, True, False, False]),
        "src_id": np.array([7, 9, 8, 9]),
    }
    return xr.Dataset({k: ("sample", np.asarray(v)) for k, v in {**base, **changes}.items()})


def test_whole_splits_pass_and_say_what_was_compared():
    counts = check_splits(make(), rows(), guard_arcsec=10)
    assert counts == {"hosts": 4, "cells": 3, "close_pairs": 1, "rows": 4, "sources": 3, "arcs": 0}
    assert check_splits(make(), rows().drop_vars("src_id"))["sources"] == 0


@pytest.mark.parametrize(
    ("host_changes", "row_changes", "message"),
    [
        ({"host_id": np.array(["a", "b", "b", "d"])}, {}, "host b is in val and in test; 0 other"),
        ({"cell": np.array([1, 2, 2, 1])}, {}, "cell 2 is in val and in test"),
        (
            {"cell": np.arange(4), "split": np.array([0, 1, 2, 2], np.uint8)},
            {},
            r"hosts a \(train\) and d \(test\) lie within 10 arcsec",
        ),
        ({}, {"split": np.array([0, 0, 0, 2], np.uint8)}, "manifest row 2 is in split train, its host b in val"),
        (
            {"split": np.array([0, schema.GUARD, 2, 0], np.uint8)},
            {"split": np.array([0, 0, 3, 2], np.uint8)},
            "row 2 is in split guard",
        ),
        ({}, {"src_id": np.array([9, 1, 8, 9])}, "source 9 is in train and in test"),
        ({}, {"src_id": np.array(["x", "y", "x", "z"])}, "source x is in train and in val"),
        ({}, {"row_id": np.array([4, 5, 4, 6], np.uint64)}, "row id 4 is in train and in val"),
        (
            {},
            {"arc_key": np.array([4, 0, 0, 4], np.uint64)},
            r"rows 0 \(train\) and 3 \(test\) have the same lens and source",
        ),
        (
            {"host_id": np.array(["a", "A 1", "a1", "d"]), "ra_deg": np.array([0, np.nan, 2, 359.999])},
            {},
            r"'A 1' \(val\) and 'a1' \(test\) differ only by case or blanks",
        ),
    ],
)
def test_what_is_in_two_splits_is_refused_by_name(host_changes, row_changes, message):
    with pytest.raises(SplitError, match=message):
        check_splits(make(**host_changes), rows(**row_changes), guard_arcsec=10)


def test_sources_without_identity_may_be_anywhere():
    assert check_splits(make(), rows(src_id=np.array([-1, -1, -1, -1])))["sources"] == 0
    assert check_splits(make(), rows(src_id=np.array(["", "", "", "m51"])))["sources"] == 1


def test_names_that_differ_by_case_are_names_where_hosts_have_positions():
    assert check_splits(make(host_id=np.array(["a", "A1", "a1", "d"])))["hosts"] == 4


def test_one_image_under_two_names_is_one_source():
    named = rows(src_id=np.array(["x", "", "y", "z"]))
    assert check_splits(make(), named)["sources"] == 3
    with pytest.raises(SplitError, match=r"source x \(or the same image under another name\) is in train and in test"):
        check_splits(make(), named, same_image={"z": "x"})


def test_an_arc_s_key_depends_on_every_parameter_and_controls_and_images_have_none():
    draw = np.random.default_rng(1)
    table = xr.Dataset({name: ("sample", draw.uniform(0.1, 1, 4)) for name in ARC})
    table["is_control"] = ("sample", np.array([False, False, False, True]))
    table["src_id"] = ("sample", np.array(["", "", "m51", ""]))
    keys = arc_keys(table)
    assert keys[0] != keys[1] and not keys[2:].any()
    for name in ARC:
        other = table.copy(deep=True)
        other[name].values[0] = np.nextafter(other[name].values[0], 2)
        assert arc_keys(other)[0] != keys[0] and arc_keys(other)[1] == keys[1]
