"""The area of an arm's injections against real lenses, where `lensflow realism` has measured it in the arm's folder."""

from __future__ import annotations

from lensflow.config import RunConfig
from lensflow.run.identity import pairs_content
from lensflow.run.realism.stored import stored_realism
from lensflow.stats.estimate import NOT_MEASURED, Estimate


def realism_area(config: RunConfig) -> Estimate:
    """AUC of the readable features of an arm against real lenses on matched hosts.

    Parameters
    ----------
    config : RunConfig
        Of the arm, a run of its own.

    Returns
    -------
    Estimate
        Of the first stored comparison that belongs to these pixels; NaN without one.
    """
    found = stored_realism(config)
    content = pairs_content(config) if found else ""
    return next((s.kept.gates[0].area for s in found if s.pairs == content), NOT_MEASURED)
