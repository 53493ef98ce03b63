"""Completeness of a scorer on a finished run: score the rows of a split once, then count."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.completeness import CompletenessConfig, CompletenessThresholdConfig
from lensflow.errors import CompletenessError, ConfigError, StoreError
from lensflow.measure.completeness.counts import match_scores
from lensflow.measure.completeness.summary import (
    Negatives,
    completeness,
    refuse_without_rows,
    refuse_without_threshold,
)
from lensflow.measure.scorer.scorer import as_scorer
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.importable import load, source_of
from lensflow.run.score import scores_of
from lensflow.stats import codec
from lensflow.store import paths
from lensflow.store.open import host_tables, open_all_pairs, read_attrs
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder

# Of hosts, brought to the rows.
_OF_HOSTS = ("psf_source", "psfsize_arcsec", "psfdepth_mag", "flux_nmgy", "bad_pixel_frac", "wise_brightmask_frac",
             "brickname")  # fmt: skip


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
    _refuse_what_is_not_done_yet(config.completeness)
    as_scorer(load(scorer, here), scorer)  # refused before any work
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
    rows = _rows(config, split)
    refuse_without_rows(rows, split)
    found = completeness(_with_scores(rows, scores), _controls(scores), config.completeness, config.seed)
    kept = {"scorer": scorer, "split": split, "source": source, "tables": codec.encode(found)}
    keep_results(url, key, kept)
    return found


def _refuse_what_is_not_done_yet(config: CompletenessConfig) -> None:
    """Refuse settings that this version reads and does not carry out: none is passed over.

    Raises
    ------
    ConfigError
    """
    default = CompletenessConfig()
    for name in ("negatives", "weights", "interval", "require", "sky"):
        if getattr(config, name) != getattr(default, name):
            raise ConfigError(f"completeness.{name}: not carried out by this version; leave it at its default")
    if config.split == "train":
        raise CompletenessError("completeness.split: train can prove nothing, and its hosts set no threshold; use val")


def with_rates(config: RunConfig, fpr: Sequence[float] | None) -> RunConfig:
    """Config whose threshold is set by other false-positive rates; the same for none."""
    if not fpr:
        return config
    try:
        threshold = CompletenessThresholdConfig(fpr=tuple(fpr))
    except ValidationError as error:
        raise ConfigError(f"--fpr: {error.errors()[0]['msg']}") from error
    return config.model_copy(update={"completeness": config.completeness.model_copy(update={"threshold": threshold})})


def results_of(config: RunConfig, scorer: str) -> str:
    """URL of the file that keeps the completeness of a scorer."""
    name = re.sub(r"[^\w.]+", "-", scorer)
    folder = RunFolder.of(config).path("summaries", "completeness")
    return paths.join(folder, f"{name}.{config.completeness.split}.json")


def _rows(config: RunConfig, split: str) -> xr.Dataset:
    """Tables of the split's rows, sorted by host, with what is known of their hosts; no pixel is read."""
    folder = RunFolder.of(config)
    every = open_all_pairs(folder.pairs, folder.manifest, folder.cutouts)
    tables = every.drop_vars([v for v in every.data_vars if "y" in every[v].dims])
    some = np.flatnonzero(tables["split"].values == schema.SPLITS.index(split))
    rows = tables.isel(sample=some).load()
    read, n_hosts = host_tables(folder.cutouts)
    hosts = read(0, n_hosts)
    index = rows["host_index"].values
    more: dict[str, Any] = {
        name: (("sample", *hosts[name].dims[1:]), hosts[name].values[index], hosts[name].attrs) for name in _OF_HOSTS
    }
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    return rows.assign(more).assign_attrs(pixel_scale_arcsec=scale)


def _with_scores(rows: xr.Dataset, scores: xr.Dataset) -> xr.Dataset:
    """Rows with the score of each injection; NaN for controls."""
    injected = ~rows["is_control"].values
    ids = rows["row_id"].values[injected]
    found, scored = match_scores(ids, scores["row_id"].values, scores["stamp"].values)
    if not scored.all():
        raise CompletenessError(
            f"completeness: row_id {ids[~scored][0]} was not scored ({(~scored).sum():,} such rows)"
        )
    score = np.full(len(injected), np.nan)
    score[injected] = found
    return rows.assign(score=("sample", score))


def _controls(scores: xr.Dataset) -> Negatives:
    """The hosts of the injections, each once, without an arc."""
    return Negatives(scores["ctrl"].values, scores["ctrl_host"].values, "the split's own hosts without arcs, each once")
