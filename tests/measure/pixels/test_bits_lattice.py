"""The lattice in pixels: known answers of 300 pairs with arcs over 40 % of the inner zone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.measure.pixels import bits_lattice as lattice
from lensflow.stats.auc import host_bootstrap

SKY, N, SIZE = 0.004, 300, 64


@pytest.fixture(scope="module")
def scene():
    """Controls, and arcs over 40 % of the inner zone, nMgy/pixel."""
    draw = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    r = np.hypot(x, y)
    ctrl = SKY * draw.normal(size=(N, SIZE, SIZE)) + draw.uniform(0.2, 0.7, (N, 1, 1)) * np.exp(-r / 4)
    turn = draw.uniform(-np.pi, np.pi, (N, 1, 1))
    lit = (np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - turn)))) < 0.4 * np.pi) & (r < 16)
    arc = np.where(lit, 0.05 * np.exp(-0.5 * ((r - 8) / 2.5) ** 2) * draw.uniform(0.3, 3, (N, 1, 1)), 0)
    return ctrl, arc


def rounded(values, step=SKY / 16):
    return np.round(values / step) * step


def per_stamp(values):
    return (values - values.mean(axis=(1, 2), keepdims=True)) / values.std(axis=(1, 2), keepdims=True)


def shares(images):
    return lattice.zone_shares(images.astype(np.float32))


def auc(stamp, ctrl):
    """Area of "fewer pixels on the lattice in the middle than outside"."""
    score = [v[:, lattice.ON_OUTER] - v[:, lattice.ON_INNER] for v in (stamp, ctrl)]
    labels, hosts = np.repeat([True, False], N), np.tile(np.arange(N), 2)
    return host_bootstrap(labels, np.concatenate(score), hosts, 1, 0, "test")[0]


@pytest.mark.parametrize("scaled", [lambda v: v, per_stamp], ids=["nMgy", "each stamp by its own scatter"])
def test_an_arc_added_to_a_control_on_a_lattice_is_told_with_certainty(scene, scaled):
    ctrl, arc = scene
    of_ctrl, of_stamp = shares(scaled(rounded(ctrl))), shares(scaled(rounded(ctrl) + arc))
    assert of_ctrl[:, lattice.ON_INNER].min() == 1
    assert of_stamp[:, lattice.ON_INNER].mean() == pytest.approx(0.618, abs=0.01)
    assert of_stamp[:, lattice.ON_OUTER].min() == 1
    assert auc(of_stamp, of_ctrl) == 1


def test_both_classes_rounded_after_the_arc_was_added_are_alike(scene):
    ctrl, arc = scene
    of_ctrl, of_stamp = shares(rounded(ctrl)), shares(rounded(ctrl + arc))
    for found in (of_ctrl, of_stamp):
        assert found[:, [lattice.ON_INNER, lattice.ON_OUTER]].min() == 1
        np.testing.assert_allclose(found[:, lattice.STEP], SKY / 16, rtol=1e-4)
    assert auc(of_stamp, of_ctrl) == 0.5


def test_without_a_lattice_there_is_nothing_to_tell(scene):
    ctrl, arc = scene
    of_ctrl, of_stamp = shares(ctrl), shares(ctrl + arc)
    for found in (of_ctrl, of_stamp):
        # Twice 0.02: what chance puts within 0.02 of a whole number of steps.
        assert found[:, lattice.ON_INNER].mean() == pytest.approx(2 * lattice.ON_LATTICE, abs=0.003)
    assert abs(auc(of_stamp, of_ctrl) - 0.5) <= 0.03


@settings(max_examples=40, deadline=None)
@given(
    step=st.floats(1e-3, 10), offset=st.floats(-5, 5), scale=st.sampled_from([-3.0, 0.01, 1.0, 250.0]),
    seed=st.integers(0, 1 << 20),
)  # fmt: skip
def test_a_lattice_is_found_whatever_its_step_offset_and_scale(step, offset, scale, seed):
    whole = np.random.default_rng(seed).normal(0, 20, (2, 32, 32)).round()
    images = (scale * (offset + step * whole)).astype(np.float32)
    # Single precision holds so many places after the largest value.
    if np.abs(images).max() * 2.0**-23 > 1e-3 * abs(scale) * step:
        return
    found = shares(images)
    assert found[:, :2].min() == 1
    np.testing.assert_allclose(found[:, lattice.STEP], abs(scale) * step, rtol=1e-3)


def test_missing_pixels_are_left_out_and_equal_ones_have_no_lattice():
    images = np.random.default_rng(1).normal(size=(3, SIZE, SIZE)).round(1).astype(np.float32)
    with_gaps = images.copy()
    with_gaps[:, :, ::5] = np.nan
    np.testing.assert_array_equal(shares(with_gaps)[:, :2], 1)
    images[0], images[1] = np.nan, 3.0
    found = shares(images)
    assert np.isnan(found[:2, :2]).all() and (found[2, :2] == 1).all()


def test_zeros_and_short_numbers_are_counted_where_they_are():
    images = np.random.default_rng(2).normal(size=(1, SIZE, SIZE)).astype(np.float32)
    inner, outer = lattice.zones(SIZE)
    flat = images.reshape(1, -1)
    flat[0, outer[: len(outer) // 2]] = 0
    flat[0, inner] = flat[0, inner].astype(np.float16)
    found = lattice.zone_shares(images)[0]
    assert found[lattice.ZERO_OUTER] == pytest.approx(0.5, abs=0.01) and found[lattice.ZERO_INNER] == 0
    assert found[lattice.TRAILING_INNER] == 1 and found[lattice.TRAILING_OUTER] < 0.02
