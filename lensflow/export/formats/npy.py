"""npy: all images in one array that is mapped into memory, and a table of their samples."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.export.formats.folder import WORK, FileRecord, Folder
from lensflow.export.formats.order import Shard
from lensflow.export.formats.writer import Planned, Settings, Writer
from lensflow.export.formats.zarr_index import index_of
from lensflow.store import paths

IMAGES = "x.npy"


class Npy(Writer):
    """``x.npy`` (sample, channel, y, x) and ``index.parquet``, splits one after the other."""

    name = "npy"

    def path(self, shard: Shard) -> str:
        """Path of a piece, below the export; the pieces become one file at the end."""
        return f"{WORK}/parts/{shard.index:06d}.bin"

    def write(
        self, to: Path, shard: Shard, x: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
    ) -> None:
        """Write one piece: its pixels alone."""
        with to.open("wb") as file:
            np.ascontiguousarray(x).tofile(file)

    def joining(
        self, folder: Folder, planned: Sequence[Planned], written: Sequence[FileRecord], settings: Settings
    ) -> Callable[[int], FileRecord]:
        """Join the pieces in the order of their samples."""
        return _Join(folder, sorted(written, key=lambda r: r.index), planned[0].view.shape, settings.dtype)

    def finish(
        self,
        folder: Folder,
        planned: Sequence[Planned],
        written: Sequence[FileRecord],
        head: Mapping[str, str],
        settings: Settings,
    ) -> list[FileRecord]:
        """Add the table of samples to the joined images."""
        return [*written, index_of(folder, planned, self, head, settings)]


class _Join:
    """Write the pieces into one ``.npy`` file."""

    def __init__(self, folder: Folder, pieces: Sequence[FileRecord], shape: tuple[int, ...], dtype: str):
        self.folder, self.dtype = folder, dtype
        self.pieces = [p.path for p in pieces]
        self.positives = sum(p.positives for p in pieces)
        self.shape = (sum(p.rows for p in pieces), *shape)

    def __call__(self, _: int) -> FileRecord:
        return self.folder.add(IMAGES, self._write, rows=self.shape[0], positives=self.positives)

    def _write(self, to: Path) -> None:
        descr = np.lib.format.dtype_to_descr(np.dtype(self.dtype))
        with to.open("wb") as out:
            about = {"descr": descr, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_2_0(out, about)
            for piece in self.pieces:
                fs, place = paths.filesystem(self.folder.path(piece))
                with fs.open(place, "rb") as source:
                    shutil.copyfileobj(source, out, 1 << 22)
