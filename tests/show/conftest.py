"""Figures and tables of small runs."""

import pytest

from tests.quick import few_images


@pytest.fixture(scope="module", autouse=True)
def quick():
    """What is found is not asked here."""
    with few_images():
        yield
