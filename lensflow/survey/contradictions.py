"""What a block of cutouts contradicts: the catalogue's fluxes, the survey's depth, its own scatter."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.schema import Reason, Status
from lensflow.survey.stamps import sky_sigma

# A median further off than this factor is a wrong unit, not a crowded field or a bright sky.
FACTOR = 5.0
_MIN_HOSTS = 3
_MIN_SNR = 10.0
_MAX_STAMPS = 32
_FWHM = 2.3548


def contradictions(cutouts: xr.Dataset) -> list[str]:
    """Say where pixels, weights and catalogue cannot all be in the units that they are taken to be in.

    Medians over the hosts that are OK, each band by itself, at least three hosts; a factor 5 is far off.

    - Aperture flux against catalogue flux: a wrong zero point.
    - Noise of the weights against ``psfdepth_mag``: the same, or weights that are none.
    - Scatter of the images' blank sky against the weights: weights that are a variance, or in another unit.

    Parameters
    ----------
    cutouts : Dataset
        In memory, measured (:func:`lensflow.survey.photometry.with_measurements`); attrs ``pixel_scale_arcsec``.
    """
    out = []
    good = cutouts["status"].values == Status.OK
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    for b, band in enumerate(str(v) for v in cutouts["band"].values):
        rows = np.flatnonzero(good & cutouts["covered"].values[:, b])
        rows = rows[:: max(1, len(rows) // _MAX_STAMPS)]
        invvar = cutouts["invvar"].values[rows, b]
        weight = np.array([np.median(v[v > 0]) for v in invvar])
        out += _fluxes(cutouts, rows, b, band, weight, scale) + _depths(cutouts, rows, b, band, weight, scale)
        measured = (cutouts["band_reasons"].values[rows, b] & int(Reason.ASSUMED_NOISE)) == 0
        image = np.where(invvar > 0, cutouts["image"].values[rows, b], np.float32(np.nan))[measured]
        middle = (image.shape[-1] - 1) / 2
        ratio = sky_sigma(image, middle, middle) * np.sqrt(weight[measured])
        if (found := _far_off(ratio[ratio > 0])) is not None:
            out.append(
                f"Weights do not fit the image in {band}: its blank sky scatters {found:.2g} times what invvar says "
                f"(median of {len(ratio)} hosts). Is invvar a variance, or in another unit?"
            )
    return out


def _fluxes(
    cutouts: xr.Dataset, rows: NDArray[np.int64], b: int, band: str, weight: NDArray, scale: float
) -> list[str]:
    if "flux_nmgy" not in cutouts:
        return []
    catalogue = cutouts["flux_nmgy"].values[rows, b].astype(np.float64)
    aperture = cutouts["aperture_flux_nmgy"].values[rows, b].astype(np.float64)
    noise = np.sqrt(np.pi * (5 / scale) ** 2 / weight)
    with np.errstate(invalid="ignore"):
        use = (catalogue > 0) & np.isfinite(aperture) & (np.maximum(catalogue, aperture) > _MIN_SNR * noise)
    found = _far_off(np.maximum(aperture[use], 1e-12) / catalogue[use])
    if found is None:
        return []
    return [
        f"Fluxes do not fit the catalogue in {band}: the cutouts' aperture fluxes are {found:.3g} times its own "
        f"(median of {int(use.sum())} hosts). Are the images in nanomaggies (survey.zero_point)?"
    ]


def _depths(
    cutouts: xr.Dataset, rows: NDArray[np.int64], b: int, band: str, weight: NDArray, scale: float
) -> list[str]:
    if "psfdepth_mag" not in cutouts:
        return []
    depth = cutouts["psfdepth_mag"].values[rows, b].astype(np.float64)
    sigma = cutouts["psfsize_arcsec"].values[rows, b].astype(np.float64) / _FWHM / scale
    expected = 10 ** (-0.4 * (depth - 22.5)) / 5 / np.sqrt(4 * np.pi * sigma**2)
    found = _far_off(1 / np.sqrt(weight) / expected)
    if found is None:
        return []
    return [
        f"Noise does not fit psfdepth in {band}: a pixel's noise by invvar is {found:.3g} times the depth's "
        f"(median of {len(rows)} hosts). Are images and weights in nanomaggies (survey.zero_point)?"
    ]


def _far_off(ratio: NDArray[np.float64]) -> float | None:
    """Median of ratios if it is off 1 by more than the factor; None if it is not, or of too few."""
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) < _MIN_HOSTS:
        return None
    median = float(np.median(ratio))
    return median if not 1 / FACTOR <= median <= FACTOR else None
