"""Rendering: stored arcs rendered again, of a sample of rows; and one of them by the slow reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import InjectionConfig
from lensflow.injection.core.masks import keep_weights
from lensflow.jit import compiled
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.origin import Origin
from lensflow.measure.pixels.reference import REFERENCE_ACCURACY, beside_the_reference
from lensflow.measure.pixels.specimens import (
    arc_ends,
    injections,
    key_of_first,
    of_image,
    render_again,
    why_not,
)
from lensflow.stats.hostsums import column, named, same_layout
from lensflow.stats.kept_rows import KeptRows

# As many rows are rendered again as hold, with this chance, one of those that a fault in this share of all rows is in.
FAULTY_SHARE, CHANCE = 0.005, 0.99
SAMPLE = math.ceil(math.log(1 - CHANCE) / math.log(1 - FAULTY_SHARE))
# Renderings are within this many times their estimated error of the truth (docs/engine.md).
ERROR_OVER_ESTIMATE = 1.7
# The same code gives the same bits on a machine of the same kind. On another, sums of hundreds of terms in single
# precision are taken in another order: some dozens of its roundings, over the peak.
SINGLE_PRECISION = 64 * 2.0**-23
_ROWS_AT_ONCE = 48
_ROWS_SHOWN = 16


def last_key(row_id: NDArray[np.uint64], is_control: NDArray[np.bool_]) -> int | None:
    """Largest hash among the rows that are rendered again; None where these are all.

    Parameters
    ----------
    row_id, is_control : ndarray, shape (n,)
        Of all rows of a run.
    """
    return key_of_first(row_id, is_control, SAMPLE)


@dataclass(frozen=True, eq=False)
class Rerendered:
    """How far stored arcs are from new renderings of their rows; numbers only.

    Attributes
    ----------
    row_id : ndarray of uint64, shape (m,)
    error, flux_error : ndarray, shape (m, band)
        Largest |stored - rendered again| over the peak, and |difference of the sums| over the sum. Where arcs were
        rounded, what the rounding may have taken is no difference. NaN for rows that were not compared.
    tolerance : ndarray, shape (m,)
        What both may reach.
    n_injections, n_images : int
        Injection rows, of all; those whose source is an image.
    why : str
        Why nothing was compared.
    """

    bands: tuple[str, ...]
    row_id: NDArray[np.uint64]
    error: NDArray[np.float64]
    flux_error: NDArray[np.float64]
    tolerance: NDArray[np.float64]
    n_injections: int
    n_images: int
    why: str

    @classmethod
    def from_block(cls, block: Block) -> Rerendered:
        """Render the chosen rows of a block again, and compare."""
        pairs, origin = block.pairs, block.origin or Origin()
        rows, keys = injections(pairs)
        n_injections = rows.size
        images = int((column(pairs, "src_id")[rows] != "").sum()) if "src_id" in pairs else 0
        if origin.last_key is not None:
            rows = rows[keys <= np.uint64(origin.last_key)]
        parts = [
            compare(block.complete_rows(rows[k : k + _ROWS_AT_ONCE]), origin)
            for k in range(0, max(rows.size, 1), _ROWS_AT_ONCE)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        # A block without injections says nothing about those that have some.
        why = total.why if n_injections else ""
        return cls(total.bands, *total.numbers, n_injections, images, why)

    @property
    def numbers(self) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Ids, errors, errors of the flux, tolerances."""
        return self.row_id, self.error, self.flux_error, self.tolerance

    def __add__(self, other: Rerendered) -> Rerendered:
        same_layout(self.bands, other.bands)
        row_id, error, flux_error, tolerance = (
            np.concatenate(both) for both in zip(self.numbers, other.numbers, strict=True)
        )
        n, images = self.n_injections + other.n_injections, self.n_images + other.n_images
        return Rerendered(self.bands, row_id, error, flux_error, tolerance, n, images, self.why or other.why)

    @property
    def excess(self) -> NDArray[np.float64]:
        """Larger of the two errors over the tolerance, shape (m, band); NaN where nothing was compared."""
        return np.fmax(self.error, self.flux_error) / self.tolerance[:, None]

    def result(self, specimens: xr.Dataset, origin: Origin | None = None) -> xr.Dataset:
        """The rows that are furthest off, and one row beside the slow reference.

        Parameters
        ----------
        specimens : Dataset
            What the reference may choose from.
        origin : Origin, optional
            Its core mask is on the stored arcs.

        Returns
        -------
        Dataset
            ``error``, ``flux_error`` (row, band) and ``tolerance``, ``row_id`` (row,) of the rows that are furthest
            off; ``n_rendered`` and ``n_beyond`` of all. ``reference_error`` (reference_row,): against the numpy
            reference; it knows Sersic profiles alone, so where every source is an image, the renderer and the
            reference are compared on the row's lens and PSF with a disc in the image's place. ``attrs["why"]`` says
            why nothing was compared.
        """
        why = self.why or ("" if self.n_injections else "no injection")
        excess = np.nan_to_num(self.excess, nan=-1.0).max(axis=1, initial=-1.0)
        order = np.lexsort((self.row_id, -excess))[:_ROWS_SHOWN]
        reference, own = (np.full(0, np.nan) for _ in range(2))
        if not why and not why_not(specimens) and specimens.attrs["psf_model"] != "kernel":
            reference, own = beside_the_reference(specimens, keep_of(specimens, origin or Origin()))
        rendered = np.isfinite(self.tolerance) & ~np.isnan(self.error).all(axis=1)
        out = {
            "error": named(
                ["row", "band"], self.error[order], "1", "largest |stored arc - rendered again| over the peak"
            ),
            "flux_error": named(["row", "band"], self.flux_error[order], "1", "|difference of the sums| over the sum"),
            "tolerance": named(["row"], self.tolerance[order], "1", "what both may reach"),
            "row_id": named(["row"], self.row_id[order].astype(str), "", "the row's id"),
            "n_rendered": named([], int(rendered.sum()), "1", "rows rendered again, chosen by a hash of their ids"),
            "n_beyond": named([], int((excess > 1).sum()), "1", "of these, rows beyond the tolerance"),
            "n_injections": named([], self.n_injections, "1", "injection rows"),
            "reference_error": named(["reference_row"], reference, "1", "the same error against the slow reference"),
            "reference_own_error": named(
                ["reference_row"], own, "1", "what the reference changes with half the rays along each axis"
            ),
        }
        attrs = {"title": "arcs rendered again", "why": why, "n_images": self.n_images,
                 "reference_accuracy": REFERENCE_ACCURACY}  # fmt: skip
        return xr.Dataset(out, coords={"band": list(self.bands)}, attrs=attrs)

    def worst(self) -> str:
        """Name the row that is furthest beyond its tolerance; empty where none is."""
        excess = np.nan_to_num(self.excess, nan=-1.0)
        if not excess.size or not excess.max() > 1:
            return ""
        i, b = np.unravel_index(int(excess.argmax()), excess.shape)
        n = int((excess.max(axis=1) > 1).sum())
        return (
            f"row_id {self.row_id[i]}, {self.bands[b]}: the stored arc is off by {self.error[i, b]:.3g} of the peak of "
            f"the one rendered again, {self.tolerance[i]:.2g} allowed; {n:,} of {len(excess):,} rows rendered are"
        )


