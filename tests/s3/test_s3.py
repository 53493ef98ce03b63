"""Runs on a real S3 server: the same bytes as on disk, one writer for a region, and no secret anywhere."""

import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

import lensflow as lf
from lensflow import run as steps
from lensflow.config import RunConfig, StorageConfig, load_config
from lensflow.config.place import Place
from lensflow.errors import CertificateError, StoreError
from lensflow.fits import reach
from lensflow.run.completeness import completeness_step, with_options
from lensflow.run.completeness.selection_file import selection_digest, selection_of
from lensflow.run.inject import InjectTask
from lensflow.store import paths, receipts
from lensflow.store.lease import hold
from lensflow.store.open import open_all_pairs, read_attrs, stored_regions
from lensflow.store.run_folder import RunFolder
from tests.quick import few_images, no_figures
from tests.run.completeness_run import completeness_run
from tests.s3.compare import everything, store_digests
from tests.s3.proxy import running_proxy
from tests.s3.server import ACCESS_KEY, SECRET_KEY, environment
from tests.small_survey import small_survey

pytestmark = pytest.mark.s3
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The config of a run on local disk, done."""
    folder = tmp_path_factory.mktemp("local")
    config = small_survey(folder)
    make_pairs(load_config(config))
    return config


@pytest.fixture
def on_s3(local, bucket, s3_server, monkeypatch):
    """The same config with its run on S3; the environment names another server, for URLs that lost their settings."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return {**local, "out": f"{bucket}/run", "storage": {"endpoint_url": s3_server.endpoint_url, "region": "us-east-1"}}


def make_pairs(config):
    steps.cut_step(config)
    steps.plan_step(config)
    return steps.inject_step(config)


@pytest.mark.parametrize("library", ["s3fs", "obstore"])
def test_a_run_on_s3_is_byte_for_byte_the_run_on_disk(local, on_s3, library):
    if library == "obstore":
        pytest.importorskip("obstore")
    on_s3["storage"] = {**on_s3["storage"], "library": library}
    config = load_config(on_s3)
    # A process of its own for one library, threads for the other.
    where = {"kind": "local", "workers": 1} if library == "s3fs" else {"kind": "threads"}
    with lf.connect(config.cluster.model_copy(update=where)):
        pairs = make_pairs(config)
        assert np.isfinite(pairs["stamp"].values).all() and np.isfinite(pairs["ctrl"].values).all()
    assert store_digests(config.out) == store_digests(local["out"])
    assert lf.verify(config.out).damage == ()


def test_a_region_makes_few_requests(on_s3, s3_server):
    with running_proxy(s3_server.port) as proxy:
        config = load_config({**on_s3, "storage": {**on_s3["storage"], "endpoint_url": proxy.endpoint_url}})
        make_pairs(config)
        folder = RunFolder.of(config)
        pairs, stamp = stored_regions(folder.pairs, "pairs"), read_attrs(folder.pairs, "pairs")["fingerprint"]
        receipts.remove_receipts(folder.receipts("pairs"), [pairs[0], pairs[1]])
        task = InjectTask(config, stamp, pairs)
        task(0)
        before = proxy.counts["requests"]
        task(1)
        assert proxy.counts["requests"] - before <= 26  # 46 before metadata was kept; its hosts are in two regions


def test_a_run_on_s3_goes_on_where_it_stopped(local, on_s3):
    config = load_config(on_s3)

    def stop(stage, done, total):
        if (stage, done) == ("inject", 1):
            raise KeyboardInterrupt

    steps.cut_step(config)
    steps.plan_step(config)
    with pytest.raises(KeyboardInterrupt):
        steps.inject_step(config, stop)
    folder = RunFolder.of(config)
    done = receipts.read_receipts(folder.receipts("pairs"))
    assert 1 <= len(done) <= len(stored_regions(folder.pairs, "pairs"))
    steps.inject_step(config)
    assert {i: receipts.read_receipts(folder.receipts("pairs"))[i] for i in done} == done
    assert store_digests(config.out) == store_digests(local["out"])


def test_the_whole_command_runs_on_s3(command, on_s3):
    gate = {"recipes": ["core_r"], "bootstrap": 50, "required": False}
    with no_figures(), few_images():
        code, said = command("run", config={**on_s3, "gate": gate})
    assert code == 0, said
    folder = RunFolder.of(load_config(on_s3))
    assert paths.exists(folder.path("report", "index.html")) and "every invariant holds" in said


