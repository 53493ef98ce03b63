"""Evaluate a trained lens finder on the pairs of a finished run: one task per region, which returns only scores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import ConfigError, StoreError
from lensflow.measure.gate import GateResult
from lensflow.measure.scorer.beside import needs_features
from lensflow.measure.scorer.gates import judge_scores, scored_hosts
from lensflow.measure.scorer.scorer import as_scorer, score_block
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.importable import load, source_of
from lensflow.run.score_table import made_of, write_scores
from lensflow.stats.kept_rows import KeptRows
from lensflow.store import paths, sealing
from lensflow.store.open import host_tables, read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder

STAGE = "score"


def score_step(
    config: RunConfig,
    scorer: str,
    progress: Progress = silent,
    *,
    unseal_test: str | None = None,
    again: bool = False,
) -> list[GateResult]:
    """Score the pairs of ``config.scorer.split`` and evaluate the scorer, or read the stored result.

    Results go to ``summaries/scorers/<scorer>.<split>.json``, the scores beside it: ``.parquet`` with row_id, host_id
    and score of the injections, ``.negatives.parquet`` with host_id and score of the controls. They are read from there
    if pairs, settings, lensflow's code and the scorer are the same; a scorer that cannot be fingerprinted is always
    scored again.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        Import path of the scorer, ``package.module:name``, or the file of a trained one; see
        :func:`lensflow.measure.scorer.scorer.as_scorer`.
    progress : callable, optional
    unseal_test : str, optional
        Why the test split is opened; written down beside the store before a row is read.
    again : bool
        Score again even if scores are stored: for scorers that depend on files beside their module.

    Returns
    -------
    list of GateResult
        ``synthetic_auroc`` and ``core_drop``.

    Raises
    ------
    ConfigError
        If there is no such scorer.
    GateError
        If it fails, or does not return one number per image.
    StoreError
        If the pairs are not complete, or the test split is asked for without a reason.
    """
    split = config.scorer.split
    if split == "test" and not unseal_test:
        raise StoreError(
            f"{RunFolder.of(config).pairs}: the test split is sealed. To score it, say why (--unseal 'final figures'); "
            "the opening is logged beside the store."
        )
    here = str(Path.cwd())
    # Refused before any work, and before the test split is opened.
    refuse_other_images(config, found := load(scorer, here))
    as_scorer(found, scorer)
    source = source_of(scorer, here)
    url, key = results_of(config, scorer), stored_key(config, "scorer", pairs_content(config))
    stored = None if again or source is None else current_results(url, key)
    if stored is not None and stored["source"] == source and all(map(paths.exists, tables_of(config, scorer))):
        return [GateResult.from_dict(g) for g in stored["gates"]]
    log_opening(config, scorer, unseal_test)
    scores = scores_of(config, scorer, here, progress)
    results = judge_scores(scores, config.scorer, scorer, config.seed, config.diagnostics.theta_e_edges, source)
    _write_tables(config, scorer, source, scores)
    kept = {"scorer": scorer, "split": split, "source": source, "gates": [g.to_dict() for g in results]}
    keep_results(url, key, kept)
    return results


def refuse_other_images(config: RunConfig, scorer: Any) -> None:
    """Let a scorer that knows its images refuse those of a run: a network with the bands that it was trained for.

    Parameters
    ----------
    config : RunConfig
    scorer : object
        One with ``refuse_other_images(bands, pixel_scale_arcsec, stamp_size)`` is asked, and one with ``lens_light``
        gets images without that light or none; others take any image.

    Raises
    ------
    ConfigError
        Naming the scorer's value and the run's.
    """
    if callable(refuse := getattr(scorer, "refuse_other_images", None)):
        scale = float(read_attrs(RunFolder.of(config).cutouts, "cutouts")["pixel_scale_arcsec"])
        refuse(config.bands, scale, config.survey.stamp_size)
    light, given = getattr(scorer, "lens_light", None), config.scorer.lens_light
    if light is not None and light != given:
        raise ConfigError(
            f"the scorer was trained on images with lens_light {light}, and scorer.lens_light is {given}: it would see "
            f"other images. Set scorer.lens_light: {light}"
        )


def judged(
    config: RunConfig, scorer: str, scorer_folder: str, source: str | None, progress: Progress
) -> list[GateResult]:
    """Score the pairs and evaluate the scorer with a known ``source``; no results are read or stored."""
    scores = scores_of(config, scorer, scorer_folder, progress)
    return judge_scores(scores, config.scorer, scorer, config.seed, config.diagnostics.theta_e_edges, source)


def stored_scorers(config: RunConfig) -> list[GateResult]:
    """Stored results of all scorers for these settings and pixels, made by any code.

    ``recipe["scorer"]`` and ``recipe["split"]`` say whose they are and on which rows.
    """
    folder, found = RunFolder.of(config).scorers, []
    names = [n for n in paths.list_names(folder) if n.endswith(".json")]
    # It reads every receipt: not for nothing.
    content = pairs_content(config) if names else ""
    for name in names:
        split = name.removesuffix(".json").rpartition(".")[2]
        if split in schema.SPLITS:
            key = stored_key(with_split(config, split), "scorer", content)
            stored: Any = current_results(paths.join(folder, name), key, any_code=True)
            found += [GateResult.from_dict(g) for g in stored["gates"]] if stored else []
    return found


def with_split(config: RunConfig, split: str | None) -> RunConfig:
    """Config that scores another split; the same for None.

    Raises
    ------
    StoreError
        If there is no such split.
    """
    if split is None:
        return config
    if split not in schema.SPLITS:
        raise StoreError(f"{split!r} is no split; there are {', '.join(schema.SPLITS)}.")
    return config.model_copy(update={"scorer": config.scorer.model_copy(update={"split": split})})


def results_of(config: RunConfig, scorer: str) -> str:
    """URL of the file with a scorer's results."""
    return paths.join(RunFolder.of(config).scorers, f"{_named(scorer)}.{config.scorer.split}.json")


