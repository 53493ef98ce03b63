"""Tables of the same rows in different bins: of axes, of resolution, of the strata of a config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lensflow.config.completeness import CompletenessConfig, band_of
from lensflow.errors import ConfigError
from lensflow.measure.completeness import bins as bins_of
from lensflow.measure.completeness.bins import Bins, Ranges, Values
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.table import table
from lensflow.measure.completeness.variables import depth_of, values_of


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
        cells = Cells.concat([self._cells(over, part, some) for some, part in self.counted.blocks()])
        coords = {"curve": list(CURVES), **bins_of.coords(over)}
        dims = ["curve", *(b.variable for b in over)]
        made = table(cells, dims, self.config.min_hosts, self.config.min_rows, coords, self.config.interval)
        derived = [text for b in over if (text := self._derived(b.variable))]
        return made.assign_attrs(derived="; ".join(derived)) if derived else made

    def _cells(self, over: Sequence[Bins], part: Counted, some: slice) -> Cells:
        """Count some rows: their values and bins, too, are made block by block."""
        rows = self.rows.isel(sample=some)
        columns = {b.variable: values_of(b.variable, rows) for b in over}
        place, shape = bins_of.places(over, columns) if over else (np.zeros(len(part.row_id), np.int64), ())
        return part.cells(place, shape, self.taus, sorted_by_host=True)

    def _derived(self, variable: str) -> str:
        """Whether a depth is not the catalogue's, in words."""
        if not variable.startswith("psfdepth_"):
            return ""
        n = int(depth_of(self.rows, str(band_of(variable)))[1].sum())
        of = self.rows.sizes["sample"]
        where = f"{variable} of {n:,} of {of:,} rows is derived from the noise of their hosts' pixels"
        return where if n else ""


def stratum_bins(
    variable: str, stratum: object, rows: xr.Dataset, prior: InjectedPrior | None = None
) -> tuple[Bins, str] | None:
    """Bins of a stratum, and where they come from.

    Parameters
    ----------
    variable : str
    stratum : tuple of float, str or QuantilesConfig
        As ``completeness.strata`` has it.
    rows : Dataset
        Injections.
    prior : InjectedPrior, optional
        Of their plan, for ``plan``.

    Returns
    -------
    (Bins, str) or None
        None where the rows have too many names for one bin each, or no value.

    Raises
    ------
    ConfigError
        If the variable has names, and bins of numbers are requested.
    """
    values = values_of(variable, rows)
    if stratum == "each":
        named = Values.of_names(variable, values)
        return None if named is None else (named, "each name")
    if values.dtype.kind not in "biuf":
        raise ConfigError(f"completeness.strata.{variable}: it has names, not numbers: use each")
    if stratum == "plan":
        return _of_plan(variable, values, prior)
    if isinstance(stratum, tuple):
        return Ranges.of(variable, stratum), "completeness.strata"
    _, first = np.unique(rows["host_index"].values, return_index=True)
    count = int(getattr(stratum, "quantiles", 4))
    return bins_of.quantile_bins(variable, values[first], count), f"{count} quantiles of the hosts"


def _of_plan(variable: str, values: np.ndarray, prior: InjectedPrior | None) -> tuple[Bins, str] | None:
    """Bins of the plan's values or range, the same in every run of it; of the rows' own range where it has none."""
    planned = None if prior is None else prior.planned(variable)
    if planned is not None:
        return bins_of.planned_bins(variable, *planned), "the plan"
    known = values[np.isfinite(values)].astype(np.float64)
    if not known.size:
        return None
    own = (float(known.min()), float(known.max()))
    return bins_of.planned_bins(variable, own, False), "the rows' own range: the plan gives none, other rows differ"
