"""Flags of every pair, and the clean subset: the same cuts for injections and controls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig
from lensflow.schema import PsfSource, Reason, Status

MAX_BAD_PIXEL_FRAC = 0.2
MIN_STAMP_FLUX = 0.5
# Measured by the survey at or near the place: not scaled from another band, not assumed.
_REAL_PSF = (PsfSource.MAP, PsfSource.MANIFEST, PsfSource.COADD_PSF)


def pair_flags(
    metrics: Mapping[str, NDArray],
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    control: NDArray[np.bool_],
    config: InjectionConfig,
) -> dict[str, NDArray[np.uint8]]:
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
    covered = hosts["covered"].values[rows]
    reasons = hosts["band_reasons"].values[rows]
    flags = {
        "band_absent": ~covered.all(axis=1),
        "no_good_pixel": ~control & (covered & ~np.isfinite(metrics["snr_peak"])).any(axis=1),
        "render_not_converged": ~control & (metrics["render_err"] > config.render_tolerance),
        "host_partial": hosts["status"].values[rows] == Status.PARTIAL,
        "assumed_noise": (reasons & int(Reason.ASSUMED_NOISE) > 0).any(axis=1),
        "assumed_psf": (reasons & int(Reason.ASSUMED_PSF) > 0).any(axis=1),
        "low_stamp_flux": ~control & (metrics["stamp_flux_fraction"] < MIN_STAMP_FLUX),
    }
    real_psf = np.isin(hosts["psf_source"].values[rows], _REAL_PSF).all(axis=1)
    few_bad = hosts["bad_pixel_frac"].values[rows] <= MAX_BAD_PIXEL_FRAC
    is_clean = real_psf & few_bad & ~np.logical_or.reduce(list(flags.values()))
    return {k: v.astype(np.uint8) for k, v in {"is_clean": is_clean, **flags}.items()}
