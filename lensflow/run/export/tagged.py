"""Injections that a person tagged as not to be learned from (``export.tags``, ``export.leave_out``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.errors import ExportError, TagError
from lensflow.store import paths
from lensflow.store.read import read_attrs
from lensflow.store.run_folder import RunFolder
from lensflow.store.tags import Tag, plan_of_rows, read_tags, tag_of_rows, warn_of_plan


def tags_of(config: RunConfig, rows: xr.Dataset) -> Mapping[int, Tag]:
    """Tags of ``export.tags``, which are of these rows; none without a file.

    Raises
    ------
    ExportError
        If the file cannot be read, is of another plan's rows, or none of its tagged rows is of this run: it would be
        left without effect, and without a word.
    """
    if config.export.tags is None:
        return {}
    try:
        tags = read_tags(config.export.tags)
        warn_of_plan(tags, plan_of_rows(read_attrs(RunFolder.of(config).manifest, "manifest")), config.export.tags)
        tagged = tag_of_rows(tags, rows["row_id"].values, config.export.leave_out) != ""
    except TagError as error:
        raise ExportError(f"export.tags: {config.export.tags}: {error}") from error
    if not tagged.any():
        raise ExportError(
            f"export.tags: {config.export.tags}: no row tagged {' or '.join(config.export.leave_out)} is of this run. "
            "Tags belong to the run that they were made on: its rows have other names in another run."
        )
    return tags


def without_tagged(config: RunConfig, rows: xr.Dataset, tags: Mapping[int, Tag]) -> tuple[xr.Dataset, dict[str, int]]:
    """Rows without the injections that have a tag of ``export.leave_out``.

    Controls stay: negatives are made from the hosts of positives, not from rows of controls.

    Parameters
    ----------
    config : RunConfig
    rows : Dataset, dim sample
        With ``row_id`` and ``is_control``.
    tags : mapping
        Of :func:`tags_of`.

    Returns
    -------
    rows : Dataset
    left_out : dict
        ``tagged NAME`` -> number of injections.
    """
    if not tags:
        return rows, {}
    tag = tag_of_rows(tags, rows["row_id"].values, config.export.leave_out)
    gone = (tag != "") & ~rows["is_control"].values.astype(bool)
    counts = Counter(tag[gone].tolist())
    return rows.isel(sample=np.flatnonzero(~gone)), {f"tagged {name}": n for name, n in sorted(counts.items())}


def tags_content(config: RunConfig) -> str:
    """Fingerprint of the file of tags; empty without one."""
    return "" if config.export.tags is None else paths.content(config.export.tags)
