import shutil
from pathlib import Path

import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import DamagedStoreError
from lensflow.store import objects, receipts
from lensflow.store.open import open_cutouts, stored_regions
from lensflow.store.verify import check_created, check_region
from tests.factories import make_cutouts
from tests.store.test_store import write_cutouts


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A store of three regions with its receipts."""
    url = tmp_path_factory.mktemp("whole") / "c.zarr"
    cutouts = make_cutouts(20, size=16)
    write_cutouts(str(url), cutouts)
    return url, cutouts


@pytest.fixture
def copied(written, tmp_path):
    shutil.copytree(written[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "c.zarr"


def found(url):
    done = receipts.read_receipts(objects.folder_of(str(url)))
    return [
        (d.region, d.array, d.what)
        for region in stored_regions(str(url), "cutouts")
        for d in check_region(str(url), "cutouts", region, done[region.index])
    ]


def test_a_whole_store_has_no_damage(written):
    assert found(written[0]) == [] and check_created(str(written[0]), "cutouts") == []


def test_an_array_of_zeros_has_no_object_and_is_no_damage(written):
    url, cutouts = written
    assert not cutouts["maskbits"].values.any()
    done = receipts.read_receipts(objects.folder_of(str(url)))
    assert not any(k.startswith("maskbits") for r in done.values() for k in r.objects)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda p: p.unlink(), "the object is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-7]), "the object is truncated"),
        (lambda p: p.write_bytes(b""), "the object is truncated: 0 of"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "the object has more bytes"),
    ],
)
def test_missing_and_truncated_objects_are_named_by_region_and_array(copied, spoil, what):
    spoil(copied / "image" / "c" / "1" / "0" / "0" / "0")
    (damage,) = found(copied)
    assert damage[:2] == (1, "image") and damage[2].startswith(what)


def test_an_object_that_appears_where_zeros_were_written_is_found(copied):
    zarr.open_group(str(copied), mode="r+")["maskbits"][8, 0, 0] = 1
    assert found(copied) == [(1, "maskbits", "the object is an object that nothing vouches for")]
    with pytest.raises(DamagedStoreError, match="nothing vouches for"):
        open_cutouts(str(copied))["maskbits"].values  # noqa: B018


def test_a_missing_array_is_found(copied):
    shutil.rmtree(copied / "invvar")
    assert [(d.array, d.what) for d in check_created(str(copied), "cutouts")] == [("invvar", "the object is missing")]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_flipped_byte_is_found_and_stops_every_reader_of_it(written, data):
    url, _ = written
    files = sorted(p for p in Path(url).rglob("*") if p.is_file())
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        harmless = path == url / "zarr.json" and not check_created(str(url), "cutouts")  # a space that became a tab
        if not harmless:
            assert check_created(str(url), "cutouts") or found(url)
            name = path.relative_to(url).parts[0]
            with pytest.raises(DamagedStoreError, match=name):
                objects.open_group(str(url))[name][:]
    finally:
        path.write_bytes(whole)
