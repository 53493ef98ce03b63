import dataclasses
import json
import threading
import time

import pytest

from lensflow.errors import LensflowWarning, StoreError
from lensflow.store import lease, paths
from lensflow.store.lease import hold


def test_a_second_run_is_told_who_is_at_work_and_the_way_out(tmp_path):
    told = []

    def second():
        try:
            with hold(str(tmp_path)):
                told.append("got in")
        except StoreError as error:
            told.append(str(error))

    with hold(str(tmp_path)):
        other = threading.Thread(target=second)
        other.start()
        other.join()
    assert f"process {__import__('os').getpid()}" in told[0] and "--force" in told[0]
    second()
    assert told[1] == "got in" and not list(tmp_path.iterdir())


def test_steps_of_one_run_share_its_lease(tmp_path):
    with hold(str(tmp_path)) as outer, hold(f"{tmp_path}/") as inner:
        assert inner is outer


def leave_behind(folder, **changes):
    """A lease as a run leaves it that was killed."""
    with hold(str(folder)) as held:
        left = dataclasses.replace(held.lease, owner="another", **changes)
    paths.write_json(lease._url(str(folder), left.number), dataclasses.asdict(left))
    return left


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path):
    leave_behind(tmp_path, process_started=1.0)
    with hold(str(tmp_path)) as held:
        assert held.lease.number == 2
    assert not list(tmp_path.iterdir())


def test_a_run_on_another_machine_counts_as_dead_only_after_its_signs_of_life_stop(tmp_path):
    leave_behind(tmp_path, host="elsewhere")
    with pytest.raises(StoreError, match="on elsewhere"), hold(str(tmp_path)):
        pass
    leave_behind_late = leave_behind(tmp_path / "late", host="elsewhere", heartbeat=time.time() - 1000)
    with hold(str(tmp_path / "late")) as held:
        assert held.lease.number == leave_behind_late.number + 1


def test_a_damaged_lease_holds_nobody_up(tmp_path):
    (tmp_path / "lease-000003.json").write_text("{")
    with hold(str(tmp_path)) as held:
        assert held.lease.number == 4


def test_force_takes_over_with_a_warning_and_the_other_run_stops(tmp_path):
    with hold(str(tmp_path)) as first:
        first.check()
        # Another thread is another run.
        taken = []

        def second():
            with pytest.warns(LensflowWarning, match="taken over"), hold(str(tmp_path), force=True) as held:
                taken.append(held.lease.number)
                first.beat()

        other = threading.Thread(target=second)
        other.start()
        other.join()
        assert taken == [2]
        with pytest.raises(StoreError, match="another run took this folder over"):
            first.check()


def test_signs_of_life_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.02)
    with hold(str(tmp_path)) as held:
        file = tmp_path / "lease-000001.json"
        begun = held.lease.started
        for _ in range(200):
            if json.loads(file.read_text())["heartbeat"] > begun:
                break
            time.sleep(0.02)
        assert json.loads(file.read_text())["heartbeat"] > begun


@pytest.mark.parametrize("root", ["local", "memory"])
def test_of_many_writers_of_one_object_exactly_one_wins(tmp_path, root):
    url = str(tmp_path / "x" / "a.json") if root == "local" else f"memory://{tmp_path.name}/a.json"
    won, gate = [], threading.Barrier(8)

    def write(i):
        gate.wait()
        try:
            paths.create_exclusive(url, b"%d" % i)
            won.append(i)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if root == "local":  # the in-memory file system of fsspec checks, then writes
        assert len(won) == 1
    with pytest.raises(FileExistsError):
        paths.create_exclusive(url, b"late")
    assert paths.read_text(url) in {str(i) for i in won}


def test_a_lease_that_could_not_be_removed_does_not_hold_up_the_process_that_gave_it_up(tmp_path, monkeypatch):
    def unreachable(url):
        raise StoreError("the server does not answer")

    with monkeypatch.context() as broken, pytest.raises(ValueError, match="what ended the run"), hold(str(tmp_path)):
        broken.setattr(paths, "remove", unreachable)
        raise ValueError("what ended the run")
    assert list(tmp_path.iterdir())
    with hold(str(tmp_path)) as held:
        assert held.lease.number == 2
