"""Each kind of leak is where it says and as large as it says."""

import numpy as np
import pytest

from lensflow.measure.zoo.leaks.kinds import KINDS, View, kinds

SKY = np.array([1.0, 2.0])[:, None, None]
PIXELS = [k for k in KINDS if k.where in ("light", "frame", "both")]


@pytest.fixture(scope="module")
def view():
    draw = np.random.default_rng(2)
    r = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    arc = np.where(np.abs(r - 9) < 6, np.exp(-((r - 9) ** 2) / 8), 0.0) * np.ones((3, 2, 1, 1))
    ctrl = draw.normal(20, 3, (3, 2, 64, 64)).astype(np.float32).astype(np.float64)
    return View(ctrl + arc, ctrl, arc.astype(np.float32).astype(np.float64), SKY)


@pytest.mark.parametrize("kind", PIXELS, ids=lambda k: k.name)
def test_a_leak_in_pixels_grows_with_its_amplitude_and_stays_where_it_is_put(view, kind):
    sizes = []
    for amplitude in (kind.ladder[0], kind.ladder[-1]):
        stamp, arc = kind.put(view, amplitude)
        assert stamp.dtype == arc.dtype == np.float32
        apart = stamp - view.stamp.astype(np.float32)
        sizes.append(np.sqrt((apart.astype(np.float64) ** 2).sum()))
        if kind.where == "light":
            assert not apart[~view.lit].any()
        if kind.where == "both":
            np.testing.assert_allclose(arc - view.arc, stamp - view.stamp, atol=1e-5)
        else:
            np.testing.assert_array_equal(arc, view.arc.astype(np.float32))
    assert sizes[1] > sizes[0] and sizes[1] > 0
    assert all(b > a for a, b in zip(kind.ladder, kind.ladder[1:], strict=False))


def test_a_checkerboard_has_the_amplitude_that_it_states(view):
    (board,) = kinds(("checkerboard",))
    stamp, _ = board.put(view, 0.2)
    apart = np.abs(stamp - view.stamp)
    np.testing.assert_allclose(apart[view.lit].reshape(3, 2, -1).mean(axis=-1), [[0.2, 0.4]] * 3, rtol=1e-4)


def test_arcs_of_a_share_of_the_rows_are_moved_and_their_noise_with_them(view):
    (moved,) = kinds(("arcs moved by a pixel",))
    stamp, arc = moved.put(view, 1 / 3)
    rows = np.flatnonzero((arc != view.arc.astype(np.float32)).any(axis=(1, 2, 3)))
    assert rows.size == 1
    np.testing.assert_allclose(arc[rows], np.roll(view.arc[rows], 1, -1), atol=1e-7)
    np.testing.assert_allclose((stamp - view.ctrl)[rows], np.roll((view.stamp - view.ctrl)[rows], 1, -1), atol=1e-5)


def test_every_kind_has_a_name_of_its_own_and_masks_are_settings():
    assert len({k.name for k in KINDS}) == len(KINDS)
    hard = kinds(("hard mask",))[0]
    assert hard.injection(5.0)["core_mask_radius_pix"] == 5.0 and hard.on_arcs
    assert all(not k.injection(1.0) for k in PIXELS)
