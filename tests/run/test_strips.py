"""Cutting along the sky: files are opened once, regions are written whole, with the bits of one region cut alone."""

from __future__ import annotations

import random
import shutil
import sys
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from lensflow.cluster import connect
from lensflow.cluster.announce import announcer_of
from lensflow.config import ClusterConfig, load_config
from lensflow.errors import StoreError, SurveyError
from lensflow.fits.transport import Transport
from lensflow.run import cut_step, cut_task, strips
from lensflow.run.cut_parts import Part, Parts
from lensflow.run.cut_task import CutTask, JoinTask, StripTask
from lensflow.run.execute import task_memory_bytes
from lensflow.run.strips import open_regions, plan_strips
from lensflow.store import receipts
from lensflow.store.lease import hold
from lensflow.store.open import open_cutouts, read_attrs, read_head, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder
from lensflow.survey import bricks
from tests.fits.range_server import serve
from tests.s3.compare import store_digests
from tests.shared import made_once
from tests.survey.brick_factory import brick_wcs, write_brick

BRICKS, HOSTS, FILES = [f"{k:04d}p050" for k in range(5)], 16, 5  # image, invvar, nexp, psfsize of r, and maskbits
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
cut_module = sys.modules[cut_step.__module__]


def _write(folder: Path) -> None:
    folder.mkdir()
    rng, rows = np.random.default_rng(1), {k: [] for k in ("host_id", "ra", "dec", "brickname")}
    for k, brick in enumerate(BRICKS):
        wcs = brick_wcs(ra_deg=10 + 0.025 * k)
        if brick != BRICKS[3]:  # this one is missing
            write_brick(folder / "survey", brick, wcs=wcs, bands="r")
        x, y = rng.uniform(20, 280, (2, HOSTS))
        ra, dec = wcs.wcs_pix2world(x, y, 0)
        rows["host_id"] += [f"{brick}-{i:02d}" for i in range(HOSTS)]
        rows["ra"], rows["dec"] = [*rows["ra"], *ra], [*rows["dec"], *dec]
        rows["brickname"] += [brick] * HOSTS
    Table(rows).write(folder / "targets.csv", format="ascii.csv")


@pytest.fixture(scope="module")
def survey():
    """Five small bricks, one of them missing, each with hosts of every split."""
    return made_once("five-bricks", _write)


def config_of(survey, out, root=None):
    given = {"root": root or str(survey / "survey"), "targets": str(survey / "targets.csv"), "stamp_size": 16}
    tree = {"out": str(out), "bands": ["r"], "survey": {**given, "failure_budget": 0.3}}
    return load_config(
        {**tree, "splits": {"nside": 16384, "fractions": [0.5, 0.25, 0.25]},
         "store": {"hosts_per_region": 8, "inner_chunk": 4}}
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(survey, tmp_path_factory):
    """Digests and messages of the run whose regions are cut one by one, each opening its own bricks."""
    config = config_of(survey, tmp_path_factory.mktemp("alone") / "run")

    def one_by_one(task, todo, progress, held):
        return [task(r.index) for r in todo]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_module, "_cut_bricks", one_by_one)
        cut_step(config)
    done = receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))
    return store_digests(config.out), {i: (r.counts, r.messages) for i, r in done.items()}


def without_files(found):
    """Counts of hosts and messages, without those of files."""
    return {
        region: ({name: n for name, n in counts.items() if not name.startswith("files")}, told)
        for region, (counts, told) in found.items()
    }


def done_of(config):
    done = receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))
    return {i: (r.counts, r.messages) for i, r in done.items()}


@pytest.fixture
def opened(monkeypatch):
    """How often each file is opened while stamps are cut."""
    counts, real = Counter(), Transport._read_local

    def read(self, wanted):
        counts[Path(wanted.path).name] += wanted.path not in self._open
        return real(self, wanted)

    def begin(stage, done, total):
        if (stage, done) == ("cut", 0):
            counts.clear()
            monkeypatch.setattr(Transport, "_read_local", read)

    return counts, begin


