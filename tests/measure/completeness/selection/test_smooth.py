"""The smooth selection function: right where its form is right, refused where it is not."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from lensflow import rng
from lensflow.config.completeness import CompletenessConfig
from lensflow.errors import CompletenessError
from lensflow.measure.completeness import bins
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.selection.crossings import crossings, first_rise
from lensflow.measure.completeness.selection.misfit import farthest_of
from lensflow.measure.completeness.selection.selection_file import from_file, to_file
from lensflow.measure.completeness.selection.smooth import smooth_in, smooth_of
from lensflow.measure.completeness.selection.smooth_fit import Rows, drawn_fits, fit
from lensflow.measure.completeness.selection.spline import Basis
from lensflow.measure.completeness.set_thresholds import threshold_table
from lensflow.measure.completeness.table import table
from lensflow.measure.completeness.tables import Tables
from lensflow.measure.completeness.thresholds import by_value
from lensflow.run.selection import STORE, open_selection
from lensflow.store.arrays import read_arrays, write_arrays
from tests.run.test_selection import ABOUT

THETA, REFF = "theta_e_arcsec", "src_reff_arcsec"
AXES = (Ranges(THETA, tuple(np.linspace(0.5, 2.5, 9))), Ranges(REFF, tuple(np.linspace(0, 1, 9))))


def logistic(theta, reff):
    return expit(4 * (theta - 1.2) - 5 * (reff - 0.5))


def gentle(theta, reff):
    return expit(theta - 1.2 - (reff - 0.5))


def fitted(n, chance, seed=7, scatter=0.0, per_host=8):
    """Rows uniform in both variables, with their table and model; hosts add a scatter to the log odds."""
    u = rng.uniform(seed, np.arange(n, dtype=np.uint64), "test.smooth", 3)
    theta, reff, host = 0.5 + 2 * u[:, 0], u[:, 1], np.arange(n) // per_host
    shift = scatter * np.random.default_rng(seed).normal(size=n // per_host + 1)[host]
    p = chance(theta, reff)
    d = u[:, 2] < (expit(np.log(p / (1 - p)) + shift) if scatter else p)
    ok = np.ones(n, bool)
    counted = Counted(
        np.arange(n, dtype=np.uint64), host, d.astype(float), np.full(n, 5), np.stack([ok] * 3), ~ok, np.arange(n)
    )
    rows = xr.Dataset({THETA: ("sample", theta), REFF: ("sample", reff)}, {"band": ["r"]})
    place, shape = bins.places(AXES, {THETA: theta, REFF: reff})
    cells = counted.cells(place, shape, [0.5], sorted_by_host=True)
    selection = table(cells, ["curve", THETA, REFF], coords={"curve": ["all", "clean", "no_psf_fallback"]})
    made = smooth_of(counted, rows, AXES, selection, [0.5], 1)
    return Tables(counted, rows, [0.5], CompletenessConfig()), made


@pytest.fixture(scope="module")
def good():
    return fitted(16_000, logistic)


def grid():
    t, r = np.meshgrid(np.linspace(0.6, 2.4, 12), np.linspace(0.05, 0.95, 12), indexing="ij")
    return t.ravel(), r.ravel()


def test_a_logistic_truth_is_found_within_three_sigma_and_covered(good):
    model = smooth_in(good[1], [THETA, REFF], 0, "all")
    value, low, high = model.values(grid())
    truth = logistic(*grid())
    sigma = (high - low) / 3.92
    assert (np.abs(value - truth) < 3 * sigma).mean() >= 0.95
    assert ((low <= truth) & (truth <= high)).mean() >= 0.75  # neighbours share their error
    assert np.abs(value - truth).max() < 0.05
    # The test could notice a wrong truth.
    assert (np.abs(value - logistic(grid()[0] + 0.1, grid()[1])) < 3 * sigma).mean() < 0.7


def test_what_a_spline_cannot_follow_is_refused_and_the_worst_cell_named():
    """A step in theta_E, as a cut makes it."""
    _, made = fitted(8_000, lambda theta, reff: np.where(theta < 1.5, 0.05, 0.9))
    with pytest.raises(CompletenessError, match=r"the model may not be used .*X2 \d+ in \d+ cells, p 0.0099.*cell \["):
        smooth_in(made, [THETA, REFF], 0, "all")


@pytest.mark.slow
def test_a_right_model_is_seldom_refused_also_where_rows_of_a_host_agree():
    refused = [str(fitted(8_000, logistic, seed, 1.0)[1]["reason"].values[0, 0]) for seed in range(12)]
    assert sum(map(bool, refused)) <= 2, refused


def test_scatter_between_hosts_widens_the_interval():
    """That of the mean: within a host its level does not matter."""
    width = []
    for scatter in (0.0, 2.0):
        model = smooth_in(fitted(6_000, gentle, 3, scatter, 16)[1], [THETA, REFF], 0, "all")
        x = model.basis.columns(grid())
        width.append(expit(model.draws[:, :-1] @ x.T + model.draws[:, -1:]).mean(axis=1).std())
    assert width[1] > 1.8 * width[0]


def test_too_few_rows_are_not_fitted_and_said():
    for n in (0, 1):
        assert f" of {n} rows" in str(fitted(n, logistic)[1]["reason"].values[0, 0])
    _, made = fitted(60, logistic)
    with pytest.raises(
        CompletenessError, match=r"of 60 rows between the edges are recovered, on 8 hosts; a fit needs 50"
    ):
        smooth_in(made, [THETA, REFF], 0, "clean")


def test_the_fit_is_scikit_learns_and_draws_are_fits_of_weighted_hosts():
    u = rng.uniform(2, np.arange(3_000, dtype=np.uint64), "test.smooth", 3)
    basis = Basis.of([u[:, 0], u[:, 1]])
    x, y, host = basis.columns([u[:, 0], u[:, 1]]), u[:, 2] < logistic(3 * u[:, 0], u[:, 1]), np.arange(3_000) // 10
    rows = Rows.of(x, y, host)
    theta = fit(rows, 1.0).theta
    judge = LogisticRegression(C=1.0, tol=1e-10, solver="newton-cholesky").fit(x, y)
    np.testing.assert_allclose(theta, [*judge.coef_[0], judge.intercept_[0]], rtol=2e-3, atol=2e-3)
    drawn = drawn_fits(rows, 1.0, theta, 5, 2, 1e-4)
    for own, weights in zip(drawn.thetas, drawn.weights, strict=True):
        judge.fit(x, y, sample_weight=weights[host])
        np.testing.assert_allclose(expit(x @ own[:-1] + own[-1]), judge.predict_proba(x)[:, 1], atol=2e-4)
    assert drawn.weights.sum(axis=1).tolist() == [300] * 2


def test_columns_are_natural_splines():
    """Patsy's definition by another way: cubic between knots, straight beyond, any straight line among them."""
    x = np.linspace(-1, 2, 301)
    basis = Basis.of([np.random.default_rng(1).uniform(0, 1, 500)])
    found = basis.columns([x])
    assert found.shape == (301, 4)
    beyond = (x < basis.knots[0][0]) | (x > basis.knots[0][-1])
    second = np.diff(found, 2, axis=0)
    assert np.abs(second[beyond[:-2] & beyond[2:]]).max() < 1e-10 < np.abs(second).max()
    line = np.linalg.lstsq(np.column_stack([found, np.ones(301)]), x, rcond=None)
    assert line[1] == pytest.approx(0, abs=1e-20) and line[2] == 5
    # A list of few values has fewer knots, one value none.
    assert [len(k) for k in Basis.of([np.repeat([1.0, 2.0], 50), np.ones(100)]).knots] == [2, 1]
    assert Basis.of([np.repeat([1.0, 2.0], 50), np.ones(100)]).columns([[1.5], [1.0]]).shape == (1, 1)


