"""Augmentations move pixels and change none; core masks have the fill inside and the image outside."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensflow.config import CoreMaskConfig, LoaderConfig, load_config
from lensflow.errors import ConfigError
from lensflow.export.loader.augmentation import mask_probability, moves, put_core_masks
from lensflow.export.loader.batches import Batches
from lensflow.export.loader.epoch import Layout
from lensflow.export.pixels.kernels import take_into
from tests.export.memory_view import memory_view

ROWS = np.arange(1, 65, dtype=np.uint64) * np.uint64(2**59 + 977)


def moved(x, how):
    out = np.empty((*x.shape[:2], how.size, how.size), np.float32)
    take_into(out, np.arange(len(x)), x, np.arange(len(x)), how.turn, how.flip, how.corner)
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(9, 20), st.integers(0, 3), st.integers(0, 5))
def test_turn_flip_and_crop_are_numpys_and_keep_every_bit(size, reach, epoch):
    x = np.random.default_rng(size).normal(size=(64, 2, size, size)).astype(np.float32)
    how = moves(ROWS, size, LoaderConfig(max_shift_pix=reach), 3, epoch, on=True)
    assert len(set(zip(how.turn.tolist(), how.flip.tolist(), strict=True))) == 8
    for k, got in enumerate(moved(x, how)):
        y0, x0 = how.corner[k]
        one = np.rot90(x[k, :, y0 : y0 + how.size, x0 : x0 + how.size], how.turn[k], axes=(1, 2))
        assert np.array_equal(got, one[:, :, ::-1] if how.flip[k] else one)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("reach", [0, 2])
def test_the_target_stays_where_the_moves_say(size, reach):
    """A single bright pixel at the target, for odd and even sizes, is found again at ``targets``."""
    at = np.array([size // 2, size // 2 - 1])  # y, x
    x = np.zeros((64, 1, size, size), np.float32)
    x[:, 0, at[0], at[1]] = 1
    how = moves(ROWS, size, LoaderConfig(max_shift_pix=reach), 3, 0, on=True)
    out = moved(x, how)[:, 0]
    found = np.array([np.unravel_index(np.argmax(o), o.shape) for o in out])
    tx, ty = how.targets(np.full(64, at[1]), np.full(64, at[0]))
    assert out.max(axis=(1, 2)).min() == 1, "no target is cropped away"
    assert np.array_equal(found, np.stack([ty, tx], axis=1))
    # Within half a pixel of the middle, and the shift.
    middle = (how.size - 1) / 2
    assert np.abs(found - middle).max() <= np.abs(at - (size - 1) / 2).max() + reach


def test_without_training_nothing_moves_and_the_middle_is_cropped():
    how = moves(ROWS, 12, LoaderConfig(max_shift_pix=2), 3, 0, on=False)
    x = np.random.default_rng(0).normal(size=(64, 1, 12, 12)).astype(np.float32)
    assert np.array_equal(moved(x, how), x[:, :, 2:10, 2:10])


def test_any_layout_gives_a_sample_the_same_augmentation_and_a_pair_moves_as_one():
    view = memory_view(size=16)
    how = LoaderConfig(batch_size=8, window=2, max_shift_pix=1, core_mask={"r0": 1, "r1": 2})

    def images(**layout):
        n = Layout(**layout)
        parts = [Batches(view, how, 3, 1, 4, replace(n, worker=w)) for w in range(n.workers)]
        return {i: x for part in parts for b in part for i, x in zip(b["sample_id"].tolist(), b["x"], strict=True)}

    alone, three = images(), images(workers=3)
    assert alone.keys() == three.keys() and all(np.array_equal(alone[i], three[i]) for i in alone)
    s = view.samples
    pairs = {}
    for i, p, y in zip(s["sample_id"].values.tolist(), s["pair_id"].values.tolist(), s["y"].values, strict=True):
        pairs.setdefault(p, {})[int(y)] = alone[i]
    # The second band is the same pixels in stamp and control: moved and masked alike, it still is.
    assert all(np.array_equal(p[1][1], p[0][1]) for p in pairs.values())
    other = Batches(view, how, 3, 2, 4)
    assert any(
        not np.array_equal(x, alone[i]) for b in other for i, x in zip(b["sample_id"].tolist(), b["x"], strict=True)
    )


def masked(size=64, r0=4.0, r1=7.0, n=40, probability=1.0, lacks=False):
    draw = np.random.default_rng(5)
    x = draw.normal(size=(n, 3, size, size)).astype(np.float32)
    if lacks:
        x[:, :, : size // 2] = 0
    before = x.copy()
    how = moves(ROWS[:n], size, LoaderConfig(augment=False), 3, 0, on=False)
    centre = {"x_center": np.full(n, 31.2), "y_center": np.full(n, 31.7), "row_id": ROWS[:n]}
    hit = put_core_masks(x, centre, np.full(n, lacks), how, CoreMaskConfig(r0=r0, r1=r1), probability, 3, 0, 3)
    yy, xx = np.mgrid[:size, :size]
    return before, x, hit, np.hypot(yy - 31.7, xx - 31.2), np.hypot(yy - 31.5, xx - 31.5)


def test_the_core_is_the_fill_and_everything_from_r1_on_is_unchanged():
    """The origin's mask had its soft edge upside down: the centre was kept and the rim removed."""
    before, x, hit, r, about_middle = masked()
    assert hit.all()
    assert np.array_equal(x[:, :, r >= 7], before[:, :, r >= 7])
    ring = (about_middle >= 20) & (about_middle < 32)
    for image, old in zip(x, before, strict=True):
        known = {tuple(v) for v in old[:, ring].T.tolist()}
        inside = image[:, r <= 4].T.tolist()
        assert all(tuple(v) in known for v in inside), "a pixel of the core is none of the annulus"
        assert len({tuple(v) for v in inside}) > 0.9 * len(inside), "noise, not one number"
    edge = (r > 4) & (r < 7)
    assert (x[:, :, edge] != before[:, :, edge]).mean() > 0.99
    # Weight rises: the further out, the more of the old image is left.
    left = [np.corrcoef(x[:, :, (r > a) & (r < a + 1)].ravel(), before[:, :, (r > a) & (r < a + 1)].ravel())[0, 1]
            for a in (3, 4, 5, 6)]  # fmt: skip
    assert left == sorted(left) and left[0] < 0.1 and left[-1] > 0.9


