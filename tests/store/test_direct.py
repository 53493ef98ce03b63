"""Rows read without zarr's pipeline are those that zarr reads, and no damage gets through."""

import os

import numpy as np
import pytest
import zarr

from lensflow import schema
from lensflow.errors import DamagedStoreError
from lensflow.store import objects, receipts
from lensflow.store import read as reading
from lensflow.store.direct import Direct
from lensflow.store.open import read_hosts, read_pixels
from lensflow.store.pixels import pixel_blocks
from tests.factories import make_cutouts
from tests.store.test_store import write_cutouts

N, ROWS, INNER = 21, 8, 4
KEY = "image/c/1/0/0/0"


@pytest.fixture
def url(tmp_path):
    """A store of three shards, with a chunk of zeros and a variable of zeros alone in one shard."""
    cutouts = make_cutouts(N, size=16)
    cutouts["image"].values[8:12] = 0
    cutouts["maskbits"].values[:8] = 0
    where = str(tmp_path / "c.zarr")
    write_cutouts(where, cutouts, ROWS, INNER)
    forget()
    return where


def forget():
    reading._arrays.clear()
    objects._known.clear()
    receipts._forget()


def direct_of(url, name="image"):
    return Direct.of(url, reading.open_array(url, reading.store_group(url, "cutouts"), name))


@pytest.mark.parametrize("rows", [slice(None), slice(0, 8), slice(3, 4), slice(5, 19), slice(7, 9), slice(20, 21),
                                  slice(4, 4), slice(9, 30)])  # fmt: skip
def test_every_variable_is_what_zarr_reads_to_the_bit(url, rows):
    names = [v.name for v in schema.STORES["cutouts"] if "y" in v.dims]
    plain = zarr.open_group(url, mode="r")
    for name in [*names, "host_table"]:
        direct, expected = direct_of(url, name), plain[name][rows]
        found = direct.rows(rows)
        assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
        blocks = [(first, block.copy()) for first, block in direct.blocks(rows)]
        together = np.concatenate([expected[:0], *(b for _, b in blocks)])
        assert together.tobytes() == expected.tobytes()
        at = np.cumsum([rows.indices(N)[0], *(len(b) for _, b in blocks)])
        assert [first for first, _ in blocks] == at[:-1].tolist()


def test_what_is_read_of_a_store_comes_this_way(url, monkeypatch):
    expected = read_pixels(url, "cutouts", slice(2, 13), ("image",))["image"]
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda *_: pytest.fail("read by zarr"))
    np.testing.assert_array_equal(read_pixels(url, "cutouts", slice(2, 13), ("image",))["image"], expected)
    np.testing.assert_array_equal(read_hosts(url, np.array([12, 2, 2]), ("image",))["image"], expected[[10, 0, 0]])
    np.testing.assert_array_equal(np.concatenate([b for _, b in pixel_blocks(url, "cutouts", slice(2, 4), "image")]),
                                  expected[:2])  # fmt: skip


def test_other_layouts_unfinished_stores_and_remote_ones_are_left_to_zarr(url, tmp_path):
    unfinished = reading.open_array(url, reading.store_group(url, "cutouts", unfinished=True), "image")
    assert Direct.of(url, unfinished) is None
    other = zarr.create_array(tmp_path / "a", shape=(8, 4), shards=(8, 4), chunks=(4, 2), dtype="f4", fill_value=0)
    assert Direct.of(url, other) is None
    ids = reading.open_array(url, reading.store_group(url, "cutouts"), "host_id")
    assert Direct.of(url, ids) is None
    np.testing.assert_array_equal(
        np.concatenate([b.copy() for _, b in pixel_blocks(url, "cutouts", slice(0, 9), "image")]),
        reading.read_array(url, reading.store_group(url, "cutouts"), "image", slice(0, 9)),
    )


def _flip(place, at):
    whole = bytearray(place.read_bytes())
    whole[at] ^= 0x10
    place.write_bytes(whole)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "is missing"),
        (lambda p: os.truncate(p, p.stat().st_size - 5), "is truncated"),
        (lambda p: os.truncate(p, 0), "is truncated: 0 of"),
        (lambda p: p.write_bytes(p.read_bytes() + b"0"), "has more bytes than were written"),
        (lambda p: _flip(p, 40), "has other bytes than were written"),
        (lambda p: _flip(p, -20), "has other bytes than were written"),  # the index
        (lambda p: _flip(p, -2), "has other bytes than were written"),  # its checksum
        (
            lambda p: p.write_bytes((p.parents[3] / "0/0/0/0").read_bytes()),
            "is truncated|more bytes|other bytes",
        ),  # another shard's
    ],
)
def test_damage_is_named_and_never_read(url, tmp_path, damage, words):
    place = tmp_path / "c.zarr" / KEY
    damage(place)
    direct = direct_of(url)
    for read in (direct.rows, lambda rows: list(direct.blocks(rows))):
        with pytest.raises(DamagedStoreError, match=words) as found:
            read(slice(12, 16))
        assert found.value.key == KEY
    direct.rows(slice(0, 8))  # what is whole is read


def test_an_object_where_there_must_be_none_is_refused(url, tmp_path):
    place = tmp_path / "c.zarr" / "maskbits/c/0/0/0/0"
    assert not place.exists() and not direct_of(url, "maskbits").rows(slice(0, 8)).any()
    place.parent.mkdir(parents=True)
    place.write_bytes((tmp_path / "c.zarr" / KEY).read_bytes())
    with pytest.raises(DamagedStoreError, match="nothing vouches for"):
        direct_of(url, "maskbits").rows(slice(0, 8))


def test_a_chunk_of_another_size_is_not_read_into_part_of_a_buffer(url):
    direct = direct_of(url)
    small = direct.codec.encode(np.ones(4, np.float32))
    with pytest.raises(DamagedStoreError, match="has a chunk of 16 bytes"):
        direct._unpack(small, np.empty((INNER, 3, 16, 16), np.float32))
