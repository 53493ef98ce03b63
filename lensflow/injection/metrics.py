"""Metrics of each injected arc: fluxes, signal-to-noise ratios, fractions of flux by region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection import kernels
from lensflow.injection.extremes import extremes
from lensflow.injection.plausibility import arc_over_host
from lensflow.lensing.components import OF_BANDS, extent_arcsec
from lensflow.lensing.image_positions import counter_image_radius_arcsec, image_multiplicity, image_positions
from lensflow.lensing.render import Rendering


def pair_metrics(
    rendering: Rendering,
    sums: kernels.Sums,
    hosts: xr.Dataset,
    rows: NDArray[np.int64],
    columns: Mapping[str, NDArray],
    bands: list[str],
    masked_flux: NDArray[np.float64],
    mask_radius_pix: float,
    dark_flux: NDArray[np.float64],
    per_nmgy: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """Compute the variables of ``schema.METRICS`` for a block.

    Parameters
    ----------
    rendering : Rendering
        Magnification and render_err (sample,), band_magnification (sample, band).
    sums : kernels.Sums
    hosts : Dataset
        With ``noise_correlation_factor`` and ``aperture_flux_nmgy`` (host, band).
    rows : ndarray of int, shape (sample,)
        Row of each sample's host.
    columns : mapping of ndarray
        The manifest's columns.
    bands : list of str
    masked_flux : ndarray, shape (sample, band)
        Flux that the mask of radius ``mask_radius_pix`` took from the arcs, nMgy.
    dark_flux : ndarray, shape (sample, band)
        Flux that was then taken from pixels without data, nMgy.
    per_nmgy : ndarray, shape (sample, band)
        Variance of the shot noise of 1 nMgy, 0 where no noise is drawn.

    Returns
    -------
    dict of ndarray
        Shapes (sample,) and (sample, band). NaN for controls, for absent bands and, in the SNRs, where a covered
        band has no pixel with data: null, never 0.
    """
    control = columns["is_control"]
    absent = control[:, None] | ~np.isfinite(columns["psf_fwhm_arcsec"])
    flux = sums.band[..., kernels.FLUX]
    lensed = rendering.band_magnification * columns["src_flux_nmgy"]
    total = flux.sum(axis=1)
    null = absent | (sums.host[..., kernels.GOOD_PIXELS] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = {
            "snr_peak": sums.band[..., kernels.PEAK_SNR],
            "snr_matched": np.sqrt(sums.band[..., kernels.MATCHED]),
            "snr_stamp": sums.band[..., kernels.GOOD_FLUX] / np.sqrt(sums.host[..., kernels.SKY_VARIANCE]),
        }
    snr |= snr_with_shot_noise(sums, per_nmgy)
    metrics = {
        "magnification": rendering.magnification,
        "render_err": rendering.render_err,
        "stamp_flux_fraction": _ratio(
            np.where(absent, 0, flux + masked_flux + dark_flux).sum(axis=1), np.where(absent, 0, lensed).sum(axis=1)
        ),
        "core_flux_fraction": _ratio(sums.shape[:, kernels.CORE], total),
        "annulus_flux_fraction": _ratio(sums.shape[:, kernels.ANNULUS], total),
        "arc_r50_pix": sums.shape[:, kernels.R50],
        "total_injected_flux_nmgy": np.where(absent, np.nan, flux),
        "arc_over_host": np.where(absent, np.nan, arc_over_host(flux, hosts, rows)),
        **{k: np.where(null, np.nan, v) for k, v in snr.items()},
        "core_mask_radius_pix": np.full(len(control), mask_radius_pix),
        "core_mask_flux_fraction": np.where(absent, np.nan, _ratio(masked_flux, masked_flux + (flux + dark_flux))),
        "nodata_flux_fraction": np.where(absent, np.nan, _ratio(dark_flux, flux + dark_flux)),
        "noise_correlation_factor": np.where(absent, np.nan, hosts.variables["noise_correlation_factor"].values[rows]),
        **image_metrics(columns),
    }
    if OF_BANDS[0] in columns:
        metrics["band_magnification"] = rendering.band_magnification
    metrics["arc_snr"] = metrics["snr_peak"][:, bands.index("r") if "r" in bands else 0]
    return {
        k: np.where(control[:, None] if v.ndim == 2 else control, np.nan, v).astype(np.float32)
        for k, v in metrics.items()
    }


def snr_with_shot_noise(sums: kernels.Sums, per_nmgy: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Signal-to-noise ratios that count the shot noise of host and arc, shape (sample, band); NaN without it.

    Parameters
    ----------
    sums : kernels.Sums
    per_nmgy : ndarray, shape (sample, band)
        Variance of the shot noise of 1 nMgy, 0 where no noise is drawn.
    """
    light = sums.host[..., kernels.GOOD_LIGHT] + sums.band[..., kernels.GOOD_ARC]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = sums.host[..., kernels.SKY_VARIANCE] + per_nmgy * light
        found = {
            "snr_peak_total": sums.band[..., kernels.PEAK_TOTAL],
            "snr_matched_total": np.sqrt(sums.band[..., kernels.MATCHED_TOTAL]),
            "snr_stamp_total": sums.band[..., kernels.GOOD_FLUX] / np.sqrt(variance),
        }
    return {k: np.where(per_nmgy > 0, v, np.nan) for k, v in found.items()}


