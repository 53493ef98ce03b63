"""Steps without figures: tests/report and tests/cli draw them, which takes seconds a report."""

import io

import matplotlib.figure
import pytest
from PIL import Image


@pytest.fixture(scope="module", autouse=True)
def figures_are_not_drawn():
    """Every figure is a picture of one pixel here."""
    one = io.BytesIO()
    Image.new("L", (1, 1)).save(one, format="png")

    def save(_, place, **__):
        place.write(one.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", save)
        yield
