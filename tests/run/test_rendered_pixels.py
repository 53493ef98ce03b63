"""Pairs whose pixels are not stored: rendered when they are read, they are those of a run that stores them."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

import lensflow as lf
from lensflow import run as steps
from lensflow.errors import ConfigError, RenderedPixelsError, StaleStoreError, StoreError
from lensflow.manifest.build import build_manifest
from lensflow.run.identity import pairs_content
from lensflow.store import create, objects, paths, receipts, regions, rendered, resume
from lensflow.store.open import open_all_pairs, read_pairs_block, read_pixels, stored_regions
from lensflow.store.pixels import LazyPixels, pixel_blocks, read_pixel_arrays
from lensflow.store.read import _arrays, store_group
from lensflow.store.run_folder import Places, RunFolder, config_of
from tests.factories import make_config, make_cutouts
from tests.shared import made_once

STORE = {"samples_per_region": 12, "hosts_per_region": 8, "inner_chunk": 4}
SURVEY = {"root": "-", "targets": "-", "stamp_size": 32}
PIXELS = ("arc", "stamp")
KINDS = ("full", "stamp", "virtual")


def config_at(out, **store):
    return make_config(out, survey=SURVEY, store={**STORE, **store})


def make_three(place):
    """The same run with all pixels, with stamps alone, and without; hosts are shared as files."""
    cutouts = make_cutouts(6, size=32, absent=((2, 0),))
    for kind in KINDS:
        config = config_at(place / kind, pixels=kind)
        manifest = build_manifest(cutouts, config)
        lf.write_pairs(lf.inject(cutouts, manifest, config), config)


@pytest.fixture(scope="module")
def three():
    # Found by its present path: made_once moves what is finished.
    return made_once("rendered-pixels", make_three)


@pytest.fixture(scope="module")
def pairs(three):
    return open_all_pairs(str(three / "full" / "pairs.zarr")).load()


@pytest.fixture
def virtual(three, tmp_path):
    shutil.copytree(three / "virtual", tmp_path / "virtual")
    return RunFolder(str(tmp_path / "virtual"))


def bits(values):
    return np.ascontiguousarray(values).tobytes()


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def forget():
    """As a process that has read nothing yet."""
    objects._known.clear()
    receipts._forget()
    _arrays.clear()
    rendered._recipe.cache_clear()
    rendered._kept._arrays.clear()


@pytest.mark.parametrize("kind", ["stamp", "virtual"])
class TestEveryWayOfReading:
    def test_gives_the_bits_of_the_full_run(self, three, pairs, kind):
        url = str(three / kind / "pairs.zarr")
        lazy = open_all_pairs(url)
        assert lazy["stamp"].chunks == open_all_pairs(str(three / "full" / "pairs.zarr"))["stamp"].chunks
        for name in ("arc", "stamp", "ctrl", "has_data", "snr_matched"):
            assert bits(lazy[name].compute()) == bits(pairs[name]), name
        assert bits(lazy["stamp"][17].compute()) == bits(pairs["stamp"][17])
        assert bits(lazy["arc"][[20, 3, 3], :, 4:9].compute()) == bits(pairs["arc"][[20, 3, 3], :, 4:9])
        rows = np.array([30, 2, 2, 14, 29])
        for name, values in read_pixels(url, "pairs", rows, PIXELS).items():
            assert bits(values) == bits(pairs[name][rows]), name
        places = Places.beside(url)
        region = stored_regions(url, "pairs")[1]
        block = read_pairs_block(*places, region)
        assert all(bits(block[n]) == bits(pairs[n][region.slice]) for n in (*PIXELS, "ctrl"))
        blocks = pixel_blocks(url, "pairs", slice(5, 19), "stamp", np.array([5, 8, 18]))
        found = {int(k): v.copy() for numbers, values in blocks for k, v in zip(numbers, values, strict=True)}
        assert all(bits(found[k]) == bits(pairs["stamp"][k]) for k in (5, 8, 18))

    def test_knows_attributes_and_content_of_the_full_run(self, three, kind):
        one, other = (open_all_pairs(str(three / k / "pairs.zarr")) for k in ("full", kind))
        assert list(one.variables) == list(other.variables)
        for name in PIXELS:
            assert one[name].attrs == other[name].attrs
        assert pairs_content(config_of(str(three / "full"))) == pairs_content(config_of(str(three / kind)))

    def test_is_not_left_to_a_reader_that_cannot_render(self, three, kind):
        """A missing chunk is a chunk of zeros to zarr."""
        url = str(three / kind / "pairs.zarr")
        seen = xr.open_zarr(url, consolidated=False)
        assert "arc" not in seen and ("stamp" in seen) == (kind == "stamp")
        with pytest.raises(StoreError, match="zarr alone cannot render it"):
            store_group(url, "pairs")["arc"][:2]


def test_other_rounding_and_copied_controls_are_rendered_too(tmp_path):
    cutouts, found = make_cutouts(3, size=32), []
    for kind in ("full", "stamp"):
        config = config_at(tmp_path / kind, pixels=kind, quantize="sky/16", copy_ctrl=True)
        manifest = build_manifest(cutouts, config)
        lf.write_pairs(lf.inject(cutouts, manifest, config), config)
        found.append(open_all_pairs(str(tmp_path / kind / "pairs.zarr"))[[*PIXELS, "ctrl"]].load())
    assert all(bits(found[0][n]) == bits(found[1][n]) for n in (*PIXELS, "ctrl"))
    with pytest.raises(ConfigError, match="copy_ctrl would store the controls of all"):
        config_at(tmp_path / "both", pixels="virtual", copy_ctrl=True)


def test_a_pair_takes_less_than_a_kilobyte(three):
    config = config_of(str(three / "virtual"))
    folder = RunFolder.of(config)
    done = receipts.read_receipts(folder.receipts("pairs")).values()
    n_rows = sum(r.stop - r.start for r in done)
    objects_bytes = sum(sum(int(p.split(":")[0]) for p in o.split()) for r in done for o in r.objects.values())
    assert 0 < objects_bytes / n_rows < 700
    assert lf.load_config({**config.effective(), "out": folder.root}).store.rendered == PIXELS


def test_arc_and_stamp_of_lazy_pairs_are_rendered_once(three, monkeypatch):
    forget()
    made, inject_block = [], rendered.inject_block
    monkeypatch.setattr(rendered, "inject_block", lambda *a, **k: made.append(1) or inject_block(*a, **k))
    lazy = open_all_pairs(str(three / "virtual" / "pairs.zarr"))
    dask.compute(lazy["arc"], lazy["stamp"], scheduler="threads")
    assert len(made) == lazy["stamp"].data.npartitions
    assert sum(len(a) for a in rendered._kept._arrays.values()) == 0
    # What one array alone leaves is bounded, and never taken for another store's.
    monkeypatch.setattr(rendered, "KEPT_BYTES", 2 * lazy["stamp"][:12].nbytes)
    lazy["stamp"].compute(scheduler="threads")
    kept = rendered._kept._arrays
    assert 0 < sum(a.nbytes for of in kept.values() for a in of.values()) <= rendered.KEPT_BYTES
    forget()


def test_a_lazy_array_reads_on_another_worker(three, pairs):
    url = str(three / "virtual" / "pairs.zarr")
    array = LazyPixels(Places.beside(url), "stamp", pairs["stamp"].shape, pairs["stamp"].dtype)
    sent = pickle.dumps(array)
    forget()
    assert bits(pickle.loads(sent)[5:9]) == bits(pairs["stamp"][5:9])
    assert array[0:0].shape == (0, *array.shape[1:])


KEYS = [
    *(slice(None, None, -1), slice(20, 3, -4), slice(-5, None), slice(5, 5), slice(90, 99), [], [-1, 0, -1, 7], -1, 3),
    *((Ellipsis, 0), (3, Ellipsis), (slice(0, 3), Ellipsis, slice(0, 2)), (slice(0, 9, 2), [1, 0], 3), Ellipsis),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_backwards_in_steps_by_numbers_or_none(three, pairs, key):
    url = str(three / "virtual" / "pairs.zarr")
    array = LazyPixels(Places.beside(url), "stamp", pairs["stamp"].shape, pairs["stamp"].dtype)
    assert bits(array[key]) == bits(pairs["stamp"].values[key]) and array[key].shape == pairs["stamp"].values[key].shape
    assert bits(open_all_pairs(url)["stamp"][key].compute()) == bits(pairs["stamp"].values[key])
    rows = key if isinstance(key, slice) else np.array(key, np.int64) if isinstance(key, list) else slice(7, 3, -1)
    for kind in KINDS:
        found = read_pixels(str(three / kind / "pairs.zarr"), "pairs", rows, ["stamp"])["stamp"]
        assert bits(found) == bits(pairs["stamp"].values[rows]), kind


@pytest.mark.parametrize(
    "key", [(None, slice(0, 2)), np.array([[0, 1], [2, 3]]), ([0, 1], [1, 0]), (0, 0, 0, 0, 0)], ids=str
)
def test_an_index_that_would_be_read_otherwise_is_refused(three, pairs, key):
    places = Places.beside(str(three / "virtual" / "pairs.zarr"))
    with pytest.raises(IndexError, match="by slices and numbers"):
        LazyPixels(places, "stamp", pairs["stamp"].shape, pairs["stamp"].dtype)[key]


def test_a_moved_folder_and_an_edited_config_change_nothing(virtual, pairs):
    Path(virtual.config).write_text(Path(virtual.config).read_text().replace("noise: true", "noise: false"))
    assert bits(read_pixels(virtual.pairs, "pairs", slice(3, 8), ["stamp"])["stamp"]) == bits(pairs["stamp"][3:8])
    Path(virtual.config).unlink()
    forget()
    assert bits(read_pixels(virtual.pairs, "pairs", slice(3, 8), ["arc"])["arc"]) == bits(pairs["arc"][3:8])


def test_the_test_split_stays_sealed(three):
    whole = open_all_pairs(str(three / "virtual" / "pairs.zarr"))
    opened = lf.open_pairs(str(three / "virtual"))
    assert opened.attrs["n_sealed"] == int((whole["split"] == 2).sum()) > 0
    assert not (opened["split"] == 2).any()


class TestRefused:
    def test_other_code_says_which_and_the_way_out(self, virtual, monkeypatch):
        monkeypatch.setattr(resume, "code_fingerprint", lambda: "another")
        for read in (
            lambda: read_pixels(virtual.pairs, "pairs", slice(0, 2), ["stamp"]),
            lambda: open_all_pairs(virtual.pairs)["arc"][:1].compute(),
            lambda: steps.verify_step(virtual.root),
            lambda: steps.materialise_step(virtual.root),
        ):
            with pytest.raises(RenderedPixelsError, match=r"code another\. Read it with that version.*materialise"):
                read()
        assert open_all_pairs(virtual.pairs)["snr_matched"].notnull().any()

    def test_other_bits_of_this_machine(self, virtual, monkeypatch):
        def nearly(*block, **room):
            out = rendered_block(*block, **room)
            out["stamp"].values[3, 0, 5, 5] = np.nextafter(out["stamp"].values[3, 0, 5, 5], np.float32(9))
            return out

        rendered_block = rendered.inject_block
        monkeypatch.setattr(rendered, "inject_block", nearly)
        assert len(read_pixels(virtual.pairs, "pairs", slice(0, 8), ["arc"])["arc"]) == 8
        with pytest.raises(RenderedPixelsError, match=r"row 3 is rendered here with another stamp.*this machine\."):
            read_pixels(virtual.pairs, "pairs", slice(0, 8), ["stamp"])
        damage = steps.verify_step(virtual.root).damage
        assert [d.region for d in damage if "another stamp" in d.what] == [0, 1, 2, 3]

    def test_hosts_and_manifests_of_another_run(self, virtual, tmp_path):
        config = config_at(tmp_path / "other", pixels="virtual").model_copy(update={"seed": 5})
        cutouts = make_cutouts(6, size=32, absent=((2, 0),))
        cutouts["image"].values[...] *= 1.5
        lf.write_pairs(lf.inject(cutouts, build_manifest(cutouts, config), config), config)
        other = RunFolder(str(tmp_path / "other"))
        kept = tmp_path / "kept"
        shutil.move(virtual.manifest, kept)
        shutil.copytree(other.manifest, virtual.manifest)
        with pytest.raises(StoreError):  # refused by its own record
            read_pixels(virtual.pairs, "pairs", slice(0, 2), ["stamp"])
        some = (store_group(virtual.pairs, "pairs"), ["stamp"], slice(0, 1))
        with pytest.raises(RenderedPixelsError, match="not the manifest that"):
            read_pixel_arrays(Places(virtual.pairs, other.manifest, virtual.cutouts), *some)
        shutil.rmtree(virtual.manifest)
        shutil.move(kept, virtual.manifest)
        with pytest.raises(RenderedPixelsError, match="has not the hosts that the run was made of"):
            read_pixel_arrays(Places(virtual.pairs, virtual.manifest, other.cutouts), *some)

    @pytest.mark.parametrize("kind", ["full", "virtual"])
    @pytest.mark.parametrize("store", ["manifest", "cutouts"])
    def test_sound_stores_of_another_run_in_the_place_of_this_ones(self, three, tmp_path, kind, store):
        """Controls are the hosts' images, whether pixels are stored or not: nothing else would notice other ones."""
        folder, config = RunFolder(str(tmp_path / "run")), config_at(tmp_path / "other").model_copy(update={"seed": 5})
        shutil.copytree(three / kind, folder.root)
        cutouts = make_cutouts(6, size=32, absent=((2, 0),))
        cutouts["image"].values[...] *= 1.5
        steps.freeze_cutouts(cutouts, config)
        steps.freeze_manifest(build_manifest(cutouts, config), config)
        assert pairs_content(config_of(folder.root)) and open_all_pairs(folder.pairs)["ctrl"].size
        for place in (f"{store}.zarr", f"receipts/{store}"):
            shutil.rmtree(Path(folder.root, place))
            shutil.copytree(tmp_path / "other" / place, Path(folder.root, place))
        forget()
        reads = (
            (open_all_pairs, folder.pairs),
            *((f, config_of(folder.root)) for f in (pairs_content, steps.measure_step)),
        )
        for read, of in reads:
            with pytest.raises(StaleStoreError, match=rf"{store}.zarr: not what .*pairs.zarr was made from"):
                read(of)
        damage = [d for d in steps.verify_step(folder.root).damage if d.store == store]
        assert len(damage) == 1 and "that the pairs were made from" in damage[0].what

    def test_a_setting_that_wants_more_than_is_stored(self, virtual, three, tmp_path):
        before = tree(virtual.root)
        for kind in ("full", "stamp"):
            config = config_at(virtual.root, pixels=kind)
            with pytest.raises(StaleStoreError, match=r"store\.pixels is (full|stamp)\. `lensflow materialise"):
                steps.inject_step(config)
        assert tree(virtual.root) == before
        shutil.copytree(three / "full", tmp_path / "full")
        assert steps.inject_step(config_at(tmp_path / "full", pixels="virtual"))["stamp"].size


