import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow import geometry
from lensflow.errors import ConfigError


def test_centre_of_64_pixels_is_between_the_middle_ones():
    assert geometry.centre(64) == 31.5
    assert geometry.centre(101) == 50


@pytest.mark.parametrize("size", [0, -3])
def test_a_stamp_without_pixels_is_refused(size):
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        geometry.centre(size)


@given(st.floats(-1e4, 1e4), st.integers(1, 200))
def test_a_target_lies_within_half_a_pixel_of_the_geometric_centre(position, size):
    inside = position - geometry.stamp_corner(position, size)
    assert abs(inside - geometry.centre(size)) <= 0.5 + 1e-9


@given(st.integers(-1000, 1000), st.integers(1, 100))
def test_halves_always_go_up(whole, size):
    half = whole + 0.5 + geometry.centre(size)
    assert geometry.stamp_corner(half, size) == whole + 1


def test_core_box_of_64_is_27_to_37():
    assert geometry.core_box(64) == (slice(27, 37), slice(27, 37))
    assert geometry.core_box(65, 11) == (slice(27, 38), slice(27, 38))
    corner = np.hypot(27 - 32, 27 - 32)
    assert corner == pytest.approx(7.07, abs=0.01)


@given(st.integers(10, 80), st.integers(1, 10))
def test_core_box_is_centred_to_half_a_pixel(size, width):
    ys, _ = geometry.core_box(size, width)
    middle = (ys.start + ys.stop - 1) / 2
    assert abs(middle - geometry.centre(size)) <= 0.5
    assert ys.stop - ys.start == width


def test_core_box_larger_than_the_stamp_is_refused():
    with pytest.raises(ConfigError, match="does not fit"):
        geometry.core_box(8, 10)


def test_a_disc_keeps_its_place_under_quarter_turns():
    disc = geometry.disc(64, 31.5, 31.5, 5)
    assert np.array_equal(disc, np.rot90(disc))
    assert disc.sum() == pytest.approx(np.pi * 25, rel=0.05)


def test_disc_annulus_and_outside_tile_the_stamp():
    x, y = np.array([31.2, 31.9]), np.array([31.5, 31.7])
    parts = geometry.disc(64, x, y, 5).astype(int) + geometry.annulus(64, x, y, 5, 20) + geometry.annulus(64, x, y, 20)
    assert np.array_equal(parts, np.ones((2, 64, 64)))


def test_ring_index_counts_whole_pixels_of_radius():
    rings = geometry.ring_index(64, 31.5, 31.5, 30)
    assert rings[31, 31] == 0 and rings[31, 31 + 10] == 9 and rings[0, 0] == 30
