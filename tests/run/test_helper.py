"""Parts of a report, made by workers and client, whoever is free."""

import os
from concurrent.futures import Future

import pytest

from lensflow.run import helper
from lensflow.run.helper import OnWorkers, begun_on_workers


class Workers:
    """A client of as many workers, which do what ``end`` tells them to have done."""

    def __init__(self, count):
        self.count, self.begun = count, []

    def nthreads(self):
        return {f"tcp://{k}": 1 for k in range(self.count)}

    def submit(self, make, *given, key, workers, allow_other_workers):
        self.begun.append((Future(), given))
        return self.begun[-1][0]

    def end(self, place, error=None):
        future, (make, *given) = self.begun[place]
        if error is None:
            future.set_result(("there", make(*given)))
        else:
            future.set_exception(error)

    @property
    def names(self):
        return [given[1] for _, given in self.begun]


def part(name):
    return f"made of {name}"


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


@pytest.mark.usefixtures("many")
def test_workers_get_a_part_when_they_are_free_and_who_waits_makes_the_last_ones():
    client = Workers(2)
    start = OnWorkers(client)
    waits = {name: start(part, name) for name in "abcdef"}
    assert client.names == ["a", "b"]
    client.end(1)
    assert client.names == ["a", "b", "c"]
    assert waits["e"]() == "made of e"  # nobody had begun it
    client.end(0)
    client.end(2)
    client.end(3)
    assert client.names == ["a", "b", "c", "d", "f"]
    assert waits["a"]() == ("there", "made of a")
    client.end(4)
    assert [waits[name]()[0] for name in "bcdf"] == ["there"] * 4


@pytest.mark.usefixtures("many")
def test_a_client_that_has_to_wait_makes_what_nobody_has_begun_and_makes_nothing_twice():
    client, made = Workers(1), []

    def one(name):
        made.append(name)
        if name == "c":
            client.end(0)
        return name

    start = OnWorkers(client)
    waits = {name: start(one, name) for name in "abcd"}
    assert waits["a"]() == ("there", "a")  # the client made d, then c, and a came
    assert made == ["d", "c", "a"]
    client.end(1)
    assert [waits[name]() for name in "bcd"] == [("there", "b"), "c", "d"]
    assert made == ["d", "c", "a", "b"]


@pytest.mark.usefixtures("many")
def test_beside_other_steps_one_part_is_made_at_a_time_and_what_was_begun_is_not_begun_again():
    client = Workers(3)
    start = OnWorkers(client)
    for name in "abc":
        start.beside(part, name)
    assert client.names == ["a"]
    client.end(0)
    assert client.names == ["a", "b"]
    waits = [start(part, name) for name in "bcd"]
    assert client.names == ["a", "b", "c", "d"]
    for place in (1, 2, 3):
        client.end(place)
    assert [wait() for wait in waits] == [("there", f"made of {name}") for name in "bcd"]
    assert client.names == ["a", "b", "c", "d"]
    other = [start(lambda name, k=k: k, "b") for k in range(2)]  # what they are made of is in no name
    assert client.names == ["a", "b", "c", "d", "b", "b"]
    client.end(4)
    client.end(5)
    assert [wait() for wait in other] == [("there", 0), ("there", 1)]


@pytest.mark.usefixtures("many")
def test_what_fails_on_a_worker_is_made_here_with_its_errors():
    def fails(name):
        raise RuntimeError(f"no {name}")

    client = Workers(2)
    start = OnWorkers(client)
    lost, broken = start(part, "a"), start(fails, "b")
    client.end(0, OSError("lost"))
    client.end(1, OSError("lost"))
    assert lost() == "made of a"
    with pytest.raises(RuntimeError, match="no b"):
        broken()


def test_a_processor_is_left_to_the_client(monkeypatch):
    found = []
    for processors in (1, 2, 3, 64):
        monkeypatch.setattr(os, "cpu_count", lambda n=processors: n)
        found.append(len(helper.drawing(Workers(16))))
    assert found == [1, 1, 2, helper.MOST_DRAW]
    assert begun_on_workers() is None  # no client
