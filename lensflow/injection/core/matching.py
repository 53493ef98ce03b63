"""Core-matched controls: for every stamp, a host with similar core brightness and colour and no arc."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import GateError

Floats = NDArray[np.float64]

HOSTS_PER_POD = 10
MIN_PODS = 10


def host_pods(brightness: Floats) -> NDArray[np.int64]:
    """Sort hosts into pods of similar brightness.

    A stamp is matched only within its pod, and pods replace hosts in folds and intervals: a classifier is then never
    tested on a galaxy that it was trained on, in either class.

    Parameters
    ----------
    brightness : ndarray, shape (h,)
        Of each host's core.

    Returns
    -------
    ndarray of int64, shape (h,)
        Pod of each host, 0 the faintest: of about ten hosts, but at least ten pods, and of at least two hosts each.

    Raises
    ------
    GateError
        If there are fewer than two hosts.
    """
    n = len(brightness)
    if n < 2:
        raise GateError(f"core-matched controls need at least two hosts, there are {n}")
    pods = min(max(MIN_PODS, n // HOSTS_PER_POD), n // 2)
    out = np.empty(n, np.int64)
    for pod, members in enumerate(np.array_split(np.argsort(brightness, kind="stable"), pods)):
        out[members] = pod
    return out


def match_controls(
    stamp_core: Floats, ctrl_core: Floats, host_index: NDArray[np.int64], softening: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find for every stamp the control of another host with the nearest core brightness and colour.

    Parameters
    ----------
    stamp_core, ctrl_core : ndarray, shape (n, band)
        Mean core brightness of each stamp and of its own control, nMgy/pixel.
    host_index : ndarray of int64, shape (n,)
    softening : ndarray, shape (band,)
        Sky sigma of each band: brightness is compared as asinh(core / softening), a magnitude that stands noise
        (Lupton, Gunn & Szalay 1999, AJ 118, 1406).

    Returns
    -------
    row : ndarray of int64, shape (n,)
        A row that has the matched control; of a host in the same pod, never the stamp's own.
    pod : ndarray of int64, shape (n,)
        Pod of the row's host.

    Raises
    ------
    GateError
        If there are fewer than two hosts, or a core is not finite.
    """
    if not (np.isfinite(stamp_core).all() and np.isfinite(ctrl_core).all()):
        raise GateError("core-matched controls: core brightness is not finite; leave out rows with absent bands")
    _, first, host = np.unique(host_index, return_index=True, return_inverse=True)
    softening = np.asarray(softening, np.float64)
    of_stamp, of_host = np.arcsinh(stamp_core / softening), np.arcsinh(ctrl_core[first] / softening)
    pods = host_pods(of_host.mean(axis=1))
    row = np.empty(len(host), np.int64)
    for pod in range(pods.max() + 1):
        members, own = np.flatnonzero(pods == pod), np.flatnonzero(pods[host] == pod)
        distance = ((of_stamp[own][:, None] - of_host[members][None]) ** 2).sum(axis=-1)
        distance[host[own][:, None] == members[None]] = np.inf
        row[own] = first[members[np.argmin(distance, axis=1)]]
    return row, pods[host]
