"""Factors: every one is a setting, owns columns that exist, and an unknown one names the nearest."""

import pytest

from lensflow import schema
from lensflow.config.run import flatten
from lensflow.errors import ConfigError
from lensflow.injection.other_noise import OF_NOISE
from lensflow.measure.realism.sweep.factors import FACTORS, find_factor
from lensflow.measure.realism.sweep.relations import RELATIONS
from tests.factories import make_config

# The table of the specification, section 7: every factor of it that is a setting.
WANTED = {
    "injection.noise", "injection.gain_factor", "plan.psf_model", "plan.psf_width_factor", "plan.src_mag_shift",
    "plan.colours", "plan.sources.share", "plan.src_reff_arcsec", "plan.src_n", "injection.core_mask_radius_pix",
    "store.quantize", "export.normalisation.clip", "export.normalisation.kind",
}  # fmt: skip


def test_every_factor_is_a_setting_and_owns_columns_that_exist():
    config = make_config(plan={"sources": {"images": "some/*.fits"}, "src_bulge": {}, "src_knots": {}})
    every = [*flatten(config.effective())]
    known = {".".join(k.split(".")[:n]) for k in every for n in range(2, 5)}
    columns = {v.name for v in (*schema.MANIFEST, *schema.COMPONENTS)}
    arrays = {"arc", "stamp", "ctrl"} | {v.name for v in (*schema.METRICS, *schema.ROUNDING, *schema.FLAGS)}
    arrays |= {v.name for v in schema.COMPONENT_METRICS}
    for name, factor in FACTORS.items():
        assert name in known and factor.setting == name
        assert set(factor.owned) <= columns and set(factor.equal) <= arrays and set(factor.relations) <= set(RELATIONS)
        assert factor.redraws == bool(factor.owned), name
    assert set(FACTORS) >= WANTED


def test_what_changes_only_noise_rounding_or_the_view_renders_nothing():
    roads = {n: f.road for n, f in FACTORS.items()}
    of_section = {
        "store.quantize": "arcs",
        "injection.noise": "arcs",
        "injection.gain": "arcs",
        "export.normalisation": "view",
        "plan.": "render",
        "injection.core": "render",
    }
    for section, road in of_section.items():
        assert {r for n, r in roads.items() if n.startswith(section)} == {road}
    assert set(OF_NOISE).isdisjoint(FACTORS["injection.noise"].equal)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("injection.nois", "Did you mean 'injection.noise'"),
        ("plan.color", "Did you mean 'plan.colours'"),
        ("colours", "Did you mean 'plan.colours'"),
        ("PSF width", "Did you mean 'plan.psf"),
        ("plan.preset", "what must stay equal when it changes is not known"),
        ("hosts", "paired by set"),
        ("realism.injections", "paired by set"),
    ],
)
def test_an_unknown_factor_names_the_nearest(given, said):
    with pytest.raises(ConfigError, match=said):
        find_factor(given)


def test_one_number_of_a_table_is_a_factor_of_its_own_name():
    factor = find_factor("injection.sky_mag_arcsec2.r")
    assert factor.setting == "injection.sky_mag_arcsec2.r" and factor.road == "arcs"
