"""Pairs without stored pixels on a real S3 server: rendered, they are those of a run on disk that stores them."""

import numpy as np
import pytest

import lensflow as lf
from lensflow.config import load_config
from lensflow.manifest.build import build_manifest
from lensflow.run.materialise import materialise_step
from lensflow.run.verify import verify_step
from lensflow.store.open import open_all_pairs, read_pixels
from lensflow.store.run_folder import RunFolder
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.s3

STORE = {"samples_per_region": 12, "hosts_per_region": 8, "inner_chunk": 4}
SURVEY = {"root": "-", "targets": "-", "stamp_size": 32}


def written(config):
    cutouts = make_cutouts(6, size=32)
    lf.write_pairs(lf.inject(cutouts, build_manifest(cutouts, config), config), config)
    return RunFolder.of(config)


def test_pixels_that_a_run_on_s3_does_not_store_are_those_of_a_run_on_disk(bucket, s3_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # whatever forgets the run's storage fails
    local = make_config(tmp_path / "run", survey=SURVEY, store=STORE)
    storage = {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"}
    tree = make_config(f"{bucket}/run", survey=SURVEY, store={**STORE, "pixels": "virtual"}).effective()
    far_config = load_config({**tree, "storage": storage})
    here, far = written(local), written(far_config)
    rows = np.array([1, 2, 17, 30])
    for name, values in read_pixels(here.pairs, "pairs", rows, ("arc", "stamp")).items():
        assert np.array_equal(read_pixels(far.pairs, "pairs", rows, (name,))[name], values, equal_nan=True)
    every, lazy = open_all_pairs(here.pairs), open_all_pairs(far.pairs)
    assert np.array_equal(lazy["stamp"].values, every["stamp"].values, equal_nan=True)
    materialise_step(far.root, [slice(0, 12)])
    assert np.array_equal(open_all_pairs(far.pairs)["arc"].values, every["arc"].values, equal_nan=True)
    assert verify_step(far.root).damage == ()
