"""Collect what a run left behind and write its report."""

from __future__ import annotations

from lensflow.config import RunConfig
from lensflow.steps.execute import Progress, silent


def report_step(config: RunConfig, progress: Progress = silent) -> str:
    """Write the report."""
    return "todo"
