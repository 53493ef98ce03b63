"""The areas of arms' injections against the same real lenses, where `lensflow realism` has measured them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lensflow.config import RunConfig
from lensflow.measure.realism.paired import LensScores, correlation_of_areas
from lensflow.run.identity import pairs_content
from lensflow.run.realism.stored import StoredRealism, compared_with, stored_realism
from lensflow.stats.estimate import NOT_MEASURED, Estimate


@dataclass(frozen=True)
class RealismAreas:
    """AUC of the readable features against one table of real lenses, and what each arm changes of it.

    Attributes
    ----------
    reference : Estimate
        NaN where it was not compared with that table; so are the arms'.
    arms, changes : tuple of Estimate
        Of each arm; its area less the reference's, paired by real lens where both have the same ones.
    notes : tuple of str
        Which table it is, and what is left out.
    """

    reference: Estimate
    arms: tuple[Estimate, ...]
    changes: tuple[Estimate, ...]
    notes: tuple[str, ...] = ()


def realism_areas(reference: RunConfig, arms: Sequence[RunConfig]) -> RealismAreas:
    """Find what a reference and its arms have stored of one table of real lenses.

    Areas against other lenses, or by other settings of ``realism``, differ for reasons that are not the factor's: only
    one comparison is shown, the reference's own that most arms have, too.

    Parameters
    ----------
    reference : RunConfig
    arms : sequence of RunConfig
        Each a run of its own.
    """
    every = [_compared(config) for config in (reference, *arms)]
    count = Counter(key for found in every for key in found)
    if not count:
        return RealismAreas(NOT_MEASURED, (NOT_MEASURED,) * len(arms), (NOT_MEASURED,) * len(arms))
    chosen = min(count, key=lambda key: (key not in every[0], -count[key], key))
    notes = [f"areas against real lenses are of {chosen[0]}"]
    if others := len(count) - 1:
        notes.append(
            f"areas against other real lenses, or by other settings, are left out ({others}): they differ by more than "
            "the factor"
        )
    own, *others_of = [found.get(chosen) for found in every]
    changes = [_change(own, one) for one in others_of]
    if any(change.is_measured and not paired for change, paired in changes):
        notes.append("a change of these areas is that of independent ones where the arms share too few real lenses")
    return RealismAreas(
        _area(own), tuple(_area(one) for one in others_of), tuple(change for change, _ in changes), tuple(notes)
    )


def _area(stored: StoredRealism | None) -> Estimate:
    return NOT_MEASURED if stored is None else stored.kept.gates[0].area


def _change(reference: StoredRealism | None, arm: StoredRealism | None) -> tuple[Estimate, bool]:
    """Area of an arm less the reference's, and whether the two are paired."""
    if reference is None or arm is None:
        return NOT_MEASURED, False
    recipe = reference.kept.gates[0].recipe
    folds, seed = int(recipe["folds"]), int(recipe["seed"])
    scores = [LensScores.of_tables(one.kept.tables, folds, seed) for one in (reference, arm)]
    together = correlation_of_areas(scores[0], scores[1], int(reference.settings["bootstrap"]), seed)
    return _area(arm).less(_area(reference), together or 0.0), together is not None


def _compared(config: RunConfig) -> dict[tuple[str, str], StoredRealism]:
    """Comparisons that belong to a run's pairs, by what was compared with."""
    found = stored_realism(config)
    content = pairs_content(config) if found else ""
    out: dict[tuple[str, str], StoredRealism] = {}
    for one in found:
        if one.pairs == content:
            out.setdefault(compared_with(one), one)
    return out
