"""A shared store is the store: whole or not there, whenever it was stopped; another one is refused."""

import shutil
from pathlib import Path

import pytest

from lensflow.errors import StaleStoreError, StoreError
from lensflow.run import verify_step
from lensflow.run.cut import freeze_cutouts
from lensflow.store import paths, share
from lensflow.store.run_folder import RunFolder
from tests.run.sweep.small_sweep import hosts, swept_run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return RunFolder(swept_run(tmp_path_factory.mktemp("share") / "run").out)


def below(folder, *parts):
    return {(p, k): paths.read_object(paths.join(folder.root, p, k))
            for p in parts for k in paths.sizes_below(paths.join(folder.root, p))}  # fmt: skip


PARTS = ("cutouts.zarr", "receipts/cutouts", "manifest.zarr", "receipts/manifest")


def test_a_shared_store_has_every_byte_wherever_it_was_stopped(source, tmp_path, monkeypatch):
    real, calls = share._give, []
    whole = below(source, *PARTS)

    def counted(*args, **more):
        calls.append(args)
        return real(*args, **more)

    monkeypatch.setattr(share, "_give", counted)
    for store in ("cutouts", "manifest"):
        share.share_store(source, RunFolder(str(tmp_path / "whole")), store)
    n = len(calls)
    assert below(RunFolder(str(tmp_path / "whole")), *PARTS) == whole and n == len(whole)
    for stop in {*range(0, n, 9), n - 2, n - 1}:
        target, left = RunFolder(str(tmp_path / f"stopped-{stop}")), [stop]

        def killed(*args, left=left, **more):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*args, **more)

        monkeypatch.setattr(share, "_give", killed)
        with pytest.raises(KeyboardInterrupt):
            for store in ("cutouts", "manifest"):
                share.share_store(source, target, store)
        monkeypatch.setattr(share, "_give", real)
        for store in ("cutouts", "manifest"):
            share.share_store(source, target, store)
        assert below(target, *PARTS) == whole


def test_without_links_objects_are_copied(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "another device")

    monkeypatch.setattr(share.os, "link", refuse)
    target = RunFolder(str(tmp_path / "copy"))
    share.share_store(source, target, "cutouts")
    assert not verify_step(target.root).left
    shards = [p for p in (Path(target.root) / "cutouts.zarr" / "image").rglob("*") if p.is_file()]
    assert all(p.stat().st_nlink == 1 for p in shards)


def test_a_store_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no cutouts to share"):
        share.share_store(RunFolder(str(tmp_path)), RunFolder(str(tmp_path / "x")), "cutouts")


def test_a_store_of_another_fingerprint_is_refused(source, tmp_path):
    other = swept_run(tmp_path / "other").model_copy(update={"seed": 9})
    shutil.rmtree(other.out)
    freeze_cutouts(hosts(), other)
    target = RunFolder(str(tmp_path / "target"))
    share.share_store(source, target, "cutouts")
    with pytest.raises(StaleStoreError, match="holds other cutouts"):
        share.share_store(RunFolder.of(other), target, "cutouts")
