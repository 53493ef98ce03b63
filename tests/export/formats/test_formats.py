"""What is written is the view: pixels bit for bit, columns, and no word of the class where there must be none."""

import hashlib
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from lensflow.errors import ExportError
from lensflow.export.formats.folder import Folder
from lensflow.export.formats.read import open_export
from lensflow.export.formats.registry import writer_of
from lensflow.export.formats.tar import _records
from lensflow.export.formats.writer import Settings
from lensflow.run.export.about import header
from lensflow.run.export.write_files import write_files
from tests.export.formats.fake_view import fake_about, fake_view
from tests.export.formats.written import same_pixels, views, write


@pytest.fixture(scope="module")
def some():
    return views()


@pytest.fixture(scope="module")
def exports(some, tmp_path_factory):
    root = tmp_path_factory.mktemp("exports")
    return {form: write(root / form, form, some) for form in ("zarr", "npy", "parquet")}


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_an_export_read_back_is_the_view(exports, some, form):
    opened = open_export(str(exports[form]))
    for split, view in some.items():
        blocks = [opened.read(p) for p in opened.pieces(split)]
        joined = {k: np.concatenate([b[k] for b in blocks]) for k in blocks[0]}
        assert joined["x"].dtype == np.float32
        assert same_pixels(view, joined["sample_id"], joined["x"])
        at = {int(i): k for k, i in enumerate(view.samples["sample_id"].values)}
        order = [at[int(i)] for i in joined["sample_id"]]
        for name in ("y", "row_id", "host_id", "pair_id", "negative_kind", "snr", "ra_deg", "is_clean"):
            assert (joined[name] == view.samples[name].values[order]).all(), name
        assert opened.samples(split).sizes["sample"] == view.samples.sizes["sample"]


def test_the_index_of_zarr_and_of_npy_list_the_same_order_and_know_the_units(exports, some):
    zarr, npy = (pq.read_table(exports[f] / "index.parquet") for f in ("zarr", "npy"))
    assert zarr.equals(npy)
    view = some["train"].samples
    at = {int(i): u for i, u in zip(view["sample_id"].values, view["unit"].values, strict=True)}
    train = zarr.filter(np.array(zarr["split"]) == "train")
    assert [at[i] for i in train["sample_id"].to_pylist()] == train["unit"].to_pylist()
    with pytest.raises(ExportError, match="no pixels of its own"):
        opened = open_export(str(exports["zarr"]))
        opened.read(opened.pieces("val")[0])


def test_parquet_holds_images_as_fixed_size_lists_and_says_shape_and_certificate(exports):
    schema = pq.read_schema(next((exports["parquet"] / "data").glob("train-*")))
    assert str(schema.field("x").type) == "fixed_size_list<element: float>[192]"
    assert json.loads(schema.field("x").metadata[b"shape"]) == [3, 8, 8]
    assert schema.metadata[b"lensflow.certificate_verdict"] == b"PASS"
    assert b"ARROW:extension:name" not in (schema.field("x").metadata or {})


def test_no_column_is_named_twice(exports):
    for out, name in (
        (exports["npy"], "index.parquet"),
        (exports["parquet"], next((exports["parquet"] / "data").iterdir())),
    ):
        names = pq.read_schema(out / name).names
        assert len(set(names)) == len(names) > 10


def test_a_row_group_holds_both_classes_in_no_order(exports):
    for file in (exports["parquet"] / "data").glob("*.parquet"):
        y = pq.read_table(file, columns=["y"])["y"].to_numpy()
        assert 0 < y.mean() < 1 and (np.diff(y) != 0).sum() > 2


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_float16_is_within_half_a_unit_in_the_last_place(form, some, tmp_path):
    opened = open_export(str(write(tmp_path / "half", form, some, dtype="float16")))
    blocks = [opened.read(p) for p in opened.pieces("train")]
    ids, x = (np.concatenate([b[k] for b in blocks]) for k in ("sample_id", "x"))
    assert x.dtype == np.float16 and same_pixels(some["train"], ids, x, atol_ulp=0.5)


