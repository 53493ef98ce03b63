"""Which samples an epoch has, and with which weights: by pair, by host, by stratum."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng

MAX_WEIGHT = 5.0


def wanted(samples: xr.Dataset, balance: str, seed: int, epoch: int) -> NDArray[np.bool_]:
    """Samples of an epoch.

    Parameters
    ----------
    samples : Dataset
        Of a view.
    balance : {"pair", "host", "stratum"}
        ``host``: of each host one sample of each kind, another one in each epoch.
    seed, epoch : int

    Returns
    -------
    ndarray of bool, shape (sample,)
    """
    n = samples.sizes["sample"]
    if balance != "host":
        return np.ones(n, bool)
    # Keyed by row: a pair's stamp and control are drawn together.
    draw = rng.uniform(seed, samples["row_id"].values, "loader.balance.host", lane=epoch)[:, 0]
    host, kind = samples["host_index"].values, samples["negative_kind"].values
    order = np.lexsort((draw, kind, host))
    new = np.ones(n, bool)
    new[1:] = (np.diff(host[order]) != 0) | (np.diff(kind[order]) != 0)
    out = np.zeros(n, bool)
    out[order[new]] = True
    return out


def weights(samples: xr.Dataset, balance: str, some: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Weights of the samples in the loss.

    Parameters
    ----------
    samples : Dataset
        Of a view, with the ``weight`` of each.
    balance : {"pair", "host", "stratum"}
        ``host``: each kind keeps its share of the weight, although fewer of it are there. ``stratum``: cells of theta_E
        x PSF size get the same weight of positives, by factors of at most 5; negatives the mean factor of their host's
        positives.
    some : ndarray of bool, shape (sample,)
        Samples of the epoch.

    Returns
    -------
    ndarray of float32, shape (sample,)
    """
    weight = samples["weight"].values.astype(np.float64)
    kind = samples["negative_kind"].values
    if balance == "host":
        out = np.array(weight)
        whole = float(weight[kind == -1].sum())
        for k in np.unique(kind):
            own = kind == k
            share = float(weight[own].sum()) / (whole or 1.0) * float((some & (kind == -1)).sum() or 1)
            out[own] = share / max(int((some & own).sum()), 1)
        return out.astype(np.float32)
    if balance == "stratum":
        return (weight * _factors(samples, weight, kind)).astype(np.float32)
    return weight.astype(np.float32)


def _factors(samples: xr.Dataset, weight: NDArray[np.float64], kind: NDArray[Any]) -> NDArray[np.float64]:
    positive = kind == -1
    cells, cell = np.unique(samples["stratum"].values[positive], return_inverse=True)
    of_cell = np.bincount(cell, weight[positive], len(cells))
    factor = np.ones(len(weight))
    factor[positive] = np.minimum(of_cell.sum() / len(cells) / of_cell, MAX_WEIGHT)[cell]
    hosts, host = np.unique(samples["host_index"].values, return_inverse=True)
    total = np.bincount(host[positive], factor[positive] * weight[positive], len(hosts))
    n = np.bincount(host[positive], weight[positive], len(hosts))
    mean = np.divide(total, n, out=np.full(len(hosts), total.sum() / (n.sum() or 1.0)), where=n > 0)
    return np.where(positive, factor, mean[host])
