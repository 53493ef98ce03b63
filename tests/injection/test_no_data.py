"""Where the survey has no data there is no light: arcs, noise, negatives; what is lost is a number and a flag."""

import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow.config import DiagnosticsConfig, InjectionConfig
from lensflow.injection import combine, inject_block
from lensflow.injection.core import handle_core
from lensflow.injection.inject import noise_of, rows_of_hosts
from lensflow.injection.metrics import invariant_failures
from lensflow.injection.quality import MAX_NODATA_FLUX
from lensflow.lensing.render import render
from lensflow.manifest.build import build_manifest
from lensflow.measure.pixels import Block, Settings, Status, findings, measure
from tests.factories import BANDS, make_config, make_cutouts

HOLE = (slice(30, 36), slice(36, 42))
CHECK = "no light on pixels without data"


def with_holes(hosts):
    """Hosts 0 and 1 with a dead patch beside the lens in r, host 2 without any data in z to the right of it."""
    image, invvar = hosts["image"].values.copy(), hosts["invvar"].values.copy()
    for place in ((slice(0, 2), 1, *HOLE), (2, 2, slice(None), slice(33, None))):
        image[place] = invvar[place] = 0
    return hosts.assign(image=(hosts["image"].dims, image), invvar=(hosts["invvar"].dims, invvar))


@pytest.fixture(scope="module")
def whole_hosts():
    return make_cutouts(5).assign_coords(host_index=("host", np.arange(5)))


@pytest.fixture(scope="module")
def hosts(whole_hosts):
    return with_holes(whole_hosts)


@pytest.fixture(scope="module")
def manifest(whole_hosts):
    return build_manifest(whole_hosts, make_config(plan={"injections_per_host": 6}))


@pytest.fixture(scope="module")
def block(hosts, manifest):
    return inject_block(hosts, manifest)


@pytest.fixture(scope="module")
def empty(hosts, manifest):
    return hosts["invvar"].values[manifest["host_index"].values] == 0


def test_arc_noise_and_stamp_are_those_of_the_host_where_it_has_no_data(hosts, manifest, block, empty):
    assert empty.any()
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    noise = noise_of(block["arc"].values, hosts, manifest, InjectionConfig())
    assert not block["arc"].values[empty].any() and not noise[empty].any() and not block["stamp"].values[empty].any()
    assert np.array_equal(combine(ctrl, block["arc"].values, noise), block["stamp"].values)
    assert not any(invariant_failures(block, manifest, hosts).values())


def test_pixels_with_data_keep_their_bits(whole_hosts, manifest, block, empty):
    whole = inject_block(whole_hosts, manifest)
    assert np.array_equal(block["arc"].values[~empty], whole["arc"].values[~empty])
    untouched = manifest["host_index"].values > 2
    for name in whole.data_vars:
        same = np.array_equal(block[name].values[untouched], whole[name].values[untouched], equal_nan=True)
        assert same, name
    assert not np.nan_to_num(whole["nodata_flux_fraction"].values).any()
    assert not whole["flux_without_data"].values.any()


def test_the_lost_share_is_a_metric_and_above_five_percent_a_flag(whole_hosts, manifest, block, empty):
    arc = inject_block(whole_hosts, manifest)["arc"].values.astype(np.float64)
    injected = ~manifest["is_control"].values
    lost = np.where(empty, arc, 0).sum(axis=(2, 3)) / arc.sum(axis=(2, 3)).clip(1e-30)
    share = block["nodata_flux_fraction"].values
    assert np.allclose(share[injected], lost[injected], rtol=1e-4, atol=1e-7) and np.isnan(share[~injected]).all()
    flagged = block["flux_without_data"].values.astype(bool)
    assert np.array_equal(flagged, injected & (lost > MAX_NODATA_FLUX).any(axis=1))
    assert flagged.any() and not block["is_clean"].values[flagged].any()
    kept = injected & ~flagged & (share > 0).any(axis=1)
    assert kept.any() and block["is_clean"].values[kept].any()


def test_fluxes_and_signal_to_noise_are_of_what_is_left(hosts, manifest, block):
    i = int(np.flatnonzero(~manifest["is_control"].values & (manifest["host_index"].values == 0))[0])
    arc, invvar = (v[i].astype(np.float64) for v in (block["arc"].values, hosts["invvar"].values[[0] * (i + 1)]))
    for b in range(3):
        assert block["total_injected_flux_nmgy"].values[i, b] == pytest.approx(arc[b].sum(), rel=1e-5)
        assert block["snr_matched"].values[i, b] == pytest.approx(np.sqrt((arc[b] ** 2 * invvar[b]).sum()), rel=1e-5)


def test_a_band_that_is_all_hole_has_no_light_and_is_flagged(whole_hosts, manifest):
    invvar = whole_hosts["invvar"].values.copy()
    invvar[0, 1] = 0
    dead = whole_hosts.assign(invvar=(whole_hosts["invvar"].dims, invvar))
    rows = np.flatnonzero((manifest["host_index"].values == 0) & ~manifest["is_control"].values)
    block = inject_block(dead, manifest.isel(sample=rows))
    assert not block["arc"].values[:, 1].any() and block["arc"].values[:, 0].any()
    assert (block["nodata_flux_fraction"].values[:, 1] == 1).all()
    assert block["flux_without_data"].values.all() and block["no_good_pixel"].values.all()