def test_every_file_is_opened_once_a_run_though_its_hosts_are_in_many_regions(survey, alone, tmp_path, opened):
    counts, begin = opened
    config = config_of(survey, tmp_path / "run")
    out = cut_step(config, begin)
    names, split = out["brickname"].values, out["split"].values
    assert min(len(set(split[names == b])) for b in BRICKS) > 1  # or the test shows nothing
    whole = [b for b in BRICKS if b != BRICKS[3]]
    assert {n for n, k in counts.items() if k == 1} == set(counts)
    assert sum(any(b in name for b in whole) for name in counts) == FILES * len(whole)
    total = receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    assert total["files: opened"] == FILES * len(whole)
    digests, told = alone
    assert store_digests(config.out) == digests
    assert without_files(done_of(config)) == without_files(told)
    assert sum(c.get("files: opened", 0) for c, _ in told.values()) > 1.5 * total["files: opened"]  # what it was
    assert not Path(RunFolder.of(config).parts).exists()


@pytest.mark.parametrize("regions", [1, 4])
def test_bits_do_not_depend_on_the_strips_or_on_their_order(survey, alone, tmp_path, monkeypatch, regions):
    monkeypatch.setattr(strips, "STRIP_REGIONS", regions)
    monkeypatch.setattr(strips, "MIN_STRIPS", 1)
    config, real = config_of(survey, tmp_path / "run"), cut_module.run_tasks

    def shuffled(task, indices, *options, **more):
        return real(task, random.Random(regions).sample(list(indices), len(indices)), *options, **more)

    monkeypatch.setattr(cut_module, "run_tasks", shuffled)
    told = []
    cut_step(config, lambda *words: told.append(words))
    assert store_digests(config.out) == alone[0]
    assert without_files(done_of(config)) == without_files(alone[1])
    n = len(alone[1])
    counted = [done for stage, done, total in told if stage == "cut"]
    assert counted == sorted(counted) and {*counted} == {*range(n + 1)}


def test_the_dashboard_counts_regions_that_are_joined_apart_with_the_others(survey, alone, tmp_path):
    with connect(ClusterConfig(kind="threads", workers=2, dashboard=None)) as client:
        cut_step(config_of(survey, tmp_path / "run"))
        stage = announcer_of(client)._stages["cut"]
    assert (stage.done, stage.total, stage.rows) == (len(alone[1]), len(alone[1]), HOSTS * len(BRICKS))
    assert store_digests(str(tmp_path / "run")) == alone[0]


def test_a_run_that_stops_goes_on_with_what_has_no_receipt_and_leaves_no_parts(survey, alone, tmp_path, monkeypatch):
    config, real, writes = config_of(survey, tmp_path / "run"), cut_task.write_hosts, []

    def fails(folder, block, region, *rest):
        if len(writes) == 3:
            raise SurveyError("stopped")
        writes.append(region.index)
        return real(folder, block, region, *rest)

    monkeypatch.setattr(cut_task, "write_hosts", fails)
    with pytest.raises(SurveyError, match="stopped"):
        cut_step(config)
    folder = RunFolder.of(config)
    kept = receipts.read_receipts(folder.receipts("cutouts"))
    assert sorted(kept) == sorted(writes)
    # What the stopped run left behind must not get into the next one.
    wrong = Path(folder.parts, "stranger", "region-000000")
    wrong.mkdir(parents=True)
    (wrong / "000000.npz").write_bytes(b"garbage")
    again = []

    def notes(folder, block, region, *rest):
        again.append(region.index)
        return real(folder, block, region, *rest)

    monkeypatch.setattr(cut_task, "write_hosts", notes)
    cut_step(config)
    assert sorted(again) == sorted(set(range(len(alone[1]))) - set(kept))
    assert store_digests(config.out) == alone[0]
    done = receipts.read_receipts(folder.receipts("cutouts"))
    assert {i: done[i] for i in kept} == kept
    assert not Path(folder.parts).exists()


@pytest.fixture
def begun(survey, tmp_path):
    """A created store without a region, its tasks, and the strips of small size."""
    config = config_of(survey, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_module, "cut_regions", lambda *a: None)
        cut_step(config)
    folder = RunFolder.of(config)
    regions = stored_regions(folder.cutouts, "cutouts")
    attrs = read_attrs(folder.cutouts, "cutouts")
    head = read_head(folder.cutouts, "cutouts")
    plan = plan_strips(head["brickname"].values, head["cell"].values, regions, list(regions))
    with hold(folder.root) as held:
        task = CutTask(config, attrs["fingerprint"], regions, attrs["psf_band_ratio"], held.guard)
        yield config, StripTask(task, plan, Parts(f"{folder.parts}/mine", held.guard)), plan


