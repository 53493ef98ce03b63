"""Stored arcs are those of the installed renderer and of the slow reference; a changed one is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from lensflow import rng
from lensflow.config import StoreConfig
from lensflow.measure.pixels import Block, Origin, Settings, Status, alarms, findings, measure
from lensflow.measure.pixels import reference as module
from lensflow.measure.pixels.origin import with_arc_steps
from lensflow.measure.pixels.rendering import SAMPLE, SINGLE_PRECISION, Rerendered, compare, last_key
from lensflow.measure.pixels.specimens import keys_of, specimens_of
from lensflow.measure.zoo.small_run import small_run
from lensflow.run.inject import as_stored
from tests.measure.conftest import CONFIG

ORIGIN = Origin()


def rendering(kept, origin=ORIGIN):
    return compare(kept, origin).result(kept, origin)


def with_arc(kept, arc):
    return kept.assign(arc=(kept["arc"].dims, arc))


@pytest.fixture(scope="module")
def kept(pairs):
    """Eight of the rows, so that no test waits for all of them."""
    few = specimens_of(pairs.isel(sample=slice(0, 10))).rows
    assert few.sizes["sample"] == 8
    return few


@pytest.fixture
def quick(monkeypatch):
    """Leave out the reference, half a second a row."""
    monkeypatch.setattr(module, "REFERENCE_ROWS", 0)


def test_a_sound_run_is_made_anew_within_the_accuracy_and_beside_the_reference(kept):
    found = rendering(kept)
    assert float(found["error"].max()) == 0 and float(found["flux_error"].max()) == 0
    assert int(found["reference_error"].notnull().sum()) == module.REFERENCE_ROWS == found.sizes["reference_row"]
    assert int(found["n_rendered"]) == int(found["n_injections"]) == 8
    assert {f.status for f in findings({"rendering": found})} == {Status.OK}


@pytest.mark.parametrize("size", [3e-5, -3e-5])
def test_one_changed_pixel_is_noticed_in_its_row_and_band(kept, quick, size):
    arc = kept["arc"].values.copy()
    arc[5, 2, 30, 31] += size * arc[5, 2].max()
    found = rendering(with_arc(kept, arc))
    assert np.argwhere(found["error"].values > SINGLE_PRECISION).tolist() == [[0, 2]]  # the worst comes first
    assert float(found["error"][0, 2]) == pytest.approx(abs(size), rel=2e-2)
    alarm = next(f for f in findings({"rendering": found}) if f.status is Status.ALARM)
    assert alarm.check == "stored arcs rendered again" and alarm.where == f"row_id {kept['row_id'].values[5]}, z"


def test_other_code_is_held_to_the_documented_error_of_two_renderings(kept, quick):
    sound = compare(kept, Origin(same_code=False))
    assert (sound.tolerance > 10 * SINGLE_PRECISION).all() and (sound.tolerance < 2e-3).all()
    for factor, n in ((0.9, 0), (1.1, 8)):
        arc = kept["arc"].values * (1 + factor * sound.tolerance[:, None, None, None]).astype(np.float32)
        assert int(rendering(with_arc(kept, arc), Origin(same_code=False))["n_beyond"]) == n


def test_an_arc_scaled_as_a_whole_is_an_error_of_its_flux(kept, quick):
    arc = kept["arc"].values.copy()
    arc[2, 1] *= 1.004
    found = rendering(with_arc(kept, arc))
    assert float(found["flux_error"][0, 1]) == pytest.approx(0.004, rel=1e-3)
    assert int((found["flux_error"] > SINGLE_PRECISION).sum()) == 1


def test_arcs_of_two_rows_exchanged_are_noticed_in_both(kept, quick):
    arc = kept["arc"].values.copy()
    arc[[0, 1]] = arc[[1, 0]]
    found = rendering(with_arc(kept, arc))
    assert int(found["n_beyond"]) == 2
    assert set(found["row_id"].values[:2]) == {str(v) for v in kept["row_id"].values[:2]}


def test_light_where_the_renderer_puts_none_is_an_error_without_measure(kept, quick):
    absent = np.argwhere(~np.isfinite(kept["psf_fwhm_arcsec"].values))
    row, band = absent[0] if absent.size else (0, 0)
    dark = kept.copy(deep=True)
    dark["psf_fwhm_arcsec"].values[row, band] = np.nan
    dark["arc"].values[row, band] = kept["arc"].values[row, 1]
    found = rendering(dark)
    assert np.isinf(found["error"][0, band]) and np.isinf(found["flux_error"][0, band])
    assert next(f for f in findings({"rendering": found}) if f.check == "their flux").status is Status.ALARM


def test_what_is_not_compared_is_said(kept):
    few = kept.drop_attrs()
    found = rendering(few)
    assert np.isnan(found["error"]).all() and "do not say psf_model" in found.attrs["why"]
    (judged,) = findings({"rendering": found})
    assert judged.status is Status.NOT_TESTED
    assert replace(compare(few, ORIGIN), n_images=3).result(few).attrs["n_images"] == 3


def rounded(run, quantize, injection=None, **store):
    """Pairs as they are stored with these settings, and what they were made from."""
    config = run.config.model_copy(update={"injection": injection or run.injection})
    settings = StoreConfig(quantize=quantize, **store)
    pairs = type(run)(run.hosts, run.manifest, config).pairs()
    stored = as_stored(pairs, run.hosts, run.manifest, settings)
    pairs = pairs.assign({k: stored[k] for k in ("stamp", "ctrl", "arc", "quantize_step_nmgy")})
    return pairs, Origin(run.hosts, config.injection, settings)


@pytest.mark.parametrize("mask", [0.0, 7.0])
@pytest.mark.parametrize("quantize", ["sky/16", "sky/8"])
@pytest.mark.parametrize("seed", [5, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (6, 7, 8))])
def test_sound_arcs_that_were_rounded_raise_no_alarm_and_a_changed_one_does(seed, quantize, mask, quick):
    run = small_run(10, 3, seed)
    injection = run.injection.model_copy(update={"core_mask_radius_pix": mask})
    pairs, origin = rounded(run, quantize, injection)
    found = Rerendered.from_block(Block(pairs, origin=origin))
    assert np.nanmax(found.excess) == 0
    lazily = Rerendered.from_block(Block(pairs, origin=replace(origin, hosts=None)))
    assert np.nanmax(lazily.excess) == 0
    arc = np.roll(pairs["arc"].values, 1, axis=3)
    moved = pairs.assign(arc=(pairs["arc"].dims, arc))
    assert (Rerendered.from_block(Block(moved, origin=origin)).excess > 1).any(axis=1).all()


@pytest.mark.slow
def test_the_slow_reference_knows_the_rounding_too(run):
    pairs, origin = rounded(run, "sky/1", quantize_arc="sky/1")
    kept = specimens_of(with_arc_steps(pairs, origin)).rows
    (error,) = compare(kept, origin).result(kept, origin)["reference_error"].values
    blind = kept.drop_vars("arc_step_nmgy")
    (raw,) = compare(blind, origin).result(blind, origin)["reference_error"].values
    assert error < 1e-3 < raw


def test_steps_that_nobody_can_know_are_said(run):
    pairs, origin = rounded(run, "sky/16", quantize_arc="sky/24")
    assert np.nanmax(Rerendered.from_block(Block(pairs, origin=origin)).excess) == 0
    blind = replace(origin, hosts=None)
    assert "need the hosts" in Rerendered.from_block(Block(pairs, origin=blind)).why


@pytest.mark.slow
def test_a_checkerboard_in_arc_and_stamp_alike_is_noticed_from_a_hundred_thousandth_of_the_peak_on(run, pairs, quick):
    y, x = np.mgrid[:64, :64]
    arc = pairs["arc"].values
    leak = 2e-5 * arc.max(axis=(2, 3), keepdims=True) * (-1.0) ** (x + y) * (arc != 0)
    both = {k: (pairs[k].dims, (pairs[k].values + leak).astype(np.float32)) for k in ("arc", "stamp")}
    found = findings(measure(Block(pairs.assign(both), CONFIG, run.origin)).results(Settings(CONFIG, 1, run.injection)))
    assert ("rendering", "stored arcs rendered again") in {
        (f.diagnostic, f.check) for f in found if f.status is Status.ALARM
    }


def test_a_fault_in_half_a_percent_of_the_rows_is_in_the_sample_with_99_percent():
    assert SAMPLE == 919
    draw, rows = np.random.default_rng(0), 20_000
    row_id = rng.mix_ids(np.arange(rows, dtype=np.uint64), np.uint64(3))
    control = np.arange(rows) % 7 == 0
    limit = last_key(row_id, control)
    chosen = (keys_of(row_id) <= np.uint64(limit)) & ~control
    assert chosen.sum() == SAMPLE
    lit = np.flatnonzero(~control)
    hits = [chosen[draw.choice(lit, round(0.005 * lit.size), replace=False)].any() for _ in range(1000)]
    assert np.mean(hits) > 0.98
    assert last_key(row_id[:900], control[:900]) is None


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.005])
@pytest.mark.parametrize(
    "change", [lambda a: np.roll(a, 1, axis=-1), lambda a: a[..., ::-1]], ids=["moved", "mirrored"]
)
def test_wrong_arcs_in_a_few_rows_are_noticed(change, share, quick):
    run = small_run(60, 25, seed=11)
    pairs = run.pairs()
    lit = np.flatnonzero(~pairs["is_control"].values)
    bad = np.random.default_rng(1).choice(lit, round(share * lit.size), replace=False)
    both = {}
    for k in ("arc", "stamp"):
        values = pairs[k].values.copy()
        ctrl = pairs["ctrl"].values[bad] if k == "stamp" else 0
        values[bad] = change(values[bad] - ctrl) + ctrl  # the noise goes with the arc
        both[k] = (pairs[k].dims, values)
    origin = replace(run.origin, last_key=last_key(pairs["row_id"].values, pairs["is_control"].values))
    found = measure(Block(pairs.assign(both), CONFIG, origin)).results(Settings(CONFIG, 1, run.injection))
    assert int(found["rendering"]["n_rendered"]) == SAMPLE < int(found["rendering"]["n_injections"])
    assert {"rendering", "recompute"} <= set(alarms(findings(found)))
