"""Metadata of injections against control rows: balanced designs pass by proof, chosen controls fail."""

import json

import numpy as np
import pytest

import lensflow.measure.metadata.metadata_gate as module
from lensflow import gate as gate_pairs
from lensflow.config import GateConfig, RunConfig
from lensflow.config.core import CoreConfig
from lensflow.errors import GateError
from lensflow.measure.gate import Verdict, feature_rows
from lensflow.measure.gate.recipes import Recipe, sky
from lensflow.measure.gates import run_gate
from lensflow.measure.metadata.rows import MetadataRows, names_of
from lensflow.measure.metadata.rows import rows_of as made_rows
from lensflow.measure.zoo.faults import FAULTS
from lensflow.measure.zoo.small_run import small_run
from tests.measure.pixels.pairs_factory import pairs_block

CONFIG = GateConfig(recipes=("metadata_all",), bootstrap=100)
BANDS = ("g", "r", "z")


def gate(pairs, name="metadata_all", config=CONFIG, seed=1):
    return of_rows(pairs if isinstance(pairs, MetadataRows) else MetadataRows.from_block(pairs), name, config, seed)


def of_rows(rows, name="metadata_all", config=CONFIG, seed=1):
    look = Recipe.of(name, BANDS)
    return module.metadata_gate(rows, look, config, [BANDS[b] for b in look.bands], seed)


def rows_of(n_hosts, injections, controls, seed, shift=0.0, columns=6):
    """Hosts whose metadata is all noise, with so many rows of each class; ``shift`` where a host has controls."""
    draw = np.random.default_rng(seed)
    injections, controls = (np.broadcast_to(v, n_hosts) for v in (injections, controls))
    values = draw.normal(size=(n_hosts, columns))
    values[:, 0] += shift * (controls > 0)
    host = np.repeat(np.arange(n_hosts), 2)
    count = np.stack([injections, controls], axis=1).ravel()
    rows = made_rows(
        [(f"c{k}", "") for k in range(columns)],
        np.repeat(values, 2, axis=0),
        host,
        np.tile([False, True], n_hosts),
        host % 3,
        count,
    )
    return MetadataRows.of(rows.isel(sample=np.flatnonzero(count)))


@pytest.fixture(scope="module")
def sound():
    return small_run(hosts=60, per_host=4).pairs()


def test_balanced_pairs_pass_by_proof_over_all_rows(sound):
    result = gate(sound)
    assert result.verdict is Verdict.PASS
    assert (result.auc, result.auc_low, result.auc_high) == (0.5, 0.5, 0.5)
    assert "by construction" in result.reason and "exactly the same distribution" in result.reason
    assert result.n_rows == sound.sizes["sample"] and result.n_hosts == 60
    assert {s["verdict"] for s in result.strata} == {"PASS"}


def test_controls_of_good_seeing_fail_and_the_column_is_named(sound):
    (fault,) = [f for f in FAULTS if f.name == "controls of good seeing"]
    result = gate(fault.spoil(sound))
    assert result.verdict is Verdict.FAIL and result.auc_low >= 0.65
    assert "psf_fwhm_arcsec" in result.reason.split("injections differ most in ")[1]
    assert result.controls["null"]["holds_half"]
    assert result.controls["positive"]["found"]
    assert result.drawn.areas.shape == (CONFIG.bootstrap,) and abs(np.median(result.drawn.areas) - result.auc) < 0.05
    assert len(result.coef) == len(result.controls["columns"])


@pytest.mark.parametrize(("gone", "name"), [(True, "no control rows"), (False, "no injection rows")])
def test_a_missing_class_is_not_testable(sound, gone, name):
    result = gate(sound.isel(sample=np.flatnonzero(sound["is_control"].values != gone)))
    assert result.verdict is Verdict.NOT_TESTABLE and name in result.reason


def test_one_row_too_few_is_no_longer_exact_and_is_measured(sound):
    result = gate(sound.isel(sample=np.arange(1, sound.sizes["sample"])))
    assert "by construction" not in result.reason
    assert result.verdict is Verdict.PASS
    assert result.auc_low <= 0.5 <= result.auc_high


