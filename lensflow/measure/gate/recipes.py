"""Features of the gates: named views of the pixels and their reductions.

A recipe ``<kind>_<band or all>[_<view>][+<estimator>]`` (``core_all``, ``annulus_r_robust``, ``core_all+trees``) names
one gate; kinds, views and estimators are listed in :data:`lensflow.config.checks.GATE_KINDS`, ``GATE_VIEWS`` and
``GATE_ESTIMATORS``. Regions lie about the stamp's geometric
centre, which is within half a pixel of the target, so that all stamps give the same features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lensflow import geometry
from lensflow.config.checks import GATE_KINDS, GATE_VIEWS, parse_recipe
from lensflow.errors import GateError, did_you_mean
from lensflow.measure.gate.means import mean_weights
from lensflow.measure.gate.regions import Region
from lensflow.measure.lens_light import LIGHT, without_light
from lensflow.stats.hostsums import column
from lensflow.stats.medians import median_of, sky_of
from lensflow.units import MAD_TO_SIGMA, median_and_sigma

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

SQUARE_PIX, EDGE_PIX, CORNER_PIX, CORNER_SQUARE_PIX = 8, 2, 8, 2
RING_PIX, RING_SECTORS = 3, 24
AZIMUTH_PIX, AZIMUTH_SECTORS = (2.0, 10.0), 12
PROFILE_PIX = 25
# Features of these are means of pixels: a leak of one sky sigma in every pixel moves each by one sky sigma.
MEANS = ("core", "annulus", "ring", "edge", "corners", "stamp", "brightness", "profile")
# Those kinds whose pixels are all outside the region of the robust views' zero point (r >= 20 pix).
INSIDE = ("core", "brightness")
STANDARDISED = " (not to all pixels: this view takes out what the sky at r >= 20 pix has too)"
ROUND = " (not a constant: this view takes out what is the same all around the target)"
# Kinds that are made from the same numbers share them in a block.
SHARED = {"colour": "brightness"}


@dataclass(frozen=True)
class Recipe:
    """One gate's features.

    Attributes
    ----------
    name, kind, view, estimator : str
    bands : tuple of int
        Indices of the bands that are used.
    """

    name: str
    kind: str
    view: str
    bands: tuple[int, ...]
    estimator: str = "linear"

    @classmethod
    def of(cls, name: str, band_names: Sequence[str]) -> Recipe:
        """Read a recipe's name; ``r`` is the first band where there is no r.

        Raises
        ------
        GateError
            If the name or its band is unknown.
        """
        try:
            kind, band, view, estimator = parse_recipe(name)
        except ValueError as error:
            raise GateError(f"gate {error}") from None
        names = list(band_names)
        if band == "all":
            return cls(name, kind, view, tuple(range(len(names))), estimator)
        if band not in names and band != "r":
            near = did_you_mean(band, names)
            raise GateError(f"gate {name!r}: no band {band!r} in the pairs ({', '.join(names)}).{near}")
        return cls(name, kind, view, (names.index(band) if band in names else 0,), estimator)

    @property
    def source(self) -> str:
        """Name of the numbers that it is made from; recipes of other bands share them."""
        return f"{SHARED.get(self.kind, self.kind)}_{self.view}"

    def describe(self) -> dict[str, str]:
        """Describe region and view in words."""
        return {"features": GATE_KINDS[self.kind], "view": f"{self.view}: {GATE_VIEWS[self.view]}"}

    def features(self, numbers: NDArray[np.floating], softening: Floats) -> Floats:
        """Features (n, p) from a source's numbers (n, band, f).

        Parameters
        ----------
        numbers : ndarray, shape (n, band, f)
            All bands; the recipe takes its own.
        softening : ndarray, shape (band,)
            Sky sigma of each band in the view's units, for colours.
        """
        pick = list(self.bands)
        values = numbers[:, pick].astype(np.float64)
        if self.kind == "brightness":
            return values[..., 0].sum(axis=1, keepdims=True)
        if self.kind == "colour":
            return np.diff(np.arcsinh(values[..., 0] / softening[pick]), axis=1)
        return values.reshape(len(values), int(np.prod(values.shape[1:])))

    def leak_unit(self, ctrl: Floats, sky_sigma: Floats) -> tuple[Floats, str]:
        """Shift of each feature for a leak of one sigma, and its meaning.

        Parameters
        ----------
        ctrl : ndarray, shape (n, p)
            The controls' features.
        sky_sigma : ndarray, shape (band,)
            Pixel scatter of the sky in the raw view.
        """
        if self.kind in MEANS and (self.view == "raw" or (self.view == "robust" and self.kind in INSIDE)):
            sigma = (sky_sigma if self.view == "raw" else np.ones_like(sky_sigma))[list(self.bands)]
            unit = (
                np.array([sigma.sum()]) if self.kind == "brightness" else np.repeat(sigma, ctrl.shape[1] // len(sigma))
            )
            # A feature that is the same in every control is blanked there: a leak would be blanked with it.
            unit = np.where(np.ptp(ctrl, axis=0) > 0, unit, 0.0) if len(ctrl) > 1 else unit
            where = "every pixel" if self.view == "raw" else f"the pixels that the gate looks at{STANDARDISED}"
            return unit, f"a constant, in sky sigma, added to {where} of unlensed copies of the controls"
        _, scatter = median_and_sigma(np.moveaxis(ctrl, 0, -1))
        what = "every feature of unlensed copies of the controls shifted by its own scatter over the controls"
        if self.kind not in MEANS or self.view == "raw":
            return scatter, what
        return scatter, what + (ROUND if self.view in LIGHT else STANDARDISED)


def box_shape(recipe: Recipe, numbers: NDArray[np.floating]) -> tuple[int, ...]:
    """(band, y, x) of a core gate's features, () for others."""
    side = round(numbers.shape[-1] ** 0.5)
    return (len(recipe.bands), side, side) if recipe.kind == "core" else ()


