"""Leaks planted in files, as each format writes them; and files that are not what ``export.json`` says."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lensflow as lf
from lensflow.errors import ExportError
from lensflow.export.check import CheckVerdict
from lensflow.export.check.shown import table
from lensflow.show.plain import PlainConsole
from tests.export.check.exports import SURVEY, export_of, samples
from tests.export_run import export_copy, export_run


def npy(image):
    out = io.BytesIO()
    np.save(out, image)
    return out.getvalue()


def write_tars(folder, export, change=None):
    """Write an export as tar files; ``change`` gets a sample's y, members and header before they are written."""
    folder.mkdir()
    files = []
    for number, part in enumerate(export.parts()):
        split = str(part.columns["split"][0])
        path = f"{split}-{number:05d}.tar"
        with tarfile.open(folder / path, "w") as tar:
            for k in range(len(part)):
                record = {n: v[k].item() for n, v in part.columns.items() if n != "split"}
                members = {"x.npy": npy(part.x[k]), "json": json.dumps(record).encode().ljust(600)}
                about = {"mtime": 0, "mode": 0o644, "key": str(part.keys[k])}
                if change:
                    change(record["y"], members, about)
                for name, content in members.items():
                    info = tarfile.TarInfo(f"{about['key']}.{name}")
                    info.size, info.mtime, info.mode = len(content), about["mtime"], about["mode"]
                    tar.addfile(info, io.BytesIO(content))
        files.append({"path": path, "split": split, "rows": len(part), "bytes": (folder / path).stat().st_size})
    description = {"format": "webdataset", "view": "single", "shape": list(export.x.shape[1:]), "files": files,
                   "normalisation": SURVEY}  # fmt: skip
    (folder / "export.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def sound():
    # Hosts that are alike: the size of a compressed record is then the arc's.
    return export_of(samples(80, snr=300.0, gaps=False, light=(0.3, 0.301)), per_file=60)


def compressed(y, members, about):
    members["x.npy.gz"] = gzip.compress(members.pop("x.npy"), 6)


def controls_in_half_precision(y, members, about):
    if not y:
        members["x.npy"] = npy(np.load(io.BytesIO(members["x.npy"])).astype(np.float16)).ljust(len(members["x.npy"]))


def positives_later(y, members, about):
    about["mtime"] = 1_700_000_000 + int(y)


def positives_read_only(y, members, about):
    about["mode"] = 0o444 if y else 0o644


def class_in_the_key(y, members, about):
    about["key"] += "-pos" if y else "-neg"


def a_field_of_positives_alone(y, members, about):
    record = json.loads(members["json"])
    if y:
        record["source"] = "Sersic"
    members["json"] = json.dumps(record).encode().ljust(600)


@pytest.mark.train
@pytest.mark.parametrize(
    ("change", "check"),
    [
        (None, None),
        (compressed, "bytes"),
        (controls_in_half_precision, "format"),
        (positives_later, "bytes"),
        (positives_read_only, "bytes"),
        (class_in_the_key, "bytes"),
        (a_field_of_positives_alone, "format"),
    ],
)
def test_a_leak_in_tar_files_fails_its_own_check_and_no_other(tmp_path, sound, change, check):
    out = write_tars(tmp_path / "out", sound, change)
    found = lf.check_export(out)
    assert found.failed == ((check,) if check else ()), {r.name: r.reason for r in found.results}
    kept = json.loads((out / "export_check.json").read_text())
    assert kept["verdict"] == found.verdict and [c["name"] for c in kept["checks"]] == list(found)
    # No run: nothing to compare with, and this is said.
    assert found["roundtrip"].verdict is CheckVerdict.NOT_TESTED and "--run" in found["roundtrip"].reason


@pytest.mark.train
def test_gzip_of_records_says_the_class_by_its_size(tmp_path, sound):
    """An arc's pixels compress less than the sky's."""
    found = lf.check_export(write_tars(tmp_path / "out", sound, compressed), write=False)
    assert "record size tells the class" in found["bytes"].reason and "uncompressed" in found["bytes"].reason
    assert not (tmp_path / "out" / "export_check.json").exists()


def test_a_file_with_other_samples_than_export_json_says_is_refused(tmp_path, sound):
    out = write_tars(tmp_path / "out", sound)
    description = json.loads((out / "export.json").read_text())
    description["files"][0]["rows"] += 1
    (out / "export.json").write_text(json.dumps(description))
    with pytest.raises(ExportError, match=r"00000\.tar: holds .* export\.json says"):
        lf.check_export(out)
    (out / description["files"][1]["path"]).unlink()
    description["files"][0]["rows"] -= 1
    (out / "export.json").write_text(json.dumps(description))
    with pytest.raises(ExportError, match="is missing"):
        lf.check_export(out)


@pytest.mark.train
def test_a_file_that_is_left_over_from_another_export_fails_bytes(tmp_path, sound):
    out = write_tars(tmp_path / "out", sound)
    shutil.copy(out / "train-00000.tar", out / "train-00009.tar")
    found = lf.check_export(out)
    assert found.failed == ("bytes",) and "'train-00009.tar'" in found["bytes"].reason


@pytest.mark.parametrize("content", ["{}", '{"format": "tfrecord", "shape": [3, 64, 64], "files": []}', None])
def test_what_is_no_export_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "export.json").write_text(content)
    with pytest.raises(ExportError, match=r"export\.json|no export"):
        lf.check_export(tmp_path)


