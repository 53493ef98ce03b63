"""How a command begins and ends: workers' imports first, and no search for garbage."""

import atexit
import gc
import subprocess
import sys

import pytest

from lensflow.cli import root

BEGUN = """
import sys
import lensflow.cluster.forked as forked

def forking():
    print(sorted({"dask", "distributed", "numba", "sklearn", "xarray"} & {*sys.modules}))
    sys.exit(7)

forked.forking = forking
from lensflow.cli import main
main()
"""


@pytest.mark.parametrize("options", [["demo", "--out"], ["run", "config.yaml", "--out"]])
def test_the_process_that_workers_are_forked_from_is_started_before_anything_large_is_imported(tmp_path, options):
    (tmp_path / "config.yaml").write_text("name: a\nsurvey: {synthetic: {}}\nout: there\n")
    begun = subprocess.run(
        [sys.executable, "-c", BEGUN, *options, "out"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (begun.returncode, begun.stdout) == (7, "[]\n"), begun.stderr
    assert not (tmp_path / "out").exists()


CONNECTED = """
import contextlib, sys
import lensflow.cluster.forked as forked
forked.forking = contextlib.nullcontext
import lensflow.cluster.client as client

def connect(config):
    print(sorted({"matplotlib", "scipy.signal", "scipy.stats", "sklearn"} & {*sys.modules}))
    sys.exit(7)

client.connect = connect
from lensflow.cli import main
main()
"""


def test_workers_do_not_wait_for_what_fits_and_what_draws(tmp_path):
    begun = subprocess.run(
        [sys.executable, "-c", CONNECTED, "demo", "--out", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (begun.returncode, begun.stdout) == (7, "[]\n"), begun.stderr


def test_a_process_does_not_end_with_a_search_for_garbage_nor_keeps_it_while_it_goes_on(monkeypatch):
    """Python makes one at its end, over all that was imported, unless that is frozen. ``main`` may be called often."""
    at_end, frozen = [], gc.get_freeze_count()
    monkeypatch.setattr(atexit, "register", at_end.append)
    monkeypatch.setattr(gc, "set_threshold", lambda *of: None)  # this process goes on
    monkeypatch.setattr(root, "app", lambda: sys.exit(5))
    with pytest.raises(SystemExit, match="5"):
        root.main()
    assert at_end == [gc.freeze] and gc.get_freeze_count() <= frozen
