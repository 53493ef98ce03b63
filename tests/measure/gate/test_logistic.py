"""The exact logistic regression against scikit-learn's, on arrays and on Dask blocks."""

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lensflow.errors import ConvergenceError
from lensflow.measure.gate.logistic import LogisticRegression
from lensflow.stats.newton import sums_of


def reference(C=1.0):
    # Its tolerance is on the gradient alone: 1e-14 makes it go on to rounding, past the 1e-6 asked for here.
    return Reference(solver="newton-cholesky", C=C, tol=1e-14, max_iter=500)


def smooth_pixels(n=1500, p=30, seed=0):
    """Pixels that a PSF has correlated, as a gate meets them, but worse."""
    draw = np.random.default_rng(seed)
    place = np.arange(p)
    covariance = np.exp(-0.5 * ((place[:, None] - place) / 2.5) ** 2)
    x = draw.multivariate_normal(np.zeros(p), covariance + 1e-6 * np.eye(p), size=n, method="eigh")
    y = draw.random(n) < 1 / (1 + np.exp(-x[:, :3].sum(axis=1) + 2 * x[:, p // 2]))
    return x, y


# All of scikit-learn's own checks apply (it skips array_api input unless SCIPY_ARRAY_API is set).
@parametrize_with_checks([LogisticRegression(), LogisticRegression(standardize=True, C=0.1)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_ill_conditioned_pixels_give_scikit_learns_converged_decisions(C):
    x, y = smooth_pixels()
    assert np.linalg.cond(x) > 1000
    ours, theirs = LogisticRegression(C=C).fit(x, y), reference(C).fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)
    assert ours.gradient_norm_ <= 1e-9


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_features_of_very_different_size_give_scikit_learns_decisions():
    x, y = smooth_pixels()
    x = x * np.geomspace(1e-3, 1e3, x.shape[1])
    ours, theirs = LogisticRegression().fit(x, y), reference().fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_near_separable_classes_have_the_penalised_optimum():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(600, 8))
    y = x[:, 0] > 0
    y[:1] ^= True
    for C in (1.0, 100.0):
        ours, theirs = LogisticRegression(C=C).fit(x, y), reference(C).fit(x, y)
        np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_separable_classes_are_fitted_with_a_penalty_and_refused_without():
    x = np.random.default_rng(2).normal(size=(300, 4))
    y = x[:, 1] > 0.1
    ours, theirs = LogisticRegression().fit(x, y), reference().fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)
    with pytest.raises(ConvergenceError, match="separate the classes"):
        LogisticRegression(C=np.inf).fit(x, y)
    y[x[:, 1].argmax()] ^= True  # one row on the wrong side of all: an optimum exists again
    LogisticRegression(C=np.inf).fit(x, y)


def test_classes_that_a_category_separates_in_part_are_refused_without_a_penalty():
    draw = np.random.default_rng(3)
    x = np.stack([draw.normal(size=400), draw.random(400) < 0.1], axis=1).astype(float)
    y = (draw.random(400) < 0.5) | (x[:, 1] > 0)  # every row of the category is positive
    with pytest.raises(ConvergenceError, match="finite C"):
        LogisticRegression(C=np.inf).fit(x, y)
    assert np.isfinite(LogisticRegression(C=10.0).fit(x, y).coef_).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_dependent_features_share_their_coefficient():
    x, y = smooth_pixels(p=5)
    twice = np.concatenate([x, x[:, :2], x[:, 2:3] + x[:, 3:4]], axis=1)
    ours, theirs = LogisticRegression().fit(twice, y), reference().fit(twice, y)
    np.testing.assert_allclose(ours.decision_function(twice), theirs.decision_function(twice), atol=1e-6)
    np.testing.assert_allclose(ours.coef_[0, 5:7], ours.coef_[0, :2], rtol=1e-6)


def test_dependent_features_without_a_penalty_give_the_smallest_coefficients_of_the_same_decisions():
    x, y = smooth_pixels(p=5)
    twice = np.concatenate([x, x], axis=1)
    once, both = LogisticRegression(C=np.inf).fit(x, y), LogisticRegression(C=np.inf).fit(twice, y)
    np.testing.assert_allclose(both.decision_function(twice), once.decision_function(x), atol=1e-6)
    np.testing.assert_allclose(both.coef_[0], np.tile(once.coef_[0] / 2, 2), rtol=1e-5)


def test_without_a_penalty_the_gradient_of_the_likelihood_vanishes():
    x, y = smooth_pixels(p=10)
    model = LogisticRegression(C=np.inf).fit(x, y)
    excess = model.predict_proba(x)[:, 1] - y
    np.testing.assert_allclose(x.T @ excess / len(x), 0, atol=1e-9)


@pytest.mark.parametrize("make", [lambda v: v, lambda v: da.from_array(v, chunks=(400, 3))])
def test_a_constant_feature_has_no_coefficient_and_nothing_breaks(make):
    x, y = smooth_pixels(p=4)
    x[:, 2] = 7.3e5
    model = LogisticRegression(standardize=True).fit(make(x), y)
    assert model.coef_[0, 2] == 0
    expected = Pipeline([("scale", StandardScaler()), ("lr", reference())]).fit(x, y).decision_function(x)
    np.testing.assert_allclose(model.decision_function(x), expected, atol=1e-6)


def test_the_intercept_is_not_penalised():
    draw = np.random.default_rng(4)
    x, y = 1e-6 * draw.normal(size=(2000, 2)), draw.random(2000) < 0.9
    model = LogisticRegression(C=1e-6).fit(x, y)
    assert model.intercept_[0] == pytest.approx(np.log(y.sum() / (~y).sum()), abs=1e-6)
    assert LogisticRegression(fit_intercept=False).fit(x, y).intercept_[0] == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_an_intercept_it_equals_scikit_learn():
    x, y = smooth_pixels(p=6)
    theirs = Reference(solver="newton-cholesky", fit_intercept=False, tol=1e-14).fit(x + 1, y)
    ours = LogisticRegression(fit_intercept=False).fit(x + 1, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-7)


def test_weights_count_rows():
    x, y = smooth_pixels(n=300, p=5)
    weight = np.random.default_rng(5).integers(0, 4, len(x)).astype(float)
    for standardize in (False, True):
        weighted = LogisticRegression(standardize=standardize).fit(x, y, sample_weight=weight)
        repeated = LogisticRegression(standardize=standardize).fit(
            np.repeat(x, weight.astype(int), 0), np.repeat(y, weight.astype(int))
        )
        np.testing.assert_allclose(weighted.decision_function(x), repeated.decision_function(x), atol=1e-8)


def test_standardize_is_a_scaler_in_a_pipeline():
    x, y = smooth_pixels(p=8)
    x = 3 + x * np.geomspace(0.1, 50, 8)
    pipeline = Pipeline([("scale", StandardScaler()), ("lr", LogisticRegression(C=0.01))]).fit(x, y)
    inside = LogisticRegression(C=0.01, standardize=True).fit(x, y)
    np.testing.assert_allclose(inside.decision_function(x), pipeline.decision_function(x), atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 199), max_size=6, unique=True), weighted=st.booleans())
