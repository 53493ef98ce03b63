from pathlib import Path

import pytest
import yaml

from lensflow import config as module
from lensflow.config import RunConfig, fingerprint, load_config
from lensflow.errors import ConfigError

BASE = {"out": "runs/x", "survey": {"root": "s", "targets": "t.csv"}}


def load(**changes):
    return load_config({**BASE, **changes})


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(ConfigError, match=r"survey\.stmp_size: no such setting\. Did you mean 'stamp_size'\?"):
        load(survey={**BASE["survey"], "stmp_size": 64})


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(ConfigError) as error:
        load(seeed=3, plan={"src_n": "many"}, gate={"max_auc": 2})
    assert all(name in str(error.value) for name in ("seeed", "plan.src_n", "gate.max_auc", "3 wrong setting(s)"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"survey": {**BASE["survey"], "stamp_size": 0}}, "survey.stamp_size"),
        ({"survey": {}}, "exactly one of root, stamps, synthetic"),
        ({"bands": ["g", "g"]}, "named twice"),
        ({"bands": []}, "bands"),
        ({"plan": {"theta_e_arcsec": [0.0]}}, "plan.theta_e_arcsec"),
        ({"plan": {"src_mag_range": {"min": 26, "max": 23}}}, "rising order"),
        ({"splits": {"fractions": [0.5, 0.2, 0.2]}}, "sum to 1"),
        ({"store": {"samples_per_region": 100, "inner_chunk": 16}}, "multiple of inner_chunk"),
        ({"cluster": {"kind": "address"}}, "address is needed"),
        ({"seed": -1}, "seed"),
        ({"injection": {"noise": "perhaps"}}, "injection.noise"),
        ({"survey": {"synthetic": {"n_bricks": float("nan")}}}, "n_bricks"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        load(**changes)


def test_the_effective_config_reads_back_to_the_same_config(tmp_path):
    config = load(plan={"preset": "small"})
    path = tmp_path / "run.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


def test_environment_variables_are_filled_in_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LENSFLOW_TEST_ROOT", "/somewhere")
    assert load(out="${LENSFLOW_TEST_ROOT}/x").out == "/somewhere/x"
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        load(out="${NOT_SET_ANYWHERE}/x")


@pytest.mark.parametrize("text", ["- a list", "a: [1", "just words"])
def test_a_file_that_is_no_config_is_refused_by_name(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(path)


def test_a_missing_file_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config("nowhere.yaml")


def test_a_stage_depends_on_its_own_settings_and_those_before_it():
    a, b = load(), load(injection={"gain": "exposure", "exposure_time_s": {"g": 90, "r": 90, "z": 90}})
    assert a.settings_of("cutouts") == b.settings_of("cutouts")
    assert a.settings_of("manifest") == b.settings_of("manifest")
    assert a.settings_of("pairs") != b.settings_of("pairs")
    assert load(gate={"required": False}).settings_of("gates") == a.settings_of("gates")
    assert load(cluster={"workers": 7}).settings_of("pairs") == a.settings_of("pairs")


def test_fingerprint_is_of_values_not_of_key_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})


def test_defaults_of_every_setting_are_documented():
    text = module.markdown()
    for name in RunConfig.model_fields:
        assert name in text
    assert Path(__file__).parents[1].joinpath("docs/config.md").read_text() == text, "run make docs"


def test_configs_that_ship_with_the_project_are_valid(monkeypatch):
    monkeypatch.setenv("LENSFLOW_BUCKET", "some-bucket")
    root = Path(__file__).parents[1]
    files = [*root.glob("workflows/configs/*.yaml"), *root.glob("lensflow/configs/*.yaml")]
    assert files
    for file in files:
        load_config(yaml.safe_load(file.read_text()))
