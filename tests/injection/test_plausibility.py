"""Marks of implausible rows: each is set where it should be, never for controls, and is no part of is_clean."""

import numpy as np
import pytest
import xarray as xr

from lensflow import schema
from lensflow.injection import inject_block
from lensflow.injection.plausibility import plausibility_marks
from lensflow.manifest.build import build_manifest
from tests.factories import make_config, make_cutouts


def marks(theta_e=1.0, snr=10.0, ratio=0.1, sigma_v=np.nan, control=False, size=64):
    hosts = xr.Dataset(
        {"image": (("host", "y", "x"), np.zeros((1, size, size))), "sigma_v_km_s": ("host", [sigma_v])},
        attrs={"pixel_scale_arcsec": 0.262},
    )
    metrics = {"snr_peak": np.array([[np.nan, snr, 0.1]]), "arc_over_host": np.array([[np.nan, ratio, np.nan]])}
    columns = {"is_control": np.array([control]), "theta_e_arcsec": np.array([theta_e])}
    out = plausibility_marks(metrics, hosts, np.zeros(1, np.int64), columns, 1)
    return {name for name, v in out.items() if v[0]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, set()),
        ({"snr": 2.9}, {"low_arc_snr"}),
        ({"snr": np.nan}, {"low_arc_snr"}),
        ({"ratio": 1.1}, {"arc_outshines_host"}),
        ({"ratio": np.nan}, set()),
        ({"theta_e": 5.5}, set()),
        ({"theta_e": 5.65}, {"theta_e_beyond_stamp"}),
        ({"theta_e": 5.9}, {"theta_e_beyond_stamp", "theta_e_beyond_host"}),
        ({"theta_e": 5.9, "size": 128}, {"theta_e_beyond_host"}),
        # 1.396 arcsec is 220 km/s before a source at infinity; 1.3 times 150 km/s is 195.
        ({"theta_e": 1.0, "sigma_v": 150.0}, set()),
        ({"theta_e": 1.2, "sigma_v": 150.0}, {"theta_e_beyond_host"}),
        ({"theta_e": 9.0, "snr": 0.0, "ratio": 9.0, "control": True}, set()),
    ],
)
def test_each_mark_is_set_by_what_it_says(row, expected):
    assert marks(**row) == expected


def test_arcs_are_set_beside_the_light_of_their_own_host_and_marks_leave_clean_rows_clean():
    cutouts = make_cutouts(8)
    config = make_config(plan={"injections_per_host": 2, "dmag": [-2.0, 4.0]})
    manifest = build_manifest(cutouts, config)
    pairs = inject_block(cutouts, manifest, config.injection)
    host = manifest["host_index"].values
    expected = pairs["total_injected_flux_nmgy"].values / cutouts["aperture_flux_nmgy"].values[host]
    assert pairs["arc_over_host"].values == pytest.approx(expected, rel=1e-5, nan_ok=True)
    control = manifest["is_control"].values
    assert np.isnan(pairs["arc_over_host"].values[control]).all()
    bright = pairs["arc_outshines_host"].values == 1
    assert bright.any() and not bright[control].any()
    assert np.array_equal(bright[~control], expected[~control, 1] > 1)
    assert (pairs["is_clean"].values[bright] == 1).any()
    assert {v.name for v in schema.MARKS} <= set(pairs.data_vars)
