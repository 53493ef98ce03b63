"""A training view in memory: for tests of loaders, which ask where samples go and not what they show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from lensflow import rng
from lensflow.export.normalisation import Normalisation
from lensflow.export.samples import Counts
from lensflow.export.view import TrainingView


@dataclass
class Memory:
    """Pixels that are counted when they are read."""

    x: Any
    reads: list[int] = field(default_factory=list)

    def read(self, samples: xr.Dataset, shard: int) -> Any:
        self.reads.append(shard)
        return self.x[samples["at"].values].copy()


def memory_view(
    units: tuple[int, ...] = (13, 9, 16, 11, 2, 14), size: int = 9, seed: int = 0, per_host: int = 3
) -> TrainingView:
    """Units with so many pairs; stamp and control of a pair differ in one band alone."""
    n = sum(units)
    row = rng.mix_ids(np.arange(n, dtype=np.uint64), np.full(n, seed, np.uint64))
    draw = np.random.default_rng(seed)
    host = np.arange(n) // per_host
    ctrl = draw.normal(size=(n, 2, size, size)).astype(np.float32)
    stamp = ctrl.copy()
    stamp[:, 0] += draw.exponential(size=(n, size, size)).astype(np.float32)

    def twice(values: Any) -> Any:
        return np.concatenate([values, values])

    y = np.repeat([1, 0], n)
    samples = xr.Dataset(
        {
            "unit": ("sample", twice(np.repeat(np.arange(len(units)), units)).astype(np.int32)),
            "sample_id": ("sample", rng.mix_ids(twice(row), y.astype(np.uint64))),
            "row_id": ("sample", twice(row)),
            "host_index": ("sample", twice(host).astype(np.int64)),
            "pair_id": ("sample", twice(np.arange(n)).astype(np.int64)),
            "y": ("sample", y.astype(np.int8)),
            "weight": ("sample", np.ones(2 * n, np.float32)),
            "negative_kind": ("sample", np.where(y == 1, -1, 0).astype(np.int8)),
            "split": ("sample", np.zeros(2 * n, np.int8)),
            "snr": ("sample", twice(draw.uniform(0, 20, n)).astype(np.float32)),
            "stratum": ("sample", twice(draw.integers(0, 4, n)).astype(np.int32)),
            "x_center": ("sample", np.full(2 * n, (size - 1) / 2 + 0.3, np.float32)),
            "y_center": ("sample", np.full(2 * n, (size - 1) / 2 - 0.2, np.float32)),
            "at": ("sample", np.arange(2 * n)),
        }
    )
    samples = samples.isel(sample=np.lexsort((samples["sample_id"].values, samples["unit"].values)))
    plain = Normalisation("none", ("g", "r"), (0.0, 0.0), (1.0, 1.0), (1.0, 2.0))
    return TrainingView(
        samples, "pairs", ("g", "r"), ("g", "r"), (2, size, size), plain, np.arange(len(units)),
        Memory(np.concatenate([stamp, ctrl])), None, Counts(n, n // per_host, n, {}, {}, {}, {}),
        attrs={"split": "train", "seed": seed},
    )  # fmt: skip
