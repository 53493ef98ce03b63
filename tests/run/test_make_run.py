"""What a run does in which order."""

import time
from functools import partial
from importlib import import_module
from types import SimpleNamespace

import pytest
import xarray as xr

from lensflow.config import load_config
from lensflow.errors import GateError
from lensflow.store import lease

module = import_module("lensflow.run.make_run")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A run whose steps do nothing but what a test says."""
    config = load_config({"name": "order", "out": str(tmp_path), "bands": ["r"], "survey": {"synthetic": {}}})
    rows = xr.Dataset({"row_id": ("sample", [1, 2, 3])}, attrs={"n_sealed": 0})
    quick = {
        "cut_step": lambda *of: xr.Dataset({"host_id": ("host", [1])}), "plan_step": lambda *of: rows,
        "inject_step": lambda *of: rows, "refuse_other_run": lambda *of: None, "_keep_timings": lambda *of: None,
    }  # fmt: skip
    for name, step in quick.items():
        monkeypatch.setattr(module, name, step)
    monkeypatch.setattr("lensflow.run.report.report_if_stale", lambda *of: "page")

    def made(measure, also):
        monkeypatch.setattr(module, "measure_step", measure)
        return module.make_run(config, also=also)

    return made


def test_further_steps_run_on_measured_pairs_within_the_lease_of_the_run_and_before_the_report(run, monkeypatch):
    """A completeness keeps the verdicts of the gates beside its numbers: it must find them."""
    seen = []

    def further(config, progress):
        progress("further", 0, 1)
        with lease.hold(config.out):  # not refused: the run's own
            seen.append("further")

    monkeypatch.setattr("lensflow.run.report.report_if_stale", lambda *of: seen.append("report") or "page")
    also = {"further": further, "second": lambda *of: seen.append("second")}
    stages = run(lambda *of: seen.append("gates") or ({}, []), also).stages
    assert seen == ["gates", "further", "second", "report"]
    assert [s["stage"] for s in stages] == ["cut", "plan", "inject", "diagnose + gate", "further", "second", "report"]
    assert [s["worked"] for s in stages] == [False] * 4 + [True, False, False]


def test_a_further_step_that_fails_fails_the_run_when_the_gates_are_there(run):
    kept = []

    def further(config, progress):
        raise GateError("too few hosts")

    with pytest.raises(GateError, match="too few hosts"):
        run(lambda *of: kept.append("gates") or ({}, []), {"further": further})
    assert kept == ["gates"]


def test_what_fits_and_draws_is_imported_while_the_workers_cut_and_its_errors_are_the_runs(run, monkeypatch):
    imported, cut = [], module.cut_step
    monkeypatch.setattr(module, "import_module", lambda name: imported.append(name))

    def waits(*of):
        while module.REPORT not in imported:
            time.sleep(0.001)
        return cut(*of)

    def fails(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(module, "cut_step", waits)
    with pytest.raises(AttributeError, match="report_if_stale"):  # of the None that was imported
        run(lambda *of: ({}, []), {})
    assert imported == [*module.LATER, module.REPORT]
    monkeypatch.setattr(module, "import_module", fails)
    monkeypatch.setattr(module, "cut_step", cut)
    with pytest.raises(ImportError, match=f"no {module.LATER[0]}"):
        run(lambda *of: ({}, []), {})


def test_figures_are_begun_when_the_gates_are_kept_and_the_report_is_given_them(run, monkeypatch):
    """Not before: it reads the gates that are kept. What is begun without a further step would be begun no sooner."""
    seen, start = [], SimpleNamespace(beside="beside")
    monkeypatch.setattr(module, "make_ready", lambda scores: [])
    monkeypatch.setattr(module, "begun_on_workers", lambda: start)
    monkeypatch.setattr("lensflow.run.report.begin_figures", lambda config, begin: seen.append(begin))
    monkeypatch.setattr("lensflow.run.report.report_if_stale", lambda c, tell, s: seen.append(s) or "page")

    def measure(config, progress, gates=True):
        progress(module.GATES, int(gates), 1)
        seen.append("gates")
        return {}, []

    also = {"further": lambda *of: seen.append("further")}
    run(measure, also)
    assert seen == ["gates", "beside", "further", start]
    seen.clear()
    run(measure, {})
    assert seen == ["gates", start]
    seen.clear()
    run(partial(measure, gates=False), also)  # they were there
    assert seen == ["gates", "further", None]


def test_workers_begin_to_get_ready_to_draw_once_when_the_first_gate_is_done(run, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "make_ready", lambda scores: seen.append("ready") or [])

    def measure(config, progress):
        progress("measure", 0, 1)
        seen.append("measured")
        for done in range(3):
            progress(module.GATES, done, 2)
            seen.append(done)
        seen.append("gates")
        return {}, []

    run(measure, {})
    assert seen == ["measured", 0, "ready", 1, 2, "gates"]
