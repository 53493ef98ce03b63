import numpy as np
import pytest

from lensflow.config.presets import Priors
from lensflow.errors import ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.check import check_manifest
from lensflow.manifest.draws import crossed
from lensflow.manifest.hosts import eligible_hosts
from lensflow.schema import Reason, Status
from tests.factories import make_config, make_cutouts


def test_presets_have_the_published_numbers_of_configurations():
    assert {
        name: len(crossed(Priors.named(name))) for name in Priors.names() if name not in ("realistic", "legacy_surveys")
    } == {
        "historic_small": 48,
        "historic_medium": 360,
        "historic_full": 3024,
        "historic": 1008,
    }


def test_rows_per_host_are_injections_then_controls():
    manifest = build_manifest(make_cutouts(4), make_config(plan={"injections_per_host": 3, "controls_per_host": 1}))
    assert manifest.sizes["sample"] == 16
    assert manifest["is_control"].values.reshape(4, 4).tolist() == [[False, False, False, True]] * 4
    assert (np.diff(manifest["host_index"]) >= 0).all()


def test_controls_have_no_arc():
    manifest = build_manifest(make_cutouts(4), make_config())
    control = manifest.isel(sample=manifest["is_control"].values)
    assert (control["theta_e_arcsec"] == 0).all() and (control["src_flux_nmgy"] == 0).all()
    assert (control["lens_model"] == "CONTROL").all() and np.isnan(control["src_reff_arcsec"]).all()


def test_rows_are_the_same_for_a_subset_of_the_hosts():
    cutouts, config = make_cutouts(8), make_config()
    whole = build_manifest(cutouts, config)
    some = build_manifest(cutouts.isel(host=[2, 5]), config)
    row = {int(r): i for i, r in enumerate(whole["row_id"].values)}
    rows = [row[int(r)] for r in some["row_id"].values]
    for name in ("theta_e_arcsec", "src_x_arcsec", "src_flux_nmgy", "lens_phi_rad", "psf_fwhm_arcsec"):
        assert np.array_equal(some[name].values, whole[name].values[rows], equal_nan=True), name


def test_the_grid_design_crosses_every_configuration_for_every_host():
    manifest = build_manifest(make_cutouts(3), make_config(plan={"design": "grid", "preset": "small"}))
    injections = manifest.isel(sample=~manifest["is_control"].values)
    assert injections.sizes["sample"] == 3 * 48
    first = injections.isel(sample=slice(0, 48))
    assert (
        len(set(zip(*(first[n].values for n in ("theta_e_arcsec", "lens_q", "shear", "src_reff_arcsec")), strict=True)))
        == 24
    )


def test_magnitudes_and_colours_follow_the_declared_prior():
    config = make_config(plan={"injections_per_host": 4000, "colours": "v3"})
    cutouts = make_cutouts(1)
    m = build_manifest(cutouts, config)
    flux = m["src_flux_nmgy"].values[~m["is_control"].values]
    g_r = -2.5 * np.log10(flux[:, 0] / flux[:, 1])
    r_z = -2.5 * np.log10(flux[:, 1] / flux[:, 2])
    dmag = -2.5 * np.log10(flux[:, 1] / cutouts["flux_nmgy"].values[0, 1])
    assert np.isclose(np.unique(dmag.round(4)), [0.5, 1, 1.5, 2]).all()
    assert np.median(g_r) == pytest.approx(0.2, abs=0.02) and g_r.std() == pytest.approx(0.2, abs=0.02)
    assert np.median(r_z) == pytest.approx(0.1, abs=0.02) and g_r.min() >= -0.5 - 1e-6


def test_sources_are_area_uniform_in_the_disc():
    m = build_manifest(make_cutouts(1), make_config(plan={"injections_per_host": 4000}))
    keep = ~m["is_control"].values
    share = (np.hypot(m["src_x_arcsec"], m["src_y_arcsec"]).values / np.where(keep, m["theta_e_arcsec"].values, 1))[
        keep
    ]
    assert share.max() <= 0.8 and np.mean(share < 0.4) == pytest.approx(0.25, abs=0.03)