def test_a_pixel_that_float16_cannot_hold_is_refused_with_its_row(tmp_path):
    class Bright(type(fake_view())):
        def read(self, unit):
            found = super().read(unit)
            found["x"][0, 0, 0, 0] = 70_000
            return found

    view = fake_view(6)
    bright = {"train": Bright(view.samples)}
    with pytest.raises(ExportError, match=r"row \d+: a pixel beyond 65504"):
        write(tmp_path / "a", "npy", bright, dtype="float16")
    write(tmp_path / "b", "npy", bright)


class Broken(type(fake_view())):
    """A view whose block is changed on its way."""

    def read(self, unit):
        found = super().read(unit)
        return self.normalisation(found)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda b: {**b, "x": np.where(np.arange(8) == 3, np.nan, b["x"]).astype(np.float32)}, "not finite"),
        (lambda b: {k: v[::-1] for k, v in b.items()}, "reads other sample_id"),
        (lambda b: {**b, "y": 1 - b["y"]}, "reads other y"),
        (lambda b: {**b, "x": b["x"][:-1]}, "the view reads images"),
    ],
)
def test_a_view_that_reads_other_rows_than_it_lists_or_a_nan_stops_the_export(tmp_path, change, message):
    view = {"train": Broken(fake_view(6).samples, normalisation=change)}
    with pytest.raises(ExportError, match=message):
        write_files(Folder(str(tmp_path / "out")), view, writer_of("npy"), Settings(1), {}, {})
    assert not (tmp_path / "out").exists()


def test_a_record_of_a_tar_does_not_tell_the_class_by_its_length(some):
    """'control' is shorter than 'positive', and NaN than a number."""
    samples = some["train"].samples
    from lensflow.export.formats.columns import values_of

    values = values_of(samples, np.arange(20), [f"{i:06d}" for i in range(20)])
    records = _records(values, {"lensflow.certificate_verdict": "FAIL"})
    assert {r["certificate"] for r in records} == {"FAIL"}
    assert len({len(json.dumps(r)) for r in records}) > 1  # so that blanks are needed


def test_an_interrupted_export_continues_to_the_same_bytes(some, exports, tmp_path, monkeypatch):
    out = tmp_path / "parquet"
    read, calls = type(some["train"]).read, []

    def failing(self, unit):
        calls.append(unit)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return read(self, unit)

    monkeypatch.setattr(type(some["train"]), "read", failing)
    with pytest.raises(KeyboardInterrupt):
        write(out, "parquet", some, units_per_group=1)
    monkeypatch.undo()
    left = sorted((tmp_path / "parquet.writing").rglob("*.parquet"))
    assert left and not out.exists()
    kept = {p: p.stat().st_mtime_ns for p in left}
    # A file that was damaged in between is written again; the others are kept.
    os.truncate(left[0], 100)
    begun = write(out, "parquet", some, units_per_group=1)
    whole = write(tmp_path / "whole", "parquet", some, units_per_group=1)
    assert digests(begun) == digests(whole)
    again = {p.name: p.stat().st_mtime_ns for p in begun.rglob("*.parquet")}
    assert [again[p.name] == t for p, t in kept.items()] == [False] + [True] * (len(kept) - 1)


def digests(out):
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*"))
        if p.is_file()
    }


def test_nothing_of_the_plan_is_left_and_nothing_is_overwritten(exports, some):
    for out in exports.values():
        assert not (out / ".export").exists() and not list(out.parent.glob("*.writing"))
        with pytest.raises(ExportError, match="is not empty"):
            write(out, "parquet", some)


def test_an_unfinished_export_of_other_settings_is_refused_and_names_what_differs(some, tmp_path):
    folder, writer = Folder(str(tmp_path / "out")), writer_of("npy")
    write_files(folder, some, writer, Settings(1), {"certificate": "a"}, {})
    with pytest.raises(ExportError, match="differs in about, settings"):
        write_files(folder, some, writer, Settings(2), {"certificate": "b"}, {})


