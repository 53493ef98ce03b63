"""The probe finds what differs, reads 0.5 where nothing does, and its p-value is one."""

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lensflow.errors import RealismError
from lensflow.measure.gate.machine import host_folds
from lensflow.measure.realism.probe import probe
from tests.measure.realism.drawn import QUICK, matched_rows


def test_its_area_is_that_of_scikit_learn_averaged_within_folds():
    rows = matched_rows(40, delta=0.7)
    found = probe(rows, QUICK, 1, "test", permutations=0)
    areas = []
    for train, test in host_folds(rows.sets, QUICK.folds, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, class_weight="balanced", tol=1e-10))
        model.fit(rows.values[train], rows.is_real[train])
        areas.append(roc_auc_score(rows.is_real[test], model.decision_function(rows.values[test])))
    assert found.area.value == pytest.approx(np.mean(areas), abs=2e-3)


def test_a_difference_is_found_and_named():
    found = probe(matched_rows(60, delta=1.5, feature=3), QUICK, 1, "test")
    assert found.area.low > 0.6
    assert found.p == 1 / 200
    assert found.largest[0][0] == "arc_mu"
    assert found.largest[0][1] > 0


def test_hosts_that_differ_from_set_to_set_are_no_difference():
    found = probe(matched_rows(60, set_scatter=3.0), QUICK, 1, "test")
    assert not found.area.excludes(0.5)
    assert found.p > 0.05


def test_a_constant_feature_is_left_out_and_named_and_a_missing_one_counted():
    rows = matched_rows(30, delta=1.0)
    rows.values[:, 1] = 7.0
    rows.values[4:40, 2] = np.nan
    found = probe(rows, QUICK, 1, "test", permutations=0)
    assert found.constant == ("arc_mag",)
    assert found.missing == {"arc_gr": 36}
    assert "arc_gr missing" in found.names
    assert np.isfinite(found.score).all()


def test_a_feature_that_only_real_lenses_lack_is_seen():
    rows = matched_rows(40)
    rows.values[rows.is_real, 2] = np.nan
    assert probe(rows, QUICK, 1, "test", permutations=0).area.low > 0.9


def test_features_that_are_missing_together_share_a_column_and_a_single_hole_has_none():
    rows = matched_rows(40)
    rows.values[::7, 2] = rows.values[::7, 3] = np.nan
    rows.values[5, 4] = np.nan
    found = probe(rows, QUICK, 1, "test", permutations=0)
    assert [n for n in found.names if n.endswith("missing")] == ["arc_gr missing"]
    assert found.missing == {"arc_gr": 29, "arc_mu": 29, "arc_radius": 1}


def test_nothing_to_learn_from_is_an_error():
    rows = matched_rows(30, names=("a",))
    rows.values[:] = 1.0
    with pytest.raises(RealismError, match="no feature differs"):
        probe(rows, QUICK, 1, "test")
    with pytest.raises(RealismError, match="3 matched sets for 5 folds"):
        probe(matched_rows(3), QUICK, 1, "test")


def test_components_replace_features_and_still_find_a_difference_that_all_share():
    names = tuple(f"f{k}" for k in range(40))
    rows = matched_rows(60, names=names)
    rows.values[:] += np.random.default_rng(5).normal(size=(rows.values.shape[0], 1)) * 2
    rows.values[rows.is_real] += 1.5
    found = probe(rows, QUICK, 1, "test", permutations=0, components=15)
    assert found.names == tuple(f"component {k + 1}" for k in range(15))
    assert found.area.low > 0.5


@pytest.mark.slow
def test_two_halves_of_the_same_hold_half_in_93_of_100_and_p_is_uniform():
    found = [probe(matched_rows(56, seed=s), QUICK, s, "test") for s in range(300)]
    assert np.mean([not f.area.excludes(0.5) for f in found]) >= 0.93
    assert kstest([f.p for f in found], "uniform").pvalue > 0.01
