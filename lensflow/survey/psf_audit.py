"""Sources and values of the PSF sizes of cutouts: a table to check before trusting them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow.schema import PsfSource

PERCENTILES = (1, 5, 10, 50, 90, 99)
# No site of the Legacy Surveys has such good seeing: smaller sizes are errors of a map, not good nights. Sizes that a
# table of targets or the config gives are the reader's own: 0.6 arcsec is HSC's median, 0.16 is Euclid's.
SUSPICIOUS_BELOW_ARCSEC = 0.8


def psf_audit(cutouts: xr.Dataset) -> xr.Dataset:
    """Hosts by source of their PSF size, percentiles of the sizes, and suspicious ones, per band.

    Parameters
    ----------
    cutouts : Dataset
        ``psfsize_arcsec`` and ``psf_source``, dims host and band.

    Returns
    -------
    Dataset
        hosts (source, band): by :class:`lensflow.schema.PsfSource`, every host counted once a band;
        psfsize_arcsec (percentile, band): over hosts with a size, NaN where there are none;
        suspicious (band): hosts with a size below 0.8 arcsec by a map;
        most_suspicious (band): name of the host with the smallest of them, "" where there are none.
    """
    bands = [str(b) for b in cutouts["band"].values]
    size = np.asarray(cutouts["psfsize_arcsec"].values, np.float64)
    source = np.asarray(cutouts["psf_source"].values)
    names = cutouts["host_id"].values
    suspicious = (size < SUSPICIOUS_BELOW_ARCSEC) & (source == PsfSource.MAP)
    hosts = np.array([(source == code).sum(axis=0) for code in PsfSource])
    percentiles = np.full((len(PERCENTILES), len(bands)), np.nan)
    most = np.full(len(bands), "", dtype=object)
    for b in range(len(bands)):
        known = size[np.isfinite(size[:, b]), b]
        if known.size:
            percentiles[:, b] = np.percentile(known, PERCENTILES)
        if suspicious[:, b].any():
            most[b] = str(names[np.argmin(np.where(suspicious[:, b], size[:, b], np.inf))])
    return xr.Dataset(
        {
            "hosts": (("source", "band"), hosts, {"meaning": "hosts by provenance of the PSF size"}),
            "psfsize_arcsec": (("percentile", "band"), percentiles, {"units": "arcsec"}),
            "suspicious": ("band", suspicious.sum(axis=0)),
            "most_suspicious": ("band", most.astype(str)),
        },
        {"source": [s.name.lower() for s in PsfSource], "percentile": list(PERCENTILES), "band": bands},
    )
