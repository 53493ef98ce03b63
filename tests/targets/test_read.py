import numpy as np
import pytest
from astropy.table import Table

from lensflow.errors import TargetError
from lensflow.targets import read_targets


def table(**changes):
    base = {
        "host_id": ["a", "b", "c"],
        "ra_deg": [10.0, 10.1, 10.2],
        "dec_deg": [1.0, 1.0, 1.0],
        "brickname": ["0100p010"] * 3,
        "flux_r_nmgy": [1.0, 2.0, 3.0],
    }
    return Table({k: v for k, v in {**base, **changes}.items() if v is not None})


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits", "parquet"])
def test_every_format_gives_the_same_targets(tmp_path, ending):
    path = tmp_path / f"targets.{ending}"
    if ending == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({c: table()[c].tolist() for c in table().colnames}), path)
    else:
        table().write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending])
    out = read_targets(str(path))
    assert out["host_id"].values.tolist() == ["a", "b", "c"]
    assert out["flux_nmgy"].sel(band="r").values.tolist() == [1, 2, 3]
    assert np.isnan(out["flux_nmgy"].sel(band="g")).all()


def write(tmp_path, t):
    path = tmp_path / "targets.csv"
    t.write(path, format="ascii.csv", overwrite=True)
    return str(path)


def test_columns_are_mapped_and_synonyms_known(tmp_path):
    t = table()
    t.rename_columns(["host_id", "ra_deg", "dec_deg"], ["NAME", "RA", "Dec"])
    out = read_targets(write(tmp_path, t), columns={"host_id": "NAME"})
    assert out["host_id"].values.tolist() == ["a", "b", "c"] and out["ra_deg"].values[1] == 10.1


def test_duplicates_are_merged_and_counted(tmp_path):
    path = write(
        tmp_path, table(host_id=["a", "a", "c"], ra_deg=[10.0, 10.0, 10.0 + 0.02 / 3600], dec_deg=[1.0, 1.0, 1.0])
    )
    out = read_targets(path)
    assert out["host_id"].values.tolist() == ["a"]
    assert out.attrs["n_read"] == 3 and out.attrs["n_duplicates"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ra_deg": None}, r"no column 'ra_deg'.*survey\.columns"),
        ({"ra_deg": [10.0, float("nan"), 10.2]}, r"ra_deg is nan in row 1 \(host b\)"),
        ({"dec_deg": [1.0, 1.0, 91.0]}, r"dec_deg is 91\.0 in row 2"),
        ({"ra_deg": ["x", "y", "z"]}, "not a number"),
        (
            {"host_id": ["a", "b", "a"], "brickname": ["0100p010", "0100p010", "0102p010"]},
            "names 2 different positions",
        ),
    ],
)
def test_bad_columns_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(TargetError, match=message):
        read_targets(write(tmp_path, table(**changes)))


def test_an_empty_table_is_refused(tmp_path):
    with pytest.raises(TargetError, match="empty"):
        read_targets(write(tmp_path, table()[:0]))


@pytest.mark.parametrize("name", ["missing.csv", "table.xyz"])
def test_a_table_that_cannot_be_read_is_refused_by_name(tmp_path, name):
    if name.endswith("xyz"):
        (tmp_path / name).write_text("a\n1\n")
    with pytest.raises(TargetError, match=name):
        read_targets(str(tmp_path / name))


def test_a_damaged_fits_table_is_refused_by_name(tmp_path):
    path = tmp_path / "t.fits"
    table().write(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(TargetError, match=r"t\.fits"):
        read_targets(str(path))


def test_a_mapping_for_no_column_of_ours_is_refused(tmp_path):
    with pytest.raises(TargetError, match=r"survey\.columns\.sigma_v.*sigma_v_km_s"):
        read_targets(write(tmp_path, table()), columns={"sigma_v": "brickname"})
