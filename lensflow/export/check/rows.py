"""What the checks know of every sample: its columns and a few numbers of its pixels, gathered in one pass.

Pixels are read a part at a time and let go: what stays of a sample is some 200 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.check.parts import ExportFile, ExportReader, Part

NEEDED = ("y", "sample_id", "host_index", "split")
POSITIVE, CONTROL = "positive", "control"


@dataclass(frozen=True, eq=False)
class Facts:
    """An export, gathered.

    Attributes
    ----------
    description : dict
        Content of ``export.json``.
    files : tuple of ExportFile
    columns : dict of ndarray, shape (n,) each
        Columns of the samples' table, ``file``, ``row`` (place in it), ``key``, ``header``, ``record_bytes``, the
        marks of a container (``mark NAME``) and what checks measured.
    written : tuple of str
        Columns of the samples' table.
    headers : tuple of str
    single : bool
        Whether records have sizes of their own.
    run : callable
        Opens the run's view of a split, or raises ExportError saying why it cannot.
    seed : int
        Of bootstraps and drawn rows.
    unlisted : tuple of str
        Files of samples in the folder that ``export.json`` does not list.
    """

    description: Mapping[str, Any]
    files: tuple[ExportFile, ...]
    columns: dict[str, NDArray[Any]]
    written: tuple[str, ...]
    headers: tuple[str, ...]
    single: bool
    run: Callable[[str], Any]
    seed: int = 0
    unlisted: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["sample_id"])

    @property
    def y(self) -> NDArray[np.bool_]:
        """Whether each sample is a positive."""
        return np.asarray(self.columns["y"] > 0)

    @property
    def host(self) -> NDArray[np.int64]:
        """Host of each sample; a sample without one (a table's) is a host of its own, with a negative number."""
        host = self.columns["host_index"].astype(np.int64)
        return np.where(host >= 0, host, -1 - np.arange(len(host)))

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight of each sample in training; 1 where none was written."""
        if "weight" not in self.columns:
            return np.ones(len(self))
        return np.asarray(self.columns["weight"], np.float64)

    @property
    def kind(self) -> NDArray[np.str_]:
        """Kind of each sample: ``positive``, or the kind of negative (``control`` where none was written)."""
        if "negative_kind" in self.columns:
            return np.asarray(self.columns["negative_kind"].astype(str))
        return np.where(self.y, POSITIVE, CONTROL)

    def is_one_class(self) -> str:
        """Why classes cannot be compared; empty if they can."""
        n = int(self.y.sum())
        if 0 < n < len(self):
            return ""
        return f"{len(self):,} samples, {n:,} of them positives: there are no two classes to compare"

    def name(self, k: int) -> str:
        """Name a sample for people."""
        split, key = self.columns["split"][k], self.columns["key"][k]
        return f"sample_id {int(self.columns['sample_id'][k])} ({split}{f', key {key}' if key else ''})"


Measure = Callable[[Part, Mapping[str, Any]], dict[str, NDArray[Any]]]


def gather(reader: ExportReader, measures: Sequence[Measure], run: Callable[[str], Any], seed: int = 0) -> Facts:
    """Read an export once.

    Parameters
    ----------
    reader : ExportReader
    measures : sequence of callable
        A part and the description to numbers of its samples, by name.
    run : callable
        Opens the run's view of a split.
    seed : int

    Returns
    -------
    Facts

    Raises
    ------
    ExportError
        If there are no samples, or a column that every export has is missing.
    """
    every: list[dict[str, NDArray[Any]]] = []
    headers: dict[str, int] = {}
    single = True
    for part in reader.parts():
        file = reader.files[part.file].name
        missing = [n for n in NEEDED if n not in part.columns]
        if missing:
            raise ExportError(f"{file}: has no column {', '.join(missing)}, so that its samples cannot be checked")
        own = np.array([headers.setdefault(h, len(headers)) for h in part.headers], np.int64)
        single &= part.single
        one = {
            **part.columns,
            "file": np.full(len(part), part.file),
            "row": part.row,
            "key": part.keys,
            "header": own[part.header],
            "record_bytes": part.record_bytes,
            **{f"mark {k}": v for k, v in part.marks.items()},
        }
        for measure in measures:
            one.update(measure(part, reader.description))
        every.append(one)
    if not every:
        raise ExportError("the export holds no samples")
    names, written = list(every[0]), tuple(part.columns)
    for one in every:
        if set(one) != set(names):
            odd = sorted(set(one) ^ set(names))
            raise ExportError(f"{reader.files[int(one['file'][0])].name}: columns differ from other files': {odd}")
    joined = {n: np.concatenate([one[n] for one in every]) for n in names}
    order = np.lexsort((joined["row"], joined["file"]))
    return Facts(
        reader.description, reader.files, {n: v[order] for n, v in joined.items()}, written, tuple(headers), single,
        run, seed, tuple(reader.unlisted),
    )  # fmt: skip


def fingerprints(images: NDArray[Any]) -> NDArray[np.uint64]:
    """128 bits of each image's values (one zero, one NaN), shape (n, 2); equal where the pixels are."""
    # As single precision: an image counts as a copy also if it was stored in another type.
    flat = np.ascontiguousarray(images, dtype=np.float32).reshape(len(images), -1) + np.float32(0)
    flat[np.isnan(flat)] = np.nan
    words = [np.frombuffer(hashlib.blake2b(row.data, digest_size=16).digest(), np.uint64) for row in flat]
    return np.array(words, np.uint64).reshape(len(images), 2)
