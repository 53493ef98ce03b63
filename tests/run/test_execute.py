import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from lensflow.errors import LensflowWarning, ManifestError, StoreError
from lensflow.run import execute
from lensflow.run.execute import Several, local_processes, run_tasks, side_by_side

LOCAL = ClusterConfig(kind="local", workers=2, dashboard=None)


def square(i: int) -> int:
    return i * i


def fail_at_three(i: int) -> int:
    if i == 3:
        raise ManifestError("row 3 is wrong")
    return i


@pytest.fixture(params=["threads", pytest.param("cluster", marks=pytest.mark.slow)])
def place(request):
    if request.param == "threads":
        yield
    else:
        with connect(LOCAL):
            yield


def test_every_index_is_done_once_and_progress_counts_them(place):
    told = []
    results = list(run_tasks(square, range(7), "stage", lambda *words: told.append(words)))
    assert sorted(results) == [0, 1, 4, 9, 16, 25, 36]
    assert told[0] == ("stage", 0, 7) and told[-1] == ("stage", 7, 7)


def test_receipts_that_come_twice_count_once_and_another_kind_of_task_goes_on(place):
    told, several = [], Several(5)

    def receipts(i: int) -> tuple[SimpleNamespace, ...]:
        return tuple(SimpleNamespace(region=k) for k in (i, i + 1))  # each but two of them by two tasks

    for some in ([0, 1, 2], [3]):
        found = [r.region for r in run_tasks(receipts, some, "cut", lambda *words: told.append(words), several=several)]
        assert sorted(found) == ([0, 1, 2, 3] if some[0] == 0 else [4])
    assert told == [("cut", n, 5) for n in (0, 1, 2, 3, 4, 4, 5)]


class Counted:
    """A result with counts, as receipts have them."""

    def __init__(self, i: int):
        self.counts = {"rows": 10, "status: FAILED": i}


@pytest.mark.slow
def test_a_clusters_dashboard_shows_rows_and_failures_by_stage():
    def shown(dask_scheduler):
        spans = dask_scheduler.extensions["spans"].spans.values()
        numbers = {}
        for found in spans:
            for key, value in found.cumulative_worker_metrics.items():
                if key[-1] == "rows":
                    numbers[found.name, key[-2]] = numbers.get((found.name, key[-2]), 0) + value
        return numbers

    with connect(LOCAL) as client:
        assert len(list(run_tasks(Counted, range(4), "inject pairs"))) == 4
        for _ in range(50):  # workers tell the scheduler with their next heartbeat
            numbers = client.run_on_scheduler(shown)
            if numbers.get((("lensflow", "inject-pairs"), "rows")) == 40:
                break
            time.sleep(0.2)
    assert numbers[("lensflow", "inject-pairs"), "rows"] == 40
    assert numbers[("lensflow", "inject-pairs"), "status: FAILED"] == 6


def test_no_work_is_no_task_and_no_progress(place):
    assert list(run_tasks(square, [], "stage", lambda *_: pytest.fail("nothing to tell"))) == []


def test_a_tasks_own_error_comes_through(place):
    with pytest.raises(ManifestError, match="row 3 is wrong"):
        list(run_tasks(fail_at_three, range(5), "stage"))


def times(i: int, factor: int, unit: str = "") -> str:
    return f"{os.getpid()} {i * factor}{unit}"


def fails_with(i: int, factor: int) -> int:
    return fail_at_three(i * factor)


def test_work_on_what_the_client_holds_is_done_side_by_side_by_processes_of_this_machine(place):
    found = {i: v.split() for i, v in side_by_side(times, 4, "stage", {"factor": 3, "unit": "s"})}
    assert {i: v for i, (_, v) in found.items()} == {0: "0s", 1: "3s", 2: "6s", 3: "9s"}
    there = {int(pid) for pid, _ in found.values()}
    assert there == {os.getpid()} if local_processes() is None else os.getpid() not in there
    with pytest.raises(ManifestError, match="row 3 is wrong"):
        list(side_by_side(fails_with, 4, "stage", {"factor": 3}))


