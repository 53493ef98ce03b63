"""`lensflow score` on a stored run: results kept, current or renewed, the test split sealed."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow import schema
from lensflow.errors import ConfigError, GateError, StoreError
from lensflow.measure.gate import Verdict
from lensflow.run.importable import load, source_of
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder
from lensflow.store.sealing import read_test_accesses
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole

BLUE_RING = "lensflow.measure.scorer.scorer:blue_ring"
MODULE = """
import numpy as np

weight = np.float64({weight})
y, x = np.mgrid[:64, :64]
core_pixels = np.hypot(x - 31.5, y - 31.5) < 4

def core(images):
    return weight * images[:, 0][:, core_pixels].sum(axis=1)

def constant(images):
    return np.ones(len(images))

def hole(images):
    return np.where(np.arange(len(images)) == 3, np.nan, images.mean(axis=(1, 2, 3)))

class Stubborn:
    def __call__(self, images):
        return core(images)

    def __reduce__(self):
        raise TypeError("not to be pickled")

stubborn = Stubborn()
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """36 hosts, 12 of them in each split, three injections each."""
    config = make_config(
        str(tmp_path_factory.mktemp("score") / "run"), plan={"injections_per_host": 3}, scorer={"bootstrap": 60}
    )
    cutouts = with_measurements(make_cutouts(36)).assign(split=("host", np.repeat(np.arange(3, dtype=np.uint8), 12)))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Path of a module of scorers in the folder that the command runs in; its name is new in each test."""
    name = f"models_{abs(hash(tmp_path))}"
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.py").write_text(MODULE.format(weight=1))
    return name


def test_scores_are_judged_and_kept_with_key_and_source(config):
    told = []
    auroc, drop = steps.score_step(config, BLUE_RING, lambda *a: told.append(a))
    assert (auroc.n_rows, auroc.n_hosts) == (36, 12) and told[-1] == ("score", len(told) - 1, len(told) - 1)
    assert auroc.auc > 0.8 and "val split" in auroc.reason and drop.findings
    kept = json.loads(
        Path(config.out, "summaries", "scorers", "lensflow.measure.scorer.scorer-blue_ring.val.json").read_text()
    )
    assert kept["results"]["source"] == auroc.recipe["scorer_source"] and kept["key"] and kept["code"]
    again = steps.score_step(config, BLUE_RING, lambda *a: told.append("worked"))
    assert "worked" not in told and [g.to_dict() for g in again] == [auroc.to_dict(), drop.to_dict()]
    steps.score_step(config, BLUE_RING, lambda *a: told.append("worked"), again=True)
    assert "worked" in told


def test_only_regions_with_rows_of_the_split_are_read(config):
    told = []
    steps.score_step(config, BLUE_RING, lambda *a: told.append(a), again=True)
    every = len(list(Path(config.out, "receipts", "pairs").glob("*.json")))
    assert 0 < told[-1][2] <= every // 3 + 2 < every


def test_a_scorer_of_the_core_loses_it_and_does_not_pass(config, models):
    auroc, drop = steps.score_step(config, f"{models}:core")
    assert drop.verdict is Verdict.FAIL and auroc.auc > 0.75
    filled = next(f for f in drop.findings if f["check"] == "AUROC, core filled" and f["where"] == "all")
    assert filled["value"] == pytest.approx(0.5, abs=0.03)


def test_changed_weights_or_text_are_scored_anew_and_a_scorer_without_fingerprint_always(config, models, monkeypatch):
    told = []

    def worked(name):
        told.clear()
        steps.score_step(config, f"{models}:{name}", lambda *a: told.append(a))
        return bool(told)

    assert worked("core") and not worked("core")
    monkeypatch.setattr(importlib.import_module(models), "weight", np.float64(2))
    assert worked("core") and not worked("core")
    Path(f"{models}.py").write_text(MODULE.format(weight=1) + "# another text\n")
    assert worked("core") and not worked("core")
    assert source_of(f"{models}:stubborn", ".") is None
    assert worked("stubborn") and worked("stubborn")


def test_the_test_split_needs_a_reason_and_its_opening_is_logged_once(config):
    folder = RunFolder.of(config)
    test = config.model_copy(update={"scorer": config.scorer.model_copy(update={"split": "test"})})
    with pytest.raises(StoreError, match="sealed"):
        steps.score_step(test, BLUE_RING)
    with pytest.raises(ConfigError):
        steps.score_step(test, "no.such:module", unseal_test="never happens")
    assert read_test_accesses(folder.pairs) == []
    auroc, _ = steps.score_step(test, BLUE_RING, unseal_test="final figures")
    assert auroc.n_rows == 36 and auroc.reason.endswith("Scored on the test split")
    (entry,) = read_test_accesses(folder.pairs)
    assert entry["rows"] == 36 and "final figures" in entry["why"] and BLUE_RING in entry["why"]
    steps.score_step(test, BLUE_RING, unseal_test="read again what is stored: no row is opened")
    assert len(read_test_accesses(folder.pairs)) == 1


def test_no_step_hands_a_row_of_another_split_to_the_scorer(config, monkeypatch):
    manifest = lf.open_manifest(RunFolder.of(config).manifest)
    of_val = set(manifest["row_id"].values[manifest["split"].values == schema.SPLITS.index("val")].tolist())
    seen = []
    real = steps.score.score_block

    def spy(pairs, *more):
        seen.extend(pairs["row_id"].values.tolist())
        return real(pairs, *more)

    monkeypatch.setattr(steps.score, "score_block", spy)
    steps.score_step(config, BLUE_RING, again=True)
    assert set(seen) == of_val


def test_a_split_without_rows_is_not_testable_and_no_image_is_scored(config, monkeypatch):
    monkeypatch.setattr(steps.score, "scored_hosts", lambda *_: np.empty(0, np.int64))
    monkeypatch.setattr(steps.score, "as_scorer", lambda *_: lambda images: pytest.fail("scored"))
    gates = steps.score.judged(config, BLUE_RING, ".", None, lambda *_: None)
    assert {(g.verdict, g.n_rows) for g in gates} == {(Verdict.NOT_TESTABLE, 0)}


def test_stored_scorers_are_those_of_these_pairs_and_settings(config, models):
    for name in (BLUE_RING, f"{models}:constant"):
        steps.score_step(config, name)
    steps.score_step(
        config.model_copy(update={"scorer": config.scorer.model_copy(update={"split": "train"})}), BLUE_RING
    )
    found = {(g.recipe["scorer"], g.recipe["split"], g.name) for g in steps.stored_scorers(config)}
    for who in ((BLUE_RING, "val"), (BLUE_RING, "train"), (f"{models}:constant", "val")):
        assert {(*who, "synthetic_auroc"), (*who, "core_drop")} <= found
    other = config.model_copy(update={"scorer": config.scorer.model_copy(update={"core_radius_pix": 4.0})})
    assert steps.stored_scorers(other) == []


@pytest.mark.slow
def test_lazy_and_opened_pairs_give_the_numbers_of_the_store(config):
    folder = RunFolder.of(config)
    stored = steps.score_step(config, BLUE_RING)
    scorer = load(BLUE_RING, ".")
    lazy = lf.inject(lf.open_cutouts(folder.cutouts), lf.open_manifest(folder.manifest), config, chunk=7)
    for pairs in (lf.open_pairs(folder.pairs), lazy):
        auroc, drop = lf.score_pairs(pairs, scorer, config)
        assert (auroc.auc, auroc.auc_low, auroc.n_rows) == (stored[0].auc, stored[0].auc_low, stored[0].n_rows)
        assert drop.findings == stored[1].findings
    with pytest.raises(StoreError, match="sealed"):
        lf.score_pairs(lf.open_pairs(folder.pairs), scorer, config, split="test")
    only_train = lf.open_pairs(folder.pairs, split="train")
    assert lf.score_pairs(only_train, scorer, config)[0].verdict is Verdict.NOT_TESTABLE
    with pytest.raises(StoreError, match="no split"):
        lf.score_pairs(lazy, scorer, config, split="tests")


def test_rows_without_a_score_are_an_error_and_broken_scorers_are_named(config, models):
    auroc, _ = steps.score_step(config, f"{models}:hole")
    assert auroc.verdict is Verdict.ERROR and "scores nan" in auroc.reason
    with pytest.raises(ConfigError, match=r"has no 'cores'. Did you mean 'core'\?"):
        steps.score_step(config, f"{models}:cores")
    with pytest.raises(ConfigError, match="cannot be imported"):
        steps.score_step(config, "no_such_module:core")
    with pytest.raises(ConfigError, match=r"name it as package\.module:name"):
        steps.score_step(config, "finder.py")
    with pytest.raises(GateError, match="is the class Stubborn"):
        steps.score_step(config, f"{models}:Stubborn")


@pytest.mark.slow
def test_the_command_prints_both_gates_and_exits_with_3_unless_both_pass(config, models, command):
    code, text = command("score", config.out, f"{models}:core")
    assert code == 3 and "core_drop FAIL" in text and "filled" in text and "theta_E" in text
    assert "36 12" in text
    code, text = command("score", config.out, f"{models}:constant")
    assert code == 3 and "NOT TESTABLE" in text and "every image scores 1" in text
    code, text = command("score", config.out, BLUE_RING, "--split", "test")
    assert code == 1 and "sealed" in text and "--unseal" in text
    code, text = command("score", config.out, BLUE_RING, "--split", "train")
    assert code == 3 and "says nothing about new lenses" in text
    easy = {**config.effective(), "scorer": {"min_auroc": 0.5, "max_core_drop_pct": 25, "bootstrap": 60}}
    code, text = command("score", BLUE_RING, config=easy)
    assert code == 0 and text.count("PASS") == 2


def test_scores_without_the_lens_light_are_others_and_are_kept_apart(config):
    """The setting is in the key of scores and of completeness: neither is read for the other."""
    scorer = config.scorer.model_copy(update={"lens_light": "radial"})
    other = config.model_copy(update={"scorer": scorer})
    kept, taken = (steps.score_step(c, BLUE_RING) for c in (config, other))
    assert taken[0].recipe["lens_light"] == "radial" and "lens_light" not in kept[0].recipe
    assert taken[0].area.value != kept[0].area.value
    for stage in ("scorer", "completeness", "training"):
        assert config.settings_of(stage) != other.settings_of(stage)
    assert config.settings_of("gates") == other.settings_of("gates")
    assert steps.score_step(config, BLUE_RING)[0].area.value == kept[0].area.value
