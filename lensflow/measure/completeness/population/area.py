"""Completeness averaged over the sky, not over hosts: galaxies crowd, and so do they where seeing is good.

The survey's bricks are put in cells of PSF size and depth. A cell counts as its area; the hosts whose brick is in it
stand for it. The area of cells with too few hosts is untested, and bounds the answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import CompletenessError, LensflowWarning
from lensflow.measure.completeness import bins as bins_of
from lensflow.measure.completeness.bins import Bins, Ranges
from lensflow.measure.completeness.counts import CURVES, Counted
from lensflow.measure.completeness.population.brick_areas import BrickAreas
from lensflow.measure.completeness.population.reweight_cells import hosts_per_cell
from lensflow.measure.completeness.population.reweighting import Reweighted, by_cell
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.stats.hostsums import Floats, named

# Median differences of hosts and their bricks beyond which the table is hardly that of these images.
_SIZE_WITHIN_ARCSEC, _DEPTH_WITHIN_MAG = 0.2, 0.4
_TEXTS = {
    "completeness": "averaged over the tested area",
    "completeness_low": "lower end of its 95 % interval over hosts",
    "completeness_high": "upper end of its 95 % interval over hosts",
    "untested_share": "share of the survey's area in cells with few hosts",
    "low_bound": "over the whole area, if nothing is recovered in the untested part",
    "high_bound": "over the whole area, if everything is recovered in the untested part",
    "n_det": "effective number of recovered rows",
}


@dataclass(frozen=True, eq=False)
class SkyCells:
    """Cells of PSF size and depth: their area on the sky, and the cell of each row.

    Attributes
    ----------
    axes : sequence of Ranges
        PSF size, arcsec, and depth, mag.
    area_deg2 : ndarray, shape (cells,)
        Flat, C order, bins below and above the edges among them.
    place : ndarray of int64, shape (n,)
        Cell of the brick of each row's host.
    unobserved_deg2 : float
        Area of the table's bricks without an exposure; no part of the cells.
    """

    axes: Sequence[Ranges]
    area_deg2: Floats
    place: NDArray[np.int64]
    unobserved_deg2: float

    @property
    def shares(self) -> Floats:
        """Share of the survey's area in each cell."""
        return self.area_deg2 / self.area_deg2.sum()


def sky_cells(bricks: BrickAreas, rows: xr.Dataset, axes: Sequence[Ranges]) -> SkyCells:
    """Put bricks and rows in cells.

    Parameters
    ----------
    bricks : BrickAreas
    rows : Dataset
        Injections, with ``brickname``, PSF size and depth of their hosts.
    axes : sequence of Ranges
        PSF size and depth.

    Returns
    -------
    SkyCells

    Raises
    ------
    CompletenessError
        If a host's brick is not in the table, or was not observed by it; names the first.

    Warns
    -----
    LensflowWarning
        If PSF sizes or depths of hosts differ from those of their bricks: another survey, release or band.
    """
    of_brick = bricks.rows(rows["brickname"].values)
    if (of_brick < 0).any():
        row = int(np.argmax(of_brick < 0))
        name = str(rows["brickname"].values[row])
        raise CompletenessError(
            f"{bricks.path}: no observed brick {name!r}, where host {rows['host_id'].values[row]!s} lies "
            f"({int((of_brick < 0).sum()) - 1:,} other rows alike). Hosts have to lie in the survey whose area counts: "
            "give the table of bricks of their release (completeness.brick_table)"
        )
    columns = {axes[0].variable: bricks.psfsize_arcsec, axes[1].variable: bricks.psfdepth_mag}
    of_cell, shape = bins_of.places(axes, columns)
    _compare(bricks, rows, of_brick, axes)
    area = np.bincount(of_cell, weights=bricks.area_deg2, minlength=int(np.prod(shape)))
    return SkyCells(axes, np.asarray(area, np.float64), of_cell[of_brick], bricks.unobserved_deg2)


