"""Drawn lenses: Einstein radius, shape, slope, shear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.config import PlanConfig, Range
from lensflow.lensing.angles import axis_angle, q_from_ellipticity, theta_e_from_sigma_v
from lensflow.manifest import population
from lensflow.manifest.cosmology import distance_ratio, theta_e_from_redshifts
from lensflow.manifest.draws import Draws, at
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]

# Flatter than any galaxy's halo: limit of the scatter around the light's axis ratio.
LEAST_Q = 0.2
# Assumed dispersion of a lens without one, for the spread of axis ratios; km/s.
TYPICAL_SIGMA_V = 240.0


def lacks_dispersion(
    plan: PlanConfig, sigma_v_km_s: Floats, z_lens: Floats, src_z: Floats | None = None
) -> NDArray[np.bool_]:
    """Hosts whose theta_E cannot be computed: no sigma_v, no redshift, or not in front of every source.

    Sources are the plan's, or at a table's ``src_z``.
    """
    return ~(_is_dispersion(sigma_v_km_s) & _is_in_front(plan, z_lens, src_z))


def lacks_light(plan: PlanConfig, sigma_v_km_s: Floats, flux_nmgy: Floats) -> NDArray[np.bool_]:
    """Hosts without information on their mass: neither a sigma_v nor a flux in the reference band."""
    return ~(_is_dispersion(sigma_v_km_s) | (np.isfinite(flux_nmgy) & (flux_nmgy > 0)))


def lies_behind(plan: PlanConfig, z_lens: Floats, src_z: Floats | None = None) -> NDArray[np.bool_]:
    """Hosts with a redshift that is not in front of every source's."""
    return np.isfinite(z_lens) & (z_lens > 0) & ~_is_in_front(plan, z_lens, src_z)


def _is_dispersion(sigma_v_km_s: Floats) -> NDArray[np.bool_]:
    return (sigma_v_km_s > 0) & np.isfinite(sigma_v_km_s)


def _is_in_front(plan: PlanConfig, z_lens: Floats, given_src_z: Floats | None = None) -> NDArray[np.bool_]:
    """Whether a redshift is known and every source is behind it."""
    src_z = plan.priors.src_z
    nearest: Floats | float
    if given_src_z is not None:
        nearest = given_src_z
    elif src_z is None:
        nearest = population.Z_FAR / 2
    else:
        nearest = src_z.min if isinstance(src_z, Range) else min(src_z)
    return (z_lens > 0) & (z_lens < nearest)


def lacks_shape(host_q: Floats, host_phi_rad: Floats) -> NDArray[np.bool_]:
    """Hosts whose light has no measured shape."""
    return ~((host_q > 0) & (host_q <= 1) & np.isfinite(host_phi_rad))


