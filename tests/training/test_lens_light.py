"""Trainings on images without the light of their lens: learnt, scored and judged on the same images."""

import numpy as np
import pytest

import lensflow as lf
from lensflow import run as steps
from lensflow.config import load_config
from lensflow.errors import ConfigError, ExportError
from lensflow.run.export.open_view import open_view
from lensflow.store.run_folder import config_of
from lensflow.training import files
from lensflow.training.checkpoint import read_checkpoint
from lensflow.training.evaluate import score_view
from lensflow.training.step import train_step
from tests.shared import made_once
from tests.training.trained_run import make_run

pytestmark = pytest.mark.train
pytest.importorskip("torch", reason="trainings need torch")
pytest.importorskip("safetensors", reason="checkpoints need safetensors")


def with_light(config, export, scorer):
    tree = config.effective()
    return load_config({
        **tree, "export": {**tree["export"], "lens_light": export}, "scorer": {**tree["scorer"], "lens_light": scorer},
        "training": {**tree["training"], "epochs": 1},
    })  # fmt: skip


@pytest.fixture(scope="module")
def config():
    """A run of 60 hosts; trainings of other settings go beside one another."""
    return config_of(str(made_once("small-training-run", lambda at: make_run(at, 60, 3))))


@pytest.fixture(scope="module")
def found(config):
    return train_step(with_light(config, "radial", "radial"))


def test_the_network_scores_what_it_learnt_from_wherever_its_images_come_from(config, found):
    of = with_light(config, "radial", "radial")
    assert read_checkpoint(files.weights_of(of)).about.lens_light == "radial"
    assert found.numbers["scorer_differs_by"] < 1e-3
    assert found["core_unexplained"].n_rows > 0


@pytest.mark.parametrize("how", ["score", "completeness"])
def test_a_scorer_that_would_see_other_images_is_refused_with_both_values(config, found, how):
    whole = with_light(config, "kept", "kept")
    with pytest.raises(ConfigError, match=r"lens_light radial, and scorer\.lens_light is kept"):
        if how == "score":
            steps.score_step(whole, files.weights_of(whole))
        else:
            lf.completeness(whole, files.weights_of(whole), fpr=0.1)


def test_a_training_that_starts_from_other_images_is_refused(config, found):
    with pytest.raises(ConfigError, match="trained for lens_light radial, and the data have kept"):
        lf.train(with_light(config, "kept", "kept"), pretrained=files.weights_of(config))


@pytest.mark.parametrize(("export", "scorer", "both"), [("radial", "kept", "radial"), ("kept", "smooth", "smooth")])
def test_learning_and_scoring_of_different_images_is_refused(config, export, scorer, both):
    with pytest.raises(ExportError, match=f"Set both to {both}, or to kept"):
        train_step(with_light(config, export, scorer))


def test_the_explained_core_is_put_in_before_the_light_is_taken_off(config):
    """Put in afterwards, it would be the control's own residual and the whole arc, and no leak would look like one."""
    view = open_view(with_light(config, "radial", "radial"), split="val", view="pairs")
    scores = score_view(view, lambda x: x[:, :, 28:36, 28:36].mean(axis=(1, 2, 3)).astype(float), 0.262, 1)
    apart = np.abs(scores["stamp_explained"].values - scores["stamp"].values)
    assert np.median(apart) < 0.5 * np.median(np.abs(scores["own_ctrl"].values - scores["stamp"].values))
