import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from lensflow.errors import TargetError
from lensflow.targets import files, read_targets
from lensflow.targets.files import expand, open_tables

N = 57


def table():
    rng = np.random.default_rng(2)
    return Table(
        {
            "RELEASE": np.full(N, 10000, np.int16),
            "BRICKID": np.arange(N, dtype=np.int32) + 300_000,
            "OBJID": np.arange(N, dtype=np.int32),
            "BRICKNAME": np.char.add("0100p0", (10 + np.arange(N)).astype(str)),
            "TYPE": np.where(np.arange(N) % 3 == 0, "PSF", "DEV"),
            "RA": rng.uniform(0, 360, N),
            "DEC": rng.uniform(-80, 80, N),
            "FLUX_R": rng.uniform(1, 9, N).astype(np.float32),
            "EBV": rng.uniform(0, 0.1, N).astype(np.float32),
        }
    )


def write(t, path):
    name = str(path)
    if ".parquet" in name:
        pq.write_table(pa.table({c: t[c].tolist() for c in t.colnames}), path, row_group_size=20)
    else:
        kind = "fits" if ".fits" in name else "ascii.ecsv" if ".ecsv" in name else "ascii.csv"
        t.write(path, format=kind)
    return name


@pytest.mark.parametrize("ending", ["fits", "fits.gz", "parquet", "csv", "ecsv"])
def test_chunks_of_any_size_give_the_same_targets(tmp_path, monkeypatch, ending):
    path = write(table(), tmp_path / f"t.{ending}")
    whole = read_targets(path)
    monkeypatch.setattr(files, "CHUNK_ROWS", 10)
    monkeypatch.setattr(files, "CHUNK_BYTES", 4 * 300)
    if "csv" not in ending:
        with open_tables(path) as tables:
            assert [len(c["RA"]) for c in next(tables).read(["RA"])][:5] == [10] * 5
    assert read_targets(path).identical(whole)
    assert whole["host_id"].values[3] == "10000-300003-3" and whole["type"].values[1] == "DEV"
    np.testing.assert_allclose(whole["ebv"].values, table()["EBV"], rtol=1e-6)


def test_a_compressed_csv_is_read(tmp_path):
    plain = write(table(), tmp_path / "t.csv")
    packed = tmp_path / "u.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    assert np.array_equal(read_targets(str(packed))["ra_deg"], read_targets(plain)["ra_deg"])


def test_a_glob_and_a_list_are_read_in_order_and_a_column_that_one_file_lacks_is_nan_there(tmp_path):
    t = table()
    write(t[:20], tmp_path / "sweep-a.fits")
    t.remove_column("EBV")
    write(t[20:], tmp_path / "sweep-b.fits")
    globbed = read_targets(str(tmp_path / "sweep-*.fits"))
    listed = read_targets([str(tmp_path / "sweep-b.fits"), str(tmp_path / "sweep-a.fits")])
    assert globbed.sizes["host"] == listed.sizes["host"] == globbed.attrs["n_read"] == N
    assert np.isfinite(globbed["ebv"].values).tolist() == [True] * 20 + [False] * 37
    assert np.isfinite(listed["ebv"].values).tolist() == [False] * 37 + [True] * 20
    with pytest.raises(TargetError, match=r"tractor-\*\.fits: no file of this pattern"):
        expand(str(tmp_path / "tractor-*.fits"))


def test_an_fsspec_url_is_read_and_globbed():
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/targets-test/a.csv", b"id,ra,dec,brick\n007,1,2,0010p020\n")
    out = read_targets("memory://targets-test/*.csv")
    assert out["host_id"].values.tolist() == ["007"]


def test_a_fits_table_cut_short_says_how_many_rows_are_missing(tmp_path):
    path = tmp_path / "t.fits"
    t = Table({"host_id": np.arange(5000), "ra": np.zeros(5000), "dec": np.zeros(5000), "brickname": ["x"] * 5000})
    t.write(path)
    path.write_bytes(path.read_bytes()[: 5760 + 2500 * 25])
    with pytest.raises(TargetError, match=r"t\.fits: cut short, 2500 of 5000 rows are missing"):
        read_targets(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,ra,dec,brick\na,1,2,x\nb,1,2\n", "Expected 4 columns"),
        ("id,ra,dec,brick\n,1,2,x\n", r"host_id \(id\) has no value in row 0"),
        ("id,ra,RA,dec,brick\na,1,1,2,x\n", None),
        ("id,Ra,RA,dec,brick\na,1,1,2,x\n", "more than one column 'ra'"),
        ("", "no column 'ra_deg'"),
    ],
)
def test_malformed_csv_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    if message is None:
        assert read_targets(str(path)).sizes["host"] == 1
        return
    with pytest.raises(TargetError, match=message) as caught:
        read_targets(str(path))
    assert "t.csv" in str(caught.value)


def test_numbers_with_gaps_in_a_parquet_id_keep_their_digits_and_the_gap_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {"ra": [1.0, 2.0], "dec": [0.0, 0.0], "brick": ["x", "x"]}
    pq.write_table(pa.table({"id": [39633, None], **columns}), path)
    with pytest.raises(TargetError, match="no value in row 1"):
        read_targets(str(path))
    pq.write_table(pa.table({"id": [39633, 2**60 + 1], **columns}), path)
    assert read_targets(str(path))["host_id"].values.tolist() == ["39633", str(2**60 + 1)]


def test_a_column_of_arrays_is_refused(tmp_path):
    t = table()
    t["EBV"] = np.zeros((N, 3))
    with pytest.raises(TargetError, match=r"EBV has \(3,\) values in each row"):
        read_targets(write(t, tmp_path / "t.fits"))


def test_text_that_is_no_text_is_refused_with_file_and_column(tmp_path):
    path = tmp_path / "t.fits"
    Table({"host_id": [b"a", b"\xf8"], "ra": [1.0, 2.0], "dec": [0.0, 0.0], "brickname": ["x", "x"]}).write(path)
    with pytest.raises(TargetError, match=r"t\.fits: host_id holds something that is not text"):
        read_targets(str(path))