class TestMaterialise:
    def test_some_rows_then_all(self, virtual, three, pairs):
        content = pairs_content(config_of(virtual.root))
        done = steps.materialise_step(virtual.root, [slice(13, 14)])
        assert (done.regions, done.left) == (1, 3) and done.n_bytes > 0
        assert "stamp" not in xr.open_zarr(virtual.pairs, consolidated=False)
        for _ in range(2):
            lazy = open_all_pairs(virtual.pairs)
            assert all(bits(lazy[n].compute()) == bits(pairs[n]) for n in PIXELS)
            rows = np.array([25, 12, 1, 13])
            assert bits(read_pixels(virtual.pairs, "pairs", rows, ["arc"])["arc"]) == bits(pairs["arc"][rows])
            assert steps.verify_step(virtual.root).damage == ()
            forget()
        assert steps.materialise_step(virtual.root).left == 0
        seen = xr.open_zarr(virtual.pairs, consolidated=False)
        assert all(bits(seen[n]) == bits(pairs[n]) for n in PIXELS)
        forget()
        assert objects.read_created(virtual.pairs).rendered == []
        assert steps.verify_step(virtual.root).damage == ()
        assert pairs_content(config_of(virtual.root)) == content
        full = RunFolder(str(three / "full"))
        for array in PIXELS:
            assert tree(f"{virtual.pairs}/{array}") == tree(f"{full.pairs}/{array}")
        assert steps.materialise_step(virtual.root).regions == 0

    @pytest.mark.parametrize("place", ["publish", "replace_receipt", "reveal", "write_created"])
    def test_killed_the_run_is_whole_and_the_same_call_continues(self, virtual, pairs, place, monkeypatch):
        modules = {"publish": paths, "replace_receipt": receipts, "write_created": objects}
        target = modules.get(place, sys.modules[steps.materialise_step.__module__])
        calls, real = [], getattr(target, place)

        def killed(*given, **named):
            calls.append(1)
            if len(calls) == (2 if place in ("publish", "replace_receipt") else 1):
                raise KeyboardInterrupt
            return real(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(target, place, killed)
            with pytest.raises(KeyboardInterrupt):
                steps.materialise_step(virtual.root)
        forget()
        assert all(bits(open_all_pairs(virtual.pairs)[n].compute()) == bits(pairs[n]) for n in PIXELS)
        assert steps.verify_step(virtual.root).damage == ()
        assert steps.materialise_step(virtual.root).left == 0
        assert all(bits(xr.open_zarr(virtual.pairs, consolidated=False)[n]) == bits(pairs[n]) for n in PIXELS)

    @pytest.mark.parametrize(
        "forgotten", [objects._known, receipts._vouched, _arrays], ids=["record", "receipts", "arrays"]
    )
    def test_another_process_stores_them_while_this_one_reads(self, virtual, pairs, forgotten):
        """A reader keeps records, receipts and arrays, not all of them equally long."""
        lazy = open_all_pairs(virtual.pairs)
        assert bits(lazy["arc"].compute()) == bits(pairs["arc"])
        kept = [(cache, dict(cache)) for cache in (objects._known, receipts._vouched, _arrays)]
        steps.materialise_step(virtual.root)
        for cache, was in kept:
            cache.clear()
            cache.update(was)
        forgotten.clear()
        for again in (lazy, open_all_pairs(virtual.pairs)):
            assert all(bits(again[n].compute()) == bits(pairs[n]) for n in PIXELS)
        assert bits(read_pixels(virtual.pairs, "pairs", slice(3, 30), ["stamp"])["stamp"]) == bits(pairs["stamp"][3:30])

    def test_other_bits_are_not_stored(self, virtual, monkeypatch):
        before = tree(virtual.pairs)
        monkeypatch.setattr(create, "checksum", lambda values: "0")
        with pytest.raises(RenderedPixelsError, match="Nothing of it was stored"):
            steps.materialise_step(virtual.root, [slice(0, 1)])
        assert tree(virtual.pairs) == before

    def test_rows_that_there_are_not(self, virtual):
        with pytest.raises(ConfigError, match=r"--rows 5:999: the run has rows 0:"):
            steps.materialise_step(virtual.root, [slice(5, 999)])

    def test_command(self, virtual, command):
        code, text = command("materialise", virtual.root, "--rows", "0:3")
        assert code == 0 and "Pixels of 1 region(s) stored" in text and "still rendered" in text
        code, text = command("materialise", virtual.root, "--rows", "0:3")
        assert code == 0 and "Nothing to do: these pixels are stored already" in text and "still rendered" in text
        assert command("materialise", virtual.root, "--rows", "3")[0] == 2


@pytest.mark.parametrize("array", ["metrics", "row_checks"])
def test_repair_gives_damaged_tables_back(virtual, array):
    place = next(p for p in Path(virtual.pairs, array, "c", "1").rglob("*") if p.is_file())
    whole, before = place.read_bytes(), tree(virtual.pairs)
    place.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    if array == "row_checks":
        with pytest.raises(StoreError, match="has other bytes than were written"):
            read_pixels(virtual.pairs, "pairs", slice(12, 14), ["stamp"])
    found = steps.verify_step(virtual.root, repair=True)
    assert {d.region for d in found.damage} == {1} and found.left == ()
    assert tree(virtual.pairs) == before


def test_a_receipt_names_what_is_rendered_and_older_receipts_stay_what_they_are(virtual, three):
    written = json.loads(Path(receipts.receipt_url(virtual.receipts("pairs"), 0)).read_text())
    assert written["rendered"] == [*PIXELS] and not any(k.startswith(PIXELS) for k in written["objects"])
    full = RunFolder(str(three / "full"))
    assert "rendered" not in json.loads(Path(receipts.receipt_url(full.receipts("pairs"), 0)).read_text())
    assert "virtual" not in paths.read_json(objects.record_url(full.pairs))["created"]


def test_rows_of_regions_without_a_receipt_are_not_made_up(virtual, pairs):
    Path(receipts.receipt_url(virtual.receipts("pairs"), 1)).unlink()
    forget()
    part = open_all_pairs(virtual.pairs, unfinished=True)
    assert bits(part["stamp"][:12].compute()) == bits(pairs["stamp"][:12])
    with pytest.raises(StoreError, match="region 1 is not finished"):
        part["stamp"][12:14].compute()
    steps.inject_step(config_of(virtual.root))
    assert bits(open_all_pairs(virtual.pairs)["stamp"].compute()) == bits(pairs["stamp"])


@pytest.mark.parametrize(("kind", "more"), [("full", {}), ("virtual", {}), ("full", {"quantize": "sky/16"})])
def test_rows_made_a_few_at_a_time_give_the_same_files(three, tmp_path, monkeypatch, kind, more):
    """One chunk at a time in one run, whole regions in the other."""
    found = []
    for name, rows in (("whole", 512), ("parts", 4)):
        monkeypatch.setattr(regions, "ROWS_AT_ONCE", rows)
        shutil.copytree(three / kind, tmp_path / name)
        config = config_of(str(tmp_path / name))
        config = config.model_copy(update={"store": config.store.model_copy(update=more), "out": str(tmp_path / name)})
        shutil.rmtree(tmp_path / name / "pairs.zarr")
        shutil.rmtree(tmp_path / name / "receipts" / "pairs")
        forget()
        steps.inject_step(config)
        done = receipts.read_receipts(RunFolder.of(config).receipts("pairs"))
        found.append((tree(tmp_path / name / "pairs.zarr"), {k: (r.counts, r.objects) for k, r in done.items()}))
    assert found[0] == found[1]
    assert len(found[0][1]) > 2 and sum(counts["rows"] for counts, _ in found[0][1].values()) == 42
