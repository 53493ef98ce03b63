"""Drawn sources: size, profile, orientation, flux in every band."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensflow.manifest.draws import Draws
from lensflow.manifest.priors import COLOURS, at, band_fluxes

Floats = NDArray[np.float64]


def draw_source(draws: Draws, axes: Mapping[str, Floats]) -> dict[str, NDArray]:
    """Draw the source of every row, but for its position.

    Parameters
    ----------
    draws : Draws
    axes : mapping
        Values of the crossed parameters, shape (n,).

    Returns
    -------
    dict
        src_reff_arcsec, src_n, src_q, src_phi_rad, src_flux_nmgy (n, band).
    """
    plan = draws.plan
    return {
        "src_reff_arcsec": axes["src_reff_arcsec"],
        "src_n": at(plan.src_n, draws.uniform("src_n")[:, 0]),
        "src_q": at(plan.src_q, draws.uniform("src_q")[:, 0]),
        "src_phi_rad": np.pi * draws.uniform("src_phi")[:, 0],
        "src_flux_nmgy": _flux(draws, axes["dmag"]),
    }


def _flux(draws: Draws, dmag: Floats) -> Floats:
    plan = draws.plan
    if plan.src_mag == "lens_plus_dmag":
        reference = draws.host["flux_reference_nmgy"] * 10 ** (-0.4 * dmag)
    else:
        reference = 10 ** (-0.4 * (at(plan.src_mag_range, draws.uniform("src_mag")[:, 0]) - 22.5))
    return band_fluxes(reference, draws.normal("src_colour", 2), draws.bands, COLOURS[plan.colours])