def test_tasks_that_end_at_the_same_time_lose_no_region(begun, alone, monkeypatch):
    config, task, plan = begun
    real, looks = Parts.strips, Counter()

    def late(self, region):
        looks[region] += 1  # none sees another's part before it leaves its own
        return real(self, region) if looks[region] % 2 == 0 else []

    monkeypatch.setattr(Parts, "strips", late)
    done = [r.region for i in range(len(plan)) for r in task(i)]
    assert any(len(plan.strips_of(r)) > 1 for r in done) and sorted(done) == list(range(len(alone[1])))
    assert store_digests(config.out) == alone[0]


def test_parts_of_dead_workers_are_joined_by_whoever_is_done_again(begun, alone, monkeypatch):
    config, task, plan = begun
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "strips", lambda *_: [])  # all die after they have left their parts
        first = {r.region for i in range(len(plan)) for r in task(i)}
    assert first == {r for r in range(len(alone[1])) if len(plan.strips_of(r)) == 1} != set(range(len(alone[1])))
    again = {r.region for i in range(len(plan)) for r in task(i)}
    assert again == set(range(len(alone[1])))
    assert store_digests(config.out) == alone[0]


def test_a_task_done_again_hands_on_its_receipts_and_reads_no_brick(begun, monkeypatch):
    _, task, plan = begun
    for i in range(len(plan)):
        task(i)
    monkeypatch.setattr(cut_task, "bricks_ahead", lambda layout, positions, *_: iter(()) if not positions else 1 / 0)
    assert {r.region for i in range(len(plan)) for r in task(i)} == set(range(len(task.cut.regions)))


def test_parts_that_another_task_joined_meanwhile_are_no_error_but_lost_ones_are(begun, monkeypatch):
    _, task, plan = begun
    shared = next(r for r in range(len(task.cut.regions)) if len(plan.strips_of(r)) > 1)
    *before, last = plan.strips_of(shared)
    for i in before:
        task(i)
    monkeypatch.setattr(Parts, "read", lambda *_: None)
    with pytest.raises(StoreError, match=r"parts of region \d+ are gone, and it is not finished"):
        task(last)
    real = CutTask.finished
    monkeypatch.setattr(task.cut, "finished", lambda region: None)
    task.cut(shared)
    answers = iter([None, *[True] * 9])  # the other one writes its receipt after this one has looked
    monkeypatch.setattr(
        task.cut, "finished", lambda region: real(task.cut, region) if region.index != shared else next(answers)
    )
    assert shared not in {r.region for r in task(last)}


def test_regions_of_the_last_strips_are_joined_by_tasks_of_their_own(begun, alone):
    config, task, plan = begun
    for n_apart in (1, len(plan)):
        apart = StripTask(task.cut, plan, task.parts, n_apart)
        receipts.clear(task.cut.folder.receipts("cutouts"))
        done = {r.region for i in range(len(plan)) for r in apart(i)}
        left = set(range(len(alone[1]))) - done
        # A region is left if the last of its strips to be done leaves its part.
        shared = {r for r in range(len(alone[1])) if len(plan.strips_of(r)) > 1}
        assert left == {r for r in shared if max(plan.strips_of(r)) >= len(plan) - n_apart} != set()
        join = JoinTask(apart)
        assert {r.region for i in left for r in join(i)} == left
        assert store_digests(config.out) == alone[0]
        assert all(task.parts.strips(i) == [] for i in left)
        again = join(next(iter(left)))  # its worker died before the receipt was handed on
        assert [r.region for r in again] == [next(iter(left))]


@pytest.mark.parametrize("seed", range(2))
def test_any_plan_in_any_order_gives_the_same_bits_counts_and_messages(begun, alone, monkeypatch, seed):
    config, task, plan = begun
    draw = random.Random(seed)
    monkeypatch.setattr(strips, "STRIP_REGIONS", draw.choice([1, 2, 8]))
    monkeypatch.setattr(strips, "MIN_STRIPS", draw.choice([1, 4, 32]))
    monkeypatch.setattr(cut_task, "READ_REGIONS", draw.choice([0, 1, 2, 100]))
    head = read_head(task.cut.folder.cutouts, "cutouts", names=("brickname", "cell"))
    regions, most_open = task.cut.regions, draw.choice([0.25, 1.0, 4.0])
    plan = plan_strips(head["brickname"].values, head["cell"].values, regions, list(regions), most_open)
    task = StripTask(task.cut, plan, task.parts, draw.choice([0, 1, 3, len(plan), len(plan) + 5]))
    order = draw.sample(range(len(plan)), len(plan))
    done = {r.region for i in [*order, *order[:2]] for r in task(i)}  # two of them again, as after a worker's death
    left = [i for i in range(len(alone[1])) if i not in done]
    assert task.n_apart or not left
    done |= {r.region for i in draw.sample(left, len(left)) for r in JoinTask(task)(i)}
    assert done == set(range(len(alone[1])))
    assert store_digests(config.out) == alone[0]
    assert without_files(done_of(config)) == without_files(alone[1])


