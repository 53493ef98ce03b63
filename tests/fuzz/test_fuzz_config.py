"""Thousands of broken configs: each is a valid config or a ConfigError that names the setting."""

import copy
import math
from importlib import resources

import numpy as np
import pytest
import yaml

from lensflow.config import RunConfig, load_config
from lensflow.errors import ConfigError

DEMO = yaml.safe_load((resources.files("lensflow") / "configs" / "demo.yaml").read_text())
WHOLE = load_config(DEMO).effective()
VALUES = [None, "", "yes", "nan", True, -1, 0, 1, 7, 10**12, 10**400, 0.5, -0.5, math.nan, math.inf, -math.inf, [], {}]
VALUES += [[1], ["r"], ["r", "r"], {"g": 1}, {"g": "one"}, {1: 2}, [[1, 2], 3], "../../etc", "\x00", "é" * 300]


def leaves(tree, path=()):
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


PATHS = list(leaves(WHOLE))


def mutated(rng):
    """The demo's whole config with one to three settings removed, renamed or replaced."""
    tree = copy.deepcopy(WHOLE)
    for _ in range(rng.integers(1, 4)):
        *above, last = PATHS[rng.integers(len(PATHS))]
        section = tree
        for key in above:
            section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            continue
        kind = rng.integers(3)
        if kind == 0:
            del section[last]
        elif kind == 1:
            letters = list(last)
            letters[rng.integers(len(letters))] = "x"
            section["".join(letters)] = section.pop(last)
        else:
            section[last] = VALUES[rng.integers(len(VALUES))]
    return tree


@pytest.mark.parametrize("cases", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_broken_config_is_a_config_error_or_a_config(cases):
    valid = 0
    for seed in range(cases):
        tree = mutated(np.random.default_rng(seed))
        try:
            config = load_config(tree)
        except ConfigError as error:
            assert "wrong setting" in str(error) or "not set" in str(error), seed
            continue
        assert isinstance(config, RunConfig), seed
        assert load_config(yaml.safe_load(config.to_yaml())) == config, seed
        valid += 1
    assert 0 < valid < cases


@pytest.mark.parametrize("cases", [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_garbled_file_is_a_config_error(cases, tmp_path):
    text = yaml.safe_dump(WHOLE).encode()
    file = tmp_path / "run.yaml"
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        garbled = bytearray(text)
        for _ in range(rng.integers(1, 6)):
            garbled[rng.integers(len(garbled))] = rng.integers(256)
        if rng.random() < 0.3:
            del garbled[rng.integers(len(garbled)) :]
        file.write_bytes(garbled)
        try:
            load_config(file)
        except ConfigError as error:
            assert "run.yaml" in str(error), seed
