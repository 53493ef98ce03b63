"""What probes get of pixels: means of squares of the residual, and an encoder that is checked."""

import numpy as np
import pytest

from lensflow.errors import ConfigError, RealismError
from lensflow.run.realism.pixels import block_means, embedded, find_encoder, scores_alike

IMAGES = np.random.default_rng(0).normal(size=(6, 2, 8, 8)).astype(np.float32)


def good(images):
    return images.mean(axis=(2, 3))


def test_means_are_those_of_the_residual_and_squares_without_data_are_missing():
    draws = np.random.default_rng(1)
    images = draws.normal(0, 0.1, size=(3, 1, 64, 64)).astype(np.float32)
    images[0, 0, 8:16, 40:48] += 5.0
    images[1, 0, 0:8, 0:8] = np.nan
    names, values = block_means(images, np.full(3, 31.5), np.full(3, 31.5), ("r",))
    assert len(names) == 64
    assert values.shape == (3, 64)
    assert values[0, names.index("r 1,5")] == pytest.approx(5.0, abs=0.5)
    assert np.isnan(values[1, names.index("r 0,0")])
    assert np.isfinite(values[2]).all()


def test_a_sound_encoder_gives_its_features():
    assert embedded(good, IMAGES, "good") == pytest.approx(good(IMAGES.astype(float)), abs=1e-6)


def test_an_encoder_that_is_not_finite_is_named_with_its_row():
    def bad(images):
        found = good(images)
        found[images[:, 0, 0, 0] == IMAGES[4, 0, 0, 0]] = np.nan
        return found

    with pytest.raises(RealismError, match="bad: a feature of row 4 is not finite"):
        embedded(bad, IMAGES, "bad")


def test_an_encoder_that_returns_other_shapes_is_refused():
    with pytest.raises(RealismError, match="must give"):
        embedded(lambda images: good(images)[:-1], IMAGES, "short")
    with pytest.raises(RealismError, match="must give"):
        embedded(lambda images: images, IMAGES, "pixels")


def running(images):
    """The first image's features are its own: only those behind it know of others."""
    return np.cumsum(good(images), axis=0)


@pytest.mark.parametrize(("encoder", "row"), [
    (lambda images: good(images) - good(images).mean(axis=0), 0),
    (running, 3),
    (lambda images: good(images) + np.random.default_rng().normal(size=(len(images), 2)), 0),
])  # fmt: skip
def test_an_encoder_that_looks_at_its_batch_is_refused(encoder, row):
    with pytest.raises(RealismError, match=f"the features of row {row} differ among other images"):
        embedded(encoder, IMAGES, "batch norm")


def test_an_encoder_whose_width_depends_on_the_batch_is_refused():
    with pytest.raises(RealismError, match="batches have 6, 3, 3 features"):
        embedded(lambda images: np.ones((len(images), len(images))), IMAGES, "wide")


def test_a_scorer_of_real_lenses_names_the_lens():
    names = np.array([f"lens {k}" for k in range(6)])
    one = IMAGES[:, 0].mean(axis=(1, 2)).astype(float)
    assert scores_alike(lambda images: images[:, 0].mean(axis=(1, 2)), IMAGES, names, "mean") == pytest.approx(one)
    with pytest.raises(RealismError, match=r"scorer sum: the score of real lens lens 3 is .*depend on the images besi"):
        scores_alike(lambda images: np.cumsum(images[:, 0].mean(axis=(1, 2))), IMAGES, names, "sum")
    with pytest.raises(RealismError, match="the score of real lens lens 5 is not finite: nan"):
        scores_alike(lambda images: np.where(images[:, 0, 0, 0] == IMAGES[5, 0, 0, 0], np.nan, 1.0), IMAGES, names, "n")


def test_a_scorer_that_normalises_in_place_changes_nothing_of_ours():
    before = IMAGES.copy()

    def greedy(images):
        images -= images.mean()
        return np.zeros(len(images))

    scores_alike(greedy, IMAGES, np.arange(6).astype(str), "greedy")
    assert (before == IMAGES).all()


def test_an_encoder_that_fails_says_why():
    def fails(images):
        raise ValueError("no weights")

    with pytest.raises(RealismError, match="ValueError: no weights"):
        embedded(fails, IMAGES, "fails")


def test_an_encoder_is_found_before_any_work():
    with pytest.raises(ConfigError, match="encoder"):
        find_encoder("no_such_module_of_mine:embed", ".")
    assert find_encoder("numpy:mean", ".") is np.mean
