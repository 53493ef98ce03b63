"""What must hold between the pixels of two arms that are not equal: each relation gives arrays that must be.

A relation takes both sides and returns, by name, two arrays that must have the same bits, or which rows break it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.injection.core.masks import keep_weights
from lensflow.injection.inject import combine, noise_per_nmgy, rows_of_hosts
from lensflow.injection.rounding import ARC, STAMP, before_rounding, rounding_steps

# The ratio of two arcs whose sources differ in brightness alone: single precision leaves 2e-7.
RATIO_TOLERANCE = 1e-6

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """A block of one arm.

    Attributes
    ----------
    pairs : Dataset
        Manifest columns, metrics, flags, ``arc``, ``stamp`` and ``ctrl``; attrs ``seed``.
    hosts : Dataset
        Their hosts, with the coordinate ``host_index``.
    config : RunConfig
        The arm's.
    """

    pairs: xr.Dataset
    hosts: xr.Dataset
    config: RunConfig

    def pixels(self, name: str) -> Pixels:
        """Pixels of an array, shape (sample, band, y, x)."""
        return np.ascontiguousarray(self.pairs[name].values, dtype=np.float32)

    @property
    def host_rows(self) -> NDArray[np.int64]:
        """Row of each sample's host, shape (sample,)."""
        return rows_of_hosts(self.hosts, self.pairs["host_index"].values)


@dataclass(frozen=True)
class Same:
    """Two arrays that must have the same bits, shape (sample, ...)."""

    a: NDArray[Any]
    b: NDArray[Any]


@dataclass(frozen=True)
class Broken:
    """Rows that break a relation, shape (sample,), and by how much the worst does."""

    rows: NDArray[np.bool_]
    worst: float


Found = Mapping[str, Same | Broken]


def reference_arc(a: Side, b: Side) -> Found:
    """With other colours, the arc in the band that magnitudes refer to has the same bits."""
    band = a.config.reference_band
    name = f"arc in {a.config.bands[band]}"
    return {name: Same(a.pixels("arc")[:, band], b.pixels("arc")[:, band])}


def outside_mask(a: Side, b: Side) -> Found:
    """With another core mask, arcs have the same bits where neither masks anything."""
    size = a.pixels("arc").shape[-1]
    free = np.ones((a.pairs.sizes["sample"], size, size), bool)
    for side in (a, b):
        x, y = side.pairs["x_center"].values, side.pairs["y_center"].values
        free &= keep_weights(size, x, y, *side.config.injection.core_mask) == 1
    # Not multiplied: -0 would be another zero.
    arcs = [np.where(free[:, None], s.pixels("arc"), np.float32(0)) for s in (a, b)]
    return {"arc outside the mask": Same(*arcs)}


def ratio(a: Side, b: Side) -> Found:
    """With other brightness, arcs have one ratio in all pixels, to ``RATIO_TOLERANCE``."""
    factor = 10 ** (-0.4 * (b.config.plan.src_mag_shift - a.config.plan.src_mag_shift))
    wanted, got = factor * a.pixels("arc").astype(np.float64), b.pixels("arc").astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(wanted == got, 0.0, np.abs(got - wanted) / np.abs(wanted))
    # An arc ends where it is a millionth of its peak: a pixel at that limit may be lit in one arm only.
    peak = np.abs(wanted).max(axis=(2, 3), keepdims=True)
    off[np.abs(got - wanted) <= 2 * RATIO_TOLERANCE * peak * ((wanted == 0) | (got == 0))] = 0
    of_row = off.reshape(len(off), -1).max(axis=1, initial=0.0)
    return {"ratio of the arcs": Broken(of_row > RATIO_TOLERANCE, float(of_row.max(initial=0.0)))}


def noise(a: Side, b: Side) -> Found:
    """With another gain, the noise is the same draw scaled; without noise a stamp is its control plus its arc.

    Said of stamps that are not rounded.
    """
    if any(s.config.store.stamp_steps_per_sigma or s.config.store.arc_steps_per_sigma for s in (a, b)):
        return {}
    arc, ctrl = a.pixels("arc"), a.pixels("ctrl")
    bare = combine(ctrl, arc, np.zeros_like(arc))
    out: dict[str, Same | Broken] = {}
    for side in (a, b):
        if not side.config.injection.noise:
            out["stamp without noise"] = Same(bare, side.pixels("stamp"))
    if out:
        return out
    exact = ctrl.astype(np.float64) + arc
    of = [noise_per_nmgy(arc, s.hosts, s.host_rows, s.pairs, s.config.injection) for s in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(of[1].astype(np.float64) / of[0])[:, :, None, None]
    scale = np.where(np.isfinite(scale), scale, 0.0)
    stamps = [s.pixels("stamp") for s in (a, b)]
    expected = scale * (stamps[0] - exact)
    # Both stamps were rounded to single precision, and so were the variances and the noise itself.
    unit = np.spacing(np.abs(stamps[1])).astype(np.float64) + scale * np.spacing(np.abs(stamps[0]))
    off = np.abs(stamps[1] - exact - expected) / (unit + 1e-6 * np.abs(expected))
    of_row = off.reshape(len(off), -1).max(axis=1, initial=0.0)
    return {"noise scaled by the gain": Broken(of_row > 1, float(of_row.max(initial=0.0)))}


def unrounded(a: Side, b: Side) -> Found:
    """With other rounding, some value is rounded to the pixels of both arms: arc, stamp and control were the same."""
    out: dict[str, Same | Broken] = {}
    for name, which, purpose in (("arc", 1, ARC), ("stamp", 0, STAMP), ("ctrl", 0, STAMP)):
        ends = []
        for s in (a, b):
            steps = rounding_steps(s.hosts["invvar"].values, s.host_rows, s.config.store)[which]
            keys, seed = s.pairs["row_id"].values, int(s.pairs.attrs["seed"])
            # Bands without light are not rounded.
            lit = s.pixels(name).any(axis=(2, 3))
            ends.append(before_rounding(s.pixels(name), np.where(lit, steps, np.float32(0)), keys, seed, purpose))
        apart = np.maximum(ends[0][0], ends[1][0]).astype(np.float64) - np.minimum(ends[0][1], ends[1][1])
        of_row = apart.reshape(len(apart), -1).max(axis=1, initial=0.0)
        out[f"{name} before rounding"] = Broken(of_row > 0, float(of_row.max(initial=0.0)))
    return out


RELATIONS: dict[str, Callable[[Side, Side], Found]] = {
    "reference_arc": reference_arc,
    "outside_mask": outside_mask,
    "ratio": ratio,
    "noise": noise,
    "before_rounding": unrounded,
}
