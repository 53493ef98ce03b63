"""The bug zoo with the installed code: every known fault in a small run, and which diagnostic notices it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig, fingerprint
from lensflow.measure.zoo import faults as zoo
from lensflow.measure.zoo import small_run
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.show import figures_findings
from lensflow.store import paths, resume
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder


def zoo_step(config: RunConfig | None = None, out: str | None = None, progress: Progress = silent) -> xr.DataArray:
    """Put every known fault into a small run and ask every diagnostic: a minute or two of work.

    Parameters
    ----------
    config : RunConfig, optional
        Of a run: the matrix is kept in its summaries, for its report, and read from there if this very code made it.
    out : str, optional
        Folder that gets ``zoo.json`` and ``zoo.png``.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).

    Returns
    -------
    DataArray, dims (fault, diagnostic)
        Number of alarms, the sound run first; -1 where a diagnostic tested nothing.
    """
    kept = RunFolder.of(config).zoo if config else None
    stored = current_results(kept, zoo_key()) if kept else None
    found = _compute(progress) if stored is None else xr.DataArray.from_dict(stored)
    if kept and stored is None:
        keep_results(kept, zoo_key(), found.to_dict())
    if out is not None:
        keep_results(paths.join(out, "zoo.json"), zoo_key(), found.to_dict())
        paths.write_bytes(paths.join(out, "zoo.png"), figures_findings.zoo(found).png)
    return found


def zoo_key() -> str:
    """Key of a matrix that this code makes."""
    return fingerprint(small_run.settings().settings_of("diagnostics"), resume.measuring_code_fingerprint())


def _compute(progress: Progress) -> xr.DataArray:
    task = _Task(small_run.small_run())
    return zoo.matrix(reduce_tasks(task, range(1 + len(zoo.FAULTS)), np.concatenate, "zoo", progress))


class _Task:
    """Examine one fault; 0 is the sound run."""

    def __init__(self, run: small_run.SmallRun):
        self.run = run

    def __call__(self, index: int) -> NDArray:
        return zoo.alarm_counts(zoo.FAULTS[index - 1] if index else None, self.run)[None]
