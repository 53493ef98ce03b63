"""Correlations of ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def rank_correlations(columns: Mapping[str, NDArray[np.float64]], fewest: int = 2) -> NDArray[np.float64]:
    """Spearman's correlation of every pair of columns, over the rows where both are finite.

    Parameters
    ----------
    columns : mapping
        Name -> values, shape (n,).
    fewest : int
        Rows that a correlation needs.

    Returns
    -------
    ndarray, shape (column, column)
        NaN where there are fewer rows, or a column has one value in all of them.
    """
    numbers = pd.DataFrame({name: np.where(np.isfinite(v), v, np.nan) for name, v in columns.items()})
    return numbers.corr(method="spearman", min_periods=fewest).to_numpy()
