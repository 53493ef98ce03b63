"""Completeness of a scorer on a finished run: score the rows of a split once, then count."""

from __future__ import annotations

import sys
from pathlib import Path

import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.measure.completeness.injected_prior import InjectedPrior
from lensflow.measure.completeness.set_thresholds import refuse_without_threshold
from lensflow.measure.completeness.summary import Negatives, completeness, refuse_without_rows
from lensflow.measure.scorer.scorer import as_scorer
from lensflow.run.completeness.files import results_of
from lensflow.run.completeness.rows import rows_of, with_scores
from lensflow.run.completeness.settings import refuse_what_is_not_done
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.importable import load, source_of
from lensflow.run.score import scores_of
from lensflow.stats import codec
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder


def completeness_step(
    config: RunConfig, scorer: str, progress: Progress = silent, *, unseal_test: str | None = None
) -> dict[str, xr.Dataset]:
    """Measure which injections of ``completeness.split`` a scorer recovers, or read what is stored of it.

    Results go to ``summaries/completeness/<scorer>.<split>.json``.

    Parameters
    ----------
    config : RunConfig
        Its section ``completeness``.
    scorer : str
        Import path, ``package.module:name``; see :func:`lensflow.measure.scorer.scorer.as_scorer`.
    progress : callable, optional
    unseal_test : str, optional
        Why the test split is opened; logged beside the store before a row is read.

    Returns
    -------
    dict of Dataset
        As :func:`lensflow.measure.completeness.summary.completeness`.

    Raises
    ------
    ConfigError
        If there is no such scorer, or no threshold.
    CompletenessError
        If the split has no injection, or a threshold needs more negatives.
    StoreError
        If the pairs are not complete, or the test split is asked for without a reason.
    """
    split, folder, here = config.completeness.split, RunFolder.of(config), str(Path.cwd())
    if split == "test" and not unseal_test:
        raise StoreError(
            f"{folder.pairs}: the test split is sealed. To score it, say why (--unseal 'final figures'); the "
            "opening is logged beside the store."
        )
    refuse_without_threshold(config.completeness)
    refuse_what_is_not_done(config.completeness)
    loaded = load(scorer, here)
    as_scorer(loaded, scorer)  # refused before any work
    source = source_of(scorer, here)
    url, key = results_of(config, scorer), stored_key(config, "completeness", pairs_content(config))
    stored = None if source is None else current_results(url, key)
    if stored is not None and stored["source"] == source:
        return codec.datasets(stored["tables"])
    # Every host of the split: a completeness of some of them would be that of their choice.
    every = config.scorer.model_copy(update={"split": split, "max_pairs": sys.maxsize})
    scored = config.model_copy(update={"scorer": every})
    scores = scores_of(scored, scorer, here, unseal_test, progress)
    # After the scores, which log an opening of the test split: no table of it is read before.
    rows = rows_of(config, split)
    refuse_without_rows(rows, split)
    prior = InjectedPrior.of(config, rows.attrs)
    found = completeness(with_scores(rows, scores), _controls(scores), config.completeness, config.seed, prior)
    # What a scorer says of itself (a toy) goes wherever its numbers go.
    found["thresholds"].attrs["scorer_note"] = str(getattr(loaded, "note", ""))
    # With the settings that made it: --fpr may have replaced the run's own threshold.
    settings = config.completeness.model_dump(mode="json")
    kept = {"scorer": scorer, "split": split, "source": source, "settings": settings, "tables": codec.encode(found)}
    keep_results(url, key, kept)
    return found


def _controls(scores: xr.Dataset) -> Negatives:
    """The hosts of the injections, each once, without an arc."""
    return Negatives(scores["ctrl"].values, scores["ctrl_host"].values, "the split's own hosts without arcs, each once")
