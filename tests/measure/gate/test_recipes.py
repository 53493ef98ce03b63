"""What each kind of gate looks at, on stamps where the answer is known."""

import numpy as np
import pytest

from lensflow import geometry
from lensflow.config.checks import GATE_KINDS, GATE_VIEWS, RAW_ONLY, UNPAIRED, GateConfig, parse_recipe
from lensflow.errors import GateError
from lensflow.measure.gate.recipes import MEANS, Recipe, reduce_pixels, sky, view_of

SIZE = 64
MIDDLE = geometry.centre(SIZE)
R = geometry.radius_pix(SIZE, MIDDLE, MIDDLE)
NOISE = np.random.default_rng(0).normal(size=(4, 2, SIZE, SIZE)).astype(np.float32)
WIDTHS = {"core": 100, "annulus": None, "ring": 24, "edge": 28, "corners": 64, "stamp": 64, "brightness": 1,
          "profile": 25, "azimuth": 12, "power": 33, "noise": 2}  # fmt: skip


def numbers(kind, pixels=NOISE):
    return reduce_pixels(np.asarray(pixels, np.float32), [kind], 10)[kind]


@pytest.mark.parametrize("kind", [k for k in GATE_KINDS if k not in ("colour", *UNPAIRED)])
def test_every_kind_gives_finite_features_of_its_own_size(kind):
    found = numbers(kind)
    assert found.shape[:2] == (4, 2) and found.dtype == np.float32
    assert np.isfinite(found).all()
    if WIDTHS[kind]:
        assert found.shape[2] == WIDTHS[kind]


@pytest.mark.parametrize("kind", MEANS)
def test_a_constant_moves_every_mean_by_itself(kind):
    np.testing.assert_allclose(numbers(kind, NOISE + 2) - numbers(kind), 2, atol=1e-5)


def seen_by(kind):
    """Pixels that change a linear kind's features, one by one."""
    probes = np.eye(SIZE * SIZE, dtype=np.float32).reshape(-1, 1, SIZE, SIZE)
    return np.abs(numbers(kind, probes)).sum(axis=(1, 2)).reshape(SIZE, SIZE) > 1e-7


def test_regions_are_where_their_names_say():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    box = np.zeros((SIZE, SIZE), bool)
    box[27:37, 27:37] = True
    rim = np.minimum(np.minimum(rows, SIZE - 1 - rows), np.minimum(columns, SIZE - 1 - columns))
    np.testing.assert_array_equal(seen_by("core"), box)
    np.testing.assert_array_equal(seen_by("edge"), rim < 2)
    np.testing.assert_array_equal(seen_by("brightness"), R < 5)
    np.testing.assert_array_equal(seen_by("azimuth"), (R >= 2) & (R < 10))
    np.testing.assert_array_equal(seen_by("profile"), R < 25)
    np.testing.assert_array_equal(seen_by("ring"), (R >= 29) & (R < 32))
    assert seen_by("stamp").all()
    corners = seen_by("corners")
    assert corners.sum() == 4 * 64 and corners[:8, :8].all() and corners[-8:, :8].all()
    outer = seen_by("annulus")
    assert (R[outer] >= 20).all() and outer.sum() > 0.6 * (R >= 20).sum()


def test_azimuth_sees_a_lopsided_galaxy_and_no_round_one():
    x, _ = geometry.pixel_grid(SIZE)
    round_one = np.exp(-R / 4)[None, None]
    assert np.abs(numbers("azimuth", round_one)).max() < 0.02
    lopsided = numbers("azimuth", round_one * (1 + 0.3 * np.sign(x - MIDDLE)))[0, 0]
    assert lopsided[0] > 0.02 > -0.02 > lopsided[6]


def test_power_sees_smoothing_and_noise_sees_its_level():
    smooth = (NOISE + np.roll(NOISE, 1, axis=-1)) / 2
    assert (numbers("power", smooth)[..., 25:] < numbers("power")[..., 25:] - 0.1).all()
    np.testing.assert_allclose(numbers("noise", 10 * NOISE) - numbers("noise"), 1, atol=1e-3)
    np.testing.assert_allclose(10 ** numbers("noise")[..., 0], 1, atol=0.08)
    np.testing.assert_allclose(10 ** numbers("noise")[..., 1], np.sqrt(2), atol=0.12)


def test_robust_and_asinh_views_take_out_level_and_scale():
    for view in ("robust", "asinh"):
        np.testing.assert_allclose(view_of(3 * NOISE + 7, view), view_of(NOISE, view), atol=1e-4)
    median, sigma = sky(view_of(NOISE, "robust"))
    np.testing.assert_allclose(median, 0, atol=1e-6)
    np.testing.assert_allclose(sigma, 1, atol=1e-5)
    assert view_of(NOISE, "raw") is NOISE
    assert np.isnan(view_of(np.ones((1, 1, SIZE, SIZE), np.float32), "robust")).all()


