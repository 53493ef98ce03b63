"""The table that is built from published distributions, and what a lens makes of it."""

import numpy as np
import pytest
from astropy.cosmology import Planck18
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from lensflow.config import load_config
from lensflow.errors import ConfigError
from lensflow.manifest import population as p
from lensflow.manifest.build import build_manifest
from lensflow.manifest.draw_galaxies import galaxy_draw
from lensflow.manifest.published_galaxies import published_galaxies, redshift_density, redshift_of_magnitude
from lensflow.run.identity import manifest_identity
from tests.factories import BANDS, make_config
from tests.manifest.test_galaxies import hosts


@given(st.floats(23.2, 26), st.floats(0.05, 5))
def test_redshifts_of_a_magnitude_are_the_derivative_of_those_of_all_brighter_galaxies(i_mag, z):
    def brighter(i):
        z0 = 0.0417 * i - 0.744
        return 46 * 10 ** (0.31 * (i - 25)) * z**2 * np.exp(-z / z0) / (2 * z0**3)

    def at(z):
        return redshift_density(np.array(i_mag), np.array(z))

    slope = (brighter(i_mag + 1e-4) - brighter(i_mag - 1e-4)) / 2e-4
    # The same up to the counts, 46 x 10**(0.31 (i - 25)) / 2, where it is not negative.
    counts = 46 * 10 ** (0.31 * (i_mag - 25)) / 2
    assert at(z) * counts == pytest.approx(max(slope, 0.0), rel=1e-4, abs=1e-6 * counts)


@pytest.mark.parametrize("i_mag", [21.52, 23.523, 25.335])
def test_drawn_redshifts_have_that_density(i_mag):
    u = (np.arange(20_000) + 0.5) / 20_000
    z = np.linspace(0, 6, 6001)
    cdf = integrate.cumulative_trapezoid(redshift_density(np.array(i_mag), z), z, initial=0)
    drawn = redshift_of_magnitude(np.full(len(u), i_mag), u)
    assert stats.kstest(drawn, lambda v: np.interp(v, z, cdf / cdf[-1])).statistic < 5e-3


def test_galaxies_of_a_magnitude_are_farther_than_all_brighter_ones():
    """By about 0.17, as docs/population.md says of the preset realistic, which leaves it out."""
    u = (np.arange(4000) + 0.5) / 4000
    shift = redshift_of_magnitude(np.full(4000, 24.5), u).mean() - 3 * (0.0417 * 24.5 - 0.744)
    assert 0.10 < shift < 0.25


def test_the_table_s_galaxies_follow_the_relations_one_by_one():
    t = published_galaxies(BANDS, 21.0, 25.5, 0.3, 20_000)
    r = t.mag[:, 1]
    grown = lambda m: np.expm1(0.3 * np.log(10) * (m - 21.0))  # noqa: E731
    assert stats.kstest(r, lambda m: grown(m) / grown(25.5)).pvalue > 1e-3
    beta = (r - 25) * p.BETA_SLOPE + p.BETA_AT_25
    g_r = -2.5 * (beta + 2) * np.log10(473 / 642)
    pull = (t.mag[:, 0] - r - g_r) / np.hypot(0.1, 2.5 * 0.43 * np.log10(642 / 473))
    assert stats.kstest(pull, "norm").pvalue > 1e-3
    i = p.i_magnitude(10 ** (-0.4 * (t.mag - 22.5)), BANDS, 1)
    assert stats.kstest(np.log10(t.reff_arcsec / p.median_radius(i)) / 0.2, "norm").pvalue > 1e-3
    assert t is published_galaxies(BANDS, 21.0, 25.5, 0.3, 20_000)


@pytest.mark.filterwarnings("ignore:Use ``angular_diameter_distance")
def test_bright_sources_are_rarer_behind_a_lens_than_in_the_sky():
    """Their magnitudes are the counts times the mean cross-section of galaxies of the magnitude."""
    m = build_manifest(hosts(60, z_lens=0.5), make_config(plan={"preset": "legacy_surveys", "injections_per_host": 60}))
    rows = m.isel(sample=~m["is_control"].values)
    r = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values[:, 1])
    grid, z = np.linspace(21, 25.5, 40), np.linspace(0.5, 6, 800)[1:]
    ratio = (Planck18.angular_diameter_distance_z1z2(0.5, z) / Planck18.angular_diameter_distance(z)).value
    share = []
    for mag in grid:
        beta = p.BETA_AT_25 + p.BETA_SLOPE * (mag - 25) + p.BETA_SCATTER * np.linspace(-2, 2, 41)
        weight = stats.norm.pdf(np.linspace(-2, 2, 41))
        i = mag - 2.5 * (beta + 2) * np.log10(784 / 642)
        every = np.linspace(0, 6, 1500)[1:]
        one = [integrate.trapezoid(redshift_density(k, z) * ratio**2, z) /
               integrate.trapezoid(redshift_density(k, every), every) for k in i]  # fmt: skip
        share.append(np.average(one, weights=weight))
    density = 10 ** (0.3 * grid) * np.array(share)
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0)
    assert stats.kstest(r, lambda v: np.interp(v, grid, cdf / cdf[-1])).statistic < 1.95 / np.sqrt(len(r))
    grown = lambda v: np.expm1(0.3 * np.log(10) * (v - 21.0))  # noqa: E731
    assert stats.kstest(r, lambda v: grown(v) / grown(25.5)).statistic > 0.05  # the counts alone would not do
    assert share[0] < 0.3 * share[-1]


def test_the_preset_is_a_name_for_the_table_and_the_default_is_as_it_was():
    config = make_config(plan={"preset": "legacy_surveys"})
    assert config.plan.source_table.is_published and config.plan.priors.theta_e_from == "host"
    assert load_config(config.effective()) == config
    assert "inputs.source_table" not in manifest_identity(config, "cutouts")
    plain = load_config({"out": "-", "survey": {"root": "-", "targets": "-"}})
    assert plain.plan.preset == "realistic" and plain.plan.source_table is None and galaxy_draw(plain) is None
    shorthand = make_config(plan={"preset": "realistic", "source_table": "published", "src_mag_slope": 0.2})
    assert shorthand.plan.source_table.is_published
    m = build_manifest(hosts(4), shorthand)
    assert m.attrs["declared"]["src_mag"] | {"table": ""} == {"table": "", "min": 23.0, "max": 25.5}
    assert "0.2 dex" in m.attrs["declared"]["source_table"]["relation"]["src_mag"]


@pytest.mark.parametrize(
    "plan, message",
    [
        ({"source_table": {"table": "published", "redshift": "plan"}, "src_z": 2}, "for tables of yours"),
        ({"source_table": {"table": "published", "columns": {"z": "photoz"}}}, "for tables of yours"),
        ({"preset": "legacy_surveys", "colours": "v3"}, r"colours: .*\(published\) bring theirs.*preset: realistic"),
        ({"preset": "legacy_surveys", "src_reff_arcsec": 0.2}, "src_reff_arcsec: the galaxies"),
    ],
)
def test_what_the_published_table_does_not_have_is_refused(plan, message):
    with pytest.raises(ConfigError, match=message):
        make_config(plan=plan)
