"""Depths that no catalogue gives are made of the hosts' own noise, and marked; none is made up."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.measure.completeness.variables import psf_depth, values_of
from lensflow.run.completeness import completeness_step
from lensflow.run.completeness.noise import median_invvar, median_of_good
from lensflow.run.completeness.rows import rows_of
from lensflow.survey.masks import bad_pixels, default_bits
from tests.run.completeness_run import completeness_run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return completeness_run(tmp_path_factory)


def test_the_median_is_of_pixels_with_data_that_are_not_masked():
    weights = np.array([[[[1.0, 2.0, 0.0], [30.0, 4.0, 5.0]], [[0.0, 0.0, 0.0], [7.0, 0.0, 0.0]]]], "f4")
    bad = np.array([[[False, False, False], [True, False, False]]])
    found = median_of_good(weights, bad)
    assert found[0, 0] == 3.0  # of 1, 2, 4, 5
    assert np.isnan(found[0, 1])


def test_hosts_of_several_regions_get_their_own_noise_in_the_order_asked(config):
    cutouts = lf.open_cutouts(config.out)
    hosts = np.arange(cutouts.sizes["host"])[1::2]
    some = cutouts[["invvar", "maskbits"]].isel(host=hosts).load()
    bad = bad_pixels(some["maskbits"].values, default_bits(config.bands))
    np.testing.assert_array_equal(median_invvar(config, hosts), median_of_good(some["invvar"].values, bad))
    assert median_invvar(config, hosts[:0]).shape == (0, len(config.bands))


def test_a_depth_is_the_catalogues_where_it_has_one_and_else_that_of_the_noise(config):
    rows = rows_of(config, "val")
    known = np.isfinite(rows["psfdepth_mag"].sel(band="r").values)
    depth = values_of("psfdepth_r", rows)
    np.testing.assert_array_equal(depth[known], rows["psfdepth_mag"].sel(band="r").values[known])
    assert np.isfinite(depth).all() and not known.all()
    made = psf_depth(
        rows["psfsize_arcsec"].sel(band="r").values,
        rows["median_invvar"].sel(band="r").values,
        rows.attrs["pixel_scale_arcsec"],
    )
    np.testing.assert_array_equal(depth[~known], made[~known])
    assert ((depth > 20) & (depth < 27)).all()


def test_it_is_said_of_the_bins_and_no_weight_is_read_where_no_bin_is_of_depth(config):
    table = completeness_step(config, "blue_ring", keep=False)["selection"]
    assert "derived from the noise of their hosts' pixels" in table.attrs["derived"]
    assert int(table["n_valid"].sel(curve="all", psfdepth_r="unknown").sum()) == 0
    axes = {"axes": ({"variable": "theta_e_arcsec", "edges": (0.5, 3.0)},), "strata": {"src_mag_r": (22.0, 26.0)}}
    without = config.model_copy(update={"completeness": type(config.completeness).model_validate(
        {**config.completeness.model_dump(), **axes})})  # fmt: skip
    assert "median_invvar" not in rows_of(without, "val")