def test_brightness_has_no_colour_and_colour_has_no_brightness():
    bright, colour = (Recipe.of(n, ("g", "r")) for n in ("brightness_all", "colour_all"))
    assert bright.source == colour.source == "brightness_raw"
    softening = np.array([0.01, 0.01])
    flux = np.array([[[1.0], [3.0]], [[3.0], [1.0]], [[2.0], [6.0]]])
    np.testing.assert_allclose(bright.features(flux, softening), [[4], [4], [8]])
    found = colour.features(flux, softening)[:, 0]
    assert found[0] == pytest.approx(found[2], abs=1e-3) and found[0] == pytest.approx(np.log(3), abs=1e-3)


def test_names_are_kind_band_and_view():
    assert parse_recipe("core_all") == ("core", "all", "raw", "linear")
    assert parse_recipe("annulus_r_robust") == ("annulus", "r", "robust", "linear")
    assert parse_recipe("core_all_robust+trees") == ("core", "all", "robust", "trees")
    assert Recipe.of("core_r", ("i", "y")).bands == (0,)  # the first where there is no r
    assert Recipe.of("core_z", ("g", "r", "z")).bands == (2,)
    for wrong, message in {
        "core": "name a band",
        "cor_all": "Did you mean 'core'",
        "power_all_robust": "raw",
        "core_r+tree": "Did you mean 'trees'",
        "core_r+linear": "default",
        "core_r+": "no estimator",
    }.items():
        with pytest.raises(GateError, match=message):
            Recipe.of(wrong, ("g",))


def test_every_kind_and_view_of_the_config_can_be_run():
    for kind in GATE_KINDS:
        for view in GATE_VIEWS:
            # others than pairs of stamps: see test_metadata, test_hosts
            if kind not in UNPAIRED and (view == "raw" or kind not in RAW_ONLY):
                name = f"{kind}_all_{view}"
                recipe = Recipe.of(name, ("g", "r"))
                pixels = reduce_pixels(view_of(NOISE, view), [recipe.source.split("_")[0]], 10)
                found = recipe.features(next(iter(pixels.values())), np.ones(2))
                unit, _ = recipe.leak_unit(found, np.array([0.5, 2.0]))
                assert np.isfinite(found).all() and unit.shape == (found.shape[1],), name


@pytest.mark.parametrize("kind", ["core", "brightness"])
def test_a_known_leak_of_the_robust_view_is_that_of_pixels_before_the_view(kind):
    """A constant where the gate looks moves features by itself; one in all pixels is taken out, and that is said."""
    recipe = Recipe.of(f"{kind}_all_robust", ("g", "r"))
    sigma = sky(NOISE)[1]

    def features(pixels):
        return recipe.features(numbers(kind, view_of(pixels.astype(np.float32), "robust")), np.ones(2))

    unit, words = recipe.leak_unit(features(NOISE), np.ones(2))
    inside = NOISE + sigma[..., None, None] * (R < geometry.ANNULUS_INNER_PIX)
    np.testing.assert_allclose(features(inside) - features(NOISE), np.broadcast_to(unit, (4, unit.size)), atol=1e-4)
    np.testing.assert_allclose(features(NOISE + 3 * sigma[..., None, None]), features(NOISE), atol=1e-4)
    assert "to the pixels that the gate looks at" in words and "this view takes out" in words


@pytest.mark.parametrize("kind", ["annulus", "edge", "corners", "ring", "stamp", "profile"])
def test_gates_of_the_sky_claim_no_power_for_a_constant_that_their_view_takes_out(kind):
    recipe = Recipe.of(f"{kind}_all_robust", ("g", "r"))
    found = recipe.features(numbers(kind, view_of(NOISE, "robust")), np.ones(2))
    words = recipe.leak_unit(found, np.ones(2))[1]
    assert "a constant" not in words and "this view takes out" in words
    assert (
        recipe.leak_unit(found, np.ones(2))[1] != Recipe.of(f"{kind}_all", ("g", "r")).leak_unit(found, np.ones(2))[1]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipes": ("coer_all",)}, "Did you mean 'core'"),
        ({"recipes": ()}, "at least 1"),
        ({"advisory": ("core_r",)}, "named twice"),
        ({"max_auc": 0.5}, "greater than 0.5"),
        ({"max_auc": 1.2}, "less than or equal to 1"),
        ({"max_auc_of": {"core_r": 0.4}}, "above 0.5"),
        ({"max_auc_of": {"edge_all": 0.7}}, "no gate 'edge_all'"),
    ],
)
def test_wrong_settings_are_errors_that_say_what(settings, message):
    with pytest.raises(ValueError, match=message):
        GateConfig(**settings)
