"""Where the completeness of a scorer is kept in a run's folder."""

from __future__ import annotations

import re

from lensflow.config import RunConfig
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder


def results_of(config: RunConfig, scorer: str) -> str:
    """URL of the file that keeps the completeness of a scorer."""
    name = re.sub(r"[^\w.]+", "-", scorer)
    folder = RunFolder.of(config).path("summaries", "completeness")
    return paths.join(folder, f"{name}.{config.completeness.split}.json")
