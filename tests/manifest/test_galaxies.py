"""Sources that are galaxies of a table: a row is one of them, whole, as often as its lens's cross-section says."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import xarray as xr
from astropy.cosmology import Planck18
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lensflow import schema
from lensflow.config.source_table import SourceTableConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest import build
from lensflow.manifest.build import build_manifest
from lensflow.manifest.cosmology import theta_e_from_redshifts
from lensflow.manifest.draw_galaxies import galaxy_draw
from lensflow.manifest.galaxies import GalaxyDraw
from lensflow.manifest.source_table import read_source_table
from lensflow.run.identity import manifest_identity
from lensflow.store.open import open_manifest
from lensflow.store.tables import write_table
from tests.factories import BANDS, make_config, make_cutouts
from tests.manifest.made_galaxies import made_galaxies, write_galaxies

GRZ_NM = (473.0, 642.0, 926.0)
MADE = made_galaxies()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_galaxies(tmp_path_factory.mktemp("galaxies") / "galaxies.fits", MADE)


def hosts(n=40, **columns):
    """Bright red hosts; without a redshift (z_lens), one follows from r."""
    out = make_cutouts(n)
    out["flux_nmgy"].values[:, 1] = 10 ** (-0.4 * (np.linspace(17.9, 20.0, n) - 22.5))
    for name, values in columns.items():
        out[name] = (out[name].dims, np.array(np.broadcast_to(np.asarray(values, np.float32), out[name].shape)))
    return out


def config_of(path, table=(), **plan):
    changes = {"preset": "realistic", "injections_per_host": 50, **plan}
    return make_config(plan={**changes, "source_table": {"table": path, **dict(table)}})


def planned(path, cutouts=None, table=(), **plan):
    m = build_manifest(hosts() if cutouts is None else cutouts, config_of(path, table, **plan))
    return m.isel(sample=~m["is_control"].values), m


def test_every_row_is_one_galaxy_of_the_table_with_all_that_it_has(path):
    rows, m = planned(path)
    of = rows["src_table_row"].values
    assert len(rows["sample"]) == 2000 and of.min() >= 0 and len(np.unique(of)) > 500
    mag = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values)
    assert mag == pytest.approx(np.stack([MADE[f"mag_{b}"] for b in BANDS], axis=1)[of], abs=1e-9)
    assert rows["src_reff_arcsec"].values.tolist() == MADE["reff_arcsec"][of].tolist()
    assert rows["src_z"].values.tolist() == MADE["z"][of].tolist()
    assert (m["src_table_row"].values[m["is_control"].values] == -1).all()


@pytest.mark.parametrize("z_lens", [0.15, 0.45, 0.8])
@pytest.mark.filterwarnings("ignore:Use ``angular_diameter_distance")
def test_galaxies_behind_a_lens_come_by_cross_section_and_weight(path, z_lens):
    settings_ = SourceTableConfig(table=path)
    table = read_source_table(settings_, BANDS)
    weight = np.where(table.mag[:, 1] > 24, 2.0, 0.7)
    draw = GalaxyDraw(replace(table, weight=weight), GRZ_NM, 100)
    u = (np.arange(40_000) + 0.5) / 40_000
    place = draw.behind(np.full(len(u), z_lens), u)
    behind = table.z > z_lens
    ratio = Planck18.angular_diameter_distance_z1z2(z_lens, table.z[behind]) / Planck18.angular_diameter_distance(
        table.z[behind]
    )
    expected = np.zeros(len(table))
    expected[behind] = weight[behind] * ratio.value**2
    expected /= expected.sum()
    found = np.bincount(place, minlength=len(table)) / len(u)
    # Even uniform numbers: every galaxy comes as often as it should, to one row on either side.
    assert np.abs(found - expected).max() <= 1.01 / len(u)


def test_lensed_galaxies_are_farther_and_fainter_than_the_table_s(path):
    """The cross-section acts on all of a galaxy together: on its magnitude and size through its redshift."""
    rows, _ = planned(path, hosts(z_lens=0.6))
    of = rows["src_table_row"].values
    behind = MADE["z"] > 0.6
    assert MADE["z"][of].min() > 0.6
    assert MADE["z"][of].mean() > MADE["z"][behind].mean() + 0.05
    assert MADE["mag_r"][of].mean() > MADE["mag_r"][behind].mean() + 0.02


def test_without_a_lens_s_redshift_the_drawn_rows_correlate_as_the_table_does(path):
    rows, _ = planned(path, hosts(80), theta_e_from="prior", injections_per_host=100)
    assert np.isnan(rows["src_z"].values).all()
    mag = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values)
    of = rows["src_table_row"].values
    drawn = np.stack(
        [
            mag[:, 1],
            mag[:, 0] - mag[:, 1],
            mag[:, 1] - mag[:, 2],
            np.log10(rows["src_reff_arcsec"].values),
            MADE["z"][of],
        ]
    )
    table = np.stack(
        [
            MADE["mag_r"],
            MADE["mag_g"] - MADE["mag_r"],
            MADE["mag_r"] - MADE["mag_z"],
            np.log10(MADE["reff_arcsec"]),
            MADE["z"],
        ]
    )
    a, b = (stats.spearmanr(v, axis=1).statistic for v in (drawn, table))
    assert np.abs(b[np.triu_indices(5, 1)]).max() > 0.6  # there is something to keep
    assert np.abs(a - b).max() < 0.05
    for k in range(5):
        assert stats.kstest(drawn[k], table[k]).pvalue > 1e-3


def test_colours_and_sizes_are_not_drawn_apart(path):
    """The alarm of the test above: with sizes of other rows, it would fail."""
    rows, _ = planned(path, theta_e_from="prior")
    mag, size = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values[:, 1]), rows["src_reff_arcsec"].values
    assert stats.spearmanr(mag, size).statistic < -0.5
    assert abs(stats.spearmanr(mag, np.random.default_rng(0).permutation(size)).statistic) < 0.1


@given(st.lists(st.integers(0, 299), min_size=1, max_size=60), st.floats(0.05, 2.5))
def test_a_draw_is_the_same_among_any_other_draws(path, some, z_lens):
    draw = table_draw(path)
    u = np.random.default_rng(7).uniform(size=300)
    z = np.where(np.arange(300) % 3 == 0, np.nan, z_lens + 0.001 * np.arange(300))
    for way, at in ((draw.behind, z), (draw.movable, np.nan_to_num(z, nan=0.4))):
        assert way(at[some], u[some]).tolist() == way(at, u)[some].tolist()


@cache
def table_draw(path, **changes):
    table = read_source_table(SourceTableConfig(table=path, redshift="plan"), BANDS)
    return GalaxyDraw(replace(table, **changes), GRZ_NM, 100)


@pytest.mark.parametrize("n, block_rows", [(40, 7), (23, 60)])
def test_a_row_s_galaxy_depends_on_no_other_row_and_on_no_division_of_the_plan(path, n, block_rows):
    whole = planned(path, injections_per_host=4)[1]
    kept, build.BLOCK_ROWS = build.BLOCK_ROWS, block_rows
    try:
        part = planned(path, hosts().isel(host=slice(0, n)), injections_per_host=4)[1]
    finally:
        build.BLOCK_ROWS = kept
    first = whole.isel(sample=whole["host_index"].values < n)
    assert np.array_equal(part["row_id"].values, first["row_id"].values)
    for name in ("src_table_row", "src_flux_nmgy", "src_reff_arcsec", "src_z", "theta_e_arcsec"):
        assert np.array_equal(part[name].values, first[name].values, equal_nan=True), name


def test_the_order_of_the_table_s_rows_does_not_count(path, tmp_path):
    order = np.random.default_rng(3).permutation(len(MADE["z"]))
    other = write_galaxies(tmp_path / "other.csv", {k: v[order] for k, v in MADE.items()})
    (a, _), (b, _) = planned(path), planned(other)
    assert order[b["src_table_row"].values].tolist() == a["src_table_row"].values.tolist()
    assert np.array_equal(a["theta_e_arcsec"].values, b["theta_e_arcsec"].values)


def test_moved_galaxies_are_seen_at_the_plan_s_redshift(path):
    rows, _ = planned(path, hosts(z_lens=0.3), table={"redshift": "plan"}, src_z={"min": 1.0, "max": 1.6})
    z, of = rows["src_z"].values, rows["src_table_row"].values
    assert z.min() >= 1.0 and z.max() <= 1.6 and np.ptp(z) > 0.5
    from_z = MADE["z"][of]
    assert (from_z != z).all()
    # Every wanted wavelength lies within the table's u to Y at the galaxy's own redshift.
    stretch = (1 + z) / (1 + from_z)
    assert (473 / stretch >= 355 * (1 - 1e-9)).all() and (926 / stretch <= 1009 * (1 + 1e-9)).all()
    ratio = (Planck18.angular_diameter_distance(from_z) / Planck18.angular_diameter_distance(z)).value
    assert rows["src_reff_arcsec"].values == pytest.approx(MADE["reff_arcsec"][of] * ratio, rel=1e-6)
    nm = np.log([355.0, 473.0, 642.0, 926.0, 1009.0])
    table = np.stack([MADE[f"mag_{b}"] for b in "ugrzY"], axis=1)[of]
    shift = (Planck18.distmod(z) - Planck18.distmod(from_z)).value - 2.5 * np.log10(stretch)
    expected = np.array([np.interp(np.log(np.array(GRZ_NM) / s), nm, m) for s, m in zip(stretch, table, strict=True)])
    found = 22.5 - 2.5 * np.log10(rows["src_flux_nmgy"].values)
    assert found == pytest.approx(expected + shift[:, None], abs=5e-6)


def test_rows_that_no_galaxy_can_be_moved_to_stop_the_plan_or_are_counted(path):
    far = {"src_z": {"min": 1.0, "max": 9.0}}
    with pytest.raises(
        ManifestError, match=r"of 2,000 rows have no source: at the redshift .* nothing is extrapolated"
    ):
        planned(path, hosts(z_lens=0.3), table={"redshift": "plan"}, **far)
    rows, m = planned(path, hosts(z_lens=0.3), table={"redshift": "plan", "no_galaxy": "drop"}, **far)
    lost = m.attrs["rows_dropped"]["NO_GALAXY_IN_TABLE"]
    assert lost > 100 and rows.sizes["sample"] == 2000 - lost
    assert rows["src_table_row"].values.min() >= 0 and rows["src_z"].values.max() < 6


def test_a_lens_behind_nearly_all_of_the_table_is_a_host_that_is_left_out_or_stops_the_plan(path):
    cutouts = hosts(z_lens=0.4)
    cutouts["z_lens"].values[:5] = 3.0
    with pytest.raises(ManifestError, match="5 LENS_NOT_IN_FRONT_OF_SOURCES"):
        planned(path, cutouts)
    rows, m = planned(path, cutouts, host_lacks="skip")
    assert m.attrs["hosts_skipped"] == {"LENS_NOT_IN_FRONT_OF_SOURCES": 5} and rows.sizes["sample"] == 35 * 50
    rows, _ = planned(path, cutouts, host_lacks="prior")
    alone = rows["host_index"].values < 5
    assert np.isnan(rows["src_z"].values[alone]).all() and np.isfinite(rows["src_z"].values[~alone]).all()
    assert (rows["src_table_row"].values >= 0).all()


def test_an_assumed_lens_redshift_behind_the_table_stops_the_plan_or_its_rows_are_counted(path, tmp_path):
    near = MADE["z"] < 0.8
    shallow = write_galaxies(tmp_path / "shallow.fits", {k: v[near] for k, v in MADE.items()})
    # Lenses at about z = 0.45 and beyond have too few.
    least = {"min_galaxies": int((MADE["z"][near] > 0.45).sum())}
    with pytest.raises(ManifestError, match=r"fewer than \d+ galaxies are behind the lens .*no_galaxy: drop"):
        planned(shallow, table=least)
    rows, m = planned(shallow, table={**least, "no_galaxy": "drop"})
    assert 0 < m.attrs["rows_dropped"]["NO_GALAXY_IN_TABLE"] == 2000 - rows.sizes["sample"]
    assert (rows["src_z"].values > rows["lens_z"].values).all()


def test_theta_e_is_that_of_the_galaxy_s_redshift(path):
    rows, _ = planned(path)
    expected = theta_e_from_redshifts(*(rows[n].values for n in ("lens_sigma_v_km_s", "lens_z", "src_z")))
    assert rows["theta_e_arcsec"].values == pytest.approx(expected, rel=1e-12)


def test_dust_dims_the_galaxies_of_a_table(path):
    # At given redshifts: those that follow from r would follow from the dust, too.
    (dusty, _), (clear, _) = planned(path, hosts(z_lens=0.4, ebv=0.2)), planned(path, hosts(z_lens=0.4))
    assert dusty["src_flux_nmgy"].values == pytest.approx(
        clear["src_flux_nmgy"].values * dusty["mw_transmission"].values, rel=1e-12
    )
    assert dusty["mw_transmission"].values.max() < 0.9


def test_shapes_are_the_table_s_only_where_the_plan_asks(path, tmp_path):
    q, n = np.linspace(0.2, 1, len(MADE["z"])), np.linspace(0.5, 4, len(MADE["z"]))
    shaped = write_galaxies(tmp_path / "shaped.fits", MADE, q=q, n=n)
    rows, m = planned(shaped, table={"shape": "table"})
    of = rows["src_table_row"].values
    assert rows["src_q"].values.tolist() == q[of].tolist() and rows["src_n"].values.tolist() == n[of].tolist()
    assert "table" in m.attrs["declared"]["src_n"]
    assert set(planned(shaped)[0]["src_n"].values) == {1.0}
    with pytest.raises(ManifestError, match="no column 'q'"):
        planned(path, table={"shape": "table"})


def test_the_manifest_says_where_its_sources_are_from_and_its_store_keeps_it(path, tmp_path):
    _, m = planned(path, src_mag_range={"min": 23, "max": 25})
    about = m.attrs["source_table"]
    outside = int(((MADE["mag_r"] < 23) | (MADE["mag_r"] > 25)).sum())
    assert about == {
        "table": path, "n_read": 4000, "n_galaxies": 4000 - outside, "excluded": {"OUTSIDE_SRC_MAG_RANGE": outside},
        "bands": ["g", "r", "z"],
    }  # fmt: skip
    assert "galaxy" in m.attrs["declared"]["src_reff_arcsec"]["table"]
    assert m.attrs["declared"]["src_mag"]["min"] == 23 and m.attrs["declared"]["colours"] == "source_table"
    url = str(tmp_path / "manifest.zarr")
    write_table(url, "manifest", m, BANDS, {"seed": 5})
    stored = open_manifest(url)
    assert np.array_equal(stored["src_table_row"].values, m["src_table_row"].values)
    assert stored["src_table_row"].dtype == np.int64
    plain = m.drop_vars("src_table_row")
    write_table(url, "manifest", plain, BANDS, {"seed": 5})
    assert "src_table_row" not in open_manifest(url)


def test_a_changed_table_is_another_run(tmp_path):
    made = made_galaxies(200)
    config = config_of(write_galaxies(tmp_path / "t.csv", made))
    before = manifest_identity(config, "cutouts")
    assert manifest_identity(config, "cutouts") == before
    made["reff_arcsec"][7] *= 1.001
    write_galaxies(tmp_path / "t.csv", made)
    after = manifest_identity(config, "cutouts")
    assert {k for k in before if before[k] != after[k]} == {"inputs.source_table"}


@pytest.mark.parametrize(
    "plan, table, message",
    [
        ({"src_reff_arcsec": 0.3}, {}, "src_reff_arcsec: the galaxies of source_table .galaxies.fits. bring theirs"),
        ({"colours": "uv_slope"}, {}, "colours: the galaxies of source_table .galaxies.fits. bring theirs"),
        ({"src_mag_slope": 0.2}, {}, "src_mag_slope: the galaxies"),
        ({"dmag": 2}, {}, "dmag: the galaxies"),
        ({"src_mag": "lens_plus_dmag"}, {}, "the galaxies of source_table have magnitudes"),
        ({"src_z": 2}, {}, "with source_table.redshift: own the galaxies bring theirs"),
        ({}, {"redshift": "plan"}, "redshift: plan needs src_z"),
        ({"src_z": 2, "theta_e_from": "prior"}, {"redshift": "plan"}, "with theta_e_from: prior there is none"),
        ({"src_z": 2, "src_mag_range": {"min": 23, "max": 24}}, {"redshift": "plan"}, "Limit the table"),
        ({"design": "grid"}, {}, "design: grid"),
        ({"sources": {"images": "x.fits"}}, {}, "the images are shapes"),
        ({}, {"min_galaxies": 1}, "greater than or equal to 2"),
    ],
)  # fmt: skip
def test_settings_that_would_do_nothing_beside_a_table_are_refused(plan, table, message):
    with pytest.raises(ConfigError, match=message):
        config_of("galaxies.fits", table, **plan)


def test_a_preset_of_lists_gives_way_to_the_table(path):
    rows, _ = planned(path, preset="historic", theta_e_from="host")
    assert set(rows["src_z"].values) <= set(MADE["z"]) and len(np.unique(rows["src_reff_arcsec"].values)) > 500


def test_low_discrepancy_plans_draw_galaxies_too(path):
    rows, _ = planned(path, design="low_discrepancy")
    assert len(np.unique(rows["src_table_row"].values)) > 500


def test_no_table_no_column():
    assert galaxy_draw(make_config()) is None
    m = build_manifest(hosts(4), make_config())
    assert "src_table_row" not in m and isinstance(m, xr.Dataset)
    assert "src_table_row" in {v.name for group in schema.FURTHER for v in group}


def test_galaxies_of_a_table_may_have_bulges_and_knots_and_keep_their_light(path):
    far = {"src_z": {"min": 1.0, "max": 9.0}}
    table = {"redshift": "plan", "no_galaxy": "drop"}
    several, m = planned(path, hosts(z_lens=0.3), table=table, src_bulge={}, src_knots={}, **far)
    plain, _ = planned(path, hosts(z_lens=0.3), table=table, **far)
    assert m.attrs["rows_dropped"]["NO_GALAXY_IN_TABLE"] > 100
    for name in ("src_table_row", "src_flux_nmgy", "src_reff_arcsec"):
        np.testing.assert_array_equal(several[name].values, plain[name].values)
    assert (several["src_knots"] >= 2).all() and (several["src_bulge_reff_arcsec"] < several["src_reff_arcsec"]).all()
