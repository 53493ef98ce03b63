"""Completeness of a scorer on a finished run: what is counted, whose scores, which negatives, and what is kept."""

from __future__ import annotations

from lensflow.run.completeness.files import results_of
from lensflow.run.completeness.result import Completeness
from lensflow.run.completeness.settings import with_options
from lensflow.run.completeness.step import completeness_step

__all__ = ["Completeness", "completeness_step", "results_of", "with_options"]
