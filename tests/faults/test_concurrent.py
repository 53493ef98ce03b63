"""What is done side by side, behind a link and a server that fail: nothing is lost, and nothing half-written counts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.config import ClusterConfig
from lensflow.errors import StoreError
from lensflow.fits import reach
from lensflow.run import cut_step
from lensflow.run.execute import silent
from lensflow.stats import codec
from lensflow.store import paths, receipts
from lensflow.store.open import open_pairs
from lensflow.store.run_folder import RunFolder
from tests.run import test_strips as strips
from tests.s3.compare import store_digests
from tests.s3.proxy import Faults
from tests.shared import made_once

pytestmark = [pytest.mark.faults, pytest.mark.s3, pytest.mark.filterwarnings("ignore::ResourceWarning")]
# One thread of a worker: what is at work beside a region is at work because that one waits.
ONE = ClusterConfig(kind="threads", workers=1, dashboard=None)
ALL = {"reset_share": 0.03, "truncated_share": 0.04, "lost_reply_share": 0.03, "error_share": 0.03}
STRUCK = {
    "503 and the link": Faults(error="SlowDown", **ALL),
    "500 and a slow link": Faults(error="InternalError", bytes_per_s=4_000_000, **ALL),
}
KINDS = ("reset", "truncated", "lost reply")


def results(config):
    return repr(codec.encode(steps.measure_step(config, gates=False, again=True, keep=False)[0]))


@pytest.fixture(scope="module")
def measured(whole):
    return results(whole.at(whole.settings["out"]))


def values(out):
    return {i: r.values for i, r in receipts.read_receipts(RunFolder(str(out)).receipts("pairs")).items()}


@pytest.mark.parametrize("library", ["s3fs", "obstore"])
@pytest.mark.parametrize("fault", STRUCK)
def test_two_regions_in_flight_outlast_faults_in_every_step(whole, measured, behind, proxy, fault, library):
    config = behind(library)
    virtual = config.model_copy(update={"store": config.store.model_copy(update={"pixels": "virtual"})})
    proxy.faults = STRUCK[fault]
    with lf.connect(ONE):
        steps.cut_step(virtual)
        steps.plan_step(virtual)
        steps.inject_step(virtual)
        assert values(config.out) == values(whole.settings["out"])
        rendered = results(virtual)
        done = steps.materialise_step(virtual.out)
        read = results(virtual)
    assert all(proxy.counts[kind] for kind in KINDS)
    proxy.faults = Faults()
    assert done.left == 0 and done.regions == len(values(config.out))
    assert rendered == read == measured
    assert steps.verify_step(config.out).damage == ()
    stored = {k: v for k, v in whole.digests.items() if re.search(r"(arc|stamp|metrics|flags)/c/", k)}
    assert stored and {k: v for k, v in store_digests(config.out).items() if k in stored} == stored


@pytest.mark.parametrize("step", ["inject", "materialise"])
def test_a_server_that_fails_for_long_is_named_with_the_object_and_no_half_of_a_region_counts(
    whole,
    measured,
    behind,
    proxy,
    monkeypatch,
    step,
):
    monkeypatch.setattr(reach, "ATTEMPTS", 2)  # or the waits take a minute
    config = behind()
    pixels = "virtual" if step == "materialise" else "full"
    config = config.model_copy(update={"store": config.store.model_copy(update={"pixels": pixels})})
    steps.cut_step(config)
    steps.plan_step(config)
    if step == "materialise":
        steps.inject_step(config)

    def begin(stage, done, total):
        if (stage, done) == (step, 1):
            proxy.faults = Faults(error="InternalError", error_share=1.0, methods=("PUT",))

    def work(progress):
        if step == "inject":
            return steps.inject_step(config, progress)
        return steps.materialise_step(config.out, (), progress)

    named = r"pairs(\.zarr/(arc|stamp|metrics|flags)/(c/\d|zarr\.json)|/region-\d)"
    with lf.connect(ONE), pytest.raises(StoreError, match=named):
        work(begin)
    proxy.faults = Faults()
    folder = RunFolder.of(config)
    kept = receipts.read_receipts(folder.receipts("pairs"))
    whole_values = values(whole.settings["out"])
    assert {i: r.values for i, r in kept.items()}.items() <= whole_values.items()
    if step == "inject":
        assert 0 < len(kept) < len(whole_values)
        with pytest.raises(StoreError, match=r"not finished|no valid receipt|did not finish"):
            open_pairs(folder.pairs)["stamp"].load()
    else:  # what is not stored is rendered, though some of its objects may be there
        assert any(r.rendered for r in kept.values()) and results(config) == measured
    with lf.connect(ONE):
        work(silent)
    assert values(config.out) == whole_values and results(config) == measured
    assert steps.verify_step(config.out).damage == ()


@pytest.mark.parametrize("fault", STRUCK)
def test_bricks_that_are_read_ahead_from_s3_are_cut_as_from_disk(bucket, proxy, tmp_path, monkeypatch, fault):
    local = strips.config_of(made_once("five-bricks", strips._write), tmp_path / "run")
    cut_step(local)
    storage = {"endpoint_url": proxy.endpoint_url, "region": "us-east-1"}
    config = lf.load_config({
        **local.model_dump(mode="json", exclude_defaults=True), "out": f"{bucket}/run", "storage": storage,
        "survey": {**local.survey.model_dump(mode="json", exclude_defaults=True), "root": f"{bucket}/survey"},
    })  # fmt: skip
    root = Path(local.survey.root)
    # The settings of storage are those of out alone.
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint_url)
    for file in root.rglob("*"):
        if file.is_file():
            paths.write_bytes(paths.join(config.survey.root, file.relative_to(root).as_posix()), file.read_bytes())
    proxy.counts.clear()
    proxy.faults = STRUCK[fault]
    with lf.connect(ONE):
        cut_step(config)
    assert all(proxy.counts[kind] for kind in KINDS)
    proxy.faults = Faults()
    here, far = (receipts.read_receipts(RunFolder.of(c).receipts("cutouts")) for c in (local, config))
    assert {i: r.checksums for i, r in far.items()} == {i: r.checksums for i, r in here.items()}

    def hosts(done):
        return {i: {k: n for k, n in r.counts.items() if not k.startswith("files")} for i, r in done.items()}

    assert hosts(far) == hosts(here) and not paths.list_names(RunFolder.of(config).parts)


LARGE = 105_000_000  # beyond this s3fs sends an object in parts of 50 MiB


def test_an_object_in_several_parts_is_there_whole_or_not_at_all(behind, proxy, monkeypatch):
    store = paths.join(RunFolder.of(behind()).root, "pairs.zarr")
    content = np.random.default_rng(1).bytes(LARGE)
    asked = Counter()
    monkeypatch.setattr(reach, "ATTEMPTS", 3)
    proxy.faults = Faults(error="SlowDown", error_share=0.3, reset_share=0.1, methods=("PUT", "POST"))
    for k in range(3):
        try:
            paths.put_object(store, f"arc/c/{k}", content)
        except StoreError as error:
            assert f"pairs.zarr/arc/c/{k}" in str(error)
            asked["failed"] += 1
        found = paths.get_object(store, f"arc/c/{k}")
        assert found is None or found == content
        asked["there"] += found is not None
    assert asked["there"] + asked["failed"] >= 3 and proxy.counts["struck"] > 0
    proxy.faults = Faults(error="SlowDown", error_share=1.0, methods=("PUT",))
    with pytest.raises(StoreError, match=r"pairs\.zarr/stamp/c/0.*does not answer as it should"):
        paths.put_object(store, "stamp/c/0", content)
    proxy.faults = Faults()
    assert paths.get_object(store, "stamp/c/0") is None
    paths.put_object(store, "stamp/c/0", content)
    assert paths.get_object(store, "stamp/c/0") == content
