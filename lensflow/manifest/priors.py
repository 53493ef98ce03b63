"""Values of a plan's priors: single axes, a grid's configurations, colours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lensflow.config import Range
from lensflow.config.presets import Colours, Priors
from lensflow.errors import ConfigError
from lensflow.manifest.population import WAVELENGTH_NM, colours_of_slope, uv_slope
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


def crossed(priors: Priors) -> Floats:
    """Every configuration of a grid, shape (n_configs, 5), columns in the order of ``Priors.CROSSED``.

    Raises
    ------
    ConfigError
        If a parameter is a range or follows from a relation.
    """
    lists = [prior for prior in priors.axes.values() if isinstance(prior, tuple)]
    if missing := priors.not_listed():
        raise ConfigError(f"plan.{missing[0]}: a range or relation cannot be crossed; give a list of values")
    return np.array(list(itertools.product(*lists)), dtype=np.float64)


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
