"""What each injected arc amounts to: fluxes, signal-to-noise ratios, shares of flux by region."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.lensing.render import Rendering


def pair_metrics(
    rendering: Rendering, hosts: xr.Dataset, rows: NDArray[np.int64], manifest: xr.Dataset
) -> dict[str, NDArray[np.float32]]:
    """Compute the variables of ``schema.METRICS`` for a block.

    Parameters
    ----------
    rendering : Rendering
        Arcs (sample, band, y, x), magnification and render_err (sample,).
    hosts : Dataset
        Cutouts of the block.
    rows : ndarray, shape (sample,)
        Row of each sample's host in ``hosts``.
    manifest : Dataset

    Returns
    -------
    dict of ndarray
        Shapes (sample,) and (sample, band). NaN for controls, for absent bands and, in the SNRs, where a covered
        band has no pixel with data: null, never 0.
    """
    arc = rendering.arc.astype(np.float64)
    size = arc.shape[-1]
    control = manifest["is_control"].values
    absent = control[:, None] | ~np.isfinite(manifest["psf_fwhm_arcsec"].values)
    flux = arc.sum(axis=(2, 3))
    lensed = rendering.magnification[:, None] * manifest["src_flux_nmgy"].values
    x, y = manifest["x_center"].values, manifest["y_center"].values
    light = arc.sum(axis=1)
    total = light.sum(axis=(1, 2))
    metrics = {
        "magnification": rendering.magnification,
        "render_err": rendering.render_err,
        "stamp_flux_fraction": _ratio(np.where(absent, 0, flux).sum(axis=1), np.where(absent, 0, lensed).sum(axis=1)),
        "core_flux_fraction": _ratio((light * geometry.disc(size, x, y)).sum(axis=(1, 2)), total),
        "annulus_flux_fraction": _ratio(
            (light * geometry.annulus(size, x, y, geometry.ANNULUS_INNER_PIX)).sum(axis=(1, 2)), total
        ),
        "arc_r50_pix": _half_light_radius(light, geometry.radius_pix(size, x, y)),
        "total_injected_flux_nmgy": np.where(absent, np.nan, flux),
        **_signal_to_noise(arc, hosts["invvar"].values[rows], absent),
    }
    bands = [str(b) for b in manifest["band"].values]
    metrics["arc_snr"] = metrics["snr_peak"][:, bands.index("r") if "r" in bands else 0]
    return {k: np.where(_like(control, v), np.nan, v).astype(np.float32) for k, v in metrics.items()}


def _signal_to_noise(
    arc: NDArray[np.float64], invvar: NDArray[np.float32], absent: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    good = invvar > 0
    null = absent | ~good.any(axis=(2, 3))
    variance = np.where(good, 1.0 / np.where(good, invvar.astype(np.float64), 1.0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {
            "snr_peak": (arc * np.sqrt(invvar)).max(axis=(2, 3)),
            "snr_matched": np.sqrt((arc**2 * invvar).sum(axis=(2, 3))),
            "snr_stamp": (arc * good).sum(axis=(2, 3)) / np.sqrt(variance.sum(axis=(2, 3))),
        }
    return {k: np.where(null, np.nan, v) for k, v in values.items()}


def _half_light_radius(light: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(light)
    order = np.argsort(radius.reshape(n, -1), axis=1)
    sorted_radius = np.take_along_axis(radius.reshape(n, -1), order, axis=1)
    growth = np.cumsum(np.take_along_axis(light.reshape(n, -1), order, axis=1), axis=1)
    total = growth[:, -1:]
    at = np.argmax(growth >= 0.5 * total, axis=1)
    return np.where(total[:, 0] > 0, sorted_radius[np.arange(n), at], np.nan)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _like(rows: NDArray[np.bool_], values: NDArray) -> NDArray[np.bool_]:
    return rows[:, None] if values.ndim == 2 else rows


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