def test_one_value_that_differs_within_a_host_ends_the_proof(sound):
    x = sound["x_center"].values.copy()
    x[0] += 1e-9
    assert "by construction" not in gate(sound.assign(x_center=("sample", x))).reason


def test_balance_overall_but_not_in_a_split_is_no_proof():
    rows = rows_of(60, 4, 1, seed=0).rows
    control, split = rows["is_control"].values, rows["split"].values
    alike = rows.assign(value=0 * rows["value"])
    assert MetadataRows.of(alike).is_balanced
    other = alike.isel(sample=~(control & (split == 2)))
    assert MetadataRows.of(other).is_balanced  # a class that a split lacks cannot be compared there
    values = alike["value"].values.copy()
    values[control & (split == 1), 0] = 1.0
    values[~control & (split == 2), 0] = 1.0
    assert not MetadataRows.of(alike.assign(value=(("sample", "column"), values))).is_balanced


def test_rows_in_any_order_and_chunks_give_the_same_bits(sound):
    few = sound.isel(sample=np.flatnonzero((np.arange(sound.sizes["sample"]) % 7) > 0))
    order = np.random.default_rng(0).permutation(few.sizes["sample"])
    shuffled = few.isel(sample=order)
    parts = [MetadataRows.from_block(shuffled.isel(sample=s)) for s in (slice(0, 0), slice(0, 50), slice(50, None))]
    assert gate(MetadataRows.concat(parts)).to_json() == gate(few).to_json()


def test_the_dataset_is_asked_through_the_same_call_as_other_gates():
    pairs = pairs_block(n_hosts=24, size=48, absent_band_every=0)
    config = RunConfig.model_validate(
        {
            "out": "-",
            "survey": {"synthetic": {}},
            "gate": {"recipes": ["metadata_all", "brightness_r"], "bootstrap": 50},
        }
    )
    results = gate_pairs(pairs.chunk({"sample": 33}), config)
    assert [r.name for r in results] == ["metadata_all", "brightness_r"]
    assert results[0].verdict is Verdict.PASS and results[0].n_rows == pairs.sizes["sample"]
    with pytest.raises(GateError, match="no metadata rows"):
        run_gate(feature_rows(pairs, ["metadata_all"], 10), "metadata_all", CONFIG, BANDS, seed=1)


@pytest.mark.slow
def test_hosts_of_their_own_for_each_class_hold_one_half_and_a_difference_is_found():
    """Disjoint controls: nothing is balanced, and everything has to be measured."""
    own = np.arange(120) % 3 == 0
    held = []
    for seed in range(10):
        result = of_rows(rows_of(120, np.where(own, 0, 4), np.where(own, 1, 0), seed), seed=seed)
        assert result.verdict not in (Verdict.FAIL, Verdict.ERROR)
        assert result.controls["null"]["holds_half"] and result.controls["positive"]["found"]
        held.append(result.auc_low <= 0.5 <= result.auc_high)
    assert sum(held) >= 8
    assert of_rows(rows_of(120, np.where(own, 0, 4), np.where(own, 1, 0), 1, shift=2.0)).verdict is Verdict.FAIL


@pytest.mark.slow
def test_a_few_control_hosts_give_a_wide_interval_and_too_few_no_verdict():
    own = np.arange(60) < 6
    for seed in range(3):
        few = of_rows(rows_of(60, np.where(own, 0, 4), np.where(own, 3, 0), seed))
        assert few.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_TESTABLE)
        assert few.auc_high - few.auc_low > 0.4
    fewer = of_rows(rows_of(60, np.where(own, 0, 4), np.where(np.arange(60) < 3, 9, 0), 1))
    assert fewer.verdict is Verdict.NOT_TESTABLE and "of 3 hosts" in fewer.reason


def test_a_fit_that_scores_its_own_training_rows_calls_itself_broken(monkeypatch):
    own = np.arange(60) % 2 == 0
    rows = rows_of(60, np.where(own, 0, 2), np.where(own, 2, 0), 1, columns=25)
    assert of_rows(rows).controls["null"]["holds_half"]
    every = np.arange(int(rows.rows["count"].sum()))
    folds = module.host_folds
    monkeypatch.setattr(module, "host_folds", lambda *a: [(every, test) for _, test in folds(*a)])
    result = of_rows(rows)
    assert result.verdict is Verdict.ERROR and "metadata moved between hosts" in result.reason


