"""Compare stored arcs with the slow reference renderer, which shares none of the fast one's numerics."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.lensing.psf import margin_pix
from lensflow.lensing.render_reference import render_row_reference
from lensflow.measure.pixels.specimens import arc_ends, of_image, render_again, without_images

# Rows that the reference renders again, a tenth of a second each and more: those with the widest sources, best sampled.
REFERENCE_ROWS = 1
REFERENCE_ACCURACY = 2e-3
# On stamps of many pixels the reference cannot afford the rays that it needs; this far from itself, it says nothing.
_REFERENCE_USELESS = 0.05


def beside_the_reference(
    specimens: xr.Dataset, keep: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error against the reference of the rows that it makes, and what it changes with half the rays.

    Parameters
    ----------
    specimens : Dataset
    keep : ndarray, broadcast to (m, band, y, x)
        Share of the arc that is stored.
    """
    size = specimens.sizes["x"]
    scale = float(specimens.attrs["pixel_scale_arcsec"])
    model, beta = str(specimens.attrs["psf_model"]), float(specimens.attrs["psf_beta"])
    is_image, plain = of_image(specimens), without_images(specimens)
    ends = arc_ends(specimens)
    keep = np.broadcast_to(keep, specimens["arc"].shape)
    reference, own = [], []
    # A source is sampled as well as its narrow side is wide.
    narrow = plain["src_reff_arcsec"].values * plain["src_q"].values
    for i in np.lexsort((-narrow, is_image))[:REFERENCE_ROWS]:
        row = {str(k): v.values[i] for k, v in plain.data_vars.items()}
        low, high, kept = ends[0][i].astype(np.float64), ends[1][i].astype(np.float64), keep[i]
        if is_image[i]:
            low = high = render_again(plain.isel(sample=[i]), None)[0][0].astype(np.float64)
            kept = np.ones_like(low)
        rays = _rays(float(narrow[i]), scale, size)
        coarse, slow = (
            render_row_reference(
                row, stamp_size=size, pixel_scale_arcsec=scale, supersample=s, psf_model=model, psf_beta=beta,
                pad_pix=_pad(row, scale),
            )
            for s in (rays // 2, rays)
        )  # fmt: skip
        # Half the rays are further from the truth than all: an upper bound of the reference's own error.
        own.append(_apart(kept * coarse, kept * coarse, slow, kept))
        reference.append(_apart(low, high, slow, kept) if own[-1] <= _REFERENCE_USELESS else np.nan)
    return np.array(reference), np.array(own)


def _rays(narrow_arcsec: float, scale: float, size: int) -> int:
    """Rays per pixel and axis, even: enough for the source, and no more than a canvas of 8,000 rays a side allows."""
    wanted = max(8, 2 * int(np.ceil(4 * scale / narrow_arcsec)))
    return int(np.clip(min(wanted, 8000 // (4 * size) // 2 * 2), 2, 32))


def _pad(row: dict[str, Any], scale: float) -> int:
    """Margin whose light the renderer follows, pixels."""
    widest = float(np.nanmax(row["psf_fwhm_arcsec"])) / scale
    return int(margin_pix(widest))


def _apart(
    low: NDArray[np.float64], high: NDArray[np.float64], other: NDArray[np.float64], keep: NDArray[np.floating]
) -> float:
    """How far the kept part of an image is outside of two ends, over the image's peak, of all bands with light."""
    peak, want = other.max(axis=(1, 2)), keep * other
    lit = peak > 0
    off = np.maximum(np.maximum(low - want, want - high), 0)
    return float((off.max(axis=(1, 2))[lit] / peak[lit]).max(initial=0.0))
