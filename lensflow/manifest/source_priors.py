"""Drawn sources: flux in every band, size, profile, orientation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensflow.manifest.draws import Draws
from lensflow.manifest.population import half_light_radius, i_magnitude, magnitude_of_counts
from lensflow.manifest.priors import at, band_fluxes
from lensflow.units import nmgy_of_mag

Floats = NDArray[np.float64]


def draw_source(draws: Draws, axes: Mapping[str, Floats]) -> dict[str, NDArray]:
    """Draw the source of every row, but for its position.

    A flux that the user's table gives is the one that the size follows.

    Parameters
    ----------
    draws : Draws
    axes : mapping
        Values of the crossed parameters, shape (n,); uniform numbers of those that follow from a relation.

    Returns
    -------
    dict
        src_reff_arcsec, src_n, src_q, src_phi_rad, src_flux_nmgy and mw_transmission (n, band).
    """
    plan = draws.plan
    if "src_flux_nmgy" in draws.given:
        flux = np.asarray(draws.given["src_flux_nmgy"], dtype=np.float64)
        passed = np.ones_like(flux)
    else:
        flux, passed = _flux(draws, axes["dmag"]), draws.host["mw_transmission"]
    size = axes["src_reff_arcsec"]
    if draws.priors.src_reff_arcsec is None:
        size = half_light_radius(i_magnitude(flux, draws.bands, draws.reference_band), size)
    return {
        "src_reff_arcsec": size,
        "src_n": at(plan.src_n, draws.uniform("src_n")[:, 0]),
        "src_q": at(plan.src_q, draws.uniform("src_q")[:, 0]),
        "src_phi_rad": np.pi * draws.uniform("src_phi")[:, 0],
        "src_flux_nmgy": flux * passed,
        "mw_transmission": passed,
    }


def _flux(draws: Draws, dmag: Floats) -> Floats:
    priors = draws.priors
    band = draws.bands[draws.reference_band]
    if priors.src_mag == "lens_plus_dmag":
        reference = draws.host["flux_reference_nmgy"] * 10 ** (-0.4 * dmag)
    else:
        ends = priors.src_mag_range
        u = draws.uniform("src_mag")[:, 0]
        if priors.src_mag_slope:
            magnitude = magnitude_of_counts(u, ends.min, ends.max, priors.src_mag_slope)
        else:
            magnitude = at(ends, u)
        reference = nmgy_of_mag(magnitude)
        band = "r"
    return band_fluxes(reference, draws.normal("src_colour", 3), draws.bands, priors.colours, band)
