"""Rows of a split as a run has them, whose truth a test chooses."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lensflow.measure.completeness.summary import Negatives


def make_rows(hosts: int = 400, per_host: int = 10, seed: int = 0) -> xr.Dataset:
    """Injection rows sorted by host, all rendered and clean, with a score that rises with SNR; no control."""
    rng = np.random.default_rng(seed)
    n = hosts * per_host
    host = np.repeat(np.arange(hosts), per_host)
    theta, mag = rng.uniform(0.4, 2.4, n), rng.uniform(22, 26, n)
    snr = 10 ** (0.4 * (26 - mag)) * rng.uniform(0.7, 1.4, n)
    size = rng.uniform(1.1, 1.6, hosts).astype(np.float32)[host]

    def banded(values):
        return ("sample", "band"), np.stack([values] * 2, axis=1)

    return xr.Dataset(
        {
            "row_id": ("sample", rng.permutation(n).astype(np.uint64) + np.uint64(2**63)),
            "host_index": ("sample", host),
            "is_control": ("sample", np.zeros(n, bool)),
            "theta_e_arcsec": ("sample", theta),
            "src_reff_arcsec": ("sample", rng.uniform(0.1, 0.6, n)),
            "magnification": ("sample", rng.uniform(2, 20, n)),
            "bad_pixel_frac": ("sample", np.zeros(n, np.float32)),
            "wise_brightmask_frac": ("sample", np.zeros(n, np.float32)),
            "render_not_converged": ("sample", np.zeros(n, bool)),
            "is_clean": ("sample", np.ones(n, bool)),
            "assumed_psf": ("sample", np.zeros(n, bool)),
            "psf_source": (("sample", "band"), np.zeros((n, 2), np.uint8)),
            "total_injected_flux_nmgy": banded(np.ones(n)),
            "src_flux_nmgy": banded(10 ** (-0.4 * (mag - 22.5))),
            "mw_transmission": banded(np.ones(n)),
            "psf_fwhm_arcsec": banded(0.811 * size),
            "psfsize_arcsec": banded(size),
            "psfdepth_mag": banded(np.full(n, 24.3)),
            "flux_nmgy": banded(rng.uniform(5, 50, hosts)[host]),
            "snr_peak": banded(snr),
            "snr_matched": banded(3 * snr),
            "score": ("sample", np.log(snr) + rng.normal(0, 0.7, n) + rng.normal(0, 0.5, hosts)[host]),
        },
        coords={"band": ["g", "r"]},
    )


def make_negatives(n: int = 500, seed: int = 1) -> Negatives:
    """Scores of the same hosts' images without an arc."""
    scores = np.random.default_rng(seed).normal(0, 0.8, n)
    return Negatives(scores, np.arange(n), "the hosts without arcs")
