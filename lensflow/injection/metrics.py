"""What each injected arc amounts to: fluxes, signal-to-noise ratios, shares of flux by region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection import kernels
from lensflow.lensing.render import Rendering


def pair_metrics(
    rendering: Rendering, sums: kernels.Sums, columns: Mapping[str, NDArray], bands: list[str]
) -> dict[str, NDArray[np.float32]]:
    """Compute the variables of ``schema.METRICS`` for a block.

    Parameters
    ----------
    rendering : Rendering
        Magnification and render_err (sample,).
    sums : kernels.Sums
    columns : mapping of ndarray
        The manifest's columns.
    bands : list of str

    Returns
    -------
    dict of ndarray
        Shapes (sample,) and (sample, band). NaN for controls, for absent bands and, in the SNRs, where a covered
        band has no pixel with data: null, never 0.
    """
    control = columns["is_control"]
    absent = control[:, None] | ~np.isfinite(columns["psf_fwhm_arcsec"])
    flux = sums.band[..., kernels.FLUX]
    lensed = rendering.magnification[:, None] * columns["src_flux_nmgy"]
    total = flux.sum(axis=1)
    null = absent | (sums.host[..., kernels.GOOD_PIXELS] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = {
            "snr_peak": sums.band[..., kernels.PEAK_SNR],
            "snr_matched": np.sqrt(sums.band[..., kernels.MATCHED]),
            "snr_stamp": sums.band[..., kernels.GOOD_FLUX] / np.sqrt(sums.host[..., kernels.SKY_VARIANCE]),
        }
    metrics = {
        "magnification": rendering.magnification,
        "render_err": rendering.render_err,
        "stamp_flux_fraction": _ratio(np.where(absent, 0, flux).sum(axis=1), np.where(absent, 0, lensed).sum(axis=1)),
        "core_flux_fraction": _ratio(sums.shape[:, kernels.CORE], total),
        "annulus_flux_fraction": _ratio(sums.shape[:, kernels.ANNULUS], total),
        "arc_r50_pix": sums.shape[:, kernels.R50],
        "total_injected_flux_nmgy": np.where(absent, np.nan, flux),
        **{k: np.where(null, np.nan, v) for k, v in snr.items()},
    }
    metrics["arc_snr"] = metrics["snr_peak"][:, bands.index("r") if "r" in bands else 0]
    return {
        k: np.where(control[:, None] if v.ndim == 2 else control, np.nan, v).astype(np.float32)
        for k, v in metrics.items()
    }


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def invariant_failures(metrics: xr.Dataset, manifest: xr.Dataset) -> dict[str, int]:
    """Count the rows that break what must always hold, by rule; every rule is named even where none fails.

    Parameters
    ----------
    metrics : Dataset
        The block that :func:`lensflow.injection.inject_block` returned.
    manifest : Dataset
        Its rows.
    """
    control = manifest["is_control"].values
    arc = metrics["arc"].values
    peak = arc.max(axis=(2, 3))
    magnification = metrics["magnification"].values
    fraction = metrics["stamp_flux_fraction"].values
    tolerance = 2e-3
    broken = {
        "magnification < 1": ~control & ~(magnification >= 1 - tolerance),
        "stamp holds more flux than was lensed": ~control & (fraction > 1 + tolerance),
        "non-finite stamp or arc": ~(
            np.isfinite(metrics["stamp"].values).all(axis=(1, 2, 3)) & np.isfinite(arc).all(axis=(1, 2, 3))
        ),
        "arc below -1e-4 of its peak": (arc.min(axis=(2, 3)) < -1e-4 * np.maximum(peak, 0)).any(axis=1),
        "control with an arc or a metric": control
        & ((arc != 0).any(axis=(1, 2, 3)) | np.isfinite(magnification) | np.isfinite(fraction)),
        "arc in a band without data": (
            (arc != 0).any(axis=(2, 3)) & ~np.isfinite(manifest["psf_fwhm_arcsec"].values)
        ).any(axis=1),
    }
    return {f"invariant: {name}": int(hit.sum()) for name, hit in broken.items()}
