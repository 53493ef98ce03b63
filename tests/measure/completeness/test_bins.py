"""Every row is in one bin, edges belong where the definition says, and bins hold nothing measured later."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import ConfigError
from lensflow.measure.completeness import bins
from lensflow.measure.completeness.bins import Ranges, Values
from lensflow.measure.completeness.resolution import Resolution, resolution


@pytest.mark.parametrize(
    ("theta_e", "psf", "name"),
    [(0.6, 1.5, "marginally_unresolved"), (1.2, 1.5, "resolved"), (0.9, 1.5, "marginally_resolved"),
     (1.5, 1.5, "well_resolved"), (0.3, np.nan, "unknown"), (0.3, 1.5, "very_unresolved"), (0.3, 0.0, "unknown")],
)  # fmt: skip
def test_resolution_bins_have_the_known_names(theta_e, psf, name):
    for dtype in (np.float64, np.float32):
        assert Resolution().labels[resolution([theta_e], np.array([psf], dtype))[0]] == name
    with np.errstate(divide="ignore"):
        assert Resolution().labels[Resolution().place([np.nan if psf == 0 else theta_e / psf])[0]] == name


def test_without_the_rule_for_rounding_two_known_rows_fall_into_the_bin_below():
    """So that the test above can notice."""
    assert 0.6 / 1.5 < 0.4 and 1.2 / 1.5 < 0.8


def test_the_two_definitions_of_the_psf_differ_by_a_bin():
    assert Resolution().labels[resolution(0.8 * 1.4, 1.4)] == "resolved"
    assert Resolution().labels[resolution(0.8 * 1.4, 0.811 * 1.4)] == "resolved"
    assert Resolution().labels[resolution(0.85 * 1.4, 0.811 * 1.4)] == "well_resolved"


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6, unique=True),
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=20),
    st.booleans(),
    st.sampled_from([np.float64, np.float32]),
)
def test_every_row_is_in_one_bin_and_inside_bins_hold_what_they_say(edges, values, upper, dtype):
    edges = sorted(edges)
    if min(np.diff(edges)) < 1e-3:
        return
    ranges = Ranges("x", tuple(edges), upper)
    x = np.asarray(values, dtype)
    place = ranges.place(x)
    assert ((place >= 0) & (place < len(ranges.labels))).all()
    assert (np.array(ranges.labels)[place[np.isnan(x)]] == "unknown").all()
    for v, k in zip(x.astype(np.float64), place, strict=True):
        near = np.min(np.abs(v - edges)) <= 1e-6 * max(1, abs(v)) if np.isfinite(v) else False
        if np.isnan(v) or near:
            continue
        assert (k == 0) == (v < edges[0]) and (k == len(ranges.labels) - 2) == (v > edges[-1])
        if ranges.is_inside[k]:
            lower = k - 1 - upper
            assert edges[lower] < v < edges[lower + 1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_edges_belong_to_the_bin_of_their_definition_in_single_precision_too(dtype):
    at = np.array([0.754, 1.218, 1.301, 1.411, 1.6], dtype)
    lower = Ranges.of("psfsize_r", (0.754, 1.218, 1.301, 1.411, 1.600))
    np.testing.assert_array_equal(lower.place(at), [1, 2, 3, 4, 5])
    share = Ranges.of("bad_pixel_frac", (0, 0.05, 0.2, 1))
    found = np.array(share.labels)[
        share.place(np.array([0, 0.01, 0.05, 0.051, 0.2, 0.21, 1, np.nan, -0.1, 1.1], dtype))
    ]
    assert [*found] == ["0", "(0, 0.05]", "(0, 0.05]", "(0.05, 0.2]", "(0.05, 0.2]", "(0.2, 1]", "(0.2, 1]", "unknown",
                        "< 0", "> 1"]  # fmt: skip
    assert np.float64(np.float32(0.2)) > 0.2  # the reason for the rule


def test_values_of_a_list_have_a_bin_each_and_others_are_not_lost():
    listed = bins.planned_bins("theta_e_arcsec", [1.5, 0.5, 1.0], is_list=True)
    assert listed.labels == ("0.5", "1", "1.5", "other", "unknown")
    np.testing.assert_array_equal(listed.place([0.5, np.float32(1.5), 0.7, np.nan]), [0, 2, 3, 4])
    names = Values.of_names("region", ["south", "north", "south", ""])
    assert names.labels == ("north", "south", "other", "unknown")
    np.testing.assert_array_equal(names.place(np.array(["south", "", "east"])), [1, 3, 2])
    assert Values.of_names("brick", map(str, range(51))) is None and Values.of_names("brick", []) is None


def test_planned_ranges_hold_both_ends_of_the_plan():
    ranges = bins.planned_bins("theta_e_arcsec", (0.5, 2.5), is_list=False)
    assert len(ranges.edges) == 7
    np.testing.assert_array_equal(ranges.place([0.5, 2.5, 0.49, 2.51, 1.5]), [1, 6, 0, 7, 4])


def test_quantiles_hold_equal_numbers_of_hosts_and_all_of_them():
    x = np.random.default_rng(0).normal(size=1000)
    found = bins.quantile_bins("psfsize_r", x, 4).place(x)
    np.testing.assert_array_equal(np.bincount(found, minlength=7), [0, 250, 250, 250, 250, 0, 0])
    with pytest.raises(ConfigError, match="4 quantiles of 9 hosts are not 4 ranges"):
        bins.quantile_bins("psfsize_r", [1.0] * 9, 4)


def test_bins_that_are_none_and_bins_of_scores_are_refused():
    with pytest.raises(ConfigError, match="x: at least two finite edges"):
        Ranges("x", (1.0,))
    with pytest.raises(ConfigError, match="each once"):
        Values("x", (1.0, 1.0))
    bins.check_fixed_before_scoring(["theta_e_arcsec", "psfsize_r", "magnification", "snr_peak_g", "bad_pixel_frac"])
    with pytest.raises(ConfigError, match=r"completeness\.strata: 'score' is measured after noise or scoring; a bin"):
        bins.check_fixed_before_scoring(["theta_e_arcsec", "score"])


def test_cells_of_a_table_are_those_of_its_axes():
    axes = (Ranges("theta_e_arcsec", (0.0, 1.0, 2.0)), Values("b", ("u", "v")))
    columns = {"theta_e_arcsec": [0.5, 1.5, -1, np.nan], "b": np.array(["u", "v", "w", ""])}
    cell, shape = bins.places(axes, columns)
    assert shape == (5, 4)
    np.testing.assert_array_equal(np.unravel_index(cell, shape), [[1, 2, 0, 4], [0, 1, 2, 3]])
    made = bins.coords(axes)
    assert [*made["theta_e_arcsec"].values] == ["< 0", "[0, 1)", "[1, 2)", ">= 2", "unknown"]
    np.testing.assert_array_equal(made["b_is_inside"], [True, True, False, False])
    np.testing.assert_array_equal(made["theta_e_arcsec_edges"], [0, 1, 2])
    assert made["theta_e_arcsec_edges"].attrs["units"] == "arcsec"
