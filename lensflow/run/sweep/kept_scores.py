"""Scores of an arm, kept as soon as it is scored: a sweep that was stopped scores no arm twice."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StoreError
from lensflow.measure.completeness.summary import Negatives
from lensflow.run.completeness.negatives import negatives_source
from lensflow.run.completeness.rows import rows_of, with_scores
from lensflow.run.completeness.scorers import Scorer
from lensflow.run.completeness.step import Scored
from lensflow.run.execute import Progress
from lensflow.run.identity import pairs_content
from lensflow.store import paths, resume
from lensflow.store.arrays import read_arrays, write_arrays

KIND = "sweep-scores"


def scores_key(config: RunConfig, who: Scorer) -> str | None:
    """Fingerprint of all that an arm's scores depend on; None where they are not kept.

    Thresholds and strata count the scores and do not change them.

    Parameters
    ----------
    config : RunConfig
        The arm's.
    who : Scorer

    Returns
    -------
    str or None
        Of a scorer of images that can be fingerprinted. Tables are read faster than kept scores, and every opening of
        the test split is logged where it is scored.
    """
    of = config.completeness
    if who.kind != "images" or who.source is None or of.split == "test":
        return None
    view = config.export.normalisation.model_dump(mode="json")
    return fingerprint(
        pairs_content(config), of.split, str(of.negatives), negatives_source(config), who.source, who.kind,
        config.scorer.lens_light, view, resume.measuring_code_fingerprint(),
    )  # fmt: skip


def read_scores(url: str, key: str, config: RunConfig, progress: Progress) -> Scored | None:
    """Read kept scores.

    Parameters
    ----------
    url, key : str
    config : RunConfig
        The arm's.
    progress : callable

    Returns
    -------
    Scored or None
        None where there are none under this key, or they cannot be read: they are then made again.
    """
    if not paths.group_exists(url):
        return None
    try:
        kept = read_arrays(url, KIND, "sweep again")
    except StoreError:
        return None
    if kept.attrs.get("key") != key:
        return None
    rows = rows_of(config, config.completeness.split, progress)
    scored = with_scores(rows, kept["row_id"].values, kept["score"].values)
    negatives = Negatives(kept["negative_score"].values, kept["negative_host"].values, str(kept.attrs["negatives"]))
    return Scored(str(kept.attrs["scorer"]), scored, negatives)


def keep_scores(url: str, key: str, found: Scored) -> None:
    """Keep an arm's scores.

    Parameters
    ----------
    url, key : str
    found : Scored
    """
    has = np.flatnonzero(found.rows["has_score"].values)
    table = xr.Dataset(
        {
            "row_id": ("sample", found.rows["row_id"].values[has].astype(np.uint64)),
            "score": ("sample", found.rows["score"].values[has].astype(np.float64)),
            "negative_score": ("negative", np.asarray(found.negatives.score, np.float64)),
            "negative_host": ("negative", np.asarray(found.negatives.host, np.int64)),
        },
        attrs={"key": key, "scorer": found.name, "negatives": found.negatives.what},
    )
    write_arrays(url, table, KIND)
