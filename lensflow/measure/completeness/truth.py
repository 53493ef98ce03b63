"""Scorers that read what was injected: what they recover is detectability by definition, not what a search finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from lensflow.errors import CompletenessError
from lensflow.stats.hostsums import Floats


def snr_peak(rows: xr.Dataset) -> Floats:
    """Highest SNR of a single pixel of the noiseless arc, in any band.

    Parameters
    ----------
    rows : Dataset
        With ``snr_peak`` over ``sample`` and ``band``.

    Returns
    -------
    ndarray of float64, shape (n,)
        NaN where no band has one.
    """
    snr = _of(rows, "snr_peak")
    return np.asarray(np.where(np.isfinite(snr).any(axis=1), np.fmax.reduce(snr, axis=1), np.nan))


def snr_matched(rows: xr.Dataset) -> Floats:
    """SNR of the noiseless arc in a matched filter, all bands together.

    Parameters
    ----------
    rows : Dataset
        With ``snr_matched`` over ``sample`` and ``band``.

    Returns
    -------
    ndarray of float64, shape (n,)
        Square root of the sum of squares over the bands; NaN where no band has one.
    """
    snr = _of(rows, "snr_matched")
    total = np.sqrt(np.nansum(snr**2, axis=1))
    return np.asarray(np.where(np.isfinite(snr).any(axis=1), total, np.nan))


TRUTH: Mapping[str, Callable[[xr.Dataset], Floats]] = {"snr_matched": snr_matched, "snr_peak": snr_peak}


def _of(rows: xr.Dataset, name: str) -> Floats:
    if name not in rows:
        raise CompletenessError(f"completeness: rows lack {name}")
    return np.asarray(rows[name].transpose("sample", "band").values, dtype=np.float64)
