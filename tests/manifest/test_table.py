import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import Table

from lensflow.errors import LensflowWarning, ManifestError
from lensflow.manifest.build import Planner, build_manifest
from lensflow.manifest.table import read_injection_table
from tests.factories import make_config, make_cutouts

COLUMNS = {
    "host_id": ["host-002", "host-000", "host-002", "host-004"],
    "theta_e_arcsec": [1.0, 1.1, 1.2, 1.3],
    "src_x_arcsec": [0.1, 0.2, 0.3, 0.4],
    "src_y_arcsec": [0.0, 0.0, 0.0, 0.0],
}


def write(folder, ending="csv", **changes):
    table = Table({k: v for k, v in {**COLUMNS, **changes}.items() if v is not None})
    path = folder / f"rows.{ending}"
    if ending == "parquet":
        table.to_pandas().to_parquet(path)
    else:
        table.write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending], overwrite=True)
    return str(path)


def plan(path, n=6, **changes):
    return build_manifest(make_cutouts(n), make_config(plan={"design": "table", "table": path, **changes}))


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits", "parquet"])
def test_the_rows_of_the_table_are_the_rows_of_the_manifest(tmp_path, ending):
    m = plan(write(tmp_path, ending))
    rows = m.isel(sample=~m["is_control"].values)
    assert rows["host_index"].values.tolist() == [0, 2, 2, 4]
    assert rows["theta_e_arcsec"].values.tolist() == [1.1, 1.0, 1.2, 1.3]
    assert rows["src_x_arcsec"].values.tolist() == [0.2, 0.1, 0.3, 0.4]
    assert m["host_index"].values[m["is_control"].values].tolist() == [0, 2, 4]
    assert m.attrs["hosts_skipped"] == {"NOT_IN_TABLE": 3}


def test_what_the_table_lacks_is_drawn_as_without_a_table(tmp_path):
    m = plan(write(tmp_path))
    drawn = build_manifest(make_cutouts(6), make_config(plan={"injections_per_host": 2}))
    where = {int(r): i for i, r in enumerate(drawn["row_id"].values)}
    rows = [where[int(r)] for r in m["row_id"].values]
    for name in ("lens_phi_rad", "src_q", "src_reff_arcsec", "src_flux_nmgy"):
        assert np.array_equal(m[name].values, drawn[name].values[rows], equal_nan=True), name


def test_rows_of_a_table_below_the_minimum_are_left_out_and_counted(tmp_path):
    m = plan(write(tmp_path), theta_e_min_arcsec=1.15)
    assert m["theta_e_arcsec"].values[~m["is_control"].values].tolist() == [1.2, 1.3]
    assert m.attrs["rows_dropped"]["THETA_E_BELOW_MINIMUM"] == 2


def test_other_hosts_may_move_in_the_table_without_changing_a_row(tmp_path):
    order = [3, 0, 2, 1]
    first = plan(write(tmp_path))
    moved = plan(write(tmp_path, **{k: [v[i] for i in order] for k, v in COLUMNS.items()}))
    assert first.drop_attrs().identical(moved.drop_attrs())


def test_fluxes_models_and_replicates_of_a_table(tmp_path):
    flux = {f"src_flux_nmgy_{b}": [1.0, 2.0, 3.0, 4.0] for b in "grz"}
    cutouts = make_cutouts(6)
    for name in ("flux_nmgy", "aperture_flux_nmgy"):
        cutouts[name].values[:] = np.nan
    path = write(tmp_path, lens_model=["SIS", "EPL", "SIE", "SIE"], **flux)
    m = build_manifest(cutouts, make_config(plan={"design": "table", "table": path, "replicates": 2}))
    rows = m.isel(sample=~m["is_control"].values)
    assert rows["src_flux_nmgy"].values[:, 1].tolist() == [2, 2, 1, 3, 1, 3, 4, 4]
    assert rows["lens_model"].values.tolist() == ["EPL", "EPL", "SIS", "SIE", "SIS", "SIE", "SIE", "SIE"]
    assert (rows["lens_q"].values[rows["lens_model"].values == "SIS"] == 1).all()
    assert np.unique(rows["lens_phi_rad"]).size == 8


