"""What every staged failure is compared with: the same run with nothing in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lensflow import run as steps
from lensflow.config import RunConfig, load_config
from tests.s3.compare import store_digests
from tests.s3.proxy import running_proxy
from tests.small_survey import small_survey


@dataclass(frozen=True)
class Whole:
    """A run that nothing befell: its config as a mapping, and the digest of every object of its stores."""

    settings: dict[str, Any]
    digests: dict[str, str]

    def at(self, out: object, **sections: Any) -> RunConfig:
        """The same run elsewhere."""
        return load_config({**self.settings, "out": str(out), **sections})


def make_pairs(config: RunConfig) -> None:
    steps.cut_step(config)
    steps.plan_step(config)
    steps.inject_step(config)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    settings = small_survey(tmp_path_factory.mktemp("whole"))
    make_pairs(load_config(settings))
    return Whole(settings, store_digests(settings["out"]))


@pytest.fixture
def planned(whole, tmp_path):
    """A run in a new folder, cut and planned: what comes is the injection."""
    config = whole.at(tmp_path / "run")
    steps.cut_step(config)
    steps.plan_step(config)
    return config


@pytest.fixture
def proxy(s3_server):
    with running_proxy(s3_server.port) as running:
        yield running


@pytest.fixture
def behind(whole, bucket, proxy):
    """Config of a run on S3 that reaches its bucket through the proxy."""

    def of(library="s3fs"):
        if library == "obstore":
            pytest.importorskip("obstore")
        return whole.at(f"{bucket}/run", storage={"endpoint_url": proxy.endpoint_url, "library": library})

    return of
