"""What a format is: which files, which samples in each, and how one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.export.formats import order
from lensflow.export.formats.folder import FileRecord, Folder
from lensflow.export.formats.order import Group, Shard


class View(Protocol):
    """What a writer asks of a training view (:class:`lensflow.export.view.TrainingView`)."""

    @property
    def samples(self) -> xr.Dataset: ...  # noqa: D102
    @property
    def bands(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def channels(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def normalisation(self) -> Any: ...  # noqa: D102
    def raw(self, unit: int) -> dict[str, NDArray]: ...  # noqa: D102
    def read(self, unit: int) -> dict[str, NDArray]: ...  # noqa: D102


@dataclass(frozen=True)
class Settings:
    """How an export is laid out.

    Attributes
    ----------
    seed : int
        Of the permutation.
    dtype : str
        float32 or float16.
    shard_mb : float
        MB (10^6 bytes) of pixels in a file.
    shards : int or None
        Files of a split, at least.
    readers : int
        Worker processes times ranks that will read a webdataset.
    units_per_group : int
        Units of the view that a task mixes.
    cutouts : str
        The run's cutouts, for formats that hold more of a host than its image.
    pixel_scale_arcsec : float
    """

    seed: int
    dtype: Literal["float32", "float16"] = "float32"
    shard_mb: float = 64.0
    shards: int | None = None
    readers: int = 1
    units_per_group: int = 4
    cutouts: str = ""
    pixel_scale_arcsec: float = float("nan")

    def rows_per_shard(self, shape: Sequence[int]) -> int:
        """Samples of a file of this size, for samples of a shape."""
        return max(1, int(self.shard_mb * 1e6 // (np.dtype(self.dtype).itemsize * np.prod(shape))))


class Planned(NamedTuple):
    """A split of an export: its view, and its tasks."""

    split: str
    view: View
    groups: list[Group]


class Writer:
    """A format that writes a file for each :class:`Shard`; formats override what differs.

    Attributes
    ----------
    name : str
    packages : tuple of str
        Packages outside of lensflow's own dependencies.
    pixels : {"x", "raw"}
        What it stores: normalised images, or nMgy/pixel as in the run.
    dtypes : tuple of str
        Number formats that it can hold.
    """

    name = ""
    packages: tuple[str, ...] = ()
    pixels: Literal["x", "raw"] = "x"
    dtypes: tuple[str, ...] = ("float32", "float16")

    def check(self, views: Mapping[str, View], settings: Settings) -> None:
        """Refuse what this format cannot hold, before any work.

        Raises
        ------
        ExportError
            If a package is missing, or the format does not hold such images.
        """
        for package in self.packages:
            require(package, self.name)
        if settings.dtype not in self.dtypes:
            raise ExportError(
                f"--format {self.name} holds {self.dtypes[0]}, not {settings.dtype}: leave export.dtype out, or choose "
                "npy, parquet or webdataset."
            )

    def groups(self, view: View, split: str, settings: Settings) -> list[Group]:
        """Tasks of a split, and their files."""
        return order.groups_of(
            view.samples,
            split,
            settings.seed,
            rows_per_shard=settings.rows_per_shard(view.shape),
            min_shards=settings.shards or 1,
            units_per_group=settings.units_per_group,
        )

    def samples_of(
        self, group: Group, samples: xr.Dataset, settings: Settings
    ) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
        """Files of a task, with their samples in order."""
        return order.samples_of(group, samples, settings.seed)

    def path(self, shard: Shard) -> str:
        """Path of a file below the export."""
        raise NotImplementedError

    def write(
        self, to: Path, shard: Shard, x: NDArray, values: Mapping[str, Any], head: Mapping[str, str], settings: Settings
    ) -> None:
        """Write one file.

        Parameters
        ----------
        to : path
            Local and temporary.
        shard : Shard
        x : ndarray, shape (n, channel, y, x)
        values : mapping
            Columns (:func:`lensflow.export.formats.columns.values_of`).
        head : mapping of str
            What every file says of the export.
        settings : Settings
        """
        raise NotImplementedError

    def joining(
        self, folder: Folder, planned: Sequence[Planned], written: Sequence[FileRecord], settings: Settings
    ) -> Callable[[int], FileRecord] | None:
        """Return a task that joins the files into one, if the format is one file: no pixel comes to the client."""
        return None

    def finish(
        self,
        folder: Folder,
        planned: Sequence[Planned],
        written: Sequence[FileRecord],
        head: Mapping[str, str],
        settings: Settings,
    ) -> list[FileRecord]:
        """Write what is made once, and return the files of the finished export."""
        return list(written)


def require(package: str, name: str) -> None:
    """Refuse a format whose package is not installed.

    Raises
    ------
    ExportError
    """
    if find_spec(package) is None:
        raise ExportError(f'--format {name} needs the package {package}; pip install "lensflow[export]"')
