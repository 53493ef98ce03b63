"""The comparison with real lenses in a notebook: of a run by its path, opened, or by its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lensflow.config import RunConfig
from lensflow.run.execute import Progress, silent
from lensflow.run.open_run import Run, open_run
from lensflow.run.realism.result import Realism
from lensflow.run.realism.step import realism_step


def compare_real(
    run: str | Path | Run | RunConfig,
    lenses: str | Path | None = None,
    *,
    scorer: Any = None,
    again: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> Realism:
    """Hold the injections of a finished run against real lenses on matched hosts.

    On the Dask client in force (:func:`lensflow.connect`), in threads without one; the numbers are kept in the run's
    folder, where the next call reads them.

    Parameters
    ----------
    run : str, path, Run or RunConfig
        Folder of a finished run, as :func:`lensflow.open_run` takes it.
    lenses : str or path, optional
        Table of real lenses and known non-lenses (:func:`lensflow.read_lenses`); replaces ``realism.table``.
    scorer : str or object, optional
        ``package.module:name`` of a callable on images, or the callable itself: its recall of the real lenses, its
        false positives and the gap to its completeness are judged too.
    again : bool
        Measure again whatever is stored.
    progress : callable, optional
        Called with stage, tasks done and tasks in all.
    **settings
        Other settings of the section ``realism``: ``min_arc_snr=8``.

    Returns
    -------
    Realism
        A mapping of Datasets with ``verdict``, ``reason``, ``sentence``, ``features``, ``gates``.

    Raises
    ------
    ConfigError, TargetError, RealismError, StoreError
        As :func:`lensflow.run.realism.step.realism_step`.

    Examples
    --------
    >>> found = lf.compare_real("runs/dr9", "lenses.csv", scorer="my_models:finder")
    >>> print(found.sentence)
    """
    config = run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config
    if settings:
        changed = type(config.realism).model_validate({**config.realism.model_dump(), **settings})
        config = config.model_copy(update={"realism": changed})
    return realism_step(config, None if lenses is None else str(lenses), scorer, progress, again=again)
