import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow import schema
from lensflow.config import fingerprint
from lensflow.errors import StaleStoreError, StoreError
from lensflow.store import create, objects, paths, receipts, resume, writing
from lensflow.store.open import open_cutouts, read_host_block, read_hosts
from lensflow.store.receipts import Receipt
from lensflow.store.regions import MIN_REGIONS, MIN_ROWS, Region, Regions, check_aligned, rows_per_region
from lensflow.store.run_folder import rows_of_a_region
from tests.factories import make_config, make_cutouts


@given(st.integers(0, 5000), st.integers(1, 700))
def test_regions_hold_every_row_exactly_once(n, size):
    covered = np.zeros(n, int)
    for region in Regions(n, size):
        covered[region.slice] += 1
    assert (covered == 1).all()


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(-3, 3), st.integers(-3, 3))
def test_a_region_off_the_shard_boundaries_is_refused(n, size, a, b):
    region = Regions(n, size)[0]
    moved = Region(0, region.start + a, region.stop + b)
    if moved == region:
        check_aligned(moved, n, size)
    else:
        with pytest.raises(StoreError, match="could lose other rows"):
            check_aligned(moved, n, size)


def write_cutouts(url, cutouts, rows=8, inner=4):
    """A whole store with its receipts, as a run leaves it."""
    create.create_store(
        url, "cutouts", cutouts.sizes["host"], list(cutouts["band"].values), head=cutouts,
        stamp_size=cutouts.sizes["y"], rows_per_region=rows, inner_chunk=inner,
        attrs={"pixel_scale_arcsec": 0.262, "fingerprint": "f"},
    )  # fmt: skip
    return {r.index: finish_region(url, cutouts, r) for r in Regions(cutouts.sizes["host"], rows)}


def finish_region(url, cutouts, r):
    w = writing.write_region(cutouts.isel(host=r.slice), url, "cutouts", r)
    one = Receipt(r.index, r.start, r.stop, "f", w["checksums"], {}, {}, w["bytes"], w["objects"])
    return receipts.write_receipt(objects.folder_of(url), one)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 21), st.sampled_from([4, 8, 16]))
def test_what_is_written_is_what_is_read_for_any_number_of_rows(tmp_path_factory, n, rows):
    url = str(tmp_path_factory.mktemp("store") / "c.zarr")
    cutouts = make_cutouts(n, size=16, absent=((0, 0),))
    write_cutouts(url, cutouts, rows)
    back = open_cutouts(url)
    for v in schema.STORES["cutouts"]:
        assert back[v.name].dims == v.dims
        expected = cutouts[v.name].values
        same = np.array_equal(back[v.name].values, expected, equal_nan=expected.dtype.kind == "f")
        assert same and back[v.name].attrs["units"] == v.units, v.name


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(1, 5), st.integers(1, 4))
def test_many_threads_in_any_order_lose_no_row(tmp_path_factory, data, n, chunks, inner):
    url = str(tmp_path_factory.mktemp("threads") / "c.zarr")
    cutouts, rows = make_cutouts(n, size=8), chunks * inner
    bands, attrs = list(cutouts["band"].values), {"fingerprint": "f"}
    create.create_store(
        url, "cutouts", n, bands, head=cutouts, stamp_size=8, rows_per_region=rows, inner_chunk=inner, attrs=attrs
    )
    order = data.draw(st.permutations(list(Regions(n, rows))))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda r: finish_region(url, cutouts, r), order))
    back = open_cutouts(url)
    for name in ("image", "invvar", "x_center"):
        assert np.array_equal(back[name].values, cutouts[name].values), name


@given(st.integers(1, 10**7), st.integers(4, 10**6), st.floats(0.1, 500), st.integers(1, 64))
def test_a_derived_region_is_whole_chunks_within_the_target_and_leaves_work_for_many(n, row_bytes, shard_mb, inner):
    rows = rows_per_region(n, row_bytes, shard_mb, inner)
    assert rows % inner == 0 and rows >= inner
    assert rows == inner or rows * row_bytes <= shard_mb * 1e6
    if rows > max(MIN_ROWS, inner) + inner:
        assert len(Regions(n, rows)) > MIN_REGIONS / 2


