import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from lensflow import geometry
from lensflow.errors import GateError, StoreError
from lensflow.measure.scorer.scorer import as_scorer, blue_ring, fill_core, score_block, some_scores
from lensflow.stats.kept_rows import KeptRows
from tests.measure.pixels.pairs_factory import pairs_block

PAIRS = pairs_block(n_hosts=12, per_host=3)
MEAN = as_scorer(lambda images: images.mean(axis=(1, 2, 3)))


def images_of(n=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, 48, 48)).astype(np.float32)


def test_the_fill_is_the_median_of_the_control_next_to_the_core_about_the_target():
    stamp, ctrl = images_of(), images_of(seed=1)
    x, y = np.full(5, 20.3), np.full(5, 26.1)
    filled = fill_core(stamp, ctrl, x, y, 5.0)
    r = geometry.radius_pix(48, 20.3, 26.1)
    np.testing.assert_array_equal(filled[..., r >= 5], stamp[..., r >= 5])
    level = np.median(ctrl[..., (r >= 5) & (r < 8)], axis=-1)
    np.testing.assert_array_equal(filled[..., r < 5], np.repeat(level[..., None], (r < 5).sum(), axis=-1))


def test_light_next_to_the_core_does_not_come_in_through_the_fill():
    ctrl, x = images_of(), np.full(5, 23.5)
    ring = (geometry.radius_pix(48, 23.5, 23.5) >= 5) & (geometry.radius_pix(48, 23.5, 23.5) < 8)
    stamp = ctrl + 10 * ring.astype(np.float32)
    core = geometry.disc(48, 23.5, 23.5)
    np.testing.assert_array_equal(
        fill_core(stamp, ctrl, x, x, 5.0)[..., core], fill_core(ctrl, ctrl, x, x, 5.0)[..., core]
    )


def test_an_absent_band_stays_absent_and_the_input_stays_as_it_was():
    stamp = images_of()
    stamp[:, 0] = 0
    before = stamp.copy()
    assert not fill_core(stamp, stamp, np.full(5, 23.5), np.full(5, 23.5), 5.0)[:, 0].any()
    np.testing.assert_array_equal(stamp, before)


def test_a_core_that_leaves_no_ring_in_the_stamp_is_refused_by_the_setting():
    images = images_of()
    with pytest.raises(GateError, match=r"scorer\.core_radius_pix.*48 pixels"):
        fill_core(images, images, np.full(5, 23.5), np.full(5, 23.5), 40.0)


def test_a_scorer_that_reads_missing_pixels_as_0_gets_0_where_the_survey_has_a_value_without_weight():
    has_data = PAIRS["has_data"].values if "has_data" in PAIRS else np.ones(PAIRS["stamp"].shape, bool)
    holed = has_data.copy()
    holed[:, :, :3, :5] = False
    pairs = PAIRS.assign(has_data=(PAIRS["stamp"].dims, holed))
    assert (pairs["stamp"].values[~holed] != 0).any()
    zeros = pairs.assign({n: pairs[n].where(holed, 0) for n in ("stamp", "ctrl")})

    class Trained:
        missing_is_zero = True

        def __call__(self, images):
            return images.mean(axis=(1, 2, 3))

    found = score_block(pairs, as_scorer(Trained()), 5.0).rows
    assert found.identical(score_block(zeros, MEAN, 5.0).rows)
    assert not found.identical(score_block(pairs, MEAN, 5.0).rows)


def test_estimators_get_flat_pixels_and_callables_get_images():
    images = images_of(20)
    flat, labels = images.reshape(20, -1), np.arange(20) % 2
    fitted = LogisticRegression().fit(flat, labels)
    np.testing.assert_array_equal(as_scorer(fitted)(images), fitted.predict_proba(flat)[:, 1])
    ridge = Ridge().fit(flat, labels)
    np.testing.assert_array_equal(as_scorer(ridge)(images), ridge.predict(flat))
    column = as_scorer(lambda given: given.mean(axis=(1, 2, 3))[:, None])
    assert column(images).shape == (20,) and column(images).dtype == np.float64


MISTAKES = [
    (LogisticRegression, "is the class LogisticRegression"),
    (3.5, "a float can neither be called"),
    (lambda images: images.mean(axis=(2, 3)), r"shape \(5,\), not \(5, 3\)"),
    (lambda images: np.float64(1), r"shape \(5,\), not \(\)"),
    (lambda images: images[:, 7], "finder: failed on images of shape .*IndexError"),
    (lambda images: ["high"] * len(images), "scores are numbers, not"),
]


@pytest.mark.parametrize(("scorer", "message"), MISTAKES)
def test_what_is_no_scorer_is_named(scorer, message):
    with pytest.raises(GateError, match=message):
        as_scorer(scorer, "finder")(images_of())


