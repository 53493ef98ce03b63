"""Exports in memory, sound or with one leak, as the checks read them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from lensflow.errors import ExportError
from lensflow.export.check.parts import ExportFile, Part
from lensflow.measure.zoo.small_run import SKY_SIGMA, galaxies
from lensflow.run.export.run_checks import check_reader

SCALE = np.array(list(SKY_SIGMA.values()), np.float32)[:, None, None]
SURVEY = {"kind": "survey", "stretch": "clip", "clip": 20.0}


def normalised(raw, how="survey"):
    """Stamps as a network reads them; 0 where there is no data."""
    if how == "sample":
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a band without data
            x = (raw - np.nanmean(raw, (2, 3), keepdims=True)) / np.nanstd(raw, (2, 3), keepdims=True)
    else:
        x = 10 * np.arcsinh(raw / SCALE / 10)
    return np.nan_to_num(x).astype(np.float32)


@dataclass
class Samples:
    """Stamps and controls of a small run before they are normalised, and their columns."""

    stamp: np.ndarray
    ctrl: np.ndarray
    columns: dict[str, np.ndarray]


def samples(
    hosts: int = 120, per_host: int = 1, seed: int = 5, snr: float = 30.0, gaps: bool = True, **how: Any
) -> Samples:
    """Galaxies on a survey's sky, and stretches of a ring on them; the noise of the arcs' own light is added.

    With ``gaps`` every ninth has no data in g.
    """
    draw = np.random.default_rng(seed)
    images = np.stack(list(galaxies(hosts, draw, size=64, survey_sky=True, **how).values()), axis=1)
    if gaps:
        images[::9, 0] = np.nan
    index = np.repeat(np.arange(hosts), per_host)
    n = len(index)
    y, x = np.mgrid[:64, :64] - 31.5
    radius, width, turn = (draw.uniform(*v, (n, 1, 1)) for v in ((4, 9), (1.2, 2.5), (-np.pi, np.pi)))
    along = np.angle(np.exp(1j * (np.arctan2(y, x) - turn)))
    shape = np.exp(-0.5 * ((np.hypot(y, x) - radius) / width) ** 2 - 0.5 * (along / 0.7) ** 2)
    noise = np.sqrt((shape**2).sum(axis=(1, 2), keepdims=True))
    colour = SCALE * np.array([1.5, 1, 0.7])[:, None, None]
    arc = (snr * draw.uniform(0.5, 2, (n, 1, 1)) * shape / noise)[:, None] * colour
    shot = np.sqrt(0.02 * arc * SCALE) * draw.normal(size=arc.shape)
    ctrl = images[index].astype(np.float32)
    # No light reaches the outer zone.
    light = np.where(np.hypot(y, x) < 22, arc + shot, 0).astype(np.float32)
    columns = {
        "host_index": index,
        "row_id": draw.permutation(1 << 20)[:n].astype(np.uint64),
        "psfsize_arcsec": draw.uniform(1.1, 1.6, hosts)[index],
        "ra_deg": 150 + 0.01 * index,
        "dec_deg": np.full(n, 2.0),
        "split": np.where(index % 4 == 0, "val", "train"),
    }
    return Samples(ctrl + light, ctrl, columns)


@dataclass
class Export:
    """An export in memory; each of its parts is a file, as is each split."""

    x: np.ndarray
    columns: dict[str, np.ndarray]
    normalisation: dict[str, Any] = field(default_factory=lambda: dict(SURVEY))
    keys: np.ndarray | None = None
    order: np.ndarray | None = None
    dtypes: np.ndarray | None = None
    record_bytes: np.ndarray | None = None
    per_file: int = 250
    view: Callable[[str], Any] | None = None
    unlisted: tuple[str, ...] = ()

    @property
    def description(self):
        return {"format": "npy", "view": "single", "normalisation": self.normalisation}

    def __post_init__(self):
        n = len(self.x)
        if self.order is None:
            self.order = np.random.default_rng(len(self.x)).permutation(n)
        # Splits one after the other, each in files.
        split = self.columns["split"][self.order]
        self.order = self.order[np.argsort(split, kind="stable")]
        split = self.columns["split"][self.order]
        self.cuts = [
            part
            for s in np.unique(split)
            for part in np.array_split(np.flatnonzero(split == s), -(-(split == s).sum() // self.per_file))
        ]
        if self.keys is None:
            self.keys = np.empty(n, "<U6")
            self.keys[self.order] = [f"{k:06d}" for k in range(n)]

    @property
    def files(self):
        return tuple(ExportFile(f"part-{k:05d}", str(self.columns["split"][self.order[c[0]]]), 0)
                     for k, c in enumerate(self.cuts))  # fmt: skip

    def parts(self):
        for k, cut in enumerate(self.cuts):
            rows = self.order[cut]
            dtypes = np.full(len(rows), "float32") if self.dtypes is None else self.dtypes[rows]
            known, header = np.unique(dtypes, return_inverse=True)
            size = np.full(len(rows), self.x[0].nbytes) if self.record_bytes is None else self.record_bytes[rows]
            yield Part(
                k, np.arange(len(rows)), self.x[rows], dtypes, {n: v[rows] for n, v in self.columns.items()},
                self.keys[rows], tuple(known.tolist()), header, size.astype(float), {}, single=True,
            )  # fmt: skip

    def check(self, seed=0):
        return check_reader(self, self.view or (lambda _: _FakeView(self)), seed)


class _FakeView:
    """The run of an export in memory: the same samples, in two units."""

    def __init__(self, export: Export):
        # As the run has them before any type is chosen.
        unit = np.sort(np.arange(len(export.x)) % 2)
        self.x = export.x
        self.samples = xr.Dataset({n: ("sample", v) for n, v in export.columns.items()}).assign(unit=("sample", unit))

    def read(self, unit):
        return {"x": self.x[self.samples["unit"].values == unit]}


def export_of(some: Samples, how: str = "survey", seed: int = 0, **changes: Any) -> Export:
    """A sound export: every stamp, and each host's control once with the weight of its stamps."""
    n = len(some.stamp)
    hosts, first, count = np.unique(some.columns["host_index"], return_index=True, return_counts=True)
    x = np.concatenate([normalised(some.stamp, how), normalised(some.ctrl[first], how)])
    columns = {k: np.concatenate([v, v[first]]) for k, v in some.columns.items()}
    y = np.repeat([1, 0], [n, len(hosts)])
    draw = np.random.default_rng(seed)
    columns |= {
        "y": y.astype(np.int8),
        "weight": np.concatenate([np.ones(n), count]).astype(np.float32),
        "negative_kind": np.where(y > 0, "positive", "control"),
        "sample_id": draw.permutation(1 << 20)[: len(y)].astype(np.uint64) * np.uint64(0x9E3779B1),
    }
    order = draw.permutation(len(y))
    how_json = {"kind": how, "stretch": "clip", "clip": 20.0}
    return Export(x, columns, how_json, order=order, **changes)


def no_run(split):
    raise ExportError("there is no run")


__all__ = ["Export", "Samples", "export_of", "no_run", "normalised", "replace", "samples"]
