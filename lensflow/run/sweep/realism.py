"""The areas of arms' injections against the same real lenses, where `lensflow realism` has measured them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lensflow.config import RunConfig
from lensflow.run.identity import pairs_content
from lensflow.run.realism.stored import compared_with, stored_realism
from lensflow.stats.estimate import NOT_MEASURED, Estimate


def realism_areas(reference: RunConfig, arms: Sequence[RunConfig]) -> tuple[list[Estimate], tuple[str, ...]]:
    """AUC of the readable features of a reference and its arms against one table of real lenses.

    Areas against other lenses, or by other settings of ``realism``, differ for reasons that are not the factor's: only
    one comparison is shown, the reference's own that most arms have, too.

    Parameters
    ----------
    reference : RunConfig
    arms : sequence of RunConfig
        Each a run of its own.

    Returns
    -------
    list of Estimate, tuple of str
        Of the reference and of each arm, NaN where it was not compared with that table; and notes: which table it is,
        and what is left out.
    """
    every = [_areas(config) for config in (reference, *arms)]
    count = Counter(key for found in every for key in found)
    if not count:
        return [NOT_MEASURED] * len(every), ()
    chosen = min(count, key=lambda key: (key not in every[0], -count[key], key))
    notes = [f"areas against real lenses are of {chosen[0]}"]
    if others := len(count) - 1:
        notes.append(
            f"areas against other real lenses, or by other settings, are left out ({others}): they differ by more than "
            "the factor"
        )
    return [found.get(chosen, NOT_MEASURED) for found in every], tuple(notes)


def _areas(config: RunConfig) -> dict[tuple[str, str], Estimate]:
    """Areas by what was compared with, of the comparisons that belong to a run's pairs."""
    found = stored_realism(config)
    content = pairs_content(config) if found else ""
    areas: dict[tuple[str, str], Estimate] = {}
    for one in found:
        if one.pairs == content:
            areas.setdefault(compared_with(one), one.kept.gates[0].area)
    return areas
