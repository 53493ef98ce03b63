"""What a trained network finds of real lenses: asked of the comparison with real lenses, if there is a table."""

from __future__ import annotations

import math
from dataclasses import replace

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import LensflowError
from lensflow.measure.gate import GateResult, Verdict
from lensflow.run.execute import Progress
from lensflow.run.realism.lens_targets import lenses_for
from lensflow.run.realism.step import realism_step

REAL = "real_lenses"
_OF_SCORER = ("real_recall", "real_fpr", "gap")


def refuse_bad_table(config: RunConfig) -> None:
    """Refuse a table of real lenses that cannot be read, before hours of training.

    Raises
    ------
    TargetError
    """
    if config.realism.table is not None:
        lenses_for(config, config.realism.table)


def real_verdicts(config: RunConfig, scorer: str, progress: Progress) -> list[GateResult]:
    """Recall of the real lenses of ``realism.table`` by a trained network, and what else real stamps say of it.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        URL of the network.
    progress : callable

    Returns
    -------
    list of GateResult
        ``real_lenses`` (the recall at the thresholds of ``completeness``), ``real_fpr`` and ``gap``; without a table
        the first alone, NOT_TESTABLE. A comparison that stopped is an ERROR with its reason: the training is kept.
    """
    if config.realism.table is None:
        reason = (
            "no table of real lenses: recall on them at a fixed false-positive rate is not known, and nothing else "
            "stands for it. Name one in realism.table, or `lensflow realism RUN --real TABLE --scorer` with these "
            "weights"
        )
        return [_alone(Verdict.NOT_TESTABLE, scorer, reason)]
    try:
        found = realism_step(config, None, scorer, progress)
    except LensflowError as error:
        return [_alone(Verdict.ERROR, scorer, f"the comparison with real lenses stopped: {error}")]
    by_name = {g.name: g for g in found.gates}
    recall, *others = (by_name[name] for name in _OF_SCORER)
    return [replace(recall, name=REAL), *others]


def _alone(verdict: Verdict, scorer: str, reason: str) -> GateResult:
    recipe = {"check": REAL, "scorer": scorer}
    return GateResult(REAL, recipe, fingerprint(recipe), math.nan, verdict, reason)
