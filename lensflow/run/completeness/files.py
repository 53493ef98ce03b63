"""Where the completeness of a scorer is kept in a run's folder."""

from __future__ import annotations

import re

from lensflow.config import RunConfig, fingerprint
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder

# File systems take 255 bytes; the split and the ending follow.
_MOST = 200


def results_of(config: RunConfig, scorer: str, ending: str = "json") -> str:
    """URL of the file that keeps the completeness of a scorer.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        Its name; of a table, its path.
    ending : str
        ``json`` for the results, ``zarr`` for the selection function.

    Returns
    -------
    str
    """
    name = re.sub(r"[^\w.]+", "-", scorer)
    if len(name.encode()) > _MOST:
        name = f"{name[-60:]}-{fingerprint(scorer)}"
    folder = RunFolder.of(config).path("summaries", "completeness")
    return paths.join(folder, f"{name}.{config.completeness.split}.{ending}")
