"""What a parameter is drawn from: single axes, the presets' grids, colours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lensflow.config import PlanConfig, Range
from lensflow.errors import ConfigError
from lensflow.manifest.population import COUNTS_SLOPE, WAVELENGTH_NM, colours_of_slope, uv_slope
from lensflow.units import mag_of_flux

Floats = NDArray[np.float64]
Prior = tuple[float, ...] | Range


def at(prior: Prior, u: Floats) -> Floats:
    """Value of a prior for uniform numbers in (0, 1): one of its values, each as likely, or a point of its range.

    Parameters
    ----------
    prior : tuple of float or Range
    u : ndarray
        Any shape; the result has the same.
    """
    if isinstance(prior, Range):
        if prior.distribution == "log":
            low, high = np.log(prior.min), np.log(prior.max)
            # exp(log(max)) may lie a rounding beyond max.
            return np.clip(np.exp(low + (high - low) * u), prior.min, prior.max)
        return prior.min + (prior.max - prior.min) * u
    values = np.asarray(prior, dtype=np.float64)
    return values[np.minimum((u * len(values)).astype(np.int64), len(values) - 1)]


def declared(prior: Prior) -> list[float] | dict[str, float | str]:
    """Return a prior as plain JSON: a list of values, or the range's settings."""
    return prior.model_dump() if isinstance(prior, Range) else [float(v) for v in prior]


def from_minimum(theta_e_arcsec: Prior, minimum: float) -> Prior:
    """Return the part of a prior of theta_E that is not below a minimum.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if isinstance(theta_e_arcsec, Range):
        if theta_e_arcsec.max > minimum:
            return theta_e_arcsec.model_copy(update={"min": max(theta_e_arcsec.min, minimum)})
        largest = theta_e_arcsec.max
    else:
        kept = tuple(v for v in theta_e_arcsec if v >= minimum)
        if kept:
            return kept
        largest = max(theta_e_arcsec)
    raise ConfigError(
        f"plan.theta_e_min_arcsec is {minimum:g}, but theta_e_arcsec ends at {largest:g}. Lower the one or give larger "
        "values of the other."
    )


@dataclass(frozen=True)
class Grid:
    """Priors of the parameters that a grid crosses; None: drawn from a relation (:mod:`.population`), or not needed."""

    theta_e_arcsec: Prior | None
    dmag: Prior | None
    src_reff_arcsec: Prior | None
    lens_e: Prior | None
    shear: Prior | None

    def axes(self) -> dict[str, Prior | None]:
        """Return the prior of each parameter, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def crossed(self) -> Floats:
        """Every configuration, shape (n_configs, 5).

        Raises
        ------
        ConfigError
            If a parameter is a range or has no values.
        """
        lists = {
            name: prior for name, prior in self.axes().items() if prior is not None and not isinstance(prior, Range)
        }
        for name in self.axes():
            if name not in lists:
                raise ConfigError(f"plan.{name}: a range or relation cannot be crossed; give a list of values")
        return np.array(list(itertools.product(*lists.values())), dtype=np.float64)


PRESETS = {
    # theta_E follows from the host (rules_of); this range is for hosts that say nothing (plan.host_lacks: prior).
    "realistic": Grid(Range(min=0.5, max=2.5, distribution="log"), None, None, None, None),
    "historic_small": Grid((0.3, 0.6, 1.0), (1, 2), (0.08, 0.15), (0, 0.3), (0, 0.03)),
    "historic_medium": Grid(
        (0.25, 0.35, 0.5, 0.8, 1.2), (0.5, 1, 1.5, 2), (0.05, 0.10, 0.20), (0, 0.2, 0.4), (0, 0.03)
    ),
    "historic_full": Grid(
        (0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6),
        (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5),
        (0.04, 0.06, 0.08, 0.12, 0.18, 0.25),
        (0, 0.2, 0.4),
        (0, 0.02, 0.04),
    ),
    "historic": Grid(
        (0.5, 0.75, 1, 1.25, 1.5, 2, 2.5), (0.5, 1, 1.5, 2), (0.06, 0.10, 0.15, 0.20), (0, 0.2, 0.4), (0, 0.02, 0.04)
    ),
}


def grid_of(plan: PlanConfig) -> Grid:
    """Return the preset's grid with the config's own priors in place of the preset's.

    Raises
    ------
    ConfigError
        If no theta_E is as large as ``plan.theta_e_min_arcsec``.
    """
    own = {name: getattr(plan, name) or prior for name, prior in PRESETS[plan.preset].axes().items()}
    theta_e = own["theta_e_arcsec"]
    assert theta_e is not None  # every preset has one
    own["theta_e_arcsec"] = from_minimum(theta_e, plan.theta_e_min_arcsec)
    return Grid(**{**own, "lens_e": (0.0,)} if plan.lens_model == "SIS" else own)


@dataclass(frozen=True)
class Rules:
    """What a plan draws from where its settings are null: the preset's choices.

    Attributes
    ----------
    theta_e_from, src_mag, colours : str
        As the settings of these names.
    src_mag_range : Range
    src_mag_slope : float
    src_z : tuple of float, Range or None
        None: the redshifts of lensed sources among the counts (:func:`.population.source_redshift`).
    """

    theta_e_from: str
    src_mag: str
    src_mag_range: Range
    src_mag_slope: float
    colours: str
    src_z: Prior | None


def rules_of(plan: PlanConfig) -> Rules:
    """Return the choices in force: the config's own, or those of its preset."""
    real = plan.preset == "realistic"
    return Rules(
        theta_e_from=plan.theta_e_from or ("host" if real and plan.theta_e_arcsec is None else "prior"),
        src_mag=plan.src_mag or ("apparent" if real and plan.dmag is None else "lens_plus_dmag"),
        src_mag_range=plan.src_mag_range or Range(min=23.0, max=25.5 if real else 26.0),
        src_mag_slope=(COUNTS_SLOPE if real else 0.0) if plan.src_mag_slope is None else plan.src_mag_slope,
        colours=plan.colours or ("uv_slope" if real else "v3"),
        src_z=plan.src_z or (None if real else Range(min=1.0, max=3.0)),
    )


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

# On a power law in wavelength between r and z, which is what two colours say of a spectrum, r-i is this share of r-z.
R_I_OVER_R_Z = float(np.log(WAVELENGTH_NM["i"] / WAVELENGTH_NM["r"]) / np.log(WAVELENGTH_NM["z"] / WAVELENGTH_NM["r"]))


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
        ``uv_slope``, or a name in ``COLOURS``.
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
    prior = COLOURS[colours]
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