def test_no_worker_is_asked_for_what_it_has_no_memory_for_or_may_not_do(monkeypatch):
    class Processes:
        def __init__(self, threads):
            self.threads = threads

        def nthreads(self):
            return {"a": self.threads, "b": 1}

        def scatter(self, shared, **_):
            pytest.fail("asked")

    monkeypatch.setattr(execute, "task_memory_bytes", lambda: 2e9)
    for threads, task_bytes, here in ((1, 1.7e9, False), (1, 0.0, True), (2, 0.0, False)):
        monkeypatch.setattr(execute, "local_processes", lambda threads=threads: Processes(threads))
        found = list(side_by_side(times, 2, "stage", {"factor": 1}, task_bytes, here))
        assert {v.split()[0] for _, v in found} == {str(os.getpid())}
    monkeypatch.setattr(execute, "local_processes", lambda: Processes(1))
    with pytest.raises(pytest.fail.Exception, match="asked"):
        list(side_by_side(times, 2, "stage", {"factor": 1}, 1e9))


class DieOnce:
    """Kills its own worker the first time that each index is tried."""

    def __init__(self, folder: Path, always: bool):
        self.folder, self.always = folder, always

    def __call__(self, i: int) -> int:
        mark = self.folder / str(i)
        if i == 1 and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i


class DieOnceWith(DieOnce):
    def __call__(self, i: int, more: int) -> int:
        return super().__call__(i) + more


@pytest.mark.faults
def test_a_region_whose_worker_is_killed_is_done_elsewhere(tmp_path):
    with connect(LOCAL):
        assert sorted(run_tasks(DieOnce(tmp_path, always=False), range(4), "stage")) == [0, 1, 2, 3]


@pytest.mark.faults
def test_work_side_by_side_outlives_one_of_the_workers(tmp_path):
    with connect(LOCAL):
        found = dict(side_by_side(DieOnceWith(tmp_path, always=False), 4, "stage", {"more": 10}))
    assert found == {0: 10, 1: 11, 2: 12, 3: 13}


class Fails:
    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, i: int, more: int) -> None:
        with self.folder.joinpath("tries").open("a") as file:
            file.write(f"{i}\n")
        raise ZeroDivisionError("no error of lensflow's own")


def test_an_error_side_by_side_comes_at_once(place, tmp_path):
    with pytest.raises(ZeroDivisionError, match="own"):
        list(side_by_side(Fails(tmp_path), 1, "stage", {"more": 1}))
    assert tmp_path.joinpath("tries").read_text() == "0\n"


class DieOnWorkers(DieOnceWith):
    """Kills every worker that tries it, and no other process."""

    def __call__(self, i: int, more: int) -> int:
        return i + more if self.folder.joinpath(f"client-{os.getpid()}").exists() else super().__call__(i, more)


@pytest.mark.faults
@pytest.mark.parametrize(("workers", "always"), [(1, False), (2, True)])
def test_work_side_by_side_is_done_here_once_what_workers_were_sent_is_lost_with_them(tmp_path, workers, always):
    tmp_path.joinpath(f"client-{os.getpid()}").touch()
    with connect(ClusterConfig(kind="local", workers=workers)), pytest.warns(LensflowWarning, match="workers died"):
        found = list(side_by_side(DieOnWorkers(tmp_path, always), 4, "stage", {"more": 10}))
    assert len(found) == 4 and dict(found) == {0: 10, 1: 11, 2: 12, 3: 13}


@pytest.mark.faults
def test_a_region_that_kills_every_worker_stops_the_run_with_the_way_out(tmp_path):
    with connect(LOCAL), pytest.raises(StoreError, match=r"cluster\.memory_limit"):
        list(run_tasks(DieOnce(tmp_path, always=True), range(4), "stage"))


def test_who_stops_listening_stops_the_work(tmp_path):
    def note(i: int) -> int:
        (tmp_path / str(i)).touch()
        return i

    for _ in run_tasks(note, range(500), "stage"):
        break
    assert len(list(tmp_path.iterdir())) < 400