def test_a_run_that_is_copied_to_s3_is_still_certified_and_an_object_that_changes_there_is_noticed(
    local, on_s3, tmp_path
):
    shutil.copytree(local["out"], tmp_path / "run")
    here, there = load_config({**local, "out": str(tmp_path / "run")}), load_config(on_s3)
    certificate = steps.certify_step(here)
    url = RunFolder.of(there).root
    for file in (tmp_path / "run").rglob("*"):
        if file.is_file():
            paths.write_bytes(paths.join(url, file.relative_to(tmp_path / "run").as_posix()), file.read_bytes())
    assert steps.check_step(there).certificate == certificate
    place = paths.join(url, "pairs.zarr/flags/c/0/0")
    content = paths.read_object(place)
    paths.write_bytes(place, content[:-1] + bytes([content[-1] ^ 1]))
    steps.check_step(there, quick=True)
    with pytest.raises(CertificateError, match=r"pairs, region 0: is not.*(.|\n)*flags: .*other bytes"):
        steps.check_step(there)
    paths.write_bytes(place, content)
    paths.write_bytes(paths.join(url, "pairs.zarr/stamp/c/99/0/0/0"), b"x")
    with pytest.raises(CertificateError, match=r"names or sizes"):
        steps.check_step(there, quick=True)


@pytest.mark.parametrize("library", ["s3fs", pytest.param("obstore", marks=pytest.mark.slow)])
def test_a_completeness_on_s3_has_the_numbers_and_the_selection_function_of_the_run_on_disk(
    on_s3, tmp_path_factory, library
):
    if library == "obstore":
        pytest.importorskip("obstore")
    here, scorer = completeness_run(tmp_path_factory), "lensflow.measure.scorer.scorer:blue_ring"
    storage = {**on_s3["storage"], "library": library}
    there = RunConfig.model_validate({**here.effective(), "out": on_s3["out"], "storage": storage})
    url = RunFolder.of(there).root
    for file in Path(here.out).rglob("*"):
        if file.is_file() and "summaries" not in file.parts:
            paths.write_bytes(paths.join(url, file.relative_to(here.out).as_posix()), file.read_bytes())
    local, found = (completeness_step(c, scorer, publish=True) for c in (here, there))
    assert found.path.startswith(url) and {*found} == {*local}
    for name in found:
        xr.testing.assert_equal(found[name], local[name])
    again = completeness_step(there, scorer, lambda *a: pytest.fail("measured again"), publish=True)
    assert again["selection"].equals(found["selection"])
    # With the settings that the run carries; a plain URL has none of them.
    at = Place(selection_of(there, scorer), there.storage)
    selection = lf.open_selection(at)
    assert selection.table["n_recovered"].equals(lf.open_selection(selection_of(here, scorer)).table["n_recovered"])
    assert lf.open_selection(Place(url, there.storage), scorer=scorer).path == selection.path
    points = {"theta_e_arcsec": 1.2, "src_mag_r": 22.0, "psfsize_r": 1.3, "psfdepth_r": 24.0}
    assert np.isnan(selection.evaluate(points, outside="nan", threshold=0)["value"])  # 12 hosts are few
    digest = selection_digest(at)
    assert digest == selection_digest(selection_of(there, scorer)) and digest is not None
    # Another threshold has a store of its own; a changed object is noticed when it is opened, and by the digest.
    other = completeness_step(with_options(there, fpr=0.25), scorer)
    assert other.path.endswith(".val.fpr-0.25.json") and selection_digest(at) == digest
    (chunk,) = [k for k in paths.sizes_below(at) if k.startswith("n_recovered/c/")]
    content = paths.read_object(paths.join(at, chunk))
    paths.write_bytes(paths.join(at, chunk), content[:-1] + bytes([content[-1] ^ 1]))
    assert selection_digest(at) != digest
    with pytest.raises(StoreError, match="is not what was written"):
        lf.open_selection(at)
    paths.remove(paths.join(at, "zarr.json"))
    assert completeness_step(there, scorer)["selection"].equals(found["selection"])  # measured again
    assert selection_digest(at) == digest


def new_process(name, config, folder, **environ):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    at = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(
        [sys.executable, "-m", "lensflow", name, str(file)], env=at, capture_output=True, text=True, timeout=550
    )


def test_of_many_writers_of_one_object_exactly_one_wins(on_s3):
    folder = RunFolder.of(load_config(on_s3))
    url, won, gate = folder.path("one.json"), [], threading.Barrier(8)

    def write(i):
        gate.wait()
        try:
            paths.create_json(url, i)
            won.append(i)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert won == [paths.read_json(url)]


