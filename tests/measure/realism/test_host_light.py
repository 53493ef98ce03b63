"""Covariates of a host's inner light: right where they can be checked, and alike with an arc about it."""

import numpy as np
import pytest
import xarray as xr

from lensflow.measure.realism.host_light import (
    catalogue_covariates,
    inner_light,
    measured_covariates,
    stamp_depth_mag,
)

SCALE = 0.262


def galaxies(n=1, size=64, sigma=4.0, q=1.0, flux=(10.0, 20.0, 40.0), centre=None):
    y, x = np.mgrid[:size, :size].astype(float)
    cx, cy = centre or ((size - 1) / 2, (size - 1) / 2)
    light = np.exp(-0.5 * (((x - cx) / sigma) ** 2 + ((y - cy) / (sigma * q)) ** 2)) / (2 * np.pi * sigma**2 * q)
    image = np.array(flux)[None, :, None, None] * light * np.ones((n, 1, 1, 1))
    return xr.Dataset(
        {
            "image": (("host", "band", "y", "x"), image.astype(np.float32)),
            "invvar": (("host", "band", "y", "x"), np.full(image.shape, 1e4, np.float32)),
            "x_center": ("host", np.full(n, cx)),
            "y_center": ("host", np.full(n, cy)),
            "psfsize_arcsec": (("host", "band"), np.full((n, 3), 1.2)),
            "status": ("host", np.zeros(n, np.uint8)),
        },
        coords={"band": ["g", "r", "z"]},
        attrs={"pixel_scale_arcsec": SCALE},
    )


def test_magnitude_and_colours_are_those_of_the_light_at_the_centre():
    found = measured_covariates(galaxies())
    inside = 1 - np.exp(-0.5 * (0.5 / SCALE / 4.0) ** 2)
    assert found["mag_z"].values[0] == pytest.approx(22.5 - 2.5 * np.log10(40 * inside), abs=0.05)
    np.testing.assert_allclose([found["g_r"][0], found["r_z"][0]], 2.5 * np.log10(2), atol=1e-4)
    assert found["psfsize_r_arcsec"].values[0] == pytest.approx(1.2)


def test_size_and_axis_ratio_follow_the_light_and_not_its_place_in_a_pixel():
    small, large = (measured_covariates(galaxies(sigma=s))["inner_radius_arcsec"].values[0] for s in (1.2, 3.0))
    assert small < 0.9 * large < 0.6
    flat = [measured_covariates(galaxies(sigma=1.5, q=0.6, centre=(31.5 + d, 31.2)))["axis_ratio"].values[0]
            for d in (0.0, 0.25, 0.5)]  # fmt: skip
    assert max(flat) - min(flat) < 0.05 and 0.5 < flat[0] < 0.7
    assert measured_covariates(galaxies(sigma=1.5))["axis_ratio"].values[0] == pytest.approx(1, abs=0.01)


def test_a_bright_blue_arc_changes_the_colour_of_a_red_host_little():
    """As on the sky: theta_E 1.5", seeing 1.3", an arc twice as bright in g as the host."""
    plain = galaxies(sigma=2.3, flux=(2.0, 10.0, 20.0))
    y, x = np.mgrid[:64, :64] - 31.5
    arc = np.exp(-0.5 * ((np.hypot(x, y) * SCALE - 1.5) / 0.55) ** 2) * (y > 2)
    lensed = plain.copy(deep=True)
    lensed["image"].values[:] += np.array([4.0, 4.0, 4.0])[:, None, None] * arc / arc.sum()

    def colour(cutouts):
        return float(measured_covariates(cutouts)["g_r"][0])

    def wide(cutouts):
        inner = cutouts["image"].values[0, :, np.hypot(x, y) * SCALE < 1].sum(axis=0)
        return 2.5 * np.log10(inner[1] / inner[0])

    apart = wide(plain) - wide(lensed)
    assert apart > 0.12 and abs(colour(lensed) - colour(plain)) < apart / 3


def test_light_on_one_side_is_not_the_galaxys():
    plain = galaxies(sigma=2.5)
    lensed = plain.copy(deep=True)
    lensed["image"].values[0, :, 31:33, 34] += 1.0  # 0.66" off the centre
    a, b = measured_covariates(plain), measured_covariates(lensed)
    for name in ("mag_z", "g_r", "inner_radius_arcsec"):
        assert float(b[name][0]) == pytest.approx(float(a[name][0]), abs=1e-6)


