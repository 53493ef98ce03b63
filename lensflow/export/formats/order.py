"""Which samples are in which file, and in what order: a keyed permutation that does not know the classes.

Rows of a run are sorted by split and host. Units of the view (whole shards of the store) are dealt into groups, each
with its share of positives and from all over the survey; the pairs of a group are permuted and dealt to the group's
files; the samples of a file are permuted again. A pair is in one file, so that a file has both classes in the same
proportion, and a loss over pairs finds both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ExportError
from lensflow.rng import key_words, mix_ids

GROUPS, UNITS, PAIRS, SAMPLES, FILES = (f"export.{k}" for k in ("groups", "units", "pairs", "samples", "files"))


@dataclass(frozen=True)
class Shard:
    """One file of an export.

    Attributes
    ----------
    index : int
        Number among all files of the export.
    split : str
    number, of : int
        Number among the files of the split, and how many it has.
    first, rows : int
        Position of its first sample among those of the split, and its samples.
    """

    index: int
    split: str
    number: int
    of: int
    first: int
    rows: int


@dataclass(frozen=True)
class Group:
    """Units that are read together, and the files that they fill: one task.

    Attributes
    ----------
    split : str
    units : tuple of int
    shards : tuple of Shard
    """

    split: str
    units: tuple[int, ...]
    shards: tuple[Shard, ...]


def keyed(seed: int, purpose: str, ids: Any) -> NDArray[np.uint64]:
    """A 64-bit number of each id that only the seed and the purpose decide.

    Parameters
    ----------
    seed : int
    purpose : str
    ids : array_like of int

    Returns
    -------
    ndarray of uint64
    """
    low, high = key_words(seed, purpose)
    key = np.uint64(low) | (np.uint64(high) << np.uint64(32))
    return mix_ids(np.asarray(ids).astype(np.uint64) ^ key, key)


def groups_of(
    samples: xr.Dataset, split: str, seed: int, *, rows_per_shard: int, min_shards: int = 1, units_per_group: int = 4
) -> list[Group]:
    """Deal the units of a split into groups, and the samples of each group into files.

    Parameters
    ----------
    samples : Dataset
        Dim sample: ``unit``, ``sample_id``, ``pair_id`` and ``y``, ordered by unit.
    split : str
    seed : int
    rows_per_shard : int
        Samples of a file, at most (but for a last pair).
    min_shards : int
        Files of the split, at least.
    units_per_group : int
        Units that are in memory at a time.

    Returns
    -------
    list of Group
        In the order of their tasks; ``index`` of the files begins at 0.

    Raises
    ------
    ExportError
        If a sample's id is given twice, or there are not enough pairs for the files.
    """
    unit, y = samples["unit"].values, samples["y"].values
    ids = samples["sample_id"].values
    if len(np.unique(ids)) != len(ids):
        twice = np.sort(ids)[np.flatnonzero(np.diff(np.sort(ids)) == 0)[0]]
        raise ExportError(f"split {split}: sample_id {twice} is given twice: keys would not be unique.")
    units, of_unit = np.unique(unit, return_inverse=True)
    n = np.bincount(of_unit, minlength=len(units))
    n_groups = min(-(-len(units) // units_per_group), len(units))
    if n_groups == 0:
        raise ExportError(f"split {split}: no samples, so there is nothing to export.")
    share = np.bincount(of_unit, weights=y > 0, minlength=len(units)) / n
    # Back and forth over the units by their share of positives: every group has the mean share.
    ranked = np.lexsort((keyed(seed, UNITS, units), np.round(share, 2)))
    lap, step = np.divmod(np.arange(len(units)), n_groups)
    dealt = np.where(lap % 2 == 0, step, n_groups - 1 - step)
    parts = [np.sort(units[ranked[dealt == g]]) for g in range(n_groups)]
    rows = [int(n[np.isin(units, part)].sum()) for part in parts]
    by_size = -(-sum(rows) // rows_per_shard)
    target = sum(rows) / max(by_size, min_shards)
    counts = [max(1, int(np.ceil(r / target - 1e-9))) for r in rows]
    deals = [_deal(samples, part, k, seed) for part, k in zip(parts, counts, strict=True)]
    for part, sizes in zip(parts, deals, strict=True):
        if 0 in [len(s) for s in sizes]:
            pairs = len(np.unique(_pair_keys(samples, np.flatnonzero(np.isin(unit, part)), seed)))
            raise ExportError(
                f"split {split}: {sum(counts)} files of {sum(rows)} samples: {pairs} pairs cannot fill {len(sizes)} "
                "files. Ask for fewer (export.shards, export.readers), or export more rows."
            )
    return _numbered(split, parts, [[len(s) for s in sizes] for sizes in deals], seed)


def _numbered(split: str, parts: list[NDArray], sizes: list[list[int]], seed: int) -> list[Group]:
    """Groups with numbered files: the number says nothing of the group."""
    flat = [(g, k) for g, some in enumerate(sizes) for k in range(len(some))]
    number = np.argsort(np.argsort(keyed(seed, FILES, np.arange(len(flat)))))
    by_number = {int(number[i]): sizes[g][k] for i, (g, k) in enumerate(flat)}
    first = np.concatenate([[0], np.cumsum([by_number[i] for i in range(len(flat))])])
    of_group: list[list[Shard]] = [[] for _ in sizes]
    for i, (g, k) in enumerate(flat):
        m = int(number[i])
        of_group[g].append(Shard(m, split, m, len(flat), int(first[m]), sizes[g][k]))
    return [Group(split, tuple(int(u) for u in part), tuple(s)) for part, s in zip(parts, of_group, strict=True)]


def _pair_keys(samples: xr.Dataset, where: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Key of the pair of each sample; a sample without one is its own pair."""
    pair = samples["pair_id"].values[where].astype(np.int64)
    alone = pair < 0
    key = keyed(seed, PAIRS, np.where(alone, 0, pair))
    key[alone] = keyed(seed, PAIRS + ".alone", samples["sample_id"].values[where][alone])
    return key


