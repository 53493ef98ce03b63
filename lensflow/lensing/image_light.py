"""The images among a call's sources: which row shows which, each fetched once, and their light at the samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ManifestError
from lensflow.jit import compiled
from lensflow.lensing.engine.records import GRID_X, GRID_Y, SOURCE_X, SOURCE_Y, VALUE, WEIGHT
from lensflow.lensing.source_image import PAD, ImageSource, interpolate

Floats = NDArray[np.float64]
# Share of an image's light that is too far from its centroid to be followed.
DARK_FLUX = 8e-5
# Samples of one ray this close to each other (grid steps) become one, at their centroid.
_TOGETHER = 0.05


class Sources(Protocol):
    """Where image sources come from: a ``SourceBank``, or anything else with ``get``."""

    def get(self, source_id: str) -> ImageSource:
        """Return a source by its name.

        Parameters
        ----------
        source_id : str
            The manifest's ``src_id``, never "".

        Returns
        -------
        ImageSource
            The same for the same name, always.

        Raises
        ------
        LensflowError
            If there is no such source.
        """
        ...


@dataclass(frozen=True)
class Images:
    """Images ready for the engine.

    Attributes
    ----------
    of : which image a row shows, -1 for a Sersic source, (sample,).
    pixels : all images' light, with a frame of zeros, one after the other; float32, flat.
    frame : where each begins in ``pixels``, and its rows and columns, (image, 3).
    place : x and y of the centroid in the frame and the half-light radius, in the image's pixels, (image, 3).
    dark : radius beyond which there is no light, in half-light radii, (image,).
    native_arcsec : half-light radius at the native scale, (image,).
    """

    of: NDArray[np.int64]
    pixels: NDArray[np.float32]
    frame: NDArray[np.int64]
    place: Floats
    dark: Floats
    native_arcsec: Floats

    def stand_in(self, column: str, values: Floats) -> Floats:
        """A column with numbers that mean the same for an image where the manifest need not have any."""
        image = self.of >= 0
        if not image.any() or column not in ("src_n", "src_q", "src_reff_arcsec"):
            return values
        if column != "src_reff_arcsec":
            return np.where(image, 1.0, values)
        native = np.zeros(values.size)
        native[image] = self.native_arcsec[self.of[image]]
        return np.where(image & np.isnan(values), native, values)


def no_images(samples: int) -> Images:
    """Sersic sources only."""
    return Images(
        np.full(samples, -1, dtype=np.int64), np.zeros(0, np.float32), np.zeros((0, 3), np.int64), np.zeros((0, 3)),
        np.zeros(0), np.zeros(0),
    )  # fmt: skip


def fetch_images(
    source_id: NDArray[np.str_], wanted: NDArray[np.bool_], sources: Sources | None, name: Callable[[int], str]
) -> Images:
    """Fetch the images that rows ask for.

    Parameters
    ----------
    source_id : ndarray of str, shape (sample,)
        "" asks for a Sersic source.
    wanted : ndarray of bool, shape (sample,)
        Rows to look at: the injections.
    sources : Sources or None
    name : callable
        Row to its name in messages.

    Raises
    ------
    ManifestError
        If a row asks for an image and there are no sources; and what ``sources.get`` raises.
    """
    asked = wanted & (source_id != "")
    if not asked.any():
        return no_images(source_id.size)
    ids, inverse = np.unique(source_id[asked], return_inverse=True)
    if sources is None:
        i = int(np.argmax(asked))
        raise ManifestError(
            f"{name(i)}: src_id is {str(source_id[i])!r}, but no sources were given. Pass sources=, a bank of images, "
            'or leave src_id "" for a Sersic source.'
        )
    of = np.full(source_id.size, -1, dtype=np.int64)
    of[asked] = inverse
    pixels, frame, place, dark, native = [], [], [], [], []
    start = 0
    for source in (sources.get(str(source)) for source in ids):
        y, x = np.nonzero(source.pixels)
        first_x, first_y = int(x.min()), int(y.min())
        cut = np.pad(source.pixels[first_y : int(y.max()) + 1, first_x : int(x.max()) + 1], PAD)
        radius = source.half_light_radius_arcsec / source.pixel_scale_arcsec
        # In units of the mean within the half-light radius or so, like a Sersic's of its central brightness.
        pixels.append((cut * radius**2).astype(np.float32).ravel())
        frame.append((start, *cut.shape))
        start += cut.size
        place.append((source.x_center - first_x + PAD, source.y_center - first_y + PAD, radius))
        dark.append(_dark_radius(source, x, y) / radius)
        native.append(source.half_light_radius_arcsec)
    return Images(of, np.concatenate(pixels), np.array(frame), np.array(place), np.array(dark), np.array(native))


def _dark_radius(source: ImageSource, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Distance from the centroid, pixels, beyond which a share DARK_FLUX of the light lies at most."""
    distance = np.hypot(x - source.x_center, y - source.y_center)
    order = np.argsort(-distance)
    beyond = np.cumsum(np.abs(source.pixels[y[order], x[order]]))
    # The interpolated light of a pixel reaches 2 pixels beyond it on each axis.
    return float(distance[order][np.argmax(beyond > DARK_FLUX)]) + 2 * np.sqrt(2)