def test_an_export_that_failed_its_check_keeps_the_suffix_and_stands_in_the_way(some, tmp_path):
    folder = Folder(str(tmp_path / "out"))
    write_files(folder, some, writer_of("zarr"), Settings(1), {}, {})
    assert folder.publish(passed=False) == str(tmp_path / "out.failed")
    with pytest.raises(ExportError, match="failed its check is there"):
        write_files(folder, some, writer_of("zarr"), Settings(1), {}, {})


def test_without_its_package_a_format_says_what_to_install(some, tmp_path, monkeypatch):
    from lensflow.export.formats import writer

    monkeypatch.setattr(writer, "find_spec", lambda name: None)
    with pytest.raises(
        ExportError, match=r'--format webdataset needs the package webdataset; pip install "lensflow\[export\]"'
    ):
        write(tmp_path / "out", "webdataset", some)
    with pytest.raises(ExportError, match=r"'parqet' is no format\. Did you mean 'parquet'\?"):
        writer_of("parqet")


def test_a_webdataset_has_two_files_for_each_reader_or_is_refused(some):
    plain = writer_of("webdataset")
    groups = plain.groups(some["train"], "train", Settings(1, readers=6))
    assert sum(len(g.shards) for g in groups) >= 12
    with pytest.raises(ExportError, match="3 files for 4 readers"):
        plain.groups(some["train"], "train", Settings(1, shards=3, readers=4))
    with pytest.raises(ExportError, match="cannot fill 400 files"):
        plain.groups(some["train"], "train", Settings(1, readers=200))


def test_hats_holds_one_image_per_band_in_float32(some):
    wide = {"train": fake_view(6, channels=("a",) * 6, shape=(6, 8, 8))}
    with pytest.raises(ExportError, match="6 channels"):
        writer_of("hats").check(wide, Settings(1, cutouts="x"))
    with pytest.raises(ExportError, match="holds float32, not float16"):
        writer_of("hats").check(some, Settings(1, dtype="float16", cutouts="x"))
    with pytest.raises(ExportError, match="float32 pixels"):
        writer_of("zarr").check(some, Settings(1, dtype="float16"))


def test_a_folder_that_is_no_finished_export_is_said_to_be_none(tmp_path, exports):
    with pytest.raises(ExportError, match="no finished export"):
        open_export(str(tmp_path))
    (tmp_path / "export.json").write_text('{"lensflow_export": 99}')
    with pytest.raises(ExportError, match="found 99"):
        open_export(str(tmp_path))
    with pytest.raises(ExportError, match="has no split test; it has train, val"):
        open_export(str(exports["npy"])).pieces("test")


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_on_an_object_store_the_index_comes_last_and_a_failed_check_takes_it_away(form, some, exports, tmp_path):
    """fsspec's store in memory cannot rename a folder either: files are written in place."""
    from lensflow.export.formats.record import record_of
    from lensflow.store import paths

    out = f"memory://{tmp_path.name}/{form}"
    folder, writer = Folder(out), writer_of(form)
    settings = Settings(1, shard_mb=0.02, pixel_scale_arcsec=0.262)
    files = write_files(folder, some, writer, settings, {}, header(fake_about(), form))
    assert folder.root == out and not paths.exists(f"{out}/export.json")
    with pytest.raises(ExportError, match="no finished export"):
        open_export(out)
    paths.write_json(f"{out}/export.json", record_of(some, writer, settings, files, fake_about()))
    assert folder.publish() == out
    assert not [n for n in paths.sizes_below(out) if n.startswith(".export")]
    local = digests(exports[form])
    assert {f.path: f.sha256 for f in files} == {k: v for k, v in local.items() if k in {f.path for f in files}}
    opened = open_export(out)
    blocks = [opened.read(p) for p in opened.pieces("val")]
    assert same_pixels(some["val"], *(np.concatenate([b[k] for b in blocks]) for k in ("sample_id", "x")))
    folder.publish(passed=False)
    assert paths.exists(f"{out}/export.json.failed") and not paths.exists(f"{out}/export.json")
    with pytest.raises(ExportError, match="is there already"):
        write_files(folder, some, writer, settings, {}, {})
