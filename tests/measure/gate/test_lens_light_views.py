"""Gates on stamps without the light of their lenses: the view is made of each image alone, so it tells no class."""

import numpy as np
import pytest

from lensflow.config import GateConfig
from lensflow.measure.gate import feature_rows
from lensflow.measure.gate.features import features_of
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.verdicts import Verdict
from lensflow.measure.gates import run_gates
from lensflow.measure.lens_light import LIGHT, subtract, without_light

BANDS = ("g", "r", "z")
RECIPES = tuple(f"{kind}_all_{light}" for light in LIGHT for kind in ("core", "azimuth", "colour"))


@pytest.fixture(scope="module")
def some(pairs):
    return pairs.isel(sample=slice(0, 48))


def lit_rows(pairs):
    return np.flatnonzero(~pairs["is_control"].values)


@pytest.mark.parametrize("light", LIGHT)
def test_controls_through_the_view_are_their_hosts_own_residuals(run, some, light):
    found = features_of(feature_rows(some, [f"core_all_{light}"], 10), f"core_{light}")
    rows = lit_rows(some)
    hosts = some["host_index"].values[rows]
    x, y = (some[name].values[rows] for name in ("x_center", "y_center"))
    image = run.hosts["image"].values[hosts]
    own = subtract(np.where(run.hosts["invvar"].values[hosts] > 0, image, np.nan), light, x, y)
    own = np.nan_to_num(own).astype(np.float32)[:, :, 27:37, 27:37].reshape(len(rows), 3, 100)
    np.testing.assert_array_equal(found.ctrl, own)
    # The stamp's is that of the stamp, by the same function.
    stamp = without_light(some["stamp"].values[rows], light, x, y, some["has_data"].values[rows])
    np.testing.assert_array_equal(found.stamp, stamp[:, :, 27:37, 27:37].reshape(len(rows), 3, 100))


def test_a_stamp_that_is_its_control_is_so_in_every_view(some):
    same = some.assign(stamp=some["ctrl"])
    block = feature_rows(same, RECIPES, 10)
    for name in RECIPES:
        found = features_of(block, Recipe.of(name, BANDS).source)
        np.testing.assert_array_equal(found.stamp, found.ctrl)


def test_nothing_but_pixels_and_the_hosts_position_is_read(some):
    n = some.sizes["sample"]
    other = some.assign(
        {k: ("sample", np.roll(some[k].values, 7)) for k in ("src_x_arcsec", "src_reff_arcsec", "lens_q")}
    )
    other = other.assign(theta_e_arcsec=("sample", np.ones(n)), arc=0 * some["arc"])
    one, two = (feature_rows(v, RECIPES, 10) for v in (some, other))
    for light in LIGHT:
        for kind in ("stamp", "ctrl"):
            source = f"core_{light}.{kind}"
            np.testing.assert_array_equal(one[source], two[source])


def test_pixels_without_data_are_0_in_both_classes(some):
    found = feature_rows(some, ["core_all_radial"], 10)
    # Every sixth host has no g.
    absent = ~some["has_data"].values[lit_rows(some), 0].any(axis=(1, 2))
    core = features_of(found, "core_radial")
    assert absent.any() and not core.stamp[absent, 0].any() and not core.ctrl[absent, 0].any()
    assert np.isfinite(core.stamp).all() and core.stamp[~absent, 0].any()


@pytest.mark.slow
def test_gates_on_the_views_run_as_all_others_and_find_the_arcs(run, pairs):
    config = GateConfig(recipes=("core_r_radial", "core_r_smooth"), checks=(), bootstrap=50)
    block = feature_rows(pairs, config.every, config.core_box_pix)
    for result in run_gates(block, config, BANDS, 1):
        assert result.verdict in (Verdict.FAIL, Verdict.EXPLAINED) and result.area.value > 0.8, result.reason
        assert result.controls["null"], result.name
    same = feature_rows(pairs.assign(stamp=pairs["ctrl"]), config.every, config.core_box_pix)
    for result in run_gates(same, config, BANDS, 1):
        assert result.verdict is Verdict.NOT_TESTABLE and "the same in every" in result.reason


def test_no_power_is_claimed_for_a_constant_that_the_view_takes_out():
    found = np.random.default_rng(1).normal(size=(50, 100))
    _, words = Recipe.of("core_r_radial", BANDS).leak_unit(found, np.ones(3))
    assert "the same all around the target" in words