@pytest.mark.train
@pytest.mark.parametrize("form", ["parquet", "hats"])
def test_an_export_of_a_run_fails_nothing_and_goes_back_to_the_run_bit_for_bit(tmp_path, form):
    done = lf.export(export_run(), tmp_path / form, format=form)
    assert done.passed
    found = lf.check_export(done.path)
    assert found.failed == () and found["roundtrip"].verdict is CheckVerdict.PASS
    # 108 positives on 36 hosts are few.
    assert found["bits"].verdict is CheckVerdict.INCONCLUSIVE


@pytest.mark.train
def test_other_pixels_than_the_run_s_fail_roundtrip(tmp_path):
    done = lf.export(export_run(), tmp_path / "out", format="parquet", check=False)
    path = next((tmp_path / "out" / "data").glob("train*.parquet"))
    table = pq.read_table(path)
    pixels = table["x"].combine_chunks().flatten().to_numpy().copy()
    # One unit in the last place of one pixel of every sample.
    pixels = pixels.reshape(table.num_rows, -1)
    pixels[:, 0] = np.nextafter(pixels[:, 0], np.float32(np.inf))
    images = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), pixels.shape[1])
    pq.write_table(table.set_column(table.column_names.index("x"), table.field("x"), images), path)
    found = lf.check_export(done.path)
    assert "roundtrip" in found.failed and "its pixels differ" in found["roundtrip"].reason


@pytest.mark.train
def test_a_run_that_has_moved_is_found_where_it_is_given(tmp_path):
    config = export_copy(tmp_path / "run")
    done = lf.export(config, tmp_path / "out", format="npy", check=False)
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    missing = lf.check_export(done.path)["roundtrip"]
    assert missing.verdict is CheckVerdict.NOT_TESTED and "--run RUN" in missing.reason
    assert lf.check_export(done.path, tmp_path / "elsewhere")["roundtrip"].verdict is CheckVerdict.PASS


@pytest.mark.train
def test_the_command_prints_a_table_of_80_columns_and_exits_with_3_where_a_check_fails(tmp_path, sound, command):
    out = write_tars(tmp_path / "out", sound)
    code, text = command("check-export", str(out))
    assert code == 0 and "roundtrip" in text
    shown = io.StringIO()
    console = PlainConsole(file=shown, width=80)
    console.print(table(lf.check_export(out, write=False)))
    assert max(map(len, shown.getvalue().splitlines())) <= 80
    bad = write_tars(tmp_path / "bad", sound, class_in_the_key)
    code, text = command("check-export", str(bad))
    assert code == 3 and "failed bytes" in text