@pytest.mark.parametrize("n_apart", [0, 100])
def test_no_part_is_held_while_the_region_that_it_was_joined_to_is_measured(begun, monkeypatch, n_apart):
    _, task, plan = begun
    apart, real, made = StripTask(task.cut, plan, task.parts, n_apart), cut_task._finish, Part.__init__
    parts, held = list[weakref.ref[Part]](), list[int]()

    def make(part, *given):
        made(part, *given)
        parts.append(weakref.ref(part))

    def finish(*given):
        held.append(sum(part() is not None for part in parts))
        return real(*given)

    monkeypatch.setattr(Part, "__init__", make)
    monkeypatch.setattr(cut_task, "_finish", finish)
    done = {r.region for i in range(len(plan)) for r in apart(i)}
    for i in set(range(len(task.cut.regions))) - done:
        JoinTask(apart)(i)
    assert held == [0] * len(task.cut.regions)
    assert parts


def test_a_region_whose_parts_are_lost_is_an_error(begun):
    _, task, plan = begun
    apart = StripTask(task.cut, plan, task.parts, len(plan))
    shared = next(r for r in range(len(task.cut.regions)) if len(plan.strips_of(r)) > 1)
    for i in plan.strips_of(shared)[:-1]:
        apart(i)
    with pytest.raises(StoreError, match=rf"parts of region {shared} are gone, and it is not finished"):
        JoinTask(apart)(shared)


def test_tiles_are_decoded_once_for_all_regions_that_have_hosts_on_them(begun, alone, monkeypatch):
    config, task, plan = begun
    counted, real = Counter(), bricks.decode_tiles

    def decode(index, tiles, *others):
        counted.update(tiles)
        return real(index, tiles, *others)

    monkeypatch.setattr(bricks, "decode_tiles", decode)
    numbers, files = [], []
    for most in (0, 1000):  # each region by itself, all together
        monkeypatch.setattr(cut_task, "READ_REGIONS", most)
        receipts.clear(task.cut.folder.receipts("cutouts"))
        counted.clear()
        done = [r for i in range(len(plan)) for r in task(i)]
        assert store_digests(config.out) == alone[0]
        numbers.append(counted.total())
        files.append({name: sum(r.counts[name] for r in done) for name in ("files: opened", "files: bytes read")})
    assert files[0] == files[1]
    assert numbers[1] < 0.7 * numbers[0]


def test_damaged_parts_are_refused_and_a_guard_is_asked_first(begun, tmp_path):
    _, task, _ = begun
    block = cut_task.HostBlock(
        read_head(task.cut.folder.cutouts, "cutouts", slice(0, 8)), ["r"], task.cut.config.survey
    )
    block.raw.image[:] = np.random.default_rng(0).normal(size=block.raw.image.shape)
    block.messages.add("cause", "MARK", "advice", str(block.names[2]))
    part, parts = Part.of(np.arange(8), block), Parts(str(tmp_path / "parts"))
    parts.write(3, 5, part)
    again = parts.read(3, 5)
    for name, values in part.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)
    assert again.about == part.about and parts.strips(3) == [5] and parts.read(3, 6) is None
    place = Path(tmp_path / "parts" / "region-000003" / "000005.npz")
    content = place.read_bytes()
    for at in (2000, *range(len(content) - 1000, len(content))):  # an array, and the zip's directory
        place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(StoreError, match="not what was written"):
            parts.read(3, 5)
    parts.remove(3)
    assert parts.strips(3) == []

    def taken_over():
        raise StoreError("another run")

    with pytest.raises(StoreError, match="another run"):
        Parts(str(tmp_path / "parts"), taken_over).write(1, 1, part)
    assert not Path(tmp_path / "parts" / "region-000001").exists()


