from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import schema
from lensflow.config import InjectionConfig
from lensflow.errors import ConfigError, ManifestError, StoreError
from lensflow.injection import combine, inject_block
from lensflow.injection.inject import effective_gain, noise_of, rows_of_hosts
from lensflow.injection.metrics import all_on_stamp, image_metrics, invariant_failures
from lensflow.lensing.render import render
from lensflow.manifest.build import build_manifest
from tests.factories import BANDS, make_config, make_cutouts
from tests.lensing.rows import alternating_models, random_rows

ABSENT = ((1, 0),)


@pytest.fixture(scope="module")
def hosts():
    cutouts = make_cutouts(4, size=48, absent=ABSENT)
    return cutouts.assign_coords(host_index=("host", np.arange(4)))


@pytest.fixture(scope="module")
def manifest(hosts):
    return build_manifest(hosts, make_config(plan={"injections_per_host": 4}))


@pytest.fixture(scope="module")
def block(hosts, manifest):
    return inject_block(hosts, manifest, InjectionConfig())


def test_a_stamp_is_exactly_host_plus_arc_plus_noise(hosts, manifest, block):
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    noise = noise_of(block["arc"].values, hosts, manifest, InjectionConfig())
    assert np.array_equal(combine(ctrl, block["arc"].values, noise), block["stamp"].values)
    assert noise.any()


@settings(max_examples=6, deadline=None)
@given(st.sets(st.integers(0, 19), min_size=1, max_size=6))
def test_any_rows_alone_give_the_bits_of_the_whole(hosts, manifest, block, rows):
    some = sorted(rows)
    alone = inject_block(hosts, manifest.isel(sample=some), InjectionConfig())
    for name in block.data_vars:
        assert np.array_equal(alone[name].values, block[name].values[some], equal_nan=True), name


def test_rows_beyond_the_render_tolerance_are_flagged_and_not_clean(hosts, manifest, block):
    err = block["render_err"].values
    strict = inject_block(hosts, manifest, InjectionConfig(render_tolerance=float(np.nanmedian(err))))
    flagged = strict["render_not_converged"].values > 0
    assert np.array_equal(flagged, err > np.nanmedian(err)) and flagged.any()
    assert not strict["is_clean"].values[flagged].any() and not block["render_not_converged"].values[flagged].any()
    assert np.array_equal(strict["stamp"].values, block["stamp"].values)


def test_controls_are_the_host_itself(hosts, manifest, block):
    control = manifest["is_control"].values
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    assert control.any() and np.array_equal(block["stamp"].values[control], ctrl[control])
    for name in ("magnification", "arc_snr", "stamp_flux_fraction", "snr_peak", "render_err"):
        assert np.isnan(block[name].values[control]).all(), name


def test_no_arc_in_a_band_without_an_exposure(hosts, manifest, block):
    rows = manifest["host_index"].values == 1
    assert not block["arc"].values[rows, 0].any()
    injected = rows & ~manifest["is_control"].values
    assert block["arc"].values[injected, 1].any(axis=(1, 2)).all()
    assert np.isnan(block["snr_peak"].values[injected, 0]).all()
    assert (block["band_absent"].values == rows).all() and not block["is_clean"].values[rows].any()


def test_the_arc_holds_the_magnified_flux(manifest, block):
    injected = ~manifest["is_control"].values & (manifest["host_index"].values != 1)
    lensed = block["magnification"].values[:, None] * manifest["src_flux_nmgy"].values
    expected = lensed * block["stamp_flux_fraction"].values[:, None]
    measured = block["arc"].values.sum(axis=(2, 3))
    # One fraction for all bands; the PSFs differ, so the bands' own fractions do a little.
    assert np.allclose(measured[injected], expected[injected], rtol=0.03)
    assert np.allclose(block["total_injected_flux_nmgy"].values[injected], measured[injected], rtol=1e-5)


def test_metrics_mean_what_they_say(hosts, manifest, block):
    i = int(np.flatnonzero(~manifest["is_control"].values)[0])
    arc = block["arc"].values[i].astype(float)
    invvar = hosts["invvar"].values[manifest["host_index"].values[i]].astype(float)
    for k in range(3):
        assert block["snr_peak"].values[i, k] == pytest.approx((arc[k] * np.sqrt(invvar[k])).max(), rel=1e-5)
        assert block["snr_matched"].values[i, k] == pytest.approx(np.sqrt((arc[k] ** 2 * invvar[k]).sum()), rel=1e-5)
        assert block["snr_stamp"].values[i, k] == pytest.approx(arc[k].sum() / np.sqrt((1 / invvar[k]).sum()), rel=1e-5)
    assert block["arc_snr"].values[i] == block["snr_peak"].values[i, 1]
    y, x = np.mgrid[:48, :48]
    r = np.hypot(x - float(manifest["x_center"][i]), y - float(manifest["y_center"][i]))
    assert block["core_flux_fraction"].values[i] == pytest.approx(arc[:, r < 5].sum() / arc.sum(), rel=1e-4)
    inside = arc.sum(axis=0)[r <= float(block["arc_r50_pix"][i])].sum() / arc.sum()
    assert inside == pytest.approx(0.5, abs=0.05)