@dataclass(frozen=True, eq=False)
class Rendering:
    """Rows rendered again, and a few complete rows, one of which the slow reference renders."""

    rerendered: Rerendered
    specimens: KeptRows

    @classmethod
    def from_block(cls, block: Block) -> Rendering:
        """Render the chosen rows of a block again, and compare."""
        return cls(Rerendered.from_block(block), block.specimens)

    def __add__(self, other: Rendering) -> Rendering:
        return Rendering(self.rerendered + other.rerendered, self.specimens + other.specimens)

    def result(self, settings: Settings) -> xr.Dataset:
        """Result of :meth:`Rerendered.result`."""
        return self.rerendered.result(self.specimens.rows, Origin(injection=settings.injection or InjectionConfig()))


def keep_of(specimens: xr.Dataset, origin: Origin) -> NDArray[np.floating]:
    """Share of the arc that mask and missing data leave, broadcast to (m, band, y, x)."""
    x, y = (specimens[k].values for k in ("x_center", "y_center"))
    keep = keep_weights(specimens.sizes["x"], x, y, *origin.injection.core_mask)
    return np.asarray(keep[:, None] * (specimens["has_data"].values if "has_data" in specimens else True))


def compare(specimens: xr.Dataset, origin: Origin) -> Rerendered:
    """Compare the stored arcs of some rows with new renderings."""
    n, bands, arc = specimens.sizes["sample"], tuple(specimens["band"].values.tolist()), specimens["arc"].values
    error, flux_error = (np.full((n, len(bands)), np.nan) for _ in range(2))
    tolerance = np.full(n, np.nan)
    why = why_not(specimens)
    if not why:
        compared = np.ones(n, bool) if origin.sources is not None else ~of_image(specimens)
        rendered, estimate = np.zeros(arc.shape, np.float32), np.full(n, np.nan)
        if compared.any():
            rendered[compared], estimate[compared] = render_again(specimens.isel(sample=compared), origin.sources)
        other_code = np.fmax(2 * ERROR_OVER_ESTIMATE * estimate, SINGLE_PRECISION)
        tolerance = np.full(n, SINGLE_PRECISION) if origin.same_code else other_code
        low, high = arc_ends(specimens)
        off = np.zeros((*arc.shape[:2], 2))
        keep = np.broadcast_to(keep_of(specimens, origin), arc.shape)
        beyond_ends(low, high, rendered, keep, off)
        peak, total = rendered.max(axis=(2, 3)), rendered.sum(axis=(2, 3), dtype=np.float64)
        lit = (peak > 0) & compared[:, None]
        error[lit] = off[lit, 0] / peak[lit]
        flux_error[lit] = np.abs(off[lit, 1]) / total[lit]
        # Light where the renderer puts none (an absent band) is an error without measure.
        extra = ~lit & (arc != 0).any(axis=(2, 3)) & compared[:, None]
        error[extra] = flux_error[extra] = np.inf
    row_id = specimens["row_id"].values.astype(np.uint64)
    return Rerendered(bands, row_id, error, flux_error, tolerance, n, 0, why)


@compiled()
def beyond_ends(low, high, rendered, keep, off):  # type: ignore[no-untyped-def]
    """Measure how far renderings are beyond the ends of what arcs were before their rounding.

    Parameters
    ----------
    low, high, rendered : float32, shape (n, band, size, size)
    keep : float64, shape (n, band, size, size)
        Share of the arc that is stored.
    off : float64, shape (n, band, 2), zeros
        Largest distance from the ends, and sum of the distances, positive where the arc is too bright; infinite where
        an arc is no number.
    """
    n, bands, size, _ = low.shape
    for i in range(n):
        for b in range(bands):
            largest = total = 0.0
            for v in range(size):
                for u in range(size):
                    want = keep[i, b, v, u] * np.float64(rendered[i, b, v, u])
                    above, below = np.float64(low[i, b, v, u]) - want, want - np.float64(high[i, b, v, u])
                    if np.isnan(above) or np.isnan(below):
                        largest = total = np.inf
                        continue
                    apart = max(above, 0.0) - max(below, 0.0)
                    largest = max(largest, abs(apart))
                    total += apart
            off[i, b, 0], off[i, b, 1] = largest, total
