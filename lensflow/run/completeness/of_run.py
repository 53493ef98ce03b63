"""The completeness of a scorer in a notebook: of a run by its path, opened, or by its config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lensflow.config import RunConfig
from lensflow.run.completeness.result import Completeness
from lensflow.run.completeness.settings import with_options
from lensflow.run.completeness.step import completeness_step
from lensflow.run.execute import Progress, silent
from lensflow.run.open_run import Run, open_run


def completeness(
    run: str | Path | Run | RunConfig,
    scorer: Any,
    *,
    fpr: float | Sequence[float] | None = None,
    value: float | None = None,
    split: str | None = None,
    negatives: str | None = None,
    truth: bool = False,
    publish: bool = False,
    unseal_test: str | None = None,
    again: bool = False,
    progress: Progress = silent,
) -> Completeness:
    """Measure which injections of a finished run a scorer recovers, with intervals over hosts.

    Computed here and now, like every function of a run's folder, not lazily: it may open a sealed split, refuse scores
    of another run, and keeps its numbers in the folder, where the next call reads them (not those of an object or a
    table in memory: nothing names them). Rows are scored on the Dask
    client in force (:func:`lensflow.connect`), in threads without one.

    Parameters
    ----------
    run : str, path, Run or RunConfig
        Folder of a finished run, as :func:`lensflow.open_run` takes it.
    scorer : str or object
        ``package.module:name`` of a callable on images (n, band, y, x), float32, nMgy/pixel, or the callable itself;
        ``blue_ring``; a table of scores, as a file (parquet, CSV, FITS) or in memory (DataFrame, Table, Dataset), with
        ``row_id`` (uint64) and ``score``; ``snr_matched`` or ``snr_peak``, which read what was injected.
    fpr : float or sequence of float, optional
        False-positive rates that set the thresholds; replaces ``completeness.threshold``.
    value : float, optional
        Score from which on a row is recovered; replaces ``completeness.threshold``.
    split : {"val", "test"}, optional
        Replaces ``completeness.split``.
    negatives : str, optional
        ``controls``, ``cutouts``, or a file with ``host_id`` and ``score``; replaces ``completeness.negatives``.
    truth : bool
        Whether the scorer reads what was injected: a callable then gets blocks of injection rows with the noiseless
        ``arc``, as a Dataset. The result is detectability by definition, and no gate passes on it.
    publish : bool
        Write every injection with its density in the plan, its score and what was recovered beside the results, as
        parquet: :func:`lensflow.injection_set` and :func:`lensflow.reweight` read it, and so does pandas.
    unseal_test : str, optional
        Why the test split is opened; logged beside the store before a row is read.
    again : bool
        Score again whatever is stored: for scorers that depend on files beside their module.
    progress : callable, optional
        Called with stage, tasks done and tasks in all.

    Returns
    -------
    Completeness
        A mapping of Datasets with ``curves``, ``resolution``, ``thresholds``, ``roc``, ``selection``, ``strata``,
        ``funnel``, ``verdict`` and ``reason``.

    Raises
    ------
    ConfigError
        If there is no such scorer, or no threshold.
    CompletenessError
        If a table of scores does not fit the run, or a rate needs more negatives.
    StoreError
        If the run is not finished, or the test split is asked for without a reason; StaleStoreError if a table has
        the scores of another run.

    Examples
    --------
    >>> found = lf.completeness("runs/dr9", "my_models:finder", fpr=[1e-2, 1e-3])
    >>> found.resolution["completeness"].sel(curve="all")
    """
    config = run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config
    config = with_options(config, fpr=fpr, value=value, split=split, negatives=negatives, truth=truth)
    return completeness_step(config, scorer, progress, unseal_test=unseal_test, again=again, publish=publish)
