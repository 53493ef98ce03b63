"""Pictures of rows: colour composites in one stretch, read row by row, so that one damaged chunk spoils one picture.

Only the images that a picture needs are read: hosts are rounded by compiled code, which a first page of stamps does not
wait for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lensflow import schema
from lensflow.errors import LensflowError
from lensflow.show.composite import composite
from lensflow.store.columns import read_columns
from lensflow.store.pixels import read_pixels
from lensflow.view.rows import Rows

KINDS = ("stamp", "host", "arc", "residual")
# What each kind of picture is, for its reader.
MEANINGS = {
    "stamp": "stamp: host + arc + noise",
    "host": "host: the cutout without the arc",
    "arc": "arc: noiseless, as it was added, four times as bright",
    "residual": "residual: stamp minus host, four times as bright",
}
# Images that each kind of picture is made of.
_MADE_OF = {"stamp": ("stamp",), "host": ("ctrl",), "arc": ("arc",), "residual": ("stamp", "ctrl")}
# An arc beside its host is faint: alone it is shown in a narrower stretch.
_STRETCH_OF = {"arc": 0.25, "residual": 0.25}
THREADS, ROWS_KEPT = 4, 400
Image3 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stamp:
    """Pixels of one row, or why there are none.

    Attributes
    ----------
    pixels : mapping
        ``ctrl``, ``arc`` and ``stamp``, as far as they were read: ndarray of float32, shape (band, y, x), nMgy/pixel.
    absent : tuple of str
        Bands without exposure: no arc is put there. A band whose pixels happen to be all zero is not among them.
    problem : str
        Why there are no pixels.
    """

    pixels: Mapping[str, Image3] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    problem: str = ""

    def image(self, kind: str) -> Image3:
        """Pixels of one of ``KINDS``, shape (band, y, x)."""
        if kind == "residual":
            return self.pixels["stamp"] - self.pixels["ctrl"]
        return self.pixels[_MADE_OF[kind][0]]


class Stamps:
    """Reader of the pixels of rows; keeps those it read last.

    Parameters
    ----------
    rows : Rows
    """

    def __init__(self, rows: Rows):
        self.rows = rows
        self._kept: OrderedDict[int, Stamp] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, places: Sequence[int], kinds: Sequence[str] = KINDS) -> list[Stamp]:
        """Pixels of rows for some kinds of picture, in the given order; what cannot be read says why."""
        images = list(dict.fromkeys(i for k in kinds for i in _MADE_OF[k]))
        with self._lock:
            for p in places:
                if p in self._kept:
                    self._kept.move_to_end(p)
            new = [p for p in places if p not in self._kept or not self._kept[p].pixels.keys() >= {*images}]
            known = [self._kept.get(p, Stamp()) for p in new]
            with ThreadPoolExecutor(THREADS) as pool:
                for p, stamp in zip(new, pool.map(lambda p, k: self._with(p, k, images), new, known), strict=True):
                    self._kept[p] = stamp
            found = [self._kept[p] for p in places]
            while len(self._kept) > ROWS_KEPT:
                self._kept.popitem(last=False)
        return found

    def _with(self, place: int, known: Stamp, images: Sequence[str]) -> Stamp:
        """Add images to those of a row that are known."""
        rows, wanted = self.rows, [i for i in images if i not in known.pixels]
        number = int(rows.number[place])
        where = slice(number, number + 1)
        try:
            stored = [i for i in wanted if i != "ctrl"]
            pixels = read_pixels(rows.folder.pairs, "pairs", where, stored) if stored else {}
            if "ctrl" in wanted:
                pixels["ctrl"] = self._ctrl(place, where)
            absent = self._absent(where)
        except LensflowError as error:
            return Stamp(problem=str(error))
        return Stamp({**known.pixels, **{n: values[0] for n, values in pixels.items()}}, absent)

    def _ctrl(self, place: int, where: slice) -> NDArray[np.float32]:
        from lensflow.store.open import serve_ctrl  # compiled

        rows = self.rows
        steps = [f"quantize_step_nmgy_{b}" for b in rows.bands]
        step = read_columns(rows.folder.pairs, "pairs", steps, rows=where)
        return serve_ctrl(
            rows.folder.cutouts, rows.host_index[place : place + 1], rows.row_id[place : place + 1],
            np.stack([step[s] for s in steps], axis=1).astype(np.float32), rows.seed,
        )  # fmt: skip

    def _absent(self, where: slice) -> tuple[str, ...]:
        """Bands without exposure, as the reports have them: those without a PSF to apply."""
        names = {b: f"psf_fwhm_arcsec_{b}" for b in self.rows.bands}
        fwhm = read_columns(self.rows.folder.manifest, "manifest", [*names.values()], rows=where)
        return tuple(b for b, n in names.items() if not np.isfinite(fwhm[n][0]))


def picture(
    stamp: Stamp, kind: str, bands: Sequence[str], pixel_scale_arcsec: float, stretch: float, side: int
) -> NDArray[np.uint32]:
    """Colour composite of a row (:func:`lensflow.show.composite.composite`), as a browser's canvas takes it.

    Parameters
    ----------
    stamp : Stamp
    kind : str
        Of ``KINDS``.
    bands : sequence of str
    pixel_scale_arcsec : float
        Size of a pixel of the stamp.
    stretch : float
        1 is the report's, which is fixed in nMgy; larger shows brighter, smaller fainter light.
    side : int
        Pixels of the picture's side.

    Returns
    -------
    ndarray of uint32, shape (side, side)
        RGBA, y upwards. Grey with a cross where there are no pixels.
    """
    if stamp.problem:
        return _crossed(side)
    rgb = composite(stamp.image(kind) / (stretch * _STRETCH_OF.get(kind, 1.0)), bands, stamp.absent, pixel_scale_arcsec)
    return as_rgba(rgb[::-1], side)


def as_rgba(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint32]:
    """Picture (y, x, 3), first line on top, as RGBA (side, side), y upwards."""
    image = Image.fromarray(np.ascontiguousarray(rgb)).convert("RGBA").resize((side, side), Image.Resampling.BICUBIC)
    packed: NDArray[np.uint32] = np.ascontiguousarray(np.asarray(image)[::-1]).view("<u4")[..., 0]
    return packed


def _crossed(side: int) -> NDArray[np.uint32]:
    rgb = np.full((side, side, 3), 226, np.uint8)
    k = np.arange(side)
    rgb[k, k] = rgb[k, side - 1 - k] = (170, 60, 50)
    return as_rgba(rgb, side)


def split_name(split: int) -> str:
    """Name of a split's number."""
    return (*schema.SPLITS, "guard")[split]
