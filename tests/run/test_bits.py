"""The stored bits do not depend on how the work was cut up, in which order it was done, or how often it stopped."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow import schema
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.manifest.build import build_manifest
from lensflow.run.inject import InjectTask
from lensflow.store import paths, pieces, receipts, resume
from lensflow.store.lease import hold
from lensflow.store.open import open_all_pairs, stored_regions
from lensflow.store.run_folder import RunFolder
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

NAMES = [v.name for v in (*schema.PAIRS, schema.CTRL, *schema.METRICS, *schema.ROUNDING, *schema.FLAGS)]
STORE = {"samples_per_region": 12, "hosts_per_region": 8, "inner_chunk": 4, "quantize": "sky/16"}
SURVEY = {"root": "-", "targets": "-", "stamp_size": 40}


def config_of(out, **store):
    return make_config(out, survey=SURVEY, store={**STORE, **store})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in one go, in this process: its config, cutouts, manifest and pairs."""
    config = config_of(tmp_path_factory.mktemp("bits") / "whole")
    cutouts = make_cutouts(9, size=40, absent=((2, 0),))
    manifest = build_manifest(cutouts, config)
    return config, cutouts, manifest, written(cutouts, manifest, config)


def written(cutouts, manifest, config):
    """Write the pairs of a manifest; those of all splits, in memory."""
    lf.write_pairs(lf.inject(cutouts, manifest, config), config)
    return pairs_of(config)


def inject_all(config):
    steps.inject_step(config)
    return pairs_of(config)


def pairs_of(config):
    return open_all_pairs(RunFolder.of(config).pairs).load()


def differing(a, b):
    return [n for n in NAMES if a[n].values.tobytes() != b[n].values.tobytes()]


def checksums(config):
    done = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
    return {i: r.checksums for i, r in done.items()}


@pytest.mark.slow
def test_two_processes_and_other_regions_give_the_same_bits(whole, tmp_path):
    _, cutouts, manifest, pairs = whole
    config = config_of(tmp_path, samples_per_region=20, hosts_per_region=4, copy_ctrl=True, codec="zstd1-shuffle")
    with lf.connect(config.cluster.model_copy(update={"kind": "local", "workers": 2})):
        again = written(cutouts, manifest, config)
    assert differing(again, pairs) == []


@pytest.mark.slow
def test_regions_in_any_order_give_the_same_bits(whole, tmp_path):
    config, cutouts, manifest, pairs = whole
    other = config_of(tmp_path)
    lf.write_pairs(lf.inject(cutouts, manifest, other), other)
    folder = RunFolder.of(other)
    receipts.clear(folder.receipts("pairs"))
    for part in ("arc", "stamp", "metrics", "flags"):
        shutil.rmtree(Path(folder.pairs, part, "c"))
    regions = stored_regions(folder.pairs, "pairs")
    stamp = str(paths.open_group(folder.pairs).attrs["fingerprint"])
    task = InjectTask(other, stamp, regions)
    for i in np.random.default_rng(3).permutation(len(regions)):
        task(int(i))
    assert differing(open_all_pairs(folder.pairs).load(), pairs) == [] and checksums(other) == checksums(config)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_with_the_same_bits(whole, tmp_path):
    config, cutouts, manifest, pairs = whole
    other = config_of(tmp_path)
    folder = RunFolder.of(other)

    def stop(stage, done, total):
        if (stage, done) == ("inject", 2):
            raise KeyboardInterrupt

    steps.freeze_cutouts(cutouts, other)
    steps.freeze_manifest(manifest, other)
    one = other.cluster.model_copy(update={"workers": 1})
    with lf.connect(one), pytest.raises(KeyboardInterrupt):
        steps.inject_step(other, stop)
    done = {p: p.stat().st_mtime_ns for p in Path(folder.receipts("pairs")).iterdir()}
    assert 2 <= len(done) < len(stored_regions(folder.pairs, "pairs"))
    again = inject_all(other)
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    assert differing(again, pairs) == [] and checksums(other) == checksums(config)


def test_any_row_made_anew_has_the_stored_bits(whole):
    config, _, _, pairs = whole
    for i in (0, 7, pairs.sizes["sample"] - 1):
        row = lf.rerender(config.out, int(pairs["row_id"].values[i]))
        assert row.attrs["identical"] and row.attrs["same_code"] and row.sizes["sample"] == 1
        assert np.array_equal(row["stamp"].values[0], pairs["stamp"].values[i])
    with pytest.raises(StoreError, match="no row with row_id 12345678901234567"):
        lf.rerender(config.out, 12345678901234567)


@pytest.mark.slow
def test_lazy_injection_gives_the_rounded_bits_too(whole):
    config, cutouts, manifest, pairs = whole
    assert differing(lf.inject(cutouts, manifest, config, chunk=5).compute(), pairs) == []


@pytest.fixture
def spoilt(whole, tmp_path):
    """A copy of the run with one byte of one stamp shard flipped; the run's config there."""
    shutil.copytree(whole[0].out, tmp_path / "run")
    shard = tmp_path / "run" / "pairs.zarr" / "stamp" / "c" / "1" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0x40
    shard.write_bytes(data)
    return config_of(tmp_path / "run")