def draw_lens(draws: Draws, axes: Mapping[str, Floats], src_i_mag: Floats) -> dict[str, NDArray]:
    """Draw the lens of every row.

    Values of the user's table determine the rest: a redshift of the source or the lens, a velocity dispersion.

    Parameters
    ----------
    draws : Draws
    axes : mapping
        Values of the crossed parameters, shape (n,); uniform numbers of those that follow from a relation.
    src_i_mag : ndarray, shape (n,)
        The sources' magnitudes in i, which their redshifts go with.

    Returns
    -------
    dict
        lens_model, theta_e_arcsec, src_z, lens_z, lens_sigma_v_km_s, lens_q, lens_phi_rad, lens_gamma, shear,
        shear_phi_rad.
    """
    plan = draws.plan
    mass = _mass(draws, axes["theta_e_arcsec"], src_i_mag)
    q, phi = _shape(draws, axes["lens_e"], mass)
    model = np.asarray(draws.given.get("lens_model", np.full(draws.size, plan.lens_model)), dtype="U8")
    gamma = at(plan.lens_gamma, draws.uniform("lens_gamma")[:, 0])
    return {
        "lens_model": model,
        **mass,
        "lens_q": np.where(model == "SIS", 1.0, q),
        "lens_phi_rad": phi,
        "lens_gamma": np.where(model == "EPL", gamma, 2.0),
        "shear": population.shear_strength(axes["shear"]) if draws.priors.shear is None else axes["shear"],
        "shear_phi_rad": np.pi * draws.uniform("shear_phi")[:, 0],
    }


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of the lens of every row, shape (n,), before its source is."""

    z_lens: Floats
    sigma_v_km_s: Floats
    measured: NDArray[np.bool_]
    computed: NDArray[np.bool_]
    r_mag: Floats


def lens_redshifts(draws: Draws) -> Floats:
    """Redshift of the lens of every row whose theta_E is computed; NaN where theta_E is drawn."""
    if draws.priors.theta_e_from == "prior" or "theta_e_arcsec" in draws.given:
        return np.full(draws.size, np.nan)
    known = _known(draws)
    return np.where(known.computed, known.z_lens, np.nan)


def _known(draws: Draws) -> _Known:
    n, plan, priors = draws.size, draws.plan, draws.priors
    z_lens, sigma_v = (np.array(draws.given.get(k, np.full(n, np.nan)), dtype=np.float64)
                       for k in ("lens_z", "lens_sigma_v_km_s"))  # fmt: skip
    host_z, host_sigma, flux = (draws.host[k] for k in ("z_lens", "sigma_v_km_s", "flux_reference_nmgy"))
    given_z, of_table = np.isfinite(z_lens), draws.given.get("src_z")
    if draws.farthest_lens_z is not None:
        of_table = np.full(n, draws.farthest_lens_z)
    z_lens[:] = np.where(np.isnan(z_lens), np.where(_is_in_front(plan, host_z, of_table), host_z, np.nan), z_lens)
    sigma_v[:] = np.where(np.isnan(sigma_v) & _is_dispersion(host_sigma), host_sigma, sigma_v)
    measured = np.isfinite(sigma_v)
    r_mag = mag_of_flux(flux)
    bright = np.isfinite(r_mag)
    if priors.theta_e_from == "host":
        # A host with a sigma_v, but neither redshift nor flux, gets a typical redshift of luminous red galaxies.
        assumed = population.assumed_redshift(np.where(bright, r_mag, 20.0))
        z_lens[:] = np.where(np.isnan(z_lens) & (measured | bright), assumed, z_lens)
        known = (
            np.isfinite(z_lens) & (measured | bright) & ~lies_behind(plan, np.where(given_z, np.nan, host_z), of_table)
        )
    else:
        known = np.isfinite(z_lens) & measured
    return _Known(z_lens, sigma_v, measured, known, r_mag)


def _mass(draws: Draws, prior: Floats, src_i_mag: Floats) -> dict[str, Floats]:
    """theta_e_arcsec, and the src_z, lens_z and lens_sigma_v_km_s that it was computed from (NaN where it was not)."""
    n, plan, priors = draws.size, draws.plan, draws.priors
    theta_e = prior.copy()
    src_z = np.array(draws.given.get("src_z", np.full(n, np.nan)), dtype=np.float64)
    if priors.theta_e_from == "prior" or "theta_e_arcsec" in draws.given:
        z_lens, sigma_v = (np.array(draws.given.get(k, np.full(n, np.nan)), dtype=np.float64)
                           for k in ("lens_z", "lens_sigma_v_km_s"))  # fmt: skip
        return {"theta_e_arcsec": theta_e, "src_z": src_z, "lens_z": z_lens, "lens_sigma_v_km_s": sigma_v}
    lens = _known(draws)
    z_lens, sigma_v, known = lens.z_lens, lens.sigma_v_km_s, lens.computed
    if draws.galaxies is not None:
        src_z = draws.galaxies.z.copy()
        known = known & (draws.galaxies.row >= 0)
    if draws.image_z is not None:
        src_z = np.where(np.isfinite(draws.image_z), draws.image_z, src_z)
    u = draws.uniform("src_z")[:, 0]
    missing = known & np.isnan(src_z)
    if priors.src_z is not None:
        src_z[missing] = at(priors.src_z, u[missing])
    else:
        src_z[missing] = population.source_redshift(src_i_mag[missing], z_lens[missing], u[missing])
    by_light = known & ~lens.measured
    if by_light.any():
        mean = population.log_sigma(lens.r_mag[by_light], z_lens[by_light])
        of_one_km_s = theta_e_from_sigma_v(1.0, distance_ratio(z_lens[by_light], src_z[by_light]))
        # Slightly more, so that rounding cannot bring theta_E below its minimum.
        least = (1 + 1e-9) * np.sqrt(plan.theta_e_min_arcsec / of_one_km_s)
        sigma_v[by_light] = population.lens_sigma(mean, draws.uniform("grid", 5)[by_light, 0], least)
    theta_e[known] = theta_e_from_redshifts(sigma_v[known], z_lens[known], src_z[known])
    for values in (src_z, z_lens, sigma_v):
        values[~known] = np.nan
    return {"theta_e_arcsec": theta_e, "src_z": src_z, "lens_z": z_lens, "lens_sigma_v_km_s": sigma_v}


def _shape(draws: Draws, ellipticity: Floats, mass: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    plan = draws.plan
    phi = np.pi * draws.uniform("lens_phi")[:, 0]
    if draws.priors.lens_e is None:
        sigma_v = mass["lens_sigma_v_km_s"]
        q = population.lens_axis_ratio(np.where(np.isfinite(sigma_v), sigma_v, TYPICAL_SIGMA_V), ellipticity)
    else:
        q = q_from_ellipticity(ellipticity)
    if plan.lens_shape == "host_light":
        light_q, light_phi = draws.host["host_q"], draws.host["host_phi_rad"]
        known = ~lacks_shape(light_q, light_phi)
        scatter = draws.normal("lens_shape", 2)
        near_q = np.clip(light_q + plan.lens_shape_scatter_q * scatter[:, 0], LEAST_Q, 1.0)
        near_phi = axis_angle(light_phi + plan.lens_shape_scatter_rad * scatter[:, 1])
        q, phi = np.where(known, near_q, q), np.where(known, near_phi, phi)
    return q, phi
