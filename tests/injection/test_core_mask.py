"""A core mask as a setting of the injection: on the arc alone, where the lens is, recorded in every row."""

import numpy as np
import pytest
import xarray as xr
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import geometry
from lensflow.config import DiagnosticsConfig, InjectionConfig
from lensflow.errors import GateError
from lensflow.injection import inject_block
from lensflow.injection.core import Handling, handle_core, unmasked_arcs
from lensflow.injection.inject import rows_of_hosts
from lensflow.injection.metrics import invariant_failures
from lensflow.manifest.build import build_manifest
from lensflow.measure.pixels import Block, Origin, Settings, Status, findings, measure
from lensflow.measure.zoo.small_run import small_run
from tests.factories import make_config, make_cutouts

RADIUS_PIX = 5.0
MASKS = {
    "hard": InjectionConfig(core_mask_radius_pix=RADIUS_PIX),
    "taper": InjectionConfig(core_mask_radius_pix=RADIUS_PIX, core_mask_method="taper", core_mask_width_pix=3.0),
    "tanh": InjectionConfig(core_mask_radius_pix=RADIUS_PIX, core_mask_method="tanh"),
}


@pytest.fixture(scope="module")
def hosts():
    cutouts = make_cutouts(4, size=48, absent=((1, 0),))
    return cutouts.assign_coords(host_index=("host", np.arange(4)))


@pytest.fixture(scope="module")
def manifest(hosts):
    return build_manifest(hosts, make_config(plan={"injections_per_host": 3}))


@pytest.fixture(scope="module")
def whole(hosts, manifest):
    return inject_block(hosts, manifest, InjectionConfig())


def _radius(manifest):
    return geometry.radius_pix(48, manifest["x_center"].values, manifest["y_center"].values)[:, None]


@pytest.mark.parametrize("method", MASKS)
def test_the_mask_takes_the_core_and_each_row_says_what_it_cost(hosts, manifest, whole, method):
    block = inject_block(hosts, manifest, MASKS[method])
    before, after = whole["arc"].values.astype(float), block["arc"].values.astype(float)
    injected = ~manifest["is_control"].values
    assert (after <= before + 1e-9).all()
    r = np.broadcast_to(_radius(manifest), before.shape)
    far = r > RADIUS_PIX + 3
    if method == "tanh":
        assert after[(r < RADIUS_PIX - 1) & (before > 0)].all(), "a tanh never zeroes"
        assert np.allclose(after[far], before[far], rtol=0.06, atol=0)
    else:
        assert not after[r < RADIUS_PIX].any()
        assert np.array_equal(after[far], before[far])
    lost, total = (before - after).sum(axis=(2, 3)), before.sum(axis=(2, 3))
    share = block["core_mask_flux_fraction"].values
    lit = total > 0
    assert np.allclose(share[lit], lost[lit] / total[lit], rtol=1e-5)
    assert np.isnan(share[~lit]).all()
    assert (block["core_mask_radius_pix"].values[injected] == RADIUS_PIX).all()
    assert np.isnan(block["core_mask_radius_pix"].values[~injected]).all()
    assert np.allclose(block["total_injected_flux_nmgy"].values[lit], after.sum(axis=(2, 3))[lit], rtol=1e-5)
    assert not any(invariant_failures(block, manifest, hosts).values())


@pytest.mark.parametrize("method", MASKS)
def test_the_arcs_before_the_mask_can_be_rendered_again(hosts, manifest, whole, method):
    masked = inject_block(hosts, manifest, MASKS[method])
    pairs = masked.merge(manifest).assign_attrs({**manifest.attrs, **masked.attrs})
    assert np.array_equal(unmasked_arcs(pairs), whole["arc"].values)
    with pytest.raises(GateError, match="no psf_kernel"):
        unmasked_arcs(pairs.assign_attrs(psf_model="kernel"))


def test_under_a_hard_mask_a_stamp_is_its_control_to_the_bit_and_noise_is_not_added_there(hosts, manifest, whole):
    block = inject_block(hosts, manifest, MASKS["hard"])
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    inside = np.broadcast_to(_radius(manifest) < RADIUS_PIX, ctrl.shape)
    stamp = block["stamp"].values
    assert np.array_equal(stamp[inside], ctrl[inside])
    assert np.array_equal(stamp[~inside], whole["stamp"].values[~inside])


