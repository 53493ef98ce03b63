"""A region that is written a few rows at a time has the objects and checksums of one that is written at once."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import StoreError
from lensflow.injection import inject_block
from lensflow.injection.inject import Room
from lensflow.manifest.build import build_manifest
from lensflow.store import create, regions
from lensflow.store.region_writer import RegionWriter
from lensflow.store.regions import Region
from lensflow.store.writing import write_region
from tests.factories import make_config, make_cutouts

ROWS = 24
CHUNK = 4


@pytest.fixture(scope="module")
def block():
    """Pairs whose chunk 2 has no arc, as rows of controls have none."""
    cutouts = make_cutouts(4, size=16)
    config = make_config(survey={"root": "-", "targets": "-", "stamp_size": 16}, plan={"injections_per_host": 6})
    manifest = build_manifest(cutouts, config).isel(sample=slice(0, ROWS - 2))
    found = inject_block(cutouts, manifest)
    found["arc"].values[2 * CHUNK : 3 * CHUNK] = 0
    return found.assign(quantize_step_nmgy=(("sample", "band"), np.zeros((ROWS - 2, 3), np.float32)))


def store(url, block, virtual=()):
    create.create_store(
        str(url), "pairs", block.sizes["sample"], ["g", "r", "z"], stamp_size=16, rows_per_region=ROWS,
        inner_chunk=CHUNK, attrs={"fingerprint": "f"}, virtual=virtual,
    )  # fmt: skip
    return str(url), Region(0, 0, block.sizes["sample"])


def in_parts(url, region, block, rows):
    with RegionWriter(url, "pairs", region) as writer:
        room = {name: np.empty_like(block[name].values[:rows]) for name in ("arc", "stamp")}
        for start in range(0, region.size, rows):
            some = block.isel(sample=slice(start, start + rows)).copy()
            for name, values in room.items():  # written over for every part, as a task does
                values[: some.sizes["sample"]] = some[name].values
                some[name].values = values[: some.sizes["sample"]]
            writer.add(some)
        return writer.finish()


def files(url):
    return {p.relative_to(url): p.read_bytes() for p in sorted(Path(url).rglob("*")) if p.is_file()}


@pytest.mark.parametrize("virtual", [(), ("arc",), ("arc", "stamp")])
@pytest.mark.parametrize("rows", [CHUNK, 3 * CHUNK, ROWS])
def test_objects_and_checksums_are_those_of_the_whole_region(tmp_path, block, virtual, rows):
    one, region = store(tmp_path / "one" / "pairs.zarr", block, virtual)
    other, _ = store(tmp_path / "other" / "pairs.zarr", block, virtual)
    whole, parts = write_region(block, one, "pairs", region), in_parts(other, region, block, rows)
    assert parts == whole and list(parts["objects"]) == list(whole["objects"])
    assert files(other) == files(one) and not list((tmp_path / "other").glob(".staged*"))


def test_on_an_object_store_too(tmp_path, block, monkeypatch):
    one, region = store(tmp_path / "one" / "pairs.zarr", block)
    other, _ = store(tmp_path / "other" / "pairs.zarr", block)
    whole, put = write_region(block, one, "pairs", region), {}
    monkeypatch.setattr("lensflow.store.writing.paths.put_object", lambda url, key, data: put.update({key: data}))
    monkeypatch.setattr("lensflow.store.paths.is_local", lambda url: False)
    assert in_parts(other, region, block, 2 * CHUNK) == whole
    assert put == {key: (Path(one) / key).read_bytes() for key in whole["objects"]}


def test_an_array_of_zeros_has_no_object(tmp_path, block):
    dark = block.assign(arc=xr.zeros_like(block["arc"]))
    url, region = store(tmp_path / "pairs.zarr", dark)
    written = in_parts(url, region, dark, CHUNK)
    assert not any(key.startswith("arc/") for key in written["objects"]) and not (Path(url) / "arc" / "c").exists()


@pytest.mark.parametrize("sizes", [(4, 6, 12), (12,), (24,), (8, 8, 8)])
def test_rows_that_are_no_whole_chunks_too_few_or_too_many_are_refused_and_leave_nothing(tmp_path, block, sizes):
    url, region = store(tmp_path / "pairs.zarr", block)
    before, rows = files(url), block.isel(sample=np.arange(30) % (ROWS - 2))
    with pytest.raises(StoreError, match="rows"), RegionWriter(url, "pairs", region) as writer:
        for first, n in zip(np.cumsum((0, *sizes)), sizes, strict=False):
            writer.add(rows.isel(sample=slice(int(first), int(first) + n)))
        writer.finish()
    assert files(url) == before and not list(tmp_path.glob(".staged*"))


@given(st.integers(0, 9000), st.integers(1, 4000), st.sampled_from([1, 4, 16, 600]))
def test_parts_of_a_region_are_whole_chunks_and_hold_every_row_once(start, size, chunk):
    region = Region(3, start, start + size)
    parts = list(region.parts(chunk))
    assert [p.start for p in parts] + [region.stop] == [region.start] + [p.stop for p in parts]
    assert all(p.index == 3 and p.size > 0 for p in parts)
    assert all((p.start - start) % chunk == 0 for p in parts)
    assert max(p.size for p in parts) < regions.ROWS_AT_ONCE + 2 * chunk


def test_pixels_in_memory_that_held_others_are_the_same(block):
    cutouts = make_cutouts(4, size=16)
    config = make_config(survey={"root": "-", "targets": "-", "stamp_size": 16}, plan={"injections_per_host": 6})
    manifest = build_manifest(cutouts, config)
    room = Room(np.full((30, 3, 16, 16), np.nan, np.float32), np.full((30, 3, 16, 16), np.inf, np.float32))
    for rows in (slice(0, 20), slice(8, 21)):
        some = manifest.isel(sample=rows)
        fresh, used = inject_block(cutouts, some), inject_block(cutouts, some, room=room)
        assert used["stamp"].values.base is not None and np.shares_memory(used["arc"].values, room.arc)
        assert all(used[n].values.tobytes() == fresh[n].values.tobytes() for n in fresh.data_vars)
