"""The selection function of a scorer: what is opened is what was measured, and it is silent about nothing."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

import lensflow as lf
from lensflow import rng
from lensflow.errors import CompletenessError, StoreError
from lensflow.measure.completeness import bins
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.selection.selection_file import from_file, to_file
from lensflow.measure.completeness.set_thresholds import threshold_table
from lensflow.measure.completeness.table import table
from lensflow.measure.completeness.thresholds import by_value
from lensflow.run.selection import STORE
from lensflow.store.arrays import read_arrays, write_arrays

THETA, MAG = "theta_e_arcsec", "src_mag_r"
ABOUT = {
    "scorer": "finder:score", "scorer_kind": "images", "split": "val", "negatives": "hosts", "n_negatives": 3,
    "verdict": "", "reason": "", "scorer_note": "a toy",
    "data_gates": {"core_all": "PASS"}, "certificate_seal": None, "run_fingerprint": "abc",
}  # fmt: skip


def chance(theta, mag):
    return 1 / (1 + np.exp(-(4 * (theta - 1.2) - 1.5 * (mag - 24))))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """20,000 rows in a table of theta_E from 0.5 to 2.5 and magnitude from 22 to 26; above 25 only few."""
    axes = (Ranges(THETA, (0.5, 1.0, 1.5, 2.0, 2.5)), Ranges(MAG, (22.0, 23.0, 24.0, 25.0, 26.0)))
    u = rng.uniform(3, np.arange(20_000, dtype=np.uint64), "test.selection", 4)
    mag = np.where(u[:, 3] < 0.999, 22 + 3 * u[:, 1], 25 + u[:, 1])
    theta = 0.5 + 2 * u[:, 0]
    d = np.stack([u[:, 2] < chance(theta, mag), u[:, 2] < chance(theta, mag) / 2])
    here = np.ones(len(theta), bool)
    place, shape = bins.places(axes, {THETA: theta, MAG: mag})
    cells = Cells.from_rows(np.arange(20_000) // 8, place, (1, *shape), rendered=here, valid=here, recovered=d)
    thresholds = threshold_table([by_value(0.5, [0.1, 0.2, 0.6]), by_value(0.7, [0.1, 0.2, 0.6])], 3, "hosts")
    found = table(cells, ("curve", THETA, MAG), coords={"curve": ["all"], **bins.coords(axes)})
    url = str(tmp_path_factory.mktemp("selection") / "finder-score.val.zarr")
    write_arrays(url, to_file({"selection": found, "thresholds": thresholds}, ABOUT), STORE)
    again = from_file(read_arrays(url, STORE))["selection"]
    xr.testing.assert_identical(again, found)
    return url


@pytest.fixture(scope="module")
def selection(path):
    return lf.open_selection(path)


def centres(selection):
    """Centres of the tested cells, and their values."""
    one = selection.table.isel(threshold=0, curve=0)
    inside = one.isel({n: one[f"{n}_is_inside"].values for n in selection.axes})
    grid = np.meshgrid(*[(np.array(e)[1:] + np.array(e)[:-1]) / 2 for e in selection.axes.values()], indexing="ij")
    some = inside["tested"].values
    return [g[some] for g in grid], inside, some


def test_counts_of_a_sum_over_an_axis_are_those_of_the_table_without_it(selection):
    assert int(selection.table["n_planned"].sum()) == int(selection.table["n_valid"].sum()) == 20_000
    assert not selection.table["tested"].sel({MAG: "[25, 26)"}).any()
    assert np.isnan(selection.table["completeness"].sel({MAG: ">= 26"})).all()


@pytest.mark.parametrize("method", ["cell", "linear"])
def test_at_the_centre_of_a_cell_the_value_is_exactly_that_of_the_cell(selection, method):
    (theta, mag), inside, some = centres(selection)
    found = selection.evaluate({THETA: theta, MAG: mag}, method, threshold=0)
    assert found["support"].all() and len(theta) == 12
    for name, cell in (("value", "completeness"), ("low", "low"), ("high", "high")):
        np.testing.assert_array_equal(found[name], inside[cell].values[some])
    # Single precision is placed as the rows of a manifest are.
    single = selection.evaluate({THETA: theta.astype("f4"), MAG: mag.astype("f4")}, method, threshold=0)
    np.testing.assert_allclose(single["value"], found["value"], rtol=1e-6)


def test_linear_is_what_scipy_interpolates(selection):
    _, inside, _ = centres(selection)
    values = inside["completeness"].values[:, :3]
    judge = RegularGridInterpolator(([0.75, 1.25, 1.75, 2.25], [22.5, 23.5, 24.5]), values)
    u = rng.uniform(5, np.arange(300, dtype=np.uint64), "test.points", 2)
    theta, mag = 0.75 + 1.5 * u[:, 0], 22.5 + 2 * u[:, 1]
    found = selection.evaluate({THETA: theta, MAG: mag}, "linear", threshold=0)
    np.testing.assert_allclose(found["value"], judge(np.stack([theta, mag], 1)), rtol=1e-12)
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()


@pytest.mark.parametrize(
    ("theta", "mag", "method", "says"),
    [
        (3.4, 23, "cell", r"theta_e_arcsec 3.4 \(tested: 0.5 to 2.5\), first at index 1"),
        (0.49, 23, "cell", r"theta_e_arcsec 0.49 \(tested: 0.5 to 2.5\)"),
        (2.5, 23, "cell", r"theta_e_arcsec 2.5 \(tested: 0.5 to 2.5, which is not included\)"),
        (np.inf, 23, "cell", r"theta_e_arcsec inf \(tested"),
        (1.2, 25.5, "cell", r"src_mag_r 25.5 \(tested: 22 to 25\)"),
        (1.2, 27, "linear", r"src_mag_r 27 \(tested: 22 to 25\)"),
        (0.6, 23, "linear", r"theta_e_arcsec 0.6, src_mag_r 23 \(linear: it reaches from centre to centre"),
        (1.25, 24.8, "linear", r"theta_e_arcsec 1.25, src_mag_r 24.8 \(linear: it reaches from centre to centre"),
    ],
)  # fmt: skip
def test_a_point_where_too_little_was_injected_is_an_error_nan_or_bounds_and_never_a_number(
    selection, theta, mag, method, says
):
    points = {THETA: [1.2, theta, 1.2], MAG: [23, mag, 23]}
    with pytest.raises(CompletenessError, match=f'1 of 3 points lie where nothing .*injected: {says}.*outside="nan"'):
        selection.evaluate(points, method, threshold=0)
    for outside, ends in (("nan", [np.nan, np.nan]), ("bounds", [0, 1])):
        found = selection.evaluate(points, method, outside, threshold=0)
        assert found["support"].values.tolist() == [True, False, True]
        assert np.isfinite(found["value"].values).tolist() == [True, False, True]
        np.testing.assert_array_equal([found["low"][1], found["high"][1]], ends)


def test_a_cell_that_is_not_tested_is_no_support_between_tested_ones(selection):
    holed = selection.table.copy(deep=True)
    holed["tested"].loc[{THETA: "[1, 1.5)", MAG: "[23, 24)"}] = False
    one = lf.open_selection(selection.path)
    object.__setattr__(one, "table", holed)
    for method, theta, mag in (
        ("cell", 1.2, 23.2),
        ("linear", 1.2, 23.2),
        ("linear", 1.3, 22.6),
        ("linear", 1.7, 24.4),
    ):
        with pytest.raises(CompletenessError, match="1 of 1 points lie where nothing or too little was injected"):
            one.evaluate({THETA: [theta], MAG: [mag]}, method, threshold=0)
        assert not one.evaluate({THETA: [theta], MAG: [mag]}, method, "nan", threshold=0)["support"].any()
    with pytest.raises(
        CompletenessError, match=r"cell \[1, 1.5\) x \[23, 24\): [\d,]+ rows on [\d,]+ hosts; at least 20"
    ):
        one.evaluate({THETA: 1.2, MAG: 23.2}, threshold=0)
    # Exactly at another cell's centre the hole has no weight.
    assert one.evaluate({THETA: [1.75], MAG: [23.5]}, "linear", threshold=0)["support"].all()


def test_the_truth_lies_within_the_bounds(selection):
    u = rng.uniform(9, np.arange(2_000, dtype=np.uint64), "test.bounds", 2)
    theta, mag = 3 * u[:, 0], 21 + 6 * u[:, 1]
    found = selection.evaluate({THETA: theta, MAG: mag}, outside="bounds", threshold=0)
    truth = chance(theta, mag)
    beyond = ~found["support"].values
    assert 0.3 < beyond.mean() < 0.9
    assert ((found["low"] <= truth) & (truth <= found["high"])).values[beyond].all()


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ({THETA: [1.2, np.nan], MAG: [23, 23]}, "theta_e_arcsec is NaN at 1 of 2 points, first at index 1"),
        ({THETA: [1.2]}, r"points lack src_mag_r. The axes are theta_e_arcsec \[arcsec\], src_mag_r \[mag\]"),
        ({THETA: [1.2], "src_mag": [23]}, "points lack src_mag_r. Did you mean 'src_mag'"),
        ({THETA: [1.2], MAG: [23], "src_reff_arcsec": [1]}, "src_reff_arcsec is no axis: .* averages over it"),
        ({THETA: ["1.2"], MAG: [23]}, "theta_e_arcsec are numbers, not <U3"),
        ({THETA: [True], MAG: [23]}, "theta_e_arcsec are numbers, not bool"),
        ({THETA: [1, 2, 3], MAG: [23, 24]}, r"do not fit together: theta_e_arcsec \(3,\), src_mag_r \(2,\)"),
        (pd.DataFrame({THETA: pd.array([1.2, None], "Float64"), MAG: [23, 23]}), "theta_e_arcsec is NaN at 1 of 2"),
        (xr.Dataset({THETA: ("p", [20.0], {"units": "mas"}), MAG: ("p", [23.0])}), "is in mas, the axis is in arcsec"),
        ([1, 2], "a mapping of arrays, a DataFrame or a Dataset with theta_e_arcsec"),
    ],
)  # fmt: skip
def test_points_that_are_none_are_refused_by_name(selection, points, says):
    with pytest.raises(CompletenessError, match=says):
        selection.evaluate(points, outside="nan", threshold=0)


def test_values_with_units_are_never_taken_for_plain_numbers(selection):
    units = pytest.importorskip("astropy.units")
    from astropy.table import QTable

    with pytest.raises(CompletenessError, match="theta_e_arcsec is in deg, the axis is in arcsec"):
        selection.evaluate({THETA: [1.2] * units.deg, MAG: [23]}, threshold=0)
    found = selection.evaluate(QTable({THETA: [1.2] * units.arcsec, MAG: [23.0]}), threshold=0)
    assert float(found["value"][0]) == float(selection.evaluate({THETA: 1.2, MAG: 23}, threshold=0)["value"])


def test_every_container_gives_the_same_numbers(selection):
    theta, mag = np.linspace(0.6, 2.4, 12).reshape(3, 4), np.linspace(22.1, 24.9, 12).reshape(3, 4)
    plain = selection.evaluate({THETA: theta, MAG: mag}, threshold=0)
    assert plain["value"].dims == ("dim_0", "dim_1")
    frame = pd.DataFrame({THETA: theta.ravel(), MAG: mag.ravel()}, index=np.arange(100, 112))
    of_frame = selection.evaluate(frame, threshold=0)
    np.testing.assert_array_equal(of_frame["value"].values.reshape(3, 4), plain["value"])
    assert of_frame["point"].values.tolist() == list(range(100, 112))
    ds = xr.Dataset({THETA: (("a", "b"), theta), MAG: (("a", "b"), mag)}, coords={"a": [7, 8, 9]})
    of_dataset = selection.evaluate(ds, threshold=0)
    np.testing.assert_array_equal(of_dataset["value"], plain["value"])
    assert of_dataset["a"].values.tolist() == [7, 8, 9]
    outer = selection.evaluate(
        {THETA: xr.DataArray(theta[0], dims="t"), MAG: xr.DataArray(mag[0], dims="m")}, threshold=0
    )
    assert dict(outer.sizes) == {"t": 4, "m": 4}


def test_dask_arrays_are_evaluated_when_computed_block_by_block(selection):
    theta, mag = np.linspace(0.6, 2.4, 100), np.linspace(22.1, 24.9, 100)
    ds = xr.Dataset({THETA: ("p", theta), MAG: ("p", mag)})
    lazy = selection.evaluate(ds.chunk(p=30), "linear", "nan", threshold=0)
    assert dask.is_dask_collection(lazy) and lazy["value"].chunks == ((30, 30, 30, 10),)
    xr.testing.assert_identical(lazy.compute(), selection.evaluate(ds, "linear", "nan", threshold=0))
    mixed = selection.evaluate({THETA: ds.chunk(p=30)[THETA].data, MAG: mag}, "linear", "nan", threshold=0)
    np.testing.assert_array_equal(mixed["value"], lazy["value"])
    theta[[70, 80]] = 9
    with pytest.raises(CompletenessError, match=r"2 of 30 points of one chunk .* first at index 70"):
        selection.evaluate({THETA: dask.array.from_array(theta, 30), MAG: mag}, threshold=0).compute()
    one = selection.evaluate({THETA: dask.array.from_array(np.array(1.2)), MAG: 23.0}, threshold=0)
    assert float(one["value"]) == float(selection.evaluate({THETA: 1.2, MAG: 23.0}, threshold=0)["value"])


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_points_stay_missing(selection, lazy):
    theta = np.ma.masked_array([1.2, 99.0, np.nan, 1.2], [False, True, True, False])
    mag = np.full(4, 23.0)
    given = dask.array.from_array(theta, 2) if lazy else theta
    for outside in ("error", "nan", "bounds"):
        found = selection.evaluate({THETA: given, MAG: mag}, "cell", outside, threshold=0).compute()
        assert found["support"].values.tolist() == [True, False, False, True]
        for name in ("value", "low", "high"):
            assert np.isfinite(found[name].values).tolist() == [True, False, False, True]


def test_a_threshold_or_curve_is_named_and_never_guessed(selection):
    points = {THETA: 1.8, MAG: 23.0}
    with pytest.raises(CompletenessError, match=r"threshold: say which, threshold=0 .*0: tau 0.500; 1: tau 0.700"):
        selection.evaluate(points)
    first, second = (float(selection.evaluate(points, threshold=t)["value"]) for t in (0, {"tau": 0.7}))
    assert first > 1.5 * second
    for wrong in (2, -1, {"tau": 0.6}, {"fpr": 1e-3}, {"x": 1}, 0.5, True):
        with pytest.raises(CompletenessError, match="threshold "):
            selection.evaluate(points, threshold=wrong)
    with pytest.raises(CompletenessError, match="curve 'clean': there is none; the curves are all"):
        selection.evaluate(points, threshold=0, curve="clean")
    with pytest.raises(CompletenessError, match="method 'cubic': one of cell, linear"):
        selection.evaluate(points, "cubic", threshold=0)
    with pytest.raises(CompletenessError, match="outside 'clip': one of error, nan, bounds"):
        selection.evaluate(points, outside="clip", threshold=0)


def test_it_says_whose_it_is_and_another_scorers_is_refused(selection):
    for text in (repr(selection), selection._repr_html_()):
        for word in ("finder:score", "split val", "0.5 to 2.5 arcsec in 4 bins", "12 of 16 tested", "20,000 valid"):
            assert word in text
    assert lf.open_selection(selection.path, scorer="finder:score").scorer == "finder:score"
    with pytest.raises(CompletenessError, match="is the selection function of finder:score, not of other:score"):
        lf.open_selection(selection.path, scorer="other:score")
    with pytest.raises(StoreError, match="no such store"):
        lf.open_selection(selection.path.replace("finder", "none"))
