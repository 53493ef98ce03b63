"""Settings of the training: what tells the class, or cannot be carried out, is refused by name."""

import pytest

from lensflow.config import load_config
from lensflow.config.place import Place
from lensflow.errors import ConfigError


def training(**settings):
    return load_config({"out": "runs/x", "survey": {"root": "-", "targets": "-"}, "training": settings}).training


def test_the_defaults_are_those_of_the_original_investigation():
    of = training()
    assert (of.model, of.learning_rate, of.weight_decay, of.batch_size, of.epochs) == ("resnet18", 1e-3, 1e-4, 256, 50)
    assert (of.warm_up_epochs, of.seed, of.aux, of.core_mask, of.max_bad_pixel_frac) == (1.0, 0, "none", None, 0.2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"core_mask": {"r0": 4, "positives": 0.5}}, "no such setting"),
        ({"core_mask": {"classes": "positives"}}, "a mask on one class would tell it"),
        ({"core_mask": {"fill": "zeros"}}, "annulus"),
        ({"core_mask": {"r0": 7, "r1": 4}}, "r0 must be below r1"),
        ({"aux": "margin"}, "set order: together"),
        ({"model": "tinny"}, "Did you mean 'tiny'"),
        ({"epochs": 2, "warm_up_epochs": 3}, "warm_up_epochs"),
        ({"features": ["snr"]}, "'snr' is not admitted beside the pixels: a row's own columns"),
        ({"features": ["theta_e_arcsec"]}, "'theta_e_arcsec' is not admitted"),
        ({"features": ["psf_fwhm", "flux_nmgy"]}, "'flux_nmgy' is not admitted"),
        ({"features": ["psf_fwmh"]}, "Did you mean 'psf_fwhm'"),
        ({"features": ["psf_fwhm", "psf_fwhm"]}, "named twice"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_reason(settings, words):
    with pytest.raises(ConfigError, match=words):
        training(**settings)


def test_weights_from_a_file_are_a_place_and_a_word_stays_a_word():
    assert isinstance(training(pretrained="weights/resnet18.pth").pretrained, Place)
    assert training(pretrained=False).pretrained is False


def test_no_setting_of_the_training_makes_stored_pixels_or_verdicts_stale():
    tree = {"out": "runs/x", "survey": {"root": "-", "targets": "-"}}
    a, b = load_config(tree), load_config({**tree, "training": {"seed": 7, "model": "tiny"}})
    for stage in ("cutouts", "manifest", "pairs", "diagnostics", "gates", "core", "scorer", "completeness"):
        assert a.settings_of(stage) == b.settings_of(stage)