@compiled(fastmath={"contract", "reassoc", "nsz"})
def image_in_place(samples, n, image, place):  # type: ignore[no-untyped-def]
    """Write area times the image's light at source positions to the samples; drop dark ones, join close ones.

    Where an image's pixels are far smaller than the grid's, a grid point collects 10^4 samples and more, and float32
    would lose the faint ones among them; joined, there are fewer, and there is less to spread.

    Parameters
    ----------
    samples : ndarray of float32, shape (8, >= n)
        Of :class:`lensflow.lensing.engine.records.ShootSpace`; neighbours on a ray in sequence. ``VALUE`` is filled,
        ``GRID_X`` and ``GRID_Y`` may move.
    n : int
        How many there are.
    image : ndarray of float32, shape (y, x)
        With its frame of zeros.
    place : ndarray, shape (3,)
        As in :class:`Images`.

    Returns
    -------
    int
        How many samples are left, at the beginning.
    """
    value, weight, gx, gy = samples[VALUE], samples[WEIGHT], samples[GRID_X], samples[GRID_Y]
    x, y = samples[SOURCE_X], samples[SOURCE_Y]
    cx, cy, unit = np.float32(place[0]), np.float32(place[1]), np.float32(place[2])
    left = 0
    total = along_x = along_y = size = 0.0
    first_x = first_y = np.float32(0.0)
    for k in range(n):
        light = float(weight[k]) * interpolate(image, cx + unit * x[k], cy + unit * y[k])
        if light == 0.0:
            continue
        dx, dy = gx[k] - first_x, gy[k] - first_y
        if size > 0.0 and abs(dx) + abs(dy) > _TOGETHER:
            left = _join(value, gx, gy, left, total, along_x, along_y, size, first_x, first_y)
            total = along_x = along_y = size = 0.0
        if size == 0.0:
            first_x, first_y = gx[k], gy[k]
            dx = dy = np.float32(0.0)
        total += light
        along_x += light * dx
        along_y += light * dy
        size += abs(light)
    if size > 0.0:
        left = _join(value, gx, gy, left, total, along_x, along_y, size, first_x, first_y)
    return left


@compiled(inline="always")
def _join(value, gx, gy, left, total, along_x, along_y, size, first_x, first_y):  # type: ignore[no-untyped-def]
    # Where negative light nearly cancels the positive there is no centroid; any place among them will do.
    inverse = 1.0 / total if abs(total) > 0.5 * size else 0.0
    value[left] = total
    gx[left], gy[left] = first_x + along_x * inverse, first_y + along_y * inverse
    return left + 1
