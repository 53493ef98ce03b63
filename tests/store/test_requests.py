"""How often S3 is asked."""

import asyncio

import pytest
from zarr.core.buffer import default_buffer_prototype

from lensflow.config import StorageConfig
from lensflow.config.place import Place
from lensflow.store import paths
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
