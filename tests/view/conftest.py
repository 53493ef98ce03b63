import shutil

import numpy as np
import pytest

import lensflow as lf
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder, config_of
from lensflow.view.rows import open_rows
from tests.factories import make_config
from tests.run.completeness_run import completeness_run, hosts

HOSTILE = "<script>document.title='owned'</script>$$x^2$$"


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """36 hosts, twelve a split; only read."""
    return completeness_run(tmp_path_factory)


@pytest.fixture(scope="session")
def rows(config):
    return open_rows(config).rows


@pytest.fixture(scope="session")
def opened(config):
    """All rows that may be seen, as everybody opens them."""
    return lf.open_pairs(config.out)


@pytest.fixture(scope="session")
def measured(config, tmp_path_factory):
    """A copy with completeness of val and of the sealed test split; only read."""
    out = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(str(config.out), out, ignore=shutil.ignore_patterns("completeness"))  # other tests measure there
    run = lf.open_run(str(out))
    run.completeness("snr_matched", truth=True, value=10.0, split="val")
    run.completeness("snr_matched", truth=True, value=10.0, split="test", unseal_test="a test")
    return config_of(str(out))


@pytest.fixture
def copy(config, tmp_path):
    """A run to be damaged."""
    shutil.copytree(str(config.out), tmp_path / "run")
    return config_of(str(tmp_path / "run"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A run with names that are HTML, script and mathematics."""
    config = make_config(str(tmp_path_factory.mktemp("hostile") / "run"), name=HOSTILE)
    cutouts = hosts().isel(host=slice(0, 6))
    names = np.array([f"{HOSTILE}-{k}" for k in range(6)])
    cutouts = cutouts.assign_coords(host_id=("host", names), host=("host", names))
    lf.write_pairs(lf.inject(cutouts, lf.plan_injections(cutouts, config), config), config)
    paths.write_text(RunFolder.of(config).config, config.to_yaml())
    return config
