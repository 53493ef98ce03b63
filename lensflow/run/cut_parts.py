"""Parts of a region that several tasks cut: each leaves its own, and one that finds all others joins them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from lensflow.errors import StoreError
from lensflow.store import objects, paths
from lensflow.survey.cutouts import HostBlock

_ABOUT, _ROWS = "about", "rows"
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Part:
    """What was read of some hosts of a region.

    Attributes
    ----------
    rows : ndarray of int64, shape (host,)
        Their rows, counted from the region's first.
    arrays : dict
        Arrays of :class:`lensflow.survey.assess.RawBlock`, by name.
    about : dict
        Messages, costs and pixel scales of the bricks.
    """

    rows: NDArray[np.int64]
    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]

    @classmethod
    def of(cls, rows: NDArray[np.int64], block: HostBlock, hosts: slice = slice(None)) -> Self:
        """Part of a region that a block of its hosts is, or some of the block's hosts."""
        raw = {f.name: getattr(block.raw, f.name) for f in fields(block.raw)}
        told = block.messages.among(block.names[hosts].tolist()).hosts
        messages = [[*key, [*struck]] for key, struck in told.items()]
        about = {"messages": messages, "spent": block.spent, "scales": block.scales}
        return cls(rows, {n: v[hosts] for n, v in raw.items() if isinstance(v, np.ndarray)}, about)

    def add_to(self, block: HostBlock) -> None:
        """Add it to the region's block."""
        for name, values in self.arrays.items():
            getattr(block.raw, name)[self.rows] = values
        for cause, mark, advice, hosts in self.about["messages"]:
            for host in hosts:
                block.messages.add(cause, mark, advice, host)
        for name, number in self.about["spent"].items():
            block.spent[name] += number
        block.scales.update(self.about["scales"])

    def to_bytes(self) -> bytes:
        """As it is stored: a zip, and its digest, since a zip's own checksums leave out its directory."""
        content = io.BytesIO()
        about = np.frombuffer(json.dumps(self.about).encode(), np.uint8)
        np.savez(content, **{_ROWS: self.rows, _ABOUT: about}, **self.arrays)  # type: ignore[arg-type]
        content.write(xxhash.xxh3_128_digest(content.getvalue()))
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Inverse of :meth:`to_bytes`; a ValueError if the bytes are others."""
        inside = memoryview(content)[:-_DIGEST_BYTES]
        if xxhash.xxh3_128_digest(inside) != content[-_DIGEST_BYTES:]:
            raise ValueError("another digest")
        with np.load(io.BytesIO(inside), allow_pickle=False) as found:
            arrays = dict(found)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        return cls(arrays.pop(_ROWS), arrays, about)


@dataclass(frozen=True)
class Parts:
    """Where the tasks of one run leave parts.

    Attributes
    ----------
    folder : str
        Of this run alone: one that was taken over writes into another. What a run that is stopped leaves behind is
        deleted by the next, which cuts again what has no receipt.
    guard : callable
        Asked before every write; raises once the run's folder is another run's.
    """

    folder: str
    guard: objects.Guard = objects.unguarded

    def strips(self, region: int) -> list[int]:
        """Strips whose part of a region is there."""
        names = paths.list_names(self._of(region))
        return [int(n[:-4]) for n in names if n.endswith(".npz") and n[:-4].isdigit()]

    def write(self, region: int, strip: int, part: Part) -> None:
        """Leave a strip's part of a region."""
        content = part.to_bytes()
        self.guard()
        paths.write_bytes(self._part(region, strip), content)

    def read(self, region: int, strip: int) -> Part | None:
        """Read a strip's part of a region; None if it is gone, since another task has joined all parts.

        Raises
        ------
        StoreError
            If it is not what was written.
        """
        url = self._part(region, strip)
        content = paths.read_object(url)
        try:
            return None if content is None else Part.from_bytes(content)
        except ValueError as error:
            raise StoreError(
                f"{url}: not what was written ({error}). Run the same command again: it cuts this region again."
            ) from error

    def remove(self, region: int) -> None:
        """Delete all parts of a region, unless another task writes one just now: the end of the run deletes it."""
        with contextlib.suppress(OSError, StoreError):
            paths.remove_folder(self._of(region))

    def _of(self, region: int) -> str:
        return paths.join(self.folder, f"region-{region:06d}")

    def _part(self, region: int, strip: int) -> str:
        return paths.join(self._of(region), f"{strip:06d}.npz")
