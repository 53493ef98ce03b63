"""The seam to the comparison with real lenses: its area for an arm, where `lensflow realism` has measured it."""

from __future__ import annotations

from lensflow.config import RunConfig
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
        NaN: nothing keeps one in a run's folder yet.
    """
    del config
    return NOT_MEASURED
