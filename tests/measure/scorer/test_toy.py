"""The toy lens finder: nothing but train pixels can change it, and nothing but pixels enters a score."""

import numpy as np
import pytest

from lensflow.errors import GateError
from lensflow.measure.scorer import toy
from lensflow.measure.scorer.scorer import as_scorer
from lensflow.schema import SPLITS
from lensflow.stats.kept_rows import KeptRows
from tests.measure.pixels.pairs_factory import pairs_block

BANDS = ("g", "r", "z")
NEEDED = ["stamp", "ctrl", "is_control", "split", "row_id", "host_index"]
TRAIN = SPLITS.index("train")


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "_LEAST_HOSTS", 8)
        patch.setattr(toy, "_TREES", 20)
        yield


@pytest.fixture(scope="module")
def pairs():
    """36 hosts with two injections each; every third host is of train."""
    block = pairs_block(n_hosts=36, per_host=2)
    return block.assign(split=("sample", (block["host_index"].values // 3 % 3).astype(np.uint8)))


@pytest.fixture(scope="module")
def rows(pairs):
    return toy.training_rows(pairs).rows


@pytest.fixture(scope="module")
def finder(rows):
    return toy.fit(rows, BANDS, 5)


def test_rows_of_val_and_test_cannot_change_what_it_is_fitted_on(pairs, rows):
    other = pairs["split"].values != TRAIN
    assert other.any() and not other.all()
    poisoned = pairs.copy(deep=True)
    for name in ("stamp", "ctrl"):
        poisoned[name].values[other] = np.nan
    poisoned["is_control"].values[other] ^= True
    assert toy.training_rows(poisoned).rows.identical(rows)
    # It is not blind: one pixel of train changes it.
    touched = pairs.copy(deep=True)
    touched["stamp"].values[~other & ~pairs["is_control"].values, 1, 24, 28] += 1.0
    assert not toy.training_rows(touched).rows.identical(rows)


def test_every_train_host_is_there_once_without_arc_and_with_all_its_arcs(pairs, rows):
    train = pairs.isel(sample=pairs["split"].values == TRAIN)
    injected = train.isel(sample=~train["is_control"].values)
    assert sorted(rows["row_id"].values) == sorted(injected["row_id"].values)
    assert rows["bare_host"].values.tolist() == sorted(set(injected["host_index"].values.tolist()))


def test_features_are_made_of_pixels_alone(pairs, rows):
    assert toy.training_rows(pairs[NEEDED]).rows.identical(rows)


def test_blocks_in_any_order_and_a_host_in_two_of_them_give_the_same_finder(pairs, rows, finder):
    cut = [pairs.isel(sample=part) for part in (slice(41, None), slice(0, 17), slice(17, 41))]
    joined = KeptRows.concat([toy.training_rows(block) for block in cut])
    assert joined.rows.identical(rows)
    assert toy.training_rows(pairs.isel(sample=slice(None, None, -1))).rows.identical(rows)
    images = pairs["stamp"].values
    np.testing.assert_array_equal(toy.fit(joined.rows, BANDS, 5)(images), finder(images))


def test_it_prefers_stamps_of_hosts_that_it_never_saw_to_their_controls(pairs, finder):
    other = (pairs["split"].values != TRAIN) & ~pairs["is_control"].values
    stamp, ctrl = (finder(pairs[name].values[other]) for name in ("stamp", "ctrl"))
    assert (stamp > ctrl).mean() > 0.8


def test_a_score_depends_on_its_own_image_alone(pairs, finder):
    images = pairs["stamp"].values[:9].astype(np.float32)
    every = as_scorer(finder)(images)
    np.testing.assert_array_equal(every[::-1], as_scorer(finder)(images[::-1]))
    np.testing.assert_array_equal(every, [as_scorer(finder)(images[k : k + 1])[0] for k in range(9)])


def test_an_absent_band_is_scored_and_a_pixel_that_is_no_number_is_not(pairs, finder):
    images = pairs["stamp"].values[:4].astype(np.float32)
    images[0, 0] = 0
    images[1, 2, 5, 5] = np.nan
    scores = finder(images)
    assert np.isnan(scores).tolist() == [False, True, False, False]
    assert np.isnan(toy.features(images[:1])).any() and not np.isnan(toy.features(images[2:])).any()
    np.testing.assert_array_equal(scores[2:], finder(images[2:]))


def test_other_bands_and_too_few_hosts_are_refused(pairs, finder, monkeypatch):
    with pytest.raises(GateError, match="fitted on bands g, r, z; images of 2 bands"):
        as_scorer(finder)(np.ones((3, 2, 64, 64), np.float32))
    monkeypatch.setattr(toy, "_LEAST_HOSTS", 20)
    with pytest.raises(GateError, match="12 hosts with injections in split train, at least 20 needed"):
        toy.fit(toy.training_rows(pairs).rows, BANDS, 5)
    with pytest.raises(GateError, match="0 hosts with injections in split train"):
        toy.fit(toy.training_rows(pairs.assign(split=("sample", np.full(pairs.sizes["sample"], 1)))).rows, BANDS, 5)