def test_no_invariant_breaks_and_a_broken_one_is_counted(hosts, manifest, block):
    assert not any(invariant_failures(block, manifest, hosts).values())
    spoilt = block.copy(deep=True)
    row = int(np.flatnonzero(~manifest["is_control"].values)[0])
    spoilt["magnification"].values[row] = 0.5
    spoilt["stamp"].values[row, 0, 0, 0] = np.nan
    spoilt["arc"].values[np.flatnonzero(manifest["is_control"].values)[0], 0, 0, 0] = 1
    failures = invariant_failures(spoilt, manifest, hosts)
    assert failures["invariant: magnification < 1"] == 1
    assert failures["invariant: non-finite stamp or arc"] == 1
    assert failures["invariant: control with an arc or a metric"] == 1


def test_a_band_whose_flux_does_not_close_is_counted(hosts, manifest, block):
    sure = all_on_stamp(manifest, 48, 0.262)
    assert sure.any() and not sure[manifest["is_control"].values].any()
    for factor in (0.95, 1.01):
        spoilt = block.copy(deep=True)
        spoilt["total_injected_flux_nmgy"].values[np.flatnonzero(sure)[0], 1] *= factor
        failures = invariant_failures(spoilt, manifest, hosts)
        assert failures["invariant: flux of an arc within the stamp not magnification x source flux"] == 1


def test_arcs_that_are_surely_on_the_stamp_close_in_every_band():
    rows = random_rows(300, seed=8, src_reff_arcsec=np.geomspace(0.05, 1.2, 300))
    manifest = xr.Dataset({k: (("sample", "band")[: v.ndim], v) for k, v in rows.items()})
    sure = all_on_stamp(manifest, 64, 0.262)
    got = render(rows, psf_model=alternating_models(300))
    share = got.arc.sum(axis=(2, 3)) / (got.magnification[:, None] * rows["src_flux_nmgy"])
    assert 40 < sure.sum() < 290
    assert share[sure].min() > 0.97 and share[sure].max() < 1.001


def test_the_images_of_an_sis_are_counted_and_placed(manifest, block):
    control = manifest["is_control"].values
    some = manifest.isel(sample=~control)
    columns = {v.name: some[v.name].values.copy() for v in schema.MANIFEST}
    columns["lens_model"][:] = "SIS"
    columns["shear"][:] = 0
    beta = np.hypot(columns["src_x_arcsec"], columns["src_y_arcsec"])
    columns["theta_e_arcsec"] = np.where(np.arange(beta.size) % 2, 2.0, 0.5) * beta
    got = image_metrics(columns)
    assert np.array_equal(got["image_multiplicity"], np.where(np.arange(beta.size) % 2, 2, 1))
    expected = np.where(np.arange(beta.size) % 2, beta, np.nan)
    np.testing.assert_allclose(got["counter_image_radius_arcsec"], expected, rtol=1e-10)
    stored = block["image_multiplicity"].values
    assert np.isnan(stored[control]).all() and np.isin(stored[~control], (1, 2, 3, 4)).all()
    columns["lens_model"][:] = "EPL"
    assert all(np.isnan(v).all() for v in image_metrics(columns).values())


def test_a_source_exactly_behind_a_circular_lens_has_a_ring(manifest):
    columns = {v.name: manifest.isel(sample=[0])[v.name].values.copy() for v in schema.MANIFEST}
    columns |= {"lens_model": np.array(["SIS"]), "theta_e_arcsec": np.ones(1), "shear": np.zeros(1)}
    columns |= {"src_x_arcsec": np.zeros(1), "src_y_arcsec": np.zeros(1)}
    got = image_metrics(columns)
    assert got["image_multiplicity"][0] == -1 and np.isnan(got["counter_image_radius_arcsec"][0])


def test_every_pair_carries_its_hosts_correlated_noise(hosts, manifest, block):
    factor = hosts["noise_correlation_factor"].values
    assert np.isnan(factor[1, 0]) and (np.abs(factor[0] - 1) < 0.4).all()
    rows, control = manifest["host_index"].values, manifest["is_control"].values
    stored = block["noise_correlation_factor"].values
    assert np.array_equal(stored[~control], factor[rows][~control], equal_nan=True) and np.isnan(stored[control]).all()


def test_hosts_without_a_needed_variable_are_refused(hosts, manifest):
    with pytest.raises(StoreError, match="noise_correlation_factor is missing"):
        inject_block(hosts.drop_vars("noise_correlation_factor"), manifest)


def test_threads_give_the_bits_of_one(hosts, manifest, block):
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: inject_block(hosts, manifest), range(8)):
            assert np.array_equal(got["stamp"].values, block["stamp"].values)
            assert np.array_equal(got["snr_matched"].values, block["snr_matched"].values, equal_nan=True)


