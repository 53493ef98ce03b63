"""A preset is its values under a name: what it selects is what the same values select when they are written out."""

import pytest
from pydantic import ValidationError

from lensflow.config import load_config, presets
from lensflow.config.plan import PlanConfig
from lensflow.config.presets import KINDS, Priors
from lensflow.errors import ConfigError

SURVEY = {"root": "s", "targets": "t.csv"}


def load(section, **settings):
    trees = {"survey": dict(SURVEY), "plan": {}, "splits": {}}
    trees[section] |= settings
    return load_config({"out": "runs/x", **trees})


@pytest.mark.parametrize(("setting", "name"), [(s, n) for s, kind in KINDS.items() for n in kind.names()])
def test_every_preset_can_be_named_and_says_where_its_numbers_come_from(setting, name):
    section, key = setting.split(".")
    assert getattr(getattr(load(section, **{key: name}), section), key) == name
    assert KINDS[setting].named(name) is not None and len(KINDS[setting].comment(name)) > 40


@pytest.mark.parametrize("name", Priors.names())
def test_the_values_of_a_preset_written_out_draw_what_its_name_draws(name):
    values = {k: v for k, v in Priors.named(name).model_dump().items() if v is not None}
    for other in Priors.names():
        if len(values) == len(Priors.model_fields) or other == name:
            assert PlanConfig(preset=other, **values).priors == PlanConfig(preset=name).priors


@pytest.mark.parametrize(
    ("section", "key", "value", "nearest"),
    [
        ("plan", "preset", "historc", "historic"),
        ("plan", "colours", "uv_slop", "uv_slope"),
        ("survey", "selection", "v2_baseline_dr9", "v2_baseline_dr10"),
        ("survey", "mask_bits", "historic", "historic_r"),
        ("splits", "rule", "xxhash", "xxhash64"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all_others(section, key, value, nearest):
    with pytest.raises(
        ConfigError, match=rf"{section}\.{key}: no .*preset '{value}'. Did you mean '{nearest}'\? One of"
    ):
        load(section, **{key: value})


@pytest.mark.parametrize("text", ["bits: [0, one]", "bit: [0]", "bits: [0", "- 0", ""])
def test_a_preset_that_cannot_be_read_is_refused_by_its_file(tmp_path, monkeypatch, text):
    monkeypatch.setattr(presets, "ROOT", tmp_path)
    (tmp_path / "mask_bits").mkdir()
    (tmp_path / "mask_bits" / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"own\.yaml"):
        presets.MaskBits.named("own")


def test_a_dmag_or_theta_e_of_ones_own_is_drawn_where_the_preset_computes():
    own = PlanConfig(dmag=(1.0,), theta_e_arcsec=(1.0,)).priors
    assert (own.src_mag, own.theta_e_from) == ("lens_plus_dmag", "prior")
    kept = PlanConfig(dmag=(1.0,), src_mag="apparent", theta_e_arcsec=(1.0,), theta_e_from="host").priors
    assert (kept.src_mag, kept.theta_e_from) == ("apparent", "host")
    with pytest.raises(ValidationError, match="lens_plus_dmag needs dmag; preset: realistic has none"):
        PlanConfig(src_mag="lens_plus_dmag")
