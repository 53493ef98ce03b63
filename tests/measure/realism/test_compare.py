"""Single features: the one that differs is found, missing values are counted, and p is exact within sets."""

import numpy as np
import pytest
from scipy.stats import kstest

from lensflow.measure.realism.compare import areas_of, compare
from tests.measure.realism.drawn import QUICK, matched_rows


def test_the_feature_that_differs_is_found_and_no_other():
    found = compare(matched_rows(60, delta=1.2, feature=2), QUICK, 1)
    assert areas_of(found)[0][0] == "arc_gr"
    one = found.sel(feature="arc_gr")
    assert float(one["auc_low"]) > 0.6
    assert float(one["difference"]) == pytest.approx(1.2, abs=0.3)
    assert float(one["p_holm"]) == pytest.approx(6 / 200)
    assert (found["p_holm"].drop_sel(feature="arc_gr") > 0.05).all()


def test_a_smaller_value_in_real_lenses_is_found_as_well():
    one = compare(matched_rows(60, delta=-1.2), QUICK, 1).isel(feature=0)
    assert float(one["auc_high"]) < 0.4
    assert float(one["p"]) == 1 / 200


def test_quantiles_and_missing_values_are_those_of_each_side():
    rows = matched_rows(40)
    rows.values[np.flatnonzero(rows.is_real)[:7], 1] = np.nan
    rows.values[:, 3] = 2.0
    found = compare(rows, QUICK, 1)
    one = found.sel(feature="arc_mag")
    assert one["n_missing"].values.tolist() == [7, 0]
    real = rows.values[rows.is_real, 1]
    assert float(one["quantiles"].sel(side="real", quantile=0.5)) == pytest.approx(np.nanmedian(real))
    constant = found.sel(feature="arc_mu")
    assert np.isnan(constant["auc"])
    assert constant["note"].item() == "one value in all rows"


def test_a_feature_that_one_side_lacks_has_no_area_and_says_why():
    rows = matched_rows(40)
    rows.values[rows.is_real, 0] = np.nan
    one = compare(rows, QUICK, 1).isel(feature=0)
    assert np.isnan(one["auc"])
    assert "only 0 sets" in one["note"].item()
    assert not np.isnan(one["quantiles"].sel(side="injected")).any()


@pytest.mark.slow
def test_p_is_uniform_where_nothing_differs_but_the_sets():
    p = [float(compare(matched_rows(30, names=("a",), set_scatter=2.0, seed=s), QUICK, s)["p"][0]) for s in range(300)]
    assert kstest(p, "uniform").pvalue > 0.01
