"""Train on a run in a notebook: by its path, opened, or by its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lensflow.config import RunConfig, load_config
from lensflow.run.execute import Progress, silent
from lensflow.run.open_run import Run, open_run
from lensflow.training.result import Training
from lensflow.training.step import train_step


def train(
    run: str | Path | Run | RunConfig,
    *,
    nulls: bool = False,
    again: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> Training:
    """Train the network of section ``training`` on a run's train split, and judge it on val.

    Parameters
    ----------
    run : str, path, Run or RunConfig
        A finished, certified run.
    nulls : bool
        Also train where nothing is left to learn: arcs of no flux, and random halves of the hosts.
    again : bool
        Train again even if a current result is stored.
    progress : callable, optional
        Called with (stage, done, in all).
    **settings
        Settings of ``training`` in place of the run's: ``model="tiny"``, ``epochs=3``.

    Returns
    -------
    Training
        Its ``scorer`` is a path for :func:`lensflow.completeness`.

    Raises
    ------
    ExportError
        If torch is missing, a split lacks a class, or the loss is not finite.
    ConfigError
        If a setting or a checkpoint to start from does not fit.
    StoreError
        If the pairs are not complete; StaleStoreError if the certificate is of another content.

    Examples
    --------
    >>> found = lf.train("runs/dr9", model="tiny", epochs=3)
    >>> lf.completeness("runs/dr9", found.scorer, fpr=0.1)
    """
    config = run if isinstance(run, RunConfig) else (run if isinstance(run, Run) else open_run(run)).config
    if settings:
        section = config.training.model_dump(mode="json") | settings
        checked = load_config({**config.effective(), "training": section})
        config = config.model_copy(update={"training": checked.training})
    return train_step(config, progress, nulls=nulls, again=again)
