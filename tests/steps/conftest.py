"""Steps without figures: tests/report and tests/cli draw them, which takes seconds a report."""

import io

import matplotlib.figure
import pytest
from PIL import Image

from lensflow import steps
from tests.steps.certified_run import few_images, make_run


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


@pytest.fixture(scope="session")
def certified_once(tmp_path_factory):
    """A run whose verdict is EXPLAINED, so not PASS; not signed. Tests of certificates copy it."""
    config = make_run(tmp_path_factory.mktemp("certified") / "run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        few_images(monkeypatch)
        steps.certify_step(config)
    return config
