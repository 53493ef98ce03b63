"""The run that runs on other clusters are compared with."""

import pytest

from lensflow.cluster import connect
from lensflow.config import ClusterConfig
from tests.cluster.runs import digests, write_pixels


@pytest.fixture(scope="session")
def local_bytes(tmp_path_factory):
    """Digests of what the tiny run writes in threads of this process."""
    folder = tmp_path_factory.mktemp("local")
    with connect(ClusterConfig(kind="threads", workers=2, dashboard=None)):
        write_pixels(folder)
    found = digests(folder / "run")
    assert len(found) > 10
    return found
