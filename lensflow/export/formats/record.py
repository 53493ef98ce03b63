"""``export.json``: everything that the card, Croissant, a loader and the check need to know of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ExportError, StoreError
from lensflow.export.formats.columns import FEATURES, known_columns
from lensflow.export.formats.folder import INDEX, FileRecord
from lensflow.export.formats.writer import Settings, View, Writer
from lensflow.store import paths

VERSION = 1
_KEYS = (
    "format",
    "view",
    "bands",
    "channels",
    "shape",
    "dtype",
    "pixels",
    "normalisation",
    "splits",
    "files",
    "columns",
)


@dataclass(frozen=True)
class Split:
    """What is said of a split.

    Attributes
    ----------
    rows, positives, negatives, hosts : int
    different_negatives : int
        Negatives of other pixels: a control of a host is one, however often it is used.
    negatives_by_kind : dict
    """

    rows: int
    positives: int
    negatives: int
    hosts: int
    different_negatives: int
    negatives_by_kind: dict[str, int]

    @classmethod
    def of(cls, samples: xr.Dataset) -> Split:
        """Count a table of samples."""
        y, kind, host = (samples[n].values for n in ("y", "negative_kind", "host_index"))
        row = samples["row_id"].values
        negative = y == 0
        by_kind = {name: int((negative & (kind == k)).sum()) for k, name in enumerate(NEGATIVE_KINDS)}
        different = 0
        for k, name in enumerate(NEGATIVE_KINDS):
            some = negative & (kind == k)
            different += len(np.unique(row[some] if name == "counterfactual" else host[some]))
        return cls(
            len(y), int((y > 0).sum()), int(negative.sum()), len(np.unique(host)), different,
            {k: n for k, n in by_kind.items() if n},
        )  # fmt: skip


def record_of(
    views: Mapping[str, View],
    writer: Writer,
    settings: Settings,
    files: Sequence[FileRecord],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the content of ``export.json``.

    Parameters
    ----------
    views : mapping
        Split -> view.
    writer : Writer
    settings : Settings
    files : sequence of FileRecord
    about : mapping
        Run, certificate, settings of the view.

    Returns
    -------
    dict
        Plain JSON types.
    """
    view = next(iter(views.values()))
    splits: dict[str, Any] = {}
    for name, one in views.items():
        splits[name] = {**asdict(Split.of(one.samples)), "files": [f.path for f in files if f.split == name and f.rows]}
        counts = getattr(one, "counts", None)
        if counts is not None:
            splits[name] |= {
                "different_negatives": counts.different_negatives,
                "left_out": dict(counts.left_out),
                "negative_weights": {k: round(v, 4) for k, v in counts.weights.items()},
            }
    return {
        "lensflow_export": VERSION,
        "format": writer.name,
        "bands": list(view.bands),
        "channels": list(view.channels),
        "shape": list(view.shape),
        "dtype": settings.dtype,
        "pixels": "normalised" if writer.pixels == "x" else "nMgy/pixel, not normalised",
        "pixel_scale_arcsec": settings.pixel_scale_arcsec,
        "normalisation": view.normalisation.to_json(),
        "seed": settings.seed,
        "splits": splits,
        "columns": {c.name: {"units": c.units, "meaning": c.meaning} for c in known_columns(view.samples)},
        "features": [c.name for c in known_columns(view.samples) if c.name in FEATURES],
        "files": [
            {"path": f.path, "split": f.split, "rows": f.rows, "positives": f.positives, "sha256": f.sha256,
             "bytes": f.bytes}
            for f in files
        ],
        **about,
    }  # fmt: skip


def read_record(out: str) -> dict[str, Any]:
    """Read the ``export.json`` of a folder.

    Parameters
    ----------
    out : str
        Path or URL of an export.

    Returns
    -------
    dict

    Raises
    ------
    ExportError
        If there is none, or not one of this version.
    """
    place = paths.join(out, INDEX)
    try:
        found = paths.read_json(place)
    except StoreError as error:
        raise ExportError(f"{out}: no finished export of lensflow ({error})") from error
    if not isinstance(found, dict) or found.get("lensflow_export") != VERSION:
        version = found.get("lensflow_export") if isinstance(found, dict) else None
        raise ExportError(f"{place}: not an export of version {VERSION} (found {version}). Export the run again.")
    if missing := [k for k in _KEYS if k not in found]:
        raise ExportError(f"{place}: edited, or damaged: it lacks {', '.join(missing)}. Export the run again.")
    return found
