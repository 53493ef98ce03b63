"""A damaged store never gives numbers: every reader stops and names the object, or did not read it; repair mends it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store import objects, receipts
from lensflow.store import read as opening
from lensflow.store.open import open_all_pairs, read_pairs_block, stored_regions
from lensflow.store.run_folder import RunFolder, config_of
from tests.s3.compare import store_digests
from tests.small_survey import small_survey

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a survey of one brick: two regions of hosts, two of pairs, measured."""
    config = load_config(small_survey(tmp_path_factory.mktemp("damage")))
    steps.cut_step(config)
    steps.plan_step(config)
    steps.inject_step(config)
    Path(config.out, "config.yaml").write_text(config.to_yaml())
    return config


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory):
    """A copy of that run, whose objects are damaged and put back one after another."""
    out = tmp_path_factory.mktemp("copy") / "run"
    shutil.copytree(finished.out, out)
    return config_of(str(out))


def all_objects(config):
    out = Path(config.out)
    return sorted(p.relative_to(out).as_posix() for s in ("cutouts", "manifest", "pairs") for p in files(out, s))


def files(out, store):
    return [p for p in (out / f"{store}.zarr").rglob("*") if p.is_file()]


def flip(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0x11
    path.write_bytes(whole)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "truncated": lambda p: os.truncate(p, p.stat().st_size - 5),
    "emptied": lambda p: os.truncate(p, 0),
    "flipped": flip,
}


def forget():
    """As in a new process."""
    opening._arrays.clear()
    objects._known.clear()
    receipts._forget()


class damaged:
    """One object is damaged for a while."""

    def __init__(self, config, name, how):
        self.path, self.how = Path(config.out, name), how

    def __enter__(self):
        self.whole = self.path.read_bytes()
        DAMAGES[self.how](self.path)
        forget()

    def __exit__(self, *_):
        self.path.write_bytes(self.whole)
        forget()


def load_all(config):
    """Everything that a notebook can load."""
    folder = RunFolder.of(config)
    every = (lf.open_cutouts(folder.cutouts), lf.open_manifest(folder.manifest), open_all_pairs(folder.pairs))
    return [ds.load() for ds in every]


def read_blocks(config):
    """Everything that the tasks of diagnose, gate, score, tune-core and report read."""
    folder = RunFolder.of(config)
    regions = stored_regions(folder.pairs, "pairs")
    return [read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, r) for r in regions]


def is_named(error, name):
    """The message names the object, or its array."""
    store, _, key = name.partition("/")
    return store in str(error) and key in str(error)


def same(a, b):
    return all(x.identical(y) for x, y in zip(a, b, strict=True))


@pytest.mark.slow
def test_every_object_of_every_store_is_checked_by_a_reader_of_everything(copied):
    names, kinds = all_objects(copied), list(DAMAGES)
    assert len(names) > 50
    load_all(copied)
    for i, name in enumerate(names):
        with (
            damaged(copied, name, kinds[i % len(kinds)]),
            pytest.raises(DamagedStoreError, match=r"lensflow verify .*run --repair") as error,
        ):
            load_all(copied)
        assert is_named(error.value, name), str(error.value)


@pytest.mark.slow
def test_what_a_task_reads_of_a_region_is_checked_and_what_it_does_not_read_changes_nothing(copied):
    expected, kinds = read_blocks(copied), list(DAMAGES)
    refused = set()
    for i, name in enumerate(all_objects(copied)):
        with damaged(copied, name, kinds[(i + 1) % len(kinds)]):
            try:
                assert same(read_blocks(copied), expected), name
            except DamagedStoreError as error:
                assert is_named(error, name), str(error)
                refused.add(name)
    arrays = {"/".join(n.split("/")[:2]) for n in refused}
    assert arrays >= {
        "pairs.zarr/arc", "pairs.zarr/stamp", "pairs.zarr/metrics", "pairs.zarr/flags", "cutouts.zarr/image",
        "manifest.zarr/parameters", "manifest.zarr/row_id", "pairs.zarr/zarr.json", "cutouts.zarr/zarr.json",
    }  # fmt: skip


def mean_of_the_stamps(images):
    return np.asarray(images).mean(axis=(1, 2, 3))


FACES = {
    "diagnose": steps.diagnose_step,
    "gate": steps.gate_step,
    "report": steps.report_step,
    "inject": steps.inject_step,
    "score": lambda c: steps.score_step(c, "tests.run.test_damage:mean_of_the_stamps", again=True),
    "load": load_all,
    "certify": steps.certify_step,
}
# One object of each kind.
SOME = (
    "pairs.zarr/metrics/c/1/0",
    "pairs.zarr/stamp/c/0/0/0/0",
    "cutouts.zarr/image/c/1/0/0/0",
    "cutouts.zarr/cell/c/0",
    "manifest.zarr/parameters/c/0/0",
    "manifest.zarr/zarr.json",
)