def test_any_blocks_of_rows_give_the_decisions_of_one_array(cuts, weighted):
    x, y = smooth_pixels(n=200, p=4)
    weight = np.random.default_rng(6).random(200) if weighted else None
    rows = tuple(np.diff([0, *sorted(cuts), 200]).tolist())
    with dask.config.set(scheduler="synchronous"):
        lazy = LogisticRegression(standardize=True).fit(
            da.from_array(x, chunks=(rows, 3)), da.from_array(y, chunks=50), sample_weight=weight
        )
    whole = LogisticRegression(standardize=True).fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(lazy.decision_function(x), whole.decision_function(x), atol=1e-7)


def test_the_matrix_is_never_in_one_place_and_read_once_an_iteration():
    x, y = smooth_pixels(n=640, p=4)
    seen = []

    def block(k):
        seen.append(k)
        return x[k * 64 : (k + 1) * 64]

    parts = [da.from_delayed(dask.delayed(block)(k), (64, 4), dtype=float) for k in range(10)]
    with dask.config.set(scheduler="synchronous"):
        model = LogisticRegression().fit(da.concatenate(parts), y)
    reads = len(seen) / 10
    assert model.n_iter_[0] + 1 <= reads <= model.n_iter_[0] + 2


def fitted_by_blocks(x, y, blocks, **settings):
    """Model of features that are read block by block, and how often each block was read."""
    seen, rows = [], len(x) // blocks

    def block(k):
        seen.append(k)
        return x[k * rows : (k + 1) * rows]

    parts = [da.from_delayed(dask.delayed(block)(k), (rows, x.shape[1]), dtype=float) for k in range(blocks)]
    with dask.config.set(scheduler="synchronous"):
        model = LogisticRegression(**settings).fit(da.concatenate(parts), y)
    return model, np.bincount(seen, minlength=blocks)