def test_without_a_mask_rows_say_0_and_nothing_changes(hosts, manifest, whole):
    injected = ~manifest["is_control"].values
    lit = whole["arc"].values.any(axis=(2, 3))
    assert (whole["core_mask_radius_pix"].values[injected] == 0).all()
    assert (whole["core_mask_flux_fraction"].values[lit] == 0).all()


@settings(max_examples=6, deadline=None)
@given(st.sets(st.integers(0, 15), min_size=1, max_size=6))
def test_any_rows_alone_give_the_bits_of_the_whole(hosts, manifest, rows):
    some = sorted(rows)
    every = inject_block(hosts, manifest, MASKS["taper"])
    alone = inject_block(hosts, manifest.isel(sample=some), MASKS["taper"])
    for name in every.data_vars:
        assert np.array_equal(alone[name].values, every[name].values[some], equal_nan=True), name


@pytest.mark.slow
@pytest.mark.parametrize("method", MASKS)
def test_diagnostics_call_a_masked_run_sound_and_notice_a_mask_that_nobody_declared(method):
    run = small_run(24, 4)
    masked = run.config.model_copy(update={"injection": MASKS[method]})
    pairs = type(run)(run.hosts, run.manifest, masked).pairs()
    config = DiagnosticsConfig(bootstrap=100)
    summaries = measure(Block(pairs, config, Origin(run.hosts, MASKS[method])))
    declared = findings(summaries.results(Settings(config, 1, MASKS[method])))
    # An edge is finer than the PSF; the gate of mask edges says whether it shows.
    assert {(f.diagnostic, f.status) for f in declared if f.status is not Status.OK} == {
        ("sharpness", Status.NOT_TESTED)
    }
    undeclared = findings(summaries.results(Settings(config, 1, InjectionConfig())))
    assert {f.diagnostic for f in undeclared if f.status is Status.ALARM} - {"sharpness"} == {"rendering"}


@pytest.mark.parametrize("name", ["mask_5", "taper_5", "tanh_6"])
def test_the_settings_that_a_handling_advises_inject_the_arcs_that_it_was_measured_on(hosts, manifest, whole, name):
    advised = yaml.safe_load(Handling.parse(name).advice(width_pix=3.0).removeprefix("injection: "))
    block = inject_block(hosts, manifest, InjectionConfig(**advised))
    ctrl = hosts["image"].values[rows_of_hosts(hosts, manifest["host_index"].values)]
    pairs = manifest.assign(whole.data_vars).assign(ctrl=(("sample", "band", "y", "x"), ctrl))
    handled = handle_core(pairs, name, width_pix=3.0)
    assert np.array_equal(handled["arc"].values, block["arc"].values)


def test_advice_for_what_is_no_setting_names_the_call():
    advice = {n: Handling.parse(n).advice() for n in ("none", "blank_5", "blob", "matched", "mask_5+theta_e_1")}
    assert advice == {
        "none": "nothing to set",
        "blank_5": "train on lensflow.mask_batch(images, 5) of both classes",
        "blob": "train on lensflow.handle_core(pairs, 'blob')",
        "matched": "negatives paired by lensflow.injection.core.match_controls",
        "mask_5+theta_e_1": "injection: {core_mask_radius_pix: 5, core_mask_method: hard}; "
        "plan: {theta_e_min_arcsec: 1}",
    }


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"core_mask_radius_pix": -1}, {"core_mask_method": "soft"}, {"core_mask_width_pix": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InjectionConfig(**wrong)


def test_the_closure_of_a_masked_row_counts_what_the_mask_took(hosts, manifest):
    block = inject_block(hosts, manifest, MASKS["hard"])
    spoilt: xr.Dataset = block.copy(deep=True)
    spoilt["core_mask_flux_fraction"].values[:] = 0
    rule = "invariant: flux of an arc within the stamp not magnification x source flux"
    assert invariant_failures(spoilt, manifest, hosts)[rule] > 0
