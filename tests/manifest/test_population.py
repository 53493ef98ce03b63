"""Every relation of the realistic population against the distribution that it states, judged by scipy and astropy."""

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import Planck18
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from lensflow.config import load_config
from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest import population as p
from lensflow.manifest.build import build_manifest
from lensflow.manifest.cosmology import distance_modulus, distance_ratio, theta_e_from_redshifts
from tests.factories import make_config, make_cutouts

N = 20_000
U = (np.arange(N) + 0.5) / N


def is_distributed(values, cdf):
    """Whether evenly spaced uniform numbers became even quantiles: no chance is in it."""
    return stats.kstest(values, cdf).statistic < 5e-3


def cutouts_with(n=60, **columns):
    out = make_cutouts(n)
    mag = np.linspace(17.9, 20.6, n)
    out["flux_nmgy"].values[:, 1] = 10 ** (-0.4 * (mag - 22.5))
    for name, values in columns.items():
        out[name] = (out[name].dims, np.broadcast_to(np.asarray(values, np.float32), out[name].shape))
    return out


def rows_of(cutouts=None, bands=None, **plan):
    more = {"bands": list(bands)} if bands else {}
    plan = {"preset": "realistic", "injections_per_host": 100, **plan}
    m = build_manifest(cutouts_with() if cutouts is None else cutouts, make_config(plan=plan, **more))
    return m.isel(sample=~m["is_control"].values), m


def magnitudes(rows):
    return 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values)


def test_it_is_the_default():
    config = load_config({"out": "-", "survey": {"root": "-", "targets": "-"}})
    assert config.plan.preset == "realistic"


@given(st.floats(15, 25), st.floats(0.5, 6), st.floats(-1, 1))
def test_magnitudes_follow_the_counts_slope(brightest, width, slope):
    faintest = brightest + width
    values = p.magnitude_of_counts(U, brightest, faintest, slope)
    grown = lambda m: np.expm1(slope * np.log(10) * (m - brightest))  # noqa: E731
    cdf = (lambda m: grown(m) / grown(faintest)) if abs(slope) > 1e-3 else stats.uniform(brightest, width).cdf
    assert is_distributed(values, cdf) and values.min() >= brightest and values.max() <= faintest


def test_sizes_are_log_normal_about_the_median_of_the_magnitude():
    for i_mag, scale_length in ((23.0, np.exp(-1.145)), (25.0, np.exp(-1.145 - 2 * 0.269))):
        values = p.half_light_radius(np.full(N, i_mag), U)
        assert is_distributed(np.log10(values), stats.norm(np.log10(1.678 * scale_length), 0.2).cdf)


def test_colours_are_those_of_a_power_law_as_astropy_integrates_it():
    # AB magnitudes of f_lambda = lambda^beta at the filters' centres, no scatter.
    beta = np.array([-2.2, -1.4, 0.0])
    bands = ["u", "g", "r", "i", "z", "Y"]
    wave = np.array([p.WAVELENGTH_NM[b] for b in bands]) * u.nm
    f_lambda = (wave / wave[2]).value[None] ** beta[:, None] * u.erg / u.s / u.cm**2 / u.nm
    expected = f_lambda.to(u.ABmag, u.spectral_density(wave)).value
    colours = p.colours_of_slope(beta, np.zeros((3, 2)), bands)
    assert colours == pytest.approx(expected - expected[:, 2:3], abs=1e-9)