def test_missing_pixels_fill_no_core():
    _, x, _, r, _ = masked(lacks=True)
    assert (x[:, :, r <= 4] != 0).all()


def test_both_classes_are_masked_at_the_rate_of_the_schedule():
    schedule = CoreMaskConfig(probability=(0.5, 0.2))
    assert [mask_probability(schedule, e, 4) for e in range(4)] == pytest.approx([0.5, 0.4, 0.3, 0.2])
    with pytest.raises(ConfigError, match="say how many"):
        mask_probability(schedule, 0, None)
    view = memory_view(units=(300,), size=16)
    how = LoaderConfig(batch_size=100, augment=False, core_mask={"r0": 1, "r1": 2})
    plain = {
        i: x
        for b in Batches(view, replace_core(how), 3, 0, 4)
        for i, x in zip(b["sample_id"].tolist(), b["x"], strict=True)
    }
    hit = {0: [], 1: []}
    for b in Batches(view, how, 3, 0, 4):
        for i, y, x in zip(b["sample_id"].tolist(), b["y"].tolist(), b["x"], strict=True):
            hit[y].append(not np.array_equal(x, plain[i]))
    assert np.mean(hit[0]) == np.mean(hit[1]), "a pair is masked together"
    assert abs(np.mean(hit[1]) - 0.5) < 4 * np.sqrt(0.25 / 300)


def replace_core(how):
    return how.model_copy(update={"core_mask": None})


def test_a_mask_for_one_class_and_one_that_reaches_its_fill_are_refused():
    with pytest.raises(ConfigError, match=r"core_mask\.classes: only both"):
        load_config(
            {"out": "x", "survey": {"root": "-", "targets": "-"}, "training": {"core_mask": {"classes": "positive"}}}
        )
    with pytest.raises(ConfigError, match="reaches the annulus"):
        masked(r0=18, r1=20)
