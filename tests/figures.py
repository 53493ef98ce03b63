"""Reports without their drawing, which takes seconds a page: tests/show looks at the figures."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.figure
import pytest
from PIL import Image


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
