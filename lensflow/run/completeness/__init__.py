"""Completeness of a scorer on a finished run: what is counted, whose scores, which negatives, and what is kept."""

from __future__ import annotations

from lensflow.run.completeness.files import results_of
from lensflow.run.completeness.settings import with_rates
from lensflow.run.completeness.step import completeness_step

__all__ = ["completeness_step", "results_of", "with_rates"]
