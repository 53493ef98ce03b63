import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.store.open import open_cutouts, stored_regions
from lensflow.store.receipts import Receipt
from lensflow.store.verify import check_region
from tests.factories import make_cutouts
from tests.store.test_store import write_cutouts


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of three regions with its receipts."""
    url = tmp_path_factory.mktemp("whole") / "c.zarr"
    cutouts = make_cutouts(20, size=16)
    done = write_cutouts(str(url), cutouts)
    receipts = {
        r.index: Receipt(r.index, r.start, r.stop, "f", w["checksums"], {}, {}, w["bytes"], w["objects"])
        for r, w in ((r, done[r.index]) for r in stored_regions(str(url), "cutouts"))
    }
    return url, receipts, cutouts


def found(url, receipts):
    return [
        (d.region, d.array, d.what)
        for region in stored_regions(str(url), "cutouts")
        for d in check_region(str(url), "cutouts", region, receipts[region.index])
    ]


def test_a_whole_store_has_no_damage(written):
    url, receipts, _ = written
    assert found(url, receipts) == []


def test_an_array_of_zeros_has_no_object_and_is_no_damage(written):
    _, receipts, cutouts = written
    assert not cutouts["maskbits"].values.any()
    assert not any(k.startswith("maskbits") for r in receipts.values() for k in r.objects)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda p: p.unlink(), "the object is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-7]), "the object is truncated"),
        (lambda p: p.write_bytes(b""), "the object is truncated: 0 of"),
    ],
)
def test_missing_and_truncated_objects_are_named_by_region_and_array(written, tmp_path, spoil, what):
    url, receipts, _ = written
    copy = tmp_path / "c.zarr"
    shutil.copytree(url, copy)
    spoil(copy / "image" / "c" / "1" / "0" / "0" / "0")
    (damage,) = found(copy, receipts)
    assert damage[:2] == (1, "image") and damage[2].startswith(what)


def test_an_object_that_appears_where_zeros_were_written_is_found(written, tmp_path):
    url, receipts, _ = written
    copy = tmp_path / "c.zarr"
    shutil.copytree(url, copy)
    zarr.open_group(str(copy), mode="r+")["maskbits"][8, 0, 0] = 1
    assert found(copy, receipts) == [(1, "maskbits", "the values differ from what was written")]


def test_a_missing_array_is_found(written, tmp_path):
    url, receipts, _ = written
    copy = tmp_path / "c.zarr"
    shutil.copytree(url, copy)
    shutil.rmtree(copy / "invvar")
    assert [d[1:] for d in found(copy, receipts)] == [("invvar", "the array is missing")] * 3


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_flipped_byte_that_a_reader_can_notice_is_found(written, data):
    url, receipts, cutouts = written
    objects = sorted(p for p in Path(url).rglob("*") if p.is_file())
    objects = [
        p for p in objects if p.name != "zarr.json" and p.relative_to(url).parts[0] in ("image", "invvar", "host_table")
    ]
    path = data.draw(st.sampled_from(objects))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        seen = {d[:2] for d in found(url, receipts)}
        name = path.relative_to(url).parts[0]
        if seen:
            assert seen == {(int(path.relative_to(url).parts[2]), name)}
        else:  # then every reader still gets the right values
            back = open_cutouts(str(url))
            assert all(
                np.array_equal(back[n].values, cutouts[n].values, equal_nan=back[n].dtype.kind == "f")
                for n in ("image", "invvar", "psfsize_arcsec", "x_center", "status")
            )
    finally:
        path.write_bytes(whole)
