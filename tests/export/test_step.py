"""lensflow export and lf.export on a small certified run: what is refused, what is said, what is written."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
import lensflow.export
from lensflow.errors import ExportError, StaleStoreError
from lensflow.export.formats.read import open_export
from lensflow.run.export import step
from lensflow.run.export.open_view import open_view
from lensflow.store import sealing
from tests.export.formats.written import same_pixels
from tests.export_run import certify_as, export_copy, export_run


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory):
    config = export_copy(tmp_path_factory.mktemp("failed") / "run")
    certify_as(config, "FAIL")
    return config


def test_a_run_whose_certificate_fails_is_refused_and_nothing_is_written(failed_run, tmp_path):
    with pytest.raises(ExportError, match=r"certificate says FAIL .*allow_verdicts: \[FAIL\]"):
        lf.export(failed_run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_verdict_that_is_allowed_stands_in_the_first_paragraph_and_in_every_file(failed_run, tmp_path):
    done = lf.export(failed_run, tmp_path / "out", format="npy", split="val", allow_verdicts=["FAIL"], check=False)
    out = Path(done.path)
    body = (out / "README.md").read_text().split("---\n", 2)[2].strip().split("\n\n")
    assert "says FAIL" in body[1] and "although the run did not pass" in body[1]
    said = json.loads((out / "croissant.json").read_text())
    assert "says FAIL" in said["description"] and "says FAIL" in said["rai:dataBiases"][0]
    import pyarrow.parquet as pq

    assert pq.read_schema(out / "index.parquet").metadata[b"lensflow.certificate_verdict"] == b"FAIL"
    assert json.loads((out / "certificate.json").read_text())["seal"] == done.record["certificate"]["seal"]


def test_a_certificate_of_other_content_is_stale(tmp_path):
    config = export_copy(tmp_path / "run")
    other = json.loads((tmp_path / "run" / "certificate.json").read_text())
    next(iter(other["data"].values()))["digest"] = "0" * 64
    (tmp_path / "run" / "certificate.json").write_text(json.dumps(other))
    with pytest.raises(StaleStoreError, match="another content"):
        lf.export(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run as npy, with every kind of negative that it has."""
    return lf.export(export_run(), tmp_path_factory.mktemp("whole") / "out", format="npy", split="val", check=False)


@pytest.fixture(scope="module")
def view():
    return open_view(export_run(), split="val")


def test_an_export_is_the_view_sample_by_sample(whole, view):
    opened = open_export(whole.path)
    blocks = [opened.read(p) for p in opened.pieces("val")]
    ids, x = (np.concatenate([b[k] for b in blocks]) for k in ("sample_id", "x"))
    assert same_pixels(view, ids, x)


@pytest.mark.parametrize("bits", ["FAIL", pytest.param("INCONCLUSIVE", marks=pytest.mark.train)])
def test_an_export_that_fails_its_check_keeps_the_suffix_and_its_card_says_what_was_found(tmp_path, monkeypatch, bits):
    from lensflow.run.export import run_checks

    seen = []

    def check_export(place):
        seen.append(open_export(str(place)).record["format"])  # what is checked is a whole export
        return {"order": "PASS", "bits": bits}

    monkeypatch.setattr(run_checks, "check_export", check_export)
    done = lf.export(export_run(), tmp_path / "out", split="val")
    suffix = ".failed" if bits == "FAIL" else ""
    assert (done.path, done.passed, seen) == (str(tmp_path / "out") + suffix, bits != "FAIL", ["zarr"])
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]
    assert f"order PASS, bits {bits}" in (Path(done.path) / "README.md").read_text()
    assert json.loads((Path(done.path) / "export.json").read_text())["check"]["bits"] == bits
    assert f"bits {bits}" in json.dumps(json.loads((Path(done.path) / "croissant.json").read_text())["rai:dataBiases"])


def test_the_numbers_of_the_record_are_those_that_the_view_counts(whole, view):
    """Two definitions of the same words would be two truths."""
    said, counts = whole.record["splits"]["val"], view.counts
    assert (said["positives"], said["different_negatives"]) == (counts.positives, counts.different_negatives)
    assert said["negatives_by_kind"] == counts.negatives and said["left_out"] == counts.left_out


def test_card_and_croissant_name_no_place_on_this_machine(whole):
    place = str(Path(export_run().out).absolute())
    for name in ("README.md", "croissant.json"):
        text = (Path(whole.path) / name).read_text()
        assert place not in text and "/tmp" not in text and not re.search(r"\bnan\b|\bNone\b", text)
    assert whole.record["run"]["path"] == os.path.relpath(place, whole.path)


