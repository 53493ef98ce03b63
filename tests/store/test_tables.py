from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from lensflow import schema
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.manifest.build import build_manifest
from lensflow.store import create, objects
from lensflow.store import open as opening
from lensflow.store.direct import Direct
from lensflow.store.open import open_manifest, read_manifest_block
from lensflow.store.read import open_array, store_group
from lensflow.store.regions import Region
from lensflow.store.tables import TableWriter, write_table
from tests.factories import make_config, make_cutouts

BANDS = ("g", "r", "z")


@pytest.fixture
def manifest():
    return build_manifest(make_cutouts(6, size=8), make_config(plan={"injections_per_host": 9}))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(create, "SHARD_ROWS", 16)
    monkeypatch.setattr(create, "CHUNK_ROWS", 4)


def same(a, b):
    for v in schema.MANIFEST:
        x, y = a[v.name].values, b[v.name].values
        assert x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), v.name


@pytest.mark.parametrize("cuts", [(), (1,), (15, 16, 17), (32,), (5, 40, 41, 59)])
def test_any_cutting_into_blocks_gives_the_same_store(tmp_path, manifest, small_shards, cuts):
    url = str(tmp_path / "m.zarr")
    writer = TableWriter(url, "manifest", 60, BANDS, {"seed": 5})
    for a, b in zip((0, *cuts), (*cuts, 60), strict=True):
        writer.append(manifest.isel(sample=slice(a, b)))
    writer.finish({"n_hosts": 6})
    opened = open_manifest(url)
    same(opened, manifest)
    assert opened.attrs["seed"] == 5 and opened.attrs["n_hosts"] == 6
    same(read_manifest_block(url, Region(1, 13, 29)), manifest.isel(sample=slice(13, 29)))


def test_a_store_with_fewer_rows_than_it_was_made_for_is_cut(tmp_path, manifest, small_shards):
    url = str(tmp_path / "m.zarr")
    writer = TableWriter(url, "manifest", 100, BANDS, {})
    writer.append(manifest)
    writer.finish({})
    same(open_manifest(url), manifest)
    with pytest.raises(StoreError, match="more rows than the 10"):
        TableWriter(url, "manifest", 10, BANDS, {}).append(manifest)


def test_a_store_that_was_not_finished_does_not_open(tmp_path, manifest):
    url = str(tmp_path / "m.zarr")
    TableWriter(url, "manifest", 60, BANDS, {}).append(manifest)
    with pytest.raises(StoreError, match="did not finish"):
        open_manifest(url)


def test_models_are_numbers_with_their_meaning_beside_them(tmp_path, manifest):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {})
    array = zarr.open_group(url, mode="r")["parameters"]
    names = np.array(array.attrs["categories"]["lens_model"])
    assert names.tolist() == ["SIS", "SIE", "EPL", "CONTROL"]
    codes = array[:, array.attrs["columns"].index("lens_model")].astype(int)
    assert np.array_equal(names[codes], manifest["lens_model"].values)
    manifest["lens_model"].values[7] = "NFW"
    with pytest.raises(StoreError, match=r"row 7 is .*NFW.*none of SIS, SIE, EPL, CONTROL"):
        write_table(url, "manifest", manifest, BANDS, {})


def test_a_large_manifest_opens_lazily_with_the_same_values(tmp_path, manifest, small_shards, monkeypatch):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {"seed": 5})
    monkeypatch.setattr(opening, "TABLE_ROWS_IN_MEMORY", 50)
    lazy = open_manifest(url)
    assert all(lazy[v.name].chunks is not None for v in schema.MANIFEST) and lazy.attrs["seed"] == 5
    assert lazy["theta_e_arcsec"].attrs["units"] == "arcsec"
    same(lazy, manifest)


def test_a_region_of_a_large_manifest_is_read_with_two_requests_an_array(tmp_path, manifest, small_shards, monkeypatch):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {"seed": 5})
    asked = []
    get = LocalStore.get

    async def counted(self, key, *args, **kwargs):
        asked.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "get", counted)
    monkeypatch.setattr(Direct, "of", lambda *_: None)  # as on an object store, where requests count
    read_manifest_block(url, Region(0, 0, 4))
    pixels = [key for key in asked if not key.endswith(".json")]
    arrays = {k.split("/")[-3] if k.startswith("parameters") else k.split("/")[0] for k in pixels}
    assert len(arrays) == 5  # src_id is empty everywhere: no object
    assert len(pixels) <= 12


@pytest.mark.parametrize("rows", [slice(None), slice(0, 4), slice(3, 21), slice(59, 60), slice(7, 7)])
def test_tables_are_read_without_zarr_to_the_bit(tmp_path, manifest, small_shards, rows):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {"seed": 5})
    expected = zarr.open_group(url, mode="r")["parameters"][rows]
    direct = Direct.of(url, open_array(url, store_group(url, "manifest"), "parameters"))
    assert direct.transposed and direct.rows(rows).tobytes() == expected.tobytes()
    blocks = [expected[:0], *(block.copy() for _, block in direct.blocks(rows))]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_a_damaged_table_is_an_error_not_a_number(tmp_path, manifest, small_shards):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {"seed": 5})
    victim = tmp_path / "m.zarr/parameters/c/1/0"
    data = bytearray(victim.read_bytes())
    data[40] ^= 1
    victim.write_bytes(data)
    direct = Direct.of(url, open_array(url, store_group(url, "manifest"), "parameters"))
    with pytest.raises(DamagedStoreError, match="other bytes than were written"):
        direct.rows(slice(None))
    assert len(direct.rows(slice(0, 16))) == 16


def test_a_store_of_another_schema_version_is_refused_with_both_versions(tmp_path, manifest):
    url = str(tmp_path / "m.zarr")
    write_table(url, "manifest", manifest, BANDS, {})
    zarr.open_group(url).attrs["schema_version"] = 1
    Path(objects.record_url(url)).unlink()  # older stores have none
    with pytest.raises(StoreError, match=f"version 1, this lensflow reads {schema.SCHEMA_VERSION}"):
        open_manifest(url)
