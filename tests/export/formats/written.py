"""Exports of the small view, written without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lensflow.export.formats.card import card_of
from lensflow.export.formats.croissant import croissant_of
from lensflow.export.formats.folder import Folder
from lensflow.export.formats.record import record_of
from lensflow.export.formats.registry import writer_of
from lensflow.export.formats.writer import Settings
from lensflow.run.export.about import header
from lensflow.run.export.write_files import write_files
from tests.export.formats.fake_view import FakeView, fake_about, fake_view


def views(**changes: Any) -> dict[str, FakeView]:
    return {"train": fake_view(**changes), "val": fake_view(20, seed=7, **changes)}


def write(out: Path, form: str, some: dict[str, Any] | None = None, verdict: str = "PASS", **options: Any) -> Path:
    """Write an export and its descriptions, and give it its name."""
    some, writer = some or views(), writer_of(form)
    settings = Settings(**{"seed": 1, "shard_mb": 0.02, "pixel_scale_arcsec": 0.262, **options})
    folder, about = Folder(str(out)), fake_about(verdict)
    files = write_files(folder, some, writer, settings, {}, header(about, form))
    record = record_of(some, writer, settings, files, about)
    for name, text in (
        ("README.md", card_of(record)),
        ("croissant.json", json.dumps(croissant_of(record))),
        ("export.json", json.dumps(record)),
    ):
        Path(folder.path(name)).write_text(text)
    return Path(folder.publish())


def truth(view: FakeView) -> dict[int, np.ndarray]:
    """Pixels by sample_id."""
    blocks = [view.read(u) for u in range(view.n_units)]
    return {int(i): x for b in blocks for i, x in zip(b["sample_id"], b["x"], strict=True)}


def same_pixels(view: FakeView, sample_id: Any, x: Any, atol_ulp: float = 0.0) -> bool:
    """Whether images are those of the view, all of them, each once."""
    expected = truth(view)
    ids = [int(i) for i in sample_id]
    assert sorted(ids) == sorted(expected)
    wanted, found = np.stack([expected[i] for i in ids]), np.asarray(x)
    if not atol_ulp:
        return bool((wanted.view(np.uint32) == found.astype(np.float32).view(np.uint32)).all())
    spacing = np.spacing(np.abs(wanted).astype(found.dtype)).astype(np.float64)
    return bool((np.abs(wanted.astype(np.float64) - found) <= atol_ulp * spacing).all())