@pytest.mark.train
def test_the_test_split_is_sealed_and_its_opening_is_logged(tmp_path):
    config = export_copy(tmp_path / "run")
    with pytest.raises(ExportError, match=r"sealed.*--open-test"):
        lf.export(config, tmp_path / "out", split="test", check=False)
    with pytest.raises(ExportError, match="which is not exported"):
        lf.export(config, tmp_path / "out", split="val", unseal_test="because", check=False)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ExportError, match="is not empty"):
        lf.export(config, tmp_path / "taken", split="test", unseal_test="because", check=False)
    assert sealing.read_test_accesses(f"{config.out}/pairs.zarr") == []
    done = lf.export(config, tmp_path / "out", split=["test", "val"], unseal_test="final figures", check=False)
    assert list(done.record["splits"]) == ["val", "test"]
    (entry,) = sealing.read_test_accesses(f"{config.out}/pairs.zarr")
    assert entry["why"] == "final figures"


def test_the_package_is_the_function():
    assert callable(lf.export) and lf.export.__name__ == "lensflow.export"
    with pytest.raises(ExportError, match="'tarr' is not a split"):
        lensflow.export(export_run(), "nowhere", split="tarr")


@pytest.mark.train
@pytest.mark.parametrize("form", ["zarr", "npy", "parquet", "webdataset", "hats"])
def test_a_sound_export_of_every_format_fails_none_of_the_ten_checks(form, tmp_path):
    done = lf.export(export_run(), tmp_path / "out", format=form, split="train", quantize="sky/16")
    assert len(done.verdicts) == 10 and done.passed and done.path == str(tmp_path / "out")
    for name in ("order", "format", "duplicates", "labels", "nan", "roundtrip"):
        assert done.verdicts[name] == "PASS", name


@pytest.mark.train
def test_the_command_prints_what_was_written_and_no_traceback(tmp_path, command, failed_run):
    code, text = command("export", failed_run.out, str(tmp_path / "out"), "--format", "npy", "--no-check")
    assert code == 1 and "certificate says FAIL" in text and "Traceback" not in text
    out = str(tmp_path / "out")
    code, text = command("export", export_run().out, out, "--format", "npy", "--split", "train", "--no-check")
    assert code == 0, text
    for word in ("train", "positives", "different", "certificate of the run", "PASS"):
        assert word in text
    code, text = command("export", export_run().out, out, "--no-check")
    assert code == 1 and "is not empty" in text
    code, text = command("export", export_run().out, f"{out}2", "--quantize", "sky/3")
    assert code == 2 and "coarser than sky/4" in text
    assert not Path(f"{out}2").exists() and not Path(f"{out}2.writing").exists()


def test_run_and_export_that_are_moved_together_find_each_other_and_a_lost_run_is_named(tmp_path):
    config = export_copy(tmp_path / "here" / "runs" / "dr9")
    lf.export(config, tmp_path / "here" / "lenses", format="zarr", split="val", check=False)
    assert json.loads((tmp_path / "here" / "lenses" / "export.json").read_text())["run"]["path"] == "../runs/dr9"
    for file in (tmp_path / "here" / "lenses").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), f"{file.name} names a place"
    (tmp_path / "here").rename(tmp_path / "there")
    out = tmp_path / "there" / "lenses"
    assert lf.check_export(out, write=False)["roundtrip"].verdict == "PASS"
    assert sum(len(b["y"]) for b in lf.batches(out, split="val")) > 0
    (tmp_path / "there" / "runs").rename(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match="there/runs/dr9, which is not there"):
        lf.batches(out, split="val")
    moved = lf.check_export(out, run=tmp_path / "elsewhere" / "dr9", write=False)
    assert moved["roundtrip"].verdict == "PASS"


def test_two_exports_into_one_folder_are_refused_and_no_lock_is_left(tmp_path, monkeypatch):
    out, refused = tmp_path / "out", []
    real = step.write_files

    def meanwhile(*args, **kwargs):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:  # another of the same process: only nested calls of one thread share
            try:
                pool.submit(lf.export, export_run(), out, format="npy", split="val", check=False).result()
            except ExportError as error:
                refused.append(str(error))
        return real(*args, **kwargs)

    monkeypatch.setattr(step, "write_files", meanwhile)
    lf.export(export_run(), out, format="npy", split="val", check=False)
    assert len(refused) == 1 and f"{out}: another export is at work" in refused[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert not list(out.rglob("lease*"))


def test_an_export_whose_process_died_is_continued(tmp_path, monkeypatch):
    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "describe", dies)
    with pytest.raises(KeyboardInterrupt):
        lf.export(export_run(), tmp_path / "out", format="npy", split="val", check=False)
    monkeypatch.undo()
    lf.export(export_run(), tmp_path / "out", format="npy", split="val", check=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