def test_an_absent_band_gets_no_psf_and_hosts_without_an_r_flux_are_left_out():
    cutouts = make_cutouts(4, absent=((1, 0), (2, 1)))
    hosts = eligible_hosts(cutouts, make_config())
    assert hosts.usable.tolist() == [True, True, False, True] and hosts.skipped == {"NO_HOST_FLUX": 1}
    assert eligible_hosts(cutouts, make_config(plan={"src_mag": "apparent"})).usable.all()
    m = build_manifest(cutouts, make_config())
    assert np.isnan(m["psf_fwhm_arcsec"].values[m["host_index"].values == 1, 0]).all()
    assert np.isfinite(m["psf_fwhm_arcsec"].values[m["host_index"].values == 1, 1]).all()


def test_the_profile_width_is_the_psfsize_times_the_moffat_factor():
    m = build_manifest(make_cutouts(1), make_config())
    assert m["psf_fwhm_arcsec"].values[0, 1] / 1.3 == pytest.approx(0.733, abs=1e-3)
    measured = build_manifest(make_cutouts(1), make_config(plan={"psfsize_is": "fwhm"}))
    assert measured["psf_fwhm_arcsec"].values[0, 1] == pytest.approx(1.3, rel=1e-6)


def test_partial_stamps_are_left_out_unless_asked_for():
    cutouts = make_cutouts(3)
    cutouts["status"].values[1] = Status.PARTIAL
    cutouts["band_reasons"].values[1, 2] = int(Reason.PARTIAL_STAMP)
    assert build_manifest(cutouts, make_config()).attrs["hosts_skipped"] == {"PARTIAL_STAMP": 1}
    assert build_manifest(cutouts, make_config(plan={"include_partial": True})).attrs["n_hosts"] == 3


def test_a_host_without_catalogue_flux_uses_its_aperture_flux():
    cutouts = make_cutouts(2)
    cutouts["flux_nmgy"].values[1] = np.nan
    flux = eligible_hosts(cutouts, make_config()).columns["flux_reference_nmgy"]
    assert flux[0] == 8 and flux[1] == pytest.approx(8, rel=0.1)


def test_no_usable_host_is_an_error_with_the_reasons():
    cutouts = make_cutouts(2)
    cutouts["status"].values[:] = Status.FAILED
    with pytest.raises(ManifestError, match="2 FAILED"):
        build_manifest(cutouts, make_config())


def test_a_plan_beyond_the_limit_is_refused_with_its_size():
    with pytest.raises(ManifestError, match=r"28 rows .* plan\.max_rows = 10"):
        build_manifest(make_cutouts(4), make_config(plan={"max_rows": 10}))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("theta_e_arcsec", 0.0, "theta_e_arcsec is 0.0; an injection needs theta_e_arcsec > 0"),
        ("theta_e_arcsec", np.nan, "an injection needs theta_e_arcsec > 0"),
        ("lens_q", 1.5, "lens_q"),
        ("src_reff_arcsec", -1.0, "src_reff_arcsec"),
        ("src_flux_nmgy", np.nan, "src_flux_nmgy"),
        ("host_index", 99, "sorted"),
        ("lens_model", "CONTROL", "CONTROL"),
    ],
)
def test_a_row_that_cannot_be_rendered_is_named(column, value, message):
    manifest = build_manifest(make_cutouts(2), make_config())
    manifest[column].values[3] = value
    with pytest.raises(ManifestError, match=message) as error:
        check_manifest(manifest)
    assert "row " in str(error.value)


def test_slopes_are_isothermal_unless_the_lens_is_a_power_law():
    assert (build_manifest(make_cutouts(2), make_config())["lens_gamma"].values[:6] == 2).all()
    m = build_manifest(make_cutouts(1), make_config(plan={"lens_model": "EPL", "injections_per_host": 200}))
    gamma = m["lens_gamma"].values[~m["is_control"].values]
    assert gamma.min() >= 1.8 and gamma.max() <= 2.2 and gamma.std() > 0.08
    assert np.unique(m["lens_q"].values[~m["is_control"].values]).size > 1


def test_repeated_row_ids_are_refused():
    manifest = build_manifest(make_cutouts(2), make_config())
    manifest["row_id"].values[1] = manifest["row_id"].values[0]
    with pytest.raises(ManifestError, match="appears 2 times"):
        check_manifest(manifest)
