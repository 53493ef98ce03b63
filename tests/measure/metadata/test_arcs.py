"""The same arc in many rows is found by its pixels, whatever the manifest says; sound arcs are as diverse as a plan."""

from dataclasses import replace

import numpy as np
import pytest

from lensflow.config import InjectionConfig, RunConfig
from lensflow.injection.rounding import ARC, round_pixels
from lensflow.manifest.build import build_manifest
from lensflow.measure.metadata.arcs import _diversity, arc_findings, arc_images, render_arcs
from lensflow.measure.pixels import Status
from lensflow.measure.zoo.small_run import small_run

OWN, DIVERSE = "arcs are their rows' own", "arcs' images are diverse"
SCALE = 0.262


@pytest.fixture(scope="module")
def run():
    return small_run(40, 4)


@pytest.fixture(scope="module")
def pairs(run):
    found = run.pairs()
    return found.isel(sample=~found["is_control"].values)


@pytest.fixture(scope="module")
def redrawn(run):
    return drawn_again(run.hosts, run.config, 77)


def drawn_again(hosts, config, seed):
    rows = build_manifest(hosts, config.model_copy(update={"seed": seed}))
    return render_arcs(rows.isel(sample=~rows["is_control"].values), config, SCALE, None)


def judged(pairs, redrawn, arc=None):
    block = pairs if arc is None else pairs.assign(arc=(pairs["arc"].dims, arc.astype("f4")))
    return {f.check: f for f in arc_findings(arc_images(block, None).rows, redrawn)}


def test_sound_arcs_are_as_diverse_as_those_of_a_second_draw(pairs, redrawn):
    found = judged(pairs, redrawn)
    assert {k: f.status for k, f in found.items()} == {OWN: Status.OK, DIVERSE: Status.OK}
    assert found[DIVERSE].value < 0.5 * found[DIVERSE].limit


def one_arc_for(pairs, share, scaled=False):
    """Give the first row's arc to a share of the rows; the manifest says nothing of it."""
    arc = pairs["arc"].values.copy()
    rows = np.flatnonzero(np.random.default_rng(1).random(len(arc)) < share)
    whole = int(np.argmax((arc != 0).any(axis=(2, 3)).all(axis=1)))
    factor = np.random.default_rng(2).uniform(0.3, 3, len(rows)) if scaled else np.ones(len(rows))
    arc[rows] = arc[whole] * factor[:, None, None, None]
    return arc


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_same_pixels_in_many_rows_are_found(pairs, redrawn, share):
    found = judged(pairs, redrawn, one_arc_for(pairs, share))
    assert {f.status for f in found.values()} == {Status.ALARM}
    assert found[OWN].value > 0.5 * share * pairs.sizes["sample"]
    assert found[OWN].where.startswith("row ids ")


def test_the_same_arc_at_another_brightness_in_each_row_is_found(pairs, redrawn):
    found = judged(pairs, redrawn, one_arc_for(pairs, 0.1, scaled=True))
    assert (found[OWN].status, found[DIVERSE].status) == (Status.OK, Status.ALARM)
    assert "% within 0.05, 0 % of a second draw" in found[DIVERSE].where


def test_rows_of_one_lens_and_source_may_have_the_same_pixels(pairs, redrawn):
    twice = pairs.isel(sample=[0, 1, 2, 1])
    assert judged(twice, "no second draw")[OWN].status is Status.OK
    other = twice.copy(deep=True)
    other["shear"].values[3] += 0.01
    assert judged(other, "no second draw")[OWN].value == 1


def test_what_cannot_be_compared_says_why(pairs, redrawn):
    assert judged(pairs, "no second draw")[DIVERSE].text == "no second draw"
    few = judged(pairs.isel(sample=slice(0, 8)), redrawn)[DIVERSE]
    assert few.status is Status.NOT_TESTED and "at least 30 of 12" in few.text


def test_blocks_join_and_rows_beyond_the_sample_keep_their_bits_alone(pairs, redrawn):
    first, second = (arc_images(pairs.isel(sample=part), None) for part in (slice(0, 60), slice(60, None)))
    joined, whole = (first + second).rows, arc_images(pairs, None).rows
    assert joined.drop_vars("image").identical(whole.drop_vars("image"))
    np.testing.assert_allclose(joined["image"], whole["image"], atol=1e-5)
    sampled = arc_images(pairs, 2**63).rows
    assert 0.2 < sampled.sizes["imaged"] / whole.sizes["imaged"] < 0.8
    assert np.array_equal(sampled["bits"], whole["bits"])
    assert np.isin(sampled["image_row_id"], whole["image_row_id"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("plan", [{}, {"preset": "realistic"}, {"design": "low_discrepancy"}])
def test_forty_sound_draws_raise_no_alarm(run, plan):
    tree = run.config.effective()
    if "preset" in plan:
        tree["plan"] = {"injections_per_host": 4}
    tree["plan"] |= plan
    config = RunConfig.model_validate(tree)
    sets = [drawn_again(run.hosts, config, seed) for seed in range(10)]
    found = [_diversity(a, b) for a in sets for b in sets if a is not b][:40]
    assert all(f.status is Status.OK for f in found)
    assert max(f.value / f.limit for f in found) < 0.7


@pytest.mark.slow
def test_masked_arcs_are_as_diverse_as_masked_ones_of_a_second_draw(run):
    masked = run.config.model_copy(update={"injection": InjectionConfig(core_mask_radius_pix=7.0)})
    mine = replace(run, config=masked).pairs()
    found = judged(mine.isel(sample=~mine["is_control"].values), drawn_again(run.hosts, masked, 3))
    assert {f.status for f in found.values()} == {Status.OK}


def test_rounded_arcs_are_no_copies_and_copies_are_found_though_rounded(run, pairs, redrawn):
    sky = run.hosts["invvar"].values.max(axis=(2, 3))[pairs["host_index"].values]
    step = np.where(sky > 0, 1 / np.sqrt(np.maximum(sky, 1e-9)) / 16, 0).astype("f4")
    ids = pairs["row_id"].values

    def rounded(arc):
        return round_pixels(arc.astype("f4"), step, ids, 5, ARC)

    assert {f.status for f in judged(pairs, redrawn, rounded(pairs["arc"].values)).values()} == {Status.OK}
    found = judged(pairs, redrawn, rounded(one_arc_for(pairs, 0.3)))
    assert found[DIVERSE].status is Status.ALARM
