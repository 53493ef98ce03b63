"""Batches come in their order however far ahead they are made; nothing is read twice, and nothing goes on unseen."""

import threading

import numpy as np
import pytest

from lensflow.config import LoaderConfig
from lensflow.export.loader.batches import Batches
from lensflow.training.ahead import N_AHEAD, ahead
from lensflow.training.kept_units import kept
from tests.export.memory_view import memory_view


def test_batches_come_in_their_order_each_with_what_was_made_of_it():
    assert list(ahead(range(20), lambda k: k**2)) == [(k, k**2) for k in range(20)]
    assert list(ahead([], lambda k: k)) == []


def test_they_are_made_in_another_thread_and_no_further_ahead_than_said():
    made = []

    def make(k):
        made.append(k)
        return threading.get_ident()

    for k, thread in ahead(range(10), make):
        assert thread != threading.get_ident()
        assert len(made) <= k + 1 + N_AHEAD


@pytest.mark.parametrize("where", ["source", "made"])
def test_an_error_is_raised_where_its_batch_would_have_come(where):
    def source():
        yield from (0, 1)
        if where == "source":
            raise ValueError("bad batch")
        yield 2

    def make(k):
        if k == 2:
            raise ValueError("bad batch")
        return k

    seen = []
    with pytest.raises(ValueError, match="bad batch"):
        for k, _ in ahead(source(), make):
            seen.append(k)
    assert seen == [0, 1]


def test_whoever_stops_early_ends_the_source():
    ended = []

    def source():
        try:
            yield from range(100)
        finally:
            ended.append(True)

    for k, _ in ahead(source(), lambda k: k):
        if k == 3:
            break
    assert ended == [True]


class TestKeptUnits:
    def epoch(self, view, k=0):
        return list(Batches(view, LoaderConfig(batch_size=8, window=2), 3, epoch=k))

    def test_epochs_are_the_same_to_the_bit_and_units_are_read_once(self):
        plain, view = memory_view(), kept(memory_view(), 100)
        for k in range(3):
            for a, b in zip(self.epoch(plain, k), self.epoch(view, k), strict=True):
                assert all(np.array_equal(a[n], b[n]) for n in a)
        assert sorted(view.pixels.reads) == list(range(view.n_units))
        assert sorted(plain.pixels.reads) == sorted(list(range(plain.n_units)) * 3)

    def test_what_does_not_fit_is_read_again(self):
        view = kept(memory_view(), 20e-3)
        for k in range(2):
            self.epoch(view, k)
        assert 0 < view.kept_bytes <= 20e3
        again = len(view.pixels.reads) - view.n_units
        assert 0 < again < view.n_units
        assert kept(view, 0) is view

    def test_some_of_its_samples_are_a_view_with_units_of_its_own(self):
        """Numbers of units change with the samples: a unit of the whole view is none of a part of it."""
        whole = kept(memory_view(), 100)
        self.epoch(whole)
        mask = whole.samples["unit"].values >= 3
        part = whole.select(mask)
        np.testing.assert_array_equal(part.unit(0).x, memory_view().select(mask).unit(0).x)
