"""Every format read back by the library that its readers use, and equal to the view: 2,000 samples, and a real run."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow.run.export.open_view import open_view
from tests.export.formats.fake_view import fake_view
from tests.export.formats.test_formats import digests
from tests.export.formats.written import same_pixels, write
from tests.export_run import certify_as, export_copy, export_run

pytestmark = pytest.mark.train
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def some():
    """2,000 samples in train, 200 in val."""
    return {
        "train": fake_view(1000, unit_pairs=128, per_host=4, shape=SHAPE),
        "val": fake_view(100, unit_pairs=128, per_host=4, seed=7, shape=SHAPE),
    }


@pytest.fixture(scope="module", params=["float32", "float16"])
def parquet(some, request, tmp_path_factory):
    out = write(tmp_path_factory.mktemp("parquet") / "out", "parquet", some, dtype=request.param, shard_mb=1.0)
    return out, 0.0 if request.param == "float32" else 0.5


def images(flat):
    return np.asarray(flat).reshape(-1, *SHAPE)


def test_datasets_reads_parquet_with_splits_from_the_card(some, parquet, tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install lensflow[export]")
    out, ulp = parquet
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path))
    assert {k: len(v) for k, v in found.items()} == {"train": 2000, "val": 200}
    for split, view in some.items():
        table = found[split].with_format("arrow")[:]
        flat = table["x"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        assert same_pixels(view, table["sample_id"].to_pylist(), images(flat), atol_ulp=ulp)
        assert found[split][3]["y"] in (0, 1) and len(found[split][3]["x"]) == np.prod(SHAPE)


def test_polars_reads_parquet(some, parquet):
    polars = pytest.importorskip("polars", reason="pip install polars")
    out, ulp = parquet
    found = polars.read_parquet(str(out / "data" / "train-*.parquet"))
    assert found["x"].dtype == polars.Array(polars.Float16 if ulp else polars.Float32, int(np.prod(SHAPE)))
    assert same_pixels(some["train"], found["sample_id"], images(found["x"].to_numpy()), atol_ulp=ulp)


def test_pandas_reads_parquet(some, parquet):
    pandas = pytest.importorskip("pandas")
    out, ulp = parquet
    found = pandas.concat(map(pandas.read_parquet, sorted((out / "data").glob("train-*"))))
    assert same_pixels(some["train"], found["sample_id"], images(np.stack(list(found["x"]))), atol_ulp=ulp)
    assert found["sample_id"].dtype == np.uint64 and found["y"].dtype == np.int8


def test_mlcroissant_validates_without_an_error_and_reads_the_records(tmp_path):
    mlc = pytest.importorskip("mlcroissant", reason="pip install lensflow[export]")
    views = {"train": fake_view(200), "val": fake_view(20, seed=7)}
    for form in ("parquet", "npy", "zarr", "webdataset"):
        out = write(tmp_path / form, form, views)
        found = mlc.Dataset(jsonld=str(out / "croissant.json"))
        assert found.metadata.issues.report() == "" and not found.metadata.issues.warnings
        assert [r["splits/url"] for r in found.records("splits")] == ["cr:TrainingSplit", "cr:ValidationSplit"]
        if form == "webdataset":
            continue
        rows = [r for r in found.records("samples") if r["samples/split"] == b"train"]
        assert len(rows) == 400
        assert {r["samples/sample_id"]: r["samples/y"] for r in rows} == dict(
            zip(*(views["train"].samples[n].values.tolist() for n in ("sample_id", "y")), strict=True)
        )
        if form == "parquet":
            x = np.array([r["samples/x"] for r in rows], np.float32).reshape(-1, 3, 8, 8)
            assert same_pixels(views["train"], [r["samples/sample_id"] for r in rows], x)


def test_webdataset_reads_its_files_each_sample_once_and_of_one_size(some, tmp_path):
    wds = pytest.importorskip("webdataset", reason="pip install lensflow[export]")
    out = write(tmp_path / "out", "webdataset", some, readers=3)
    counts = json.loads((out / "shards.json").read_text())
    files = sorted(map(str, out.glob("train-*.tar")))
    assert len(files) >= 6 and sum(counts[Path(f).name] for f in files) == 2000
    rows = list(wds.WebDataset(files, shardshuffle=False).decode())
    assert same_pixels(some["train"], [r["json"]["sample_id"] for r in rows], np.stack([r["x.npy"] for r in rows]))
    assert sorted(r["__key__"] for r in rows) == [f"{i:06d}" for i in range(2000)]
    for file in files:
        with tarfile.open(file) as tar:
            members = tar.getmembers()
        assert len({(m.size, m.mtime, m.mode, m.uname) for m in members if m.name.endswith("json")}) == 1
        assert len({m.size for m in members if m.name.endswith("npy")}) == 1


def test_lsdb_opens_hats_in_the_layout_of_multimodal_universe(tmp_path):
    lsdb = pytest.importorskip("lsdb", reason="pip install lensflow[export]")
    done = lf.export(export_run(), tmp_path / "out", format="hats", check=False, shard_mb=2)
    for split in ("train", "val"):
        catalogue = lsdb.open_catalog(f"{done.path}/{split}")
        found = catalogue.compute()
        view = open_view(export_run(), split=split)
        ids = [view.samples["sample_id"].values[view.samples["unit"].values == u] for u in range(view.n_units)]
        raw = np.concatenate([view.raw(u)["x"] for u in range(view.n_units)])
        expected = {int(i): x for i, x in zip(np.concatenate(ids), raw, strict=True)}
        assert sorted(expected) == sorted(map(int, found["object_id"]))
        assert {"band", "flux", "mask", "ivar", "psf_fwhm", "scale"} == set(found["image"].iloc[0].columns)
        for name, image in zip(found["object_id"], found["image"], strict=True):
            wanted = expected[int(name)]
            flux = np.array([[list(row) for row in band] for band in image["flux"]], np.float32)
            assert np.array_equal(flux, wanted, equal_nan=True)
            mask = np.array([[list(row) for row in band] for band in image["mask"]])
            ivar = np.array([[list(row) for row in band] for band in image["ivar"]], np.float32)
            assert (mask == np.isfinite(wanted)).all() and (ivar[mask] > 0).all()
            assert list(image["band"]) == list(view.bands) and (image["scale"] == np.float32(0.262)).all()
    assert len(lsdb.open_catalog(f"{done.path}/train").get_healpix_pixels()) > 1
    host = found.iloc[0]
    near = lsdb.open_catalog(f"{done.path}/val").cone_search(float(host["ra"]), float(host["dec"]), 1.0).compute()
    assert set(near["object_id"]) == set(found["object_id"][found["sim_host_id"] == host["sim_host_id"]])


def test_one_and_four_workers_write_the_same_bytes(tmp_path):
    """Nor does the number that the config names, which every file's header could say."""
    distributed = pytest.importorskip("distributed")
    config = export_copy(tmp_path / "run")
    certify_as(config, "PASS")
    found = []
    for workers in (1, 4):
        cluster = config.cluster.model_copy(update={"workers": workers})
        mine = config.model_copy(update={"cluster": cluster})
        with distributed.Client(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=None, set_as_default=True
        ):
            for form in ("parquet", "npy"):
                out = tmp_path / f"{form}-{workers}"
                done = lf.export(mine, out, format=form, check=False, shard_mb=1, mixed_units=2)
                found.append((form, done.record["digest"], digests(out)))
    for one, four in zip(found[:2], found[2:], strict=True):
        assert one == four
