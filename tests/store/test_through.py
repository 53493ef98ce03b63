"""Nothing is read from a store, or written to one, past the methods that check and record."""

import asyncio

import numpy as np
import pytest
import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype

from lensflow.errors import DamagedStoreError
from lensflow.store.objects import CheckedStore, RecordingStore
from lensflow.store.through import ThroughStore

# Of zarr 3.1 to 3.4. A new name is a method of a later zarr: look whether it goes through get and set.
KNOWN = """
_abc_impl _check_writable _ensure_open _get_bytes _get_bytes_sync _get_json _get_json_sync _get_many _is_open _open
_read_only _set_many clear close delete delete_dir exists get get_partial_values get_ranges get_ranges_sync getsize
getsize_prefix is_empty list list_dir list_prefix open read_only set set_if_not_exists supports_consolidated_metadata
supports_deletes supports_listing supports_partial_writes supports_writes with_read_only
"""


def test_zarr_has_no_way_to_the_bytes_that_is_not_known():
    assert {n for n in dir(Store) if not n.startswith("__")} <= set(KNOWN.split())


@pytest.mark.parametrize("cls", [CheckedStore, RecordingStore])
def test_only_stores_that_are_asked_one_object_at_a_time(cls):
    assert issubclass(cls, ThroughStore)
    # These, if zarr finds them, read and write without the checks; the base of ThroughStore has none of them.
    assert not any(hasattr(cls, n) for n in ("get_sync", "set_sync", "delete_sync"))
    assert not cls._supports_sync_io


class Counting(ThroughStore):
    """Counts what is asked for, and finds one key damaged."""

    asked: tuple[str, ...] = ()

    async def get(self, key, prototype, byte_range=None):
        type(self).asked += (key,)
        if key == "a/c/1":
            raise DamagedStoreError("s", key, "is not what was written")
        return await super().get(key, prototype, byte_range)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Counting, "asked", ())
    inner = zarr.storage.MemoryStore()
    zarr.create_array(inner, name="a", shape=(8,), chunks=(1,), shards=(4,), dtype="i4")[:] = np.arange(8)
    return Counting(inner)


def test_every_read_of_an_array_goes_through_get(counting):
    array = zarr.open_array(counting, path="a", mode="r")
    assert array[1:3].tolist() == [1, 2]  # a part of a shard
    assert Counting.asked.count("a/c/0") >= 1
    with pytest.raises(DamagedStoreError, match="a/c/1 is not what was written"):
        array[5:6]
    with pytest.raises(DamagedStoreError, match="a/c/1 is not what was written"):
        array[:]


@pytest.mark.skipif(not hasattr(Store, "get_ranges"), reason="this zarr reads no ranges at once")
def test_ranges_are_read_through_get_and_errors_come_alone(counting):
    async def read(key):
        ranges = [RangeByteRequest(0, 2), RangeByteRequest(2, 4)]
        return [b async for b in counting.get_ranges(key, ranges, prototype=default_buffer_prototype())]

    assert asyncio.run(read("a/c/0")) and "a/c/0" in Counting.asked
    with pytest.raises(DamagedStoreError):
        asyncio.run(read("a/c/1"))


def test_a_store_in_front_behaves_as_the_one_behind(counting):
    assert counting == Counting(counting._store) != ThroughStore(counting._store)
    assert counting.supports_writes and not counting.with_read_only(True).supports_partial_writes
    assert counting.with_read_only(True).read_only and isinstance(counting.with_read_only(True), Counting)
