"""Objects of a store behind a network: few requests, the bits of the store on disk, and no damage that gets through."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lensflow import schema
from lensflow.config import StorageConfig
from lensflow.config.place import Place
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.manifest.build import build_manifest
from lensflow.store import create, object_bytes, objects, paths, receipts, s3
from lensflow.store import read as reading
from lensflow.store.direct import Direct
from lensflow.store.open import read_manifest_block
from lensflow.store.regions import Region
from lensflow.store.tables import write_table
from tests.factories import make_config, make_cutouts
from tests.store.test_store import write_cutouts

N, ROWS, INNER = 21, 8, 4
KEY = "image/c/1/0/0/0"
FAR = "memory://lensflow-object-bytes"


def forget():
    reading._arrays.clear()
    objects._known.clear()
    objects._metadata_read.clear()
    receipts._forget()
    object_bytes.forget()


def carry(folder):
    """Copy a folder to a store that is no local disk."""
    for file in Path(folder).rglob("*"):
        if file.is_file():
            paths.write_bytes(f"{FAR}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    forget()


@pytest.fixture
def near(tmp_path):
    """Cutouts of three shards, with a chunk of zeros and a variable of zeros alone in one shard."""
    cutouts = make_cutouts(N, size=16)
    cutouts["image"].values[8:12] = 0
    cutouts["maskbits"].values[:8] = 0
    write_cutouts(str(tmp_path / "c.zarr"), cutouts, ROWS, INNER)
    carry(tmp_path)
    yield str(tmp_path / "c.zarr")
    paths.remove_folder(FAR)
    forget()


@pytest.fixture
def asked(monkeypatch):
    """Requests for objects of arrays, by key, with the bytes wanted."""
    counts, real = Counter(), paths.get_object

    def get(url, key, part=None):
        counts[key, part] += 1
        return real(url, key, part)

    monkeypatch.setattr(paths, "get_object", get)
    return counts


def direct_of(url, name="image", store="cutouts"):
    return Direct.of(url, reading.open_array(url, reading.store_group(url, store), name))


SLICES = [slice(None), slice(0, 8), slice(3, 4), slice(5, 19), slice(7, 9), slice(20, 21), slice(4, 4), slice(9, 30)]


@pytest.mark.parametrize("whole_bytes", [object_bytes.WHOLE_BYTES, 0])
def test_rows_from_an_object_store_are_those_of_the_disk_to_the_bit(near, whole_bytes, monkeypatch):
    monkeypatch.setattr(object_bytes, "WHOLE_BYTES", whole_bytes)
    names = [v.name for v in schema.STORES["cutouts"] if "y" in v.dims]
    for name in [*names, "host_table"]:
        here, there = direct_of(near, name), direct_of(f"{FAR}/c.zarr", name)
        for rows in SLICES:
            assert there.rows(rows).tobytes() == here.rows(rows).tobytes()
            blocks = [block.copy() for _, block in there.blocks(rows)]
            assert np.concatenate([here.rows(slice(0, 0)), *blocks]).tobytes() == here.rows(rows).tobytes()


def test_a_small_object_or_one_of_which_half_is_wanted_is_one_request_and_others_two(near, asked, monkeypatch):
    far = direct_of(f"{FAR}/c.zarr")
    far.rows(slice(8, 9))
    assert asked == {(KEY, None): 1}
    monkeypatch.setattr(object_bytes, "WHOLE_BYTES", 0)
    asked.clear()
    far.rows(slice(12, 16))
    assert asked == {(KEY, None): 1}
    monkeypatch.setattr(object_bytes.RequestedBytes, "__init__", _of_little)
    asked.clear()
    far.rows(slice(12, 16))
    (index, chunk) = (part for (_, part), n in asked.items() if n == 1)
    assert len(asked) == 2 and chunk[1] <= index[0]


def _of_little(self, url, key, pieces, share, keep, _real=object_bytes.RequestedBytes.__init__):
    _real(self, url, key, pieces, 0.1, keep)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: None, "is missing"),
        (lambda b: b[:-5], "is truncated"),
        (lambda b: b"", "is truncated"),
        (lambda b: b[:-40] + bytes([b[-40] ^ 4]) + b[-39:], "has other bytes than were written"),
        (lambda b: b[:-20] + bytes([b[-20] ^ 4]) + b[-19:], "has other bytes than were written"),
        (lambda b: b[:-2] + bytes([b[-2] ^ 4]) + b[-1:], "has other bytes than were written"),
        (lambda b: b[:90] + bytes([b[90] ^ 4]) + b[91:], "has other bytes than were written"),
    ],
)
def test_damage_behind_a_network_is_named_and_never_read(near, damage, words, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(object_bytes, "WHOLE_BYTES", 0)
        monkeypatch.setattr(object_bytes.RequestedBytes, "__init__", _of_little)
    place = f"{FAR}/c.zarr/{KEY}"
    content = damage(paths.read_object(place))
    paths.remove(place) if content is None else paths.write_bytes(place, content)
    far = direct_of(f"{FAR}/c.zarr")
    for read in (far.rows, lambda rows: list(far.blocks(rows))):
        with pytest.raises(DamagedStoreError, match=words) as found:
            read(slice(12, 16))
        assert found.value.key == KEY
    far.rows(slice(0, 8))  # what is whole is read


def test_more_bytes_than_were_written_are_refused(near):
    place = f"{FAR}/c.zarr/{KEY}"
    paths.write_bytes(place, paths.read_object(place) + b"0")
    with pytest.raises(DamagedStoreError, match="has more bytes than were written"):
        direct_of(f"{FAR}/c.zarr").rows(slice(8, 16))


def test_an_object_where_there_must_be_none_is_refused(near):
    far = direct_of(f"{FAR}/c.zarr", "maskbits")
    assert not far.rows(slice(0, 8)).any()
    paths.write_bytes(f"{FAR}/c.zarr/maskbits/c/0/0/0/0", b"something")
    with pytest.raises(DamagedStoreError, match="nothing vouches for"):
        far.rows(slice(0, 8))


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """A manifest of shards of 32 rows behind the network, and one of other numbers."""
    monkeypatch.setattr(create, "SHARD_ROWS", 32)
    monkeypatch.setattr(create, "CHUNK_ROWS", 8)
    plans = [build_manifest(make_cutouts(8, size=8), make_config(plan={"injections_per_host": 7}, seed=k))
             for k in (1, 2)]  # fmt: skip

    def put(k):
        write_table(str(tmp_path / "m.zarr"), "manifest", plans[k], list("grz"), plans[k].attrs)
        carry_only(tmp_path)

    yield plans, put
    paths.remove_folder(FAR)
    forget()


def carry_only(folder):
    """Copy a folder as another process would have written it: nothing is forgotten here."""
    paths.remove_folder(FAR)
    for file in Path(folder).rglob("*"):
        if file.is_file():
            paths.write_bytes(f"{FAR}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def test_what_was_written_with_a_store_is_requested_once_by_regions_one_after_another(manifest, asked):
    plans, put = manifest
    put(0)
    n = plans[0].sizes["sample"]
    for first in range(0, n, 8):
        block = read_manifest_block(f"{FAR}/m.zarr", Region(0, first, first + 8))
        np.testing.assert_array_equal(block["row_id"], plans[0]["row_id"][first : first + 8])
        np.testing.assert_array_equal(block["theta_e_arcsec"], plans[0]["theta_e_arcsec"][first : first + 8])
    before = sum(asked.values())
    for first in range(0, n, 8):
        read_manifest_block(f"{FAR}/m.zarr", Region(0, first, first + 8))
    assert before > 0 and sum(asked.values()) == before  # all is kept
    put(1)  # in the same place: what is kept of the other is not taken for it
    found = read_manifest_block(f"{FAR}/m.zarr", Region(0, 0, n))
    np.testing.assert_array_equal(found["row_id"], plans[1]["row_id"])
    np.testing.assert_array_equal(found["theta_e_arcsec"], plans[1]["theta_e_arcsec"])


def test_kept_pieces_take_no_more_memory_than_is_said(manifest, asked, monkeypatch):
    plans, put = manifest
    put(0)
    monkeypatch.setattr(object_bytes, "KEPT_BYTES", 300)
    n = plans[0].sizes["sample"]
    for first in (*range(0, n, 8), 0):
        block = read_manifest_block(f"{FAR}/m.zarr", Region(0, first, first + 8))
        np.testing.assert_array_equal(block["row_id"], plans[0]["row_id"][first : first + 8])
        held = object_bytes._kept._pieces
        assert sum(map(len, held.values())) == object_bytes._kept._bytes <= 300
    monkeypatch.setattr(object_bytes, "KEPT_PIECE_BYTES", 0)
    object_bytes.forget()
    read_manifest_block(f"{FAR}/m.zarr", Region(0, 0, n))
    assert not object_bytes._kept._pieces and object_bytes._kept._bytes == 0


def test_groups_that_are_opened_together_are_opened_at_once_and_only_there(near, monkeypatch):
    urls, at_work, barrier, real = [f"{FAR}/c.zarr", f"{FAR}/d.zarr"], Counter(), threading.Barrier(2), paths.open_group
    for file in Path(near).parent.rglob("*"):
        if file.is_file():
            name = file.relative_to(Path(near).parent).as_posix().replace("c.zarr", "d.zarr").replace("s/c/", "s/d/")
            paths.write_bytes(f"{FAR}/{name}", file.read_bytes())

    def together(url, *how, **more):
        at_work[url] += 1
        if at_work.total() <= 2:
            barrier.wait(10)  # one after another they would break it
        return real(url, *how, **more)

    monkeypatch.setattr(paths, "open_group", together)
    with reading.opened_together(*urls):
        assert objects.open_group(urls[0]) is reading.store_group(urls[0], "cutouts")
        with pytest.raises(StoreError, match="expected a pairs store"):
            reading.store_group(urls[1], "pairs")
        with ThreadPoolExecutor(1) as pool:  # another task of this process has not opened them
            assert pool.submit(objects.open_group, urls[0]).result() is not objects.open_group(urls[0])
        assert reading.store_group(urls[0], "cutouts", unfinished=True).store.unfinished
    assert at_work[urls[0]] == 3
    objects.open_group(urls[0])
    assert at_work[urls[0]] == 4
    with pytest.raises(StoreError, match="no such store"), reading.opened_together(urls[0], f"{FAR}/e.zarr"):
        pass
    with reading.opened_together(near):  # nothing on a local disk
        assert at_work[near] == 0


def test_receipts_of_several_regions_are_read_side_by_side_and_each_once(near, monkeypatch):
    folder, real, barrier, read = objects.folder_of(f"{FAR}/c.zarr"), receipts.read_receipt, threading.Barrier(2), []

    def slow(folder, index):
        read.append(index)
        barrier.wait(10)
        return real(folder, index)

    monkeypatch.setattr(receipts, "read_receipt", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: receipts.vouched_of(folder, k, "f"), [0, 1] * 4))
    assert sorted(read) == [0, 1] and all(found) and receipts._reading == {}
    barrier.abort()
    assert receipts.vouched_of(folder, 1, "f") == found[1]


def test_a_receipt_that_is_replaced_while_it_is_read_is_not_kept(near, monkeypatch):
    folder, real = objects.folder_of(f"{FAR}/c.zarr"), receipts.read_receipt

    def meanwhile(folder, index):
        receipt = real(folder, index)
        receipts.replace_receipt(folder, receipts.replace(receipt, objects={}))
        return receipt

    monkeypatch.setattr(receipts, "read_receipt", meanwhile)
    assert receipts.vouched_of(folder, 0, "f").objects
    monkeypatch.setattr(receipts, "read_receipt", real)
    assert receipts.vouched_of(folder, 0, "f").objects == {}


def test_all_threads_of_a_process_share_one_client_of_an_object_store():
    url = Place("s3://bucket/run", StorageConfig(anonymous=True, endpoint_url="http://127.0.0.1:9", region="us-east-1"))
    other = Place("s3://bucket/run", StorageConfig(anonymous=True, endpoint_url="http://127.0.0.1:8"))
    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        found = list(pool.map(lambda _: (barrier.wait(10), id(paths.filesystem(url)[0]))[1], range(4)))
        stores = list(pool.map(lambda _: id(paths.zarr_store(url).fs), range(4)))
    assert len(set(found)) == len(set(stores)) == 1 and found[0] != stores[0]
    assert paths.filesystem(other)[0] is not paths.filesystem(url)[0]
    assert paths.filesystem(url)[1] == "bucket/run" and s3.filesystem(url).asynchronous is False
