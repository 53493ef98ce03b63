"""Where comparisons with real lenses are kept in a run's folder."""

from __future__ import annotations

import re

from lensflow.config import RunConfig, fingerprint
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder

# Of a file of results, beside other files of the folder.
ENDING = ".realism.json"
_MOST_BYTES = 120


def results_of(config: RunConfig, table: str, scorer: str = "") -> str:
    """URL of the file that keeps a comparison.

    Parameters
    ----------
    config : RunConfig
    table : str
        Of real lenses; one of the same name in another folder has a file of its own.
    scorer : str
        Its name; empty for none.
    """
    above, _, own = str.__str__(table).rstrip("/").rpartition("/")
    stem = re.sub(r"[^\w.]+", "-", own)
    if above:
        stem = f"{stem}-{fingerprint(above)[:8]}"
    if scorer:
        stem = f"{stem}.{re.sub(r'[^A-Za-z0-9_.]+', '-', scorer)}"
    if len(stem.encode()) > _MOST_BYTES:
        stem = f"{stem[-60:]}-{fingerprint(table, scorer)}"
    return paths.join(RunFolder.of(config).realism, f"{stem}{ENDING}")


def results_names(config: RunConfig) -> list[str]:
    """Names of all files of results, sorted."""
    return sorted(n for n in paths.list_names(RunFolder.of(config).realism) if n.endswith(ENDING))
