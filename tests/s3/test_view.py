"""A run on S3 has the same page as the run on disk, reached as the run says."""

from pathlib import Path

import numpy as np
import pytest

from lensflow.config import RunConfig
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.view.results import results_of
from lensflow.view.rows import open_rows
from lensflow.view.stamps import KINDS, Stamps
from tests.run.completeness_run import completeness_run

pytestmark = pytest.mark.s3


def test_rows_columns_and_pixels_of_a_run_on_s3_are_those_on_disk(bucket, s3_server, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # for URLs that lost their settings
    here = completeness_run(tmp_path_factory)
    storage = {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"}
    there = RunConfig.model_validate({**here.effective(), "out": f"{bucket}/run", "storage": storage})
    url = RunFolder.of(there).root
    for file in Path(here.out).rglob("*"):
        if file.is_file() and "summaries" not in file.parts:
            paths.write_bytes(paths.join(url, file.relative_to(here.out).as_posix()), file.read_bytes())
    local, remote = open_rows(config_of(str(here.out))).rows, open_rows(there).rows
    np.testing.assert_array_equal(remote.row_id, local.row_id)
    names = ["theta_e_arcsec", "snr_matched", "is_clean", "bad_pixel_frac"]
    for name, values in remote.read(names).items():
        np.testing.assert_array_equal(values, local.values(name), err_msg=name)
    for a, b in zip(Stamps(remote).read([0, 5]), Stamps(local).read([0, 5]), strict=True):
        assert not a.problem
        for kind in KINDS:
            np.testing.assert_array_equal(a.image(kind), b.image(kind), err_msg=kind)
    assert any("lensflow gate" in m for m in results_of(there, remote).messages)  # read there, with this server
    assert config_of(url).storage == there.storage  # the copied config.yaml names none
