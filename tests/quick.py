"""Small runs without what takes seconds of each and is tested elsewhere: figures, and the slow reference."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.figure
import pytest
from PIL import Image

from lensflow.measure.pixels import psf_check, reference


@contextmanager
def not_drawn() -> Iterator[None]:
    """Every figure that is saved is a picture of one pixel."""
    one = io.BytesIO()
    Image.new("L", (1, 1)).save(one, format="png")

    def save(_, place, **__):
        place.write(one.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", save)
        yield


@contextmanager
def few_images() -> Iterator[None]:
    """No row is rendered by brute force, and impulses of two PSFs only: tests/measure/pixels has both whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "REFERENCE_ROWS", 0)
        patch.setattr(psf_check, "ROWS", 2)
        yield
