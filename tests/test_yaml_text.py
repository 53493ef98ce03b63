"""A config's YAML: what it says is what is read, or an error names the place."""

import itertools

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lensflow.config import load_config
from lensflow.config.survey import SYNTHETIC_BANDS
from lensflow.config.yaml_text import MAX_BYTES, MAX_DEPTH, parse_yaml
from lensflow.errors import ConfigError
from lensflow.store.run_folder import config_of
from lensflow.survey.synthetic import sky as synthetic_sky

BASE = "out: runs/x\nsurvey: {root: /d, targets: t.csv}\n"


def refusal(path, text):
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 2000
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("plan: {}\nseed: 1\nplan: {}\n", "plan", (3, 5)),
        ("seed: 1\n'seed': 1\n", "seed", (3, 4)),
        ("plan:\n  lens_model: SIE\n  lens_model: SIE\n", "lens_model", (4, 5)),
        ("gate: {folds: 3, folds: 4}\n", "folds", (3, 3)),
        ("survey: {}\n", "survey", (2, 3)),
        ("plan: {<<: {max_rows: 5}, <<: {max_rows: 6}}\n", "<<", (3, 3)),
        ("store: &s {inner_chunk: 8, inner_chunk: 8}\n", "inner_chunk", (3, 3)),
    ],
)
def test_a_key_given_twice_is_named_with_both_lines(tmp_path, text, key, lines):
    said = refusal(tmp_path / "c.yaml", BASE + text)
    assert f"'{key}' is given twice, in line {lines[0]} and line {lines[1]}" in said


def test_a_merged_mapping_may_still_be_overridden():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: *a, x: 4}\n"
    assert parse_yaml(text, "t") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 2}}


def bomb(width=9, depth=9):
    names = [f"a{k}" for k in range(depth)]
    first = f"a0: &a0 [{', '.join('x' * width)}]\n"
    return first + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * width)}]\n" for a, b in itertools.pairwise(names))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "values, counted with its aliases"),
        ("out: &o [*o]\n", "contains itself"),
        ("plan: &p\n  a: {b: *p}\n", "contains itself"),
        ("out: " + "[" * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("out: " + "{a: " * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("".join(" " * k + "a:\n" for k in range(300)), f"nested more than {MAX_DEPTH} deep"),
        ("seed: " + "9" * 5000, "a number of 5,000 digits"),
        ("seed: 0x" + "f" * 5000, "digits"),
        (BASE + f"seed: '{'9' * 5000}'", "seed: unable to parse"),
        (BASE + f"name: [{'x' * 100_000}]", "name: input should be a valid string"),
        ("#" * (MAX_BYTES + 1), "this is no config"),
        ("out: 2020-13-45", "month must be in 1..12"),
        ("out: !!int abc", "not valid YAML"),
        ("out: !!python/object/apply:os.getpid []", "not valid YAML"),
        (BASE + "? [a]\n: b\n", "not valid YAML"),
        ("out: 'a\n", "not valid YAML"),
        ("out:\tx\n  a: b\n", "A tab: indent with spaces."),
        ("\0\1SIMPLE", "Is it a text file?"),
        ("", "a mapping of settings"),
        ('out: "a\\0b"\nsurvey: {root: /d, targets: t.csv}', "out: must be a folder"),
    ],
)
def test_what_is_no_config_is_refused_by_name(tmp_path, text, words):
    said = refusal(tmp_path / "c.yaml", text)
    assert words in said and "unicode string" not in said


def test_the_config_of_a_run_folder_is_read_by_the_same_rules(tmp_path):
    (tmp_path / "config.yaml").write_text(BASE + "seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="'seed' is given twice"):
        config_of(str(tmp_path))


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("0o10", 8), ("0x1F", 31), ("1_000", 1000), ("+5", 5)])
def test_whole_numbers_are_those_of_yaml_1_2(text, value):
    assert parse_yaml(f"a: {text}", "t") == {"a": value}


@pytest.mark.parametrize("text", ["1:30", "12:30:45", "1:30.5"])
def test_a_time_is_no_number_to_the_base_of_sixty(text):
    assert parse_yaml(f"a: {text}", "t") == {"a": text}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab:#-' é[]", max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
        max_leaves=12,
    )
)
def test_what_yaml_writes_is_read_back(tree):
    assert parse_yaml(yaml.safe_dump(tree, sort_keys=False), "t") == tree


@pytest.mark.parametrize(("bands", "shown"), [("g,r,z", "[g, r, z]"), ("grz", "[g, r, z]"), ("g r  z", "[g, r, z]")])
def test_bands_in_one_word_are_shown_as_the_list_they_must_be(tmp_path, bands, shown):
    assert f"bands: must be a list: {shown} (given: '{bands}')" in refusal(
        tmp_path / "c.yaml", BASE + f"bands: {bands}"
    )


def test_any_list_in_one_word_is_shown_as_the_list_it_must_be(tmp_path):
    said = refusal(
        tmp_path / "c.yaml", BASE + "gate: {recipes: 'core_r, core_all'}\nsplits: {fractions: '0.7,0.2,0.1'}"
    )
    assert "gate.recipes: must be a list: [core_r, core_all]" in said
    assert "splits.fractions: must be a list: [0.7, 0.2, 0.1]" in said


@pytest.mark.parametrize("band", ["", "all", "r band", "../r", "$r$", "[r]"])
def test_a_band_has_a_plain_name(band):
    with pytest.raises(ConfigError, match="is no name of a band"):
        load_config({"out": "x", "bands": [band], "survey": {"root": "/d", "targets": "t"}})


def test_bands_that_the_survey_cannot_have_are_refused_in_the_config():
    with pytest.raises(ConfigError, match=r"survey\.synthetic has no i; it has g, r, z"):
        load_config({"out": "x", "bands": ["g", "r", "i", "z"], "survey": {"synthetic": {}}})
    stamps = {"files": {"g": "g.fits", "r": "r.fits"}, "pixel_scale_arcsec": 0.2, "psfsize_arcsec": {"g": 1, "r": 1}}
    with pytest.raises(ConfigError, match=r"survey\.stamps\.files has no z; it has g, r"):
        load_config({"out": "x", "survey": {"stamps": stamps}})
    with pytest.raises(ConfigError, match=r"survey\.stamps\.psfsize_arcsec has no r"):
        load_config({"out": "x", "bands": ["r"], "survey": {"stamps": {**stamps, "psfsize_arcsec": {"g": 1}}}})


def test_the_bands_of_a_synthetic_survey_are_those_that_it_paints():
    assert tuple(synthetic_sky.RECIPES) == SYNTHETIC_BANDS
