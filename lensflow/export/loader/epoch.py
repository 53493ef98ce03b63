"""Who reads what in an epoch, and which samples make which batch: numbers alone, no pixel is read.

Everything here is a function of (samples, settings, seed, epoch, layout), so that every worker knows what the others
do, and a restart knows what was done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import LoaderConfig
from lensflow.errors import ConfigError, ExportError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """A process among those that share an epoch.

    Attributes
    ----------
    rank, world : int
        Of the training's processes.
    worker, workers : int
        Of this rank's readers; one where it reads itself.
    """

    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.world and 0 <= self.worker < self.workers):
            raise ConfigError(f"loader: no rank {self.rank} of {self.world}, worker {self.worker} of {self.workers}")

    @property
    def slots(self) -> int:
        """Processes that read, of all ranks."""
        return self.world * self.workers

    @property
    def slot(self) -> int:
        """This one's number."""
        return self.rank * self.workers + self.worker


ONE = Layout()


@dataclass(frozen=True, eq=False)
class Table:
    """What the order of samples depends on, of every sample of a view.

    Attributes
    ----------
    unit, host, pair : ndarray of int64, shape (sample,)
    key : ndarray of uint64, shape (sample,)
        Id of the sample.
    row : ndarray of uint64, shape (sample,)
        Of the manifest: the same for a stamp and its control.
    wanted : ndarray of bool, shape (sample,)
        Samples of this epoch.
    n_units : int
    """

    unit: Indices
    host: Indices
    pair: Indices
    key: NDArray[np.uint64]
    row: NDArray[np.uint64]
    wanted: NDArray[np.bool_]
    n_units: int


@dataclass(frozen=True, eq=False)
class Window:
    """Units that are read together, and the batches that are made of them.

    Attributes
    ----------
    units : tuple of int
    batches : tuple of ndarray of int64
        Samples of each batch; some may be left of earlier windows.
    left : ndarray of int64
        Samples for later windows.
    """

    units: tuple[int, ...]
    batches: tuple[Indices, ...]
    left: Indices


def dealt(n_units: int, seed: int, epoch: int, slots: int) -> list[Indices]:
    """Deal whole units to slots: unit k of the epoch's permutation goes to slot k mod slots.

    Parameters
    ----------
    n_units, seed, epoch, slots : int

    Returns
    -------
    list of ndarray of int64
        Units of each slot, in the order that they are read.
    """
    order = rng.generator(seed, f"loader.units.{epoch}").permutation(n_units)
    return [order[s::slots] for s in range(slots)]


def quotas(table: Table, batch_size: int, seed: int, epoch: int, layout: Layout, drop_last: bool) -> Indices:
    """Batches of every slot, so that each rank has the same number.

    Parameters
    ----------
    table : Table
    batch_size, seed, epoch : int
    layout : Layout
    drop_last : bool
        Whether incomplete batches are dropped, and of ranks with more batches the surplus; else all are kept, and where
        there are several ranks they are filled up with samples of weight 0.

    Returns
    -------
    ndarray of int64, shape (slot,)

    Raises
    ------
    ExportError
        If a rank has no batch: a distributed training would wait for it for ever.
    """
    sizes = np.bincount(table.unit[table.wanted], minlength=table.n_units)
    rows = np.array([sizes[u].sum() for u in dealt(table.n_units, seed, epoch, layout.slots)], np.int64)
    n = rows // batch_size if drop_last else -(-rows // batch_size)
    if layout.world == 1:
        return n
    ranks = n.reshape(layout.world, layout.workers)
    total = ranks.sum(axis=1)
    if not total.all():
        raise ExportError(
            f"loader: {table.n_units} units (whole shards, {int(rows.sum()):,} samples) for {layout.world} ranks x "
            f"{layout.workers} readers in batches of {batch_size}: rank {int(np.argmin(total))} has none, and a "
            "distributed training would wait for it. Use fewer ranks or readers, smaller batches, or a store of "
            "smaller shards."
        )
    target = int(total.min() if drop_last else total.max())
    for rank in ranks:
        while rank.sum() > target:
            rank[np.argmax(rank)] -= 1
        # A reader without samples has none to fill a batch with.
        while rank.sum() < target:
            rank[np.argmax(rank)] += 1
    return np.asarray(ranks.reshape(-1))


