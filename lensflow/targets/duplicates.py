"""Rows of the same object, merged into the first of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lensflow.sky import close_pairs, unit_vectors

# 0.1": far below any seeing, far above a catalogue's rounding.
SAME_POSITION_DEG = 0.1 / 3600
# Rows of one name within 1" are two measurements of one galaxy; further apart, the name is ambiguous.
SAME_NAME_DEG = 1.0 / 3600


def first_of_each(
    host_id: NDArray[np.bytes_], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which rows stay when rows of the same object are merged.

    Two rows are the same object if they are within SAME_POSITION_DEG of each other, or share a name and are within
    SAME_NAME_DEG; so are rows linked through others (friends of friends), so that the number of objects does not depend
    on the order of rows. The first row of each object stays.

    Parameters
    ----------
    host_id : ndarray of bytes, shape (n,)
    ra_deg, dec_deg : ndarray, shape (n,)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    n = len(host_id)
    xyz = unit_vectors(ra_deg, dec_deg)
    named = _same_name(host_id, xyz)
    chord = np.linalg.norm(xyz[named[:, 0]] - xyz[named[:, 1]], axis=1)
    named = named[chord <= 2 * np.sin(np.deg2rad(SAME_NAME_DEG) / 2)]
    links = np.concatenate([named, close_pairs(ra_deg, dec_deg, SAME_POSITION_DEG)])
    if len(links) == 0:
        return np.ones(n, dtype=bool)
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    keep = np.zeros(n, dtype=bool)
    keep[np.unique(label, return_index=True)[1]] = True
    return keep


def repeated(names: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Rows whose name occurs in an earlier row too."""
    return np.sort(_same_name(names)[:, 1])


def _same_name(names: NDArray[np.bytes_], xyz: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Chain rows of equal name, shape (links, 2): a row and the next one of that name, along the sky if given."""
    words = _words(names)
    order = np.lexsort(words if xyz is None else [*xyz.T, *words])
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for word in words:
        same &= word[order[1:]] == word[order[:-1]]
    return np.stack([order[:-1], order[1:]], axis=1)[same].astype(np.int64)


def _words(text: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Text as 64-bit words, shape (words, n): equal text, equal words; sorted much faster than text."""
    width = -(-max(text.dtype.itemsize, 1) // 8) * 8
    return np.ascontiguousarray(text.astype(f"S{width}")).view(np.uint64).reshape(len(text), width // 8).T
