"""Steps without figures; a certified run that the tests of certificates copy."""

import pytest

from lensflow import steps
from tests.figures import not_drawn
from tests.steps.certified_run import few_images, make_run


@pytest.fixture(scope="module", autouse=True)
def figures_are_not_drawn():
    """Reports are written here for what they say."""
    with not_drawn():
        yield


@pytest.fixture(scope="session")
def certified_once(tmp_path_factory):
    """A run whose verdict is EXPLAINED, so not PASS; not signed."""
    config = make_run(tmp_path_factory.mktemp("certified") / "run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        few_images(monkeypatch)
        steps.certify_step(config)
    return config
