"""Arcs are dimmed by the Galaxy's dust as the Legacy Surveys say, and what was done can be undone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.hosts import transmission
from tests.factories import make_config, make_cutouts

# DECam g r z: https://www.legacysurvey.org/dr10/catalogs/
COEFFICIENTS = np.array([3.214, 2.165, 1.211])


def cutouts_with(ebv, n=6):
    out = make_cutouts(n)
    out["ebv"] = (out["ebv"].dims, np.broadcast_to(np.asarray(ebv, np.float32), n))
    return out


def planned(cutouts, **plan):
    m = build_manifest(cutouts, make_config(plan={"injections_per_host": 10, **plan}))
    return m.isel(sample=~m["is_control"].values)


@pytest.mark.slow
@given(st.floats(0, 1))
def test_the_factor_is_ten_to_the_minus_0_4_a(ebv):
    passed = transmission(cutouts_with(ebv), make_config())
    value = float(np.float32(ebv))
    assert -2.5 * np.log10(passed) == pytest.approx(np.broadcast_to(COEFFICIENTS * value, (6, 3)), abs=1e-9)


@pytest.mark.parametrize("preset", ["realistic", "historic"])
def test_fluxes_divided_by_the_stored_factor_are_those_without_dust(preset):
    dust, plan = [0.0, 0.02, 0.05, 0.12, 0.3, np.nan], {"preset": preset, "dmag": [1.0], "colours": "v3"}
    dusty = planned(cutouts_with(dust), **plan)
    clear = planned(cutouts_with(dust), **plan, extinction="none")
    assert (clear["mw_transmission"].values == 1).all()
    host = dusty["host_index"].values
    assert (dusty["mw_transmission"].values[np.isin(host, (0, 5))] == 1).all()
    undone = dusty["src_flux_nmgy"].values / dusty["mw_transmission"].values
    colour = lambda f: f[:, 0] / f[:, 1]  # noqa: E731
    assert colour(undone) == pytest.approx(colour(clear["src_flux_nmgy"].values), rel=1e-6)
    # A source that follows its host is as much fainter than it as was asked, for both lie behind the same dust.
    assert dusty["src_flux_nmgy"].values[:, 1] == pytest.approx(clear["src_flux_nmgy"].values[:, 1], rel=1e-6)


def test_apparent_magnitudes_are_dimmed_and_reddened():
    dusty, clear = (planned(cutouts_with(0.12), preset="realistic", extinction=e) for e in ("host", "none"))
    dimmed = -2.5 * np.log10(dusty["src_flux_nmgy"].values / clear["src_flux_nmgy"].values)
    assert dimmed == pytest.approx(np.broadcast_to([0.3857, 0.2598, 0.1453], dimmed.shape), abs=2e-4)
    assert np.array_equal(dusty["src_reff_arcsec"].values, clear["src_reff_arcsec"].values)


def test_a_host_behind_dust_is_more_luminous_than_it_looks():
    heavy, light = (planned(cutouts_with(e), preset="realistic") for e in (0.3, 0.0))
    assert np.median(heavy["lens_sigma_v_km_s"]) > np.median(light["lens_sigma_v_km_s"])


def test_coefficients_are_settings_and_a_band_without_one_is_refused():
    mine = {"extinction_mag_per_ebv": {"g": 3.0, "r": 2.0, "z": 1.0}}
    assert -2.5 * np.log10(planned(cutouts_with(0.1), **mine)["mw_transmission"].values[0]) == pytest.approx(
        [0.3, 0.2, 0.1], rel=1e-6
    )
    with pytest.raises(ConfigError, match=r"no coefficient for z, and 6 host\(s\) have an E\(B-V\)"):
        planned(cutouts_with(0.1), extinction_mag_per_ebv={"g": 3.0, "r": 2.0})
    planned(cutouts_with(np.nan), extinction_mag_per_ebv={"g": 3.0, "r": 2.0})


def test_a_negative_extinction_names_its_host():
    with pytest.raises(ManifestError, match=r"host host-002: ebv is -0.1"):
        planned(cutouts_with([0.1, 0.1, -0.1, 0.1, 0.1, 0.1]))
