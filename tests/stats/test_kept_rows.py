"""Rows of different pairs join to the same Dataset in whatever parts they come, or are refused: nothing is filled."""

import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import GateError
from lensflow.stats.kept_rows import KeptRows, first_of_host

N = 12
ROWS = xr.Dataset(
    {
        "row_id": ("sample", np.arange(N, dtype="u8")),
        "flux": (("sample", "band"), np.arange(2 * N, dtype="f4").reshape(N, 2), {"units": "nMgy"}),
        "name": ("sample", np.array([f"{'long' * (k % 3)}{k}" for k in range(N)])),
        "host": ("of_host", np.arange(5)),
    },
    coords={"band": ["g", "r"]},
    attrs={"pixel_scale_arcsec": 0.262},
)


def by_id(rows):
    return rows.isel(sample=np.argsort(rows["row_id"].values), of_host=np.unique(rows["host"], return_index=True)[1])


def some(rows, hosts=slice(None), tidy=None, data=ROWS):
    return KeptRows(data.isel(sample=rows, of_host=hosts), ("sample", "of_host"), tidy)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), min_size=N, max_size=N), st.permutations(range(4)))
def test_any_partition_in_any_order_joins_to_the_same_rows(part, order):
    parts = [some(np.flatnonzero(np.array(part) == p), tidy=by_id) for p in order]
    for joined in (KeptRows.concat(parts), (parts[0] + parts[1]) + (parts[2] + parts[3])):
        assert joined.rows.identical(ROWS)
        assert {n: v.dtype for n, v in joined.rows.items()} == {n: v.dtype for n, v in ROWS.items()}


def test_without_an_order_of_their_own_rows_keep_that_of_the_parts():
    joined = some([3, 1], []) + some([2], [4])
    assert joined.rows["row_id"].values.tolist() == [3, 1, 2] and joined.rows["host"].values.tolist() == [4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.drop_vars("flux"), "flux"),
        (lambda d: d.assign(more=d["row_id"]), "more"),
        (lambda d: d.assign(flux=d["flux"].astype("f8")), "flux"),
        (lambda d: d.assign(flux=d["flux"].isel(band=0, drop=True)), "flux"),
        (lambda d: d.isel(band=[0]), "size of band"),
        (lambda d: d.assign_coords(band=["g", "z"]), "band"),
        (lambda d: d.assign(flux=d["flux"].assign_attrs(units="mJy")), "units"),
        (lambda d: d.assign_attrs(pixel_scale_arcsec=0.2), "attr"),
    ],
)
def test_parts_that_differ_in_columns_types_units_or_coordinates_are_refused(change, named):
    with pytest.raises(GateError, match=named):
        some([0]) + some([1], data=change(ROWS))


def test_joined_rows_are_those_of_xarrays_own_joining():
    indexed = ROWS.assign_coords(sample=("sample", np.arange(N) + 5, {"long_name": "row"}))
    parts = [some(rows, slice(2 * k, 2 * k + 2), data=indexed) for k, rows in enumerate(([4, 1], [], [7, 9, 2]))]
    found = KeptRows.concat(parts).rows
    for dim, other in (("sample", "of_host"), ("of_host", "sample")):
        each = [p.rows.drop_dims(other) for p in parts]
        assert found.drop_dims(other).identical(xr.concat(each, dim, data_vars="minimal", combine_attrs="identical"))


def test_no_parts_and_a_column_of_no_row_are_refused():
    with pytest.raises(GateError, match="no rows to join"):
        KeptRows.concat([])
    with pytest.raises(ValueError, match="flux"):
        KeptRows(ROWS[["flux"]], ("of_host",))


def test_a_pickle_holds_the_same_rows_in_fewer_bytes_than_the_datasets_own():
    kept = some(slice(None), tidy=by_id)
    sent = pickle.dumps(kept)
    again = pickle.loads(sent)
    assert again.rows.identical(ROWS) and (again.along, again.tidy) == (kept.along, by_id)
    assert len(sent) < len(pickle.dumps((ROWS, kept.along, by_id)))


def test_the_row_of_a_host_is_the_one_with_the_lowest_id():
    assert first_of_host(np.array([7, 3, 7, 3]), np.array([4, 9, 2, 8])).tolist() == [3, 2]
