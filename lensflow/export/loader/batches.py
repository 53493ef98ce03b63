"""Batches of an epoch in numpy: windows of whole shards are read by threads, mixed, and handed out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.config import LoaderConfig, fingerprint
from lensflow.errors import ConfigError
from lensflow.export.loader.augmentation import mask_probability, moves, put_core_masks
from lensflow.export.loader.balance import wanted, weights
from lensflow.export.loader.epoch import ONE, Layout, Table, Window, quotas, windows
from lensflow.export.loader.read import Read
from lensflow.export.view import COLUMNS, TrainingView, Unit
from lensflow.store import paths

_log = logging.getLogger(__name__)
# A unit that is being read takes about twice its samples; on object stores several at a time pay.
THREADS, THREADS_REMOTE = 1, 4


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch for one reader; iterate as often as needed, always the same.

    Attributes
    ----------
    view : TrainingView
        What is read.
    settings : LoaderConfig
        Batches, windows, order, augmentation.
    seed, epoch : int
        Keys of order and augmentation.
    epochs : int or None
        Of the whole training, for the schedule of core masks.
    layout : Layout
        Rank and worker that reads.
    drop_last : bool
        Whether incomplete batches are dropped.
    training : bool
        Whether samples are augmented and masked.
    skip : int
        Batches of this reader that are done.
    """

    view: TrainingView
    settings: LoaderConfig
    seed: int
    epoch: int = 0
    epochs: int | None = None
    layout: Layout = ONE
    drop_last: bool = False
    training: bool = True
    skip: int = 0

    def __post_init__(self) -> None:
        if self.settings.order == "together" and self.settings.batch_size % 2:
            raise ConfigError(
                f"training.batch_size: {self.settings.batch_size} is odd, and order: together needs pairs"
            )
        if self.settings.core_mask is not None and self.training:
            mask_probability(self.settings.core_mask, self.epoch, self.epochs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, y, x) of a sample: the view's, less what shifts crop."""
        c, h, w = self.view.shape
        m = 2 * self.settings.max_shift_pix
        return c, h - m, w - m

    def __len__(self) -> int:
        return max(int(self.quotas()[self.layout.slot]) - self.skip, 0)

    def quotas(self) -> NDArray[np.int64]:
        """Batches of every reader of the epoch, shape (slot,)."""
        return quotas(self._table, self.settings.batch_size, self.seed, self.epoch, self.layout, self.drop_last)

    @property
    def rows_lost(self) -> int:
        """Samples of the epoch that no reader of any rank hands out."""
        if not self.drop_last:
            return 0
        return int(self._table.wanted.sum()) - int(self.quotas().sum()) * self.settings.batch_size

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        table = self._table
        n = int(self.quotas()[self.layout.slot])
        if self.layout.slot == 0 and self.rows_lost and not self.skip:
            _log.info("epoch %d: %d rows lost in incomplete batches (drop_last)", self.epoch, self.rows_lost)
        if n <= self.skip:
            return
        weight = weights(self.view.samples, self.settings.balance, table.wanted)
        plan = windows(table, self.settings, self.seed, self.epoch, self.layout)
        first = np.cumsum([0, *(len(w.batches) for w in plan)])
        last: dict[str, NDArray[Any]] | None = None
        for k, make in self._sources(plan, n):
            for done, at in enumerate(plan[k].batches, start=int(first[k])):
                if done >= n:
                    return
                if done >= self.skip:
                    last = self._batch(at, make, weight)
                    if self.layout.world > 1 and len(at) < self.settings.batch_size:
                        last = _filled(last, self.settings.batch_size)
                    yield last
        # Ranks must have equal numbers: what is repeated counts for nothing.
        for _ in range(max(int(first[-1]), self.skip), n):
            if last is None:
                some = next(b for w in reversed(plan) for b in reversed(w.batches))
                last = self._batch(some, Read.of(self.view, table, some), weight)
            last = _filled(last, self.settings.batch_size)
            yield {**last, "weight": np.zeros_like(last["weight"])}

    def _sources(self, plan: list[Window], n: int) -> Iterator[tuple[int, Read]]:
        """Pixels of each window that has batches to hand out; the next one is read while one is handed out."""
        table, ends = self._table, np.cumsum([len(w.batches) for w in plan])
        used = [k for k, w in enumerate(plan) if w.batches and ends[k] > self.skip and ends[k] - len(w.batches) < n]
        if not used:
            return
        first, stop = used[0], used[-1] + 1
        left = Read.of(self.view, table, plan[first - 1].left) if first else Read.nothing()
        place = str(getattr(self.view.pixels, "pairs", ""))
        with ThreadPoolExecutor(THREADS if paths.is_local(place) else THREADS_REMOTE) as pool:
            ahead = self._begin(pool, plan, first, stop)
            try:
                for k in range(first, stop):
                    units = {u: f.result() for u, f in ahead.items()}
                    ahead = self._begin(pool, plan, k + 1, stop)
                    source = left.with_units(table, units)
                    units = {}
                    yield k, source
                    left = source.kept(plan[k].left)
                    del source
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, plan: list[Window], k: int, stop: int) -> dict[int, Future[Unit]]:
        return {u: pool.submit(self.view.unit, u) for u in plan[k].units} if k < stop else {}

    def _batch(self, at: NDArray[np.int64], read: Read, weight: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        columns = {n: self.view.samples[n].values[at] for n in COLUMNS if n in self.view.samples}
        columns["weight"] = weight[at]
        how = moves(columns["row_id"], self.view.shape[-1], self.settings, self.seed, self.epoch, self.training)
        x = np.empty((len(at), self.view.shape[0], how.size, how.size), np.float32)
        lacks = read.into(x, at, how)
        mask = self.settings.core_mask
        if mask is not None and self.training:
            share = mask_probability(mask, self.epoch, self.epochs)
            channels = self.view.shape[0] - self.view.valid_channel
            put_core_masks(x, columns, lacks, how, mask, share, self.seed, self.epoch, channels)
        return {"x": x, **columns}

    @cached_property
    def _table(self) -> Table:
        s = self.view.samples
        return Table(
            s["unit"].values.astype(np.int64), s["host_index"].values, s["pair_id"].values, s["sample_id"].values,
            s["row_id"].values, wanted(s, self.settings.balance, self.seed, self.epoch), self.view.n_units,
        )  # fmt: skip

    def fingerprint(self) -> str:
        """Digest of the samples and of what their order depends on: a restart goes on only where it is the same."""
        ids = self.view.samples["sample_id"].values
        settings = self.settings.model_dump(mode="json", include={"batch_size", "order", "balance", "window"})
        content = hashlib.sha256(np.ascontiguousarray(ids).tobytes()).hexdigest()
        return fingerprint(content, self.view.n_units, settings)


def _filled(batch: dict[str, NDArray[Any]], batch_size: int) -> dict[str, NDArray[Any]]:
    """A batch of full size: its samples again, with weight 0."""
    n = len(batch["y"])
    again = np.arange(batch_size) % n
    out = {k: v[again] for k, v in batch.items()}
    out["weight"] = np.where(np.arange(batch_size) < n, out["weight"], np.float32(0))
    return out
