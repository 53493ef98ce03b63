import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lensflow.errors import GateError
from lensflow.gates import auc as module
from lensflow.gates.auc import auc, host_bootstrap, roc_points


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(-4, 4), st.integers(0, 3)), min_size=2, max_size=60),
)
def test_area_equals_scikit_learn_with_ties_and_weights(rows):
    labels, scores, weights = (np.array(v) for v in zip(*rows, strict=True))
    if weights[labels].sum() == 0 or weights[~labels].sum() == 0:
        assert np.isnan(auc(labels, scores, weights))
    else:
        assert float(auc(labels, scores, weights)) == pytest.approx(
            roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
        )


def test_many_weight_vectors_at_once_equal_one_by_one(monkeypatch):
    draw = np.random.default_rng(0)
    labels, scores = draw.random(200) < 0.4, draw.normal(size=200).round(1)
    weights = draw.integers(0, 4, (37, 200)).astype(float)
    expected = [roc_auc_score(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(auc(labels, scores, weights), expected, rtol=1e-12)
    monkeypatch.setattr(module, "_VALUES_AT_ONCE", 1000)
    np.testing.assert_allclose(auc(labels, scores, weights), expected, rtol=1e-12)


def test_ties_count_half():
    assert float(auc([True, False], [1.0, 1.0])) == 0.5


def test_host_bootstrap_repeats_whole_hosts():
    draw = np.random.default_rng(1)
    hosts = np.repeat(np.arange(8), 10)
    labels, scores = np.tile([True, False], 40), draw.normal(size=80)
    weights = module.host_weights(8, 20, 5, "test")
    expected = [roc_auc_score(labels, scores, sample_weight=w[hosts]) for w in weights]
    np.testing.assert_allclose(host_bootstrap(labels, scores, hosts * 3, 20, 5, "test"), expected, rtol=1e-12)


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(GateError, match="row 1 is not finite"):
        auc([True, False], [1.0, np.nan])


def test_roc_points_run_from_0_0_to_1_1_and_are_few():
    draw = np.random.default_rng(2)
    labels = draw.random(5000) < 0.5
    scores = labels + draw.normal(size=5000)
    points = roc_points(labels, scores)
    assert len(points) <= 200
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(roc_auc_score(labels, scores), abs=2e-3)
