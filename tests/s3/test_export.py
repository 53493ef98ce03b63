"""An export on a real S3 server is, byte for byte, the one on disk."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.config import load_config
from lensflow.config.place import Place
from lensflow.export.formats.read import open_export
from lensflow.store import paths
from tests.export_run import export_run

pytestmark = pytest.mark.s3


@pytest.mark.parametrize("form", ["parquet", "npy", "hats"])
def test_an_export_on_s3_is_the_one_on_disk(form, bucket, s3_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    config = export_run()
    storage = {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"}
    there = load_config({**config.effective(), "storage": storage})
    options = {"format": form, "split": "val", "check": False, "shard_mb": 2}
    local = lf.export(config, tmp_path / "out", **options)
    remote = lf.export(there, f"{bucket}/out", **options)
    assert {f["path"]: f["sha256"] for f in remote.record["files"]} == {
        f["path"]: f["sha256"] for f in local.record["files"]
    }
    assert remote.record["digest"] == local.record["digest"]
    place = Place(remote.path, there.storage)
    assert sorted(paths.sizes_below(place)) == sorted(paths.sizes_below(local.path))
    here, far = open_export(local.path), open_export(place)
    for one, other in zip(here.pieces("val"), far.pieces("val"), strict=True):
        assert np.array_equal(here.read(one)["x"], far.read(other)["x"], equal_nan=True)
