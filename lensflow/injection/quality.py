"""Flags of every pair, and the clean subset: the same cuts for injections and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig
from lensflow.schema import PsfSource, Reason, Status

MAX_BAD_PIXEL_FRAC = 0.2
MIN_STAMP_FLUX = 0.5
# Fraction of a band's arc flux allowed on pixels without data: real lenses have such pixels, too.
MAX_NODATA_FLUX = 0.05
# Measured by the survey at or near the position: not scaled from another band, not assumed.
_REAL_PSF = (PsfSource.MAP, PsfSource.MANIFEST, PsfSource.COADD_PSF)


def pair_flags(
    metrics: Mapping[str, NDArray],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    control: NDArray[np.bool_],
    config: InjectionConfig,
) -> dict[str, NDArray[np.bool_]]:
    """Compute the variables of ``schema.FLAGS`` for a block, each of shape (sample,).

    Parameters
    ----------
    metrics : mapping
        From :func:`lensflow.injection.metrics.pair_metrics`.
    hosts : Dataset
    rows : ndarray of int, shape (sample,)
        Row of each sample's host.
    control : ndarray of bool, shape (sample,)
    config : InjectionConfig
        ``render_tolerance`` decides ``render_not_converged``.
    """
    covered = hosts.variables["covered"].values[rows]
    reasons = hosts.variables["band_reasons"].values[rows]
    flags = {
        "band_absent": ~covered.all(axis=1),
        "no_good_pixel": ~control & (covered & ~np.isfinite(metrics["snr_peak"])).any(axis=1),
        "render_not_converged": ~control & (metrics["render_err"] > config.render_tolerance),
        "host_partial": hosts.variables["status"].values[rows] == Status.PARTIAL,
        "assumed_noise": (reasons & int(Reason.ASSUMED_NOISE) > 0).any(axis=1),
        "assumed_psf": (reasons & int(Reason.ASSUMED_PSF) > 0).any(axis=1),
        "low_stamp_flux": ~control & (metrics["stamp_flux_fraction"] < MIN_STAMP_FLUX),
        "flux_without_data": ~control & (np.nan_to_num(metrics["nodata_flux_fraction"]) > MAX_NODATA_FLUX).any(axis=1),
    }
    real_psf = np.isin(hosts.variables["psf_source"].values[rows], _REAL_PSF).all(axis=1)
    few_bad = hosts.variables["bad_pixel_frac"].values[rows] <= MAX_BAD_PIXEL_FRAC
    is_clean = real_psf & few_bad & ~np.logical_or.reduce(list(flags.values()))
    return {"is_clean": is_clean, **flags}


def bands_without_psf(manifest: xr.Dataset, covered: NDArray[np.bool_], bands: Sequence[str]) -> str:
    """Report an injection without a PSF in a band that the survey has observed: it would have no arc there.

    Parameters
    ----------
    manifest : Dataset
        ``is_control``, ``psf_fwhm_arcsec``, ``row_id``.
    covered : ndarray of bool, shape (sample, band)
        Of each row's host.
    bands : sequence of str

    Returns
    -------
    str
        Naming the first such row and the number of the others; "" if there is none.
    """
    fwhm, control = (manifest.variables[name].values for name in ("psf_fwhm_arcsec", "is_control"))
    without = covered & ~np.isfinite(fwhm) & ~control[:, None]
    if not without.any():
        return ""
    row, band = np.argwhere(without)[0]
    return (
        f"manifest row {row} (row_id {int(manifest['row_id'].values[row])}) is an injection without a PSF in "
        f"{bands[band]}, which its host has observed: no arc would stand there. "
        f"{int(without.any(axis=1).sum()) - 1} other row(s) alike. Leave such hosts out, or give psf_fwhm_arcsec"
    )