def _deal(samples: xr.Dataset, units: NDArray, n_shards: int, seed: int) -> list[NDArray[np.int64]]:
    """Samples of each file of a group, in their order."""
    where = np.flatnonzero(np.isin(samples["unit"].values, units))
    key = _pair_keys(samples, where, seed)
    by_pair = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[by_pair], prepend=~key[by_pair[:1]]))
    # Cut at the first pair from each equal share on: no pair is divided.
    wanted = np.arange(1, n_shards) * len(where) / n_shards
    at = np.searchsorted(starts, wanted, side="left")
    cuts = np.append(starts, len(where))[at]
    order = keyed(seed, SAMPLES, samples["sample_id"].values)
    return [part[np.argsort(order[part], kind="stable")] for part in np.split(where[by_pair], cuts)]


def samples_of(group: Group, samples: xr.Dataset, seed: int) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
    """Files of a group with the samples of each, in the order in which they are written.

    Parameters
    ----------
    group : Group
    samples : Dataset
        Those that :func:`groups_of` got.
    seed : int

    Returns
    -------
    iterator of (Shard, ndarray of int64)
        Positions in ``samples``.

    Raises
    ------
    ExportError
        If these samples are not those that the groups were made of.
    """
    parts = _deal(samples, np.array(group.units), len(group.shards), seed)
    if [len(p) for p in parts] != [s.rows for s in group.shards]:
        raise ExportError(f"split {group.split}: the samples of units {group.units} changed while they were exported.")
    yield from zip(group.shards, parts, strict=True)


def keys_of(shard: Shard, total: int) -> list[str]:
    """Keys of a file's samples: their positions in the split's order, ``000123``.

    Parameters
    ----------
    shard : Shard
    total : int
        Samples of the split.

    Returns
    -------
    list of str
    """
    width = max(6, len(str(total - 1)))
    return [f"{i:0{width}d}" for i in range(shard.first, shard.first + shard.rows)]
