"""Pixels of rows that lie anywhere are those of the block that each lies in."""

import numpy as np
import pytest

from lensflow.errors import StoreError
from lensflow.show.collect import pixels_of
from lensflow.store.open import open_all_pairs, read_pairs_block
from lensflow.store.regions import Region
from tests.small_run import injected_copy

pytestmark = pytest.mark.whole

ROWS = np.array([57, 3, 31, 32, 3])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return injected_copy(tmp_path_factory.mktemp("pixels") / "run").out


def some(run, rows=ROWS):
    every = open_all_pairs(f"{run}/pairs.zarr", f"{run}/manifest.zarr", f"{run}/cutouts.zarr")
    return every.assign(row=("sample", np.arange(every.sizes["sample"]))).isel(sample=rows)


def test_each_row_is_that_of_its_block_whatever_the_order(run):
    found = pixels_of(some(run), f"{run}/pairs.zarr", f"{run}/cutouts.zarr", False)
    for n, at in enumerate(ROWS):
        block = read_pairs_block(
            f"{run}/pairs.zarr", f"{run}/manifest.zarr", f"{run}/cutouts.zarr", Region(0, at, at + 1)
        )
        for name in ("arc", "stamp", "ctrl"):
            assert found[name][n].tobytes() == block[name].values[0].tobytes(), (name, at)
    assert np.ptp(found["arc"]) > 0


def test_a_changed_byte_is_refused_as_everywhere(tmp_path):
    run = injected_copy(tmp_path / "run").out
    rows = some(run, np.arange(60))
    shard = next(p for p in (tmp_path / "run/pairs.zarr/stamp/c").rglob("*") if p.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="stamp"):
        pixels_of(rows, f"{run}/pairs.zarr", f"{run}/cutouts.zarr", False)
