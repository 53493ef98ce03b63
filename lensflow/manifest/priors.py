"""What is drawn for an injection: grid presets, shape and colour priors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.config import PlanConfig
from lensflow.errors import ConfigError


@dataclass(frozen=True)
class Grid:
    """Values that a design crosses (spec: presets small, medium, full, sota)."""

    theta_e_arcsec: tuple[float, ...]
    dmag: tuple[float, ...]
    src_reff_arcsec: tuple[float, ...]
    lens_e: tuple[float, ...]
    shear: tuple[float, ...]

    def axes(self) -> tuple[tuple[float, ...], ...]:
        """Return the values of each parameter, in the order of the fields."""
        return (self.theta_e_arcsec, self.dmag, self.src_reff_arcsec, self.lens_e, self.shear)

    def crossed(self) -> NDArray[np.float64]:
        """Every configuration, shape (n_configs, 5)."""
        return np.array(list(itertools.product(*self.axes())))


PRESETS = {
    "small": Grid((0.3, 0.6, 1.0), (1, 2), (0.08, 0.15), (0, 0.3), (0, 0.03)),
    "medium": Grid((0.25, 0.35, 0.5, 0.8, 1.2), (0.5, 1, 1.5, 2), (0.05, 0.10, 0.20), (0, 0.2, 0.4), (0, 0.03)),
    "full": Grid(
        (0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6),
        (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5),
        (0.04, 0.06, 0.08, 0.12, 0.18, 0.25),
        (0, 0.2, 0.4),
        (0, 0.02, 0.04),
    ),
    "sota": Grid(
        (0.5, 0.75, 1, 1.25, 1.5, 2, 2.5), (0.5, 1, 1.5, 2), (0.06, 0.10, 0.15, 0.20), (0, 0.2, 0.4), (0, 0.02, 0.04)
    ),
}


@dataclass(frozen=True)
class ColourPrior:
    """Normal priors of the source's g-r and r-z, clipped to a range (``clip``) by moving values to its ends."""

    g_r: tuple[float, float]
    r_z: tuple[float, float]
    clip: tuple[float, float] | None


COLOURS = {
    "v3": ColourPrior((0.2, 0.2), (0.1, 0.2), (-0.5, 1.5)),
    "measured": ColourPrior((1.15, 0.30), (0.85, 0.20), None),
}


def grid_of(plan: PlanConfig) -> Grid:
    """Return the preset's grid with the config's own values in place of the preset's."""
    preset = PRESETS[plan.preset]
    return Grid(
        plan.theta_e_arcsec or preset.theta_e_arcsec,
        preset.dmag,
        plan.src_reff_arcsec or preset.src_reff_arcsec,
        (0.0,) if plan.lens_model == "SIS" else preset.lens_e,
        preset.shear,
    )


def axis_ratio_from_ellipticity(ellipticity: ArrayLike) -> NDArray[np.float64]:
    """``q = (1 - e)/(1 + e)`` for ``e = (1 - q)/(1 + q)`` (lenstronomy's and Tractor's ellipticity)."""
    e = np.asarray(ellipticity, dtype=np.float64)
    return (1 - e) / (1 + e)


def source_offset(
    kind: str, maximum: float, theta_e_arcsec: NDArray[np.float64], u: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Source position relative to the lens, arcsec.

    Parameters
    ----------
    kind : {"disc", "square"}
        Area-uniform in the disc of radius ``maximum * theta_E``, or uniform in the square of half side ``maximum``.
    maximum : float
        In theta_E (disc) or arcsec (square).
    theta_e_arcsec : ndarray, shape (n,)
    u : ndarray, shape (n, 2)
        Uniform numbers.
    """
    if kind == "square":
        return maximum * (2 * u[:, 0] - 1), maximum * (2 * u[:, 1] - 1)
    radius = maximum * theta_e_arcsec * np.sqrt(u[:, 0])
    angle = 2 * np.pi * u[:, 1]
    return radius * np.cos(angle), radius * np.sin(angle)


def band_fluxes(
    flux_reference_nmgy: NDArray[np.float64], normals: NDArray[np.float64], bands: Sequence[str], prior: ColourPrior
) -> NDArray[np.float64]:
    """Flux in every band from the r flux and drawn colours, shape (n, band).

    Parameters
    ----------
    flux_reference_nmgy : ndarray, shape (n,)
        Flux in r (in the only band, where a run has one band).
    normals : ndarray, shape (n, 2)
        Standard normal numbers for g-r and r-z.

    Raises
    ------
    ConfigError
        If a band has no colour prior.
    """
    colour = np.stack([m + s * normals[:, k] for k, (m, s) in enumerate((prior.g_r, prior.r_z))], axis=1)
    if prior.clip:
        colour = np.clip(colour, *prior.clip)
    magnitude_minus_r = {"g": colour[:, 0], "r": np.zeros(len(colour)), "z": -colour[:, 1]}
    if len(bands) == 1:
        return flux_reference_nmgy[:, None].copy()
    missing = [b for b in bands if b not in magnitude_minus_r]
    if missing:
        raise ConfigError(f"bands: no colour prior for {', '.join(missing)}; plan.colours knows g, r, z")
    return np.stack([flux_reference_nmgy * 10 ** (-0.4 * magnitude_minus_r[b]) for b in bands], axis=1)