def test_rows_for_hosts_that_cannot_be_used_are_counted(tmp_path):
    with pytest.warns(LensflowWarning, match=r"1 of 4 rows are for 1 host\(s\) that are not among the 6 .*'elsewhere'"):
        m = plan(write(tmp_path, host_id=["host-002", "host-000", "elsewhere", "host-004"]))
    assert m.attrs["rows_dropped"] == {"HOST_NOT_USABLE": 1}


def test_who_leaves_hosts_out_knowingly_is_not_warned_of_a_tables_rows_for_them(tmp_path, recwarn):
    path = write(tmp_path, host_id=["host-002", "host-000", "elsewhere", "host-004"])
    tables = make_cutouts(6).drop_dims(["y", "x"])
    config = make_config(plan={"design": "table", "table": path})
    for warn in (False, True):
        Planner(config, lambda start, stop: tables.isel(host=slice(start, stop)), 6, warn=warn)
        assert len(recwarn) == warn


def test_control_hosts_come_from_outside_the_table(tmp_path):
    m = plan(write(tmp_path), n=60, controls="disjoint", control_share=0.5, controls_per_host=2)
    control = m["is_control"].values
    hosts = set(m["host_index"].values[control])
    assert hosts.isdisjoint({0, 2, 4}) and 15 < len(hosts) < 42 and (~control).sum() == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta_e": [1.0] * 4}, "no column 'theta_e' can be set in a manifest. Did you mean 'theta_e_arcsec'"),
        ({"host_id": None}, "no column 'host_id'"),
        ({"src_y_arcsec": None}, "given together or not at all; missing: src_y_arcsec"),
        ({"src_flux_nmgy_r": [1.0] * 4}, "missing: src_flux_nmgy_g"),
        (
            {"theta_e_arcsec": [1, 2, -3.0, 1]},
            r"row 2 \(host host-002\): theta_e_arcsec is -3.0; it must be > 0. 0 other",
        ),
        ({"lens_q": [1, np.nan, 0.5, 2]}, r"row 1 \(host host-000\): lens_q is nan; .* 1 other"),
        ({"src_n": ["1", "2", "x", "1"]}, "src_n holds 'x', which is not a number, in row 2"),
        ({"lens_model": ["SIE", "SIE", "NFW", "SIE"]}, "row 2 .* lens_model is NFW; it must be one of SIS, SIE, EPL"),
        ({"row_id": [1, 2, 3, 4]}, "'row_id' can be set"),
    ],
)
def test_wrong_tables_are_refused_by_row(tmp_path, changes, message):
    with pytest.raises(ManifestError, match=message):
        read_injection_table(write(tmp_path, **changes), ("g", "r", "z"))


def test_columns_that_are_not_for_the_manifest_are_named_in_the_config(tmp_path):
    path = write(tmp_path, note=["a", "b", "c", "d"])
    assert read_injection_table(path, ("r",), ignore=("note",)).size == 4


@pytest.mark.parametrize(("name", "message"), [("none.csv", "no such table"), ("rows.xlsx", "unknown kind")])
def test_tables_that_cannot_be_read(tmp_path, name, message):
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(ManifestError, match=message):
        read_injection_table(str(tmp_path / name), ("r",))


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(ManifestError, match="cannot read the table"):
        read_injection_table(str(path), ("r",))


def declares(m):
    """Rows of injections as a dictionary of columns."""
    rows = m.isel(sample=~m["is_control"].values)
    return {name: rows[name].values for name in rows.data_vars}


def with_velocities(n=6):
    of_hosts = {"sigma_v_km_s": 220 + 10 * np.arange(n), "z_lens": 0.3 + 0.02 * np.arange(n)}
    return make_cutouts(n).assign({k: ("host", v.astype(np.float32)) for k, v in of_hosts.items()})


