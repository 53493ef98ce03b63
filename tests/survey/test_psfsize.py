from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.schema import PsfSource
from lensflow.survey.psfsize import choose_psfsize, measured_band_ratio, theory_band_ratio

VALUE = st.sampled_from([0.0, -1.0, float("nan"), float("inf"), 1.1, 1.9])


def test_theory_gives_the_published_g_over_r():
    assert theory_band_ratio("g") == pytest.approx(1.06, abs=0.005)
    assert theory_band_ratio("r") == 1
    assert theory_band_ratio("z") < theory_band_ratio("i") < 1
    assert np.isnan(theory_band_ratio("H"))


@pytest.mark.parametrize(
    ("map_value", "catalogue", "r_value", "covered", "expected"),
    [
        (1.4, 1.5, 1.3, True, (1.4, PsfSource.MAP)),
        (0.0, 1.5, 1.3, True, (1.5, PsfSource.MANIFEST)),
        (np.nan, np.nan, 1.3, True, (1.3 * 1.16, PsfSource.FALLBACK_R)),
        (0.0, 0.0, np.nan, True, (np.nan, PsfSource.NONE)),
        (1.4, 1.5, 1.3, False, (np.nan, PsfSource.NONE)),
    ],
)
def test_the_chain_takes_the_first_usable_value(map_value, catalogue, r_value, covered, expected):
    size, source = choose_psfsize(map_value, catalogue, r_value, covered, 1.16)
    assert source == expected[1]
    np.testing.assert_allclose(size, expected[0], rtol=1e-6)


@given(st.lists(st.tuples(VALUE, VALUE, VALUE, st.booleans()), min_size=1, max_size=8))
def test_a_size_is_given_exactly_where_a_source_is_named(rows):
    map_value, catalogue, r_value, covered = (np.array(column) for column in zip(*rows, strict=True))
    size, source = choose_psfsize(map_value, catalogue, r_value, covered, 1.1)
    has_size = np.isfinite(size) & (np.nan_to_num(size) > 0)
    np.testing.assert_array_equal(has_size, source != PsfSource.NONE)
    assert not has_size[~covered.astype(bool)].any()


def test_arrays_broadcast_over_hosts_and_bands():
    size, source = choose_psfsize(np.full((4, 3), np.nan), np.nan, np.full((4, 1), 1.2), True, np.array([1.1, 1, 0.9]))
    assert size.shape == source.shape == (4, 3)
    np.testing.assert_allclose(size[2], [1.32, 1.2, 1.08], rtol=1e-6)


def test_the_measured_ratio_uses_only_map_values():
    size = np.array([[1.5, 1.0, 0.9], [1.2, 1.0, 0.9], [9.0, 1.0, 0.9], [1.3, 1.0, 9.0]])
    source = np.zeros((4, 3), np.uint8)
    source[2, 0], source[3, 2] = PsfSource.FALLBACK_R, PsfSource.MANIFEST
    assert measured_band_ratio(size, source, "grz") == pytest.approx({"g": 1.3, "r": 1.0, "z": 0.9})
    assert measured_band_ratio(size[:, :1], source[:, :1], "g") == {}
    source[:, 0] = PsfSource.NONE
    assert "g" not in measured_band_ratio(size, source, "grz")
