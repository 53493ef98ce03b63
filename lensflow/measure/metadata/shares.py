"""Test whether two classes have exactly the same distribution of metadata, from sums that store no rows.

Each row is two random words of 64 bits, made of its values. Where both classes have the same distribution, the sums of
their rows' words are to each other as their numbers of rows, exactly; where they have not, that has a chance of about
2^-128. The sums of all rows of a run are as small as those of one block, whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import GateError
from lensflow.rng import mix_ids

Words = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Shares:
    """Sums over rows of a dataset, by split and class (injections, controls).

    Attributes
    ----------
    sets : tuple of tuple of str
        Bands whose columns are looked at, beside those of no band: none, each, all.
    splits : ndarray, shape (s,)
        Ascending.
    count : ndarray, shape (s, 2)
        Rows.
    words : ndarray of uint64, shape (s, 2, set, 2)
        Sums modulo 2^64.
    first_byte : int
    hosts : ndarray of uint8, shape (s, 2, bytes)
        Bit k of byte b is set where host ``8 (first_byte + b) + k`` has rows.
    infinite : tuple of (host, column) or None
        The first host that has an infinite value.
    """

    sets: tuple[tuple[str, ...], ...]
    splits: NDArray[np.int64]
    count: NDArray[np.int64]
    words: Words
    first_byte: int
    hosts: NDArray[np.uint8]
    infinite: tuple[int, str] | None

    @classmethod
    def of(
        cls,
        columns: tuple[tuple[str, str], ...],
        values: NDArray[np.float64],
        host_index: NDArray[np.int64],
        is_control: NDArray[np.bool_],
        split: NDArray[np.int64],
        count: NDArray[np.int64],
    ) -> Shares:
        """Add up rows; parameters as :func:`lensflow.measure.metadata.rows.rows_of`."""
        bands = tuple(dict.fromkeys(b for _, b in columns if b))
        sets = tuple(dict.fromkeys([(), *((b,) for b in bands), bands]))
        bits = bits_of(values).view(np.uint64)
        place = np.arange(bits.shape[1], dtype=np.uint64)
        words = np.zeros((len(split), len(sets), 2), np.uint64)
        for k in range(2):
            of_columns = mix_ids(bits, 2 * place + np.uint64(k))
            for i, some in enumerate(sets):
                mine = [b in ("", *some) for _, b in columns]
                words[:, i, k] = mix_ids(of_columns[:, mine].sum(axis=1, dtype=np.uint64), np.uint64(k))
        words *= count.astype(np.uint64)[:, None, None]
        splits, of_split = np.unique(split, return_inverse=True)
        first_byte = int(host_index.min(initial=0) if host_index.size else 0) // 8
        n_bytes = int(host_index.max(initial=0)) // 8 - first_byte + 1 if host_index.size else 0
        out_count = np.zeros((splits.size, 2), np.int64)
        out_words = np.zeros((splits.size, 2, len(sets), 2), np.uint64)
        hosts = np.zeros((splits.size, 2, n_bytes), np.uint8)
        for s in range(splits.size):
            for c in range(2):
                rows = (of_split == s) & (is_control == bool(c))
                out_count[s, c] = count[rows].sum()
                out_words[s, c] = words[rows].sum(axis=0, dtype=np.uint64)
                marks = np.zeros(8 * n_bytes, bool)
                marks[host_index[rows] - 8 * first_byte] = True
                hosts[s, c] = np.packbits(marks, bitorder="little")
        bad = np.argwhere(np.isinf(values))
        infinite = None
        if len(bad):
            row, k = bad[np.argmin(host_index[bad[:, 0]])]
            name, band = columns[k]
            infinite = int(host_index[row]), f"{name}_{band}" if band else name
        return cls(sets, splits, out_count, out_words, first_byte, hosts, infinite)

    def __add__(self, other: Shares) -> Shares:
        if self.sets != other.sets:
            raise GateError("gates: sums of metadata of different bands")
        splits = np.union1d(self.splits, other.splits)
        full = [s for s in (self, other) if s.hosts.shape[-1]]
        first = min((s.first_byte for s in full), default=0)
        n_bytes = max((s.first_byte + s.hosts.shape[-1] for s in full), default=first) - first
        count = np.zeros((splits.size, 2), np.int64)
        words = np.zeros((splits.size, *self.words.shape[1:]), np.uint64)
        hosts = np.zeros((splits.size, 2, n_bytes), np.uint8)
        for side in (self, other):
            at = np.searchsorted(splits, side.splits)
            count[at] += side.count
            words[at] += side.words
            if side.hosts.shape[-1]:
                start = side.first_byte - first
                hosts[at, :, start : start + side.hosts.shape[-1]] |= side.hosts
        infinite = min((s.infinite for s in (self, other) if s.infinite), default=None)
        return Shares(self.sets, splits, count, words, first, hosts, infinite)

    def of_split(self, split: int) -> Shares:
        """Only the rows of one split."""
        some = self.splits == split
        return replace(
            self, splits=self.splits[some], count=self.count[some], words=self.words[some], hosts=self.hosts[some]
        )

    @property
    def n_rows(self) -> tuple[int, int]:
        """Injections and controls."""
        injections, controls = self.count.sum(axis=0).tolist()
        return injections, controls

    @property
    def n_hosts(self) -> int:
        """Hosts with rows of either class."""
        return int(np.unpackbits(np.bitwise_or.reduce(self.hosts, axis=(0, 1))).sum())

    def balanced(self, bands: tuple[str, ...]) -> bool:
        """Whether both classes have the same distribution of these bands' metadata, overall and in every split.

        A class that is missing in a split cannot be compared there.

        Raises
        ------
        GateError
            If the bands are neither one nor all.
        """
        known = [b for b in self.sets[-1] if b in bands]
        if tuple(known) not in self.sets:
            raise GateError(f"gates: metadata are added up for one band or all, not for {', '.join(known)}")
        words = self.words[:, :, self.sets.index(tuple(known))]
        every = words.sum(axis=0, dtype=np.uint64), self.count.sum(axis=0)
        return all(_alike(w, n) for w, n in [every, *zip(words, self.count, strict=True)])


def _alike(words: Words, count: NDArray[np.int64]) -> bool:
    # Without common factors, which would make small numbers of random ones.
    (n, m), modulus = (count // max(int(np.gcd(*count)), 1)).tolist(), 1 << 64
    return all((m * a - n * b) % modulus == 0 for a, b in zip(words[0].tolist(), words[1].tolist(), strict=True))


def bits_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Equal where values are equal, NaN being equal to NaN."""
    clean = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, one zero
    return np.ascontiguousarray(clean).view(np.int64)
