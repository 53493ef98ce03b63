"""Single columns of stores are those that everybody opens, in any layout, and damage is said."""

import shutil

import numpy as np
import pytest

import lensflow as lf
from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store.columns import read_columns, stored_columns
from tests.run.completeness_run import completeness_run


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return completeness_run(tmp_path_factory).out


def column(opened, name):
    """Values of ``snr_matched_r`` in a Dataset over bands, or over mask bits."""
    if name in opened:
        return opened[name].values
    base, _, label = name.rpartition("_")
    of = opened[base]
    return of.values[:, int(label) if "mask_bit" in of.dims else of["band"].values.tolist().index(label)]


@pytest.mark.parametrize("store", ["cutouts", "manifest", "pairs"])
def test_every_column_is_what_the_opened_store_has(out, store):
    url = f"{out}/{store}.zarr"
    opened = {"cutouts": lf.open_cutouts, "manifest": lf.open_manifest,
              "pairs": lambda u: lf.open_pairs(u, unseal_test="a test")}[store](url).load()  # fmt: skip
    names = [*stored_columns(url, store)]
    assert len(names) > 20
    found, part = read_columns(url, store, names), read_columns(url, store, names, rows=slice(5, 9))
    for name in names:
        expected = column(opened, name)
        assert found[name].dtype.kind == expected.dtype.kind, name
        np.testing.assert_array_equal(found[name], expected, err_msg=name)
        np.testing.assert_array_equal(part[name], expected[5:9], err_msg=name)


def test_an_unknown_column_is_refused_with_the_nearest(out):
    with pytest.raises(StoreError, match=r"no column 'snr_matchd_r'.*snr_matched_r"):
        read_columns(f"{out}/pairs.zarr", "pairs", ["snr_matchd_r"])


def test_a_damaged_chunk_is_an_error_not_a_number(out, tmp_path):
    shutil.copytree(out, tmp_path / "run")
    victim = next(p for p in sorted((tmp_path / "run/pairs.zarr/metrics/c").rglob("*")) if p.is_file())
    data = bytearray(victim.read_bytes())
    data[len(data) // 3] ^= 0xFF
    victim.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="metrics"):
        read_columns(str(tmp_path / "run/pairs.zarr"), "pairs", ["magnification"])
