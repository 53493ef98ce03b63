import numpy as np
import pytest

from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.cosmology import theta_e_from_redshifts
from tests.factories import make_config, make_cutouts


def cutouts_with(n=6, **columns):
    out = make_cutouts(n)
    for name, values in columns.items():
        out[name] = (out[name].dims, np.broadcast_to(np.asarray(values, np.float32), out[name].shape))
    return out


def rows_of(cutouts, **plan):
    m = build_manifest(cutouts, make_config(plan={"injections_per_host": 20, **plan}))
    return m.isel(sample=~m["is_control"].values), m


def test_theta_e_follows_from_the_host_s_dispersion_and_redshift():
    sigma_v, z = np.linspace(180, 320, 6), np.linspace(0.2, 0.6, 6)
    rows, _ = rows_of(cutouts_with(sigma_v_km_s=sigma_v, z_lens=z), theta_e_from="sigma_v")
    host = rows["host_index"].values
    z_lens = z[host].astype(np.float32).astype(float)
    expected = theta_e_from_redshifts(sigma_v[host], z_lens, rows["src_z"].values)
    assert rows["theta_e_arcsec"].values == pytest.approx(expected, rel=1e-6)
    assert rows["src_z"].values.min() >= 1 and rows["src_z"].values.max() <= 3 and rows["src_z"].values.std() > 0.3


def test_hosts_without_a_dispersion_stop_the_plan_or_are_counted():
    cutouts = cutouts_with(sigma_v_km_s=[250, np.nan, 0, 250, 250, 250], z_lens=[0.4, 0.4, 0.4, 1.2, np.nan, 0.4])
    with pytest.raises(ManifestError, match=r"of 6 hosts, 4 NO_SIGMA_V_OR_Z .*host_lacks: prior"):
        rows_of(cutouts, theta_e_from="sigma_v")
    rows, m = rows_of(cutouts, theta_e_from="sigma_v", host_lacks="skip")
    assert set(rows["host_index"].values) == {0, 5} and m.attrs["hosts_skipped"] == {"NO_SIGMA_V_OR_Z": 4}
    rows, m = rows_of(cutouts, theta_e_from="sigma_v", host_lacks="prior", theta_e_arcsec=9.0)
    assert m.attrs["hosts_lacking"] == {"NO_SIGMA_V_OR_Z": 4}
    drawn = np.isnan(rows["src_z"].values)
    assert (rows["theta_e_arcsec"].values[drawn] == 9).all() and set(rows["host_index"].values[drawn]) == {1, 2, 3, 4}


def test_the_lens_takes_the_shape_of_the_host_s_light():
    cutouts = cutouts_with(host_q=np.linspace(0.5, 0.95, 6), host_phi_rad=np.linspace(0.1, 3.0, 6))
    rows, _ = rows_of(cutouts, lens_shape="host_light")
    host = rows["host_index"].values
    assert rows["lens_q"].values == pytest.approx(cutouts["host_q"].values[host])
    assert rows["lens_phi_rad"].values == pytest.approx(cutouts["host_phi_rad"].values[host])


def test_scatter_about_the_light_is_what_was_asked_for():
    cutouts = cutouts_with(1, host_q=0.7, host_phi_rad=0.02)
    plan = {"lens_shape_scatter_q": 0.05, "lens_shape_scatter_rad": 0.1, "injections_per_host": 3000}
    rows, _ = rows_of(cutouts, lens_shape="host_light", **plan)
    q, phi = rows["lens_q"].values, rows["lens_phi_rad"].values
    assert q.std() == pytest.approx(0.05, rel=0.1) and q.mean() == pytest.approx(0.7, abs=0.005)
    turned = (phi - 0.02 + np.pi / 2) % np.pi - np.pi / 2
    assert turned.std() == pytest.approx(0.1, rel=0.1) and phi.min() >= 0 and phi.max() < np.pi


def test_a_host_without_a_shape_stops_the_plan_or_draws_from_the_prior():
    cutouts = cutouts_with(host_q=[0.5, np.nan, 0.6, 0.7, 0.8, 0.9], host_phi_rad=0.3)
    with pytest.raises(ManifestError, match="1 NO_HOST_SHAPE"):
        rows_of(cutouts, lens_shape="host_light")
    rows, m = rows_of(cutouts, lens_shape="host_light", host_lacks="prior")
    assert m.attrs["hosts_lacking"] == {"NO_HOST_SHAPE_NOT_MEASURED": 1}
    assert np.unique(rows["lens_phi_rad"].values[rows["host_index"].values == 1]).size == 20


def test_theta_e_computed_below_the_minimum_is_left_out_and_counted():
    cutouts = cutouts_with(sigma_v_km_s=np.linspace(150, 320, 6), z_lens=[0.4] * 6)
    every, _ = rows_of(cutouts, theta_e_from="sigma_v")
    rows, m = rows_of(cutouts, theta_e_from="sigma_v", theta_e_min_arcsec=1.0)
    wide = every["theta_e_arcsec"].values >= 1.0
    assert 0 < wide.sum() < wide.size
    assert np.array_equal(rows["theta_e_arcsec"].values, every["theta_e_arcsec"].values[wide])
    assert m.attrs["rows_dropped"] == {"THETA_E_BELOW_MINIMUM": int((~wide).sum())}


@pytest.mark.parametrize(
    "prior", [None, [0.5, 1.0, 2.0], {"min": 0.5, "max": 2.0}, {"min": 0.5, "max": 2.0, "distribution": "log"}]
)
@pytest.mark.parametrize("design", ["random", "low_discrepancy"])
def test_a_prior_begins_at_the_minimum_and_no_row_is_lost(prior, design):
    rows, m = rows_of(make_cutouts(30), theta_e_arcsec=prior, theta_e_min_arcsec=1.0, design=design)
    assert rows["theta_e_arcsec"].values.min() >= 1.0
    assert not m.attrs["rows_dropped"] and rows.sizes["sample"] == 30 * 20
    assert m.attrs["declared"]["theta_e_min_arcsec"] == 1.0


@pytest.mark.parametrize("prior", [0.8, [0.3, 0.9], {"min": 0.2, "max": 0.9}])
def test_a_minimum_above_every_theta_e_is_refused_with_both_numbers(prior):
    with pytest.raises(ConfigError, match=r"theta_e_min_arcsec is 1, but theta_e_arcsec ends at 0\.[89]"):
        rows_of(make_cutouts(3), theta_e_arcsec=prior, theta_e_min_arcsec=1.0)
