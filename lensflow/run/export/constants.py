"""Constants of a normalisation, from the train controls alone: pixels without arc light, and no test host."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import ExportError
from lensflow.export.normalisation import OF_CONTROLS, Normalisation, of_samples
from lensflow.injection.rounding import sky_sigma
from lensflow.measure.lens_light import subtract
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.store.open import host_tables, read_head, read_hosts, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.run_folder import RunFolder

# A median over so many hosts is known to a percent of their scatter.
MAX_HOSTS = 20_000


@dataclass(frozen=True, eq=False)
class ControlSums:
    """Sums over the pixels of some controls; those of several sets of hosts add up.

    Attributes
    ----------
    n : ndarray of int64, shape (band,)
        Pixels with data.
    mean, squares : ndarray, shape (band,)
        Their mean, nMgy/pixel, and the sum of squared differences from it.
    sigma : ndarray, shape (host, band)
        Sky sigma of each host, nMgy/pixel; NaN where it has no data.
    """

    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[np.floating], invvar: NDArray[np.float32]) -> ControlSums:
        """Of hosts, shape (host, band, y, x)."""
        bands = image.shape[1]
        n, mean, squares = np.zeros(bands, np.int64), np.zeros(bands), np.zeros(bands)
        for b in range(bands):
            known = image[:, b][(invvar[:, b] > 0) & np.isfinite(image[:, b])].astype(np.float64)
            n[b] = known.size
            if known.size:
                mean[b] = known.mean()
                squares[b] = ((known - mean[b]) ** 2).sum()
        return cls(n, mean, squares, sky_sigma(invvar))

    def __add__(self, other: ControlSums) -> ControlSums:
        n = self.n + other.n
        whole = np.maximum(n, 1)
        apart = other.mean - self.mean
        # Chan, Golub & LeVeque 1983: no difference of large sums.
        mean = self.mean + apart * other.n / whole
        squares = self.squares + other.squares + apart**2 * (self.n * other.n / whole)
        return ControlSums(n, mean, squares, np.concatenate([self.sigma, other.sigma]))

    @staticmethod
    def joined(parts: list[ControlSums]) -> ControlSums:
        """Add up several, in their order."""
        out = parts[0]
        for part in parts[1:]:
            out = out + part
        return out


class _ControlTask:
    """Read the controls of one region of cutouts."""

    def __init__(self, cutouts: str, regions: Regions, hosts: NDArray[np.int64], lens_light: str = "kept"):
        self.cutouts, self.regions, self.hosts, self.lens_light = cutouts, regions, hosts, lens_light

    def __call__(self, index: int) -> ControlSums:
        region = self.regions[index]
        some = self.hosts[(self.hosts >= region.start) & (self.hosts < region.stop)]
        found = read_hosts(self.cutouts, some, ("image", "invvar"))
        image = found["image"]
        if self.lens_light != "kept" and some.size:
            table = host_tables(self.cutouts)[0](int(some[0]), int(some[-1]) + 1)
            at = some - some[0]
            image = subtract(
                np.where(found["invvar"] > 0, image, np.nan), self.lens_light,  # type: ignore[arg-type]
                table["x_center"].values[at], table["y_center"].values[at],
            )  # fmt: skip
        return ControlSums.of(image, found["invvar"])


def fitted(config: RunConfig, hosts: NDArray[np.int64], size: int, progress: Progress = silent) -> Normalisation:
    """Normalisation of a run, with constants from the controls of its train hosts.

    Parameters
    ----------
    config : RunConfig
    hosts : ndarray of int64
        Train hosts with a positive, rising. Of more than 20,000 so many are used, chosen by key.
    size : int
        Side of a stamp, pixels.
    progress : callable, optional

    Returns
    -------
    Normalisation

    Raises
    ------
    ExportError
        If there is no train control, or a band has no pixel or no scatter in them.
    """
    settings = config.export.normalisation
    plain = of_samples(settings, config.bands, size)
    if settings.kind not in OF_CONTROLS:
        return plain
    folder = RunFolder.of(config)
    if not hosts.size:
        raise ExportError(
            f"{folder.root}: the train split has no control, and normalisation {settings.kind} takes its constants "
            "from train controls. Choose export.normalisation.kind: annulus, or splits with a train split."
        )
    head = read_head(folder.cutouts, "cutouts", names=("host_id", "split"))
    foreign = hosts[head["split"].values[hosts] != schema.SPLITS.index("train")]
    if foreign.size:
        raise ExportError(f"host {head['host_id'].values[foreign[0]]} is not of the train split: no constant of it")
    key = rng.uniform(config.seed, rng.hash_ids(head["host_id"].values[hosts]), "export.constants")[:, 0]
    used = np.sort(hosts[np.argsort(key, kind="stable")[:MAX_HOSTS]])
    regions = stored_regions(folder.cutouts, "cutouts")
    task = _ControlTask(folder.cutouts, regions, used, config.export.lens_light)
    some = np.unique(used // regions.rows).tolist()
    sums: ControlSums = reduce_tasks(task, some, ControlSums.joined, "constants", progress)
    if settings.kind == "survey":
        with np.errstate(all="ignore"):
            a, s = np.zeros(len(config.bands)), np.nanmedian(sums.sigma, axis=0)
    else:
        a, s = sums.mean, np.sqrt(sums.squares / np.maximum(sums.n, 1))
    for band, pixels, scale in zip(config.bands, sums.n, s, strict=True):
        if not pixels or not np.isfinite(scale) or scale <= 0:
            raise ExportError(
                f"{folder.root}: band {band} has no scatter in {pixels:,} pixels of train controls, so that nothing "
                "can be divided by it"
            )
    return replace(
        plain, a=tuple(map(float, a)), s=tuple(map(float, s)), n_pixels=tuple(map(int, sums.n)), n_hosts=used.size
    )  # fmt: skip
