import numpy as np
import pytest
from astropy.table import Table

from lensflow.errors import ManifestError
from lensflow.manifest.build import build_manifest
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
    m = plan(write(tmp_path, host_id=["host-002", "host-000", "elsewhere", "host-004"]))
    assert m.attrs["rows_dropped"] == {"HOST_NOT_USABLE": 1}


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
        ({"src_n": ["1", "2", "x", "1"]}, "src_n holds something that is not a number"),
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
