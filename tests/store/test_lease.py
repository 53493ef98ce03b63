import dataclasses
import json
import threading
import time

import pytest

from lensflow.errors import LensflowWarning, StoreError
from lensflow.store import lease, objects, paths, receipts, writing
from lensflow.store.lease import hold
from lensflow.store.regions import Region
from tests.factories import make_cutouts
from tests.store.test_store import write_cutouts


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


@pytest.fixture
def soon(monkeypatch):
    """Half a second of watching tells a dead run."""
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(lease, "POLL_S", 0.05)


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path):
    leave_behind(tmp_path, ticks=1)
    with hold(str(tmp_path)) as held:
        assert held.lease.number == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
@pytest.mark.parametrize(
    "elsewhere",
    [{"machine": "another boot pid:[1]"}, {"machine": ""}, {"machine": "another boot pid:[1]", "pid": 1, "ticks": 5}],
)
def test_a_run_whose_process_cannot_be_looked_for_is_dead_when_its_lease_stands_still(tmp_path, soon, elsewhere):
    """Another machine, or another container of this host name: its process numbers mean nothing here."""
    left = leave_behind(tmp_path, **elsewhere)
    with hold(str(tmp_path)) as held:
        assert held.lease.number == left.number + 1


@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
@pytest.mark.parametrize("started", ["1999-01-01 00:00:00 UTC", "2999-01-01 00:00:00 UTC"])
def test_a_run_elsewhere_that_beats_is_alive_whatever_its_clock_says(tmp_path, monkeypatch, started):
    monkeypatch.setattr(lease, "POLL_S", 0.05)
    left = leave_behind(tmp_path, host="elsewhere", machine="another", started=started)
    beating = threading.Timer(
        0.3, lambda: paths.write_json(lease._url(str(tmp_path), 1), dataclasses.asdict(left) | {"beats": 7})
    )
    beating.start()
    with pytest.raises(StoreError, match="on elsewhere"), hold(str(tmp_path)):
        pass
    beating.join()


def test_a_clock_that_is_set_does_not_make_a_run_of_this_machine_dead(tmp_path, monkeypatch):
    left = leave_behind(tmp_path)  # of this very process
    monkeypatch.setattr("time.time", lambda: 4e9)
    with pytest.raises(StoreError, match=f"process {left.pid}"), hold(str(tmp_path)):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
@pytest.mark.parametrize("content", ["{", "[]", "null", '{"number": "x"}', ""])
def test_a_damaged_lease_holds_nobody_up_for_long(tmp_path, soon, content):
    (tmp_path / "lease-000003.json").write_text(content)
    with hold(str(tmp_path)) as held:
        assert held.lease.number == 4


@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
def test_a_run_that_wakes_after_all_others_have_ended_has_lost_the_folder_too(tmp_path):
    """Numbers of leases are used again: the owner tells."""
    with hold(str(tmp_path)) as first:

        def another_and_one_more():
            with hold(str(tmp_path), force=True):
                pass
            with pytest.raises(StoreError, match="took this folder over"):
                first.guard()
            with hold(str(tmp_path)) as third:
                assert third.lease.number == first.lease.number
                first.beat()
                assert first.lost
                with pytest.raises(StoreError, match="took this folder over"):
                    first.guard()
                third.guard()

        failed = []

        def run():
            try:
                another_and_one_more()
            except BaseException as error:
                failed.append(error)

        others = threading.Thread(target=run)
        others.start()
        others.join()
        assert failed == []


def test_what_a_loser_has_staged_never_appears(tmp_path):
    """A writer that slept between the guard and the renaming."""
    url, cutouts = str(tmp_path / "c.zarr"), make_cutouts(8, size=16)
    write_cutouts(url, cutouts)
    receipts.remove_receipts(objects.folder_of(url), [Region(0, 0, 8)])
    place = tmp_path / "c.zarr" / "image" / "c" / "0" / "0" / "0" / "0"
    before = place.read_bytes()

    def sleeps_here():
        paths.discard_staged(str(tmp_path))  # as a run does that takes the folder over

    other = cutouts.assign(image=cutouts["image"] + 1)
    with pytest.raises(StoreError, match="took this folder over"):
        writing.write_region(other, url, "cutouts", Region(0, 0, 8), sleeps_here)
    assert place.read_bytes() == before and not list(tmp_path.glob(".writing-*"))


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
        for _ in range(200):
            if json.loads(file.read_text())["beats"]:
                break
            time.sleep(0.02)
        assert json.loads(file.read_text())["beats"] and held.lease.number == 1


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
