"""Stamps that equal their controls in what one gate looks at, and are as they were in all else.

A gate says that its view tells the classes apart; whether a trained scorer uses that, says the AUROC that it loses on
these (:mod:`lensflow.measure.scorer.used`). Each function takes a stamp's excess over its own control, and gives the
excess that is left. Only the number format is made equal in both images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lensflow import geometry
from lensflow.measure.gate.recipes import AZIMUTH_PIX, AZIMUTH_SECTORS, CORNER_PIX, EDGE_PIX, PROFILE_PIX, RING_PIX
from lensflow.measure.gate.recipes import sky as sky_of
from lensflow.units import median_and_sigma

Images = NDArray[np.float32]
Floats = NDArray[np.float64]

# Of the excess, for the view ``power``: patterns finer than the PSF are gone, arcs are a little wider.
SMOOTH_PIX = 1.0
# Both classes are rounded to this part of the sky's scatter, for the view ``bits``.
STEPS_PER_SIGMA = 16

WHAT = {
    "core": "the pixels of the core are the control's",
    "brightness": "mean over r < 5 pix as in the control, in each band",
    "colour": "the light added at r < 5 pix has the control's colour there",
    "profile": "means over 1-pixel rings to 25 pix as in the control",
    "azimuth": "means over 12 sectors of 2 <= r < 10 pix differ from the control's by one number",
    "annulus": "the pixels at r >= 20 pix are the control's",
    "ring": "the pixels of the outermost complete 3-pixel ring are the control's",
    "edge": "the pixels of the 2-pixel border are the control's",
    "corners": "the pixels of the four 8 x 8 corners are the control's",
    "noise": "median and scatter at r >= 20 pix as in the control, by an offset and a factor for these pixels",
    "power": f"the light added is smoothed by {SMOOTH_PIX:g} pixel (Gaussian sigma): no finer pattern is left",
    "bits": f"stamp and control are rounded to 1/{STEPS_PER_SIGMA} of the sky's scatter",
}


def matched(
    stamp: NDArray[Any],
    ctrl: NDArray[Any],
    x_center: ArrayLike,
    y_center: ArrayLike,
    core_radius_pix: ArrayLike,
) -> Iterator[tuple[str, Images, Images]]:
    """Stamps and controls that are alike in one view after the other.

    Parameters
    ----------
    stamp, ctrl : ndarray, shape (n, band, y, x)
        nMgy/pixel; NaN or 0 where there is no data, in both alike.
    x_center, y_center : array_like, shape (n,)
        Targets in stamp pixels.
    core_radius_pix : array_like, shape (n,) or scalar
        Of the core.

    Yields
    ------
    name, stamp, ctrl
        Of every view of :data:`WHAT`; new arrays, but for a control that stays as it is.
    """
    size = stamp.shape[-1]
    excess = stamp.astype(np.float64) - ctrl
    middle = geometry.centre(size)
    r = geometry.radius_pix(size, middle, middle)
    sky = geometry.sky_pixels(size)
    near = np.minimum(np.arange(size), np.arange(size)[::-1]) < CORNER_PIX
    core = geometry.radius_pix(size, x_center, y_center) < np.reshape(core_radius_pix, (-1, 1, 1))
    gone = {
        "core": core[:, None],
        "annulus": sky,
        "ring": (r >= size / 2 - RING_PIX) & (r < size / 2),
        "edge": geometry.edge_frame(size, EDGE_PIX),
        "corners": near[:, None] & near[None, :],
    }
    disc = np.where(r < geometry.CORE_RADIUS_PIX, 0, -1)
    rings = np.where(r < min(PROFILE_PIX, size / 2), geometry.ring_index(size, middle, middle, PROFILE_PIX), -1)
    within = (r >= AZIMUTH_PIX[0]) & (r < AZIMUTH_PIX[1])
    sectors = np.where(within, geometry.sector_index(size, middle, middle, AZIMUTH_SECTORS), -1)
    left: dict[str, Callable[[], Floats]] = {
        "brightness": lambda: excess - _means(excess, disc),
        "colour": lambda: _coloured(excess, ctrl, disc),
        "profile": lambda: excess - _means(excess, rings),
        "azimuth": lambda: excess - (_means(excess, sectors) - _means(excess, np.where(within, 0, -1))),
        "noise": lambda: _levelled(stamp, ctrl, sky) - ctrl,
        "power": lambda: _smooth(excess),
    }
    for name in WHAT:
        if name == "bits":
            step = sky_of(np.nan_to_num(ctrl))[1][..., None, None] / np.float32(STEPS_PER_SIGMA)
            yield name, _rounded(stamp, step), _rounded(ctrl, step)
            continue
        changed = np.where(gone[name], 0.0, excess) if name in gone else left[name]()
        # Pixels that do not change keep their bits: a sum of floats would not.
        yield name, np.where(changed == excess, stamp, ctrl + changed).astype(np.float32), ctrl.astype(np.float32)


def _means(values: Floats, label: NDArray[np.int64]) -> Floats:
    """Mean over the pixels of each label, in its pixels; 0 where the label is negative."""
    flat, places = values.reshape(*values.shape[:-2], -1), label.ravel()
    out = np.zeros(flat.shape)
    for k in np.unique(places[places >= 0]):
        pixels = places == k
        known = np.isfinite(flat[..., pixels])
        total = np.where(known, flat[..., pixels], 0.0).sum(axis=-1)
        out[..., pixels] = (total / np.maximum(known.sum(axis=-1), 1))[..., None]
    return out.reshape(values.shape)


def _coloured(excess: Floats, ctrl: NDArray[Any], disc: NDArray[np.int64]) -> Floats:
    """Excess whose mean in the disc, summed over bands, is divided among bands as the control's light is."""
    mean, light = _means(excess, disc), np.maximum(_means(ctrl.astype(np.float64), disc), 0.0)
    total = light.sum(axis=1, keepdims=True)
    share = np.divide(light, total, out=np.full(light.shape, 1.0 / light.shape[1]), where=total > 0)
    return np.asarray(excess - mean + mean.sum(axis=1, keepdims=True) * share)


def _levelled(stamp: NDArray[Any], ctrl: NDArray[Any], sky: NDArray[np.bool_]) -> Floats:
    """Stamps whose sky pixels have the median and scatter of their controls'."""
    out = stamp.astype(np.float64)
    mine, theirs = (np.nan_to_num(v[:, :, sky].astype(np.float64)) for v in (stamp, ctrl))
    (a, s), (b, t) = median_and_sigma(mine), median_and_sigma(theirs)
    factor = np.divide(t, s, out=np.ones_like(s), where=s > 0)
    levelled = (out[:, :, sky] - a[..., None]) * factor[..., None] + b[..., None]
    # Equal skies stay as they are, bit for bit.
    same = (a == b) & (s == t)
    out[:, :, sky] = np.where(same[..., None], out[:, :, sky], levelled)
    return out


def _smooth(excess: Floats) -> Floats:
    known = np.nan_to_num(excess)
    out = ndimage.gaussian_filter(known, SMOOTH_PIX, axes=(2, 3), mode="nearest", truncate=4.0)
    return np.where(np.isfinite(excess), out, excess)


def _rounded(images: NDArray[Any], step: NDArray[Any]) -> Images:
    wide = images.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(step > 0, np.round(wide / step) * step, wide).astype(np.float32)
