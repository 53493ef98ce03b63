"""Two regions in flight: what one of them does never touches the other, and no more are at work than memory allows."""

from __future__ import annotations

import threading
import time

import pytest

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from lensflow.errors import ManifestError
from lensflow.run.cluster_tasks import regions_in_flight
from lensflow.run.execute import reduce_tasks, run_tasks, waiting_bytes
from tests.small_run import small_config

SMALL_BYTES = 1e6


class Waits:
    """A task that waits as for an object store, and notes how many are at work at a time."""

    def __init__(self, fails: int = -1):
        self.at_work, self.most, self.done, self.fails = 0, 0, [], fails
        self.lock = threading.Lock()

    def __call__(self, i: int) -> int:
        with self.lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        time.sleep(0.05 if i == self.fails else 0.1)
        with self.lock:
            self.at_work -= 1
            self.done += [] if i == self.fails else [i]
        if i == self.fails:
            raise ManifestError(f"row {i} is wrong")
        return i

    def __reduce__(self):
        return _the_task, ()


def _the_task():
    return TASK[0]


TASK: list[Waits] = []


@pytest.fixture(scope="module")
def one_thread():
    with connect(ClusterConfig(kind="threads", workers=1, dashboard=None)):
        yield


def run(task, n, region_bytes, told=None):
    TASK[:] = [task]
    return list(
        run_tasks(task, range(n), "stage", lambda *words: told is not None and told.append(words), region_bytes)
    )


def test_a_thread_has_two_regions_at_work_and_never_more(one_thread):
    task, told = Waits(), []
    assert sorted(run(task, 8, SMALL_BYTES, told)) == list(range(8))
    assert task.most == 2
    assert [done for _, done, _ in told] == list(range(9)) and {total for *_, total in told} == {8}


def test_without_an_object_store_regions_are_done_one_after_another(one_thread):
    task = Waits()
    run(task, 4, None)
    assert task.most == 1


def test_a_region_that_fails_loses_neither_the_one_beside_it_nor_its_place(one_thread):
    task, seen = Waits(fails=1), []
    TASK[:] = [task]
    with pytest.raises(ManifestError, match="row 1 is wrong"):
        for value in run_tasks(task, range(40), "stage", region_bytes=SMALL_BYTES):
            seen.append(value)
    end = time.monotonic() + 5
    while task.at_work and time.monotonic() < end:
        time.sleep(0.01)
    assert 0 in task.done and task.at_work == 0  # begun before the error, and ended as if nothing were
    assert len(task.done) < 39  # nothing new is started after it
    assert task.most == 2
    # Places were given back: two more at a time.
    again = Waits()
    assert sorted(run(again, 4, SMALL_BYTES)) == [0, 1, 2, 3]
    assert again.most == 2


def joined(values):
    return [v for part in values for v in (part if isinstance(part, list) else [part])]


@pytest.mark.parametrize(("region_bytes", "most"), [(SMALL_BYTES, 2), (None, 1)])
def test_sums_keep_two_regions_at_work_too_and_the_order_of_their_values(one_thread, region_bytes, most):
    task = Waits()
    TASK[:] = [task]
    assert reduce_tasks(task, range(9), joined, "stage", region_bytes=region_bytes) == list(range(9))
    assert task.most == most


def test_a_sum_whose_region_fails_says_so_and_ends_the_one_beside_it(one_thread):
    task = Waits(fails=1)
    TASK[:] = [task]
    with pytest.raises(ManifestError, match="row 1 is wrong"):
        reduce_tasks(task, range(40), joined, "stage", region_bytes=SMALL_BYTES)
    end = time.monotonic() + 5
    while task.at_work and time.monotonic() < end:
        time.sleep(0.01)
    assert task.at_work == 0 and len(task.done) < 39


def test_threads_of_this_process_take_two_regions_each(monkeypatch):
    monkeypatch.setattr("lensflow.run.execute.os.cpu_count", lambda: 1)
    task = Waits()
    assert sorted(run(task, 6, SMALL_BYTES)) == list(range(6))
    assert task.most == 2
    again = Waits()
    TASK[:] = [again]
    assert reduce_tasks(again, range(6), joined, "stage", region_bytes=SMALL_BYTES) == list(range(6))
    assert again.most == 2


@pytest.mark.parametrize(
    ("threads", "limit", "region", "expected"),
    [
        (1, None, 200e6, 2),
        (1, 0, 200e6, 2),  # 0: no limit
        (1, 2e9, 200e6, 2),
        (1, 1.1e9, 200e6, 1),  # 0.7 of it holds the code and one region
        (1, 0.6e9, 200e6, 1),  # never none
        (4, 4e9, 200e6, 8),
        (4, 2.2e9, 200e6, 5),
    ],
)
def test_memory_bounds_the_regions_in_flight(threads, limit, region, expected):
    assert regions_in_flight(threads, limit, region) == expected


def test_only_runs_elsewhere_wait_for_a_store(tmp_path):
    assert waiting_bytes(small_config(tmp_path / "run")) is None
    assert waiting_bytes(small_config("s3://bucket/run")) > 1e6
    assert waiting_bytes(small_config("s3://bucket/run"), 4) == pytest.approx(
        waiting_bytes(small_config("s3://bucket/run"), 3) * 4 / 3
    )
