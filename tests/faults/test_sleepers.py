"""A writer that is stopped, loses its folder to another run, and wakes when that one has finished."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from lensflow import run as steps
from lensflow.store import lease
from tests.faults.test_processes import ROOT
from tests.s3.compare import store_digests

pytestmark = pytest.mark.faults


@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
@pytest.mark.parametrize("where", ["rendering", "publishing"])
def test_a_writer_that_wakes_after_it_lost_its_folder_changes_nothing(whole, planned, where, monkeypatch):
    monkeypatch.setattr(lease, "DEAD_AFTER_S", 1.0)
    monkeypatch.setattr(lease, "POLL_S", 0.1)
    file = Path(f"{planned.out}.yaml")
    file.write_text(yaml.safe_dump({**whole.settings, "out": planned.out}))
    sleeper = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.sleeper", str(file), where], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 150
        while psutil.Process(sleeper.pid).status() != psutil.STATUS_STOPPED:
            assert sleeper.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        steps.inject_step(planned)
        assert store_digests(planned.out) == whole.digests
        before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in Path(planned.out).rglob("*") if p.is_file()}
        sleeper.send_signal(signal.SIGCONT)
        said = sleeper.communicate(timeout=100)[1]
    finally:
        sleeper.kill()
    assert sleeper.returncode != 0 and "took this folder over" in said
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in Path(planned.out).rglob("*") if p.is_file()}
    assert steps.verify_step(planned.out).damage == ()
