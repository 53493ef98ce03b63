"""Catalogue values of real lenses: fluxes, sizes and shapes of the galaxies at their positions."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import TargetError
from lensflow.sky import nearest
from lensflow.targets import read_targets

# A catalogue's galaxy is the lens if it is this near: astrometry is good to 0.1", an arc draws a blend's centre.
SAME_GALAXY_ARCSEC = 1.5
# What is taken over: what a target table has beyond name, place and brick.
TAKEN = tuple(v.name for v in schema.TARGETS if v.name not in ("host_id", "ra_deg", "dec_deg", "brickname", "region"))


def with_catalogue(lenses: xr.Dataset, config: RunConfig) -> tuple[xr.Dataset, int]:
    """Add to real lenses what ``realism.catalogue`` knows of the galaxies at their positions.

    Parameters
    ----------
    lenses : Dataset
        As ``read_lenses``.
    config : RunConfig
        Its ``realism.catalogue``, read with ``survey.columns`` as the run's targets are, without a selection.

    Returns
    -------
    lenses : Dataset
        With fluxes (lens, band), sizes, shapes; NaN where no galaxy lies within 1.5". The lens table's own redshift
        goes first.
    n_found : int
        Lenses with a galaxy; all stay.

    Raises
    ------
    TargetError
        If the catalogue cannot be read, or has none of the lenses.
    """
    path = config.realism.catalogue
    if path is None:
        return lenses, 0
    survey = config.survey
    table = read_targets(path, config.bands, survey.columns, missing_values=survey.missing_values)
    at, far_deg = nearest(*(d[n].values for d in (lenses, table) for n in ("ra_deg", "dec_deg")))
    found = far_deg <= SAME_GALAXY_ARCSEC / 3600
    if not found.any():
        raise TargetError(
            f"{path}: none of {lenses.sizes['lens']:,} real lenses has a galaxy within {SAME_GALAXY_ARCSEC:g} arcsec "
            "there (realism.catalogue). Is it of the same part of the sky?"
        )
    columns = {}
    for name in (n for n in TAKEN if n in table):
        values = table[name].values[at]
        nothing = "" if values.dtype.kind in "UO" else np.nan
        shape = found.reshape(-1, *[1] * (values.ndim - 1))
        columns[name] = (("lens", *table[name].dims[1:]), np.where(shape, values, nothing), table[name].attrs)
    if "z_lens" in columns:
        own = lenses["z_lens"].values
        dims, values, attrs = columns["z_lens"]
        columns["z_lens"] = (dims, np.where(np.isfinite(own), own, values), attrs)
    return lenses.assign(columns), int(found.sum())
