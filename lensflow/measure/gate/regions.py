"""Regions of a core gate: its box, and with a mask further boxes and discs beyond it.

A mask that blanks the box leaves a gate nothing to see there: the arcs' light begins at the mask's edge, and a box that
ends before it says nothing about it. So boxes and discs of several sizes are looked at, up to half as many pixels
blanked as open, and the one that tells most counts (:mod:`lensflow.measure.gate.family`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.errors import GateError

# Features of a wide region are means of square cells, at most this many along a side: the same cost as the box.
CELLS = 10


@dataclass(frozen=True)
class Region:
    """A box or disc about the stamp's geometric centre.

    Attributes
    ----------
    shape : {"box", "disc"}
    size_pix : int
        Side of the box, radius of the disc.
    """

    shape: str
    size_pix: int

    @property
    def kind(self) -> str:
        """Name of its features: ``core@box14``."""
        return f"core@{self.shape}{self.size_pix}"

    @classmethod
    def of(cls, kind: str) -> Region:
        """Read :attr:`kind` back."""
        for shape in ("box", "disc"):
            start, _, size = kind.partition(f"core@{shape}")
            if not start and size.isdecimal():
                return cls(shape, int(size))
        raise GateError(f"no region of the core {kind!r}")

    @property
    def side_pix(self) -> int:
        """Pixels along its side, or across it."""
        return self.size_pix if self.shape == "box" else 2 * self.size_pix

    @property
    def cell_pix(self) -> int:
        """Side of the cells whose means are its features."""
        return math.ceil(self.side_pix / CELLS)

    def describe(self) -> str:
        """Describe the region."""
        what = (
            f"box of {self.size_pix} x {self.size_pix} pixels"
            if self.shape == "box"
            else f"disc of r < {self.size_pix}"
        )
        cells = "" if self.cell_pix == 1 else f", means of {self.cell_pix} x {self.cell_pix} pixels"
        return f"{what} about the geometric centre{cells}"

    def labels(self, size: int) -> NDArray[np.int64]:
        """Feature that each pixel belongs to, -1 for none, shape (size, size)."""
        y, x = geometry.core_box(size, self.side_pix)
        inside = np.zeros((size, size), bool)
        inside[y, x] = True
        if self.shape == "disc":
            middle = geometry.centre(size)
            inside &= geometry.disc(size, middle, middle, self.size_pix)
        # Cells begin at the region's corner, so that they are symmetric about the centre.
        row, column = np.mgrid[:size, :size]
        across = math.ceil(self.side_pix / self.cell_pix)
        cell = (row - y.start) // self.cell_pix * across + (column - x.start) // self.cell_pix
        return np.where(inside, cell, -1)


def masked_regions(size: int, mask_radius_pix: float, core_box_pix: int) -> tuple[Region, ...]:
    """Regions of a core gate besides its box, if arcs are masked at r < ``mask_radius_pix``; () without a mask.

    Boxes as wide as the mask and half as wide again, discs that reach one pixel, half its radius and its whole radius
    beyond it: of the larger ones more is open than blanked. What does not fit the stamp is left out.
    """
    if mask_radius_pix <= 0:
        return ()
    radius = math.ceil(mask_radius_pix)
    found = [Region("box", 2 * radius), Region("box", 2 * math.ceil(1.5 * radius))]
    found += [Region("disc", r) for r in (radius + 1, math.ceil(1.5 * radius), 2 * radius)]
    fitting = [r for r in found if r.side_pix <= size and r != Region("box", core_box_pix)]
    return tuple(dict.fromkeys(fitting))
