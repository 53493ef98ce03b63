"""Sketches of stamps: the compiled pass keeps the hashes that whole arrays have."""

import numpy as np
import pytest

from lensflow.survey.portraits import NOTHING, SKETCH
from lensflow.survey.sketches import sketch_images


def mixed(x):
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def of_arrays(image, good):
    """Smallest hashes of one image, from all its squares at once."""
    with np.errstate(over="ignore"):
        pixel = mixed((image.view(np.uint32).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
        size = len(image)
        square = np.lib.stride_tricks.sliding_window_view(pixel, (3, 3)).reshape(-1, 9)
        whole = np.lib.stride_tricks.sliding_window_view(good, (3, 3)).reshape((size - 2) ** 2, 9).all(axis=1)
        middle, beside, corners = square[:, 4], square[:, 1::2].sum(axis=1), square[:, [0, 2, 6, 8]].sum(axis=1)
        one_value = (beside == middle * np.uint64(4)) & (corners == middle * np.uint64(4))
        value = mixed(middle + beside * np.uint64(0x9E3779B97F4A7C15) + corners * np.uint64(0xD1B54A32D192ED03))
    return np.sort(np.append(value[whole & ~one_value], [NOTHING] * SKETCH))[:SKETCH]


@pytest.mark.parametrize("kind", ["noise", "few values", "holes", "one pixel", "small"])
def test_the_smallest_hashes_are_those_of_all_squares(kind):
    draw = np.random.default_rng(1)
    size = {"small": 4}.get(kind, 16)
    image = draw.normal(size=(5, size, size)).astype(np.float32)
    image = np.rint(image) + np.float32(0) if kind == "few values" else image
    if kind == "one pixel":
        image[:] = 0
        image[:, 5, 7] = 1
    good = draw.random(image.shape) > 0.1 if kind == "holes" else np.ones(image.shape, bool)
    sketch = np.empty((5, SKETCH), np.uint64)
    sketch_images(image.view(np.uint32), good, NOTHING, sketch)
    np.testing.assert_array_equal(sketch, [of_arrays(i, g) for i, g in zip(image, good, strict=True)])
    assert (sketch != NOTHING).any()