def image_metrics(columns: Mapping[str, NDArray]) -> dict[str, NDArray[np.float64]]:
    """Count the images of every source's centre, and find the innermost one's distance from the lens, (sample,) each.

    NaN for controls and for EPL lenses; the lens equation is solved for SIS and SIE with shear.
    """
    model = columns["lens_model"]
    solved = (model == "SIS") | (model == "SIE")
    images = image_positions(
        columns["theta_e_arcsec"][solved],
        np.where(model == "SIS", 1.0, columns["lens_q"])[solved],
        *(columns[k][solved] for k in ("lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")),
    )
    out = {name: np.full(len(model), np.nan) for name in ("image_multiplicity", "counter_image_radius_arcsec")}
    out["image_multiplicity"][solved] = image_multiplicity(images)
    out["counter_image_radius_arcsec"][solved] = counter_image_radius_arcsec(images)
    return out


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def all_on_stamp(manifest: xr.Dataset, stamp_size: int, pixel_scale_arcsec: float) -> NDArray[np.bool_]:
    """Rows whose arc is certainly on the stamp, except for 3 % of its flux in every band, shape (sample,).

    For isothermal lenses no image is further out than (|beta| + theta_e / sqrt(q)) / (1 - shear), and images are not
    stretched radially (except by the shear); 4 half-light radii of a source of index <= 1.2 and 2.5 FWHM are added.
    """
    c = {str(name): v.values for name, v in manifest.data_vars.items()}
    place = np.stack([c["x_center"], c["y_center"]])
    room = (np.minimum(place, stamp_size - 1 - place).min(axis=0) + 0.5) * pixel_scale_arcsec
    widest = np.nan_to_num(c["psf_fwhm_arcsec"]).max(axis=1, initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        extent, smooth = extent_arcsec(c)
        offset = np.hypot(c["src_x_arcsec"], c["src_y_arcsec"]) + extent
        deflection = c["theta_e_arcsec"] / np.sqrt(np.where(c["lens_model"] == "SIE", c["lens_q"], 1.0))
        reach = (offset + deflection) / (1 - c["shear"]) + 2.5 * widest
    known = np.isin(c["lens_model"], ("SIS", "SIE")) & smooth
    if "src_id" in c:  # an image has no Sersic index that bounds it
        known &= c["src_id"] == ""
    return np.asarray(known & (reach <= room))


def light_without_data(
    arc: NDArray[np.float32], stamp: NDArray[np.float32], hosts: xr.Dataset, host_index: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Rows and bands with an arc, or a stamp that is not its host, on a pixel whose invvar is 0, shape (sample, band).

    Parameters
    ----------
    arc, stamp : ndarray of float32, shape (sample, band, y, x)
    hosts : Dataset
    host_index : ndarray of int64, shape (sample,)
    """
    known = hosts.variables["host_index"].values if "host_index" in hosts.coords else np.arange(hosts.sizes["host"])
    rows = np.searchsorted(known, host_index)
    invvar, image = hosts.variables["invvar"].values, hosts.variables["image"].values
    holes = (~(invvar > 0)).any(axis=(2, 3))
    out = np.zeros(arc.shape[:2], dtype=bool)
    for i, b in np.argwhere(np.asarray(holes)[rows]):
        empty = ~(invvar[rows[i], b] > 0)
        out[i, b] = (arc[i, b][empty] != 0).any() or (stamp[i, b][empty] != image[rows[i], b][empty]).any()
    return out


def invariant_failures(metrics: xr.Dataset, manifest: xr.Dataset, hosts: xr.Dataset) -> dict[str, int]:
    """Count the rows that violate each invariant; every invariant is listed even if none fails.

    Parameters
    ----------
    metrics : Dataset
        The block that :func:`lensflow.injection.inject_block` returned.
    manifest : Dataset
        Its rows.
    hosts : Dataset
        Their hosts: ``invvar`` and ``image`` (host, band, y, x) and, where they are not numbered 0, 1, ..., the
        coordinate ``host_index``.

    Notes
    -----
    Flux closure: ``sum(arc) = magnification x src_flux x stamp_flux_fraction`` defines the last, so it cannot fail over
    all bands together. What can: each band by itself, where :func:`all_on_stamp` leaves no doubt about the fraction.
    The magnification is summed over rays before the PSF, the arc over pixels after it.
    """
    control = manifest.variables["is_control"].values
    dark_band = ~np.isfinite(manifest.variables["psf_fwhm_arcsec"].values)
    arc = metrics.variables["arc"].values
    found = extremes(arc, metrics.variables["stamp"].values)
    magnification = metrics.variables["magnification"].values
    several = "band_magnification" in metrics
    of_band = metrics.variables["band_magnification"].values if several else magnification[:, None]
    fraction = metrics.variables["stamp_flux_fraction"].values
    tolerance = 2e-3
    size, pixel = arc.shape[-1], float(metrics.attrs["pixel_scale_arcsec"])
    with np.errstate(invalid="ignore", divide="ignore"):
        dark = np.nan_to_num(metrics.variables["nodata_flux_fraction"].values)
        left = (1 - metrics.variables["core_mask_flux_fraction"].values) * (1 - dark)
        # What remains of an arc that a mask or a hole removed almost completely is mostly rounding.
        left = np.where(left > 0.05, left, np.nan)
        source = manifest.variables["src_flux_nmgy"].values
        closure = metrics.variables["total_injected_flux_nmgy"].values / (left * of_band * source)
    open_band = np.isfinite(closure) & ~((closure > 0.97) & (closure < 1 + tolerance))
    broken = {
        "magnification < 1": ~control & ~(np.minimum(magnification, of_band.min(axis=1)) >= 1 - tolerance),
        "stamp holds more flux than was lensed": ~control & (fraction > 1 + tolerance),
        "flux of an arc within the stamp not magnification x source flux": (
            all_on_stamp(manifest, size, pixel) & open_band.any(axis=1)
        ),
        "non-finite stamp or arc": ~found.finite.all(axis=1),
        # The peak may be in a hole.
        "arc below -1e-4 of its peak": ((found.dip < -1e-4 * found.peak) & (dark < 0.05)).any(axis=1),
        "control with an arc or a metric": control
        & (found.lit.any(axis=1) | np.isfinite(magnification) | np.isfinite(fraction)),
        "light on a pixel without data": light_without_data(
            arc, metrics.variables["stamp"].values, hosts, manifest.variables["host_index"].values
        ).any(axis=1),
        "arc in a band without data": (found.lit & dark_band).any(axis=1),
    }
    return {f"invariant: {name}": int(hit.sum()) for name, hit in broken.items()}
