"""Sums over regions: the same bits in any order, on any workers; errors of a task come through."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from lensflow.errors import ManifestError
from lensflow.run.execute import reduce_tasks
from lensflow.run.tree import FAN_IN, Tree
from tests.run.test_execute import DieOnce, fail_at_three

LOCAL = ClusterConfig(kind="local", workers=2, dashboard=None)


def joined(parts):
    return sum(parts[1:], start=parts[0])


def uneven(i):
    """Numbers whose sum depends on the order in which they are added."""
    return np.random.default_rng(i).normal(size=3) * 10.0 ** (i % 17)


@given(st.data())
def test_neighbours_are_joined_in_their_order_whatever_comes_first(data):
    number = data.draw(st.integers(1, 70))
    order = data.draw(st.permutations(range(number)))
    tree = Tree(number, lambda parts: joined(parts))
    for k in order[:-1]:
        tree.add(k, [k])
    with pytest.raises(LookupError):
        _ = tree.root
    tree.add(order[-1], [order[-1]])
    assert tree.root == list(range(number)) and tree.waiting() == []


def test_few_values_wait_where_leaves_come_in_their_order():
    tree, most = Tree(10_000, len), 0
    for k in range(10_000):
        tree.add(k, k)
        most = max(most, len(tree.waiting()))
    assert most <= FAN_IN * math.ceil(math.log(10_000, FAN_IN))


@given(st.permutations(range(40)))
def test_a_sum_has_the_same_bits_in_any_order(order):
    def total(places):
        tree = Tree(40, joined)
        for k in places:
            tree.add(k, uneven(k))
        return tree.root.tobytes()

    assert total(order) == total(range(40))
    # Not because any order would do.
    assert len({sum(uneven(k)[0] for k in places) for places in (range(40), range(39, -1, -1))}) == 2


@given(st.data())
def test_sums_of_neighbours_made_together_change_no_bit(data):
    number = data.draw(st.integers(1, 70))
    whole = Tree(number, joined)
    for k in range(number):
        whole.add(k, uneven(k))
    parts = Tree(number, joined)
    for first in data.draw(st.permutations(range(0, number, FAN_IN))):
        some = [uneven(k) for k in range(first, min(first + FAN_IN, number))]
        if len(some) == FAN_IN and data.draw(st.booleans()):
            parts.add(first // FAN_IN, joined(some), level=1)
        else:
            for k, value in enumerate(some):
                parts.add(first + k, value)
    assert parts.root.tobytes() == whole.root.tobytes() and parts.waiting() == []


def test_threads_sum_every_index_and_progress_counts_them():
    told = []
    found = reduce_tasks(lambda i: [i], range(5, 12), joined, "stage", lambda *words: told.append(words))
    assert found == list(range(5, 12))
    assert told[0] == ("stage", 0, 7) and told[-1] == ("stage", 7, 7)
    assert all(b[1] - a[1] == 1 for a, b in pairwise(told))


def test_a_tasks_own_error_comes_through_from_threads():
    with pytest.raises(ManifestError, match="row 3 is wrong"):
        reduce_tasks(fail_at_three, range(5), joined, "stage")


@pytest.mark.cluster
def test_workers_sum_to_the_bits_of_threads_and_only_the_sum_comes_here():
    here = reduce_tasks(uneven, range(90), joined, "stage")
    told, both = [], []
    with connect(LOCAL) as client:
        there = reduce_tasks(uneven, range(90), joined, "stage", lambda *words: told.append(words))
        # Nothing is left behind.
        left = [client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) for _ in range(50)]
        assert left[-1] == 0
        some = reduce_tasks(uneven, range(90), joined, "stage", lambda *words: both.append(words), together=True)
        assert some.tobytes() == here.tobytes() and both[-1] == ("stage", 90, 90)
        for many in (5, 50):  # the second in a task of several
            with pytest.raises(ManifestError, match="row 3 is wrong"):
                reduce_tasks(fail_at_three, range(many), joined, "stage", together=True)
    with connect(LOCAL.model_copy(update={"workers": 1})):
        alone = reduce_tasks(uneven, range(90), joined, "stage")
    assert here.tobytes() == there.tobytes() == alone.tobytes()
    assert told[0] == ("stage", 0, 90) and told[-1] == ("stage", 90, 90)


@pytest.mark.faults
def test_a_worker_that_dies_costs_its_values_and_changes_no_bit(tmp_path):
    with connect(LOCAL):
        assert reduce_tasks(DieOnce(tmp_path, always=False), range(20), joined, "stage") == 190
