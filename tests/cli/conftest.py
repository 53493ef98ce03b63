import pytest

from tests.quick import few_images, no_figures
from tests.small_survey import small_survey


@pytest.fixture
def survey(tmp_path):
    """A survey of one brick with six hosts, and the config of a run on it."""
    return small_survey(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Reports are written here for what they say."""
    with no_figures(), few_images():
        yield
