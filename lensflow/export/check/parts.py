"""An export as a stranger reads it: its files, and its samples a part at a time, in the order that a loader meets them.

A reader of one format gives these (:mod:`lensflow.export.check.readers`). It knows the format's own library, the file
``export.json`` and nothing of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ExportFile:
    """One file of an export.

    Attributes
    ----------
    name : str
        Below the export's folder.
    split : str
    n_bytes : int
    """

    name: str
    split: str
    n_bytes: int


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of one file, in the file's order: a row group, or a thousand records.

    Attributes
    ----------
    file : int
        Place of the file among :attr:`ExportReader.files`.
    row : ndarray of int64, shape (n,)
        Place of each sample in the file.
    x : ndarray, shape (n, channel, y, x)
        Normalised, in the type that is stored; single precision where types differ (``dtypes`` say which).
    dtypes : ndarray of str, shape (n,)
        Type in which each image is stored.
    columns : dict of ndarray, shape (n,) each
        The table's columns by name: ``y``, ``host_index``, ``sample_id``, ``split`` and what else was written.
    keys : ndarray of str, shape (n,)
        Name of each record as a reader sees it; empty texts where records have none.
    headers : tuple of str
        Everything beside the pixels that says how a record is stored: type, shape, order, codec, member names.
    header : ndarray of int64, shape (n,)
        Which of ``headers`` each record has.
    record_bytes : ndarray of float64, shape (n,)
        Stored size of each record; of a row group, per row.
    marks : dict of ndarray, shape (n,) each
        What a container says of each record beside its name: time, permissions, owner. Empty where it says nothing.
    single : bool
        Whether a record has a size of its own; else sizes are those of row groups, which hold both classes.
    """

    file: int
    row: NDArray[np.int64]
    x: NDArray[Any]
    dtypes: NDArray[np.str_]
    columns: dict[str, NDArray[Any]]
    keys: NDArray[np.str_]
    headers: tuple[str, ...]
    header: NDArray[np.int64]
    record_bytes: NDArray[np.float64]
    marks: dict[str, NDArray[Any]]
    single: bool

    def __len__(self) -> int:
        return len(self.x)


class ExportReader(Protocol):
    """Reader of one export."""

    @property
    def description(self) -> dict[str, Any]:
        """Content of ``export.json``."""
        ...

    @property
    def files(self) -> tuple[ExportFile, ...]:
        """Files that hold samples, in the order in which they are read."""
        ...

    @property
    def unlisted(self) -> tuple[str, ...]:
        """Files of samples in the folder that ``export.json`` does not list."""
        ...

    def parts(self) -> Iterator[Part]:
        """Samples, file by file; a part is small enough to be held in memory several times."""
        ...
