"""Where a training keeps its network, scores and verdicts in a run's folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.run.export.non_lenses import table_content
from lensflow.run.export.tagged import tags_content
from lensflow.run.score_table import SCORES, made_of
from lensflow.store import paths
from lensflow.store.arrays import write_arrays
from lensflow.store.open import read_head
from lensflow.store.run_folder import RunFolder
from lensflow.training.checkpoint import ENDING


def folder_of(config: RunConfig) -> str:
    """Folder of the training's results."""
    return RunFolder.of(config).training


def weights_of(config: RunConfig) -> str:
    """URL of the network: a scorer for ``lensflow score`` and ``lensflow completeness``."""
    return paths.join(folder_of(config), f"weights{ENDING}")


def report_of(config: RunConfig) -> str:
    """URL of verdicts and numbers."""
    return paths.join(folder_of(config), "report.json")


def scores_url(config: RunConfig) -> str:
    """URL of the scores of val, by row_id and by host_id: a table for ``lensflow completeness``."""
    return paths.join(folder_of(config), "scores.zarr")


def history_of(config: RunConfig) -> str:
    """URL of the history, one row an epoch."""
    return paths.join(folder_of(config), "history.parquet")


def training_key(config: RunConfig, content: str) -> str:
    """Key that stored results carry if they belong to these settings and pixels.

    Parameters
    ----------
    config : RunConfig
    content : str
        Fingerprint of the pairs.
    """
    more = [of_file for of_file in (table_content(config), tags_content(config)) if of_file]
    return fingerprint(config.settings_of("training"), content, *more)


def real_key(config: RunConfig) -> str:
    """Key of the verdicts on real lenses: the table and the settings that they depend on; empty without a table.

    It is not part of :func:`training_key`: with another table the network stays.
    """
    table = config.realism.table
    return "" if table is None else fingerprint(
        config.settings_of("realism"), config.settings_of("completeness"), paths.content(table)
    )  # fmt: skip


def write_history(url: str, history: Sequence[Mapping[str, float]]) -> None:
    """Write the history as parquet.

    Parameters
    ----------
    url : str
    history : sequence of mapping
        One an epoch.
    """
    out = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist([dict(h) for h in history]), out)
    paths.write_bytes(url, out.getvalue())


def write_scores_of_val(config: RunConfig, content: str, source: str, scores: xr.Dataset) -> None:
    """Write the scores of val's injections and of their hosts without arcs.

    Parameters
    ----------
    config : RunConfig
    content, source : str
        Fingerprints of the pairs and of the network.
    scores : Dataset
        As :func:`lensflow.measure.scorer.scorer.score_block` gives them.
    """
    names = read_head(RunFolder.of(config).cutouts, "cutouts", names=("host_id",))["host_id"].values
    table = xr.Dataset(
        {
            "row_id": ("sample", scores["row_id"].values.astype(np.uint64)),
            "score": ("sample", scores["stamp"].values, {"long_name": "logit of the stamp"}),
            "host_id": ("host", names[scores["ctrl_host"].values].astype(str)),
            "host_score": ("host", scores["ctrl"].values, {"long_name": "logit of the host without arc"}),
        },
        attrs={"made": made_of(config, content, weights_of(config), source)},
    )
    write_arrays(scores_url(config), table, SCORES)


def as_plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """Header of a network as lists and mappings."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in about.items()}
