"""webdataset: tar files with ``KEY.x.npy`` and ``KEY.json``, uncompressed and of one size for all samples."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.order import Group, Shard
from lensflow.export.formats.writer import Planned, Settings, View, Writer

COUNTS = "shards.json"
_BLOCK = 512


class WebDataset(Writer):
    """``SPLIT-00000.tar``."""

    name = "webdataset"
    packages = ("webdataset",)

    def groups(self, view: View, split: str, settings: Settings) -> list[Group]:
        """Tasks of a split, and their files: two for each reader, or one would wait for the others."""
        least = 2 * settings.readers
        if settings.shards is not None and settings.shards < least:
            raise ExportError(
                f"split {split}: {settings.shards} files for {settings.readers} readers (worker processes times "
                f"ranks). A reader without a file can stall a distributed training: set export.shards to at least "
                f"{least}, or export.readers to what will read them."
            )
        pairs = len(np.unique(view.samples["pair_id"].values))
        if view.samples.sizes["sample"] < least:
            raise ExportError(
                f"split {split}: {view.samples.sizes['sample']} samples ({pairs} pairs) cannot fill {least} files, "
                f"two for each of {settings.readers} readers. Lower export.readers, or export more rows."
            )
        return super().groups(view, split, replace(settings, shards=max(settings.shards or 1, least)))

    def path(self, shard: Shard) -> str:
        """Path of a file below the export."""
        return f"{shard.split}-{shard.number:05d}.tar"

    def write(
        self, to: Path, shard: Shard, x: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
    ) -> None:
        """Write one file."""
        import webdataset

        records = [json.dumps(r) for r in _records(values, head)]
        # A record's length must not say its class ("control" is shorter than "positive"): blanks make all equal.
        size = _BLOCK * math.ceil((max(map(len, records), default=0) + 64) / _BLOCK)
        with to.open("wb") as file:
            # No times and no users: the same rows make the same bytes.
            tar = webdataset.TarWriter(file, user="lensflow", group="lensflow", mtime=0, encoder=False)
            for key, image, record in zip(values["key"], x, records, strict=True):
                tar.write({"__key__": str(key), "x.npy": npy_bytes(image), "json": record.ljust(size).encode()})
            tar.close()

    def finish(
        self,
        folder: Folder,
        planned: Sequence[Planned],
        written: Sequence[FileRecord],
        head: Mapping[str, str],
        settings: Settings,
    ) -> list[FileRecord]:
        """Write ``shards.json``: samples of each file."""
        text = json.dumps({r.path: r.rows for r in written}, indent=1) + "\n"
        return [*written, folder.add(COUNTS, lambda to: _write_text(to, text))]


def _records(values: Mapping[str, Any], head: Mapping[str, str]) -> list[dict[str, Any]]:
    names = [n for n in values if n != "key"]
    constant = {"certificate": head["lensflow.certificate_verdict"]} if "lensflow.certificate_verdict" in head else {}
    rows = zip(*(_plain(values[n]) for n in names), strict=True)
    return [{**dict(zip(names, row, strict=True)), **constant} for row in rows]


def _plain(column: Any) -> list[Any]:
    """Plain JSON types; NaN is null."""
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return [float(v) if np.isfinite(v) else None for v in values]
    return [v.item() if isinstance(v, np.generic) else v for v in values.tolist()]


def npy_bytes(image: NDArray) -> bytes:
    """An array as the bytes of a ``.npy`` file."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(image), version=(1, 0), allow_pickle=False)
    return out.getvalue()


def _write_text(to: Path, text: str) -> None:
    to.write_text(text)
