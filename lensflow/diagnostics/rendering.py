"""Rendering: some stored arcs made anew, by the renderer of this installation and by the slow reference."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig
from lensflow.diagnostics.hostsums import named
from lensflow.diagnostics.specimens import Specimens
from lensflow.injection.core.masks import keep_weights
from lensflow.lensing.render import render
from lensflow.lensing.render_reference import render_row_reference

# The accuracy that every row is rendered to, over the arc's peak and over its flux.
ACCURACY = 1e-3
# Rows that the reference makes anew, about half a second each: those with the widest sources, which it samples best.
REFERENCE_ROWS = 1
_REFERENCE_ACCURACY = 2e-3


def rendering(specimens: Specimens, injection: InjectionConfig | None = None) -> xr.Dataset:
    """Compare the kept rows' stored arcs with new renderings of their manifest rows.

    Parameters
    ----------
    specimens : Specimens
    injection : InjectionConfig, optional
        Its core mask is put on the new renderings too; none without. Errors are over the peak without a mask.

    Returns
    -------
    Dataset
        ``error`` (row, band): largest |stored - anew| over the peak; ``flux_error`` likewise of the sums;
        ``reference_error`` (row,): against the numpy reference, NaN for rows that it did not make. ``attrs["why"]``
        says why nothing was compared.
    """
    why = specimens.why_not()
    n, bands = specimens.keys.size, specimens.bands
    error, flux_error = (np.full((n, len(bands)), np.nan) for _ in range(2))
    reference, own = np.full(n, np.nan), np.full(n, np.nan)
    if not why:
        scale, size = float(specimens.attrs["pixel_scale_arcsec"]), specimens.arc.shape[-1]
        columns = {k: v for k, v in specimens.columns.items() if k not in ("psf_kernel", "is_control")}
        anew = render(columns, stamp_size=size, pixel_scale_arcsec=scale, **specimens.psf()).arc
        mask = (injection or InjectionConfig()).core_mask
        keep = keep_weights(size, columns["x_center"], columns["y_center"], *mask)[:, None]
        stored = specimens.arc.astype(np.float64)
        peak, total = anew.max(axis=(2, 3)), anew.sum(axis=(2, 3), dtype=np.float64)
        lit = peak > 0
        error[lit] = np.abs(stored - keep * anew).max(axis=(2, 3))[lit] / peak[lit]
        flux_error[lit] = np.abs((stored - keep * anew).sum(axis=(2, 3)))[lit] / total[lit]
        # Light where the renderer puts none (an absent band) is an error without measure.
        extra = ~lit & (stored != 0).any(axis=(2, 3))
        error[extra] = flux_error[extra] = np.inf
        if specimens.attrs["psf_model"] != "kernel":
            for i in np.argsort(-columns["src_reff_arcsec"], kind="stable")[:REFERENCE_ROWS]:
                row = {k: v[i] for k, v in columns.items()}
                coarse, slow = (
                    render_row_reference(
                        row, stamp_size=size, pixel_scale_arcsec=scale, supersample=s,
                        psf_model=str(specimens.attrs["psf_model"]), psf_beta=float(specimens.attrs["psf_beta"]),
                    )
                    for s in (4, 8)
                )  # fmt: skip
                reference[i] = _apart(stored[i], slow, keep[i])
                # Half the rays are further from the truth than all: an upper bound of the reference's own error.
                own[i] = _apart(keep[i] * coarse, slow, keep[i])
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


def _apart(one: NDArray[np.float64], other: NDArray[np.float64], keep: NDArray[np.floating]) -> float:
    """Largest difference between one and the kept part of another, over the other's peak, of all bands with light."""
    peak = other.max(axis=(1, 2))
    lit = peak > 0
    return float((np.abs(one - keep * other).max(axis=(1, 2))[lit] / peak[lit]).max(initial=0.0))
