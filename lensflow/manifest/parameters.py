"""The parameters that have priors, from a manifest's columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.lensing.angles import ellipticity_from_q
from lensflow.units import mag_of_flux

# Those that are columns of the manifest.
COLUMNS = (
    *("theta_e_arcsec", "lens_sigma_v_km_s", "lens_z", "lens_gamma", "lens_phi_rad", "shear", "shear_phi_rad"),
    *("src_z", "src_reff_arcsec", "src_n", "src_q", "src_phi_rad"),
)
ANGLES = ("lens_phi_rad", "shear_phi_rad", "src_phi_rad", "src_angle")


def parameters(
    rows: xr.Dataset, bands: Sequence[str], reference_band: int, square: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Parameters of injections under the names of the declared priors, shape (n,) each; NaN where one does not apply.

    Parameters
    ----------
    rows : Dataset
        Injections of a manifest.
    bands : sequence of str
    reference_band : int
        Band of ``src_mag``.
    square : bool
        Whether ``src_offset`` is that of a square, in arcsec (the larger coordinate); else it is in theta_E.

    Returns
    -------
    dict
        The columns of ``COLUMNS``, lens_e, src_offset, src_angle (rad), src_mag above the Galaxy's dust, and one colour
        ``a-b`` for each neighbouring pair of bands.
    """
    out = {name: rows[name].values.astype(np.float64) for name in COLUMNS if name in rows}
    out["lens_e"] = ellipticity_from_q(rows["lens_q"].values.astype(np.float64))
    x, y = (rows[f"src_{k}_arcsec"].values.astype(np.float64) for k in "xy")
    out["src_offset"] = np.maximum(np.abs(x), np.abs(y)) if square else np.hypot(x, y) / out["theta_e_arcsec"]
    out["src_angle"] = np.arctan2(y, x)
    flux = rows["src_flux_nmgy"].values.astype(np.float64)
    if "mw_transmission" in rows:
        flux = flux / rows["mw_transmission"].values
    magnitude = mag_of_flux(flux)
    out["src_mag"] = magnitude[:, reference_band]
    for k, (a, b) in enumerate(pairwise(bands)):
        out[f"{a}-{b}"] = magnitude[:, k] - magnitude[:, k + 1]
    return out
