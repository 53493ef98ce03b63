"""Steps without figures."""

import pytest

from tests.quick import few_images, not_drawn


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Reports are written here for what they say."""
    with not_drawn(), few_images():
        yield