def test_many_blocks_are_read_less_often_since_a_few_say_where_to_start():
    x, y = smooth_pixels(n=24 * 400, p=6)
    model, read = fitted_by_blocks(x, y, 24)
    whole = LogisticRegression().fit(x, y)
    np.testing.assert_allclose(model.decision_function(x), whole.decision_function(x), atol=1e-9)
    few, at_once = fitted_by_blocks(x, y, 8)
    np.testing.assert_allclose(few.decision_function(x), whole.decision_function(x), atol=1e-9)
    assert read[1] < at_once.min() and read[0] == read[1] + 1


def test_labels_that_are_made_of_the_features_are_made_with_them():
    x, y = smooth_pixels(n=640, p=4)
    seen = []

    def block(k):
        seen.append(k)
        return np.column_stack([x, y])[k * 64 : (k + 1) * 64]

    parts = [da.from_delayed(dask.delayed(block)(k), (64, 5), dtype=float) for k in range(10)]
    table = da.concatenate(parts)
    with dask.config.set(scheduler="synchronous"):
        model = LogisticRegression().fit(table[:, :4], table[:, 4] > 0, sample_weight=1.0 + (table[:, 0] > 0))
    # Once for the classes, once for each gradient.
    assert len(seen) / 10 <= model.n_iter_[0] + 2
    whole = LogisticRegression().fit(x, y > 0, sample_weight=1.0 + (x[:, 0] > 0))
    np.testing.assert_allclose(model.decision_function(x), whole.decision_function(x), atol=1e-9)


def test_no_hessian_is_made_after_the_last_step_and_no_read_is_for_a_hessian_alone(monkeypatch):
    x, y = smooth_pixels(n=24 * 400, p=6)
    asked = []

    def counted(x, y, weight, theta, hessian):
        asked.append((len(x), hessian))
        return sums_of(x, y, weight, theta, hessian)

    monkeypatch.setattr("lensflow.measure.gate.logistic.sums_of", counted)
    model, read = fitted_by_blocks(x, y, 24, tol=1e-6)
    passes = len(asked) / 24
    assert asked[-1] == (400, False) and sum(h for _, h in asked) >= 24
    assert read[1] <= model.n_iter_[0] + 1 <= passes


@pytest.mark.parametrize("order", ["sorted by class", "one class in the first third", "as drawn"])
def test_where_it_starts_does_not_change_where_it_ends(order):
    x, y = smooth_pixels(n=12 * 50, p=5)
    if order != "as drawn":
        place = np.argsort(y if order == "sorted by class" else y & (np.arange(len(y)) % 2 == 0), kind="stable")
        x, y = x[place], y[place]
    model, _ = fitted_by_blocks(x, y, 12, standardize=True)
    whole = LogisticRegression(standardize=True).fit(x, y)
    np.testing.assert_allclose(model.decision_function(x), whole.decision_function(x), atol=1e-8)
    free, read = fitted_by_blocks(x, y, 12, C=np.inf)
    assert np.ptp(read) == 0  # without a penalty a few blocks may have no optimum
    np.testing.assert_allclose(free.coef_, LogisticRegression(C=np.inf).fit(x, y).coef_, rtol=1e-6)


