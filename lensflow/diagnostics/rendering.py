"""Rendering: some stored arcs rendered again, by the renderer of this installation and by the slow reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig
from lensflow.diagnostics.hostsums import named
from lensflow.diagnostics.specimens import Specimens
from lensflow.injection.core.masks import keep_weights
from lensflow.lensing.image_light import Sources
from lensflow.lensing.pack import LEAST_PAD_PIX, PAD_PER_FWHM
from lensflow.lensing.render import render
from lensflow.lensing.render_reference import render_row_reference

# The accuracy that every row is rendered to, over the arc's peak and over its flux.
ACCURACY = 1e-3
# Rows that the reference makes anew, about half a second each: those with the widest sources, which it samples best.
REFERENCE_ROWS = 1
_REFERENCE_ACCURACY = 2e-3
# On stamps of many pixels the reference cannot afford the rays that it needs; this far from itself, it says nothing.
_REFERENCE_USELESS = 0.05


def rendering(
    specimens: Specimens, injection: InjectionConfig | None = None, sources: Sources | None = None
) -> xr.Dataset:
    """Compare the kept rows' stored arcs with new renderings of their manifest rows.

    Parameters
    ----------
    specimens : Specimens
    injection : InjectionConfig, optional
        Its core mask is put on the new renderings too; none without. Errors are over the peak without a mask.
    sources : Sources, optional
        Where the images of rows with a ``src_id`` come from. Without it such rows are not compared.

    Returns
    -------
    Dataset
        ``error`` (row, band): largest |stored - anew| over the peak; ``flux_error`` likewise of the sums; NaN for rows
        that were not compared. ``reference_error`` (row,): against the numpy reference, NaN for rows that it did not
        make; it knows Sersic profiles alone, so where every source is an image, the renderer and the reference are
        compared on the row's lens and PSF with a disc in the image's place. ``attrs["why"]`` says why nothing was
        compared.
    """
    why = specimens.why_not()
    n, bands = specimens.keys.size, specimens.bands
    error, flux_error = (np.full((n, len(bands)), np.nan) for _ in range(2))
    reference, own = np.full(n, np.nan), np.full(n, np.nan)
    if not why:
        size = specimens.arc.shape[-1]
        of_image = specimens.of_image
        compared = np.ones(n, bool) if sources is not None else ~of_image
        anew = np.zeros(specimens.arc.shape, np.float32)
        if compared.any():
            anew[compared] = _render(specimens, compared, sources)
        columns = specimens.columns
        keep = keep_weights(size, columns["x_center"], columns["y_center"], *(injection or InjectionConfig()).core_mask)
        keep = keep[:, None] * columns.get("has_data", np.ones(1, bool))
        stored = specimens.arc.astype(np.float64)
        peak, total = anew.max(axis=(2, 3)), anew.sum(axis=(2, 3), dtype=np.float64)
        lit = peak > 0
        error[lit] = np.abs(stored - keep * anew).max(axis=(2, 3))[lit] / peak[lit]
        flux_error[lit] = np.abs((stored - keep * anew).sum(axis=(2, 3)))[lit] / total[lit]
        # Light where the renderer puts none (an absent band) is an error without measure.
        extra = ~lit & (stored != 0).any(axis=(2, 3)) & compared[:, None]
        error[extra] = flux_error[extra] = np.inf
        if specimens.attrs["psf_model"] != "kernel":
            reference, own = _beside_the_reference(specimens, stored, keep)
    out = {
        "error": named(["row", "band"], error, "1", "largest |stored arc - rendered anew| over the peak"),
        "flux_error": named(["row", "band"], flux_error, "1", "|difference of the sums| over the sum"),
        "reference_error": named(["row"], reference, "1", "the same error against the slow reference; NaN: not made"),
        "reference_own_error": named(
            ["row"], own, "1", "what the reference changes with half the rays along each axis"
        ),
        "row_id": named(["row"], specimens.columns["row_id"].astype(str), "", "the row's id"),
    }
    attrs = {"title": "rendering made anew", "why": why, "accuracy": ACCURACY, "n_images": specimens.n_images,
             "reference_accuracy": _REFERENCE_ACCURACY}  # fmt: skip
    return xr.Dataset(out, coords={"band": list(bands)}, attrs=attrs)


def _render(specimens: Specimens, rows: NDArray[np.bool_], sources: Sources | None) -> NDArray[np.float32]:
    """Render some of the rows."""
    columns = {
        k: v[rows] for k, v in specimens.columns.items() if k not in ("psf_kernel", "has_data", "is_control")
    }  # fmt: skip
    psf = specimens.psf()
    if specimens.attrs["psf_model"] == "kernel":
        psf = {"psf_model": psf["psf_model"][rows]}
    scale, size = float(specimens.attrs["pixel_scale_arcsec"]), specimens.arc.shape[-1]
    return render(columns, stamp_size=size, pixel_scale_arcsec=scale, sources=sources, **psf).arc


def _beside_the_reference(
    specimens: Specimens, stored: NDArray[np.float64], keep: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Error against the reference of the rows that it makes, and what it changes with half the rays; NaN for others."""
    n, size = stored.shape[0], stored.shape[-1]
    scale = float(specimens.attrs["pixel_scale_arcsec"])
    reference, own = np.full(n, np.nan), np.full(n, np.nan)
    model, beta = str(specimens.attrs["psf_model"]), float(specimens.attrs["psf_beta"])
    of_image = specimens.of_image
    plain = specimens.without_images()
    # A source is sampled as well as its narrow side is wide.
    narrow = plain.columns["src_reff_arcsec"] * plain.columns["src_q"]
    for i in np.lexsort((-narrow, of_image))[:REFERENCE_ROWS]:
        row = {k: v[i] for k, v in plain.columns.items()}
        found, kept = stored[i], keep[i]
        if of_image[i]:
            found, kept = _render(plain, np.arange(n) == i, None)[0].astype(np.float64), np.ones(1, bool)
        rays = _rays(float(narrow[i]), scale, size)
        pad = _pad(row, scale)
        coarse, slow = (
            render_row_reference(
                row, stamp_size=size, pixel_scale_arcsec=scale, supersample=s, psf_model=model, psf_beta=beta,
                pad_pix=pad,
            )
            for s in (rays // 2, rays)
        )  # fmt: skip
        reference[i] = _apart(found, slow, kept)
        # Half the rays are further from the truth than all: an upper bound of the reference's own error.
        own[i] = _apart(kept * coarse, slow, kept)
        if own[i] > _REFERENCE_USELESS:
            reference[i] = np.nan
    return reference, own


def _rays(narrow_arcsec: float, scale: float, size: int) -> int:
    """Rays per pixel and axis, even: enough for the source, and no more than a canvas of 8,000 rays a side allows."""
    wanted = max(8, 2 * int(np.ceil(4 * scale / narrow_arcsec)))
    return int(np.clip(min(wanted, 8000 // (4 * size) // 2 * 2), 2, 32))


def _pad(row: dict[str, Any], scale: float) -> int:
    """Margin whose light the renderer follows, pixels."""
    widest = float(np.nanmax(row["psf_fwhm_arcsec"])) / scale
    return int(np.ceil(max(LEAST_PAD_PIX, PAD_PER_FWHM * widest)))


def _apart(one: NDArray[np.float64], other: NDArray[np.float64], keep: NDArray[np.floating]) -> float:
    """Largest difference between one and the kept part of another, over the other's peak, of all bands with light."""
    peak = other.max(axis=(1, 2))
    lit = peak > 0
    return float((np.abs(one - keep * other).max(axis=(1, 2))[lit] / peak[lit]).max(initial=0.0))