def test_a_core_mask_and_a_hole_both_count(hosts, manifest):
    config = InjectionConfig(core_mask_radius_pix=5)
    block = inject_block(hosts, manifest, config)
    assert not any(invariant_failures(block, manifest, hosts).values())
    i = int(np.flatnonzero(~manifest["is_control"].values & (manifest["host_index"].values == 0))[0])
    left = (1 - block["core_mask_flux_fraction"].values[i]) * (1 - block["nodata_flux_fraction"].values[i])
    source = manifest["src_flux_nmgy"].values[i] * float(block["magnification"][i] * block["stamp_flux_fraction"][i])
    assert np.allclose(block["total_injected_flux_nmgy"].values[i], left * source, rtol=0.03)


def test_light_in_a_hole_breaks_an_invariant(hosts, manifest, block):
    for name in ("arc", "stamp"):
        spoilt = block.copy(deep=True)
        spoilt[name].values[1, 1, HOLE[0].start, HOLE[1].start] += 1e-6
        assert invariant_failures(spoilt, manifest, hosts)["invariant: light on a pixel without data"] == 1


def diagnosed(pairs):
    config = DiagnosticsConfig(bootstrap=50)
    return {f.check: f for f in findings(measure(Block(pairs.compute(), config)).results(Settings(config, 1)))}


def unmasked(manifest):
    """Arcs as a renderer gives them that knows nothing of holes."""
    return render({k: v.values for k, v in manifest.data_vars.items()}, psf_beta=float(manifest.attrs["psf_beta"])).arc


@pytest.mark.slow
def test_the_diagnostic_asks_it_of_any_pairs(hosts, manifest, empty):
    pairs = lf.inject(hosts, manifest).compute()
    assert np.array_equal(pairs["has_data"].values, ~empty)
    sound = diagnosed(pairs)
    assert sound[CHECK].status is Status.OK
    assert not [f for f in sound.values() if f.status is Status.ALARM]
    extra = np.where(empty, unmasked(manifest), 0)
    for name in ("arc", "stamp"):
        bad = pairs.assign({name: (pairs[name].dims, pairs[name].values + extra)})
        assert diagnosed(bad)[CHECK].status is Status.ALARM, name
    assert diagnosed(pairs.drop_vars("has_data"))[CHECK].status is Status.NOT_TESTED


@pytest.mark.slow
@pytest.mark.parametrize("store", [{}, {"quantize": "sky/4"}, {"copy_ctrl": True}])
def test_stored_pairs_are_the_lazy_ones_and_hold_no_light_in_holes(tmp_path, hosts, store):
    base = {"samples_per_region": 16, "hosts_per_region": 8, "inner_chunk": 4}
    config = make_config(str(tmp_path), plan={"injections_per_host": 2}, store={**base, **store})
    rows = build_manifest(hosts, config)
    stored = lf.write_pairs(lf.inject(hosts.drop_vars("host_index"), rows, config), config)
    opened = stored.compute()
    lazy = lf.inject(lf.open_cutouts(f"{tmp_path}/cutouts.zarr"), lf.open_manifest(f"{tmp_path}/manifest.zarr"), config)
    lazy = lazy.compute().isel(sample=np.isin(lazy["row_id"].values, opened["row_id"].values))
    for name in ("arc", "stamp", "ctrl", "has_data", "nodata_flux_fraction", "flux_without_data"):
        assert opened[name].values.tobytes() == lazy[name].values.tobytes(), name
    empty = ~opened["has_data"].values
    assert empty.any() and not opened["arc"].values[empty].any()
    assert np.array_equal(opened["stamp"].values[empty], opened["ctrl"].values[empty])
    assert diagnosed(opened)[CHECK].status is Status.OK


@pytest.mark.parametrize("handling", ["shuffled", "rotated", "moved", "blob"])
def test_negatives_that_carry_light_have_none_in_holes_either(hosts, manifest, empty, handling):
    pairs = lf.inject(hosts, manifest).compute().assign_attrs(manifest.attrs, pixel_scale_arcsec=0.262)
    handled: xr.Dataset = handle_core(pairs, handling)
    assert np.array_equal(handled["ctrl"].values[empty], pairs["ctrl"].values[empty])
    assert (handled["ctrl"].values != pairs["ctrl"].values).any()


def test_signal_to_noise_with_the_shot_noise_of_host_and_arc_is_the_direct_formula(hosts, manifest, block):
    from lensflow.injection.inject import effective_gain

    gain = effective_gain(hosts, list(BANDS), InjectionConfig())
    for i in np.flatnonzero(~manifest["is_control"].values)[::5]:
        h = int(manifest["host_index"][i])
        arc, ctrl, invvar = (v.astype(np.float64) for v in (
            block["arc"].values[i], hosts["image"].values[h], hosts["invvar"].values[h]))  # fmt: skip
        good = invvar > 0
        light = np.maximum(arc, 0) + np.maximum(ctrl, 0)
        variance = 1 / np.where(good, invvar, 1) + light / gain[h][:, None, None]
        expected = {
            "snr_peak_total": np.where(good, arc / np.sqrt(variance), 0).max(axis=(1, 2)),
            "snr_matched_total": np.sqrt(np.where(good, arc**2 / variance, 0).sum(axis=(1, 2))),
            "snr_stamp_total": np.where(good, arc, 0).sum(axis=(1, 2))
            / np.sqrt(np.where(good, variance, 0).sum(axis=(1, 2))),
        }
        for name, value in expected.items():
            assert np.allclose(block[name].values[i], value, rtol=2e-5), name
            assert (block[name].values[i] <= block[name.removesuffix("_total")].values[i]).all(), name


def test_without_noise_there_is_no_gain_to_count_shot_noise_with(hosts, manifest):
    quiet = inject_block(hosts, manifest, InjectionConfig(noise=False))
    assert np.isnan(quiet["snr_matched_total"].values).all() and np.isfinite(quiet["snr_matched"].values).any()
