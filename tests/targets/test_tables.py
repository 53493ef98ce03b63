"""Tables as astronomers have them: every format and dialect gives the same hosts, or says what is wrong."""
# ruff: noqa: E501 (tables as they are written)

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from lensflow.errors import TargetError
from lensflow.targets import read_targets

HOSTS = [("007", 10.0, 5.0, "0100p050", 0.4), ("Δ8", 10.1, 5.0, "0100p050", np.nan)]


def same(out):
    assert out["host_id"].values.tolist() == ["007", "Δ8"]
    assert out["ra_deg"].values.tolist() == [10.0, 10.1] and out["brickname"].values.tolist() == ["0100p050"] * 2
    np.testing.assert_array_equal(out["z_lens"].values, np.float32([0.4, np.nan]))


DIALECTS = {
    "blanks after commas.csv": "id, ra, dec, brickname, z_lens\n007, 10.0, 5.0, 0100p050, 0.4\nΔ8, 10.1, 5.0, 0100p050, -\n",
    "quotes after blanks.csv": 'id, ra, dec, brickname, z_lens\n"007", 10, 5, "0100p050", 0.4\n"Δ8", 10.1, 5, "0100p050", ""\n',
    "tabs.txt": "id\tra\tdec\tbrickname\tz_lens\n007\t10.0\t5.0\t0100p050\t0.4\nΔ8\t10.1\t5.0\t0100p050\t\n",
    "tabs.tsv": "id\tra\tdec\tbrickname\tz_lens\r\n007\t10.0\t5.0\t0100p050\t0.4\r\nΔ8\t10.1\t5.0\t0100p050\tN/A\r\n",
    "columns.dat": "id   ra    dec  brickname  z_lens\n007  10.0  5.0  0100p050   0.4\n Δ8  10.1  5.0  0100p050   --\n\n",
    "hash.dat": "# made by hand\n#\n# id ra dec brickname z_lens\n007 10.0 5.0 0100p050 0.4\nΔ8 10.1 5.0 0100p050 None\n",
    "hash.csv": "#id,ra,dec,brickname,z_lens\n007,10.0,5.0,0100p050,0.4\nΔ8,10.1,5.0,0100p050,null\n",
    "comments.csv": "# one\n# two, three\nid,ra,dec,brickname,z_lens\n007,10.0,5.0,0100p050,0.4\nΔ8,10.1,5.0,0100p050,<NA>\n",
    "lines and mark.csv": "\ufeff\n\nid,ra,dec,brickname,z_lens\n007,10.0,5.0,0100p050,0.4\n\nΔ8,10.1,5.0,0100p050,NaN\n",
    "mark.csv": "\ufeffid,ra,dec,brickname,z_lens\n007,10.0,5.0,0100p050,0.4\nΔ8,10.1,5.0,0100p050,\n",
    "semicolons.csv": "ID;RA;DEC;BRICKNAME;Z_LENS\n007;10.0;5.0;0100p050;0.4\nΔ8;10.1;5.0;0100p050;\n",
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_of_text_in_any_dialect(tmp_path, name, packed):
    path = tmp_path / (name + ".gz" * packed)
    content = DIALECTS[name].encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    same(read_targets(str(path)))


def table():
    columns = list(zip(*HOSTS, strict=True))
    return Table(dict(zip(("HOST_ID", "RA", "DEC", "BRICKNAME", "Z_LENS"), columns, strict=True)))


@pytest.mark.parametrize("ending", ["vot", "xml", "ecsv", "parquet", "fits"])
def test_a_table_that_astropy_writes(tmp_path, ending):
    path, t = tmp_path / f"t.{ending}", table()
    t["RA"].unit = t["DEC"].unit = u.deg
    if ending == "fits":
        t["HOST_ID"] = np.char.encode(t["HOST_ID"], "utf-8")
    elif ending != "parquet":
        t["Z_LENS"] = MaskedColumn(t["Z_LENS"], mask=[False, True])
    t.write(path, format="votable" if ending in ("vot", "xml") else None)
    same(read_targets(str(path)))


@pytest.mark.parametrize("ending", ["vot", "fits", "ecsv", "parquet"])
def test_64_bit_ids_with_a_gap_that_is_selected_away_stay_exact(tmp_path, ending):
    ids = 39627733312241993 + 2 * np.arange(4)
    t = Table({
        "TARGETID": MaskedColumn(ids, mask=[False, False, False, True]), "RA": 10 + 0.01 * np.arange(4), "DEC": np.ones(4),
        "BRICKNAME": ["x"] * 4, "TYPE": ["DEV"] * 3 + ["PSF"], "FLUX_R": [20.0] * 4, "FLUX_Z": [50.0] * 4,
        "FLUX_W1": [300.0] * 4,
    })  # fmt: skip
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        whole = {c: t[c].tolist() for c in t.colnames}
        pq.write_table(pa.table({**whole, "TARGETID": pa.array([*ids[:3].tolist(), None], pa.int64())}), path)
    else:
        t.write(path, format="votable" if ending == "vot" else None)
    out = read_targets(str(path), selection="v5_very_relaxed")
    assert out["host_id"].values.tolist() == ids[:3].astype(str).tolist()
    with pytest.raises(TargetError, match=r"host_id \(TARGETID\) has no value in row 3"):
        read_targets(str(path))


@pytest.mark.parametrize("missing", [None, b"None", b"  "])
def test_a_brick_that_is_missing_is_an_error_and_no_name(tmp_path, missing):
    path = tmp_path / "t.parquet"
    bricks = pa.array([b"0100p050", missing])
    pq.write_table(pa.table({"host_id": ["a", "b"], "ra": [1.0, 2.0], "dec": [0.0, 0.0], "brickname": bricks}), path)
    with pytest.raises(TargetError, match=r"brickname .* has no value in row 1"):
        read_targets(str(path))


def write_second(path, second):
    first = fits.BinTableHDU(np.array([(b"x" * 80,)], dtype=[("Field Header Card", "S80")]), name="LDAC_IMHEAD")
    fits.HDUList([fits.PrimaryHDU(), first, fits.BinTableHDU(second, name="LDAC_OBJECTS")]).writeto(path)


def test_the_first_table_of_a_file_that_has_the_columns_is_read(tmp_path):
    t = table()
    t["HOST_ID"] = np.char.encode(t["HOST_ID"], "utf-8")
    write_second(tmp_path / "t.fits", t)
    same(read_targets(str(tmp_path / "t.fits")))
    write_second(tmp_path / "u.fits", Table({"HOST_ID": ["a"], "X": [1.0]}))
    with pytest.raises(
        TargetError, match=r"u\.fits: no column 'ra_deg'.*LDAC_IMHEAD: Field Header Card; LDAC_OBJECTS: HOST_ID"
    ):
        read_targets(str(tmp_path / "u.fits"))


def test_an_ascii_table_of_fits_is_read(tmp_path):
    columns = [fits.Column("HOST_ID", "A3", array=["007", "a8"]), fits.Column("RA", "D25.17", array=[10.0, 10.1]),
               fits.Column("DEC", "D25.17", array=[5.0, 5.0]), fits.Column("BRICKNAME", "A8", array=["0100p050"] * 2)]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns(columns)]).writeto(tmp_path / "t.fits")
    out = read_targets(str(tmp_path / "t.fits"))
    assert out["host_id"].values.tolist() == ["007", "a8"] and out["ra_deg"].values.tolist() == [10.0, 10.1]


