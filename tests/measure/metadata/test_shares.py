"""Exact balance from sums: equal to counting rows, the same in any blocks, and small."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lensflow.config import GateConfig
from lensflow.errors import GateError
from lensflow.measure.metadata.hosts import Keep, continued, first_of_class, host_rows, unpaired_rows
from lensflow.measure.metadata.rows import MetadataRows, names_of, shares_of
from lensflow.measure.metadata.rows import rows_of as made_rows
from lensflow.measure.metadata.shares import Shares
from tests.measure.pixels.pairs_factory import pairs_block

COLUMNS = (("x", ""), ("psf", "g"), ("psf", "r"))


def rows_of(table):
    values, host, control, split, count = (np.array(v) for v in zip(*table, strict=True))
    return made_rows(COLUMNS, values, host, control, split, count)


def counted(rows, bands):
    """The same question by counting distinct rows."""
    mine = [k for k, (_, b) in enumerate(COLUMNS) if b in ("", *bands)]
    values, split, is_control, count = (rows[n].values for n in ("value", "split", "is_control", "count"))
    for cut in [np.ones(len(count), bool), *(split == s for s in np.unique(split))]:
        number = [{}, {}]
        for value, control, n in zip(
            values[cut][:, mine].tolist(), is_control[cut].tolist(), count[cut].tolist(), strict=True
        ):
            number[control][str(value)] = number[control].get(str(value), 0) + n
        n, m = (sum(v.values()) for v in number)
        if any(number[0].get(k, 0) * m != number[1].get(k, 0) * n for k in {*number[0], *number[1]}):
            return False
    return True


ROW = st.tuples(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 1.5, np.nan]), st.integers(0, 1)),
    st.integers(0, 40), st.booleans(), st.integers(0, 2), st.integers(1, 3),
)  # fmt: skip


@given(st.lists(ROW, min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=3), st.booleans())
def test_sums_answer_as_counting_does_in_any_blocks(table, cuts, doubled):
    if doubled:  # balanced but for the numbers of rows
        table = table + [(v, h, not c, s, 2 * n) for v, h, c, s, n in table if not c]
    rows = rows_of(table)
    edges = sorted({0, len(table), *(min(c, len(table)) for c in cuts)})
    parts = [rows.isel(sample=slice(a, b)) for a, b in pairwise(edges)]
    whole, added = shares_of(rows), reduce(add, map(shares_of, parts))
    for name in ("splits", "count", "words"):
        np.testing.assert_array_equal(getattr(added, name), getattr(whole, name))
    assert (added.n_hosts, added.n_rows) == (whole.n_hosts, whole.n_rows)
    assert whole.n_hosts == np.unique(rows["host_index"]).size
    for bands in ((), ("g",), ("r",), ("g", "r")):
        assert added.balanced(bands) == counted(rows, bands)


def test_bands_that_were_not_added_up_are_refused():
    columns = (*COLUMNS, ("psf", "z"))
    shares = Shares.of(
        columns, np.zeros((2, 4)), np.arange(2), np.array([False, True]), np.zeros(2, int), np.ones(2, int)
    )
    assert shares.balanced(("g", "r", "z")) and shares.balanced(("z",))
    with pytest.raises(GateError, match="one band or all"):
        shares.balanced(("g", "z"))


@pytest.fixture(scope="module")
def pairs():
    block = pairs_block(n_hosts=24, size=32, absent_band_every=5)
    return block.isel(sample=np.argsort(block["host_index"].values, kind="stable"))


@pytest.mark.parametrize("rows", [3, 7, 1000])
def test_kept_hosts_and_sums_do_not_depend_on_the_blocks(pairs, rows):
    config = GateConfig(recipes=("metadata_all", "host_all"), max_pairs=20)
    host, control = pairs["host_index"].values.astype(np.int64), pairs["is_control"].values
    keep = Keep.of(config, host, control, 3)
    first, before = first_of_class(host, control), continued(host, control, rows)
    whole = unpaired_rows(pairs.assign(first_of_class=("sample", first)), config, keep)
    parts = []
    for k, start in enumerate(range(0, len(host), rows)):
        some = slice(start, start + rows)
        own = first_of_class(host[some], control[some]) & ~np.isin(
            2 * host[some] + control[some], before[before[:, 0] == k, 1]
        )
        np.testing.assert_array_equal(own, first[some])
        parts.append(unpaired_rows(pairs.isel(sample=some).assign(first_of_class=("sample", own)), config, keep))
    for kind, one in whole.items():
        joined = MetadataRows.concat(p[kind] for p in parts)
        xr.testing.assert_identical(joined.rows, one.rows)
        np.testing.assert_array_equal(joined.shares.words, one.shares.words)
        assert joined.rows["count"].sum() <= 20 < sum(joined.shares.n_rows)
    assert sum(whole["metadata"].shares.n_rows) == len(host)
    every = host_rows(pairs)
    np.testing.assert_array_equal(whole["host"].shares.words, every.shares.words)


def test_an_infinite_value_of_a_host_that_is_not_kept_is_seen(pairs):
    rows = MetadataRows.from_block(pairs).rows
    values, host = rows["value"].values.copy(), rows["host_index"].values
    values[-1, 0] = np.inf
    spoilt = MetadataRows.of(rows.assign(value=(("sample", "column"), values)), host[:1])
    assert spoilt.shares.infinite == (int(host[-1]), names_of(rows)[0])
