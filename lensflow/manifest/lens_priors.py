"""Drawn lenses: Einstein radius, shape, slope, shear."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensflow.config import PlanConfig, Range
from lensflow.lensing.angles import axis_angle, q_from_ellipticity
from lensflow.manifest.cosmology import theta_e_from_redshifts
from lensflow.manifest.draws import Draws
from lensflow.manifest.priors import at

Floats = NDArray[np.float64]

# A flatter lens than any galaxy's halo: where scatter about the light's axis ratio ends.
LEAST_Q = 0.2


def lacks_dispersion(plan: PlanConfig, sigma_v_km_s: Floats, z_lens: Floats) -> NDArray[np.bool_]:
    """Hosts whose theta_E cannot be computed: no sigma_v, no redshift, or not in front of every source."""
    nearest = plan.src_z.min if isinstance(plan.src_z, Range) else min(plan.src_z)
    return ~((sigma_v_km_s > 0) & np.isfinite(sigma_v_km_s) & (z_lens > 0) & (z_lens < nearest))


def lacks_shape(host_q: Floats, host_phi_rad: Floats) -> NDArray[np.bool_]:
    """Hosts whose light has no measured shape."""
    return ~((host_q > 0) & (host_q <= 1) & np.isfinite(host_phi_rad))


def draw_lens(draws: Draws, axes: Mapping[str, Floats]) -> dict[str, NDArray]:
    """Draw the lens of every row.

    Parameters
    ----------
    draws : Draws
    axes : mapping
        Values of the crossed parameters, shape (n,).

    Returns
    -------
    dict
        lens_model, theta_e_arcsec, src_z, lens_q, lens_phi_rad, lens_gamma, shear, shear_phi_rad.
    """
    plan = draws.plan
    theta_e, src_z = _theta_e(draws, axes["theta_e_arcsec"])
    q, phi = _shape(draws, axes["lens_e"])
    model = np.asarray(draws.given.get("lens_model", np.full(draws.size, plan.lens_model)), dtype="U8")
    gamma = at(plan.lens_gamma, draws.uniform("lens_gamma")[:, 0])
    return {
        "lens_model": model,
        "theta_e_arcsec": theta_e,
        "src_z": src_z,
        "lens_q": np.where(model == "SIS", 1.0, q),
        "lens_phi_rad": phi,
        "lens_gamma": np.where(model == "EPL", gamma, 2.0),
        "shear": axes["shear"],
        "shear_phi_rad": np.pi * draws.uniform("shear_phi")[:, 0],
    }


def _theta_e(draws: Draws, prior: Floats) -> tuple[Floats, Floats]:
    theta_e, src_z = prior.copy(), np.full(draws.size, np.nan)
    if draws.plan.theta_e_from == "sigma_v":
        sigma_v, z_lens = draws.host["sigma_v_km_s"], draws.host["z_lens"]
        known = ~lacks_dispersion(draws.plan, sigma_v, z_lens)
        src_z[known] = at(draws.plan.src_z, draws.uniform("src_z")[known, 0])
        theta_e[known] = theta_e_from_redshifts(sigma_v[known], z_lens[known], src_z[known])
    return theta_e, src_z


def _shape(draws: Draws, ellipticity: Floats) -> tuple[Floats, Floats]:
    plan = draws.plan
    q, phi = q_from_ellipticity(ellipticity), np.pi * draws.uniform("lens_phi")[:, 0]
    if plan.lens_shape == "host_light":
        light_q, light_phi = draws.host["host_q"], draws.host["host_phi_rad"]
        known = ~lacks_shape(light_q, light_phi)
        scatter = draws.normal("lens_shape", 2)
        near_q = np.clip(light_q + plan.lens_shape_scatter_q * scatter[:, 0], LEAST_Q, 1.0)
        near_phi = axis_angle(light_phi + plan.lens_shape_scatter_rad * scatter[:, 1])
        q, phi = np.where(known, near_q, q), np.where(known, near_phi, phi)
    return q, phi
