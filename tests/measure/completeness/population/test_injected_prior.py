"""The density of every planned parameter is that of the sampler's own draws; what has none is refused by name."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from lensflow.config import load_config
from lensflow.errors import CompletenessError, ConfigError
from lensflow.manifest.build import build_manifest, draw_rows
from lensflow.manifest.draws import Draws
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from tests.factories import make_config, make_cutouts

N = 1_000_000
RANGES = {
    "theta_e_arcsec": {"min": 0.5, "max": 3, "distribution": "log"}, "src_mag": "apparent", "src_mag_slope": 0.4,
    "src_mag_range": {"min": 22, "max": 25}, "src_reff_arcsec": {"min": 0.1, "max": 0.5}, "shear": [0, 0.02, 0.02],
    "lens_e": {"min": 0, "max": 0.4}, "src_n": [1, 4], "src_q": {"min": 0.3, "max": 1}, "src_offset": "ring",
    "src_offset_min": 0.2, "src_offset_max": 1.1, "lens_model": "EPL",
}  # fmt: skip
RELATIONS = {
    "preset": "realistic", "theta_e_arcsec": [0.5, 1, 1.5, 2], "dmag": {"min": 1, "max": 4, "distribution": "log"},
    "colours": "v3",
}  # fmt: skip


def draws_of(plan, n=N):
    """Rows as the plan's own sampler draws them, on hosts of random brightness and dust."""
    config, random = make_config(plan=plan), np.random.default_rng(1)
    bands, passed = config.bands, random.uniform(0.7, 1, (n, 3))
    host = {
        "flux_reference_nmgy": 10 ** random.uniform(0, 2, n), "mw_transmission": passed,
        **dict.fromkeys(("sigma_v_km_s", "z_lens", "host_q", "host_phi_rad"), np.full(n, np.nan)),
    }  # fmt: skip
    ids = np.arange(n, dtype=np.uint64)
    drawn = draw_rows(Draws(config.plan, 3, bands, ids, ids, np.zeros(n, np.int64), host, {}))
    of_band = ("src_flux_nmgy", "mw_transmission")
    columns = {k: (("sample", "band") if k in of_band else "sample", v) for k, v in drawn.items()}
    observed = np.full((n, 3), np.nan)
    observed[:, 1] = host["flux_reference_nmgy"] * passed[:, 1]
    more = {"row_id": ("sample", ids), "flux_nmgy": (("sample", "band"), np.full((n, 3), np.nan)),
            "aperture_flux_nmgy": (("sample", "band"), observed)}  # fmt: skip
    return InjectedPrior.of(config), xr.Dataset(columns | more, coords={"band": list(bands)})


@pytest.fixture(scope="module")
def ranges():
    return draws_of(RANGES)


@pytest.fixture(scope="module")
def relations():
    return draws_of(RELATIONS, 250_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["theta_e_arcsec", "src_mag_r", "src_reff_arcsec", "lens_e", "lens_q", "src_q",
                                  "src_offset", "lens_phi_rad", "lens_gamma"])  # fmt: skip
def test_a_density_is_the_histogram_of_a_million_draws(ranges, name):
    prior, rows = ranges
    density, x = prior.density(name), prior.values(name, rows)
    edges = np.quantile(x, np.linspace(0, 1, 11))
    middle = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(100) + 0.5) / 100
    expected = np.exp(density.log_q(middle.ravel())).reshape(middle.shape).mean(axis=1) * np.diff(edges)
    assert not density.given and expected.sum() == pytest.approx(1, abs=1e-3)
    assert np.histogram(x, edges)[0] / N == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", ["dmag", "src_mag_r", "src_reff_arcsec", "lens_q", "shear", "src_offset_arcsec"])
def test_a_conditional_density_is_that_of_the_draws(relations, name):
    """The sum of 1 / q over draws in a bin is the part of the bin that the plan can reach, averaged over the rows."""
    prior, rows = relations
    density, x = prior.density(name), prior.values(name, rows)
    assert bool(density.given) == (name not in ("dmag", "shear"))
    given = prior.conditions(density.given, rows)
    scale = 1.0 if density.scale is None else density.scale(given)
    ends = [density.zero(given) + scale * end for end in (density.low, density.high)]
    edges = np.quantile(x, np.linspace(0.2, 0.8, 4))  # in the tails 1 / q scatters
    inverse, place = np.exp(-density.log_q(x, given)), np.searchsorted(edges, x) - 1
    for k, (a, b) in enumerate(pairwise(edges)):
        reached = np.clip(np.minimum(b, ends[1]) - np.maximum(a, ends[0]), 0, None).mean()
        assert inverse[place == k].sum() / len(x) == pytest.approx(reached, rel=0.025)


def test_lists_are_masses_and_a_value_named_twice_counts_twice(ranges, relations):
    for (prior, rows), name in ((ranges, "shear"), (ranges, "src_n"), (relations, "theta_e_arcsec")):
        density, drawn = prior.density(name), prior.values(name, rows)
        assert density.is_discrete and density.masses.sum() == pytest.approx(1)
        for value, mass in zip(density.values, density.masses, strict=True):
            assert (drawn == value).mean() == pytest.approx(mass, rel=0.01 if len(drawn) == N else 0.02)
            assert np.exp(density.log_q([value])) == pytest.approx(mass)
        assert np.exp(density.log_q([density.values[0] + 0.01])) == 0
    assert ranges[0].density("shear").masses.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_the_joint_density_is_the_product_and_one_parameter_is_not_counted_twice(ranges):
    prior, rows = ranges
    some = rows.isel(sample=slice(100))
    both = prior.log_q(["theta_e_arcsec", "src_mag_r"], some)
    assert both == pytest.approx(prior.log_q(["theta_e_arcsec"], some) + prior.log_q(["src_mag_r"], some))
    for pair in (["lens_e", "lens_q"], ["src_offset", "src_offset_arcsec"], ["dmag", "src_mag_r"]):
        with pytest.raises(ConfigError, match="are one parameter"):
            prior.log_q(pair, some)


