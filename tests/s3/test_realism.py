"""A comparison with real lenses whose run is on S3: the verdict of the run on disk, kept there and read again."""

from pathlib import Path

import pytest

import lensflow as lf
from lensflow.config import load_config
from lensflow.errors import StoreError
from lensflow.run.realism import step
from lensflow.run.realism.files import results_of
from lensflow.run.realism.stamps import RealFolder
from lensflow.store import paths
from tests.run.realism.sky import injected_run, sky_tree, the_sky

pytestmark = pytest.mark.s3


def test_a_comparison_on_s3_is_that_on_disk_and_is_kept_there(bucket, s3_server, tmp_path, monkeypatch):
    here = injected_run(tmp_path / "run")
    there = load_config({
        **sky_tree(f"{bucket}/run", the_sky()),
        "storage": {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"},
    })  # fmt: skip
    for file in Path(here.out).rglob("*"):
        if file.is_file():
            paths.write_bytes(paths.join(there.out, file.relative_to(here.out).as_posix()), file.read_bytes())
    # A table is an input: it is read from the environment's server, as the survey's bricks are, and not from the run's.
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    table = f"{bucket}/lenses.csv"
    paths.write_bytes(table, (the_sky() / "lenses.csv").read_bytes())
    on_disk, on_s3 = lf.compare_real(here), lf.compare_real(there, table)
    assert on_s3.gate.to_json() == on_disk.gate.to_json() and on_s3.counts == on_disk.counts
    assert on_disk.features.sizes["feature"] > 10 and paths.group_exists(RealFolder.of(there).cutouts)
    with monkeypatch.context() as patched:
        patched.setattr(step, "_measured", lambda *args, **others: pytest.fail("measured again"))
        assert lf.compare_real(there, table).gate.to_json() == on_s3.gate.to_json()
    kept = results_of(there, table, "")
    paths.write_bytes(kept, paths.read_object(kept).replace(b'"verdict"', b'"verdikt"', 1))
    with pytest.raises(StoreError):
        lf.compare_real(there, table)
