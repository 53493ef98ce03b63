"""Plain xarray on lensflow's stores: names in the stores themselves, and an engine that opens them as lensflow does."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

import lensflow as lf
from lensflow import schema
from lensflow.errors import StoreError
from lensflow.store import objects
from lensflow.store.backend import LensflowBackend
from lensflow.store.sealing import read_test_accesses
from tests.small_run import injected_copy

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return injected_copy(tmp_path_factory.mktemp("backend") / "run").out


TABLES = {
    "cutouts": {"host_table": None},
    "manifest": {"parameters": None},
    "pairs": {"metrics": schema.METRICS + schema.ROUNDING, "flags": schema.FLAGS},
}


@pytest.mark.parametrize("store", TABLES)
def test_plain_xarray_shows_the_columns_of_packed_tables(run, store):
    ours = getattr(lf, f"open_{store}")(run)
    with xr.open_zarr(f"{run}/{store}.zarr", consolidated=False) as plain:
        assert store == "manifest" or plain["band"].values.tolist() == ["g", "r", "z"]
        for table, variables in TABLES[store].items():
            dim = f"{table}_column"
            names = plain[dim].values.tolist()
            assert names == list(plain[table].attrs["columns"]) and dim in plain.indexes
            if variables:
                assert names == schema.packed_columns(variables, ["g", "r", "z"])
    n = ours.sizes["host" if store == "cutouts" else "sample"]
    one = {"cutouts": ("host_table", "x_center", "x_center"), "manifest": ("parameters", "src_n", "src_n"),
           "pairs": ("metrics", "snr_peak_r", "snr_peak")}[store]  # fmt: skip
    column = plain[one[0]].sel({f"{one[0]}_column": one[1]})[:n]
    wanted = ours[one[2]].sel(band="r") if "band" in ours[one[2]].dims else ours[one[2]]
    assert np.array_equal(column.values, wanted.values.astype(column.dtype), equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("store", TABLES)
def test_the_names_are_vouched_for_and_mended_as_everything_else_is(run, tmp_path, store):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    url = f"{folder}/{store}.zarr"
    created = objects.read_created(url)
    for dim in [f"{table}_column" for table in TABLES[store]]:
        assert dim in created.values and f"{dim}/zarr.json" in created.metadata
        (key,) = [k for k in created.objects if k.startswith(f"{dim}/")]
        place = Path(url) / key
        before = place.read_bytes()
        place.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        (found,) = lf.verify(str(folder)).damage
        assert found.object.endswith(key) and found.array == dim
        assert not lf.verify(str(folder), repair=True).left and place.read_bytes() == before


def test_chunks_of_the_engine_are_read_on_a_cluster_of_one_thread(run):
    # A chunk that asked the cluster for more tasks would wait for itself.
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None):
        chunked = xr.open_dataset(f"{run}/pairs.zarr", engine=LensflowBackend, chunks={})
        assert np.isfinite(chunked["ctrl"][:40].values).all()


@pytest.mark.parametrize("store", TABLES)
def test_the_engine_opens_what_the_openers_open(run, store):
    url = f"{run}/{store}.zarr"
    ours = getattr(lf, f"open_{store}")(url)
    for place in (url, Path(url), f"{url}/"):
        opened = xr.open_dataset(place, engine=LensflowBackend)
        assert opened.identical(ours)
    fewer = xr.open_dataset(url, engine=LensflowBackend, drop_variables=["split"])
    assert "split" not in fewer and set(fewer.variables) | {"split"} == set(ours.variables)
    assert LensflowBackend().guess_can_open(url)
    if store == "pairs":
        chunked = xr.open_dataset(url, engine=LensflowBackend, chunks={})
        for name in ("stamp", "ctrl", "has_data"):
            assert chunked[name].chunks == ours[name].chunks and chunked[name].equals(ours[name])
        some = {"sample": [40, 3, 3], "y": slice(60, 2, -3), "band": 1}
        lazy = xr.open_dataset(url, engine=LensflowBackend)
        assert lazy["stamp"].isel(some).equals(ours["stamp"].isel(some).compute())


def test_the_engine_is_registered_and_found_by_name_and_without_one(run, tmp_path, monkeypatch):
    # As an installation registers it, from pyproject.toml.
    (group,) = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"].items()
    info = tmp_path / "lensflow_engine-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lensflow-engine\nVersion: 0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in group[1].items())
    (info / "entry_points.txt").write_text(f"[{group[0]}]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    xr.backends.refresh_engines()
    try:
        url, ours = f"{run}/cutouts.zarr", lf.open_cutouts(run)
        assert xr.open_dataset(url, engine="lensflow").identical(ours)
        assert xr.open_dataset(url).identical(ours)
    finally:
        monkeypatch.undo()
        xr.backends.refresh_engines()


def test_the_test_split_stays_sealed(run):
    url = f"{run}/pairs.zarr"
    assert (xr.open_dataset(url, engine=LensflowBackend)["split"] != 2).all()
    with pytest.raises(StoreError, match="sealed"):
        xr.open_dataset(url, engine=LensflowBackend, split="test")
    xr.open_dataset(url, engine=LensflowBackend, split="test", unseal_test="a test")
    assert read_test_accesses(url)[-1]["why"] == "a test"
    with pytest.raises(StoreError, match="for pairs"):
        xr.open_dataset(f"{run}/cutouts.zarr", engine=LensflowBackend, split="test")


def test_what_lensflow_did_not_make_is_left_to_others(run, tmp_path):
    zarr.open_group(tmp_path / "other.zarr", mode="w").attrs["lensflow_store"] = "something"
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr" / "zarr.json").write_text('"attributes"')
    (tmp_path / "a.nc").write_bytes(b"CDF\x01")
    backend = LensflowBackend()
    for place in ("other.zarr", "text.zarr", "a.nc", "absent.zarr"):
        assert not backend.guess_can_open(str(tmp_path / place))
        with pytest.raises(StoreError, match="not a store of lensflow"):
            xr.open_dataset(tmp_path / place, engine=LensflowBackend)
    for place in (run, "https://nowhere.invalid/a.nc", 3, b"bytes", None):
        assert not backend.guess_can_open(place)
