"""Pictures of rows: colour composites in one stretch, read row by row, so that one damaged chunk spoils one picture."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lensflow import schema
from lensflow.errors import LensflowError
from lensflow.show.composite import composite
from lensflow.store.columns import read_columns
from lensflow.store.open import read_pixels, serve_ctrl
from lensflow.view.rows import Rows

KINDS = ("stamp", "host", "arc", "residual")
# What each kind of picture is, for its reader.
MEANINGS = {
    "stamp": "stamp: host + arc + noise",
    "host": "host: the cutout without the arc",
    "arc": "arc: noiseless, as it was added, four times as bright",
    "residual": "residual: stamp minus host, four times as bright",
}
# An arc beside its host is faint: alone it is shown in a narrower stretch.
_STRETCH_OF = {"arc": 0.25, "residual": 0.25}
THREADS, ROWS_KEPT = 4, 400


@dataclass(frozen=True, eq=False)
class Stamp:
    """Pixels of one row, or why there are none.

    Attributes
    ----------
    ctrl, arc, stamp : ndarray of float32, shape (band, y, x)
        nMgy/pixel; empty where they cannot be read.
    absent : tuple of str
        Bands without data of the host.
    problem : str
        Why there are no pixels.
    """

    ctrl: NDArray[np.float32]
    arc: NDArray[np.float32]
    stamp: NDArray[np.float32]
    absent: tuple[str, ...] = ()
    problem: str = ""

    def image(self, kind: str) -> NDArray[np.float32]:
        """Pixels of one of ``KINDS``, shape (band, y, x)."""
        if kind == "residual":
            return self.stamp - self.ctrl
        return {"stamp": self.stamp, "host": self.ctrl, "arc": self.arc}[kind]


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

    def read(self, places: Sequence[int]) -> list[Stamp]:
        """Pixels of rows, in the given order; what cannot be read says why."""
        with self._lock:
            new = [p for p in places if p not in self._kept]
            with ThreadPoolExecutor(THREADS) as pool:
                for p, stamp in zip(new, pool.map(self._one, new), strict=True):
                    self._kept[p] = stamp
            found = [self._kept[p] for p in places]
            for p in places:
                self._kept.move_to_end(p)
            while len(self._kept) > ROWS_KEPT:
                self._kept.popitem(last=False)
        return found

    def _one(self, place: int) -> Stamp:
        rows, none = self.rows, np.empty((0, 0, 0), np.float32)
        number = int(rows.number[place])
        where = slice(number, number + 1)
        try:
            pixels = read_pixels(rows.folder.pairs, "pairs", where, ("arc", "stamp"))
            steps = [f"quantize_step_nmgy_{b}" for b in rows.bands]
            step = read_columns(rows.folder.pairs, "pairs", steps, rows=where)
            ctrl = serve_ctrl(
                rows.folder.cutouts, rows.host_index[place : place + 1], rows.row_id[place : place + 1],
                np.stack([step[s] for s in steps], axis=1).astype(np.float32), rows.seed,
            )  # fmt: skip
        except LensflowError as error:
            return Stamp(none, none, none, problem=str(error))
        absent = tuple(b for k, b in enumerate(rows.bands) if not ctrl[0, k].any())
        return Stamp(ctrl[0], pixels["arc"][0], pixels["stamp"][0], absent)


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
