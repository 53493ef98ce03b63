"""A sweep whose run is on S3: arms are copied there, and each is a whole run."""

import pytest

import lensflow as lf
from lensflow.run import verify_step
from lensflow.run.cut import freeze_cutouts
from tests.run.sweep.small_sweep import config_of, hosts

pytestmark = pytest.mark.s3


def test_arms_on_s3_have_cutouts_and_manifest_of_their_own(bucket, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    config = config_of(
        f"{bucket}/run", storage={"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"},
        plan={"injections_per_host": 1},
    )  # fmt: skip
    freeze_cutouts(hosts().isel(host=slice(0, 6)), config)
    found = lf.sweep(config, "injection.noise=true,false", gates=False)
    (arm,) = found.arms
    assert arm.n_rendered == 0 and arm.n_rows == 12 and arm.folder.startswith(bucket)
    assert not verify_step(config.model_copy(update={"out": arm.folder}).out).left
    assert lf.sweep(config, "injection.noise=true,false", gates=False).to_json() == found.to_json()
