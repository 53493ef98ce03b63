"""Tables of the same rows in different bins: of axes, of resolution, of the strata of a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lensflow.config.completeness import CompletenessConfig
from lensflow.measure.completeness import bins as bins_of
from lensflow.measure.completeness.bins import Bins, Ranges, Values
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.table import table
from lensflow.measure.completeness.variables import values_of


@dataclass(frozen=True, eq=False)
class Tables:
    """Makes tables of the same rows in different bins."""

    counted: Counted
    rows: xr.Dataset
    taus: Sequence[float]
    config: CompletenessConfig

    def table(self, over: Sequence[Bins]) -> xr.Dataset:
        """Count the rows in the cells of some bins, or all together for none.

        Parameters
        ----------
        over : sequence of Bins

        Returns
        -------
        Dataset
            As :func:`lensflow.measure.completeness.table.table`, over ``curve`` and the bins' variables.
        """
        columns = {b.variable: values_of(b.variable, self.rows) for b in over}
        place, shape = bins_of.places(over, columns) if over else (np.zeros(len(self.counted.row_id), np.int64), ())
        cells = self.counted.cells(place, shape, self.taus, sorted_by_host=True)
        coords = {"curve": list(CURVES), **bins_of.coords(over)}
        dims = ["curve", *(b.variable for b in over)]
        return table(cells, dims, self.config.min_hosts, self.config.min_rows, coords)


def stratum_bins(variable: str, stratum: object, rows: xr.Dataset) -> Bins | None:
    """Bins of a stratum; None where the rows have too many names for one bin each."""
    values = values_of(variable, rows)
    if stratum == "each":
        return Values.of_names(variable, values)
    if stratum == "plan":
        known = values[np.isfinite(values)].astype(np.float64)
        if not known.size:
            return None
        distinct = np.unique(known)
        is_list = distinct.size <= 12
        return bins_of.planned_bins(
            variable, distinct.tolist() if is_list else (float(known.min()), float(known.max())), is_list
        )
    if isinstance(stratum, tuple):
        return Ranges.of(variable, stratum)
    _, first = np.unique(rows["host_index"].values, return_index=True)
    return bins_of.quantile_bins(variable, values[first], int(getattr(stratum, "quantiles", 4)))
