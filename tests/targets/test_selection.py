import numpy as np
import pytest
from astropy.table import Table

from lensflow.config import BrickCutsConfig
from lensflow.config.presets import Selection
from lensflow.errors import ConfigError, TargetError
from lensflow.targets import read_targets

# The survey's spec, restated: z below, r-z above, z-W1 above.
LIMITS = {
    "v1_pure_massive": (20.0, 0.5, 1.6),
    "v2_baseline_dr10": (20.4, 0.4, 1.6),
    "v3_color_relaxed": (20.4, 0.4, 0.8),
    "v4_mag_relaxed": (21.0, 0.4, 0.8),
    "v5_very_relaxed": (21.5, 0.3, 0.8),
}


def flux(mag):
    return 10 ** (-0.4 * (np.asarray(mag, float) - 22.5))


def write(tmp_path, z, r_z, z_w1, **columns):
    n = len(z)
    base = {
        "RELEASE": np.full(n, 10000),
        "BRICKID": np.arange(n),
        "OBJID": np.arange(n),
        "BRICKNAME": [f"{i:04d}p000" for i in range(n)],
        "TYPE": ["DEV"] * n,
        "RA": np.arange(n) * 0.5,
        "DEC": np.zeros(n),
        "FLUX_R": flux(np.add(z, r_z)),
        "FLUX_Z": flux(z),
        "FLUX_W1": flux(np.subtract(z, z_w1)),
    }
    path = tmp_path / "sweep.fits"
    Table({k: v for k, v in {**base, **columns}.items() if v is not None}).write(path, overwrite=True)
    return str(path)


def test_the_config_knows_the_selections_and_they_are_those_of_the_survey():
    known = {name: Selection.named(name) for name in Selection.names()}
    assert {k: (s.max_z, s.min_r_z, s.min_z_w1) for k, s in known.items()} == LIMITS


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_strict_and_rows_are_counted_under_the_first_cut_they_fail(tmp_path, name):
    z, r_z, z_w1 = LIMITS[name]
    e = 1e-6
    path = write(
        tmp_path,
        z=[z - e, z + e, z - e, z - e, z + e],
        r_z=[r_z + e, r_z + e, r_z - e, r_z + e, r_z - e],
        z_w1=[z_w1 + e, z_w1 + e, z_w1 + e, z_w1 - e, z_w1 - e],
    )
    out = read_targets(path, selection=name)
    assert out["host_id"].values.tolist() == ["10000-0-0"]
    assert list(out.attrs["removed"].values()) == [2, 1, 1]
    assert f"not z < {z:g}" in out.attrs["removed"]


def test_a_row_exactly_at_a_limit_is_not_taken(tmp_path):
    # z = 20 exactly: flux 10, and 22.5 - 2.5 log10(10) is 20 in floating point too.
    path = write(tmp_path, z=[20.0, 19.0], r_z=[1.0, 1.0], z_w1=[2.0, 2.0], FLUX_Z=[10.0, flux(19.0)])
    assert read_targets(path, selection="v1_pure_massive").attrs["removed"] == {"not z < 20": 1}


def test_point_sources_and_rows_without_flux_are_removed_with_their_own_counts(tmp_path):
    good = {"z": [19.0] * 6, "r_z": [1.0] * 6, "z_w1": [2.0] * 6}
    path = write(
        tmp_path,
        **good,
        TYPE=["PSF", "DEV", "EXP", "SER", "REX", "PSF"],
        FLUX_R=[9.0, np.nan, 9.0, 9.0, 9.0, np.nan],
        FLUX_W1=[300.0, 300.0, 0.0, -1.0, 300.0, 300.0],
    )
    out = read_targets(path, selection="v2_baseline_dr10")
    assert out.attrs["removed"] == {"TYPE is PSF": 2, "no flux > 0 in r": 1, "no flux > 0 in w1": 2}
    assert out.attrs["n_read"] == out.sizes["host"] + 5


@pytest.mark.parametrize(("lost", "name"), [("FLUX_W1", "flux_w1_nmgy"), ("TYPE", "type"), ("FLUX_R", "flux_r_nmgy")])
def test_a_missing_column_names_itself_and_the_selection(tmp_path, lost, name):
    path = write(tmp_path, [19.0], [1.0], [2.0], **{lost: None})
    with pytest.raises(TargetError, match=rf"{name}, which selection v2_baseline_dr10 needs.*survey\.columns"):
        read_targets(path, selection="v2_baseline_dr10")
    assert read_targets(path).sizes["host"] == 1


def test_selecting_nothing_is_an_error_with_the_counts(tmp_path):
    with pytest.raises(TargetError, match=r"none of 2 rows is selected.*not z < 20\.4 2"):
        read_targets(write(tmp_path, [23.0, 23.0], [1.0, 1.0], [2.0, 2.0]), selection="v2_baseline_dr10")