def test_verify_names_the_damage_no_step_uses_it_and_repair_mends_it(whole, spoilt):
    pairs = whole[3]
    found = lf.verify(spoilt.out)
    assert found.checked == {"cutouts": 2, "pairs": found.regions["pairs"]}
    (damage,) = found.damage
    assert (damage.store, damage.region, damage.array) == ("pairs", 1, "stamp")
    assert damage.object.endswith("pairs.zarr/stamp/c/1/0/0/0")
    with pytest.raises(DamagedStoreError, match=r"stamp/c/1/0/0/0 has other bytes.*lensflow verify .*run --repair"):
        steps.diagnose_step(spoilt)
    before = {p: p.stat().st_mtime_ns for p in Path(spoilt.out).rglob("*") if p.is_file()}
    mended = lf.verify(spoilt.out, repair=True)
    assert mended.left == () and mended.mended == ("pairs: 1 object(s) of 1 region(s) made again (stamp/c/1/0/0/0)",)
    changed = {p for p, t in before.items() if p.stat().st_mtime_ns != t}
    assert changed == {Path(spoilt.out, "pairs.zarr", "stamp", "c", "1", "0", "0", "0")}
    assert differing(open_all_pairs(RunFolder.of(spoilt).pairs).load(), pairs) == []
    assert lf.verify(spoilt.out).damage == ()


def test_repair_refuses_other_code_and_changes_nothing(spoilt, monkeypatch):
    monkeypatch.setattr(resume, "code_fingerprint", lambda: "another")
    before = {p: p.read_bytes() for p in Path(spoilt.out).rglob("*") if p.is_file()}
    with pytest.raises(StoreError, match=r"with other code .*Repair it with the lensflow that made it"):
        lf.verify(spoilt.out, repair=True)
    assert before == {p: p.read_bytes() for p in Path(spoilt.out).rglob("*") if p.is_file()}


def test_a_sample_reads_only_so_many_regions(whole):
    assert lf.verify(whole[0].out, sample=1).checked == {"cutouts": 1, "pairs": 1}


@pytest.mark.slow
def test_a_row_on_damaged_ground_is_not_called_identical(spoilt):
    manifest = lf.open_manifest(RunFolder.of(spoilt).manifest)
    refused, identical = 0, 0
    # The flipped byte lies in the middle chunk of the shard of rows 12 to 23.
    for row_id in manifest["row_id"].values[12:24]:
        try:
            identical += lf.rerender(spoilt.out, int(row_id)).attrs["identical"]
        except DamagedStoreError:
            refused += 1
    assert refused > 0 and refused + identical == 12


def test_another_manifest_is_noticed(whole, tmp_path):
    shutil.copytree(whole[0].out, tmp_path / "run")
    part = next(p for p in (tmp_path / "run" / "manifest.zarr" / "parameters" / "c").rglob("*") if p.is_file())
    part.unlink()
    assert [d.store for d in lf.verify(str(tmp_path / "run")).damage] == ["manifest"]


def test_two_writers_of_one_region_agree_or_the_second_is_refused(whole, tmp_path):
    config = whole[0]
    done = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
    folder = str(tmp_path / "r")
    assert receipts.write_receipt(folder, done[0]) == done[0]
    late = receipts.Receipt(**{**done[0].__dict__, "seconds": {"write": 9.0}})
    assert receipts.write_receipt(folder, late) == done[0]
    other = receipts.Receipt(**{**done[0].__dict__, "checksums": {**done[0].checksums, "stamp": "0"}})
    with pytest.raises(StoreError, match=r"other bytes \(stamp\)"):
        receipts.write_receipt(folder, other)


def test_a_second_run_in_the_folder_is_refused_while_one_is_at_work(whole):
    config, told = whole[0], []

    def second():
        try:
            steps.inject_step(config)
        except StoreError as error:
            told.append(str(error))

    with hold(config.out):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "another run is at work" in told[0]


def test_a_store_whose_creation_was_cut_short_is_made_anew(whole, tmp_path):
    config, _, _, pairs = whole
    shutil.copytree(config.out, tmp_path / "run")
    other = config_of(tmp_path / "run")
    meta = tmp_path / "run" / "pairs.zarr" / "zarr.json"
    meta.write_text(meta.read_text().replace('"complete": true', '"complete": false'))
    shutil.rmtree(tmp_path / "run" / "pairs.zarr" / "flags")
    assert differing(inject_all(other), pairs) == []


def test_objects_of_a_region_are_few_and_the_receipt_knows_their_sizes(whole):
    config = whole[0]
    folder = RunFolder.of(config)
    for receipt in receipts.read_receipts(folder.receipts("pairs")).values():
        assert len(receipt.objects) + 1 <= 6
        assert all(Path(folder.pairs, k).stat().st_size == pieces.size_of(n) for k, n in receipt.objects.items())
    assert receipts.summary(receipts.read_receipts(folder.receipts("pairs")).values())["stored_bytes"] > 0