def test_the_limit_for_many_cells_is_passed_as_rarely_as_three_sigma_by_one():
    assert farthest_of(1) == pytest.approx(3)
    z = np.abs(np.random.default_rng(0).normal(size=(200_000, 20)))
    assert (z.max(axis=1) > farthest_of(20)).mean() == pytest.approx(0.0027, abs=6e-4)
    assert (z.max(axis=1) > 3).mean() > 0.04


def test_the_first_rise_is_linear_between_points_and_nan_where_there_is_none():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    curves = np.array([[0, 0.4, 0.6, 1], [0, 0.6, 0.2, 0.9], [0.7, 0.4, 0.6, 1], [0, 0.1, 0.2, 0.3], [0, 0.5, 0.5, 1]])
    np.testing.assert_allclose(first_rise(x, curves, 0.5), [1.5, 5 / 6, np.nan, np.nan, 1])
    np.testing.assert_allclose(first_rise(x[::-1], curves[:1], 0.5), [1.5])


def test_crossings_are_those_of_the_truth_averaged_over_the_other_axis(good):
    found = crossings(good[0], AXES, 1)
    assert found["variable"].values.tolist() == [THETA]  # R_e is no signal: completeness need not rise with it
    t = np.linspace(0.5, 2.5, 4001)
    truth = logistic(t[:, None], np.linspace(0, 1, 201)[None]).mean(axis=1)
    one = found.sel(variable=THETA, curve="clean").isel(threshold=0)
    for level in (0.5, 0.9):
        here = one.sel(level=level)
        low, value, high = (float(here[f"crossing{e}"]) for e in ("_low", "", "_high"))
        assert low < value < high < low + 0.2 and low - 0.02 < np.interp(level, truth, t) < high + 0.02
    assert float(one["plateau_low"]) < truth[t > 2.25].mean() < float(one["plateau_high"])
    assert str(one["reason"].values) == ""


