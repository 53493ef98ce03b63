"""Trees instead of a logistic regression: the same gate, and what only they can see."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

from lensflow.config import GateConfig, load_config
from lensflow.config.core import CoreConfig
from lensflow.errors import ConfigError
from lensflow.measure.gate import Verdict, feature_rows, trees
from lensflow.measure.gate.features import features_of
from lensflow.measure.gate.machine import Machine, host_folds
from lensflow.measure.gate.trees import SETTINGS, Trees, _bins_of
from lensflow.measure.gates import run_gate
from tests.measure.gate.made_rows import changed
from tests.measure.gate.test_calibration import SETTINGS as SETTINGS_OF_NULL_SETS
from tests.measure.gate.test_calibration import data_set
from tests.measure.gate.test_gate import noise_block, with_stamps
from tests.measure.pixels.pairs_factory import pairs_block

HOSTS = 30
CONFIG = GateConfig(recipes=("core_r",), advisory=("core_r+trees",), bootstrap=50)


def gate(block, name="core_r+trees", seed=1):
    return run_gate(block, name, CONFIG, ("r",), seed)


def area(stamp, ctrl, groups, seed):
    machine = Machine(groups, host_folds(groups, 5, seed), Trees.seeded(seed), 200, seed)
    return machine.area(*machine.crossfit(stamp, ctrl).scores(np.ones(len(stamp), bool)), "test.trees")


def scattered_block(seed=1, scatter=2.0):
    """Stamps and controls of the same mean in every pixel; the stamps' pixels scatter more."""
    block = noise_block(seed, n_hosts=HOSTS)
    draw = np.random.default_rng(seed + 100)
    shape = features_of(block, "core_raw").ctrl.shape
    # Galaxies that hardly differ, so that a pixel's value says how far it is from its mean.
    level = 20 + 0.3 * np.repeat(draw.normal(size=(HOSTS, 1, 1)), 4, axis=0)
    stamp, ctrl = (level + s * draw.normal(size=shape) for s in (scatter, 1.0))
    return changed(block, stamp=stamp.astype("f4"), ctrl=ctrl.astype("f4"))


@pytest.fixture(scope="module")
def scattered():
    block = scattered_block()
    return gate(block, "core_r"), gate(block)


@pytest.mark.slow
def test_trees_see_a_larger_scatter_with_the_same_mean_and_the_linear_gate_does_not(scattered):
    linear, found = scattered
    assert linear.verdict is not Verdict.FAIL and linear.auc_low <= 0.5 <= linear.auc_high
    assert found.verdict is Verdict.FAIL and found.auc_low > 0.8


def test_the_null_and_positive_controls_are_fits_of_the_same_trees(scattered):
    _, found = scattered
    null, positive = found.controls["null"], found.controls["positive"]
    assert len(null["swaps"]) == Trees.null_swaps == found.recipe["null_swaps"]
    assert null["holds_half"]
    assert positive["found"]
    assert positive["leak_sigma"] == 1


def test_what_trees_do_not_have_is_left_out_and_the_recipe_says_so(scattered):
    linear, found = scattered
    assert found.coef == () and "permutation" not in found.controls
    assert found.recipe["permutations"] == 0 and linear.recipe["permutations"] > 0
    for setting, value in SETTINGS.items():
        assert f"{setting}={value}" in found.recipe["estimator"]
    assert f"random_state={Trees.seeded(1).random_state}" in found.recipe["estimator"]
    assert "no permutation test" in found.recipe["estimator"]
    assert found.recipe_hash != linear.recipe_hash
    assert {s["by"] for s in found.strata} == {
        *("theta_e_arcsec", "theta_e_original", "arc_snr", "split", "sky_sigma_nmgy")
    }
    assert len(found.worst) > 0 and len(found.roc) > 2


def test_trees_may_be_named_wherever_gates_are_and_their_bands_are_checked():
    assert GateConfig(advisory=("core_r+trees",), max_auc_of={"core_r+trees": 0.9}).threshold_of("core_r+trees") == 0.9
    assert CoreConfig(gates=("core_all", "core_all+trees")).gates[1] == "core_all+trees"
    with pytest.raises(ConfigError, match="no band 'y'"):
        load_config({"out": "-", "survey": {"synthetic": {}}, "gate": {"advisory": ["core_y+trees"]}})


