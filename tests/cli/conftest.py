import pytest

from tests.small_survey import small_survey


@pytest.fixture
def survey(tmp_path):
    """A survey of one brick with six hosts, and the config of a run on it."""
    return small_survey(tmp_path)
