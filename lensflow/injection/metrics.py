"""What each injected arc amounts to: fluxes, signal-to-noise ratios, shares of flux by region."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection import kernels
from lensflow.lensing.render import Rendering


def pair_metrics(
    rendering: Rendering,
    sums: NDArray[np.float64],
    growth: NDArray[np.float64],
    manifest: xr.Dataset,
) -> dict[str, NDArray[np.float32]]:
    """Compute the variables of ``schema.METRICS`` for a block.

    Parameters
    ----------
    rendering : Rendering
        Magnification and render_err (sample,).
    sums : ndarray, shape (sample, band, kernels.N_SUMS)
    growth : ndarray, shape (sample, rings)
        From :func:`lensflow.injection.kernels.add_and_measure`.
    manifest : Dataset

    Returns
    -------
    dict of ndarray
        Shapes (sample,) and (sample, band). NaN for controls, for absent bands and, in the SNRs, where a covered
        band has no pixel with data: null, never 0.
    """
    control = manifest["is_control"].values
    absent = control[:, None] | ~np.isfinite(manifest["psf_fwhm_arcsec"].values)
    flux = sums[..., kernels.FLUX]
    lensed = rendering.magnification[:, None] * manifest["src_flux_nmgy"].values
    total = flux.sum(axis=1)
    null = absent | (sums[..., kernels.GOOD_PIXELS] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = {
            "snr_peak": sums[..., kernels.PEAK_SNR],
            "snr_matched": np.sqrt(sums[..., kernels.MATCHED]),
            "snr_stamp": sums[..., kernels.GOOD_FLUX] / np.sqrt(sums[..., kernels.SKY_VARIANCE]),
        }
    metrics = {
        "magnification": rendering.magnification,
        "render_err": rendering.render_err,
        "stamp_flux_fraction": _ratio(np.where(absent, 0, flux).sum(axis=1), np.where(absent, 0, lensed).sum(axis=1)),
        "core_flux_fraction": _ratio(sums[..., kernels.CORE].sum(axis=1), total),
        "annulus_flux_fraction": _ratio(sums[..., kernels.ANNULUS].sum(axis=1), total),
        "arc_r50_pix": _half_light_radius(growth),
        "total_injected_flux_nmgy": np.where(absent, np.nan, flux),
        **{k: np.where(null, np.nan, v) for k, v in snr.items()},
    }
    bands = [str(b) for b in manifest["band"].values]
    metrics["arc_snr"] = metrics["snr_peak"][:, bands.index("r") if "r" in bands else 0]
    return {
        k: np.where(control[:, None] if v.ndim == 2 else control, np.nan, v).astype(np.float32)
        for k, v in metrics.items()
    }


def _half_light_radius(growth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outer edge of the ring in which the summed light reaches a half, pixels; NaN without light."""
    inside = np.cumsum(growth, axis=1)
    total = inside[:, -1]
    at = np.argmax(inside >= 0.5 * total[:, None], axis=1)
    return np.where(total > 0, np.sqrt((at + 1) / kernels.RINGS_PER_PIX2), np.nan)


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
