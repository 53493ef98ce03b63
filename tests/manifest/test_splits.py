import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.config import SplitsConfig
from lensflow.manifest.splits import assign_splits, sky_cells


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(200, 2000))
def test_fractions_are_met_within_two_points(seed, n):
    cells = np.random.default_rng(seed).poisson(30, n) * 7 + np.random.default_rng(seed + 1).integers(0, 60, n)
    split = assign_splits(cells, SplitsConfig(), seed)
    share = np.bincount(split, minlength=3) / n
    assert np.abs(share - (0.7, 0.15, 0.15)).max() < 0.02 + np.bincount(cells).max() / n


@given(st.permutations(range(40)))
@settings(max_examples=20)
def test_the_split_of_a_host_does_not_depend_on_the_order(order):
    cells = np.arange(40) // 3
    split = assign_splits(cells, SplitsConfig(), 1)
    assert np.array_equal(assign_splits(cells[list(order)], SplitsConfig(), 1), split[list(order)])


def test_a_cell_is_never_divided():
    cells = np.repeat(np.arange(30), 5)
    split = assign_splits(cells, SplitsConfig(), 3).reshape(30, 5)
    assert (split == split[:, :1]).all()


def test_hosts_without_a_position_are_cells_of_their_own():
    cells = sky_cells([np.nan, np.nan, 10.0], [np.nan, np.nan, 5.0], ["a", "b", "c"], 64)
    assert (cells[:2] < 0).all() and cells[0] != cells[1] and cells[2] >= 0
