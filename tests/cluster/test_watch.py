"""A run that waits says so, and ends with a reason: no workers, workers that die, workers that are full."""

import asyncio
import itertools
import time

import dask
import pytest
from distributed import Client, LocalCluster

from lensflow.cluster import connect, watch
from lensflow.config import ClusterConfig
from lensflow.errors import ClusterError, LensflowWarning, ManifestError
from lensflow.fits.transport import TransportError
from lensflow.run.execute import run_tasks


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(watch, "SAY_AFTER_S", 0.2)
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watch, "FULL_FOR_S", 0.2)


@pytest.fixture(scope="module")
def one_worker():
    with connect(ClusterConfig(kind="threads", workers=1, dashboard=None, no_workers_timeout_s=77.0)) as client:
        yield client


def identity(i):
    return i


def test_a_client_without_workers_says_so_and_gives_up_when_its_time_is_over(hurry):
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
        dask.config.set({"lensflow.no-workers-timeout": 1.0}),
        pytest.warns(LensflowWarning, match="has no worker, so nothing is done"),
        pytest.raises(ClusterError, match=r"cut: no worker joined .* within 1 s \(cluster\.no_workers_timeout_s\)"),
    ):
        list(run_tasks(identity, range(3), "cut"))


def test_the_time_to_wait_for_workers_is_the_configs(one_worker):
    assert dask.config.get("lensflow.no-workers-timeout") == 77


def test_an_asynchronous_client_is_refused_by_name():
    async def main():
        async with Client(processes=False, asynchronous=True, dashboard_address="127.0.0.1:0", n_workers=1):
            with pytest.raises(ClusterError, match="is asynchronous"):
                list(run_tasks(identity, range(3), "cut"))

    asyncio.run(main())


class Scheduler:
    """Stands for a client: its workers are what the test says, look after look."""

    address = "tcp://127.0.0.1:1"

    def __init__(self, looks):
        self._looks = looks
        self.scheduler = self

    def scheduler_info(self, n_workers):
        return {"workers": next(self._looks)}


def watched(looks, results=()):
    """Problem that a watch finds, or None if it finds none while the looks last."""
    ended = []
    given = Scheduler(itertools.chain(looks, itertools.repeat({"last": {"status": "running"}})))
    look = watch.Watch(given, "inject", lambda: ended.append(True))
    look.start()
    end = time.monotonic() + 1.5
    while not ended and time.monotonic() < end:
        time.sleep(0.01)
        for _ in results:
            look.progress()
    look.stop()
    assert bool(ended) == (look.problem is not None)
    return look.problem


def test_workers_that_die_one_after_the_other_end_the_run(hurry):
    dying = [{f"tcp://{k}": {"status": "running"}} for k in range(6)]
    assert "workers died one after the other and no region was finished" in watched(dying)


@pytest.mark.slow
def test_workers_that_come_and_go_while_regions_are_finished_do_not(hurry):
    dying = [{f"tcp://{k}": {"status": "running"}} for k in range(6)]
    assert watched(dying, results=[True]) is None


def test_workers_that_stay_full_end_the_run(hurry):
    full = itertools.repeat({"a": {"status": "paused"}, "b": {"status": "paused"}})
    assert "every worker has been out of memory" in watched(full)
    assert watched(itertools.repeat({"a": {"status": "paused"}, "b": {"status": "running"}})) is None


class Fails:
    """Fails the first ``times`` times, and notes every attempt."""

    def __init__(self, folder, error, times):
        self.folder, self.error, self.times = folder, error, times

    def __call__(self, i):
        attempt = len(list(self.folder.iterdir()))
        (self.folder / str(attempt)).touch()
        if attempt < self.times:
            raise self.error("row 7 of t.csv is wrong")
        return i


def test_an_error_that_no_attempt_can_change_is_raised_once_without_a_traceback(tmp_path, one_worker, caplog, capfd):
    with pytest.raises(ManifestError, match=r"^row 7 of t\.csv is wrong$"):
        list(run_tasks(Fails(tmp_path, ManifestError, 99), [1], "inject"))
    assert len(list(tmp_path.iterdir())) == 1
    said = "".join(capfd.readouterr()) + caplog.text
    assert "Compute Failed" not in said and "Traceback" not in said


def test_an_error_that_may_pass_is_tried_again_without_a_traceback(tmp_path, one_worker, caplog, capfd):
    assert list(run_tasks(Fails(tmp_path, TransportError, 2), [1], "cut")) == [1]
    assert len(list(tmp_path.iterdir())) == 3
    said = "".join(capfd.readouterr()) + caplog.text
    assert "Compute Failed" not in said and "Traceback" not in said


def test_what_is_not_ours_is_still_logged(tmp_path, one_worker, caplog):
    with pytest.raises(ZeroDivisionError):
        list(run_tasks(Fails(tmp_path, ZeroDivisionError, 99), [1], "inject"))
    assert "Compute Failed" in caplog.text
