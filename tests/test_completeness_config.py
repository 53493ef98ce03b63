"""Settings of the completeness: contradictions are refused by name, and no stored pixel depends on them."""

import pytest

from lensflow.config import load_config
from lensflow.config.completeness import (
    MEASURED,
    CompletenessConfig,
    band_of,
    default_axes,
    default_strata,
    fixed_variables,
)
from lensflow.config.run import STAGE_SETTINGS
from lensflow.errors import ConfigError

BASE = {"out": "runs/x", "survey": {"root": "s", "targets": "t.csv"}}


def load(bands=("g", "r", "z"), **completeness):
    return load_config({**BASE, "bands": [*bands], "completeness": completeness})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": {"value": float("nan")}}, "completeness.threshold.value: .*finite"),
        ({"threshold": {"fpr": 0}}, "completeness.threshold: fpr: a rate lies between 0 and 1, not 0"),
        ({"threshold": {"fpr": [1e-3, 1.0]}}, "completeness.threshold: fpr: a rate lies between 0 and 1, not 1"),
        ({"threshold": {"fpr": [1e-3, 1e-3]}}, "a rate is named twice"),
        ({"threshold": {}}, "exactly one of value, fpr, false_positives"),
        ({"threshold": {"value": 1, "false_positives": 3}}, "exactly one of value, fpr, false_positives"),
        ({"threshold": {"false_positives": -1}}, "false_positives"),
        ({"axes": [{"variable": "theta_e_arcsec", "edges": [1, 1, 2]}]}, "theta_e_arcsec: at least two finite edges"),
        ({"axes": [{"variable": "theta_e_arcsec", "edges": [1]}]}, "theta_e_arcsec: at least two finite edges"),
        ({"axes": [{"variable": "lens_q", "edges": [0.2, 1]}] * 2}, "an axis is named twice: lens_q"),
        ({"axes": []}, "completeness.axes"),
        ({"strata": {"psfsize_r": [1.6, 1.2]}}, "psfsize_r: at least two finite edges in rising order"),
        ({"strata": {"psfsize_r": {"quantiles": 1}}}, "completeness.strata.psfsize_r.quantiles"),
        ({"strata": {"psfsize_r": "plans"}}, "completeness.strata.psfsize_r"),
        ({"strata": {"psfsize_u": [1, 2]}}, "completeness.strata: 'psfsize_u' needs band 'u'; there are g, r, z"),
        ({"strata": {"psfsize": [1, 2]}}, "name it with its band, psfsize_r"),
        ({"strata": {"thetae_arcsec": [1, 2]}}, "Did you mean 'theta_e_arcsec'"),
        ({"require": [{"min": 0.5}]}, "name a threshold"),
        ({"require": [{"min": 0.5, "at": {"value": 0}}], "split": "test"}, "require needs split: val; test is sealed"),
        ({"require": [{"min": 1.5, "at": {"value": 0}}]}, "completeness.require.0.min"),
        ({"require": [{"where": {"score": [0, 1]}, "min": 0.5, "at": {"value": 0}}]}, "measured after noise"),
        ({"sky": {"parents": 100}}, "parents needs area_deg2"),
        ({"sky": {"parents": 100, "area_deg2": 1, "parents_per_deg2": 3}}, "not both"),
        ({"sky": {"lenses_per_deg2": 0.3}}, "population go together"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        load(**settings)


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("place", ["strata", "axes"])
def test_bins_made_of_what_noise_or_scoring_changes_are_refused(name, place):
    wrong = {name: [0, 1]} if place == "strata" else [{"variable": name, "edges": [0, 1]}]
    text = (
        rf"completeness\.{place}.*'{name}' is measured after noise or scoring; a bin made of it is filled differently"
    )
    with pytest.raises(ConfigError, match=text):
        load(**{place: wrong})


def test_a_table_of_more_than_20_million_cells_is_refused_with_its_product():
    edges = [*range(302)]
    axes = [{"variable": f"src_mag_{b}", "edges": edges} for b in "grz"]
    with pytest.raises(ConfigError, match=r"301 x 301 x 301 = 27,270,901 cells \(src_mag_g, src_mag_r, src_mag_z\)"):
        load(axes=axes)
    assert load(axes=axes[:2]).completeness.axes[1].variable == "src_mag_r"


def test_no_stage_but_its_own_depends_on_the_section():
    plain, other = load(), load(
        threshold={"fpr": 1e-3}, min_hosts=30, strata={"split": "each"}, axes=[{"variable": "lens_q", "edges": [0, 1]}]
    )  # fmt: skip
    changed = {s for s in STAGE_SETTINGS if plain.settings_of(s) != other.settings_of(s)}
    assert changed == {"completeness"}
    for stage in set(STAGE_SETTINGS) - {"completeness"}:
        assert not [key for key in plain.settings_of(stage) if key.startswith("completeness")]


def test_settings_read_back_from_the_effective_config(tmp_path):
    config = load(
        threshold={"fpr": 1e-3}, strata={"psfsize_r": {"quantiles": 4}, "src_reff_arcsec": "plan", "shear": [0, 0.1]},
        require=[{"where": {"theta_e_arcsec": [1, 5]}, "min": 0.5, "at": {"false_positives": 3}}],
        sky={"parents": 1400, "area_deg2": 2.0, "lenses_per_deg2": 0.3, "population": "grade A"},
    )  # fmt: skip
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "run.yaml") == config
    assert config.completeness.sky.parent_density == 700
    assert config.completeness.threshold.fpr == (1e-3,)


@pytest.mark.parametrize("band", ["r", "N395"])
def test_the_default_bins_are_settings_that_a_config_may_hold(band):
    strata, axes = default_strata(band), default_axes(band)
    config = CompletenessConfig(strata=strata, axes=axes)
    config.check_bands([band])
    assert config.strata == strata and {band_of(a.variable) for a in axes} == {None, band}


def test_variables_of_images_and_keys_are_no_bins():
    assert not {"image", "invvar", "stamp", "arc", "row_id", "host_index", "maskbits"} & frozenset().union(
        *fixed_variables()
    )
    assert band_of("psfsize_arcsec_r") == "r" and band_of("snr_peak_N395") == "N395" and band_of("lens_q") is None
