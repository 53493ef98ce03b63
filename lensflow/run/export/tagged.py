"""Injections that a person tagged as not to be learned from (``export.tags``, ``export.leave_out``)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import ExportError, TagError
from lensflow.store import paths
from lensflow.store.tags import read_tags, tag_of_rows


def without_tagged(config: RunConfig, rows: xr.Dataset) -> tuple[xr.Dataset, dict[str, int]]:
    """Rows without the injections that have a tag of ``export.leave_out``.

    Controls stay: negatives are made from the hosts of positives, not from rows of controls.

    Parameters
    ----------
    config : RunConfig
    rows : Dataset, dim sample
        With ``row_id`` and ``is_control``.

    Returns
    -------
    rows : Dataset
    left_out : dict
        ``tagged NAME`` -> number of injections.

    Raises
    ------
    TagError
        If the file cannot be read, or nothing has one of the tags.
    """
    if config.export.tags is None:
        return rows, {}
    tag = tag_of_rows(read_tags(config.export.tags), rows["row_id"].values, config.export.leave_out)
    gone = (tag != "") & ~rows["is_control"].values.astype(bool)
    counts = Counter(tag[gone].tolist())
    return rows.isel(sample=np.flatnonzero(~gone)), {f"tagged {name}": n for name, n in sorted(counts.items())}


def refuse_foreign_tags(config: RunConfig, rows: xr.Dataset) -> None:
    """Refuse tags of which none is of this run: they would be left without effect, and without a word.

    Raises
    ------
    ExportError
    """
    if config.export.tags is None:
        return
    try:
        tagged = tag_of_rows(read_tags(config.export.tags), rows["row_id"].values, config.export.leave_out) != ""
    except TagError as error:
        raise ExportError(f"export.tags: {config.export.tags}: {error}") from error
    if not tagged.any():
        raise ExportError(
            f"export.tags: {config.export.tags}: no row tagged {' or '.join(config.export.leave_out)} is of this run. "
            "Tags belong to the run that they were made on: its rows have other names in another run."
        )


def tags_content(config: RunConfig) -> str:
    """Fingerprint of the file of tags; empty without one."""
    return "" if config.export.tags is None else paths.content(config.export.tags)
