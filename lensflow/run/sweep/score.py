"""Scores of the arms: rows of one split, thresholds on each arm's own negatives, strata of the reference's manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.completeness import band_of, default_strata
from lensflow.errors import RealismError
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.paired import matched
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.set_thresholds import thresholds
from lensflow.measure.completeness.tables import stratum_bins
from lensflow.measure.completeness.thresholds import Threshold
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.measure.realism.sweep.numbers import Scored, Stratum
from lensflow.run.completeness.paired_runs import manifest_columns
from lensflow.run.completeness.scorers import find_scorer, image_scores
from lensflow.run.completeness.step import scored_of
from lensflow.run.execute import Progress
from lensflow.run.sweep.arms import Arm
from lensflow.run.sweep.kept_scores import keep_scores, read_scores, scores_key
from lensflow.run.sweep.view import viewed

# Regions of the null arm that are scored once more: a scorer that hangs on chance shows in nearly every row.
AGAIN = 8
# Row ids and scores.
Scores = tuple[NDArray[np.uint64], NDArray[np.float64]]
# Of rendering and noise: where a row lies in them depends on the arm.
_NOT_OF_MANIFEST = {v.name for v in (*schema.METRICS, *schema.COMPONENT_METRICS, *schema.ROUNDING, *schema.FLAGS)}


@dataclass(frozen=True, eq=False)
class ArmScores:
    """Scored rows of one arm.

    Attributes
    ----------
    scorer : str
    rows : Dataset
        As the completeness takes them.
    counted : Counted
    thresholds : tuple of Threshold
    """

    scorer: str
    rows: xr.Dataset
    counted: Counted
    thresholds: tuple[Threshold, ...]

    def scored(self, order: NDArray[np.int64]) -> Scored:
        """What became of the rows, in an order."""
        recovered = self.counted.recovered([t.tau for t in self.thresholds])
        return Scored(recovered[:, order], self.counted.score[order], self.counted.valid[order])


def score_arm(
    arm: Arm, scorer: Any, folder: str, progress: Progress, unseal_test: str | None, view: bool, kept: str = ""
) -> ArmScores:
    """Score the rows of ``completeness.split`` in an arm, or read what is kept of it.

    Parameters
    ----------
    arm : Arm
        Finished.
    scorer : str or object
        As for :func:`lensflow.completeness`.
    folder : str
        Where modules are looked for.
    progress : callable
    unseal_test : str, optional
    view : bool
        Whether the scorer sees stamps as the arm's ``export.normalisation`` says.
    kept : str
        URL where its scores are kept as soon as it is scored; empty where they are not.

    Returns
    -------
    ArmScores
    """
    key = scores_key(arm.config, find_scorer(scorer, arm.config, folder)) if kept and isinstance(scorer, str) else None
    found = None if key is None else read_scores(kept, key, arm.config, progress)
    if found is None:
        what = viewed(arm.config, scorer, folder, progress) if view else scorer
        found = scored_of(arm.config, what, progress, unseal_test)
        if key is not None:
            keep_scores(kept, key, found)
    set_on = thresholds(arm.config.completeness, found.negatives.score)
    name = scorer if isinstance(scorer, str) else found.name
    return ArmScores(name, found.rows, Counted.from_rows(found.rows), tuple(set_on))


def orders(reference: ArmScores, arm: ArmScores, owned: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orders that put the same rows of two arms side by side.

    Raises
    ------
    CompletenessError
        If they are not of one manifest.
    """
    columns = [manifest_columns(s.rows, s.counted) for s in (reference, arm)]
    return matched(reference.counted.row_id, arm.counted.row_id, columns[0], columns[1], owned)


def score_again(arm: Arm, scorer: Any, folder: str, progress: Progress, view: bool) -> Scores:
    """Score some rows of an arm once more: those of at most ``AGAIN`` regions, each among the rows that it was among.

    Parameters
    ----------
    arm : Arm
        The null arm, whose pixels are proved to be the reference's.
    scorer, folder, progress, view
        As for :func:`score_arm`.

    Returns
    -------
    (ndarray of uint64, ndarray of float64), shape (n,)
        Row ids and scores; none of a table or of a scorer that reads what was injected, which score no pixels.
    """
    what = viewed(arm.config, scorer, folder, progress) if view else scorer
    who = find_scorer(what, arm.config, folder)
    if who.kind != "images":
        return np.empty(0, np.uint64), np.empty(0)
    found = image_scores(arm.config, who, folder, progress, AGAIN)
    return found["row_id"].values, found["stamp"].values


def refuse_chance(reference: ArmScores, again: Scores) -> None:
    """Refuse a scorer that scores the same pixels differently: every difference would be partly chance.

    Parameters
    ----------
    reference : ArmScores
    again : (ndarray, ndarray)
        Of :func:`score_again`.

    Raises
    ------
    RealismError
    """
    ids, score = again
    order = np.argsort(reference.counted.row_id)
    first = reference.counted.score[order[np.searchsorted(reference.counted.row_id[order], ids)]]
    if differ := int((first.view(np.uint64) != score.astype(np.float64).view(np.uint64)).sum()):
        raise RealismError(
            f"the null arm is not the reference: {reference.scorer} scores {differ:,} rows differently, although every "
            "pixel is the same. A scorer must not depend on chance (dropout, random augmentation) nor on the threads"
        )


def refuse_idle_view(reference: ArmScores, arm: ArmScores, setting: str, label: str) -> None:
    """Refuse an arm in which the scorer sees what it saw: the setting is not in force.

    Raises
    ------
    RealismError
    """
    if not _differ(reference, arm):
        raise RealismError(
            f"factor {setting.rpartition('.')[2]!r} changed nothing: with {setting} set to {label}, {arm.scorer} gives "
            "every row the same score. Is it in force (of export.normalisation.kind, only annulus has "
            "a clip, a stretch and radii)?"
        )


def _differ(one: ArmScores, other: ArmScores) -> int:
    """Rows whose scores differ in any bit."""
    a, b = (s.counted.score[np.argsort(s.counted.row_id)] for s in (one, other))
    return int((a.view(np.uint64) != b.view(np.uint64)).sum()) if a.shape == b.shape else max(len(a), len(b))


def strata_of(
    config: RunConfig, reference: ArmScores, order: NDArray[np.int64]
) -> tuple[dict[str, Stratum], tuple[str, ...]]:
    """Bins of ``completeness.strata`` by the reference's manifest and hosts, and notes on what is left out.

    Parameters
    ----------
    config : RunConfig
        The reference's.
    reference : ArmScores
    order : ndarray of int64
        Of its rows.

    Returns
    -------
    (dict, tuple of str)
    """
    rows = reference.rows.isel(sample=reference.counted.rows[order])
    prior = InjectedPrior.of(config, rows.attrs)
    out, notes = {}, []
    for variable, stratum in (config.completeness.strata or default_strata(reference_band(rows))).items():
        band = band_of(variable)
        if (variable if band is None else variable[: -len(band) - 1]) in _NOT_OF_MANIFEST:
            notes.append(f"stratum {variable} is left out: it is measured on the arcs, and an arm would move its rows")
            continue
        made = stratum_bins(variable, stratum, rows, prior)
        if made is not None:
            out[variable] = Stratum(made[0].labels, made[0].place(values_of(variable, rows)))
    return out, tuple(notes)
