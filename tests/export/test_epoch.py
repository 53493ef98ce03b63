"""Every sample once in an epoch, whoever reads it; restarts lose and repeat nothing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.config import LoaderConfig
from lensflow.errors import ConfigError, ExportError
from lensflow.export.loader.batches import Batches
from lensflow.export.loader.epoch import Layout
from tests.export.memory_view import memory_view

VIEW = memory_view()
ALL = Counter(VIEW.samples["sample_id"].values.tolist())


def readers(world, workers, **changes):
    how = LoaderConfig(**{"batch_size": 8, "window": 2, "augment": False, **changes.pop("settings", {})})
    return [
        [Batches(VIEW, how, 3, layout=Layout(r, world, w, workers), **changes) for w in range(workers)]
        for r in range(world)
    ]


def handed_out(batches):
    return [i for b in batches for i in b["sample_id"][b["weight"] > 0].tolist()]


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("order", ["free", "together"])
def test_an_epoch_has_every_sample_once_for_any_layout(world, workers, order):
    of_ranks = readers(world, workers, settings={"order": order})
    assert Counter(i for rank in of_ranks for b in rank for i in handed_out(b)) == ALL
    assert len({sum(len(b) for b in rank) for rank in of_ranks}) == 1, "a rank would wait for the other"


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 3), (2, 1), (2, 2)])
def test_what_drop_last_loses_is_counted(world, workers):
    of_ranks = readers(world, workers, drop_last=True)
    seen = Counter(i for rank in of_ranks for b in rank for i in handed_out(b))
    assert max(seen.values()) == 1
    assert of_ranks[0][0].rows_lost == sum(ALL.values()) - sum(seen.values())
    sizes = {len(x["y"]) for rank in of_ranks for b in rank for x in b}
    assert sizes == {8}


def test_more_workers_than_units_leave_some_idle_and_no_rank_without_data():
    of_ranks = readers(1, 9)
    assert Counter(i for b in of_ranks[0] for i in handed_out(b)) == ALL
    assert min(map(len, of_ranks[0])) == 0
    with pytest.raises(ExportError, match=r"6 units .* 9 ranks .* would wait"):
        len(readers(9, 1)[0][0])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 30), st.sampled_from(["free", "together"]), st.integers(1, 4), st.booleans())
def test_a_restart_gives_the_rest_of_the_epoch_to_the_bit(skip, order, window, drop_last):
    whole = Batches(VIEW, LoaderConfig(batch_size=8, window=window, order=order), 3, epoch=1, drop_last=drop_last)
    rest, expected = list(replace(whole, skip=skip)), list(whole)[skip:]
    assert len(rest) == len(expected) == len(replace(whole, skip=skip))
    for a, b in zip(rest, expected, strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_a_restart_does_not_read_what_was_handed_out():
    view = memory_view()
    first = Batches(view, LoaderConfig(batch_size=8, window=1), 3)
    n = len(first)
    list(replace(first, skip=n - 1))
    assert len(view.pixels.reads) <= 3


@pytest.mark.parametrize("skip", [0, 5])
def test_padded_batches_repeat_samples_with_weight_0_also_after_a_restart(skip):
    for rank in readers(2, 1):
        whole = list(rank[0])
        assert {len(b["y"]) for b in whole} == {8}
        rest = list(replace(rank[0], skip=skip))
        assert [b["sample_id"].tolist() for b in rest] == [b["sample_id"].tolist() for b in whole[skip:]]
        assert all(np.array_equal(a["weight"], b["weight"]) for a, b in zip(rest, whole[skip:], strict=True))


def test_each_epoch_has_its_own_order_and_a_seed_always_the_same():
    one = Batches(VIEW, LoaderConfig(batch_size=8), 3)
    ids = [b["sample_id"].tolist() for b in one]
    assert ids == [b["sample_id"].tolist() for b in one]
    assert ids != [b["sample_id"].tolist() for b in replace(one, epoch=1)]
    assert ids != [b["sample_id"].tolist() for b in replace(one, seed=4)]


def test_together_keeps_pairs_next_to_each_other_and_apart_keeps_hosts_in_batches_of_their_own():
    for b in Batches(VIEW, LoaderConfig(batch_size=8, window=2, order="together"), 3):
        assert np.array_equal(b["pair_id"][::2], b["pair_id"][1::2]) and set(b["y"][:2]) == {0, 1}
    apart = list(Batches(VIEW, LoaderConfig(batch_size=8, window=6, order="apart"), 3))
    assert Counter(i for b in apart for i in b["sample_id"].tolist()) == ALL
    assert all(len(set(b["host_index"].tolist())) == len(b["y"]) for b in apart)
    free = Batches(VIEW, LoaderConfig(batch_size=8, window=6), 3)
    assert any(len(set(b["host_index"].tolist())) < len(b["y"]) for b in free), "this test sees shared hosts"


def test_orders_that_cannot_be_kept_are_refused():
    with pytest.raises(ExportError, match=r"apart: a host has 6 samples, .* makes 1 batch"):
        list(Batches(VIEW, LoaderConfig(batch_size=32, window=3, order="apart"), 3))
    with pytest.raises(ConfigError, match="odd"):
        Batches(VIEW, LoaderConfig(batch_size=9, order="together"), 3)
    broken = VIEW.select(VIEW.samples["sample_id"].values != VIEW.samples["sample_id"].values[7])
    with pytest.raises(ExportError, match="together needs a stamp and its control"):
        list(Batches(broken, LoaderConfig(batch_size=8, order="together"), 3))


def test_the_class_is_not_in_the_order():
    """Position in the epoch, in the batch, and number of the batch: rank sums within 4 standard errors of chance."""
    view = memory_view(units=(60,) * 8, size=2)
    batches = list(Batches(view, LoaderConfig(batch_size=32, window=3), 1))
    y = np.concatenate([b["y"] for b in batches])
    n, ones = len(y), int(y.sum())
    for place in (np.arange(n), np.concatenate([np.arange(len(b["y"])) for b in batches])):
        ranks = np.argsort(np.argsort(place, kind="stable"), kind="stable")
        spread = np.sqrt(ones * (n - ones) * (n + 1) / 12)
        assert abs(ranks[y == 1].sum() - ones * (n - 1) / 2) < 4 * spread


def test_balance_by_host_has_one_pair_of_each_host_and_another_one_in_other_epochs():
    host = Batches(VIEW, LoaderConfig(batch_size=8, balance="host"), 3)
    first = list(host)
    rows = Counter(h for b in first for h in b["host_index"].tolist())
    assert set(rows.values()) == {2} and len(rows) == len(np.unique(VIEW.samples["host_index"].values))
    pairs = [{p for b in x for p in b["pair_id"].tolist()} for x in (first, replace(host, epoch=1))]
    assert len(pairs[0]) == len(rows) and pairs[0] != pairs[1]
    y, w = (np.concatenate([b[k] for b in first]) for k in ("y", "weight"))
    assert w[y == 1].sum() == pytest.approx(w[y == 0].sum())


def test_balance_by_stratum_gives_cells_the_same_weight_and_records_it():
    b = list(Batches(VIEW, LoaderConfig(batch_size=8, balance="stratum"), 3))
    y, w, s = (np.concatenate([x[k] for x in b]) for k in ("y", "weight", "stratum"))
    of_cell = [w[(y == 1) & (s == k)].sum() for k in np.unique(s)]
    assert of_cell == pytest.approx([np.mean(of_cell)] * len(of_cell)) and w.max() <= 5
    assert w[y == 1].sum() == pytest.approx(w[y == 0].sum(), rel=1e-5)


def test_memory_holds_two_windows_at_most(monkeypatch):
    """Units alive while batches are handed out: those of the window in hand and of the one that is read ahead."""
    import weakref

    view, alive, most = memory_view(units=(10,) * 12), [], 0
    read = type(view).unit

    def unit(self, k):
        found = read(self, k)
        alive.append(weakref.ref(found.x))
        return found

    monkeypatch.setattr(type(view), "unit", unit)
    for _ in Batches(view, LoaderConfig(batch_size=8, window=2), 3):
        most = max(most, sum(r() is not None for r in alive))
    assert len(alive) == 12 and most <= 4
