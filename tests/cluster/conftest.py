"""The run that runs on other clusters are compared with."""

import pytest

from tests.cluster.runs import command_of, digests


@pytest.fixture(scope="session")
def local_bytes(tmp_path_factory):
    """Digests of what the tiny run writes by command on processes of this machine."""
    folder = tmp_path_factory.mktemp("local")
    done = command_of(folder, "run", "--cluster", "local")
    assert done.wait() == 0, (folder / "log.txt").read_text()
    found = digests(folder / "run")
    assert len(found) > 10
    return found