def reduce_pixels(pixels: Pixels, kinds: Sequence[str], core_box_pix: int) -> dict[str, Pixels]:
    """Numbers of each kind from one view of the pixels.

    Parameters
    ----------
    pixels : ndarray of float32, shape (n, band, y, x)
    kinds : sequence of str
    core_box_pix : int

    Returns
    -------
    dict of ndarray of float32, shape (n, band, f)
    """
    n, bands, size = pixels.shape[0], pixels.shape[1], pixels.shape[-1]
    out: dict[str, Pixels] = {}
    means = [k for k in kinds if k not in ("core", "power", "noise")]
    if means:
        weights, widths = _mean_weights(size, tuple(means))
        flat = pixels.reshape(n * bands, size * size)
        every = np.asarray(flat @ weights, dtype=np.float32).reshape(n, bands, sum(widths))
        for kind, values in zip(means, np.split(every, np.cumsum(widths)[:-1], axis=2), strict=True):
            out[kind] = values - values.mean(axis=2, keepdims=True) if kind == "azimuth" else values
    if "core" in kinds:
        box = pixels[(..., *geometry.core_box(size, core_box_pix))]
        out["core"] = np.ascontiguousarray(box, dtype=np.float32).reshape(n, bands, core_box_pix**2)
    if "power" in kinds:
        out["power"] = _power(pixels)
    if "noise" in kinds:
        out["noise"] = _noise(pixels)
    return out