def test_a_region_s_size_is_the_configs():
    rows = {mb: rows_of_a_region(make_config(store={"shard_mb": mb, "inner_chunk": 16}), 10**6) for mb in (8, 64)}
    assert rows == {8: 160, 64: 1296}


def test_the_default_region_of_a_large_run_is_about_64_mb():
    rows = rows_per_region(10**6, 3 * 64 * 64 * 4, 64, 16)
    assert rows == 1296 and 60e6 < rows * 3 * 64 * 64 * 4 < 64e6


def test_pixels_open_lazily_in_chunks_of_one_shard(tmp_path):
    url = str(tmp_path / "c.zarr")
    write_cutouts(url, make_cutouts(20, size=16))
    assert open_cutouts(url)["image"].chunks[0] == (8, 8, 4)


def test_few_objects_a_region(tmp_path):
    url, cutouts = tmp_path / "c.zarr", make_cutouts(8, size=16)
    cutouts["maskbits"].values[0, 0, 0] = 1
    write_cutouts(str(url), cutouts)
    files = [p.relative_to(url).parts[0] for p in url.rglob("*") if p.is_file() and p.name != "zarr.json"]
    head = {v.name for v in create.LAYOUTS["cutouts"].head} | {"band", "host_table_column"}  # once a store
    assert sorted(set(files) - head) == ["host_table", "image", "invvar", "maskbits"]
    assert sum(f not in head for f in files) == 4


def test_hosts_are_read_in_any_order_with_repeats(tmp_path):
    url = str(tmp_path / "c.zarr")
    cutouts = make_cutouts(12, size=16)
    write_cutouts(url, cutouts)
    index = np.array([9, 9, 3, 11])
    assert np.array_equal(read_hosts(url, index, ("image",))["image"], cutouts["image"].values[index])
    block = read_host_block(url, 3, 7)
    assert block["host_index"].values.tolist() == [3, 4, 5, 6] and block.attrs["pixel_scale_arcsec"] == 0.262


def test_a_block_of_the_wrong_length_is_refused(tmp_path):
    url = str(tmp_path / "c.zarr")
    cutouts = make_cutouts(12, size=16)
    write_cutouts(url, cutouts)
    with pytest.raises(StoreError, match="3 rows for region"):
        writing.write_region(cutouts.isel(host=slice(0, 3)), url, "cutouts", Region(0, 0, 8))


def test_opening_what_is_not_there_or_not_ours_is_explained(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        open_cutouts(str(tmp_path / "none.zarr"))
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(StoreError, match="expected a cutouts store"):
        open_cutouts(str(tmp_path / "other.zarr"))


def receipt(region, stamp="abc", **changes):
    return Receipt(
        region.index, region.start, region.stop, stamp, {"a": "1"}, {"rows": region.size}, {"w": 1.0}, 1, {}, **changes
    )


def test_only_a_valid_receipt_keeps_a_region_from_being_redone(tmp_path):
    folder, regions = str(tmp_path / "r"), Regions(40, 10)
    receipts.write_receipt(folder, receipt(regions[0]))
    receipts.write_receipt(folder, receipt(regions[1], stamp="other"))
    receipts.write_receipt(folder, receipt(Region(2, 20, 29)))
    (tmp_path / "r" / "region-000003.json").write_text('{"region": 3, "st')
    assert [r.index for r in receipts.missing_regions(folder, regions, "abc")] == [1, 2, 3]
    receipts.clear(folder)
    assert receipts.read_receipts(folder) == {}


def as_another(text, **changes):
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: "null",
        lambda _: "NaN",
        lambda _: "3",
        lambda _: "{}",
        lambda _: "\xff\xfe",
        lambda text: text.replace('"rows": 10', '"rows": 11'),
        lambda text: text.replace('"w": 1.0', '"w": NaN'),
        lambda text: as_another(text, start="0"),
        lambda text: as_another(text, objects=[1]),
        lambda text: as_another(text, checksums=None),
        lambda text: as_another(text, surplus=1),
        lambda text: text.replace('"region": 0', '"region": 1'),
    ],
)
def test_a_receipt_of_any_other_kind_is_as_good_as_none(tmp_path, spoil):
    folder, regions = str(tmp_path / "r"), Regions(10, 10)
    receipts.write_receipt(folder, receipt(regions[0]))
    file = tmp_path / "r" / "region-000000.json"
    file.write_text(spoil(file.read_text()))
    assert receipts.read_receipt(folder, 0) is None and receipts.read_receipts(folder) == {}
    assert receipts.unfinished_regions(folder, regions, "abc") == [regions[0]] and not file.exists()