def area_tables(
    counted: Counted, rows: xr.Dataset, taus: Sequence[float], sky: SkyCells, over: Bins, min_hosts: int, min_rows: int
) -> dict[str, xr.Dataset]:
    """Average the completeness over the sky: of all rows, and in the bins of one variable.

    Parameters
    ----------
    counted : Counted
    rows : Dataset
        Its rows.
    taus : sequence of float
        Thresholds.
    sky : SkyCells
    over : Bins
        Of the Einstein radius.
    min_hosts, min_rows : int
        Valid rows and hosts that a cell needs; the area of other cells is untested.

    Returns
    -------
    dict of Dataset
        ``area`` and ``area_<variable>`` over threshold and curve; ``area_cells``.
    """
    place = over.place(values_of(over.variable, rows))
    every = _Average(counted, sky, taus, min_hosts, min_rows)
    inside = np.flatnonzero(over.is_inside)
    parts = [every.of(place == k) for k in inside]
    by_bin = xr.concat(parts, over.variable).assign_coords({over.variable: np.array(over.labels)[inside]})
    shape = tuple(len(a.labels) for a in sky.axes)
    names = [a.variable for a in sky.axes]
    hosts = hosts_per_cell(sky.place, counted.host, sky.area_deg2.size)
    cells = xr.Dataset(
        {"area_deg2": named(names, sky.area_deg2.reshape(shape), "deg2", "area of the survey's bricks"),
         "n_hosts": named(names, hosts.reshape(shape), "1", "hosts of injections in these bricks")},
        coords=bins_of.coords(sky.axes),
        attrs={"unobserved_deg2": sky.unobserved_deg2},
    )  # fmt: skip
    return {"area": every.of(np.ones(len(place), bool)), f"area_{over.variable}": by_bin, "area_cells": cells}


@dataclass(frozen=True, eq=False)
class _Average:
    counted: Counted
    sky: SkyCells
    taus: Sequence[float]
    min_hosts: int
    min_rows: int

    def of(self, some: NDArray[np.bool_]) -> xr.Dataset:
        """Average of some rows, over threshold and curve."""
        total, recovered = float(self.sky.area_deg2.sum()), self.counted.recovered(self.taus)
        found = [[self._one(some & self.counted.valid & curve, r) for curve in self.counted.curves] for r in recovered]
        numbers = np.array([[_numbers(f) for f in line] for line in found], np.float64)
        numbers = numbers.reshape(len(self.taus), len(CURVES), len(_TEXTS))
        many = ["threshold", "curve"]
        data = {name: named(many, numbers[..., k], "1", text) for k, (name, text) in enumerate(_TEXTS.items())}
        data["effective_area_deg2"] = named(
            many, total * data["low_bound"][1], "deg2", "sum of area x completeness over the tested cells"
        )
        data["tested"] = named(many, [[f is not None and f.verdict == "TESTED" for f in line] for line in found], "",
                               "enough of the area is tested, and enough rows are recovered")  # fmt: skip
        attrs = {"area_deg2": total, "unobserved_deg2": self.sky.unobserved_deg2}
        return xr.Dataset(data, coords={"curve": list(CURVES)}, attrs=attrs)

    def _one(self, some: NDArray[np.bool_], recovered: NDArray[np.bool_]) -> Reweighted | None:
        cell, host = self.sky.place[some], self.counted.host[some]
        size = self.sky.area_deg2.size
        covered = (hosts_per_cell(cell, host, size) >= self.min_hosts) & (
            np.bincount(cell, minlength=size) >= self.min_rows
        )
        if not (covered & (self.sky.area_deg2 > 0)).any():
            return None
        return by_cell(self.sky.shares, cell, recovered[some], host, covered)


def _numbers(found: Reweighted | None) -> tuple[float, ...]:
    """Those of ``_TEXTS``; without a tested cell nothing is known."""
    if found is None:
        return (np.nan, np.nan, np.nan, 1.0, 0.0, 1.0, 0.0)
    c = found.completeness
    return (c.value, c.low, c.high, found.uncovered, found.low_bound, found.high_bound, found.n_det)


def _compare(bricks: BrickAreas, rows: xr.Dataset, of_brick: NDArray[np.int64], axes: Sequence[Ranges]) -> None:
    band = reference_band(rows)
    for axis, own, within, units in ((axes[0], bricks.psfsize_arcsec, _SIZE_WITHIN_ARCSEC, "arcsec"),
                                     (axes[1], bricks.psfdepth_mag, _DEPTH_WITHIN_MAG, "mag")):  # fmt: skip
        difference = values_of(axis.variable, rows).astype(np.float64) - own[of_brick]
        known = np.isfinite(difference)
        if known.any() and abs(middle := float(np.median(difference[known]))) > within:
            warnings.warn(
                f"{bricks.path}: {axis.variable} of hosts is {middle:+.2g} {units} off that of their bricks, in the "
                f"median. Is this the table of their survey, release and band ({band})?",
                LensflowWarning,
                stacklevel=4,
            )