def test_the_second_writer_of_a_region_takes_the_first_ones_receipt_or_is_refused(on_s3, local):
    run = RunFolder.of(load_config(on_s3))
    receipt = receipts.read_receipt(f"{local['out']}/receipts/pairs", 0)
    folder = run.receipts("pairs")
    assert receipts.write_receipt(folder, receipt) == receipt
    late = receipts.Receipt(**{**receipt.__dict__, "seconds": {"write": 9.0}})
    assert receipts.write_receipt(folder, late) == receipt
    other = receipts.Receipt(**{**receipt.__dict__, "checksums": {**receipt.checksums, "stamp": "0"}})
    with pytest.raises(StoreError, match=r"other bytes \(stamp\)"):
        receipts.write_receipt(folder, other)


def test_a_second_run_on_the_same_folder_is_told_who_is_at_work(on_s3):
    config, told = load_config(on_s3), []

    def second():
        try:
            steps.cut_step(config)
        except StoreError as error:
            told.append(str(error))

    with hold(config.out):
        other = threading.Thread(target=second)
        other.start()
        other.join()
    assert f"process {os.getpid()}" in told[0]
    assert not paths.list_names(config.out)


def test_wrong_credentials_are_a_clear_error_within_seconds(on_s3, tmp_path):
    start = time.monotonic()
    done = new_process("cut", on_s3, tmp_path, **environment(secret_key="mistyped"))
    # Python, its imports and the cluster take most of this; retries with backoff would take minutes.
    assert time.monotonic() - start < 60
    text = " ".join(done.stderr.split())
    assert done.returncode == 1 and "refuses access (SignatureDoesNotMatch)" in text, done.stderr
    assert "AWS_SECRET_ACCESS_KEY" in text and "mistyped" not in text and "Traceback" not in text


def test_obstore_says_the_same_of_wrong_credentials(on_s3, monkeypatch):
    pytest.importorskip("obstore")
    on_s3["storage"] = {**on_s3["storage"], "library": "obstore"}
    folder = RunFolder.of(load_config(on_s3))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    with pytest.raises(StoreError, match="refuses access"):
        paths.open_group(folder.pairs)


def test_no_credentials_at_all_are_a_clear_error(on_s3, tmp_path):
    done = new_process("cut", on_s3, tmp_path, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 1 and "no credentials" in " ".join(done.stderr.split())


def test_a_bucket_that_does_not_exist_is_named(on_s3):
    config = load_config({**on_s3, "out": "s3://lensflow-no-such-bucket/run"})
    with pytest.raises(StoreError, match="no such bucket"):
        steps.cut_step(config)


def test_a_server_that_is_not_there_is_a_clear_error(on_s3, monkeypatch):
    monkeypatch.setattr(reach, "ATTEMPTS", 2)  # or the waits take half a minute
    config = load_config({**on_s3, "storage": {"endpoint_url": "http://127.0.0.1:9"}})
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 does not answer"):
        steps.cut_step(config)


@pytest.mark.parametrize("library", ["s3fs", "obstore"])
def test_no_secret_is_in_pickles_logs_attributes_or_receipts(on_s3, caplog, library):
    if library == "obstore":
        pytest.importorskip("obstore")
    on_s3["storage"] = {**on_s3["storage"], "library": library}
    config = load_config(on_s3)
    logging.getLogger("lensflow").setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG, logger="s3fs"):
        make_pairs(config)
    folder = RunFolder.of(config)
    regions = stored_regions(folder.pairs, "pairs")
    pickled = [
        pickle.dumps(InjectTask(config, "f", regions)),
        pickle.dumps(folder),
        pickle.dumps(paths.zarr_store(folder.pairs)),
        pickle.dumps(paths.open_group(folder.pairs)["stamp"]),
        pickle.dumps(paths.filesystem(folder.pairs)[0]),
        # Lazy pairs go to workers as a graph.
        __import__("cloudpickle").dumps(open_all_pairs(folder.pairs)["ctrl"].data.__dask_graph__()),
    ]
    places = {**everything(config.out), "log": caplog.text.encode(), "config": config.to_yaml().encode()}
    for secret in (SECRET_KEY.encode(), ACCESS_KEY.encode()):
        assert [i for i, data in enumerate(pickled) if secret in data] == []
        assert [name for name, data in places.items() if secret in data] == []


def test_credentials_in_fsspecs_own_settings_are_refused(on_s3, monkeypatch):
    monkeypatch.setitem(reach.conf, "s3", {"key": ACCESS_KEY, "secret": SECRET_KEY})
    with pytest.raises(StoreError, match="would be pickled") as refused:
        steps.cut_step(load_config(on_s3))
    assert SECRET_KEY not in str(refused.value)


def test_the_endpoint_may_come_from_the_environment(on_s3, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    paths.write_text(f"{on_s3['out']}/a.txt", "here")
    assert paths.read_text(f"{on_s3['out']}/a.txt") == "here"
    assert reach.storage_of(on_s3["out"]) == StorageConfig(endpoint_url=s3_server.endpoint_url)