@given(
    n_bricks=st.integers(1, 30),
    hosts=st.integers(1, 60),
    rows=st.integers(1, 12),
    seed=st.integers(0, 2**16),
    in_order=st.booleans(),
    skip=st.integers(1, 3),
    most_open=st.sampled_from([0.25, 1.0, 4.0]),
)
def test_every_host_is_in_one_strip_and_memory_is_bounded_whatever_the_order(
    n_bricks, hosts, rows, seed, in_order, skip, most_open
):
    rng = np.random.default_rng(seed)
    brick = np.sort(rng.integers(0, n_bricks, n_bricks * hosts // 2 + 1))
    split = rng.choice(4, len(brick), p=[0.6, 0.2, 0.15, 0.05])
    order = np.lexsort((brick, split)) if in_order else rng.permutation(len(brick))
    names, cell = np.array([f"b{k:03d}" for k in brick])[order], 10 * brick[order]
    regions = Regions(len(brick), rows)
    todo = [r for r in regions if r.index % skip == 0]
    plan = plan_strips(names, cell, regions, todo, most_open)
    wanted = np.concatenate([np.arange(r.start, r.stop) for r in todo])
    found = [regions[region].start + plan.rows_of(i, region) for i in range(len(plan)) for region in plan.regions_of(i)]
    assert np.sort(np.concatenate(found)).tolist() == wanted.tolist()
    most = strips.STRIP_REGIONS * rows
    strips_of_brick = {b: set() for b in names}
    for i in range(len(plan)):
        open_hosts, bricks = Counter(), Counter()
        for region in plan.regions_of(i):
            assert i in plan.strips_of(region)
            mine = regions[region].start + plan.rows_of(i, region)
            if len(mine) < regions[region].size:
                open_hosts[region] = len(mine)
            bricks.update(names[mine])
            for b in set(names[mine]):
                strips_of_brick[b].add(i)
        largest = max(bricks.values())
        assert sum(bricks.values()) <= most + largest
        assert sum(open_hosts.values()) <= most_open * rows + largest
    size = Counter(names[wanted])
    for b, where in strips_of_brick.items():
        assert len(where) <= max(1, -(-size[b] // most))


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(0.7 * 2**31, 4.0), (0.7e9, 0.25), (0.95e9, 1.41), (float("inf"), 4.0)],  # of workers of 2 GiB, 1 GB, 1.4 GB
)
def test_regions_begun_at_a_time_are_fewer_where_memory_is_short(memory, expected):
    assert open_regions(memory, 64e6) == pytest.approx(expected, abs=0.01)


def test_memory_of_a_task_is_that_of_the_smallest_worker():
    assert task_memory_bytes() > 1e8  # of this machine
    with connect(ClusterConfig(kind="threads", workers=2, dashboard=None)) as client:
        assert task_memory_bytes() == float("inf")  # threads of this process have no limit of their own
        known = {"workers": {"a": {"memory_limit": 4e9, "nthreads": 1}, "b": {"memory_limit": 6e9, "nthreads": 2}}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client, "scheduler_info", lambda n_workers: known)
            assert task_memory_bytes() == pytest.approx(0.7 * 3e9)
            patch.setattr(client, "scheduler_info", lambda n_workers: {"workers": {}})
            assert task_memory_bytes() is None


def test_a_survey_over_http_is_read_ahead_and_each_file_begun_once(survey, alone, tmp_path):
    copy = tmp_path / "survey"
    shutil.copytree(survey / "survey", copy)
    with serve(copy) as server:
        heads = Counter()
        config = config_of(survey, tmp_path / "run", root=server.url)

        def begin(stage, done, total):
            if (stage, done) == ("cut", 0):
                heads.update(server.heads)

        cut_step(config, begin)
        opened = {name: n - heads[name] for name, n in server.heads.items() if n > heads[name]}
    assert set(opened.values()) == {1} and sum(any(b in n for b in BRICKS) for n in opened) >= FILES * 4
    stored, plain = open_cutouts(config.out), alone[0]
    assert stored.sizes["host"] == HOSTS * len(BRICKS)
    arrays = {k: v for k, v in store_digests(config.out).items() if "/image/c/" in k or "/host_table/c/" in k}
    assert arrays == {k: plain[k] for k in arrays}
