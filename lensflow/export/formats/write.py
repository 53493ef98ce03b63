"""The tasks of an export: one per group of units, which returns receipts and never pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.formats.columns import known_columns, values_of
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.order import Group, Shard, keys_of
from lensflow.export.formats.writer import Planned, Settings, View, Writer
from lensflow.store import paths

FLOAT16_MAX = float(np.finfo(np.float16).max)
_CHECKED = ("sample_id", "row_id", "y")


@dataclass(frozen=True)
class Written:
    """Files of one task.

    Attributes
    ----------
    files : tuple of FileRecord
    counts : dict
        For the dashboard.
    """

    files: tuple[FileRecord, ...]
    counts: dict[str, int]


def plan_of(views: Mapping[str, View], writer: Writer, settings: Settings) -> list[Planned]:
    """Tasks and files of every split; files are numbered over all of them.

    Parameters
    ----------
    views : mapping
        Split -> view.
    writer : Writer
    settings : Settings

    Returns
    -------
    list of Planned

    Raises
    ------
    ExportError
        If the format does not hold such samples, or a split has none.
    """
    writer.check(views, settings)
    out, start = [], 0
    for split, view in views.items():
        known_columns(view.samples)
        groups = [
            replace(g, shards=tuple(replace(s, index=s.index + start) for s in g.shards))
            for g in writer.groups(view, split, settings)
        ]
        out.append(Planned(split, view, groups))
        start += sum(len(g.shards) for g in groups)
    return out


def fingerprint_of(samples: xr.Dataset) -> str:
    """SHA-256 of a table of samples: names, types and values."""
    digest = hashlib.sha256()
    for name in sorted(map(str, samples.data_vars)):
        values = np.ascontiguousarray(samples[name].values)
        digest.update(f"{name}\x1f{values.dtype.str}\x1f".encode())
        digest.update(values.tobytes() if values.dtype.kind != "O" else "\x1f".join(map(str, values)).encode())
    return digest.hexdigest()


def shape_of(views: Mapping[str, View]) -> dict[str, str]:
    """What every file says of its samples: bands, channels, shape; the same in all splits."""
    view = next(iter(views.values()))
    return {
        "lensflow.bands": ",".join(view.bands),
        "lensflow.channels": ",".join(view.channels),
        "lensflow.shape": json.dumps(list(view.shape)),
    }


class ExportTask:
    """Read the units of a group, and write its files that are not there yet."""

    def __init__(
        self,
        folder: Folder,
        views: Mapping[str, View],
        writer: Writer,
        settings: Settings,
        tasks: Sequence[tuple[str, Group]],
        head: Mapping[str, str],
    ):
        self.folder, self.views, self.writer, self.settings = folder, views, writer, settings
        self.tasks, self.head = tasks, dict(head)

    def __call__(self, index: int) -> Written:
        """Do one task."""
        split, group = self.tasks[index]
        view, writer = self.views[split], self.writer
        done = {s.index: self.folder.receipt(s.index, writer.path(s)) for s in group.shards}
        if all(done.values()):
            return Written(tuple(r for r in done.values() if r), {})
        where, pixels = self._read(view, group)
        files, total = [], view.samples.sizes["sample"]
        for shard, rows in writer.samples_of(group, view.samples, self.settings):
            found = done[shard.index]
            if found is None:
                values = values_of(view.samples, rows, keys_of(shard, total))
                images = pixels[np.searchsorted(where, rows)]
                found = self._write(shard, images, values)
            files.append(found)
        return Written(tuple(files), {"samples exported": sum(f.rows for f in files)})

    def _write(self, shard: Shard, images: NDArray, values: dict[str, Any]) -> FileRecord:
        head = {**self.head, "lensflow.split": shard.split}
        record = self.folder.add(
            self.writer.path(shard),
            lambda to: self.writer.write(to, shard, images, values, head, self.settings),
            split=shard.split, rows=shard.rows, index=shard.index, first=shard.first,
            positives=int((np.asarray(values["y"]) > 0).sum()),
        )  # fmt: skip
        return self.folder.keep(record)

    def _read(self, view: View, group: Group) -> tuple[NDArray[np.int64], NDArray]:
        """Positions of a group's samples, rising, and their pixels as they are stored."""
        samples, raw = view.samples, self.writer.pixels == "raw"
        unit = samples["unit"].values
        where = np.flatnonzero(np.isin(unit, group.units))
        out = np.empty((len(where), *view.shape), self.settings.dtype)
        for u in group.units:
            mine = np.flatnonzero(unit == u)
            block = view.raw(u) if raw else view.read(u)
            for name in _CHECKED:
                if name in block and not np.array_equal(block[name], samples[name].values[mine]):
                    raise ExportError(f"unit {u}: the view reads other {name} than its table lists")
            x = block["x"]
            if x.shape != (len(mine), *view.shape):
                raise ExportError(f"unit {u}: the view reads images {x.shape}, its table lists {len(mine)} samples")
            if not raw:
                self._refuse_bad(x, samples["row_id"].values[mine])
            out[np.searchsorted(where, mine)] = x
        return where, out

    def _refuse_bad(self, x: NDArray, row_id: NDArray) -> None:
        bad = ~np.isfinite(x).all(axis=(1, 2, 3))
        if bad.any():
            raise ExportError(f"row {row_id[bad][0]}: {int(bad.sum())} sample(s) with a pixel that is not finite")
        if self.settings.dtype == "float16":
            high = np.abs(x).max(axis=(1, 2, 3)) > FLOAT16_MAX
            if high.any():
                raise ExportError(
                    f"row {row_id[high][0]}: a pixel beyond {FLOAT16_MAX:g}, the largest number of float16. Set "
                    "export.dtype: float32, or another export.normalisation."
                )


def files_there(folder: Folder, files: Sequence[FileRecord]) -> list[str]:
    """Files of an export that are missing or of another size."""
    return [f.path for f in files if paths.size(folder.path(f.path)) != f.bytes]