def sky(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Median and scatter (scaled MAD) of each stamp and band away from the target, shape (n, band)."""
    n, bands, size = *pixels.shape[:2], pixels.shape[-1]
    median, sigma = sky_of(pixels.reshape(n, bands, size * size).take(_sky_places(size), axis=-1))
    return median.astype(np.float32), sigma.astype(np.float32)


@lru_cache(maxsize=8)
def _sky_places(size: int) -> NDArray[np.int64]:
    """Flat places of the pixels away from the target."""
    return np.flatnonzero(geometry.sky_pixels(size).ravel())


class About(NamedTuple):
    """What views need to know of stamps beside their pixels; the same for a stamp and its control.

    Attributes
    ----------
    x_center, y_center : ndarray, shape (n,), or None
        Targets, pixels; None: the stamps' middle.
    has_data : ndarray of bool, shape (n, band, y, x), or None
        None: everywhere.
    """

    x_center: Floats | None = None
    y_center: Floats | None = None
    has_data: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, pairs: xr.Dataset, rows: NDArray[np.int64]) -> About:
        """Of some rows of a block of pairs."""
        x, y = (column(pairs, name)[rows].astype(np.float64) for name in ("x_center", "y_center"))
        return cls(x, y, column(pairs, "has_data")[rows] if "has_data" in pairs else None)


def view_of(pixels: Pixels, view: str, about: About | None = None) -> Pixels:
    """One view of pixels (n, band, y, x); a stamp without any scatter away from the target has no robust view (NaN).

    Without ``about``, targets are at the stamps' middle and every finite pixel has data.
    """
    if view == "raw":
        return pixels
    if view in LIGHT:
        return without_light(pixels, view, *(about or About()))
    median, sigma = sky(pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (pixels - median[..., None, None]) / np.where(sigma > 0, sigma, np.nan)[..., None, None]
    return np.asarray(np.arcsinh(scaled) if view == "asinh" else scaled, dtype=np.float32)


@lru_cache(maxsize=8)
def _mean_weights(size: int, kinds: tuple[str, ...]) -> tuple[csr_array, list[int]]:
    """Weights (pixel, feature) of all kinds side by side, and how many features each has."""
    labels, widths = [], []
    for kind in kinds:
        label = _labels(size, kind).flatten()
        groups, place = np.unique(label[label >= 0], return_inverse=True)
        if not groups.size:
            raise GateError(f"gate of kind {kind!r}: a stamp of {size} pixels has no such pixels")
        label[label >= 0] = place
        labels.append(label)
        widths.append(groups.size)
    return mean_weights(labels, widths).astype(np.float32), widths


def _labels(size: int, kind: str) -> NDArray[np.int64]:
    """Feature that each pixel belongs to, -1 for none, shape (size, size)."""
    if kind.startswith("core@"):
        return Region.of(kind).labels(size)
    middle = geometry.centre(size)
    r = geometry.radius_pix(size, middle, middle)
    squares = geometry.blocks(size, SQUARE_PIX)
    if kind == "stamp":
        return squares
    if kind == "annulus":
        nearest = np.full(squares.max() + 1, np.inf)
        np.minimum.at(nearest, squares, r)
        return np.where(nearest[squares] >= geometry.ANNULUS_INNER_PIX, squares, -1)
    if kind == "edge":
        return np.where(geometry.edge_frame(size, EDGE_PIX), squares, -1)
    if kind == "corners":
        near = np.minimum(np.arange(size), np.arange(size)[::-1]) < CORNER_PIX
        return np.where(near[:, None] & near[None, :], geometry.blocks(size, CORNER_SQUARE_PIX), -1)
    if kind == "ring":
        inside = (r >= size / 2 - RING_PIX) & (r < size / 2)
        return np.where(inside, geometry.sector_index(size, middle, middle, RING_SECTORS), -1)
    if kind == "azimuth":
        inside = (r >= AZIMUTH_PIX[0]) & (r < AZIMUTH_PIX[1])
        return np.where(inside, geometry.sector_index(size, middle, middle, AZIMUTH_SECTORS), -1)
    if kind == "profile":
        return np.where(r < min(PROFILE_PIX, size / 2), geometry.ring_index(size, middle, middle, PROFILE_PIX), -1)
    if kind == "brightness":
        return np.where(r < geometry.CORE_RADIUS_PIX, 0, -1)
    raise GateError(f"no gate of kind {kind!r}")


def _power(pixels: Pixels) -> Pixels:
    size = pixels.shape[-1]
    fy, fx = np.fft.fftfreq(size) * size, np.fft.rfftfreq(size) * size
    ring = np.minimum(np.hypot(fy[:, None], fx[None, :]).round().astype(np.int64), size // 2).ravel()
    power = np.abs(np.fft.rfft2(pixels)) ** 2
    flat = power.reshape(-1, ring.size)
    weights = mean_weights([ring], [int(ring.max()) + 1])
    means = np.asarray(flat @ weights).reshape(*pixels.shape[:2], ring.max() + 1)
    with np.errstate(divide="ignore"):
        return np.log10(means).astype(np.float32)


def _noise(pixels: Pixels) -> Pixels:
    inside = geometry.sky_pixels(pixels.shape[-1])
    _, sigma = sky(pixels)
    both = inside[:, 1:] & inside[:, :-1]
    step = np.abs(np.diff(pixels, axis=-1)[:, :, both])
    with np.errstate(divide="ignore"):
        return np.log10(np.stack([sigma, MAD_TO_SIGMA * median_of(step)], axis=-1)).astype(np.float32)
