"""A sweep as it is asked: values are YAML, one setting is replaced and no other."""

import pytest

from lensflow.config.sweep import Levels, differing_settings, label_of, levels_of, parse_levels, value_of, with_setting
from lensflow.errors import ConfigError
from tests.factories import make_config


@pytest.mark.parametrize(
    ("text", "setting", "values"),
    [
        ("injection.noise=true,false", "injection.noise", (True, False)),
        ("store.quantize=sky/16, none", "store.quantize", ("sky/16", "none")),
        ("plan.src_n={min: 0.5, max: 4},1", "plan.src_n", ({"min": 0.5, "max": 4}, 1)),
        ("plan.src_n=[1, 4]", "plan.src_n", ([1, 4],)),
        ("none", "none", ()),
    ],
)
def test_values_are_yaml(text, setting, values):
    assert parse_levels(text) == Levels(setting, values)


@pytest.mark.parametrize("text", ["injection.noise", "=1,2", "plan.src_n=", "plan.src_n={min: 1"])
def test_what_is_no_factor_is_refused(text):
    with pytest.raises(ConfigError):
        parse_levels(text)


def test_a_notebook_gives_a_mapping_or_the_text():
    want = [Levels("injection.noise", (True, False))]
    assert levels_of("injection.noise=true,false") == levels_of({"injection.noise": [True, False]}) == want
    assert levels_of(["a=1,2", "b=3,4"]) == [Levels("a", (1, 2)), Levels("b", (3, 4))]


def test_labels_are_names_of_folders():
    assert [label_of(v) for v in (True, "sky/16", 0.5, -1, {"min": 1, "max": 2}, None, "..", "")] == [
        "true", "sky-16", "0.5", "-1", "min-1-max-2", "null", "empty", "empty",
    ]  # fmt: skip


def test_one_setting_is_replaced_and_no_other():
    config = make_config()
    for setting, value in (("injection.noise", False), ("plan.src_n", 4), ("injection.sky_mag_arcsec2.r", 20.5)):
        made = with_setting(config, setting, value, out="elsewhere")
        assert differing_settings(config, made) == [setting] and made.out == "elsewhere"
    assert value_of(with_setting(config, "plan.src_n", 4), "plan.src_n") == [4.0]
    changed = differing_settings(config, with_setting(config, "plan.src_n", {"min": 1, "max": 2}))
    assert {k.rpartition(".")[0] for k in changed} <= {"plan", "plan.src_n"} and "plan.src_n.min" in changed


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("injection.nois", 1, "Did you mean 'noise'"),
        ("injektion.noise", True, "injektion is no setting"),
        ("plan.sources.share", 0, "plan.sources is not set"),
        ("injection.noise", "perhaps", "injection.noise"),
        ("plan.src_n", -3, "plan.src_n"),
    ],
)
def test_settings_and_values_that_are_none_are_refused(setting, value, said):
    with pytest.raises(ConfigError, match=said):
        with_setting(make_config(), setting, value)