def test_an_arc_changes_them_less_than_it_changes_what_is_measured_wide():
    plain = galaxies(sigma=2.5)
    y, x = np.mgrid[:64, :64] - 31.5
    r = np.hypot(x, y) * SCALE
    arc = np.exp(-0.5 * ((r - 1.6) / 0.35) ** 2) * (y > 0)
    lensed = plain.copy(deep=True)
    lensed["image"].values[:] += np.array([1.0, 1.2, 1.2])[:, None, None] * 0.06 * arc
    total = [float(d["image"].values[0, 2][r < 5].sum()) for d in (plain, lensed)]
    wide = 2.5 * np.log10(total[1] / total[0])
    a, b = measured_covariates(plain), measured_covariates(lensed)
    assert wide > 0.1 and abs(float(a["mag_z"][0] - b["mag_z"][0])) < wide / 3


def test_depth_is_that_of_a_point_source():
    """5 sigma of a Gaussian matched filter: sigma sqrt(4 pi) s."""
    depth = stamp_depth_mag(np.full((1, 8, 8), 1e4), np.array([1.2]), SCALE)
    s = 1.2 / 2.35482 / SCALE
    assert depth[0] == pytest.approx(22.5 - 2.5 * np.log10(5 * 0.01 * np.sqrt(4 * np.pi) * s))
    assert np.isnan(stamp_depth_mag(np.zeros((1, 8, 8)), np.array([1.2]), SCALE)).all()


@pytest.mark.parametrize("hole", ["no data", "negative", "nowhere", "at the edge"])
def test_what_cannot_be_measured_is_none(hole):
    cutouts = galaxies(n=2)
    if hole == "no data":
        cutouts["invvar"].values[0, :, 30:34, 28:36] = 0
    elif hole == "negative":
        cutouts["image"].values[0] *= -1
    elif hole == "nowhere":
        cutouts["x_center"].values[0] = np.nan
    else:
        cutouts["x_center"].values[0] = 1.0
    found = measured_covariates(cutouts)
    light = ["mag_z", "g_r", "r_z", "inner_radius_arcsec", "axis_ratio"]
    assert all(np.isnan(found[n].values[0]) and np.isfinite(found[n].values[1]) for n in light)


def test_one_band_without_data_leaves_the_others():
    cutouts = galaxies()
    cutouts["invvar"].values[:, 0] = 0
    found = measured_covariates(cutouts)
    assert np.isnan(found["g_r"].values[0]) and np.isfinite([found["r_z"].values[0], found["mag_z"].values[0]]).all()


def test_failed_hosts_have_no_light():
    cutouts = galaxies()
    cutouts["status"].values[:] = 2
    assert np.isnan(measured_covariates(cutouts)["mag_z"].values).all()


def test_other_bands_have_their_own_names():
    cutouts = galaxies().assign_coords(band=["g", "r", "i"])
    assert {"mag_i", "g_r"} <= set(measured_covariates(cutouts).data_vars)


def test_blocks_do_not_depend_on_their_size():
    many = galaxies(n=5, q=0.7)
    flux, bright, radius, ratio = inner_light(
        *(many[n].values for n in ("image", "invvar", "x_center", "y_center")), SCALE, 2
    )
    assert np.ptp(flux, axis=0).max() == np.ptp(bright) == 0 and np.ptp(radius) == np.ptp(ratio) == 0


def test_the_catalogues_values_are_its_own():
    cutouts = galaxies().assign(
        flux_nmgy=(("host", "band"), [[10.0, 20.0, -1.0]]),
        shape_r_arcsec=("host", [1.5]),
        shape_e1=("host", [0.3]),
        shape_e2=("host", [0.4]),
        psfdepth_mag=(("host", "band"), [[24.0, 23.5, 23.0]]),
    )
    found = catalogue_covariates(cutouts)
    assert found["mag_r"].values[0] == pytest.approx(22.5 - 2.5 * np.log10(20))
    assert found["g_r"].values[0] == pytest.approx(2.5 * np.log10(2)) and np.isnan(found["r_z"].values[0])
    assert (found["half_light_arcsec"].values[0], found["psfdepth_r_mag"].values[0]) == (1.5, 23.5)
    assert found["axis_ratio"].values[0] == pytest.approx(1 / 3)
    assert np.isnan(catalogue_covariates(galaxies())["mag_r"].values).all()