def _named(scorer: str) -> str:
    return re.sub(r"[^\w.]+", "-", scorer)


def tables_of(config: RunConfig, scorer: str) -> tuple[str, str]:
    """URLs of the tables with a scorer's scores: of injections, and of their hosts' controls."""
    name, folder = f"{_named(scorer)}.{config.scorer.split}", RunFolder.of(config).scorers
    return paths.join(folder, f"{name}.parquet"), paths.join(folder, f"{name}.negatives.parquet")


def _write_tables(config: RunConfig, scorer: str, source: str | None, scores: xr.Dataset) -> None:
    folder = RunFolder.of(config)
    names = read_head(folder.cutouts, "cutouts", names=("host_id",))["host_id"].values
    made = made_of(config, pairs_content(config), scorer, source)
    rows, negatives = tables_of(config, scorer)
    ids = {"row_id": scores["row_id"].values, "host_id": names[scores["host_index"].values]}
    write_scores(rows, ids, scores["stamp"].values, made)
    write_scores(negatives, {"host_id": names[scores["ctrl_host"].values]}, scores["ctrl"].values, made)


def log_opening(config: RunConfig, scorer: str, unseal_test: str | None, command: str = "score") -> None:
    """Log the opening of the test split, if rows of it are about to be scored.

    Raises
    ------
    StoreError
        If it cannot be logged.
    """
    wanted = _wanted(config)[0]
    if config.scorer.split == "test" and wanted.any():
        sealing.log_access(RunFolder.of(config).pairs, f"lensflow {command} {scorer}: {unseal_test}", int(wanted.sum()))


def scores_of(
    config: RunConfig,
    scorer: Any,
    scorer_folder: str,
    progress: Progress,
    filled: bool = True,
    most_regions: int | None = None,
) -> xr.Dataset:
    """Score the wanted rows, region by region; an opening of the test split is logged before.

    Parameters
    ----------
    config : RunConfig
    scorer : str or object
        Import path, or what scores.
    scorer_folder : str
    progress : callable
    filled : bool
        Whether the images are also scored with their core filled.
    most_regions : int, optional
        Score only so many of the regions that hold wanted rows, evenly spaced: each as it is scored among all.
    """
    wanted, hosts = _wanted(config)
    regions = stored_regions(RunFolder.of(config).pairs, "pairs")
    # Of any region, if none has a wanted row: no row of it is scored.
    some = np.unique(np.flatnonzero(wanted) // regions.rows).tolist() or [0]
    if most_regions is not None and len(some) > most_regions:
        some = [some[k] for k in np.linspace(0, len(some) - 1, most_regions).round().astype(int)]
    task = _ScoreTask(config, regions, hosts, scorer, scorer_folder, filled)
    kept: KeptRows = reduce_tasks(task, some, KeptRows.concat, STAGE, progress)
    return kept.rows


def _wanted(config: RunConfig) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Injection rows to score, and their hosts."""
    head = read_head(RunFolder.of(config).manifest, "manifest", names=("host_index", "is_control", "split"))
    injected = ~head["is_control"].values
    index, of_split = (head[n].values for n in ("host_index", "split"))
    hosts = scored_hosts(index[injected], of_split[injected], config.scorer, config.seed)
    return injected & np.isin(index, hosts), hosts


class _ScoreTask:
    """Read one region and score its rows."""

    def __init__(
        self, config: RunConfig, regions: Regions, hosts: NDArray[np.int64], scorer: Any, folder: str, filled: bool
    ):
        self.config, self.regions, self.hosts, self.scorer, self.folder = config, regions, hosts, scorer, folder
        self.filled = filled

    def __call__(self, index: int) -> KeptRows:
        run = RunFolder.of(self.config)
        pairs = read_pairs_block(run.pairs, run.manifest, run.cutouts, self.regions[index])
        pairs = pairs.isel(sample=np.isin(pairs["host_index"].values, self.hosts))
        found = load(self.scorer, self.folder) if isinstance(self.scorer, str) else self.scorer
        light, name = self.config.scorer.lens_light, str(self.scorer)
        if needs_features(found, name):
            pairs = with_psf(pairs, run.cutouts)
        return score_block(pairs, as_scorer(found, name), self.config.scorer.core_radius_pix, self.filled, light)


def with_psf(pairs: xr.Dataset, cutouts: str) -> xr.Dataset:
    """Rows with the PSF size of their hosts, as the cutouts have it: ``psfsize_arcsec`` (sample, band)."""
    index = pairs["host_index"].values
    read, _ = host_tables(cutouts)
    first, stop = (int(index.min()), int(index.max()) + 1) if index.size else (0, 0)
    return pairs.assign(psfsize_arcsec=(("sample", "band"), read(first, stop)["psfsize_arcsec"].values[index - first]))
