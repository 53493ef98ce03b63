"""Class balance of simulated hosts: columns as skewed and as alike as those of galaxies, without any pixel."""

from __future__ import annotations

import numpy as np

from lensflow.measure.pixels import Balance
from lensflow.measure.pixels.balance import _SUMS
from lensflow.schema import SPLITS
from lensflow.stats.hostsums import HostSums

N_COLUMNS = 24


def disjoint_balance(
    n_hosts: int, seed: int, share: float = 0.5, shift: float = 0.0, per_host: int = 4, splits=(0.7, 0.15, 0.15)
) -> Balance:
    """Hosts that carry either injections or controls; ``shift``: controls' first column, in standard deviations."""
    draw = np.random.default_rng(seed)
    control = np.arange(n_hosts) < round(share * n_hosts)
    split = draw.choice(3, n_hosts, p=splits)
    common = draw.normal(size=(n_hosts, 3))
    values = draw.normal(size=(n_hosts, N_COLUMNS)) + np.repeat(common, N_COLUMNS // 3, axis=1)
    values[:, 8:16] = np.exp(values[:, 8:16])  # light of neighbours: a few hosts hold most of it
    values[:, 16:] = (values[:, 16:] > 2.0) * 1.0  # flags
    values[:, 0] += shift * control * np.sqrt(2)
    host, rows = np.repeat(np.arange(n_hosts), per_host), np.repeat(values, per_host, axis=0)
    n = len(host)
    terms = np.stack([np.ones_like(rows), rows, rows**2, np.zeros_like(rows)], axis=-1)
    sums = np.zeros((n, len(SPLITS), 2, N_COLUMNS, _SUMS))
    cells = np.zeros((n, len(SPLITS), 2), bool)
    at = np.arange(n), split[host], control[host].astype(int)
    sums[at], cells[at] = terms, True
    names = tuple(f"c{k}" for k in range(N_COLUMNS))
    keys = draw.permutation(n).astype(np.uint64)
    return Balance(names, HostSums.from_rows(host, sums, cells), keys, control[host], rows.astype("f4"), host)
