"""Galaxies of ``plan.source_table`` as the sources of a plan's rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import ManifestError
from lensflow.manifest.draws import Draws, at
from lensflow.manifest.galaxies import Galaxies, GalaxyDraw
from lensflow.manifest.lens_priors import lens_redshifts
from lensflow.manifest.published_galaxies import published_galaxies
from lensflow.manifest.source_table import read_source_table, wavelengths_of

Floats = NDArray[np.float64]


def galaxy_draw(config: RunConfig) -> GalaxyDraw | None:
    """Read a config's table of galaxies for drawing; None without one.

    Raises
    ------
    ManifestError
        As :func:`lensflow.manifest.source_table.read_source_table`.
    """
    plan = config.plan
    settings = plan.source_table
    if settings is None:
        return None
    if settings.is_published:
        priors = plan.priors
        ends = priors.src_mag_range
        table = published_galaxies(tuple(config.bands), ends.min, ends.max, priors.src_mag_slope)
        return GalaxyDraw(table, table.band_nm, settings.min_galaxies)
    needs_redshift = settings.redshift == "plan" or plan.priors.theta_e_from != "prior"
    table = read_source_table(settings, config.bands, config.survey.missing_values, plan.src_mag_range, needs_redshift)
    return GalaxyDraw(table, wavelengths_of(config.bands, settings), settings.min_galaxies, settings.redshift)


def draw_galaxies(draws: Draws, galaxies: GalaxyDraw, config: RunConfig) -> Draws:
    """Draw the galaxy of every row.

    A row's galaxy depends on its own numbers and its lens's redshift alone.

    Parameters
    ----------
    draws : Draws
    galaxies : GalaxyDraw
    config : RunConfig

    Returns
    -------
    Draws
        With ``galaxies``; -1 as the row of those that find none (``no_galaxy: drop``).

    Raises
    ------
    ManifestError
        With ``no_galaxy: error``, if rows find none.
    """
    settings = config.plan.source_table
    assert settings is not None
    draws = replace(draws, farthest_lens_z=galaxies.farthest_lens_z)
    u = draws.uniform("src_table")[:, 0]
    if settings.redshift == "own":
        z = lens_redshifts(draws)
        drawn = galaxies.at_own_redshift(galaxies.behind(z, u))
    else:
        assert draws.priors.src_z is not None
        z = at(draws.priors.src_z, draws.uniform("src_z")[:, 0])
        drawn = galaxies.at_redshift(galaxies.movable(z, u), z)
    if settings.no_galaxy == "error":
        _refuse_missing(drawn, z, galaxies)
    return replace(draws, galaxies=drawn)


def _refuse_missing(drawn: Galaxies, z: Floats, galaxies: GalaxyDraw) -> None:
    lacking = drawn.row < 0
    if not lacking.any():
        return
    first = float(z[np.argmax(lacking)])
    if galaxies.redshift == "own":
        why = f"fewer than {galaxies.min_behind} galaxies are behind the lens (the first at z = {first:.3g})"
        way = "Give a deeper table, a smaller plan.source_table.min_galaxies"
    else:
        why = (
            f"at the redshift of the source (the first {first:.3g}) no galaxy of the table shows all bands of the run "
            "within the wavelengths of its own bands, and nothing is extrapolated"
        )
        way = "Add bluer or redder bands to the table, give plan.src_z other ends"
    raise ManifestError(
        f"{galaxies.table.path}: {int(lacking.sum()):,} of {len(lacking):,} rows have no source: {why}. {way}, or "
        "choose plan.source_table.no_galaxy: drop (such rows are left out and counted)."
    )
