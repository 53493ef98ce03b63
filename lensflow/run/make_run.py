"""Every step of a run in order, each timed; finished work is kept."""

from __future__ import annotations

import contextlib
import platform
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any, TypeVar

import xarray as xr
from distributed import Future, performance_report

from lensflow.config import RunConfig
from lensflow.measure.gate import GateResult
from lensflow.run.cut import cut_step
from lensflow.run.execute import Progress, active_client, peak_rss_mb, silent
from lensflow.run.helper import OnWorkers, begun_on_workers, make_ready
from lensflow.run.identity import refuse_other_run
from lensflow.run.inject import inject_step
from lensflow.run.inputs import read_inputs
from lensflow.run.judge import GATES
from lensflow.run.kinds import kinds_of
from lensflow.run.measure import measure_step
from lensflow.run.plan import plan_step
from lensflow.store import paths, receipts
from lensflow.store.lease import hold
from lensflow.store.run_folder import RunFolder

T = TypeVar("T")
Step = Callable[[RunConfig, Progress], object]

# What draws, and what plans and fits, imported while the workers cut: before, they would wait for their first task.
REPORT, LATER = "lensflow.run.report", ("astropy.cosmology", "lensflow.measure.gate.logistic", "sklearn.ensemble")
_LIBRARIES = ("lensflow", "numpy", "scipy", "numba", "astropy", "xarray", "zarr", "dask", "distributed", "scikit-learn")


@dataclass(frozen=True, repr=False)
class RunResults:
    """Results of a run.

    Attributes
    ----------
    diagnostics : dict of Dataset
        Name -> results with intervals, as of :func:`lensflow.diagnose`.
    gates : list of GateResult
        As of :func:`lensflow.gate`.
    stages : list of dict
        Stage, seconds, rows, rows per second of this call.
    report : str
        Path of the report's page.
    """

    diagnostics: dict[str, xr.Dataset]
    gates: list[GateResult]
    stages: list[dict[str, Any]]
    report: str

    def __repr__(self) -> str:
        """One line for each gate, and where the report is."""
        gates = "".join(f"\n  {g!r}" for g in self.gates)
        return (
            f"<RunResults: {len(self.gates)} gates, {len(self.diagnostics)} diagnostics, report {self.report}>{gates}"
        )


def make_run(config: RunConfig, progress: Progress = silent, also: Mapping[str, Step] | None = None) -> RunResults:
    """Do everything that a config asks for: cut, plan, inject, measure, gate, report.

    Parameters
    ----------
    config : RunConfig
        As :func:`lensflow.load_config` gives it; its ``out`` is the run's folder.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all) as the work goes on.
    also : mapping, optional
        Name -> another step, a callable of config and progress. They run on the measured pairs, before the report is
        written, so that it shows what they keep.

    Returns
    -------
    RunResults

    Raises
    ------
    LensflowError
        Of the step that could not go on; what is finished is kept and the same call continues.
    """
    kinds_of(config)  # report a measurement that cannot be imported now, not after hours of work
    refuse_other_run(config)
    read_inputs(config)
    with hold(RunFolder.of(config).root):
        return _run(config, progress, also or {})


def _run(config: RunConfig, progress: Progress, also: Mapping[str, Step]) -> RunResults:
    folder = RunFolder.of(config)
    timer = _StageTimer(progress, folder.report if config.cluster.performance_reports else None)
    with ThreadPoolExecutor(1, thread_name_prefix="lensflow-import") as pool:
        ready = pool.submit(lambda: [import_module(name) for name in (*LATER, REPORT)][-1])
        timer("cut", lambda tell: cut_step(config, tell), lambda c: c.sizes["host"])
        report = ready.result()
    # Again, with the cutouts' content known: nothing more is written for a refused config.
    refuse_other_run(config)
    manifest = timer("plan", lambda tell: plan_step(config, tell), lambda m: m.sizes["sample"])
    timer("inject", lambda tell: inject_step(config, tell), lambda p: p.sizes["sample"] + p.attrs["n_sealed"])

    def rows(_: object) -> int:
        return int(manifest.sizes["sample"])

    helper = _Helper(scores=bool(also))

    def measure(tell: Progress) -> tuple[dict[str, xr.Dataset], list[GateResult]]:
        found = measure_step(config, helper.told(tell))
        if also and helper.start is not None:
            report.begin_figures(config, helper.start.beside)
        return found

    diagnostics, gates = timer("diagnose + gate", measure, rows)
    # Not beside measuring: a completeness keeps the gates' verdicts with its selection function.
    for name, step in also.items():
        timer(name, partial(step, config), rows)
    _keep_timings(folder, timer)
    page = timer("report", lambda tell: report.report_if_stale(config, tell, helper.start), lambda _: 1)
    return RunResults(diagnostics, gates, timer.stages, page)


class _Helper:
    """Workers import what draws and scores after their last gate, all of which are begun before one ends.

    Attributes
    ----------
    start : OnWorkers or None
        What then begins parts of the report; None where no gate was made or no worker draws.
    """

    def __init__(self, scores: bool):
        self.start: OnWorkers | None = None
        self._scores = scores
        self._ready: list[Future] = []  # kept: Dask forgets work that nobody holds
        self._told = False

    def told(self, tell: Progress) -> Progress:
        """Progress that also tells the workers."""

        def told(stage: str, done: int, total: int) -> None:
            tell(stage, done, total)
            if stage == GATES and done and not self._told:
                self._told = True
                self._ready += make_ready(self._scores)
                self.start = begun_on_workers()

        return told


class _StageTimer:
    """Times stages, and records which of them had work to do."""

    def __init__(self, progress: Progress, reports: str | None = None):
        self.stages: list[dict[str, Any]] = []
        self._tell, self._reports = progress, reports

    def __call__(self, name: str, step: Callable[[Progress], T], rows: Callable[[T], int]) -> T:
        start, worked = time.perf_counter(), False

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal worked
            worked = True
            self._tell(stage, done, total)

        with self._performance_report(name):
            result = step(tell)
        seconds, n = time.perf_counter() - start, rows(result)
        self.stages.append({"stage": name, "seconds": seconds, "rows": n, "rows_per_s": n / seconds, "worked": worked})
        return result

    def _performance_report(self, stage: str) -> contextlib.AbstractContextManager[Any]:
        if self._reports is None or active_client() is None:
            return contextlib.nullcontext()
        name = f"dask-{re.sub('[^a-z]+', '-', stage)}.html"
        return performance_report(filename=paths.join(self._reports, name))


def _keep_timings(folder: RunFolder, timer: _StageTimer) -> None:
    """Update the timings of the stages that did something; a finished stage keeps its old ones."""
    kept = paths.read_json(folder.timings)["stages"] if paths.exists(folder.timings) else {}
    kept |= {s["stage"]: s for s in timer.stages if s["worked"] or s["stage"] not in kept}
    peak = {
        stage: receipts.summary(receipts.read_receipts(folder.receipts(stage)).values())["peak_rss_mb"]
        for stage in ("cutouts", "pairs")
    }
    paths.write_json(
        folder.timings,
        {
            "stages": kept,
            "versions": library_versions(),
            "worker_peak_rss_mb": peak,
            "driver_peak_rss_mb": peak_rss_mb(),
        },
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
