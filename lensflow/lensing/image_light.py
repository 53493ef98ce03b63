"""The images among a call's sources: which row shows which, each fetched once, and their light at the samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import ManifestError
from lensflow.lensing.image_levels import Levels, make_levels
from lensflow.lensing.source_image import ImageSource

Floats = NDArray[np.float64]
# Share of an image's light that is too far from its centroid to be followed.
DARK_FLUX = 8e-5
# Knots of the coarsest level from the centroid to where the light ends, at least.
KNOTS = 10


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
    pixels : all levels of all images, one after the other; float32, flat.
    frame : where each level begins in ``pixels``, and its rows and columns, (level of any image, 3).
    levels : where each image's levels begin in ``frame``, (image + 1,).
    place : x and y of the centroid and the half-light radius, in the image's pixels, (image, 3).
    dark : radius beyond which there is no light, in half-light radii, (image,).
    native_arcsec : half-light radius at the native scale, (image,).
    """

    of: NDArray[np.int64]
    pixels: NDArray[np.float32]
    frame: NDArray[np.int64]
    levels: NDArray[np.int64]
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
        np.full(samples, -1, dtype=np.int64), np.zeros(0, np.float32), np.zeros((0, 3), np.int64),
        np.zeros(1, np.int64), np.zeros((0, 3)), np.zeros(0), np.zeros(0),
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
    ready = [_ready(sources.get(str(source))) for source in ids]
    starts = np.cumsum([0, *(one.levels.pixels.size for one in ready)])
    frame = [one.levels.frame + [start, 0, 0] for one, start in zip(ready, starts, strict=False)]
    return Images(
        of,
        np.concatenate([one.levels.pixels for one in ready]),
        np.concatenate(frame),
        np.cumsum([0, *(len(one.levels.frame) for one in ready)]),
        np.array([one.place for one in ready]),
        np.array([one.dark for one in ready]),
        np.array([one.native_arcsec for one in ready]),
    )


@dataclass(frozen=True)
class _Ready:
    """One image of :class:`Images`."""

    levels: Levels
    place: tuple[float, float, float]
    dark: float
    native_arcsec: float


# An image is made ready once, for as long as somebody has it.
_KNOWN: WeakKeyDictionary[ImageSource, _Ready] = WeakKeyDictionary()


def _ready(source: ImageSource) -> _Ready:
    known = _KNOWN.get(source)
    if known is None:
        y, x = np.nonzero(source.pixels)
        first_x, first_y = int(x.min()), int(y.min())
        cut = source.pixels[first_y : int(y.max()) + 1, first_x : int(x.max()) + 1]
        radius = source.half_light_radius_arcsec / source.pixel_scale_arcsec
        # A level's light reaches a knot further than the image's.
        dark = _dark_radius(source, x, y) * (1 + 1 / KNOTS)
        # In units of the mean within the half-light radius or so, like a Sersic's of its central brightness.
        known = _Ready(
            make_levels(cut * radius**2, dark / KNOTS),
            (source.x_center - first_x, source.y_center - first_y, radius),
            dark / radius,
            source.half_light_radius_arcsec,
        )
        _KNOWN[source] = known
    return known


def _dark_radius(source: ImageSource, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Distance from the centroid, pixels, beyond which a share DARK_FLUX of the light lies at most."""
    distance = np.hypot(x - source.x_center, y - source.y_center)
    order = np.argsort(-distance)
    beyond = np.cumsum(np.abs(source.pixels[y[order], x[order]]))
    # The interpolated light of a pixel reaches 2 pixels beyond it on each axis.
    return float(distance[order][np.argmax(beyond > DARK_FLUX)]) + 2 * np.sqrt(2)
