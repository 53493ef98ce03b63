"""Own reader of FITS tables against astropy's; damaged headers are answered at once."""

import numpy as np
import pytest
from astropy.io import fits

from lensflow.errors import TargetError
from lensflow.targets import read_targets
from lensflow.targets.files import open_tables

N = 7
ROWS = np.arange(N)


def columns():
    return [
        fits.Column("flag", "L", array=ROWS % 2 == 0),
        fits.Column("byte", "B", array=ROWS + 250),
        fits.Column("short", "I", array=-ROWS, null=-3),
        fits.Column("ushort", "I", bzero=2**15, array=(ROWS + 65_000).astype(np.uint16)),
        fits.Column("int", "J", array=ROWS * 10**8),
        fits.Column("uint", "J", bzero=2**31, array=(ROWS + 4_000_000_000).astype(np.uint32)),
        fits.Column("long", "K", array=ROWS + 2**60),
        fits.Column("ulong", "K", bzero=2**63, array=ROWS.astype(np.uint64) + np.uint64(2**63 + 5)),
        fits.Column("scaled", "D", bscale=0.5, bzero=100, array=ROWS * 0.5 + 100),
        fits.Column("bits", "11X", array=np.zeros((N, 11), bool)),
        fits.Column("single", "E", array=ROWS / 3),
        fits.Column("double", "D", array=ROWS / 7),
        fits.Column("text", "5A", array=[f"t{k}" for k in ROWS]),
        fits.Column("many", "3E", array=np.ones((N, 3))),
        fits.Column("heap", "PE()", array=np.array([np.ones(k) for k in ROWS], dtype=object)),
    ]


@pytest.fixture
def path(tmp_path):
    out = tmp_path / "t.fits"
    fits.HDUList([fits.PrimaryHDU(np.zeros((5, 3))), fits.ImageHDU(np.zeros(9)),
                  fits.BinTableHDU.from_columns(columns())]).writeto(out)  # fmt: skip
    return out


def test_values_are_those_that_astropy_reads(path):
    names = [c.name for c in columns() if c.name not in ("bits", "heap")]
    with open_tables(str(path)) as tables:
        table = next(tables)
        assert table.names == tuple(c.name for c in columns())
        ours = next(table.read(names))
    theirs = fits.getdata(path, 2)
    for name in names:
        expected = np.asarray(theirs[name])
        if name == "text":
            expected = expected.astype("S")
        if name == "short":
            expected = np.where(ROWS == 3, np.nan, expected)
        np.testing.assert_array_equal(ours[name], expected, err_msg=name)
    for name in ("ushort", "uint", "long", "ulong"):
        assert ours[name].dtype.kind == theirs[name].dtype.kind, name


@pytest.mark.parametrize("name", ["bits", "heap"])
def test_a_column_that_holds_neither_number_nor_text_is_refused_by_name(path, name):
    with open_tables(str(path)) as tables, pytest.raises(TargetError, match=rf"t\.fits: {name} has format"):
        next(next(tables).read([name]))


def test_a_nul_ends_a_text(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("text", "4A", array=["abcd", "efgh"])])
    table.writeto(tmp_path / "t.fits")
    content = (tmp_path / "t.fits").read_bytes()
    (tmp_path / "t.fits").write_bytes(content.replace(b"efgh", b"e\0gh"))
    with open_tables(str(tmp_path / "t.fits")) as tables:
        assert next(next(tables).read(["text"]))["text"].tolist() == [b"abcd", b"e"]


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        ("TFIELDS", "1000000000", "TFIELDS is 1000000000"),
        ("NAXIS1", "1000000000000", "its rows have 1000000000000 bytes"),
        ("NAXIS2", "1000000000000", "cut short, 999999999"),
        ("NAXIS2", "-1", "NAXIS2 is -1"),
        ("PCOUNT", "1000000000000", None),
        ("TFORM1", "'999999999D'", "its table has columns of"),
        ("TFORM1", "'1.5D'", r"TFORM1 is '1\.5D'"),
        ("BITPIX", "'x'", None),
    ],
)
def test_a_damaged_header_is_answered_at_once(tmp_path, card, value, message, recwarn):
    path = tmp_path / "t.fits"
    data = {"ra": [1.0], "dec": [2.0], "id": ["a"], "brick": ["b"]}
    fits.BinTableHDU.from_columns(
        [fits.Column(n, "D" if isinstance(v[0], float) else "1A", array=v) for n, v in data.items()]
    ).writeto(path)
    content = path.read_bytes()
    at = content.index(card.ljust(8).encode() + b"=", 2880)
    path.write_bytes(content[:at] + f"{card:8s}= {value:>20s}".ljust(80).encode() + content[at + 80 :])
    if message is None:  # says nothing about the rows
        assert read_targets(str(path)).sizes["host"] == 1
    else:
        with pytest.raises(TargetError, match=rf"t\.fits: .*{message}"):
            read_targets(str(path))
    assert not recwarn.list