def test_a_folder_in_a_receipts_place_is_cleared_away(tmp_path):
    folder, regions = str(tmp_path / "r"), Regions(20, 10)
    receipts.write_receipt(folder, receipt(regions[1]))
    (tmp_path / "r" / "region-000000.json" / "x").mkdir(parents=True)
    assert receipts.unfinished_regions(folder, regions, "abc") == [regions[0]]
    assert receipts.write_receipt(folder, receipt(regions[0])).region == 0


def test_a_finished_region_is_never_written_again(tmp_path):
    url, cutouts = str(tmp_path / "c.zarr"), make_cutouts(16, size=16)
    write_cutouts(url, cutouts)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}
    same = writing.write_region(cutouts.isel(host=slice(0, 8)), url, "cutouts", Region(0, 0, 8))
    assert same["objects"] == receipts.read_receipt(objects.folder_of(url), 0).objects
    other = cutouts.assign(image=cutouts["image"] + 1)
    with pytest.raises(StoreError, match="another writer finished this region with other bytes"):
        writing.write_region(other.isel(host=slice(0, 8)), url, "cutouts", Region(0, 0, 8))
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}


def test_a_region_without_a_receipt_is_an_error_to_a_reader(tmp_path):
    url = str(tmp_path / "c.zarr")
    write_cutouts(url, make_cutouts(16, size=16))
    receipts.remove_receipts(objects.folder_of(url), [Region(1, 8, 16)])
    assert read_hosts(url, np.arange(8), ("image",))["image"].shape[0] == 8
    with pytest.raises(StoreError, match=r"region 1 has no valid receipt.*Run the same command again"):
        read_hosts(url, np.array([3, 12]), ("image",))


def test_counts_add_up_over_receipts():
    total = receipts.total_counts([receipt(r) for r in Regions(25, 10)])
    assert total == {"rows": 25}


def test_another_runs_store_is_refused_with_the_differing_keys(tmp_path):
    url = str(tmp_path / "m.zarr")
    identity = resume.identity(make_config(), "pairs", {"manifest": "m1"})
    assert resume.may_resume(url, identity) is False
    zarr.open_group(url, mode="w").attrs.update({"identity": identity, "fingerprint": fingerprint(identity)})
    assert resume.may_resume(url, json.loads(json.dumps(identity))) is True
    other = resume.identity(
        make_config(injection={"gain": "exposure", "exposure_time_s": {"g": 90, "r": 90, "z": 90}}),
        "pairs",
        {"manifest": "m2"},
    )
    with pytest.raises(StaleStoreError, match=r"key\(s\) differ") as error:
        resume.may_resume(url, other)
    assert "injection.gain: stored 'invvar', now 'exposure'" in str(error.value) and "inputs.manifest" in str(
        error.value
    )


def test_a_foreign_zarr_group_is_never_overwritten(tmp_path):
    url = str(tmp_path / "theirs.zarr")
    zarr.open_group(url, mode="w")
    with pytest.raises(StoreError, match="did not make"):
        resume.may_resume(url, {"a": 1})


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path):
    url = str(tmp_path / "x.json")
    paths.write_json(url, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        paths.write_json(url, {"a": float("nan")})
    assert paths.read_json(url) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_damaged_json_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(StoreError, match=r"x\.json: not valid JSON"):
        paths.read_json(str(tmp_path / "x.json"))