def test_distances_are_astropy_s():
    z = np.array([0.02, 0.3, 0.5, 1.0, 3.0])
    assert distance_modulus(z) == pytest.approx(Planck18.distmod(z).value, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Use ``angular_diameter_distance")
@pytest.mark.parametrize(("z_lens", "i_mag"), [(0.2, 23.0), (0.5, 24.8), (0.9, 25.5)])
def test_source_redshifts_are_the_counts_behind_the_lens_times_the_cross_section(z_lens, i_mag):
    z0 = 0.0417 * i_mag - 0.744
    z = np.linspace(z_lens, 6.0, 4000)
    ratio = Planck18.angular_diameter_distance_z1z2(z_lens, z[1:]) / Planck18.angular_diameter_distance(z[1:])
    density = z**2 * np.exp(-z / z0) * np.concatenate([[0.0], ratio.value]) ** 2
    cdf = integrate.cumulative_trapezoid(density, z, initial=0)
    values = p.source_redshift(np.full(N, i_mag), np.full(N, z_lens), U)
    assert is_distributed(values, lambda v: np.interp(v, z, cdf / cdf[-1]))
    assert values.min() > z_lens


def test_a_red_galaxy_s_dispersion_is_faber_jackson_s_and_weighted_by_the_cross_section():
    m_r = 19.5 - Planck18.distmod(0.4).value - 0.580 + 0.85 * 0.4
    mean = -2.97 - 0.37 * m_r - 0.006 * m_r**2
    assert p.log_sigma(np.array([19.5]), np.array([0.4]))[0] == pytest.approx(mean, abs=1e-6)
    assert 150 < 10**mean < 350
    x = np.linspace(mean - 0.6, mean + 0.6, 4001)
    weight = stats.norm(mean, 0.07).pdf(x) * 10 ** (4 * x)
    cdf = integrate.cumulative_trapezoid(weight, x, initial=0)
    values = p.lens_sigma(np.full(N, mean), U)
    assert is_distributed(np.log10(values), lambda v: np.interp(v, x, cdf / cdf[-1]))


def test_a_least_dispersion_cuts_the_distribution_and_leaves_its_shape():
    every = p.lens_sigma(np.full(N, 2.35), U)
    cut = p.lens_sigma(np.full(N, 2.35), U, 260.0)
    assert cut.min() >= 260 and stats.ks_2samp(every[every >= 260], cut).pvalue > 0.5
    assert (p.lens_sigma(np.full(9, 2.35), np.linspace(0.1, 0.9, 9), 3000.0) == 3000).all()


@pytest.mark.parametrize("sigma_v", [150.0, 250.0, 350.0])
def test_axis_ratios_are_rayleigh_distributed_and_heavier_lenses_rounder(sigma_v):
    scale = 0.38 - 5.7e-4 * sigma_v
    full = stats.rayleigh(scale=scale)
    values = 1 - p.lens_axis_ratio(np.full(N, sigma_v), U)
    assert is_distributed(values, lambda v: full.cdf(v) / full.cdf(0.5))
    assert values.max() <= 0.5


def test_shear_components_are_normal():
    values, phi = p.shear_strength(U), np.random.default_rng(0).uniform(0, np.pi, N)
    g1 = values * np.cos(2 * phi)
    assert stats.kstest(g1, stats.norm(0, 0.05).cdf).pvalue > 1e-3 and values.max() <= 0.25


@given(st.floats(16, 23))
def test_a_host_without_a_redshift_is_put_where_its_magnitude_says(r_mag):
    z = p.assumed_redshift(np.array([r_mag]))
    assert 0.02 <= z[0] <= 1.2
    if 0.021 < z[0] < 1.19:
        assert r_mag - p.dimming(z)[0] == pytest.approx(-22.8 + 0.5 * (r_mag - 20), abs=0.02)


def test_rows_are_plausible_and_go_together():
    rows, _ = rows_of()
    mag, size = magnitudes(rows), rows["src_reff_arcsec"].values
    assert mag[:, 1].min() >= 23 and mag[:, 1].max() <= 25.5
    theta_e = rows["theta_e_arcsec"].values
    low, middle, high = np.percentile(theta_e, (5, 50, 95))
    assert low > 0.2 and 0.7 < middle < 1.2 and high < 2.5 and np.unique(theta_e).size == theta_e.size
    rank = lambda a, b: stats.spearmanr(a, b).statistic  # noqa: E731
    # Fainter is smaller and bluer, both colours share the slope, a brighter host bends more, a heavier lens is rounder.
    assert rank(mag[:, 1], size) < -0.2 and rank(mag[:, 1], mag[:, 0] - mag[:, 2]) < -0.05
    assert rank(mag[:, 0] - mag[:, 1], mag[:, 1] - mag[:, 2]) > 0.4
    assert rank(rows["host_index"].values, theta_e) < -0.1
    assert rank(rows["lens_sigma_v_km_s"].values, rows["lens_q"].values) > 0.1


def test_theta_e_is_the_one_of_the_stored_dispersion_and_redshifts():
    rows, _ = rows_of(theta_e_min_arcsec=0.6)
    names = ("lens_sigma_v_km_s", "lens_z", "src_z")
    expected = theta_e_from_redshifts(*(rows[k].values for k in names))
    assert rows["theta_e_arcsec"].values == pytest.approx(expected, rel=1e-12)
    assert rows["theta_e_arcsec"].values.min() >= 0.6 and rows.sizes["sample"] == 60 * 100


def test_what_the_catalogue_knows_is_taken():
    sigma_v, z = np.linspace(180, 320, 60), np.linspace(0.2, 0.6, 60)
    rows, _ = rows_of(cutouts_with(sigma_v_km_s=sigma_v, z_lens=z))
    host = rows["host_index"].values
    assert rows["lens_sigma_v_km_s"].values == pytest.approx(sigma_v[host], rel=1e-6)
    assert rows["lens_z"].values == pytest.approx(z[host], rel=1e-6)
    assert (rows["src_z"].values > rows["lens_z"].values).all()


def test_a_nearer_host_of_the_same_magnitude_is_lighter():
    near, far = (rows_of(cutouts_with(z_lens=z))[0] for z in (0.15, 0.5))
    assert np.median(near["lens_sigma_v_km_s"]) < 0.8 * np.median(far["lens_sigma_v_km_s"])


def test_rows_of_one_host_do_not_depend_on_the_others():
    every, _ = rows_of(cutouts_with(12))
    one, _ = rows_of(cutouts_with(12).isel(host=slice(7, 8)))
    mine = every.isel(sample=every["host_index"].values == 7)
    for name in ("theta_e_arcsec", "src_z", "lens_q", "shear", "src_reff_arcsec", "src_flux_nmgy"):
        assert np.array_equal(mine[name].values, one[name].values), name


@pytest.mark.parametrize("design", ["random", "low_discrepancy"])
def test_both_designs_draw_the_same_distributions(design):
    rows, _ = rows_of(design=design)
    m = magnitudes(rows)[:, 1]
    k = 0.3 * np.log(10)
    assert stats.kstest(m, lambda v: np.expm1(k * (v - 23)) / np.expm1(2.5 * k)).pvalue > 1e-3
    residual = np.log10(
        rows["src_reff_arcsec"].values / p.median_radius(p.i_magnitude(rows["src_flux_nmgy"].values, "grz", 1))
    )
    assert stats.kstest(residual, stats.norm(0, 0.2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ({"theta_e_arcsec": 1.1}, "theta_e_arcsec", 1.1),
        ({"src_reff_arcsec": 0.4}, "src_reff_arcsec", 0.4),
        ({"lens_e": 0.25}, "lens_q", 0.6),
        ({"shear": 0.02}, "shear", 0.02),
        ({"src_z": 2.0}, "src_z", 2.0),
    ],
)
def test_a_given_parameter_takes_the_place_of_its_relation(setting, name, value):
    rows, _ = rows_of(**setting)
    assert rows[name].values == pytest.approx(value)
    assert rows["src_reff_arcsec"].values.std() > 0.05 or name == "src_reff_arcsec"


def test_dmag_brings_back_sources_that_follow_the_host():
    rows, _ = rows_of(dmag=1.5)
    host = np.linspace(17.9, 20.6, 60)[rows["host_index"].values]
    assert magnitudes(rows)[:, 1] == pytest.approx(host + 1.5, abs=1e-6)


def test_hosts_that_say_nothing_of_their_mass_are_counted_or_drawn_from_the_prior():
    cutouts = cutouts_with(12)
    cutouts["flux_nmgy"].values[:3, 1] = np.nan
    cutouts["aperture_flux_nmgy"].values[:3, 1] = np.nan
    _, m = rows_of(cutouts)
    assert m.attrs["hosts_skipped"] == {"NO_HOST_FLUX": 3}
    rows, m = rows_of(cutouts, host_lacks="prior")
    assert m.attrs["hosts_lacking"] == {"NO_SIGMA_V_OR_FLUX": 3}
    drawn = rows["host_index"].values < 3
    assert np.isnan(rows["src_z"].values[drawn]).all() and np.isfinite(rows["src_z"].values[~drawn]).all()
    assert rows["theta_e_arcsec"].values[drawn].min() >= 0.5 and rows["theta_e_arcsec"].values[drawn].max() <= 2.5


def test_a_host_behind_its_sources_stops_the_plan():
    cutouts = cutouts_with(12, z_lens=0.8)
    with pytest.raises(ManifestError, match="12 LENS_NOT_IN_FRONT_OF_SOURCES"):
        rows_of(cutouts, src_z=[0.6, 2.0])


def test_five_bands_have_colours():
    rows, _ = rows_of()
    assert p.colours_of_slope(np.full(3, -1.4), np.zeros((3, 2)), "ugrizY").shape == (3, 6)
    assert np.isfinite(magnitudes(rows)).all()


def test_a_grid_of_relations_is_refused_with_a_way_out():
    with pytest.raises(
        ConfigError, match=r"preset: realistic has none for theta_e_arcsec. Choose one of the presets historic, hist"
    ):
        rows_of(design="grid")
    rows_of(design="grid", theta_e_arcsec=[1.0], src_reff_arcsec=[0.3], lens_e=[0.1], shear=[0.0], dmag=[2.0])


@pytest.mark.parametrize("old", ["sota", "small", "medium", "full"])
def test_old_names_of_presets_are_the_historic_ones(old):
    assert make_config(plan={"preset": old}).plan.preset.startswith("historic")


def test_distance_ratio_is_used_with_the_source_behind():
    with pytest.raises(ManifestError):
        distance_ratio([0.5], [0.4])
