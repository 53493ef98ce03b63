"""A run that is made again in the same place with other settings of the store, which no bit depends on.

Fingerprints are equal then, and a process, or the worker of a cluster, may have read the old one.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lensflow import run as steps
from lensflow.store import objects, paths, read, receipts, rendered
from lensflow.store.open import open_all_pairs, read_pairs_block, read_pixels, stored_regions
from lensflow.store.run_folder import Places, RunFolder, config_of
from tests.run.test_rendered_pixels import PIXELS, bits, config_at, forget, make_three
from tests.shared import made_once

CHANGES = [
    ({"pixels": "full"}, {"pixels": "virtual"}),
    ({"pixels": "virtual"}, {"pixels": "stamp"}),
    ({"pixels": "stamp"}, {"pixels": "virtual"}),
    ({"pixels": "virtual"}, {"pixels": "full"}),
    ({"pixels": "full", "codec": "lz4-bitshuffle"}, {"pixels": "full", "codec": "zstd1-shuffle", "inner_chunk": 2}),
]


@pytest.fixture(scope="module")
def three():
    return made_once("rendered-pixels", make_three)


def make(place, store):
    folder = RunFolder(str(place))
    config = config_of(folder.root)
    config = config_at(place).model_copy(
        update={"store": config.store.model_copy(update=store), "plan": config.plan, "injection": config.injection}
    )
    for gone in (folder.pairs, folder.receipts("pairs")):
        shutil.rmtree(gone, ignore_errors=True)
    steps.inject_step(config)
    return folder


def everything(folder):
    """Pixels and a metric, in three ways of reading."""
    regions = stored_regions(folder.pairs, "pairs")
    places = Places.beside(folder.pairs)
    block = read_pairs_block(*places, regions[1])
    pixels = read_pixels(folder.pairs, "pairs", np.array([1, 30]), PIXELS)
    lazy = open_all_pairs(folder.pairs)
    return [bits(v) for v in (block["arc"], block["stamp"], block["snr_matched"], *pixels.values(), lazy["stamp"][20])]


def caches():
    return objects._known, objects._metadata_read, read._arrays, receipts._vouched


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_it_is_read_as_it_is_now(three, tmp_path, before, after):
    """By the process that has made it again, and by one that has forgotten nothing of the old one."""
    place = tmp_path / "run"
    shutil.copytree(three / "full", place)
    forget()
    wanted = everything(make(place, before))
    kept = [dict(c) for c in caches()]
    folder = make(place, after)
    assert everything(folder) == wanted
    for cache, was in zip(caches(), kept, strict=True):
        cache.clear()
        cache.update(was)
    assert everything(folder) == wanted
    stored = {p.relative_to(folder.pairs).parts[0] for p in Path(folder.pairs).glob("*/c")}
    assert stored & {*PIXELS} == {*PIXELS} - {*config_at(place, **after).store.rendered}


def test_a_worker_that_knew_the_old_store_writes_the_new_one(three, tmp_path):
    """What a task writes follows the store that is there: a store of stored pixels has no checksums of rows."""
    place = tmp_path / "run"
    shutil.copytree(three / "full", place)
    forget()
    everything(make(place, {"pixels": "full"}))
    kept = dict(objects._known)
    real = objects.write_created

    def knows_the_old(url, created):
        real(url, created)
        objects._known.update(kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "write_created", knows_the_old)
        folder = make(place, {"pixels": "virtual"})
    done = receipts.read_receipts(folder.receipts("pairs")).values()
    assert all(sorted(r.rendered) == ["arc", "stamp"] and receipts.ROW_CHECKS in r.checksums for r in done)
    assert not paths.exists(paths.join(folder.pairs, "arc"))


def test_columns_of_the_checksums_are_those_of_the_store_that_is_there(three, tmp_path):
    """The recipe of a store is kept by its layout, not by its place alone."""
    place = tmp_path / "run"
    shutil.copytree(three / "full", place)
    forget()
    orders = []
    for kind in ("virtual", "stamp"):
        folder = make(place, {"pixels": kind})
        everything(folder)
        group = read.store_group(folder.pairs, "pairs")
        recipe = rendered._recipe(
            Places.beside(folder.pairs), *(str(group.attrs[k]) for k in ("fingerprint", "layout"))
        )
        orders.append(recipe.columns)
    assert orders == [{"arc": 0, "stamp": 1}, {"arc": 0}]
