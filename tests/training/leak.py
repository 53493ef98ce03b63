"""A leak that is planted in a view: some of each arc's flux as a point source on the target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

FWHM_PIX = 5.0


def core_blob(arc, x_center, y_center):
    """Each arc's flux, band by band, as a point source on the target; shape of ``arc``."""
    y, x = np.mgrid[: arc.shape[-2], : arc.shape[-1]]
    r2 = (x - x_center[:, None, None]) ** 2 + (y - y_center[:, None, None]) ** 2
    psf = np.exp(-4 * np.log(2) * r2 / FWHM_PIX**2)
    psf /= psf.sum(axis=(1, 2), keepdims=True)
    return arc.sum(axis=(2, 3))[:, :, None, None] * psf[:, None]


@dataclass(frozen=True)
class CoreBlob:
    """Pixels with ``share`` of each arc's flux, band by band, added to the core of the positives."""

    of: Any
    share: float
    arcs_left: float = 1.0
    lens_light = "kept"

    def with_light(self):
        return self

    def less_light(self, x, samples):
        return x

    def arcs(self, samples, shard):
        return self.arcs_left * self.of.arcs(samples, shard)

    def read(self, samples, shard):
        stamp = self.of.read(samples, shard)
        kind = np.zeros_like(samples["negative_kind"].values)
        ctrl = self.of.read(samples.assign(negative_kind=("sample", kind)), shard)
        arc = np.where(samples["y"].values[:, None, None, None] == 1, np.nan_to_num(stamp - ctrl), 0)
        blob = self.share * core_blob(arc, samples["x_center"].values, samples["y_center"].values)
        return (stamp + (self.arcs_left - 1) * arc + blob).astype(np.float32)


def leaky_block(real, share):
    """Make an ``InjectTask.make`` that stores stamps with the leak; arcs are stored as they are."""

    def make(self, part, rows, hosts, *rest):
        made, counts = real(self, part, rows, hosts, *rest)
        blob = share * core_blob(made["arc"].values, rows["x_center"].values, rows["y_center"].values)
        stamp = (made["stamp"].dims, (made["stamp"].values + blob).astype(np.float32))
        return made.assign(stamp=stamp), counts

    return make


def leaky(view, share, arcs=1.0):
    """The view with the leak; ``arcs`` is what is left of the arcs themselves."""
    return replace(view, pixels=CoreBlob(view.pixels, share, arcs))
