import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec

from lensflow.errors import StoreError
from lensflow.store.create import CODECS
from lensflow.store.pieces import pieces_of, pieces_of_parts
from lensflow.store.shards import chunks_of_shard, encode_shard

SHAPE = (24, 3, 10, 10)


def make(path, codec="lz4-bitshuffle", dtype="f4", rows=50, **changes):
    shape, dims = (rows, *SHAPE[1:]), {"shards": SHAPE, "chunks": (4, *SHAPE[1:]), **changes}
    codec = CODECS[codec] if isinstance(codec, str) else codec
    return zarr.create_array(path, shape=shape, dtype=dtype, compressors=codec, fill_value=0, **dims)


def some(dtype="f4", seed=0):
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(dtype)
    values[4:8] = 0  # a chunk that is not stored
    values[9] = 0
    return values


@pytest.mark.parametrize("codec", list(CODECS))
@pytest.mark.parametrize("dtype", ["f4", "u1", "f8"])
@pytest.mark.parametrize("rows", [24, 21, 5, 2])
def test_a_shard_has_the_bytes_that_zarr_writes(tmp_path, codec, dtype, rows):
    values = np.abs(some(dtype))[:rows]
    array = make(tmp_path / "zarr", codec, dtype, rows=24 + rows)
    array[24:] = values
    assert b"".join(encode_shard(array, values)) == (tmp_path / "zarr" / "c" / "1" / "0" / "0" / "0").read_bytes()


def test_pieces_of_a_shard_are_its_chunks_and_its_index(tmp_path):
    array = make(tmp_path / "a")
    parts = encode_shard(array, some())
    assert pieces_of_parts(parts) == pieces_of(b"".join(parts), chunks_of_shard(array)) and len(parts) == 6


def test_negative_zeros_are_kept(tmp_path):
    array = make(tmp_path / "a")
    place = tmp_path / "a" / "c" / "0" / "0" / "0" / "0"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"".join(encode_shard(array, np.full(SHAPE, -0.0, "f4"))))
    assert np.signbit(array[:24]).all()


def test_a_chunk_whose_last_byte_alone_is_not_zero_is_stored(tmp_path):
    shape = (24, 3, 40, 40)  # chunks of more bytes than are looked at together
    array = zarr.create_array(tmp_path / "a", shape=shape, shards=shape,
                              chunks=(4, 3, 40, 40), dtype="f4", fill_value=0,
                              compressors=CODECS["lz4-shuffle"])  # fmt: skip
    values = np.zeros(shape, "f4")
    values[7, 2, 39, 39] = -1e-45
    parts = encode_shard(array, values)
    assert len(parts) == 2
    place = tmp_path / "a" / "c" / "0" / "0" / "0" / "0"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"".join(parts))
    assert array[...].tobytes() == values.tobytes()


def test_a_shard_of_zeros_is_no_object(tmp_path):
    assert encode_shard(make(tmp_path / "a"), np.zeros(SHAPE, "f4")) is None


@pytest.mark.parametrize("other", [{"chunks": (4, 3, 5, 10)}, {"codec": None}, {"codec": [BloscCodec(), BloscCodec()]}])
def test_what_is_not_known_is_refused(tmp_path, other):
    with pytest.raises(StoreError, match="laid out in a way"):
        encode_shard(make(tmp_path / "a", **other), some())


def test_values_of_another_shape_are_refused(tmp_path):
    with pytest.raises(StoreError, match="for a shard of"):
        encode_shard(make(tmp_path / "a"), np.concatenate([some(), some()]))


@pytest.mark.parametrize("enums", [False, True])
def test_names_and_enums_of_codecs_are_the_same(tmp_path, enums):
    """zarr 3.3 made plain strings of what were enums."""
    from zarr.codecs import BloscCname, BloscShuffle

    names = ("zstd", "bitshuffle") if not enums else (BloscCname.zstd, BloscShuffle.bitshuffle)
    codec = BloscCodec(cname=names[0], shuffle=names[1], clevel=1, typesize=4)
    array = make(tmp_path / "a", codec)
    array[:24] = some()
    assert b"".join(encode_shard(array, some())) == (tmp_path / "a" / "c" / "0" / "0" / "0" / "0").read_bytes()