def test_dask_predictions_are_lazy_and_equal():
    x, y = smooth_pixels(p=4)
    labels = np.array(["ctrl", "stamp"])[y.astype(int)]
    lazy = da.from_array(x.astype(np.float32), chunks=(300, 2))
    model = LogisticRegression().fit(lazy, da.from_array(labels, chunks=300))
    assert model.classes_.tolist() == ["ctrl", "stamp"] and model.n_features_in_ == 4
    for name in ("predict", "predict_proba", "decision_function"):
        found, expected = getattr(model, name)(lazy), getattr(model, name)(x.astype(np.float32))
        assert isinstance(found, da.Array) and found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_array_equal(found.compute(), expected)


def test_blocks_of_unknown_size_are_fitted():
    x, y = smooth_pixels(n=400, p=3)
    lazy, labels = da.from_array(x, chunks=(100, 3)), da.from_array(y, chunks=100)
    keep = da.from_array(np.arange(400) % 7 != 0, chunks=100)
    model = LogisticRegression().fit(lazy[keep], labels[keep])
    expected = LogisticRegression().fit(x[keep.compute()], y[keep.compute()])
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-8)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        LogisticRegression().fit(lazy[keep], y)


@pytest.mark.parametrize("make", [lambda v: v, lambda v: da.from_array(v, chunks=(50, *v.shape[1:]))])
def test_bad_input_is_an_error_that_says_what(make):
    x, y = smooth_pixels(n=200, p=3)
    with pytest.raises(ValueError, match="only one class"):
        LogisticRegression().fit(make(x), make(np.ones(200)))
    with pytest.raises(ValueError, match="3 classes"):
        LogisticRegression().fit(make(x), make(np.arange(200) % 3))
    broken = x.copy()
    broken[120, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(make(broken), make(y))
    with pytest.raises(ValueError, match=r"199|inconsistent"):
        LogisticRegression().fit(make(x), make(y[:199]))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        LogisticRegression().fit(make(x), make(y), sample_weight=make(np.full(200, -1.0)))
    with pytest.raises(ValueError, match="in sample_weight"):
        LogisticRegression().fit(make(x), make(y), sample_weight=make(np.where(np.arange(200) == 120, np.nan, 1.0)))
    with pytest.raises(ValueError, match="at least one non-zero"):
        LogisticRegression().fit(make(x), make(y), sample_weight=make(np.zeros(200)))
    for setting in ({"C": 0.0}, {"C": np.nan}, {"tol": 0.0}, {"max_iter": 0}, {"C": "1"}):
        with pytest.raises(ValueError, match=f"'{next(iter(setting))}' parameter"):
            LogisticRegression(**setting).fit(make(x), make(y))


def test_too_few_iterations_are_an_error_and_not_a_warning():
    x, y = smooth_pixels()
    with pytest.raises(ConvergenceError, match="did not converge in 1 iterations"):
        LogisticRegression(max_iter=1).fit(x, y)


def test_dask_mls_parallel_post_fit_predicts_block_by_block():
    wrappers = pytest.importorskip("dask_ml.wrappers", reason="the extra [dask-ml] is not installed")
    x, y = smooth_pixels(p=4)
    lazy = da.from_array(x, chunks=(300, 4))
    model = wrappers.ParallelPostFit(LogisticRegression()).fit(lazy, da.from_array(y, chunks=300))
    found = model.predict_proba(lazy)
    assert isinstance(found, da.Array) and found.numblocks[0] == 5
    np.testing.assert_allclose(found.compute(), LogisticRegression().fit(x, y).predict_proba(x), atol=1e-8)
    np.testing.assert_array_equal(model.predict(lazy).compute(), LogisticRegression().fit(x, y).predict(x))
