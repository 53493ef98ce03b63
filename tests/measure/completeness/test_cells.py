"""Counts of cells add up to the same bits however rows, blocks and merging are ordered; nothing is lost silently."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.table import table

SHAPE = (2, 3)


def rows_of(seed, n, hosts=7, sort=True):
    rng = np.random.default_rng(seed)
    host = rng.integers(0, hosts, n)
    host = np.sort(host) if sort else host
    rendered = rng.random(n) < 0.9
    valid = rendered & (rng.random(n) < 0.8)
    recovered = valid & (rng.random((2, n)) < [[0.3], [0.6]])
    return {"host": host, "cell": rng.integers(0, 6, n), "rendered": rendered, "valid": valid, "recovered": recovered}


def cells_of(rows, pick=slice(None), **how):
    return Cells.from_rows(shape=SHAPE, **{k: v[..., pick] for k, v in rows.items()}, **how)


def by_hand(rows, threshold=0):
    """The definition, host by host."""
    out = np.zeros((8, *SHAPE), np.int64)
    for c in range(6):
        here = rows["cell"] == c
        at = np.unravel_index(c, SHAPE)
        hosts = rows["host"][here & rows["valid"]]
        out[(slice(None), *at)][:3] = here.sum(), (here & rows["rendered"]).sum(), len(hosts)
        out[(3, *at)] = len(set(hosts))
        for h in set(hosts):
            mine = here & (rows["host"] == h) & rows["valid"]
            n, k = mine.sum(), (mine & rows["recovered"][threshold]).sum()
            out[(slice(4, 8), *at)] += np.array([n * n, k, n * k, k * k])
    return out


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 60), st.lists(st.integers(0, 60), max_size=5), st.randoms(), st.booleans())
def test_any_partition_and_any_order_of_merging_gives_the_same_integers(seed, n, cuts, random, sort):
    rows = rows_of(seed, n, sort=sort)
    whole = cells_of(rows)
    np.testing.assert_array_equal(whole.dense()[[0, 1, 2, 3, 4, 5, 6, 7]], by_hand(rows))
    np.testing.assert_array_equal(whole.dense()[[0, 1, 2, 3, 4, 8, 9, 10]], by_hand(rows, 1))
    edges = sorted({0, n, *(min(c, n) for c in cuts)})
    blocks = [cells_of(rows, slice(a, b), sorted_by_host=sort) for a, b in itertools.pairwise(edges)]
    blocks.append(cells_of(rows, slice(0, 0), sorted_by_host=sort))
    random.shuffle(blocks)
    while len(blocks) > 1:  # any tree
        a, b = blocks.pop(random.randrange(len(blocks))), blocks.pop(random.randrange(len(blocks)))
        blocks.append(a + b if random.random() < 0.5 else Cells.concat([b, a]))
    np.testing.assert_array_equal(blocks[0].dense(), whole.dense())
    for one, other in zip(blocks[0].proportion(1), whole.proportion(1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shuffled_rows_in_blocks_give_the_same_bits():
    rows = rows_of(3, 400, hosts=40)
    order = np.random.default_rng(0).permutation(400)
    shuffled = {k: v[..., order] for k, v in rows.items()}
    parts = [cells_of(shuffled, slice(a, a + 37)) for a in range(0, 400, 37)]
    np.testing.assert_array_equal(Cells.concat(parts).dense(), cells_of(rows).dense())


def test_a_host_across_two_blocks_has_the_variance_that_it_has_in_one():
    rows = rows_of(1, 60)
    cut = int(np.flatnonzero(np.diff(rows["host"]) == 0)[20]) + 1
    assert rows["host"][cut - 1] == rows["host"][cut]
    first, second = (
        cells_of(rows, slice(0, cut), sorted_by_host=True),
        cells_of(rows, slice(cut, 60), sorted_by_host=True),
    )
    np.testing.assert_array_equal((second + first).proportion().variance, cells_of(rows).proportion().variance)
    # Closed too early, its squares would be those of two hosts.
    early = first.closed().dense() + second.closed().dense()
    assert (early[4] < cells_of(rows).dense()[4]).any()
    with pytest.raises(CompletenessError, match="are in several blocks"):
        first.closed() + second


def test_only_hosts_at_the_ends_of_a_block_stay_open():
    rows = rows_of(2, 2000, hosts=300)
    block = cells_of(rows, sorted_by_host=True)
    assert {*block.open_key[:, 0]} == {rows["host"][0], rows["host"][-1]}
    assert len({*cells_of(rows).open_key[:, 0]}) == len({*rows["host"]})


@pytest.mark.parametrize(
    "cut",
    [
        lambda h: [np.arange(0, 60), np.arange(0, 60)],  # the same block twice
        lambda h: [np.arange(0, 60, 2), np.arange(1, 60, 2)],  # not stretches
        lambda h: [np.delete(np.arange(60), 30), np.array([30])],  # one row of an inner host elsewhere
        lambda h: [np.flatnonzero(h != 3), np.flatnonzero(h == 3)],
    ],
)
def test_blocks_that_are_not_stretches_of_a_sorted_table_are_refused(cut):
    rows = rows_of(4, 60)
    a, b = (cells_of(rows, pick, sorted_by_host=True) for pick in cut(rows["host"]))
    for one, other in ((a, b), (b, a)):
        with pytest.raises(CompletenessError, match="sorted_by_host=False"):
            one + other


def test_rows_that_contradict_themselves_are_refused_by_row():
    rows = rows_of(5, 30)
    for change, text in (
        ({"cell": np.full(30, 6)}, "30 rows, the first of them row 0 .*is in no cell of a table of 6"),
        ({"rendered": np.zeros(30, bool)}, "is valid but was not rendered"),
        ({"recovered": np.ones((2, 30), bool)}, "is recovered but not valid"),
        ({"valid": rows["valid"][:-1]}, "differ in their number of rows"),
    ):
        with pytest.raises(CompletenessError, match=text):
            cells_of(rows | change)
    with pytest.raises(CompletenessError, match="row 1 is of host"):
        cells_of({**rows, "host": rows["host"][::-1] * 2 - np.arange(30)}, sorted_by_host=True)
    with pytest.raises(CompletenessError, match="do not add up"):
        cells_of(rows) + Cells.from_rows(shape=(6,), **rows)


def test_the_table_shows_every_cell_and_marks_what_is_few():
    rows = rows_of(6, 300, hosts=40)
    rows["cell"][rows["cell"] == 5] = 4
    rows["cell"][:1], rows["valid"][:1], rows["rendered"][:1] = 5, True, True
    shown = table(cells_of(rows), ("a", "b"), min_hosts=10, min_rows=20)
    assert shown.sizes == {"a": 2, "b": 3, "threshold": 2}
    hand = by_hand(rows)
    for k, name in enumerate(("n_planned", "n_rendered", "n_valid", "n_hosts")):
        np.testing.assert_array_equal(shown[name], hand[k])
    assert shown["one_host"].values[1, 2] and shown["few"].values[1, 2] and not shown["tested"].values[1, 2]
    for limits, few in (((41, 1), "hosts"), ((1, 301), "rows")):
        strict = table(cells_of(rows), ("a", "b"), *limits)
        assert not strict["tested"].any() and (strict["few"] == (strict["n_valid"] > 0)).all(), few
    assert np.isnan(shown["completeness_low"].values[:, 1, 2]).all() and shown["tested"].values[0, 0]
    inner = shown.isel(a=0)
    assert (inner["completeness_low"] <= inner["completeness"]).all()
    assert (inner["completeness_planned"] < inner["completeness"]).all()
    np.testing.assert_allclose(inner["deff"] * inner["n_star"], inner["n_valid"].broadcast_like(inner["deff"]))
    none = table(Cells.from_rows(shape=(2,), **{k: v[..., :0] for k, v in rows.items()}), ("a",))
    assert none["n_valid"].sum() == 0 and np.isnan(none["completeness"]).all() and not none["tested"].any()
