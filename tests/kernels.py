"""Compile the kernels that a first run does not: ``python -m tests.kernels``.

Views without the lens light, comparisons with real lenses, exports and images as sources have kernels of their own.
Without this each process of a set of tests that is the first to need one compiles it, often two of them the same.
"""

import gc

import numpy as np

from lensflow.export.pixels import kernels
from lensflow.lensing.image_levels import make_levels
from lensflow.measure.lens_light import subtract
from lensflow.measure.realism.features import features

N, BANDS, SIZE = 2, ("g", "r", "z"), 64


def compile_rest() -> None:
    images = np.random.default_rng(1).normal(size=(N, len(BANDS), SIZE, SIZE)).astype(np.float32)
    for light in ("radial", "smooth"):
        subtract(images, light)
    features(images, np.ones_like(images), np.full((N, len(BANDS)), 1.3), 0.262, BANDS)
    make_levels(images[0, 0].astype(np.float64), 4.0)
    _of_exports(images)


def _of_exports(images: np.ndarray) -> None:
    rows, of_each = np.arange(N), np.zeros(N)
    kernels.not_finite(images)
    kernels.take_into(
        np.empty_like(images), rows, images, rows, np.ones(N, np.uint8), np.ones(N, bool), np.zeros((N, 2), np.int64)
    )
    per_channel = np.ones((N, len(BANDS)), np.float32)
    lacks = kernels.normalise_in_place(images, per_channel, per_channel, kernels.ASINH, 5.0)
    middle = of_each + SIZE / 2
    kernels.mask_cores(images, rows, lacks, middle, middle, (3.0, 5.0), (20.0, 32.0), np.full((N, 64), 0.5), len(BANDS))


if __name__ == "__main__":
    gc.disable()  # a compiler makes little garbage: looking for it is an eighth of the time
    compile_rest()
