"""How often S3 is asked."""

import asyncio
from collections import Counter

import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype

from lensflow.config import StorageConfig
from lensflow.config.place import Place
from lensflow.errors import DamagedStoreError
from lensflow.store import create, objects, paths, writing
from tests.fits.range_server import serve


@pytest.fixture
def server(tmp_path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "object").write_bytes(b"some bytes")
    with serve(tmp_path) as server:
        yield server


@pytest.fixture
def bucket(server):
    return Place("s3://bucket", StorageConfig(anonymous=True, endpoint_url=server.url, region="us-east-1"))


def test_a_small_object_is_read_in_one_request(server, bucket):
    assert paths.read_object(paths.join(bucket, "object")) == b"some bytes"
    assert server.requests == {"object": 1}  # any other kind of request is an error of this server


def test_zarr_reads_an_object_in_one_request(server, bucket):
    store = paths.zarr_store(bucket)
    read = store.get("object", default_buffer_prototype())
    assert asyncio.run(read).to_bytes() == b"some bytes"
    assert server.requests == {"object": 1}


@pytest.mark.parametrize("name", ["object", "nothing"])
def test_whether_an_object_exists_is_one_request(server, bucket, name):
    store = paths.zarr_store(bucket)
    assert asyncio.run(store.exists(name)) == (name == "object")
    assert server.requests == {f"HEAD {name}": 1}


@pytest.fixture
def elsewhere(monkeypatch):
    """A store on no local disk, and how often each of its objects was read or looked for."""
    url, asked = "memory://lensflow-requests/run/pairs.zarr", Counter()
    create.create_store(
        url, "pairs", 64, ["g", "r"], stamp_size=8, rows_per_region=32, inner_chunk=8, attrs={"fingerprint": "f"}
    )
    for method in ("get", "exists"):
        real = getattr(paths.FsspecStore, method)

        async def count(self, key, *options, _real=real, **more):
            asked[key] += 1
            return await _real(self, key, *options, **more)

        monkeypatch.setattr(paths.FsspecStore, method, count)
    yield url, asked
    paths.remove_folder("memory://lensflow-requests/run")


def test_metadata_of_arrays_elsewhere_is_read_and_checked_once_in_a_process(elsewhere):
    url, asked = elsewhere
    for _ in range(3):
        group = objects.open_group(url)
        assert group["stamp"].shape == (64, 2, 8, 8) and "ctrl" not in group
    assert asked["stamp/zarr.json"] == asked["ctrl/zarr.json"] == 1 and asked["zarr.json"] >= 3
    # A store that is made again is another one, though its fingerprint is the same.
    sizes = {"stamp_size": 8, "rows_per_region": 32, "inner_chunk": 8}
    create.create_store(url, "pairs", 96, ["g", "r"], optional=["ctrl"], attrs={"fingerprint": "f"}, **sizes)
    group = objects.open_group(url)
    assert group["stamp"].shape == (96, 2, 8, 8) and "ctrl" in group


def test_metadata_that_is_damaged_elsewhere_is_refused_and_not_remembered(elsewhere):
    url, _ = elsewhere
    good = paths.read_object(paths.join(url, "stamp/zarr.json"))
    paths.write_bytes(paths.join(url, "stamp/zarr.json"), good.replace(b"64", b"65", 1))
    with pytest.raises(DamagedStoreError, match="other bytes"):
        objects.open_group(url)["stamp"]
    paths.write_bytes(paths.join(url, "stamp/zarr.json"), good)
    assert np.prod(objects.open_group(url)["stamp"].shape) == 64 * 2 * 64


def test_objects_of_a_region_are_written_side_by_side_and_an_error_of_one_is_not_lost(monkeypatch):
    at_work, most = Counter(), Counter()

    def put(url, key, data):
        at_work[url] += 1
        most[url] = max(most[url], at_work[url])
        asyncio.run(asyncio.sleep(0.05))
        at_work[url] -= 1
        if key == "b" and url.endswith("broken"):
            raise OSError("no")

    monkeypatch.setattr(paths, "put_object", put)
    objects_ = [writing.Encoded(k, [b"x"], "1:00000000") for k in "abcd"]
    assert set(writing.write_objects("s3://bucket/store", objects_, lambda: True)) == set("abcd")
    assert most["s3://bucket/store"] > 1
    assert set(writing.write_objects("s3://bucket/not", objects_, lambda: False)) == set("abcd")  # done already
    assert most["s3://bucket/not"] == 0
    with pytest.raises(OSError, match="no"):
        writing.write_objects("s3://bucket/broken", objects_, lambda: True)
