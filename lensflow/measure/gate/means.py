"""Means of groups of pixels, as one product with a sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def mean_weights(labels: Sequence[NDArray[np.int64]], widths: Sequence[int]) -> csr_array:
    """Weights (pixel, feature), float64: the means over the groups of each labelling, side by side.

    Parameters
    ----------
    labels : sequence of ndarray of int64, shape (pixel,)
        Group that each pixel belongs to, from 0; -1 for none.
    widths : sequence of int
        Groups of each labelling. A group without pixels is a feature that is always 0.
    """
    rows, columns, weights, first = [], [], [], 0
    for label, width in zip(labels, widths, strict=True):
        inside = np.flatnonzero(label >= 0)
        group = label[inside]
        rows.append(inside)
        columns.append(group + first)
        weights.append(1 / np.bincount(group, minlength=width)[group])
        first += width
    entries = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(weights), entries), shape=(labels[0].size, first))