def test_theta_e_is_that_of_the_source_redshift_that_the_table_gives(tmp_path):
    from astropy import constants
    from astropy.cosmology import Planck18

    path = write(tmp_path, theta_e_arcsec=None, src_z=[1.0, 2.5, 0.7, 4.0])
    cutouts = with_velocities()
    config = make_config(plan={"design": "table", "table": path, "theta_e_from": "sigma_v"})
    rows = declares(build_manifest(cutouts, config))
    assert rows["src_z"].tolist() == [2.5, 1.0, 0.7, 4.0]
    z, sigma_v = (cutouts[k].values.astype(float)[rows["host_index"]] for k in ("z_lens", "sigma_v_km_s"))
    ratio = Planck18.angular_diameter_distance_z1z2(z, rows["src_z"]) / Planck18.angular_diameter_distance(
        rows["src_z"]
    )
    expected = np.rad2deg(4 * np.pi * (sigma_v / constants.c.to_value("km/s")) ** 2 * ratio.value) * 3600
    np.testing.assert_allclose(rows["theta_e_arcsec"], expected, rtol=1e-4)


def test_theta_e_of_the_table_stands_and_no_redshift_is_made_up_for_it(tmp_path):
    config = make_config(plan={"design": "table", "table": write(tmp_path), "theta_e_from": "sigma_v"})
    rows = declares(build_manifest(make_cutouts(6), config))  # whose hosts have no sigma_v: it is not needed
    assert rows["theta_e_arcsec"].tolist() == [1.1, 1.0, 1.2, 1.3] and np.isnan(rows["src_z"]).all()


def test_a_source_in_front_of_its_lens_is_refused_with_the_host(tmp_path):
    path = write(tmp_path, theta_e_arcsec=None, src_z=[1.0, 0.2, 1.0, 1.0])
    for policy in ("error", "prior"):
        plan_ = {"design": "table", "table": path, "theta_e_from": "sigma_v", "host_lacks": policy}
        with pytest.raises(ManifestError, match=r"host-000, whose z_lens is 0.3|NO_SIGMA_V_OR_Z"):
            build_manifest(with_velocities(), make_config(plan=plan_))


@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
def test_image_counts_are_honoured_for_every_isothermal_lens_of_a_table(tmp_path):
    from lensflow.lensing import image_positions

    n = 40
    hosts = [f"host-{i % 5:03d}" for i in range(n)]
    table = {
        "host_id": hosts,
        "lens_model": ["SIS", "SIE"] * (n // 2),
        "lens_q": [1.0, 0.5] * (n // 2),
        "shear": [0.08] * n,
    }
    Table(table).write(tmp_path / "m.csv", format="ascii.csv")
    rows = declares(plan(str(tmp_path / "m.csv"), src_min_images=4, src_position_tries=1000))
    sis = rows["lens_model"] == "SIS"
    assert sis.sum() == n // 2 and (rows["lens_q"][sis] == 1).all() and (rows["lens_q"][~sis] == 0.5).all()
    names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")
    assert (image_positions(*(rows[k] for k in names)).count >= 4).all()


def test_positions_of_the_table_with_too_few_images_are_refused_or_dropped(tmp_path):
    path = write(tmp_path, src_x_arcsec=[0.1, 9.0, 0.1, 0.1])
    with pytest.raises(ManifestError, match=r"1 of 4 source positions .* fewer than 2 images"):
        plan(path, src_min_images=2)
    m = plan(path, src_min_images=2, src_position_fails="drop")
    assert m.attrs["rows_dropped"] == {"NO_SOURCE_POSITION": 1}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"lens_q": [0.5] * 4}, r"1 row\(s\) give a lens_q .* 0\.5 to an SIS \(its own\)\. Give 1 there, .* SIE"),
        ({"lens_gamma": [2.2] * 4}, r"3 row\(s\) give a lens_gamma .* 2\.2 to an SI[SE] .* Give 2 there, .* EPL"),
    ],
)
def test_a_shape_or_slope_for_a_lens_that_has_none_is_refused_with_ways_out(tmp_path, columns, message):
    models = {"lens_model": ["SIS", "SIE", "EPL", "SIE"]}
    path = write(tmp_path, **models, **columns)
    with pytest.raises(ManifestError, match=message):
        plan(path)
    declares(plan(path, table_ignore=list(columns)))
    right = {"lens_q": [1.0, 0.5, 0.5, 0.5], "lens_gamma": [2.0, 2.0, 2.2, 2.0]}
    rows = declares(plan(write(tmp_path, **models, **right)))
    assert rows["lens_q"].tolist() == [0.5, 1, 0.5, 0.5] and rows["lens_gamma"].tolist() == [2, 2, 2.2, 2]


