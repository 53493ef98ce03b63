"""Fit a toy lens finder on the train split of a finished run, and measure its completeness on val."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np

from lensflow import schema
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import ConfigError
from lensflow.measure.scorer.toy import SPLIT, ToyFinder, fit, training_rows
from lensflow.run.completeness import Completeness, completeness_step
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.run.identity import pairs_content
from lensflow.run.importable import SAVED, load
from lensflow.stats.kept_rows import KeptRows
from lensflow.store import paths, resume
from lensflow.store.open import read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder


def toy_of(config: RunConfig) -> str:
    """Path of a run's toy finder: a scorer for ``lensflow score`` and ``lensflow completeness``."""
    return RunFolder.of(config).path(f"toy_finder{SAVED}")


def fit_toy_step(config: RunConfig, progress: Progress = silent) -> ToyFinder:
    """Fit the toy on the run's train split, or read the one that is there if it was fitted on these pixels.

    Parameters
    ----------
    config : RunConfig
    progress : callable, optional

    Returns
    -------
    ToyFinder
        Kept in ``toy_finder.joblib``.

    Raises
    ------
    GateError
        If there are too few train hosts.
    StoreError
        If the pairs are not complete.
    """
    url, folder = toy_of(config), RunFolder.of(config)
    made_from = fingerprint(pairs_content(config), config.seed, resume.measuring_code_fingerprint())
    if (kept := _kept(url)) is not None and kept.made_from == made_from:
        return kept
    head = read_head(folder.manifest, "manifest", names=("is_control", "split"))
    wanted = ~head["is_control"].values & (head["split"].values == schema.SPLITS.index(SPLIT))
    regions = stored_regions(folder.pairs, "pairs")
    # Any region, if there is no such row: the fit then says so.
    some = np.unique(np.flatnonzero(wanted) // regions.rows).tolist() or [0]
    found: KeptRows = reduce_tasks(_TrainingRows(config, regions), some, KeptRows.concat, "toy finder", progress)
    made = fit(found.rows, tuple(config.bands), config.seed, made_from)
    buffer = io.BytesIO()
    joblib.dump(made, buffer, compress=3)
    paths.write_bytes(url, buffer.getvalue())
    return made


def toy_step(config: RunConfig, progress: Progress = silent) -> Completeness:
    """Fit the toy on train, and measure its completeness on val as that of any other scorer.

    Parameters
    ----------
    config : RunConfig
        With a threshold in its section ``completeness``.
    progress : callable, optional

    Returns
    -------
    Completeness
        As :func:`lensflow.run.completeness.completeness_step`.

    Raises
    ------
    ConfigError
        If the completeness is asked for on another split than val.
    """
    if config.completeness.split != "val":
        raise ConfigError(f"completeness.split: the toy is measured on val, not on {config.completeness.split}")
    fit_toy_step(config, progress)
    return completeness_step(config, toy_of(config), progress)


def _kept(url: str) -> ToyFinder | None:
    """The toy that is there; None for none, or one that this version cannot read."""
    if not paths.exists(url):
        return None
    try:
        found: Any = load(url, "")
    except ConfigError:
        return None
    return found if isinstance(found, ToyFinder) else None


class _TrainingRows:
    """Read one region and describe its train rows."""

    def __init__(self, config: RunConfig, regions: Regions):
        self.config, self.regions = config, regions

    def __call__(self, index: int) -> KeptRows:
        run = RunFolder.of(self.config)
        return training_rows(read_pairs_block(run.pairs, run.manifest, run.cutouts, self.regions[index]))
