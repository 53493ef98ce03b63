"""One small, sound run for all tests of diagnostics; whoever spoils its pairs works on a copy."""

import pytest

from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels import Block, Settings, measure
from lensflow.measure.zoo.small_run import small_run

CONFIG = DiagnosticsConfig(bootstrap=100)


@pytest.fixture(scope="session")
def run():
    return small_run(hosts=40, per_host=3)


@pytest.fixture(scope="session")
def pairs(run):
    return run.pairs()


@pytest.fixture(scope="session")
def results(run, pairs):
    return measure(Block(pairs, CONFIG, run.origin)).results(Settings(CONFIG, 1, run.injection))
