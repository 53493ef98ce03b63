"""A process keeps what it has read of a store's metadata, and notices every change of it."""

import os
from pathlib import Path

import pytest
import zarr

from lensflow.errors import DamagedStoreError, StoreError
from lensflow.store import create, objects, paths


@pytest.fixture
def url(tmp_path):
    create.create_store(
        str(tmp_path / "pairs.zarr"), "pairs", 8, ["g", "r"], stamp_size=8, rows_per_region=8, inner_chunk=4,
        attrs={"fingerprint": "f"}, virtual=("arc",),
    )  # fmt: skip
    return str(tmp_path / "pairs.zarr")


def test_it_is_opened_once_and_again_after_every_change(url):
    first = objects.open_group(url)
    assert objects.open_group(url) is first and objects.open_group(url, unfinished=True) is not first
    assert [n for n in ("arc", "stamp", "ctrl") if objects.has_array(first, n)] == ["arc", "stamp"]
    zarr.open_group(url, mode="r+").attrs["certificate"] = {"of": "today"}
    assert objects.open_group(url).attrs["certificate"] == {"of": "today"}
    objects.write_created(url, objects.read_created(url))  # the same bytes in another file
    assert objects.open_group(url) is not first


def test_damage_is_noticed_by_a_process_that_knew_the_store(url):
    objects.open_group(url)
    place = Path(url, "zarr.json")
    before, text = place.stat(), place.read_text()
    place.write_text(text.replace('"fingerprint": "f"', '"fingerprint": "g"'))
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert place.stat().st_size == before.st_size
    with pytest.raises(DamagedStoreError, match="is not what was written"):
        objects.open_group(url)
    place.write_text(text)
    objects.open_group(url)
    place.unlink()
    with pytest.raises(StoreError):
        objects.open_group(url)


def test_state_of_files_is_none_where_one_is_missing_or_elsewhere(url):
    place = paths.join(url, "zarr.json")
    assert paths.state_of(place) is not None and paths.state_of(place) == paths.state_of(place)
    assert paths.state_of(place, paths.join(url, "none")) is None and paths.state_of(place, "s3://b/zarr.json") is None
