"""Completeness averaged over the sky of a run: the survey's table of bricks, and the tables that it makes."""

from __future__ import annotations

import xarray as xr

from lensflow.config import RunConfig
from lensflow.config.completeness import PSFDEPTH_EDGES_MAG, PSFSIZE_EDGES_ARCSEC, default_axes
from lensflow.errors import ConfigError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.population.area import area_tables, sky_cells
from lensflow.measure.completeness.population.brick_areas import read_brick_areas
from lensflow.measure.completeness.variables import reference_band
from lensflow.store import paths

_RADIUS = "theta_e_arcsec"


def bricks_source(config: RunConfig) -> str:
    """Fingerprint of the survey's table of bricks; empty where hosts count once each.

    Raises
    ------
    ConfigError
        If areas count, and there is no table.
    """
    return paths.content(_table_of(config)[0]) if config.completeness.weights == "area" else ""


def area_of(config: RunConfig, scored: xr.Dataset, thresholds: xr.Dataset) -> dict[str, xr.Dataset]:
    """Average the completeness over the survey's area.

    Parameters
    ----------
    config : RunConfig
    scored : Dataset
        Rows of the split with their scores.
    thresholds : Dataset
        As the completeness has them.

    Returns
    -------
    dict of Dataset
        ``area``, ``area_theta_e_arcsec`` and ``area_cells``; nothing where hosts count once each.

    Raises
    ------
    ConfigError
        If there is no table.
    TargetError
        If it cannot be used.
    CompletenessError
        If a host's brick is not in it.
    """
    if config.completeness.weights != "area":
        return {}
    path, setting = _table_of(config)
    band, of = reference_band(scored), config.completeness
    counted = Counted.from_rows(scored)
    rows = scored.isel(sample=counted.rows)
    edges = {f"psfsize_{band}": PSFSIZE_EDGES_ARCSEC, f"psfdepth_{band}": PSFDEPTH_EDGES_MAG}
    # The strata's own edges, where a config has some: the cells are then those of its tables.
    own = {k: v for k, v in (of.strata or {}).items() if k in edges and isinstance(v, tuple)}
    axes = [Ranges.of(k, v) for k, v in (edges | own).items()]
    sky = sky_cells(read_brick_areas(path, band, setting), rows, axes)
    radii = next(a for a in (*(of.axes or ()), *default_axes(band)) if a.variable == _RADIUS)
    over = Ranges.of(radii.variable, radii.edges)
    taus = thresholds["tau"].values.tolist()
    return area_tables(counted, rows, taus, sky, over, of.min_hosts, of.min_rows)


def _table_of(config: RunConfig) -> tuple[str, str]:
    cuts = config.survey.brick_cuts
    if config.completeness.brick_table is not None:
        return config.completeness.brick_table, "completeness.brick_table"
    if cuts is not None and cuts.table is not None:
        return cuts.table, "survey.brick_cuts.table"
    raise ConfigError(
        "completeness.weights: area needs the survey's table of bricks: set completeness.brick_table to it "
        "(survey-bricks-*.fits.gz: brickname, ra, dec, psfsize_r, psfdepth_r), or leave weights at hosts"
    )