def test_rows_that_their_plan_cannot_draw_are_refused(ranges):
    prior, rows = ranges
    other = rows.isel(sample=slice(5)).assign(theta_e_arcsec=("sample", [1, 1, 3.2, 1, 5]))
    text = r"row_id 2: theta_e_arcsec is 3.2, which the plan does not draw \(0.5 to 3, log\); 1 other"
    with pytest.raises(CompletenessError, match=text):
        prior.log_q(["theta_e_arcsec"], other)


@pytest.mark.parametrize("design", ["random", "low_discrepancy", "grid"])
def test_every_row_of_a_real_manifest_has_a_density_in_all_known_parameters(design):
    plan = {"preset": "historic_small" if design == "grid" else "historic", "design": design, "injections_per_host": 8}
    config = make_config(plan=plan)
    cutouts = make_cutouts(5)
    cutouts["ebv"] = ("host", np.linspace(0, 0.3, 5).astype(np.float32))
    manifest = build_manifest(cutouts, config)
    hosts = {n: (("sample", "band"), cutouts[n].values[manifest["host_index"].values])
             for n in ("flux_nmgy", "aperture_flux_nmgy")}  # fmt: skip
    rows = manifest.assign(hosts).isel(sample=~manifest["is_control"].values)
    prior = InjectedPrior.of(config, manifest.attrs)
    known = prior.known()
    assert {"theta_e_arcsec", "dmag", "src_mag_r", "lens_e", "lens_q", "shear", "src_reff_arcsec"} <= set(known)
    for name in known:
        assert np.isfinite(prior.log_q([name], rows)).all()
    if design == "grid":
        # Every configuration once a host: 1 / 48 each, in the five crossed parameters together.
        crossed = ["theta_e_arcsec", "dmag", "src_reff_arcsec", "lens_e", "shear"]
        assert np.exp(prior.log_q(crossed, rows)) == pytest.approx(1 / 48)
        assert prior.log_q(["src_mag_r"], rows) == pytest.approx(np.log(1 / 2))


@pytest.mark.parametrize(
    ("plan", "name", "reason"),
    [
        ({"preset": "realistic"}, "theta_e_arcsec", "follows from each host"),
        ({"preset": "realistic"}, "src_z", "follow from a relation"),
        ({"preset": "realistic"}, "lens_e", "name lens_q"),
        ({"preset": "realistic"}, "dmag", "name src_mag_r"),
        ({}, "src_z", "no redshift is drawn"),
        ({"lens_shape": "host_light"}, "lens_q", "from the host's light"),
        ({"src_min_images": 2}, "src_offset", "only positions with enough images"),
        ({"src_offset": "square"}, "src_offset", "name src_x_arcsec"),
        ({}, "src_x_arcsec", "name src_offset"),
        ({"sources": {"images": "a.fits"}}, "src_n", "images are sources"),
        ({"sources": {"images": "a.fits"}}, "src_reff_arcsec", "keep their own size"),
        ({"sources": {"images": "a.fits", "magnitude": "native", "zero_point": 25}}, "dmag", "their own brightness"),
    ],
)
def test_a_parameter_without_a_density_is_refused_by_name_and_only_when_asked_for(plan, name, reason):
    prior = InjectedPrior.of(make_config(plan=plan))
    with pytest.raises(ConfigError, match=f"{name}: .*{reason}.*Reweight by cell"):
        prior.density(name)
    assert name not in prior.known() and "shear" in prior.known()


def test_what_a_table_gave_or_left_out_rows_decided_is_refused():
    config = make_config(plan={"design": "table", "table": "t.csv"})
    with pytest.raises(ConfigError, match="which columns the table gave"):
        InjectedPrior.of(config)
    for attrs in ({"given": []}, {"rows_dropped": {}}, {}):
        with pytest.raises(ConfigError, match="the manifest does not say"):
            InjectedPrior.of(make_config(), attrs)
    prior = InjectedPrior.of(config, {"given": ["theta_e_arcsec", "lens_model"], "rows_dropped": {}})
    for name in ("theta_e_arcsec", "lens_q", "lens_gamma"):
        with pytest.raises(ConfigError, match=r"plan\.table gives it"):
            prior.density(name)
    assert "src_reff_arcsec" in prior.known()
    config = make_config(plan={"src_min_images": 4})
    prior = InjectedPrior.of(config, {"given": [], "rows_dropped": {"NO_SOURCE_POSITION": 12}})
    with pytest.raises(ConfigError, match="lens_e: 12 rows without a source position were left out"):
        prior.density("lens_e")
    assert "theta_e_arcsec" in prior.known()  # the region scales with theta_E
    config = make_config(plan={"preset": "realistic", "theta_e_min_arcsec": 0.5})
    prior = InjectedPrior.of(config, {"given": [], "rows_dropped": {"THETA_E_BELOW_MINIMUM": 3}})
    with pytest.raises(ConfigError, match=r"3 rows below plan\.theta_e_min_arcsec were left out"):
        prior.density("src_mag_r")
    with pytest.raises(ConfigError, match=r"host_mag_r: belongs to hosts"):
        prior.density("host_mag_r")
    with pytest.raises(ConfigError, match="Did you mean 'theta_e_arcsec'"):
        prior.density("thetae_arcsec")
    bare = load_config({"out": "-", "bands": ["g", "z"], "survey": {"root": "-", "targets": "-"}})
    with pytest.raises(ConfigError, match="no band of this run"):
        InjectedPrior.of(bare).density("src_mag_g")
