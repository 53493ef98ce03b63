"""Brightness of an injection relative to its host, and flags for implausible lenses.

Such a flag is no fault of the data: it is not part of ``is_clean``, and it is counted, so that users of the rows can
leave them out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.lensing.angles import theta_e_from_sigma_v

# No pixel of a fainter arc is above the noise; its matched SNR may still be high.
LEAST_SNR = 3.0
# An image at 1.5 theta_E, like the outer one of a double, must be on the stamp.
MOST_OF_HALF_STAMP = 1 / 1.5
# The velocity dispersion function ends here (Sheth et al. 2003, ApJ 594, 225): no galaxy is heavier, a cluster may be.
MOST_SIGMA_V = 450.0
# A measured dispersion, and the light's relation to the mass's, are good to this factor.
SIGMA_V_SLACK = 1.3


def arc_over_host(flux_nmgy: NDArray[np.float64], hosts: xr.Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Flux of the arc on the stamp over the host's within 5 arcsec, (sample, band); NaN if the host has none.

    Parameters
    ----------
    flux_nmgy : ndarray, shape (sample, band)
        ``total_injected_flux_nmgy``.
    hosts : Dataset
        With ``aperture_flux_nmgy`` (host, band): from the same pixels, so that a wrong zero point shows.
    rows : ndarray of int, shape (sample,)
        Row of each sample's host.
    """
    host = hosts.variables["aperture_flux_nmgy"].values[rows].astype(np.float64)
    return np.divide(flux_nmgy, host, out=np.full(flux_nmgy.shape, np.nan), where=host > 0)


def plausibility_marks(
    metrics: Mapping[str, NDArray],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    columns: Mapping[str, NDArray],
    reference_band: int,
) -> dict[str, NDArray[np.bool_]]:
    """Compute the variables of ``schema.MARKS`` for a block, each of shape (sample,); False for controls.

    Parameters
    ----------
    metrics : mapping
        With ``snr_peak`` and ``arc_over_host`` (sample, band).
    hosts : Dataset
        Attrs ``pixel_scale_arcsec``; ``sigma_v_km_s`` (host) where the catalogue has it.
    rows : ndarray of int, shape (sample,)
    columns : mapping
        The manifest's columns.
    reference_band : int
    """
    injected = ~columns["is_control"]
    theta_e = columns["theta_e_arcsec"]
    half_stamp = 0.5 * hosts.sizes["y"] * float(hosts.attrs["pixel_scale_arcsec"])
    heaviest = np.full(len(theta_e), MOST_SIGMA_V)
    if "sigma_v_km_s" in hosts:
        known = hosts.variables["sigma_v_km_s"].values[rows].astype(np.float64)
        # Even a source at infinity does not give a host of this dispersion such a large theta_E.
        heaviest = np.where(known > 0, np.minimum(SIGMA_V_SLACK * known, MOST_SIGMA_V), heaviest)
    marks = {
        "low_arc_snr": ~(metrics["snr_peak"] >= LEAST_SNR).any(axis=1),
        "arc_outshines_host": metrics["arc_over_host"][:, reference_band] > 1,
        "theta_e_beyond_stamp": theta_e > MOST_OF_HALF_STAMP * half_stamp,
        "theta_e_beyond_host": theta_e > theta_e_from_sigma_v(heaviest, 1.0),
    }
    return {k: v & injected for k, v in marks.items()}
