"""Pairs of stored arcs with other noise: stamps and what depends on the noise are made again, and nothing is rendered.

Noise is drawn from the arc as it was added, after masks and holes, and from the row's key. So a stored arc that was not
rounded gives the bits that rendering would give.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow import schema
from lensflow.config import InjectionConfig
from lensflow.errors import StoreError
from lensflow.injection import kernels
from lensflow.injection.inject import add_arcs, noise_per_nmgy, rows_of_hosts
from lensflow.injection.metrics import snr_with_shot_noise

# Metrics that depend on the shot noise's size; no other metric or flag depends on noise or rounding.
OF_NOISE = ("snr_peak_total", "snr_matched_total", "snr_stamp_total")


def with_other_noise(pairs: xr.Dataset, hosts: xr.Dataset, manifest: xr.Dataset, config: InjectionConfig) -> xr.Dataset:
    """Make a block of pairs from stored arcs.

    Parameters
    ----------
    pairs : Dataset
        Rows with ``arc`` as it was added (not rounded), every metric and flag.
    hosts : Dataset
        As for :func:`lensflow.injection.inject_block`.
    manifest : Dataset
        The same rows; attrs ``seed``.
    config : InjectionConfig
        Its ``noise`` and gain.

    Returns
    -------
    Dataset
        As :func:`lensflow.injection.inject_block` would give it: the same bits.

    Raises
    ------
    StoreError
        If the rows of pairs and manifest are not the same.
    ManifestError
        If a band with an arc has no gain.
    """
    keys = manifest.variables["row_id"].values
    if "row_id" in pairs and not np.array_equal(pairs["row_id"].values, keys):
        raise StoreError("the stored arcs are of other rows than the manifest's")
    arc = np.ascontiguousarray(pairs["arc"].values, dtype=np.float32)
    rows = rows_of_hosts(hosts, manifest.variables["host_index"].values)
    sums = kernels.Sums.of(arc, hosts.variables["image"].values, hosts.variables["invvar"].values, rows)
    per_nmgy = noise_per_nmgy(arc, hosts, rows, manifest, config)
    stamp = add_arcs(arc, hosts, rows, manifest, per_nmgy, sums)
    control, bands = (manifest.variables[name].values for name in ("is_control", "band"))
    absent = control[:, None] | ~np.isfinite(manifest.variables["psf_fwhm_arcsec"].values)
    null = absent | (sums.host[..., kernels.GOOD_PIXELS] == 0)
    snr = snr_with_shot_noise(sums, per_nmgy)
    kept = {v.name: pairs[v.name].values for v in (*schema.METRICS, *schema.FLAGS) if v.name not in OF_NOISE}
    of_noise = {k: np.where(null, np.nan, snr[k]).astype(np.float32) for k in OF_NOISE}
    out = schema.dataset("pairs", {"arc": arc, "stamp": stamp, **kept, **of_noise}, {"band": bands})
    out.attrs["pixel_scale_arcsec"] = hosts.attrs["pixel_scale_arcsec"]
    return out
