import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from lensflow.store import shards
from lensflow.store.create import _CODECS
from lensflow.store.shards import write_shard

SHAPE = (24, 3, 10, 10)


def make(path, codec="lz4-bitshuffle", dtype="f4", **changes):
    shape, dims = (50, *SHAPE[1:]), {"shards": SHAPE, "chunks": (4, *SHAPE[1:]), **changes}
    codec = _CODECS[codec] if isinstance(codec, str) else codec
    return zarr.create_array(path, shape=shape, dtype=dtype, compressors=codec, fill_value=0, **dims)


def some(dtype="f4", seed=0):
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(dtype)
    values[4:8] = 0  # a chunk that is not stored
    values[9] = 0
    return values


@pytest.mark.parametrize("codec", list(_CODECS))
@pytest.mark.parametrize("dtype", ["f4", "u1", "f8"])
def test_a_shard_has_the_bytes_that_zarr_writes(tmp_path, codec, dtype):
    values = np.abs(some(dtype))
    make(tmp_path / "zarr", codec, dtype)[24:48] = values
    ours = make(tmp_path / "ours", codec, dtype)
    assert write_shard(ours, 1, values)
    a, b = (tmp_path / name / "c" / "1" / "0" / "0" / "0" for name in ("zarr", "ours"))
    assert a.read_bytes() == b.read_bytes() and np.array_equal(ours[24:48], values)


def test_negative_zeros_are_kept(tmp_path):
    array = make(tmp_path / "a")
    write_shard(array, 0, np.full(SHAPE, -0.0, "f4"))
    assert np.signbit(array[:24]).all()


def test_a_shard_of_zeros_is_no_object_and_replaces_what_was_there(tmp_path):
    array = make(tmp_path / "a")
    assert write_shard(array, 0, some()) and write_shard(array, 0, np.zeros(SHAPE, "f4"))
    assert not (tmp_path / "a" / "c" / "0" / "0" / "0" / "0").exists() and not array[:24].any()


@pytest.mark.parametrize("other", [{"chunks": (4, 3, 5, 10)}, {"codec": None}, {"codec": [BloscCodec(), BloscCodec()]}])
def test_what_is_not_known_is_left_to_zarr(tmp_path, other):
    assert not write_shard(make(tmp_path / "a", **other), 0, some())
    assert not (tmp_path / "a" / "c").exists()


def test_the_last_shard_of_fewer_rows_is_left_to_zarr(tmp_path):
    assert not write_shard(make(tmp_path / "a"), 2, some()[:2])


def test_a_zarr_that_moved_its_private_names_writes_the_same_values_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "sync", None)
    assert not write_shard(make(tmp_path / "a"), 0, some())


def test_the_private_names_of_zarr_are_where_they_were():
    assert shards.sync is not None, "zarr moved zarr.core.sync.sync: shards are written at half the speed"


@pytest.mark.parametrize("enums", [False, True])
def test_names_and_enums_of_codecs_are_the_same(tmp_path, enums):
    """zarr 3.3 made plain strings of what were enums."""
    from zarr.codecs import BloscCname, BloscShuffle

    names = ("zstd", "bitshuffle") if not enums else (BloscCname.zstd, BloscShuffle.bitshuffle)
    array = make(tmp_path / "a", BloscCodec(cname=names[0], shuffle=names[1], clevel=1, typesize=4))
    assert write_shard(array, 0, some()) and np.array_equal(array[:24], some())
