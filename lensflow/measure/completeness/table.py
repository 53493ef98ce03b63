"""The table of a measurement's cells: counts, completeness and its intervals, as a Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lensflow.measure.completeness.cells import HOSTS, PLANNED, RECOVERED, RENDERED, VALID, Cells
from lensflow.stats.estimate import Estimate, with_interval
from lensflow.stats.hostsums import named, ratio
from lensflow.stats.proportions import jeffreys, wilson

BY_HOST = "95 % interval over hosts (Korn & Graubard)"
# What ``completeness.interval`` names: variables of a table, and what the interval is.
INTERVALS = {
    "host": ("completeness", BY_HOST),
    **{
        f"{name}_ignores_hosts": (
            f"completeness_{name}_ignores_hosts",
            f"95 % interval by row ({name}), which ignores that rows share hosts and is too narrow",
        )
        for name in ("wilson", "jeffreys")
    },
}


def table(
    cells: Cells,
    dims: Sequence[str],
    min_hosts: int = 10,
    min_rows: int = 20,
    coords: Mapping[str, Any] | None = None,
    interval: str = "host",
) -> xr.Dataset:
    """Make the table of cells.

    Parameters
    ----------
    cells : Cells
    dims : sequence of str
        Names of its axes.
    min_hosts, min_rows : int
        Valid rows and their hosts that a cell needs to be called tested.
    coords : mapping, optional
        Coordinates, as :func:`lensflow.measure.completeness.bins.coords` makes them.
    interval : str
        Which interval is shown and judged (``completeness.interval``); all are in the table, and its attrs say which.

    Returns
    -------
    Dataset
        Over ``threshold`` and ``dims``; NaN where there is no valid row, nothing left out. Counts add up over cells.
        Hosts and intervals do not, because one host has rows in several cells: a table of fewer axes is counted in
        the same pass, not made of this one.
    """
    dense = cells.dense()
    n, hosts = dense[VALID], dense[HOSTS]
    found = [cells.proportion(t) for t in range(cells.n_thresholds)]
    k = dense[RECOVERED::3]
    many = ("threshold", *dims)
    value, low, high, deff, n_star = (
        np.stack([getattr(p, name) for p in found]) for name in ("value", "low", "high", "deff", "n_star")
    )
    planned = ratio(k, np.broadcast_to(dense[PLANNED], k.shape))
    tested = (n >= min_rows) & (hosts >= min_hosts)
    data = {
        "n_planned": named(dims, dense[PLANNED], "1", "injection rows of the manifest"),
        "n_rendered": named(dims, dense[RENDERED], "1", "of these, rows with flux in at least one band"),
        "n_valid": named(dims, n, "1", "of these, rows with a finite score whose rendering converged"),
        "n_hosts": named(dims, hosts, "1", "hosts of the valid rows"),
        "n_recovered": named(many, k, "1", "valid rows with a score at the threshold or above"),
        **with_interval("completeness", many, (value, (low, high)), "1", "n_recovered / n_valid", BY_HOST),
        "completeness_planned": named(many, planned, "1", "n_recovered / n_planned: every loss is a miss"),
        "deff": named(many, deff, "1", "design effect: rows over the sample size that the interval was made with"),
        "n_star": named(many, n_star, "1", "sample size that the interval was made with"),
        "tested": named(dims, tested, "", f"at least {min_rows} valid rows on at least {min_hosts} hosts"),
        "few": named(dims, (n > 0) & ~tested, "", "rows, but too few of them or of their hosts to be called tested"),
        "one_host": named(dims, hosts == 1, "", "all valid rows share one host: there is no interval"),
    }
    for name, method in (("wilson", wilson), ("jeffreys", jeffreys)):
        ends = method(k, np.broadcast_to(n, k.shape))
        for end, values in zip(("low", "high"), ends, strict=True):
            data[f"completeness_{name}_ignores_hosts_{end}"] = named(
                many, values, "1", f"{end} end of the 95 % interval by row ({name}), too narrow where rows share hosts"
            )
    return xr.Dataset(data, coords=coords, attrs={"interval": interval, "interval_is": INTERVALS[interval][1]})


def interval_of(ds: xr.Dataset) -> tuple[str, str]:
    """Beginning of the names of the interval that a table's settings show and judge by, and what it is."""
    return INTERVALS[str(ds.attrs.get("interval", "host"))]


def shown(cell: xr.Dataset) -> Estimate:
    """Completeness of one cell with the interval that the settings show and judge by.

    Parameters
    ----------
    cell : Dataset
        One cell of a table: no dimension is left.

    Returns
    -------
    Estimate
        With the hosts of the valid rows.
    """
    name, _ = interval_of(cell)
    return Estimate.in_dataset(cell, name, value="completeness")