def windows(table: Table, settings: LoaderConfig, seed: int, epoch: int, layout: Layout) -> list[Window]:
    """Windows of one slot with their batches; the last batch may be incomplete.

    Parameters
    ----------
    table : Table
    settings : LoaderConfig
        ``order``, ``window``, ``batch_size``.
    seed, epoch : int
    layout : Layout

    Returns
    -------
    list of Window

    Raises
    ------
    ExportError
        If the order cannot be kept.
    """
    units = dealt(table.n_units, seed, epoch, layout.slots)[layout.slot]
    starts = np.searchsorted(table.unit, np.arange(table.n_units + 1))
    arrange = {"free": _free, "together": _together, "apart": _apart}[settings.order]
    out: list[Window] = []
    left = np.empty(0, np.int64)
    for first in range(0, len(units), settings.window):
        some = units[first : first + settings.window]
        new = np.concatenate([np.arange(starts[u], starts[u + 1]) for u in some])
        pool = np.concatenate([left, new[table.wanted[new]]])
        last = first + settings.window >= len(units)
        batches, left = arrange(table, pool, settings, seed, epoch, last)
        if last and len(left):
            batches, left = [*batches, left], left[:0]
        out.append(Window(tuple(map(int, some)), tuple(batches), left))
    return out


def _cut(pool: Indices, batch_size: int) -> tuple[list[Indices], Indices]:
    whole = len(pool) // batch_size * batch_size
    return [pool[k : k + batch_size] for k in range(0, whole, batch_size)], pool[whole:]


def _draw(ids: NDArray[np.uint64], seed: int, purpose: str, epoch: int) -> NDArray[np.float64]:
    return rng.uniform(seed, ids, f"loader.{purpose}", lane=epoch)[:, 0]


def _free(
    table: Table, pool: Indices, settings: LoaderConfig, seed: int, epoch: int, last: bool
) -> tuple[list[Indices], Indices]:
    order = np.argsort(_draw(table.key[pool], seed, "order", epoch), kind="stable")
    return _cut(pool[order], settings.batch_size)


def _together(
    table: Table, pool: Indices, settings: LoaderConfig, seed: int, epoch: int, last: bool
) -> tuple[list[Indices], Indices]:
    """Pairs in random order, both samples of each next to each other; batches hold whole pairs."""
    order = np.lexsort((table.key[pool], table.pair[pool], _draw(table.row[pool], seed, "pair", epoch)))
    pool = pool[order]
    pair = table.pair[pool]
    if len(pool) % 2 or (pair[::2] != pair[1::2]).any() or (pair[2::2] == pair[1:-1:2]).any():
        raise ExportError(
            "training.order: together needs a stamp and its control for every pair: open the run with view pairs "
            "(export.view: pairs)"
        )
    return _cut(pool, settings.batch_size)


def _apart(
    table: Table, pool: Indices, settings: LoaderConfig, seed: int, epoch: int, last: bool
) -> tuple[list[Indices], Indices]:
    """No two samples of a host in a batch: hosts are dealt like cards, one after the other, to all batches in turn."""
    host = table.host[pool]
    keys = rng.mix_ids(host.astype(np.uint64), np.full(len(host), 3, np.uint64))
    order = np.lexsort((_draw(table.key[pool], seed, "order", epoch), host, _draw(keys, seed, "host", epoch)))
    pool = pool[order]
    whole, rest = divmod(len(pool), settings.batch_size)
    hands = whole + (rest > 0)
    # The incomplete one is full first; from then on the others are dealt to alone.
    turns = hands if not rest else hands - 1
    most = int(np.unique(host, return_counts=True)[1].max(initial=0))
    if most > max(turns, 1) or (turns < 1 and most > 1 and last):
        if not last and turns < 1:
            return [], pool
        raise ExportError(
            f"training.order: apart: a host has {most} samples, and a window of {settings.window} units makes "
            f"{max(turns, 1)} batch(es) of {settings.batch_size}, so that two would share one. Choose a smaller "
            "batch_size, a larger window, or balance: host."
        )
    card = np.arange(len(pool))
    in_turn = rest * hands  # cards dealt while the incomplete hand is open
    hand = np.where(card < in_turn, card % max(hands, 1), (card - in_turn) % max(turns, 1))
    dealt_out = [pool[hand == k] for k in range(hands)]
    # The order within a batch is free again: it must not follow the hosts.
    mixed = [b[np.argsort(_draw(table.key[b], seed, "within", epoch), kind="stable")] for b in dealt_out]
    return mixed[:whole], mixed[whole] if rest else pool[:0]