def test_the_sums_of_a_pair_are_those_of_numpy(hosts, manifest, block):
    rows = manifest["host_index"].values
    arc, invvar = block["arc"].values.astype(float), hosts["invvar"].values[rows].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(invvar > 0, 1 / invvar, 0).sum(axis=(2, 3))
        expected = {
            "snr_peak": (arc * np.sqrt(invvar)).max(axis=(2, 3)),
            "snr_matched": np.sqrt((arc**2 * invvar).sum(axis=(2, 3))),
            "snr_stamp": np.where(invvar > 0, arc, 0).sum(axis=(2, 3)) / np.sqrt(variance),
        }
    lit = ~manifest["is_control"].values[:, None] & np.isfinite(manifest["psf_fwhm_arcsec"].values)
    for name, values in expected.items():
        np.testing.assert_allclose(block[name].values[lit], values[lit], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("size", [9, 16, 21])
def test_stamps_of_any_size_are_host_plus_arc_plus_noise(size):
    hosts = make_cutouts(3, size=size)
    manifest = build_manifest(hosts, make_config(plan={"injections_per_host": 2}))
    block = inject_block(hosts, manifest)
    noise = noise_of(block["arc"].values, hosts, manifest, InjectionConfig())
    ctrl = hosts["image"].values[manifest["host_index"].values]
    assert np.array_equal(combine(ctrl, block["arc"].values, noise), block["stamp"].values)


def test_the_gain_takes_the_median_of_the_pixels_with_data(hosts):
    patchy = hosts.copy(deep=True)
    patchy["invvar"].values[:, :, ::2, ::3] = 0
    patchy["invvar"].values *= np.random.default_rng(1).uniform(0.5, 2, patchy["invvar"].shape)
    got = effective_gain(patchy, list(BANDS), InjectionConfig(), np.array([0, 2]))
    for band, name in enumerate(BANDS):
        values = patchy["invvar"].values[2, band]
        sky = 10 ** (0.4 * (22.5 - InjectionConfig().sky_mag_arcsec2[name])) * 0.262**2
        assert got[2, band] == pytest.approx(np.median(values[values > 0].astype(float)) * sky, rel=1e-12)
    assert np.isnan(got[[1, 3]]).all()


def test_without_noise_the_difference_is_the_arc(hosts, manifest):
    quiet = inject_block(hosts, manifest, InjectionConfig(noise=False))
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    assert np.array_equal(quiet["stamp"].values, combine(ctrl, quiet["arc"].values, np.zeros_like(ctrl)))


def test_gain_follows_the_depth_or_the_exposures(hosts):
    sky = effective_gain(hosts, list(BANDS), InjectionConfig())
    assert np.isnan(sky[1, 0]) and sky[0, 1] == pytest.approx(
        0.0024**-2 * 10 ** (0.4 * (22.5 - 20.91)) * 0.262**2, rel=1e-3
    )
    exposed = effective_gain(
        hosts, list(BANDS), InjectionConfig(gain="exposure", exposure_time_s=dict.fromkeys("grz", 90.0))
    )
    assert np.isnan(exposed[1, 0]) and exposed[0, 1] == 3 * 90 * 53
    rates = {"g": 10.0, "r": 20.0, "z": 30.0}
    other = InjectionConfig(gain="exposure", exposure_time_s=dict.fromkeys("grz", 90.0), electrons_per_s_per_nmgy=rates)
    assert effective_gain(hosts, list(BANDS), other)[0].tolist() == [3 * 90 * rate for rate in rates.values()]


def test_exposure_times_are_stated_and_never_assumed(hosts):
    with pytest.raises(ValueError, match=r"gain: exposure needs exposure_time_s.*EXPTIME"):
        InjectionConfig(gain="exposure")
    assert InjectionConfig(gain="exposure", noise=False).exposure_time_s is None
    short = InjectionConfig(gain="exposure", exposure_time_s={"g": 50.0, "r": 50.0, "z": 100.0})
    assert effective_gain(hosts, list(BANDS), short)[0].tolist() == [3 * 50 * 40.0, 3 * 50 * 53.0, 3 * 100 * 32.0]
    with pytest.raises(ConfigError, match="band 'z'"):
        effective_gain(hosts, list(BANDS), InjectionConfig(gain="exposure", exposure_time_s={"g": 50, "r": 50}))


def test_a_band_without_a_gain_setting_is_refused(hosts):
    with pytest.raises(ConfigError, match="band 'z'"):
        effective_gain(hosts, list(BANDS), InjectionConfig(sky_mag_arcsec2={"g": 22, "r": 21}))


def test_a_host_that_is_not_in_the_block_is_named(hosts, manifest):
    with pytest.raises(ManifestError, match="host_index 3 is not among"):
        inject_block(hosts.isel(host=slice(0, 3)), manifest)


def test_assumed_noise_and_psf_keep_a_pair_from_being_clean(hosts, manifest, block):
    from lensflow.schema import Reason

    marked = hosts.copy(deep=True)
    marked["band_reasons"].values[0, :] = int(Reason.ASSUMED_PSF)
    out = inject_block(marked, manifest)
    rows = manifest["host_index"].values == 0
    assert out["assumed_psf"].values[rows].all() and not out["is_clean"].values[rows].any()
    assert block["is_clean"].values[rows].any()