def test_probabilities_of_three_classes_are_no_score():
    images = images_of(9)
    fitted = LogisticRegression().fit(images.reshape(9, -1), np.arange(9) % 3)
    with pytest.raises(GateError, match="predict_proba of two classes"):
        as_scorer(fitted)(images)


@pytest.mark.parametrize(
    "scorer",
    [
        lambda images: images.mean(axis=(1, 2, 3)) - images.mean(),
        lambda images: np.random.default_rng().normal(size=len(images)),
    ],
)
def test_scores_that_depend_on_their_neighbours_or_on_chance_are_refused(scorer):
    with pytest.raises(GateError, match=r"alone\. Scores must not depend"):
        score_block(PAIRS, as_scorer(scorer), 5.0)


def test_a_scorer_that_writes_into_its_images_changes_no_score():
    def careless(images):
        images -= 1
        return images.mean(axis=(1, 2, 3))

    one, two = (score_block(PAIRS, s, 5.0).rows for s in (as_scorer(careless), MEAN))
    np.testing.assert_allclose(one["stamp"], two["stamp"] - 1, atol=1e-6)
    np.testing.assert_allclose(one["ctrl_filled"], two["ctrl_filled"] - 1, atol=1e-6)


def test_every_injection_and_each_hosts_control_is_scored_once():
    block = score_block(PAIRS, MEAN, 5.0).rows
    injected = ~PAIRS["is_control"].values
    assert block.sizes["sample"] == injected.sum() == 36 and block.sizes["host"] == 12
    np.testing.assert_allclose(block["stamp"], PAIRS["stamp"].values[injected].mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(block["ctrl_host"], np.unique(PAIRS["host_index"].values))
    np.testing.assert_array_equal(block["absent"], np.isnan(PAIRS["psf_fwhm_arcsec"].values[injected]).sum(axis=1))


@settings(max_examples=12)
@given(st.sets(st.integers(1, 47), max_size=4), st.randoms())
def test_any_chunking_in_any_order_gives_the_same_block(cuts, random):
    edges = [0, *sorted(cuts), 48]
    parts = [score_block(PAIRS.isel(sample=slice(a, b)), MEAN, 5.0) for a, b in itertools.pairwise(edges)]
    random.shuffle(parts)
    assert KeptRows.concat(parts).rows.identical(score_block(PAIRS, MEAN, 5.0).rows)


def test_rows_are_taken_with_the_controls_of_their_hosts():
    block = score_block(PAIRS, MEAN, 5.0).rows
    part = some_scores(block, np.isin(np.arange(36), [0, 4]))
    assert part[["stamp", "row_id"]].identical(block[["stamp", "row_id"]].isel(sample=[0, 4]))
    np.testing.assert_array_equal(part["ctrl_host"], np.unique(block["host_index"][[4, 0]]))


def test_pairs_without_controls_are_refused_by_name():
    with pytest.raises(StoreError, match="ctrl is missing"):
        score_block(PAIRS.drop_vars("ctrl"), MEAN, 5.0)


@pytest.mark.parametrize(
    ("given", "text"),
    [(lambda n: np.full(n, 1j), "numbers, not complex128"), (lambda n: ["1.5"] * n, "numbers, not <U3"),
     (lambda n: np.zeros(n, "M8[s]"), "numbers, not datetime64"), (lambda n: [None, *range(n - 1)], "")],
)  # fmt: skip
def test_what_is_no_number_is_no_score_and_is_never_made_one(given, text):
    if text:
        with pytest.raises(GateError, match=text):
            as_scorer(lambda images: given(len(images)))(images_of())
    else:
        assert np.isnan(as_scorer(lambda images: given(len(images)))(images_of())[0])


def test_a_masked_score_is_missing_and_not_the_number_below_the_mask():
    masked = np.ma.masked_array([7, 1, 2, 3, 4], mask=[True, *[False] * 4])
    np.testing.assert_array_equal(as_scorer(lambda images: masked)(images_of()), [np.nan, 1, 2, 3, 4])


def test_the_blue_ring_rises_with_blue_light_about_the_host_and_not_with_its_own():
    ctrl = np.unique(PAIRS["ctrl"].values, axis=0)
    r = geometry.radius_pix(48, 23.5, 23.5)
    arc = 0.05 * np.exp(-0.5 * ((r - 7) / 1.5) ** 2)
    plain = blue_ring(ctrl)
    assert (blue_ring(ctrl + arc * np.array([1, 0.3, 0.1])[:, None, None]) > plain + 5).all()
    np.testing.assert_allclose(blue_ring(ctrl * 3), plain, rtol=1e-5)
    gone = ctrl.copy()
    gone[:, 0] = 0
    assert not blue_ring(gone).any()
