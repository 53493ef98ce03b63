"""Apply a core handling to a block of pairs: pixels in, pixels out, with the light it costs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import ConfigError, GateError, StoreError
from lensflow.injection.core.counterfactual import add_core_blob, move_arc, rotate_arc, shuffle_arc
from lensflow.injection.core.handling import METHODS, WIDTH_PIX, Handling
from lensflow.injection.core.masks import keep_weights, mask_arcs

_NEEDED = ("stamp", "ctrl", "arc", "x_center", "y_center", "theta_e_arcsec", "is_control", "row_id", "psf_fwhm_arcsec")
_PIXELS = ("sample", "band", "y", "x")


def handle_core(
    pairs: xr.Dataset, handling: Handling | str, *, seed: int = 1, width_pix: float = WIDTH_PIX
) -> xr.Dataset:
    """Apply a core handling to a block of pairs.

    Parameters
    ----------
    pairs : Dataset
        Block in memory, with the manifest's columns, ``stamp``, ``ctrl`` and ``arc`` (sample, band, y, x).
    handling : Handling or str
        ``matched`` makes no pixels: its negatives are chosen among all hosts, by the sweep.
    seed : int
        Of shuffled and moved arcs.
    width_pix : float
        Width of the transition of tapered masks, pixels.

    Returns
    -------
    Dataset
        ``stamp``, ``ctrl`` and ``arc`` as handled (``ctrl`` + ``arc`` is still the noiseless stamp), rows below a
        minimum theta_E left out, and ``core_flux_removed_nmgy`` (sample, band): light of the arc that the handling
        hides. Attr ``core_handling`` names it.

    Raises
    ------
    StoreError
        If a variable is missing.
    GateError
        If the handling is unknown, or is ``matched``.
    """
    how = Handling.parse(handling) if isinstance(handling, str) else handling
    if how.negatives == "matched":
        raise GateError("core handling 'matched' chooses among all hosts: measure_core and tune_core do it")
    missing = [n for n in _NEEDED if n not in pairs]
    if missing:
        raise StoreError(f"core handling {how.name!r}: the pairs have no {', '.join(missing)}")
    if how.theta_e_min_arcsec > 0:
        low = ~pairs["is_control"].values & (pairs["theta_e_arcsec"].values < how.theta_e_min_arcsec)
        pairs = pairs.isel(sample=~low)
    stamp, ctrl, arc = (pairs[n].values for n in ("stamp", "ctrl", "arc"))
    removed = np.zeros(arc.shape[:2])
    x, y, size = pairs["x_center"].values, pairs["y_center"].values, arc.shape[-1]
    if how.mask and how.radius_pix > 0:
        keep = keep_weights(size, x, y, how.radius_pix, METHODS[how.mask], width_pix)
        arc, removed = mask_arcs(arc, keep)
        keep = keep[:, None]
        if how.mask == "blank":
            stamp, ctrl = (np.where(keep > 0, v, np.float32(0)) for v in (stamp, ctrl))
        else:
            # A kept pixel keeps its bits, a masked one is its control's: rounding must not distinguish them.
            mixed = ctrl + keep.astype(np.float64) * (stamp.astype(np.float64) - ctrl)
            stamp = np.where(keep == 1, stamp, mixed).astype(np.float32)
    if how.negatives:
        light = _negative_light(pairs, how, stamp, ctrl, arc, seed)
        light[pairs["is_control"].values] = 0.0
        if "has_data" in pairs:
            # Positives have no light there; a negative with some would be recognised by it alone.
            light[~pairs["has_data"].values] = 0.0
        ctrl = (ctrl + light).astype(np.float32)
        arc = (arc - light).astype(np.float32)
    named = {"units": "nanomaggy", "long_name": "light of the arc that the core handling hides"}
    return pairs.assign(
        stamp=(_PIXELS, stamp, pairs["stamp"].attrs),
        ctrl=(_PIXELS, ctrl, pairs["ctrl"].attrs),
        arc=(_PIXELS, arc, pairs["arc"].attrs),
        core_flux_removed_nmgy=(("sample", "band"), removed.astype(np.float32), named),
    ).assign_attrs(core_handling=how.name)


def _negative_light(
    pairs: xr.Dataset, how: Handling, stamp: NDArray, ctrl: NDArray, arc: NDArray, seed: int
) -> NDArray[np.floating]:
    x, y, keys = pairs["x_center"].values, pairs["y_center"].values, pairs["row_id"].values.astype(np.uint64)
    added = stamp.astype(np.float64) - ctrl
    if how.negatives == "shuffled":
        return shuffle_arc(added, x, y, keys, seed)
    if how.negatives == "rotated":
        return rotate_arc(added, x, y)
    if how.negatives == "moved":
        return move_arc(added, keys, seed)
    scale = pairs.attrs.get("pixel_scale_arcsec")
    if scale is None:
        raise ConfigError("core handling 'blob': the pairs' attrs lack pixel_scale_arcsec, so the PSF has no size")
    model = str(pairs.attrs.get("psf_model", "moffat"))
    # For a measured kernel the pairs only have the width, that of a Gaussian of the same noise-equivalent area.
    model = "gaussian" if model == "kernel" else model
    beta = float(pairs.attrs.get("psf_beta", 3.5))
    return add_core_blob(arc, x, y, pairs["psf_fwhm_arcsec"].values / float(scale), model, beta)


def removed_fraction(handled: xr.Dataset, arc: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of each row's arc light, all bands together, that a handling hides; NaN for rows without light.

    Parameters
    ----------
    handled : Dataset
        From :func:`handle_core`, with all rows.
    arc : ndarray, shape (sample, band, y, x)
        The arcs before.
    """
    total = arc.sum(axis=(1, 2, 3), dtype=np.float64)
    hidden = handled["core_flux_removed_nmgy"].values.sum(axis=1, dtype=np.float64)
    return np.divide(hidden, total, out=np.full(len(total), np.nan), where=total > 0)