def test_a_plateau_below_90_percent_has_no_crossing_of_it():
    """Fixed at 1 it would bias the 50 % point."""
    of, _ = fitted(8_000, lambda theta, reff: 0.8 * expit(6 * (theta - 1.2)))
    one = crossings(of, AXES[:1], 1).isel(variable=0, threshold=0).sel(curve="all")
    assert float(one["plateau"]) == pytest.approx(0.8, abs=0.05)
    assert np.isnan(one["crossing"].sel(level=0.9)) and np.isnan(one["crossing_high"].sel(level=0.9))
    assert float(one["crossing"].sel(level=0.5)) == pytest.approx(1.2 + np.log(0.5 / 0.3) / 6, abs=0.06)


def test_a_model_comes_back_from_its_file_and_reaches_no_further_than_the_tested_cells(good, tmp_path):
    of, made = good
    found = {"selection": of.table(AXES), "smooth": made, "thresholds": threshold_table([by_value(0.5)], 0, "none")}
    url = str(tmp_path / "finder.val.zarr")
    write_arrays(url, to_file(found, ABOUT), STORE)
    xr.testing.assert_identical(from_file(read_arrays(url, STORE))["smooth"], made)
    theta, reff = grid()
    selection = open_selection(url)
    looked = selection.evaluate({THETA: theta, REFF: reff}, "smooth", curve="clean")
    value, low, high = smooth_in(made, [THETA, REFF], 0, "clean").values([theta, reff])
    np.testing.assert_array_equal([looked["value"], looked["low"], looked["high"]], [value, low, high])
    assert "smooth model" in repr(selection) and "fits" in repr(selection)
    with pytest.raises(CompletenessError, match=r"theta_e_arcsec 2.6 \(tested: 0.5 to 2.5\), first at index 1"):
        selection.evaluate({THETA: [1.0, 2.6], REFF: [0.5, 0.5]}, "smooth")
    lazy = selection.evaluate(xr.Dataset({THETA: ("p", theta), REFF: ("p", reff)}).chunk(p=50), "smooth")
    np.testing.assert_allclose(lazy["value"], value, rtol=1e-12)
    write_arrays(url, to_file({k: v for k, v in found.items() if k != "smooth"}, ABOUT), STORE)
    with pytest.raises(CompletenessError, match="holds no model"):
        open_selection(url).evaluate({THETA: 1.0, REFF: 0.5}, "smooth")


def test_magnitudes_are_crossed_from_the_faint_side_and_level_off_at_the_bright_one():
    n = 8_000
    u = rng.uniform(4, np.arange(n, dtype=np.uint64), "test.smooth", 2)
    mag, ok = 22 + 4 * u[:, 0], np.ones(n, bool)
    d = (u[:, 1] < 0.95 * expit(3 * (24 - mag))).astype(float)
    counted = Counted(
        np.arange(n, dtype=np.uint64), np.arange(n) // 8, d, np.full(n, 5), np.stack([ok] * 3), ~ok, np.arange(n)
    )
    flux = 10 ** (0.4 * (22.5 - mag))[:, None]
    columns = {"src_flux_nmgy": flux, "mw_transmission": np.ones((n, 1))}
    rows = xr.Dataset({k: (("sample", "band"), v) for k, v in columns.items()}, {"band": ["r"]})
    axis = Ranges("src_mag_r", tuple(np.linspace(22, 26, 9)))
    found = crossings(Tables(counted, rows, [0.5], CompletenessConfig()), [axis], 1)
    one = found.isel(variable=0, threshold=0).sel(curve="all")
    assert float(one["crossing"].sel(level=0.5)) == pytest.approx(24 - np.log(0.5 / 0.45) / 3, abs=0.08)
    assert float(one["plateau"]) == pytest.approx(0.95, abs=0.03)
