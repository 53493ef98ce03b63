import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.config import InjectionConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.injection import combine, inject_block
from lensflow.injection.inject import effective_gain, noise_of, rows_of_hosts
from lensflow.injection.metrics import invariant_failures
from lensflow.manifest.build import build_manifest
from tests.factories import BANDS, make_config, make_cutouts

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


def test_no_invariant_breaks_and_a_broken_one_is_counted(manifest, block):
    assert not any(invariant_failures(block, manifest).values())
    spoilt = block.copy(deep=True)
    row = int(np.flatnonzero(~manifest["is_control"].values)[0])
    spoilt["magnification"].values[row] = 0.5
    spoilt["stamp"].values[row, 0, 0, 0] = np.nan
    spoilt["arc"].values[np.flatnonzero(manifest["is_control"].values)[0], 0, 0, 0] = 1
    failures = invariant_failures(spoilt, manifest)
    assert failures["invariant: magnification < 1"] == 1
    assert failures["invariant: non-finite stamp or arc"] == 1
    assert failures["invariant: control with an arc or a metric"] == 1


def test_without_noise_the_difference_is_the_arc(hosts, manifest):
    quiet = inject_block(hosts, manifest, InjectionConfig(noise=False))
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    assert np.array_equal(quiet["stamp"].values, combine(ctrl, quiet["arc"].values, np.zeros_like(ctrl)))


def test_gain_follows_the_depth_or_the_exposures(hosts):
    sky = effective_gain(hosts, list(BANDS), InjectionConfig())
    assert np.isnan(sky[1, 0]) and sky[0, 1] == pytest.approx(
        0.0024**-2 * 10 ** (0.4 * (22.5 - 20.91)) * 0.262**2, rel=1e-3
    )
    exposed = effective_gain(hosts, list(BANDS), InjectionConfig(gain="exposure"))
    assert np.isnan(exposed[1, 0]) and exposed[0, 1] == 3 * 90 * 53


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
