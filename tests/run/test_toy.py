"""The toy of a run: fitted on the train split, measured on val, on the road of every other scorer."""

import hashlib
import shutil

import joblib
import numpy as np
import pytest
import sklearn.base
from sklearn.linear_model import LogisticRegression

import lensflow as lf
from lensflow.errors import ConfigError
from lensflow.measure.scorer import toy
from lensflow.run.completeness import completeness_step
from lensflow.run.importable import load, source_of
from lensflow.run.toy import fit_toy_step, toy_of, toy_step
from lensflow.show.completeness import sentence
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.survey.photometry import with_measurements
from tests.factories import make_config, make_cutouts

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "_LEAST_HOSTS", 8)
        patch.setattr(toy, "_TREES", 20)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """30 hosts with two injections each, ten hosts a split, two splits in some regions."""
    config = make_config(
        str(tmp_path_factory.mktemp("toy") / "run"), plan={"injections_per_host": 2},
        completeness={"threshold": {"fpr": [0.2]}, "bootstrap": 50},
    )  # fmt: skip
    cutouts = with_measurements(make_cutouts(30)).assign(split=("host", np.repeat(np.arange(3, dtype=np.uint8), 10)))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config


def digests(images):
    return {hashlib.sha256(np.ascontiguousarray(image, np.float32).tobytes()).hexdigest() for image in images}


@pytest.fixture(scope="module")
def seen(config):
    """Every image that was described while the toy was fitted, and while it was measured."""
    found, of = {"fit": set(), "score": set()}, {"now": "fit"}

    def features(images, original=toy.features):
        found[of["now"]] |= digests(images)
        return original(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "features", features)
        fit_toy_step(config)
        of["now"] = "score"
        patch.setattr(toy, "fit", None)  # not again
        tables = toy_step(config)
    return {**found, "tables": tables}


def test_it_is_fitted_on_images_of_train_alone_and_on_all_of_them(config, seen):
    train = lf.open_pairs(config.out, split="train").load()
    injected = ~train["is_control"].values
    stamps = digests(train["stamp"].values[injected])
    assert stamps < seen["fit"] <= stamps | digests(train["ctrl"].values)
    sealed = lf.open_pairs(config.out, split="test", unseal_test="a test of the toy").load()
    val = lf.open_pairs(config.out, split="val").load()
    for other in (val, sealed):
        assert not seen["fit"] & (digests(other["stamp"].values) | digests(other["ctrl"].values))


def test_what_was_fitted_is_what_the_opened_train_split_gives(config, seen):
    train = lf.open_pairs(config.out, split="train").load()
    again = toy.fit(toy.training_rows(train).rows, tuple(config.bands), config.seed)
    images = lf.open_pairs(config.out, split="val")["stamp"].values
    np.testing.assert_array_equal(load(toy_of(config), "")(images), again(images))


@pytest.mark.parametrize("name", ["toy_finder.joblib", "{out}/toy_finder.joblib"])
def test_its_results_are_named_from_the_runs_folder_and_go_with_it(config, seen, name, tmp_path, monkeypatch):
    assert seen["tables"].scorer == "toy_finder.joblib"
    moved = config_of(str(shutil.copytree(config.out, tmp_path / "elsewhere")))
    monkeypatch.setattr(toy, "features", None)  # nothing is scored again
    found = completeness_step(moved, name.format(out=moved.out))
    assert found["curves"].identical(seen["tables"]["curves"])
    assert lf.open_selection(moved.out, scorer="toy_finder.joblib").scorer == "toy_finder.joblib"
    assert [f.name for f in (tmp_path / "elsewhere/summaries/completeness").glob("*.json")] == [
        "toy_finder.joblib.val.json"
    ]


def test_it_is_measured_on_val_and_marked_as_a_toy_wherever_it_is_shown(config, seen):
    found = seen["tables"]
    val = lf.open_pairs(config.out, split="val")
    assert int(found["funnel"]["n_valid"]) == int((~val["is_control"].values).sum()) == 20
    assert digests(val["stamp"].values[~val["is_control"].values]) <= seen["score"]
    assert not seen["score"] & seen["fit"]
    said = sentence(toy_of(config), "val", found)
    assert (
        "A toy: a random forest" in said and "on split val, for injections drawn from this run's plan (preset h" in said
    )
    # The command's road finds the same, stored.
    assert completeness_step(config, toy_of(config))["curves"].equals(found["curves"])


def test_another_split_than_val_is_refused(config):
    for split in ("train", "test"):
        other = config.completeness.model_copy(update={"split": split})
        with pytest.raises(ConfigError, match=f"the toy is measured on val, not on {split}"):
            toy_step(config.model_copy(update={"completeness": other}))


def test_a_damaged_toy_is_fitted_again_and_a_sound_one_is_kept(config, seen):
    url, calls = toy_of(config), []
    kept = paths.read_object(url)
    for content in (b"no finder", b""):
        paths.write_bytes(url, content)
        fit_toy_step(config, lambda *a: calls.append(a))
        assert calls and paths.read_object(url) == kept
        calls.clear()
    fit_toy_step(config, lambda *a: calls.append(a))
    assert not calls


@pytest.fixture
def saved(tmp_path):
    images = np.random.default_rng(0).normal(size=(20, 12))
    joblib.dump(LogisticRegression().fit(images, np.arange(20) % 2), tmp_path / "finder.joblib")
    return tmp_path


def test_an_estimator_saved_in_a_file_is_a_scorer_known_by_its_bytes(saved):
    found, source = load("finder.joblib", str(saved)), source_of("finder.joblib", str(saved))
    assert found.predict_proba(np.zeros((1, 12))).shape == (1, 2)
    assert source == source_of(str(saved / "finder.joblib"), "elsewhere")
    joblib.dump(LogisticRegression(C=2.0).fit(np.eye(12), np.arange(12) % 2), saved / "finder.joblib")
    assert source_of("finder.joblib", str(saved)) != source
    # Loaded once a process, by its bytes: another file of the same name is another scorer.
    other = load("finder.joblib", str(saved))
    assert other.C == 2.0 and found.C == 1.0 and load(str(saved / "finder.joblib"), "elsewhere") is other


def test_a_file_that_is_none_is_damaged_or_is_of_another_version_is_refused(saved, monkeypatch):
    with pytest.raises(ConfigError, match=r"other\.joblib: there is no such file"):
        load("other.joblib", str(saved))
    (saved / "bad.joblib").write_bytes((saved / "finder.joblib").read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"bad\.joblib: cannot be loaded"):
        load("bad.joblib", str(saved))
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.0.2")
        joblib.dump(LogisticRegression().fit(np.eye(12), np.arange(12) % 2), saved / "old.joblib")
    with pytest.raises(ConfigError, match=r"saved by scikit-learn 1\.0\.2, here is"):
        load("old.joblib", str(saved))
    # Of a measurement, not of a scorer: no file is opened.
    with pytest.raises(ConfigError, match=r"name it as package\.module:name"):
        load("finder.joblib", str(saved), what="measurement")
