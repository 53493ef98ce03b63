"""Completeness of a scorer on a finished run: score the rows of a split once, count, judge, keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import PlanConfig, RunConfig
from lensflow.errors import ConfigError, StoreError
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.injection_set import injections_beside
from lensflow.measure.completeness.required import Asked, judge_required
from lensflow.measure.completeness.set_thresholds import refuse_without_threshold
from lensflow.measure.completeness.summary import Negatives, completeness
from lensflow.measure.gate.verdicts import GateResult
from lensflow.run.completeness.area import area_of, bricks_source
from lensflow.run.completeness.data_gates import data_gates
from lensflow.run.completeness.files import results_of
from lensflow.run.completeness.injections import Injections
from lensflow.run.completeness.negatives import needs_threshold_of_negatives, negatives_of, negatives_source
from lensflow.run.completeness.populations import populations_of, populations_source, populations_table
from lensflow.run.completeness.result import Completeness
from lensflow.run.completeness.rows import rows_of, with_scores
from lensflow.run.completeness.scorers import Scorer, find_scorer, image_scores, truth_scores
from lensflow.run.completeness.selection_file import keep_selection, kept_selection, outside_the_file
from lensflow.run.completeness.settings import refuse_contradictions
from lensflow.run.execute import Progress, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.stats import codec
from lensflow.store import sealing
from lensflow.store.open import read_head
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder


def completeness_step(
    config: RunConfig,
    scorer: Any,
    progress: Progress = silent,
    *,
    unseal_test: str | None = None,
    gates: Sequence[GateResult] | None = None,
    again: bool = False,
    keep: bool = True,
    publish: bool = False,
) -> Completeness:
    """Measure which injections of ``completeness.split`` a scorer recovers, or read what is stored of it.

    Results go to ``summaries/completeness/<scorer>.<split>.json``, the selection function to ``.zarr`` beside it. They
    are read from there if pairs, settings, scorer (or table), negatives and lensflow's code are the same; the verdict
    on ``completeness.require`` is always made anew, because it also depends on the gates of the data.

    Parameters
    ----------
    config : RunConfig
        Its section ``completeness``.
    scorer : str or object
        Import path, table of scores, or built-in: :func:`lensflow.run.completeness.scorers.find_scorer`.
    progress : callable, optional
    unseal_test : str, optional
        Why the test split is opened; logged beside the store before a row is read.
    gates : sequence of GateResult, optional
        Of these pairs, just measured; by default the stored ones.
    again : bool
        Ignore what is stored.
    keep : bool
        Store the results; those of an object or a table in memory, which no text names, are not.
    publish : bool
        Write every injection with its density and what became of it beside the results
        (``<scorer>.<split>.injections.parquet``); what is stored without them is measured again.

    Returns
    -------
    Completeness

    Raises
    ------
    ConfigError
        If there is no such scorer, or no threshold.
    CompletenessError
        If a table of scores does not fit, or a threshold needs more negatives.
    StoreError
        If the pairs are not complete, or the test split is asked for without a reason; StaleStoreError if the scores
        are of another run.
    """
    split, here = config.completeness.split, str(Path.cwd())
    keep = keep and isinstance(scorer, str)
    who, content = _admitted(config, scorer, here, unseal_test)
    url, key = results_of(config, who.name), stored_key(config, "completeness", content)
    made_from = {"source": who.source or "", "negatives": negatives_source(config), "kind": who.kind,
                 "bricks": bricks_source(config), "populations": populations_source(config)}  # fmt: skip
    stored: Any = None if again or who.source is None else current_results(url, key)
    is_current = stored is not None and {k: stored.get(k) for k in made_from} == made_from
    injections = Injections(injections_beside(url), who, content, key, made_from) if publish else None
    is_current = is_current and (injections is None or injections.is_current())
    identity = {"scorer": who.name, **{f"made_from_{k}": v for k, v in made_from.items()}, "key": key}
    table = kept_selection(config, identity, stored["tables"]) if is_current else None
    is_current = table is not None
    if table is not None:
        found = codec.datasets(stored["tables"]) | table
    else:
        if split == "test":
            _log_opening(config, who.name, str(unseal_test))
        found = _measured(config, who, here, progress, injections)
        if "thresholds" in found:
            # What a scorer says of itself (a toy) goes wherever its numbers go.
            found["thresholds"].attrs["scorer_note"] = who.note
        if keep:
            keep_selection(config, identity, found)  # before the results, which vouch for it
    gate = _gate(config, who, found, gates)
    kept = {
        "scorer": who.name, "split": split, **made_from, "title": _title(who),
        # With the settings that made it: --fpr may have replaced the run's own threshold.
        "settings": config.completeness.model_dump(mode="json"),
        "gates": [gate.to_dict()] if gate else [],
        "tables": stored["tables"] if is_current else codec.encode(outside_the_file(found)),
    }  # fmt: skip
    if keep and not (is_current and stored.get("gates") == kept["gates"]):
        keep_results(url, key, kept)
    return Completeness(who.name, split, who.kind, gate, url if keep else "", found)


def _measured(
    config: RunConfig, who: Scorer, here: str, progress: Progress, injections: Injections | None
) -> dict[str, xr.Dataset]:
    others = populations_of(config)  # refused before any image is scored
    scored, negatives = _scored(config, who, here, progress)
    prior = InjectedPrior.of(config, scored.attrs)
    found = completeness(scored, negatives, config.completeness, config.seed, prior, who.kind == "truth")
    found["funnel"].attrs["prior"] = _in_words(config.plan)
    if injections is not None and "thresholds" in found:
        injections.publish(scored, prior, found, config)
    if "thresholds" in found:
        found |= area_of(config, scored, found["thresholds"])
        found |= populations_table(config, others, scored, prior, who.kind, found)
    return found


@dataclass(frozen=True, eq=False)
class Scored:
    """Scored rows of a split.

    Attributes
    ----------
    name : str
        Of the scorer.
    rows : Dataset
        As :func:`lensflow.measure.completeness.summary.completeness` takes them.
    negatives : Negatives
    """

    name: str
    rows: xr.Dataset
    negatives: Negatives


def scored_of(config: RunConfig, scorer: Any, progress: Progress = silent, unseal_test: str | None = None) -> Scored:
    """Score the rows of ``completeness.split``; nothing is counted, read or kept.

    Parameters
    ----------
    config : RunConfig
    scorer : str or object
        As for :func:`completeness_step`.
    progress : callable, optional
    unseal_test : str, optional
        As for :func:`completeness_step`.

    Returns
    -------
    Scored

    Raises
    ------
    StoreError
        If the pairs are not complete, or the test split is asked for without a reason.
    """
    here = str(Path.cwd())
    who, _ = _admitted(config, scorer, here, unseal_test)
    if config.completeness.split == "test":
        _log_opening(config, who.name, str(unseal_test))
    return Scored(who.name, *_scored(config, who, here, progress))


def _admitted(config: RunConfig, scorer: Any, here: str, unseal_test: str | None) -> tuple[Scorer, str]:
    """Find the scorer and the fingerprint of the pairs, or refuse, before any work."""
    if config.completeness.split == "test" and not unseal_test:
        raise StoreError(
            f"{RunFolder.of(config).pairs}: the test split is sealed. To score it, say why (--unseal 'final figures'); "
            "the opening is logged beside the store."
        )
    refuse_without_threshold(config.completeness)
    refuse_contradictions(config.completeness)
    who = find_scorer(scorer, config, here)
    _refuse_rates_of_truth(config, who)
    content = pairs_content(config)
    if who.table is not None:
        who.table.refuse_other_run(config, content)
    return who, content


def _scored(config: RunConfig, who: Scorer, here: str, progress: Progress) -> tuple[xr.Dataset, Negatives]:
    images = image_scores(config, who, here, progress) if who.kind == "images" else None
    rows = rows_of(config, config.completeness.split, progress)
    if images is not None:
        scored = with_scores(rows, images["row_id"].values, images["stamp"].values)
    elif who.table is not None:
        scored = with_scores(rows, who.table.ids, who.table.score, _row_ids(config))
    else:
        scored = rows.assign(score=("sample", truth_scores(config, who, rows, progress)))
    return scored, negatives_of(config, who, images, rows, here, progress)


def _in_words(plan: PlanConfig) -> str:
    """The prior that injections are drawn from, as a sentence names it."""
    # Settings that are null come from the preset.
    own = [k for k, f in PlanConfig.model_fields.items() if f.default is None and getattr(plan, k) is not None]
    parts = [f"preset {plan.preset}", *([f"its own {', '.join(own)}"] if own else [])]
    if plan.design != "random":
        parts.append(f"design {plan.design}")
    return f"this run's plan ({'; '.join(parts)})"


def _gate(
    config: RunConfig, who: Scorer, found: dict[str, xr.Dataset], gates: Sequence[GateResult] | None
) -> GateResult | None:
    if not config.completeness.require:
        return None
    unbound = ""
    if who.table is not None and not who.table.made:
        unbound = (
            f"{who.name} does not say which pixels it scored, and a row has the same row_id in every run of its host: "
            "name the scorer by its import path, or the table that `lensflow score` writes"
        )
    asked = Asked(
        who.name, who.source or "", config.completeness.split, who.kind == "truth", unbound, data_gates(config, gates)
    )
    return judge_required(found, asked, config.completeness, config.seed)


def _title(who: Scorer) -> str:
    return f"Detectability by definition, {who.name}" if who.kind == "truth" else f"Completeness of {who.name}"


def _refuse_rates_of_truth(config: RunConfig, who: Scorer) -> None:
    own = config.completeness.negatives in ("controls", "cutouts")
    if who.kind == "truth" and own and needs_threshold_of_negatives(config):
        raise ConfigError(
            f"completeness.threshold: {who.name} reads what was injected, and gives no score to an image without an "
            "arc: no false-positive rate sets its threshold. Set {value: t}"
        )


def _log_opening(config: RunConfig, name: str, why: str) -> None:
    folder = RunFolder.of(config)
    of_row = read_head(folder.manifest, "manifest", names=("split",))["split"].values
    if n := int((of_row == schema.SPLITS.index("test")).sum()):
        sealing.log_access(folder.pairs, f"lensflow completeness {name}: {why}", n)


def _row_ids(config: RunConfig) -> np.ndarray:
    return read_head(RunFolder.of(config).manifest, "manifest", names=("row_id",))["row_id"].values