def test_moved_metadata_comes_from_one_host_and_forgets_its_rows_classes():
    groups = np.repeat(np.arange(30), np.arange(1, 31) % 4 + 1)
    moved = module._moved(groups, np.random.default_rng(0))
    donor = [set(groups[moved[groups == h]]) for h in range(30)]
    assert all(len(d) == 1 for d in donor)
    assert sorted(d.pop() for d in donor) == list(range(30))


def test_missing_values_are_a_column_and_infinite_ones_an_error():
    pairs = pairs_block(n_hosts=40, size=48, absent_band_every=3)  # only injections lack the first band
    result = gate(pairs)
    assert "psf_fwhm_arcsec_g missing" in result.controls["columns"]
    assert result.coef[result.controls["columns"].index("psf_fwhm_arcsec_g missing")] > 0
    assert gate(pairs, "metadata_r").verdict is Verdict.PASS  # g is not looked at
    psf = pairs["psf_fwhm_arcsec"].values.copy()
    psf[3, 1] = np.inf
    broken = gate(pairs.assign(psf_fwhm_arcsec=(("sample", "band"), psf)))
    assert broken.verdict is Verdict.ERROR and "psf_fwhm_arcsec_r of host 5 is infinite" in broken.reason


def test_alike_rows_are_held_once_and_counted(sound):
    rows = MetadataRows.from_block(sound).rows
    assert rows.sizes["sample"] == 120 and rows["count"].sum() == sound.sizes["sample"]
    first = int(np.flatnonzero(sound["host_index"].values == rows["host_index"].values[0])[0])
    of_first = dict(zip(names_of(rows), rows["value"].values[0], strict=True))
    assert of_first["sky_sigma_nmgy_r"] == sky(sound["ctrl"].values[first : first + 1])[1][0, 1]
    assert np.isnan(of_first["sky_sigma_nmgy_g"])  # every sixth host has no g


def test_the_result_is_strict_json_and_says_what_was_done():
    result = of_rows(rows_of(60, 4, np.arange(60) % 2, 3))
    tree = json.loads(result.to_json())
    assert "weighted so that both count alike" in tree["recipe"]["classes"]
    assert "C=1" in tree["recipe"]["estimator"] and tree["recipe"]["columns"] == [f"c{k}" for k in range(6)]


def test_names_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="metadata gates are linear"):
        GateConfig(recipes=("metadata_all+trees",))
    with pytest.raises(ValueError, match="raw view only"):
        GateConfig(recipes=("metadata_all_robust",))
    with pytest.raises(ValueError, match="no handling of the core changes"):
        CoreConfig(gates=("metadata_all",))


def test_blocks_of_other_columns_are_not_joined():
    pairs = pairs_block(size=48)
    with pytest.raises(GateError, match="different columns"):
        MetadataRows.concat([MetadataRows.from_block(pairs), MetadataRows.from_block(pairs.drop_vars("x_center"))])
    with pytest.raises(GateError, match="no blocks"):
        MetadataRows.concat([])


OWN = np.arange(90) % 3 == 0
DESIGNS = {
    "nearly balanced, one injection is missing on some hosts": lambda draw: (8 - (draw.random(90) < 0.1), 1),
    "classes on hosts of their own": lambda draw: (np.where(OWN, 0, 4), np.where(OWN, 1, 0)),
    "a third of the hosts has a control": lambda draw: (4, draw.random(90) < 0.33),
    "any number of rows": lambda draw: (draw.poisson(4, 90), draw.poisson(1, 90)),
}


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_hold_one_half_where_metadata_says_nothing(design):
    """Binomial scatter of 200 sets: 91 % or more is what a level of 95 % gives in 99 % of trials."""
    found = [
        of_rows(rows_of(90, *DESIGNS[design](np.random.default_rng(seed + 1000)), seed, columns=15), seed=seed)
        for seed in range(200)
    ]
    assert np.mean([r.auc_low <= 0.5 <= r.auc_high for r in found]) >= 0.91
    assert np.mean([r.controls["null"]["holds_half"] for r in found]) >= 0.99
    assert not any(r.verdict is Verdict.FAIL for r in found)