def with_units():
    t = QTable({"host_id": ["a"], "ra": [np.pi / 12] * u.rad, "dec": [30.0] * u.arcmin, "brickname": ["x"]})
    t["flux_r"], t["sigma_v_km_s"], t["shape_r"] = [7262.0] * u.nJy, [250e3] * u.m / u.s, [0.05] * u.arcmin
    return t


@pytest.mark.parametrize("ending", ["fits", "ecsv", "vot", "parquet"])
def test_the_units_that_a_table_states_are_converted(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    Table(with_units()).write(path, format="votable" if ending == "vot" else None)
    out = read_targets(str(path)).isel(host=0)
    assert out["ra_deg"] == pytest.approx(15) and out["dec_deg"] == pytest.approx(0.5)
    assert out["flux_nmgy"].sel(band="r") == pytest.approx(2.0)
    assert out["sigma_v_km_s"] == pytest.approx(250) and out["shape_r_arcsec"] == pytest.approx(3)


def test_the_unit_of_a_parquet_field_counts(tmp_path):
    fields = [pa.field("ra", pa.float64(), metadata={"unit": "rad"}), pa.field("dec", pa.float64()),
              pa.field("brickname", pa.string()), pa.field("id", pa.int64())]  # fmt: skip
    pq.write_table(pa.table([[np.pi / 2], [0.0], ["x"], [1]], schema=pa.schema(fields)), tmp_path / "t.parquet")
    assert read_targets(str(tmp_path / "t.parquet"))["ra_deg"].values[0] == pytest.approx(90)


def test_a_unit_that_cannot_be_converted_is_refused_with_column_and_unit(tmp_path):
    t = Table(with_units())
    t["flux_r"].unit = u.adu
    t.write(tmp_path / "t.fits")
    with pytest.raises(TargetError, match=r"column flux_r \(flux_r_nmgy\) is in 'adu': nMgy is needed"):
        read_targets(str(tmp_path / "t.fits"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,ra,dec\nX,10,5\nX,10.01,5.01\n", "'X' names 2 different positions"),
        ("id,ra,dec\n3.96277E+16,10,5\n", "host_id .id. holds '3.96277E.16': .* in row 0"),
        ("id,ra,dec,z_lens\na,10,5,0.4\nb,11,5,?\n", "z_lens holds '.', which is not a number, in row 1.*survey.missing_values"),
        ("id,ra,dec\na,-20.5,5\n", "ra_deg is -20.5 in row 0 .host a.*write it modulo 360"),
        ("id,ra,dec\na,12:30:00,5\n", "ra_deg .ra. holds '12:30:00'.*decimal"),
        ("id,RAJ2000,dec\na,10,5\n", "no column 'ra_deg'.* Is it 'RAJ2000'"),
        ("id ra dec\na 10 5\nb 11\n", "row 1 has 2 fields, the header 3"),
        ("id,ra,dec\na,10,5\n \"b\",11,5\n", "quotation marks|holds|fields"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
def test_what_cannot_be_trusted_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TargetError, match=message) as caught:
        read_targets(str(path))
    assert "t.csv" in str(caught.value)


def test_a_value_that_a_user_names_is_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,ra,dec,brick,z_lens\na,10,5,x,-99\nb,11,5,x,0.3\n")
    assert np.isnan(read_targets(str(path), missing_values=[-99])["z_lens"].values).tolist() == [True, False]