def numbers(config, face):
    """What a face gives, as text; results that are kept are forgotten first."""
    shutil.rmtree(Path(config.out, "summaries"), ignore_errors=True)
    forget()
    return repr(FACES[face](config))


def stops_or_gives_the_same(config, face, name, how, expected):
    with damaged(config, name, how):
        try:
            given = numbers(config, face)
        except StoreError as error:
            assert is_named(error, name), str(error)
            return True
    assert given == expected
    return False


@pytest.mark.parametrize("face", ["diagnose", "inject"])
def test_a_step_stops_at_damage_or_gives_the_same_numbers(copied, face):
    expected = numbers(copied, face)
    stopped = [stops_or_gives_the_same(copied, face, name, "deleted", expected) for name in SOME]
    assert any(stopped)


@pytest.mark.slow
@pytest.mark.parametrize("how", list(DAMAGES))
@pytest.mark.parametrize("face", list(FACES))
def test_every_step_stops_at_any_damage_or_gives_the_same_numbers(copied, face, how):
    expected = numbers(copied, face)
    names = all_objects(copied) if face in ("diagnose", "load", "inject") else SOME
    stopped = [stops_or_gives_the_same(copied, face, name, how, expected) for name in names]
    assert any(stopped)


def repaired(config, digests, name, how):
    path = Path(config.out, name)
    before = {p: p.stat().st_mtime_ns for p in Path(config.out).rglob("*") if p.is_file() and p != path}
    whole = path.read_bytes()
    DAMAGES[how](path)
    forget()
    found = lf.verify(config.out, repair=True)
    assert [d.object for d in found.damage] == [str(path)], found
    assert found.left == () and len(found.mended) == 1
    assert {p: p.stat().st_mtime_ns for p in before} == before
    if path.name == "zarr.json" and path.parent.suffix == ".zarr":
        assert lf.verify(config.out).damage == ()
        # The record of the store's creation has its attributes in another order.
        assert json.loads(path.read_text()) == json.loads(whole)
        path.write_bytes(whole)
        forget()
    else:
        assert store_digests(config.out) == digests
    assert not Path(config.out, ".repair").exists()


MENDED = (
    "pairs.zarr/stamp/c/0/0/0/0",
    "pairs.zarr/arc/zarr.json",
    "cutouts.zarr/invvar/c/1/0/0/0",
    "cutouts.zarr/ra_deg/c/0",
    "manifest.zarr/parameters/c/0/0",
    "manifest.zarr/zarr.json",
)


@pytest.mark.slow
def test_repair_makes_again_what_was_there_and_touches_nothing_else(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "run")
    config, digests = config_of(str(tmp_path / "run")), store_digests(finished.out)
    for i, name in enumerate(MENDED):
        repaired(config, digests, name, list(DAMAGES)[i % len(DAMAGES)])


@pytest.mark.slow
def test_repair_makes_every_object_again(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "run")
    config, digests = config_of(str(tmp_path / "run")), store_digests(finished.out)
    for name in all_objects(config):
        repaired(config, digests, name, "flipped")


@pytest.mark.parametrize(("store", "how"), [("cutouts", "flipped"), ("manifest", "deleted"), ("pairs", "truncated")])
def test_the_record_of_a_stores_creation_is_checked_and_mended(copied, store, how):
    name, digests = f"receipts/{store}/created.json", store_digests(copied.out)
    whole = Path(copied.out, name).read_bytes()
    DAMAGES[how](Path(copied.out, name))
    forget()
    with pytest.raises(DamagedStoreError, match=r"created\.json is"):
        load_all(copied)
    found = lf.verify(copied.out, repair=True)
    assert found.left == () and any("record of its creation made again" in m for m in found.mended)
    forget()
    assert Path(copied.out, name).read_bytes() == whole and store_digests(copied.out) == digests


def test_a_receipt_that_is_damaged_is_done_again_and_never_trusted(finished, tmp_path):
    shutil.copytree(finished.out, tmp_path / "run")
    config = config_of(str(tmp_path / "run"))
    place = Path(receipts.receipt_url(RunFolder.of(config).receipts("pairs"), 1))
    place.unlink()
    place.mkdir()
    forget()
    with pytest.raises(StoreError, match="region 1 has no valid receipt"):
        load_all(config)
    with pytest.raises(StoreError, match=r"1 of .* regions are not finished"):
        steps.diagnose_step(config)
    steps.inject_step(config)
    assert store_digests(config.out) == store_digests(finished.out)


def test_a_store_whose_metadata_is_gone_is_not_taken_for_none(copied):
    """A run that found no store would wipe what is there and begin again."""
    before = store_digests(copied.out)
    for step, store in ((steps.cut_step, "cutouts"), (steps.plan_step, "manifest"), (steps.inject_step, "pairs")):
        with (
            damaged(copied, f"{store}.zarr/zarr.json", "deleted"),
            pytest.raises(DamagedStoreError, match="is missing"),
        ):
            step(copied)
    assert store_digests(copied.out) == before
