"""Drawn sources: flux in every band, size, profile, orientation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.config.presets import Colours
from lensflow.errors import ConfigError
from lensflow.manifest.draws import Draws, at
from lensflow.manifest.population import (
    WAVELENGTH_NM,
    colours_of_slope,
    half_light_radius,
    i_magnitude,
    magnitude_of_counts,
    uv_slope,
)
from lensflow.units import mag_of_flux, nmgy_of_mag

Floats = NDArray[np.float64]

# On a power law in wavelength between r and z, which is what two colours say of a spectrum, r-i is this share of r-z.
R_I_OVER_R_Z = float(np.log(WAVELENGTH_NM["i"] / WAVELENGTH_NM["r"]) / np.log(WAVELENGTH_NM["z"] / WAVELENGTH_NM["r"]))


def draw_source(draws: Draws, axes: Mapping[str, Floats]) -> dict[str, NDArray]:
    """Draw the source of every row, except its position.

    The size follows the flux of the user's table, if given.

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
    galaxies = draws.galaxies
    if galaxies is not None:
        flux, passed = galaxies.flux_nmgy, draws.host["mw_transmission"]
    elif "src_flux_nmgy" in draws.given:
        flux = np.asarray(draws.given["src_flux_nmgy"], dtype=np.float64)
        passed = np.ones_like(flux)
    else:
        flux, passed = _flux(draws, axes["dmag"]), draws.host["mw_transmission"]
    size = axes["src_reff_arcsec"]
    if galaxies is not None:
        size = galaxies.reff_arcsec
    elif draws.priors.src_reff_arcsec is None:
        size = half_light_radius(i_magnitude(flux, draws.bands, draws.reference_band), size)
    index, q = (at(prior, draws.uniform(name)[:, 0]) for name, prior in (("src_n", plan.src_n), ("src_q", plan.src_q)))
    if galaxies is not None:
        index, q = (own if theirs is None else theirs for own, theirs in ((index, galaxies.sersic_n), (q, galaxies.q)))
    return {
        "src_reff_arcsec": size,
        "src_n": index,
        "src_q": q,
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


def band_fluxes(
    flux_reference_nmgy: Floats, normals: Floats, bands: Sequence[str], colours: str, reference: str = "r"
) -> Floats:
    """Flux in every band from the flux in the reference band and drawn colours, shape (n, band).

    Parameters
    ----------
    flux_reference_nmgy : ndarray, shape (n,)
        Flux in the reference band.
    normals : ndarray, shape (n, 3)
        Standard normal numbers. ``v3`` and ``measured`` take the first two, for g-r and r-z; the i band then lies on
        the power law in wavelength between r and z (``r - i = 0.545 (r - z)``): no colour of its own is drawn.
        ``uv_slope`` takes the first for the slope, the others for the departures from it on both sides of r.
    bands : sequence of str
    colours : str
        ``uv_slope``, or a preset's name: :class:`lensflow.config.presets.Colours`.
    reference : str
        Band of the flux; r, or the first band of a run without r.

    Raises
    ------
    ConfigError
        If a band has no colour prior.
    """
    if len(bands) == 1 and (bands[0] == reference or colours != "uv_slope" or bands[0] not in WAVELENGTH_NM):
        return flux_reference_nmgy[:, None].copy()
    if colours == "uv_slope":
        magnitude = np.where(flux_reference_nmgy == 0, np.inf, mag_of_flux(flux_reference_nmgy))
        beta = uv_slope(np.clip(magnitude, 15, 30), normals[:, 0])
        return flux_reference_nmgy[:, None] * 10 ** (-0.4 * colours_of_slope(beta, normals[:, 1:], bands, reference))
    prior = Colours.named(colours)
    colour = np.stack([m + s * normals[:, k] for k, (m, s) in enumerate((prior.g_r, prior.r_z))], axis=1)
    if prior.clip:
        colour = np.clip(colour, *prior.clip)
    minus_r = {"g": colour[:, 0], "r": np.zeros(len(colour)), "i": -R_I_OVER_R_Z * colour[:, 1], "z": -colour[:, 1]}
    missing = [b for b in bands if b not in minus_r]
    if missing:
        raise ConfigError(
            f"bands: no colour prior for {', '.join(missing)}; plan.colours: {colours} knows {', '.join(minus_r)}, "
            "uv_slope also u and Y"
        )
    return np.stack([flux_reference_nmgy * 10 ** (-0.4 * minus_r[b]) for b in bands], axis=1)
