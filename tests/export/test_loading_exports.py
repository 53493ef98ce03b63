"""A loader reads an export as it reads the run: the same samples with the same pixels."""

import json

import numpy as np
import pytest

import lensflow as lf
from lensflow.errors import ExportError, StaleStoreError
from tests.export_run import certify_as, export_copy

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return export_copy(tmp_path_factory.mktemp("loading") / "run")


@pytest.fixture(scope="module")
def direct(run):
    return by_id(lf.batches(run, training=False))


def by_id(batches):
    return {i: (x, y) for b in batches for i, x, y in zip(b["sample_id"].tolist(), b["x"], b["y"], strict=True)}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    made = {}

    def export(form, **settings):
        key = (form, *settings.items())
        if key not in made:
            out = tmp_path_factory.mktemp("exports") / form
            made[key] = lf.export(run.out, out, format=form, check=False, **settings).path
        return made[key]

    return export


@pytest.mark.parametrize("form", ["zarr", "npy", "parquet", "hats"])
def test_batches_of_an_export_are_those_of_its_run(exported, direct, form):
    found = by_id(lf.batches(exported(form), training=False, batch_size=16))
    assert found.keys() == direct.keys()
    assert all(np.array_equal(found[i][0], direct[i][0]) and found[i][1] == direct[i][1] for i in direct)


def test_pairs_stay_together_in_an_array_of_any_order(exported):
    place = exported("npy", view="pairs")
    for b in lf.batches(place, order="together", batch_size=8):
        assert np.array_equal(b["pair_id"][::2], b["pair_id"][1::2])


def test_exports_that_failed_are_stale_or_incomplete_are_refused(exported, run, tmp_path):
    import shutil

    from lensflow.store import paths

    place = str(shutil.copytree(exported("npy"), tmp_path / "npy"))
    record = paths.read_json(f"{place}/export.json")
    with pytest.raises(ExportError, match="has no split test"):
        lf.batches(place, split="test")
    with pytest.raises(ExportError, match="min_snr: no setting of a loader"):
        lf.batches(place, min_snr=5)
    paths.write_json(f"{place}/export.json", {**record, "check": {"nan": "FAIL"}})
    with pytest.raises(ExportError, match=r"failed its check \(nan\)"):
        lf.batches(place)
    short = json.loads(json.dumps(record))
    short["dtype"] = "float16"
    paths.write_json(f"{place}/export.json", short)
    with pytest.raises(ExportError, match=r"x\.npy is float32"):
        lf.batches(place)
    index = exported("zarr")
    certify_as(run, "EXPLAINED")
    with pytest.raises(ExportError, match="says EXPLAINED"):
        lf.batches(index)
    certify_as(run, "PASS")
    lf.batches(index)
    changed = paths.read_json(f"{index}/export.json")
    changed["certificate"]["seal"] = "0" * 64
    paths.write_json(f"{index}/export.json", changed)
    with pytest.raises(StaleStoreError, match="under another certificate"):
        lf.batches(index)
