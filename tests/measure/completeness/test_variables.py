"""What bins are made of: columns as they are, magnitudes above the dust, depths as a matched filter has them."""

import numpy as np
import pytest
import xarray as xr

from lensflow.config.completeness import default_axes, default_strata
from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.variables import depth_of, psf_depth, reference_band, values_of


@pytest.fixture
def rows():
    return xr.Dataset(
        {
            "theta_e_arcsec": ("sample", [0.6, 1.2, 1.0]),
            "src_reff_arcsec": ("sample", [0.2, 0.3, 0.4]),
            "magnification": ("sample", np.float32([3, 5, 7])),
            "bad_pixel_frac": ("sample", np.float32([0, 0.2, 1])),
            "wise_brightmask_frac": ("sample", np.float32([0, 0.2, 1])),
            "brickname": ("sample", ["a", "b", ""]),
            "src_flux_nmgy": (("sample", "band"), [[1.0, 0.5], [2.0, 1.0], [1.0, 10.0]]),
            "mw_transmission": (("sample", "band"), [[1.0, 0.5], [1.0, 1.0], [1.0, 1.0]]),
            "flux_nmgy": (("sample", "band"), [[10.0, 100.0], [np.nan, 10.0], [1.0, 0.0]]),
            "psfsize_arcsec": (("sample", "band"), np.float32([[1.4, 1.5], [1.4, 1.5], [1.4, np.nan]])),
            "psf_fwhm_arcsec": (("sample", "band"), [[1.0, 1.2], [1.0, 1.2], [1.0, np.nan]]),
            "psfdepth_mag": (("sample", "band"), np.float32([[24.0, 23.5], [24.0, np.nan], [24.0, np.nan]])),
            "median_invvar": (("sample", "band"), [[500.0, 400.0], [500.0, 400.0], [500.0, 0.0]]),
        },
        coords={"band": ["g", "r"]},
        attrs={"pixel_scale_arcsec": 0.262},
    )


def test_values_are_the_columns_and_what_is_made_of_them(rows):
    def of(name):
        return values_of(name, rows)

    assert of("magnification").dtype == np.float32 and of("psfsize_r").dtype == np.float32
    np.testing.assert_allclose(of("src_mag_r"), [22.5, 22.5, 20.0])  # above the dust, as the plan has it
    np.testing.assert_allclose(of("host_mag_r"), [17.5, 20.0, np.nan])
    np.testing.assert_allclose(of("host_colour"), [2.5, np.nan, np.nan])
    np.testing.assert_allclose(of("resolution"), [0.4, 0.8, np.nan])
    np.testing.assert_allclose(of("resolution_fwhm"), of("theta_e_over_fwhm_r"))
    np.testing.assert_allclose(of("theta_e_over_psfsize_g"), np.array([0.6, 1.2, 1.0]) / np.float32(1.4))
    assert [*of("brick")] == ["a", "b", ""] and reference_band(rows) == "r"
    assert reference_band(rows.assign_coords(band=["g", "z"])) == "g"


def test_every_default_bin_has_its_values(rows):
    for name in (*default_strata("r"), *(a.variable for a in default_axes("r"))):
        assert values_of(name, rows).shape == (3,)


def test_depths_of_the_catalogue_are_kept_and_others_are_derived_and_marked(rows):
    depth, derived = depth_of(rows, "r")
    assert [*derived] == [False, True, False] and depth[0] == 23.5 and np.isnan(depth[2])
    assert depth[1] == pytest.approx(float(psf_depth(1.5, 400.0, 0.262)))
    assert np.isnan(depth_of(rows.drop_vars("median_invvar"), "r")[0][1])


@pytest.mark.parametrize(("psfsize", "invvar"), [(1.3, 400.0), (0.9, 2500.0)])
def test_the_depth_is_that_of_a_matched_filter_on_pixels(psfsize, invvar):
    sigma, half = psfsize / 2.3548 / 0.262, 30
    x = np.arange(-half, half + 1)
    psf = np.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    psf /= psf.sum()
    noise = 1 / np.sqrt((psf**2).sum() * invvar)
    assert psf_depth(psfsize, invvar, 0.262) == pytest.approx(22.5 - 2.5 * np.log10(5 * noise), abs=1e-4)


def test_what_is_not_there_is_refused_by_name(rows):
    with pytest.raises(CompletenessError, match="rows lack lens_q"):
        values_of("lens_q", rows)
    with pytest.raises(CompletenessError, match="src_flux_nmgy has no band 'z'; there are g, r"):
        values_of("src_mag_z", rows)
    with pytest.raises(ConfigError, match="'score' is measured after noise or scoring"):
        values_of("score", rows.assign(score=("sample", [1, 2, 3])))