def test_a_shape_for_the_plans_own_sis_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"4 row\(s\) give a lens_q .* to an SIS \(plan\.lens_model\)"):
        plan(write(tmp_path, lens_q=[0.5] * 4), lens_model="SIS")


def test_a_column_is_ignored_although_a_manifest_has_one_of_its_name(tmp_path):
    path = write(tmp_path, shear=[0.9] * 4, SRC_N=[-1.0] * 4)
    rows = declares(plan(path, table_ignore=["shear", "src_n"]))
    assert (rows["shear"] < 0.1).all() and (rows["src_n"] == 1).all()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("thetaE", "theta_e_arcsec"), ("Theta_E", "theta_e_arcsec"), ("srcz", "src_z"), ("q", None),
     ("src_reff", "src_reff_arcsec"), ("lens_phi", "lens_phi_rad"), ("shear_phi", "shear_phi_rad")],
)  # fmt: skip
def test_a_wrong_name_gets_the_right_one(tmp_path, wrong, right):
    path = write(tmp_path, theta_e_arcsec=None, **{wrong: [0.5] * 4})
    with pytest.raises(ManifestError, match=f"{wrong}' can be set" + (f".*Did you mean '{right}'" if right else "")):
        read_injection_table(path, ("g", "r", "z"))


def test_a_table_for_other_hosts_is_refused_with_names_of_both(tmp_path):
    path = write(tmp_path, host_id=["a", "b", "a", "c"])
    with pytest.raises(ManifestError, match="'a', 'b', 'c', the cutouts have 'host-000', 'host-001', 'host-002'"):
        plan(path)


@pytest.mark.parametrize("ending", ["ecsv", "fits", "vot"])
def test_units_of_the_table_are_converted(tmp_path, ending):
    table = Table({"HOST_ID": COLUMNS["host_id"]})
    table["theta_e_arcsec"] = np.full(4, 0.02) * u.arcmin
    table["lens_phi_rad"] = np.full(4, 90.0) * u.deg
    for b in "grz":
        table[f"src_flux_nmgy_{b}"] = np.full(4, 7262.0) * u.nJy
    path = tmp_path / f"m.{ending}"
    table.write(path, format="votable" if ending == "vot" else None)
    rows = declares(plan(str(path)))
    assert rows["theta_e_arcsec"] == pytest.approx(1.2) and rows["lens_phi_rad"] == pytest.approx(np.pi / 2)
    assert rows["src_flux_nmgy"] == pytest.approx(2.0)
    table["theta_e_arcsec"].unit = u.s
    table.write(path, format="votable" if ending == "vot" else None, overwrite=True)
    with pytest.raises(ManifestError, match=r"column theta_e_arcsec .* is in 's': arcsec is needed"):
        plan(str(path))


def test_a_missing_id_or_value_is_refused_by_row(tmp_path):
    for name, values in (("host_id", ["host-000", ""]), ("theta_e_arcsec", [1.0, None]), ("lens_model", ["SIE", ""])):
        columns = {"host_id": ["host-000", "host-001"], "theta_e_arcsec": [1.0, 1.0], name: values}
        pq.write_table(pa.table(columns), tmp_path / "m.parquet")
        with pytest.raises(ManifestError, match=f"row 1 .*: {name} (has no value|is nan)"):
            plan(str(tmp_path / "m.parquet"))
