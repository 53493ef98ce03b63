import numpy as np
import pytest

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.store import create, paths, receipts
from lensflow.store.open import open_all_pairs, open_pairs
from lensflow.store.receipts import Receipt
from lensflow.store.regions import Regions
from lensflow.store.sealing import read_test_accesses
from lensflow.store.tables import write_table
from tests.factories import BANDS, make_cutouts
from tests.store.test_store import finish_region

# Hosts 0-1 train, 2 val, 3-4 test; two rows each.
SPLIT = np.array([0, 0, 1, 2, 2], np.uint8)


@pytest.fixture
def pairs(tmp_path):
    cutouts = make_cutouts(5, size=16).assign(split=("host", SPLIT))
    host = np.repeat(np.arange(5), 2)
    rows = {v.name: np.zeros((10, 3) if "band" in v.dims else 10, v.dtype) for v in schema.MANIFEST}
    manifest = schema.dataset("manifest", {**rows, "host_index": host, "row_id": np.arange(10), "split": SPLIT[host]})
    write_table(
        f"{tmp_path}/manifest.zarr",
        "manifest",
        manifest.assign(lens_model=("sample", ["SIS"] * 10)),
        BANDS,
        {"seed": 1},
    )
    for store, n, head, region in (("cutouts", 5, cutouts, 8), ("pairs", 10, None, 4)):
        more = {"stamp_size": 16, "rows_per_region": region, "inner_chunk": 4}
        url = f"{tmp_path}/{store}.zarr"
        attrs = {"pixel_scale_arcsec": 0.262, "fingerprint": "f"}
        create.create_store(url, store, n, BANDS, head=head, attrs=attrs, **more)
    for region in Regions(5, 8):
        finish_region(f"{tmp_path}/cutouts.zarr", cutouts, region)
    for r in Regions(10, 4):  # pairs of zeros: no object
        receipts.write_receipt(f"{tmp_path}/receipts/pairs", Receipt(r.index, r.start, r.stop, "f", {}, {}, {}, 0, {}))
    return f"{tmp_path}/pairs.zarr"


def test_opening_pairs_gives_train_and_val_and_counts_what_is_sealed(pairs):
    out = open_pairs(pairs)
    assert out["split"].values.tolist() == [0, 0, 0, 0, 1, 1] and out.attrs["n_sealed"] == 4
    assert out["ctrl"].shape[0] == out["stamp"].shape[0] == 6 and out["stamp"].chunks[0] == (4, 2)
    assert np.array_equal(out["row_id"], np.arange(6))
    assert open_pairs(pairs, split="val")["row_id"].values.tolist() == [4, 5]
    assert read_test_accesses(pairs) == []


def test_the_test_split_needs_a_reason(pairs):
    with pytest.raises(StoreError, match=r"sealed.*unseal_test"):
        open_pairs(pairs, split="test")
    with pytest.raises(StoreError, match="sealed"):
        open_pairs(pairs, split="test", unseal_test="")
    with pytest.raises(StoreError, match="not a split"):
        open_pairs(pairs, split="tests")


def test_every_opening_of_the_test_split_is_logged_with_who_when_and_why(pairs):
    test = open_pairs(pairs, split="test", unseal_test="final figures")
    assert test["row_id"].values.tolist() == [6, 7, 8, 9]
    assert open_pairs(pairs, unseal_test="audit").sizes["sample"] == 10
    open_pairs(pairs, split="train", unseal_test="no test row is handed out: nothing to log")
    log = read_test_accesses(pairs)
    assert [(e["why"], e["rows"]) for e in log] == [("final figures", 4), ("audit", 4)]
    assert all("@" in e["who"] and e["when"].endswith("+00:00") for e in log)


def test_an_opening_that_cannot_be_logged_does_not_happen(pairs, monkeypatch):
    def refuse(url, value):
        raise StoreError(f"{url}: no permission to write here")

    monkeypatch.setattr(paths, "write_json", refuse)
    with pytest.raises(StoreError, match=r"stays sealed.*no permission"):
        open_pairs(pairs, split="test", unseal_test="why not")


def test_the_run_itself_reads_all_splits(pairs):
    assert open_all_pairs(pairs).sizes["sample"] == 10 and read_test_accesses(pairs) == []
