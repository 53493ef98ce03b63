"""Steps without figures."""

import pytest

from tests.quick import few_images, few_skies, no_figures


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Reports are written here for what they say."""
    with no_figures(), few_images(), few_skies():
        yield
