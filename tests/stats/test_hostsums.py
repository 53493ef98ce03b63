import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.stats import hostsums
from lensflow.stats.hostsums import HostSums, host_weights, interval, spread, stratum_of


def rows_of(seed, n, n_hosts=12):
    draw = np.random.default_rng(seed)
    return draw.integers(0, n_hosts, n) * 7, draw.normal(1, 3, (n, 4)), draw.random((n, 2)) < 0.4


@pytest.mark.parametrize("max_units", [4096, 5])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    parts=st.lists(st.integers(0, 4), min_size=60, max_size=60),
    order=st.permutations(range(5)),
)
def test_merging_any_partition_in_any_order_gives_the_same_sums(max_units, seed, parts, order):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hostsums, "MAX_UNITS", max_units)
        hosts, rows, cells = rows_of(seed, 60)
        whole = HostSums.from_rows(hosts, rows, cells)
        where = [np.flatnonzero(np.array(parts) == p) for p in order]
        pieces = [HostSums.from_rows(hosts[w], rows[w], cells[w]) for w in where]
        merged = pieces[0]
        for piece in pieces[1:]:
            merged = merged + piece
        np.testing.assert_array_equal(merged.hosts, whole.hosts)
        np.testing.assert_array_equal(merged.present, whole.present)
        np.testing.assert_array_equal(merged.units, whole.units)
        np.testing.assert_allclose(merged.sums, whole.sums, rtol=1e-10, atol=1e-12)


def test_beyond_max_units_memory_is_bounded_and_hosts_are_still_counted(monkeypatch):
    monkeypatch.setattr(hostsums, "MAX_UNITS", 100)
    draw = np.random.default_rng(1)
    hosts, values = np.arange(1000), draw.normal(size=(1000, 1))
    grouped = HostSums.from_rows(hosts, values, np.ones((1000, 1), bool))
    assert grouped.sums.shape == (100, 1)
    assert grouped.n_hosts.tolist() == [1000]
    np.testing.assert_allclose(grouped.total, values.sum(axis=0))


def test_grouping_hosts_keeps_the_width_of_the_interval(monkeypatch):
    values = np.random.default_rng(2).normal(size=(5000, 1))
    columns, present = np.hstack([values, np.ones_like(values)]), np.ones((5000, 1), bool)
    widths = []
    for max_units in (10_000, 500):
        monkeypatch.setattr(hostsums, "MAX_UNITS", max_units)
        draws = HostSums.from_rows(np.arange(5000), columns, present).replicates(2000, 3, "test")
        widths.append(np.std(draws[:, 0] / draws[:, 1]))
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[0] == pytest.approx(1 / np.sqrt(5000), rel=0.1)


def test_weights_draw_as_many_hosts_as_there_are_and_depend_on_seed_and_purpose():
    weights = host_weights(31, 50, 1, "a")
    assert (weights.sum(axis=1) == 31).all()
    assert not np.array_equal(weights, host_weights(31, 50, 1, "b"))
    assert not np.array_equal(weights, host_weights(31, 50, 2, "a"))
    sums = np.random.default_rng(0).normal(size=(31, 3))
    np.testing.assert_allclose(host_weights(31, 50, 1, "a", sums), weights @ sums)


def test_interval_of_a_mean_covers_the_truth_with_few_hosts():
    draw = np.random.default_rng(4)
    held = 0
    for k in range(300):
        values = draw.normal(2.0, 1.0, (10, 1))
        low, high = interval(host_weights(10, 400, k, "cover", values) / 10, 10)
        held += bool(low[0] <= 2.0 <= high[0])
    assert held / 300 > 0.9


def test_draws_without_a_finite_value_are_left_out_of_the_interval():
    draws = np.random.default_rng(1).normal(size=(200, 1))
    with_others = np.concatenate([draws, np.full((50, 1), -np.inf), np.full((50, 1), np.nan), np.full((9, 1), np.inf)])
    assert interval(with_others, 30) == interval(draws, 30)
    assert np.isnan(interval(np.full((20, 1), -np.inf), 30)).all()


def test_one_host_has_no_interval():
    replicates = np.ones((100, 3))
    low, high = interval(replicates, [1, 0, 2])
    assert np.isnan(low[:2]).all()
    assert np.isnan(high[:2]).all()
    assert low[2] == high[2] == 1
    assert np.isnan(spread(replicates, 1)).all()


def test_draws_without_value_are_left_out_of_the_interval():
    replicates = np.random.default_rng(5).normal(size=(400, 1))
    holes = np.vstack([replicates, np.full((100, 1), np.nan)])
    np.testing.assert_array_equal(interval(holes, 50), interval(replicates, 50))


def test_strata_hold_their_lower_edge_and_not_their_upper():
    edges = (0.0, 0.75, 1.0, 5.0)
    assert stratum_of(np.array([0.0, 0.7499, 0.75, 1.0, 4.99, 5.0, -0.1]), edges).tolist() == [0, 0, 1, 2, 2, 3, 3]


@settings(max_examples=40, deadline=None)
@given(
    hosts=st.lists(st.integers(0, 6), max_size=25),
    seed=st.integers(0, 2**32 - 1),
    axis=st.integers(1, 3),
)
def test_rows_in_one_cell_each_sum_as_rows_with_zeros_elsewhere(hosts, seed, axis):
    draw, n = np.random.default_rng(seed), len(hosts)
    rows, cells, place = draw.normal(size=(n, 2, 3)), draw.random((n, 4)) < 0.5, draw.integers(0, 5, n)
    dense = np.zeros((n, 5, 2, 3))
    dense[np.arange(n), place] = rows
    wanted = HostSums.from_rows(hosts, np.moveaxis(dense, 1, axis), cells)
    found = HostSums.from_cells(hosts, (place, 5), rows, cells, axis)
    for name in ("hosts", "present", "units"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    # Zeros between them change how numpy pairs eight rows or more.
    np.testing.assert_allclose(found.sums, wanted.sums, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("hosts", [[], [3], [1, 2, 9], [1, 1, 2, 5, 5, 5], [4, 1, 4, 0, 1]])
def test_hosts_in_order_each_once_or_in_any_order_are_summed_alike(hosts):
    rows, cells = rows_with_cells(hosts)
    found = HostSums.from_rows(hosts, rows, cells)
    assert found.hosts.tolist() == sorted({*hosts}) == found.units.tolist()
    for k, host in enumerate(found.hosts):
        own = np.array(hosts) == host
        np.testing.assert_allclose(found.sums[k], rows[own].sum(axis=0))
        np.testing.assert_array_equal(found.present[k], cells[own].any(axis=0))


def rows_with_cells(hosts):
    draw = np.random.default_rng(len(hosts))
    return draw.normal(size=(len(hosts), 3)), draw.random((len(hosts), 2)) < 0.5


def test_two_parts_are_joined_to_the_bits_of_their_sums_host_by_host():
    draw = np.random.default_rng(2)
    left, right = (HostSums.from_rows(h, draw.normal(size=(40, 3)), draw.random((40, 2)) < 0.4)
                   for h in (np.arange(40) * 3, np.arange(40) * 2))  # fmt: skip
    both = left + right
    for host, row in zip(both.units, both.sums, strict=True):
        parts = [s.sums[s.units == host][0] for s in (left, right) if host in s.units]
        np.testing.assert_array_equal(row, np.sum(parts, axis=0))
