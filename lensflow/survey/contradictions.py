"""Contradictions of cutouts with the catalogue's fluxes and shapes, the survey's depth, or their own scatter."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.schema import HostShape, Reason, Status
from lensflow.stats.medians import median_of
from lensflow.survey.host_shape import measure_shapes
from lensflow.survey.stamps import sky_sigma
from lensflow.units import nmgy_of_mag

# A median further off than this factor is a wrong unit, not a crowded field or a bright sky.
FACTOR = 5.0
_MIN_HOSTS = 3
_MIN_SNR = 10.0
_MAX_STAMPS = 32
_FWHM = 2.3548
# Shapes compared with the image, and limits that indicate a wrong convention, not a blend.
_MAX_SHAPES, _LONG_Q, _MAX_TURN_DEG, _MAX_DIFFERENCE_Q = 16, 0.8, 25.0, 0.2


def contradictions(cutouts: xr.Dataset, least_hosts: int = _MIN_HOSTS) -> list[str]:
    """Report if pixels, weights and catalogue cannot all be in their assumed units.

    Medians over the hosts that are OK, each band by itself, of ``least_hosts`` or more; a factor 5 is far off.

    - Aperture flux against catalogue flux: a wrong zero point.
    - Noise of the weights against ``psfdepth_mag``: the same, or weights that are none.
    - Scatter of the images' blank sky against the weights: weights that are a variance, or in another unit.
    - The catalogue's axis ratios and angles against those of the images: another definition, or other axes.

    Parameters
    ----------
    cutouts : Dataset
        In memory, measured (:func:`lensflow.survey.photometry.with_measurements`); attrs ``pixel_scale_arcsec``.
    least_hosts : int
        Fewer say nothing.
    """
    out = _shapes(cutouts)
    good = cutouts["status"].values == Status.OK
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    for b, band in enumerate(str(v) for v in cutouts["band"].values):
        rows = np.flatnonzero(good & cutouts["covered"].values[:, b])
        rows = rows[:: max(1, len(rows) // _MAX_STAMPS)]
        invvar = cutouts["invvar"].values[rows, b]
        weight = np.array([median_of(v[v > 0]) if (v > 0).any() else np.nan for v in invvar], dtype=np.float32)
        out += _fluxes(cutouts, rows, b, band, weight, scale, least_hosts)
        out += _depths(cutouts, rows, b, band, weight, scale, least_hosts)
        measured = (cutouts["band_reasons"].values[rows, b] & int(Reason.ASSUMED_NOISE)) == 0
        image = np.where(invvar > 0, cutouts["image"].values[rows, b], np.float32(np.nan))[measured]
        middle = (image.shape[-1] - 1) / 2
        ratio = sky_sigma(image, middle, middle) * np.sqrt(weight[measured])
        if (found := _far_off(ratio[ratio > 0], least_hosts)) is not None:
            out.append(
                f"Weights do not fit the image in {band}: its blank sky scatters {found:.2g} times what invvar says "
                f"(median of {len(ratio)} hosts). Is invvar a variance, or in another unit?"
            )
    return out


def _shapes(cutouts: xr.Dataset) -> list[str]:
    """Compare the catalogue's shapes with the images of the most elongated hosts."""
    out = []
    if {"shape_e1", "shape_e2"} <= set(cutouts):
        beyond = np.hypot(cutouts["shape_e1"].values, cutouts["shape_e2"].values) >= 1
        if beyond.any():
            out.append(
                f"shape_e1 and shape_e2 of {int(beyond.sum())} hosts (the first: "
                f"{cutouts['host_id'].values[np.argmax(beyond)]}) make an ellipticity of 1 or more, and are not used. "
                "Are they (a-b)/(a+b) times the cosine and sine of twice the position angle?"
            )
    q, phi = (cutouts[name].values.astype(np.float64) for name in ("host_q", "host_phi_rad"))
    use = (cutouts["host_shape_source"].values == HostShape.CATALOGUE) & (cutouts["status"].values == Status.OK)
    rows = np.flatnonzero(use & (q < _LONG_Q))
    rows = rows[np.argsort(q[rows], kind="stable")][:_MAX_SHAPES]
    seen_q, seen_phi, _ = measure_shapes(cutouts, rows)
    good = np.isfinite(seen_q) & (seen_q < 0.5 * (1 + _LONG_Q))
    if good.sum() < _MIN_HOSTS:
        return out
    turn = np.rad2deg(np.abs((seen_phi - phi[rows] + np.pi / 2) % np.pi - np.pi / 2)[good])
    if np.median(turn) > _MAX_TURN_DEG:
        out.append(
            f"Angles of the catalogue's shapes (shape_e1, shape_e2) do not fit the images: "
            f"{np.median(turn):.0f} degrees off (median of the {int(good.sum())} longest hosts). Is the position angle "
            "counted from north through east?"
        )
    off = np.median((seen_q - q[rows])[good])
    if abs(off) > _MAX_DIFFERENCE_Q:
        out.append(
            f"Axis ratios of the catalogue's shapes do not fit the images, which have {off:+.2f} (median of the "
            f"{int(good.sum())} longest hosts). Is the ellipticity (a-b)/(a+b)?"
        )
    return out


def _fluxes(
    cutouts: xr.Dataset, rows: NDArray[np.int64], b: int, band: str, weight: NDArray, scale: float, least: int
) -> list[str]:
    if "flux_nmgy" not in cutouts:
        return []
    catalogue = cutouts["flux_nmgy"].values[rows, b].astype(np.float64)
    aperture = cutouts["aperture_flux_nmgy"].values[rows, b].astype(np.float64)
    noise = np.sqrt(np.pi * (5 / scale) ** 2 / weight)
    with np.errstate(invalid="ignore"):
        use = (catalogue > 0) & np.isfinite(aperture) & (np.maximum(catalogue, aperture) > _MIN_SNR * noise)
    found = _far_off(np.maximum(aperture[use], 1e-12) / catalogue[use], least)
    if found is None:
        return []
    return [
        f"Fluxes do not fit the catalogue in {band}: the cutouts' aperture fluxes are {found:.3g} times its own "
        f"(median of {int(use.sum())} hosts). Are the images in nanomaggies (survey.zero_point)?"
    ]


def _depths(
    cutouts: xr.Dataset, rows: NDArray[np.int64], b: int, band: str, weight: NDArray, scale: float, least: int
) -> list[str]:
    if "psfdepth_mag" not in cutouts:
        return []
    depth = cutouts["psfdepth_mag"].values[rows, b].astype(np.float64)
    sigma = cutouts["psfsize_arcsec"].values[rows, b].astype(np.float64) / _FWHM / scale
    expected = nmgy_of_mag(depth) / 5 / np.sqrt(4 * np.pi * sigma**2)
    found = _far_off(1 / np.sqrt(weight) / expected, least)
    if found is None:
        return []
    return [
        f"Noise does not fit psfdepth in {band}: a pixel's noise by invvar is {found:.3g} times the depth's "
        f"(median of {len(rows)} hosts). Are images and weights in nanomaggies (survey.zero_point)?"
    ]


def _far_off(ratio: NDArray[np.float64], least: int) -> float | None:
    """Median of ratios if it differs from 1 by more than the factor; None if not, or if too few."""
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < least:
        return None
    median = float(np.median(ratio))
    return median if not 1 / FACTOR <= median <= FACTOR else None
