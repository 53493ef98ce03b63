import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.sky import close_pairs, nearest, unit_vectors

CENTRES = ((0.0, 0.0), (359.99999, -45.0), (120.0, 89.9999), (17.0, -90.0), (180.0, 10.0))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CENTRES), st.integers(0, 10_000))
def test_pairs_are_those_of_all_distances_at_poles_and_across_ra_zero(centre, seed):
    rng = np.random.default_rng(seed)
    dec = np.clip(centre[1] + rng.normal(0, 2e-4, 60), -90, 90)
    ra = (centre[0] + rng.normal(0, 2e-4, 60) / max(np.cos(np.deg2rad(dec)).min(), 1e-3)) % 360
    chord = np.linalg.norm(unit_vectors(ra, dec)[:, None] - unit_vectors(ra, dec)[None], axis=-1)
    wanted = {(i, j) for i, j in np.argwhere(chord <= 2 * np.sin(np.deg2rad(1e-4) / 2)).tolist() if i < j}
    assert set(map(tuple, close_pairs(ra, dec, 1e-4).tolist())) == wanted


def test_equal_positions_are_chained_not_all_paired():
    pairs = close_pairs([10.0] * 50 + [200.0], [5.0] * 50 + [5.0], 1e-3)
    assert pairs.tolist() == [[i, i + 1] for i in range(49)]


@pytest.mark.parametrize("n", [0, 1])
def test_one_position_or_none_has_no_pair(n):
    assert close_pairs([1.0] * n, [1.0] * n, 1.0).shape == (0, 2)


def test_rows_without_a_position_are_in_no_pair():
    assert close_pairs([1.0, np.nan, 1.0, np.nan], [1.0, 1.0, 1.0, np.nan], 1.0).tolist() == [[0, 2]]


def test_the_nearest_of_others_is_found_across_ra_0_and_past_those_without_a_position():
    row, far = nearest([359.9999, 10.0], [0.0, 89.9999], [np.nan, 0.0001, 190.0], [0.0, 0.0, 89.9999])
    assert row.tolist() == [1, 2]
    np.testing.assert_allclose(far, 0.0002, rtol=1e-6)