def test_trees_see_a_combination_of_two_features_that_are_alike_one_by_one():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    ctrl, stamp = (draw.normal(size=(240, 4)) for _ in range(2))
    stamp[:, 1] = np.abs(stamp[:, 1]) * np.sign(stamp[:, 0])
    ctrl[:, 1] = -np.abs(ctrl[:, 1]) * np.sign(ctrl[:, 0])
    assert area(stamp, ctrl, groups, 1).low > 0.9


@pytest.mark.slow
def test_pure_noise_holds_one_half_for_most_seeds():
    held = 0
    for seed in range(10):
        block = noise_block(seed)
        pair = features_of(block, "core_raw")
        found = area(pair.stamp[:, 0], pair.ctrl[:, 0], block["host_index"].values, seed)
        held += not found.excludes(0.5)
    assert held >= 8


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["few hosts, own controls", "many hosts, one pair each"])
def test_intervals_hold_one_half_in_most_null_sets(setting):
    """Binomial scatter of 100 sets: 89 % or more is what a level of 95 % gives in 99 % of trials."""
    held = 0
    for seed in range(100):
        groups, stamp, ctrl = data_set(seed, *SETTINGS_OF_NULL_SETS[setting])
        found = area(stamp, ctrl, groups, seed)
        held += not found.excludes(0.5)
    assert held >= 89


@pytest.fixture
def few_trees(monkeypatch):
    """A tenth of the time, where it does not matter how much is learnt."""
    monkeypatch.setitem(SETTINGS, "max_iter", 10)


@pytest.mark.slow
def test_clean_pairs_are_not_failed_and_order_does_not_matter(few_trees):
    block = noise_block(3)
    one, two = gate(block), gate(block.isel(sample=np.random.default_rng(0).permutation(block.sizes["sample"])))
    assert one.verdict not in (Verdict.FAIL, Verdict.ERROR)
    assert one.to_json() == two.to_json()


def test_identical_pairs_and_a_large_leak_read_as_by_the_linear_gate(few_trees):
    block = noise_block(0)
    assert gate(with_stamps(block, features_of(block, "core_raw").ctrl.copy())).verdict is Verdict.NOT_TESTABLE
    assert gate(noise_block(1, leak=60.0)).verdict is Verdict.FAIL


@pytest.mark.slow
def test_a_tree_gate_that_scores_its_own_training_rows_calls_itself_broken(monkeypatch):
    def everything(self, stamp, ctrl, folds):
        every = np.arange(len(stamp))
        return trees.TreeFit(stamp, ctrl, [(every, test) for _, test in folds], self.random_state)

    monkeypatch.setattr(Trees, "crossfit", everything)
    result = gate(noise_block(3))
    assert result.verdict is Verdict.ERROR and "the gate itself is broken" in result.reason


@pytest.mark.slow
def test_bright_arcs_fail_with_their_physical_reference_beside_them():
    pairs = pairs_block(n_hosts=30, size=48, arc_flux=30.0, absent_band_every=0)
    (name,) = CONFIG.advisory
    result = run_gate(feature_rows(pairs, [name], 6), name, CONFIG, ("g", "r", "z"), seed=1)
    assert result.verdict is Verdict.FAIL
    assert result.controls["reference"]["auc_low"] > 0.65
    assert "noiseless arcs of the renderer read" in result.reason


def test_fits_use_one_thread_in_whatever_thread_they_run(monkeypatch):
    seen = []

    class Model:
        def __init__(self, random_state):
            pass

        def fit(self, x, y):
            seen.append(_openmp_effective_n_threads())

        def decision_function(self, x):
            return np.zeros(len(x))

    monkeypatch.setattr(trees, "_classifier", Model)
    values, groups = np.zeros((20, 2)), np.arange(20)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: area(values, values, groups, seed), range(4)))
    assert set(seen) == {1}


def test_bins_made_here_give_the_trees_that_the_librarys_own_bins_give():
    """Rows are binned before the fit, because the library takes long to bin weighted ones (scikit-learn 1.9)."""
    draws = np.random.default_rng(0)
    x = np.column_stack([draws.normal(size=(400, 3)), np.zeros(400), draws.integers(0, 3, 400)])
    labels = x[:, 0] + 0.5 * draws.normal(size=400) > 0
    train, test = _bins_of(x[:320], x[320:])
    theirs, ours = (HistGradientBoostingClassifier(**SETTINGS, random_state=1) for _ in range(2))
    theirs.fit(x[:320], labels[:320])
    ours.fit(train, labels[:320])
    np.testing.assert_array_equal(ours.decision_function(test), theirs.decision_function(x[320:]))