def test_an_unknown_selection_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'v2_baseline_dr10'"):
        read_targets("x.fits", selection="v2_baseline_dr9")


def ivar(depth):
    return 25 / flux(depth) ** 2


def test_brick_cuts_keep_their_limits_and_count_what_is_unknown(tmp_path):
    n = 6
    path = write(
        tmp_path,
        [19.0] * n,
        [1.0] * n,
        [2.0] * n,
        EBV=np.array([0.12, 0.1201, 0.05, 0.05, np.nan, 0.05]),
        PSFSIZE_R=[1.6, 1.2, 1.61, 1.2, 1.2, 1.2],
        PSFDEPTH_R=ivar([23.7, 24, 24, 23.5, 24, 24]),
    )
    out = read_targets(path, brick_cuts=BrickCutsConfig())
    assert out["host_id"].values.tolist() == ["10000-0-0", "10000-5-5"]
    assert out.attrs["removed"] == {
        "ebv unknown": 1,
        "ebv > 0.12": 1,
        "psfsize_r_arcsec > 1.6": 1,
        "psfdepth_r_mag < 23.6": 1,
    }
    np.testing.assert_allclose(out["psfdepth_mag"].sel(band="r"), [23.7, 24], rtol=1e-6)
    np.testing.assert_allclose(out["catalogue_psfsize_arcsec"].sel(band="r"), [1.6, 1.2], rtol=1e-6)
    only_depth = BrickCutsConfig(max_ebv=None, max_psfsize_r_arcsec=None, min_psfdepth_r_mag=23.6)
    assert read_targets(path, brick_cuts=only_depth).attrs["removed"] == {"psfdepth_r_mag < 23.6": 1}


def test_brick_cuts_from_a_bricks_table_and_its_values_are_carried_along(tmp_path):
    path = write(tmp_path, [19.0] * 3, [1.0] * 3, [2.0] * 3)
    bricks = tmp_path / "survey-bricks.fits"
    Table(
        {
            "brickname": ["0001p000", "0000p000"],
            "ebv": [0.2, 0.03],
            "psfsize_r": [1.2, 1.3],
            "psfsize_z": [1.1, 1.05],
            "psfdepth_r": [24.0, 24.5],
        }
    ).write(bricks)
    out = read_targets(path, brick_cuts=BrickCutsConfig(table=str(bricks)))
    assert out["brickname"].values.tolist() == ["0000p000"]
    assert out.attrs["removed"] == {"brick not in the bricks table": 1, "ebv > 0.12": 1}
    np.testing.assert_allclose(out["catalogue_psfsize_arcsec"].values, [[np.nan, 1.3, 1.05]], rtol=1e-6)
    np.testing.assert_allclose(out["psfdepth_mag"].values, [[np.nan, 24.5, np.nan]], rtol=1e-6)
    assert out["ebv"].values == np.float32(0.03)


def test_a_bricks_table_with_a_brick_twice_or_without_a_column_is_refused(tmp_path):
    path = write(tmp_path, [19.0], [1.0], [2.0])
    bricks = tmp_path / "survey-bricks.csv"
    bricks.write_text("brickname,ebv,psfsize_r,psfdepth_r\n0000p000,0.1,1,24\n0000p000,0.2,1,24\n")
    with pytest.raises(TargetError, match="brick 0000p000 has more than one row"):
        read_targets(path, brick_cuts=BrickCutsConfig(table=str(bricks)))
    bricks.write_text("brickname,ebv,psfdepth_r\n0000p000,0.1,24\n")
    with pytest.raises(TargetError, match=r"survey-bricks\.csv: no column 'psfsize_r_arcsec'"):
        read_targets(path, brick_cuts=BrickCutsConfig(table=str(bricks)))


def test_a_depth_that_may_be_in_magnitudes_must_be_named(tmp_path):
    path = write(tmp_path, [19.0] * 2, [1.0] * 2, [2.0] * 2, PSFDEPTH_R=[24.1, 23.0])
    with pytest.raises(TargetError, match="psfdepth_r may be magnitudes"):
        read_targets(path)
    cuts = BrickCutsConfig(max_ebv=None, max_psfsize_r_arcsec=None)
    out = read_targets(path, columns={"psfdepth_r_mag": "PSFDEPTH_R"}, brick_cuts=cuts)
    assert out["host_id"].values.tolist() == ["10000-0-0"]
    raw = read_targets(path, columns={"psfdepth_r": "PSFDEPTH_R"})
    np.testing.assert_allclose(raw["psfdepth_mag"].sel(band="r"), 22.5 - 2.5 * np.log10(5 / np.sqrt([24.1, 23.0])))
