"""A Dataset of results as zarr: whole and as it was written, or not at all."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from lensflow.errors import StoreError
from lensflow.store import arrays, paths
from lensflow.store.arrays import read_arrays, write_arrays


class Crash(Exception):
    pass


@pytest.fixture
def dataset():
    return xr.Dataset(
        {
            "rate": (("bin", "k"), [[1.0, np.nan], [0.0, 3.0]], {"units": "1"}),
            "tested": ("bin", [True, False]),
            "n": ((), np.int64(3)),
            "zero": ("bin", np.zeros(2, np.int64)),
        },
        coords={
            "bin": ["< 1", "unknown, ä"],
            "edges": ("edge", [0.0, 1.0, 2.0], {"units": "arcsec"}),
            "tau": ("k", [1, 2]),
        },
        attrs={"text": "a: 1\n", "none": None, "tree": {"list": [1, 2.5]}},
    )


@pytest.fixture
def url(tmp_path, dataset):
    write_arrays(str(tmp_path / "a.zarr"), dataset, "selection")
    return str(tmp_path / "a.zarr")


def test_it_comes_back_identical_also_to_plain_xarray(url, dataset):
    found = read_arrays(url, "selection")
    xr.testing.assert_identical(found, dataset)
    assert {n: v.dtype for n, v in found.variables.items()} == {n: v.dtype for n, v in dataset.variables.items()}
    plain = xr.open_zarr(url, consolidated=False)
    np.testing.assert_array_equal(plain["rate"], dataset["rate"])
    assert set(plain.coords) == set(dataset.coords) and plain.attrs["complete"]
    write_arrays(url, dataset[["n"]], "selection")
    assert set(read_arrays(url, "selection").variables) == {"n"}


def test_a_crash_at_any_write_leaves_nothing_that_opens(url, dataset, monkeypatch):
    """Over an older result: neither it nor a mixture of both may be read."""
    whole = paths.zarr_store(url)
    done = iter(count())

    def crashing(at):
        class Crashing(type(whole)):
            async def set(self, key, value, *args, **kwargs):
                if next(done) == at:
                    raise Crash
                await super().set(key, value, *args, **kwargs)

        return lambda url, read_only=True: Crashing(Path(url), read_only=read_only) if not read_only else whole

    for at in range(0, 100, 4):
        done = iter(count())
        with monkeypatch.context() as patch:
            patch.setattr(arrays.paths, "zarr_store", crashing(at))
            try:
                write_arrays(url, dataset + 1, "selection")
            except Crash:
                pass
            else:
                break
        with pytest.raises(StoreError):
            read_arrays(url, "selection")
    assert at > 10  # the last one is the completion itself
    xr.testing.assert_identical(read_arrays(url, "selection"), dataset + 1)


@pytest.mark.filterwarnings("ignore:Object at")
def test_damage_is_an_error_or_changes_nothing(url, dataset):
    files = sorted(p for p in Path(url).rglob("*") if p.is_file())
    refused = 0
    for path in files:
        before = path.read_bytes()
        for after in (before[:-1] + bytes([before[-1] ^ 1]), before[:-3], None):
            path.unlink() if after is None else path.write_bytes(after)
            try:
                xr.testing.assert_identical(read_arrays(url, "selection"), dataset)
            except StoreError:
                refused += 1
            path.write_bytes(before)
    assert refused > 2.5 * len(files) > 25
    root = Path(url) / "zarr.json"
    tree = json.loads(root.read_text())
    tree["attributes"]["text"] = "another"
    root.write_text(json.dumps(tree))
    with pytest.raises(StoreError, match="is not what was written"):
        read_arrays(url, "selection")


def test_what_is_of_another_kind_is_neither_read_nor_replaced(url, dataset, tmp_path):
    with pytest.raises(StoreError, match="expected a table of lensflow, found selection"):
        read_arrays(url, "table")
    with pytest.raises(StoreError, match="selection is in the way"):
        write_arrays(url, dataset, "table")
    (tmp_path / "file.zarr").write_text("mine")
    with pytest.raises(StoreError, match="is a file, so nothing can be below it"):
        write_arrays(str(tmp_path / "file.zarr"), dataset, "selection")
    assert (tmp_path / "file.zarr").read_text() == "mine"
    with pytest.raises(StoreError, match="no such store"):
        read_arrays(str(tmp_path / "none.zarr"), "selection")
