"""Radial profile of ``stamp - ctrl`` around the lens centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import (
    Floats,
    HostSums,
    interval,
    named,
    ratio,
    same_layout,
    stratum_coords,
    with_all,
)


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """Sums of ``stamp - ctrl`` in 1-pixel rings, per band and stratum of theta_E."""

    bands: tuple[str, ...]
    edges: tuple[float, ...]
    n_rings: int
    hosts: HostSums  # columns: (sum | pixels | residual, stratum + outside, band, ring + beyond)
    arc: Floats  # (stratum + outside, band, ring + beyond): sum of the noiseless arc, nMgy
    n_rows: NDArray[np.int64]  # (stratum + outside, band)

    @classmethod
    def from_block(cls, block: Block) -> RadialProfile:
        """Summarise one block of pairs."""
        d, n_rings = block.differences, block.config.n_rings

        def rings(values: Floats) -> Floats:
            beyond = values[..., n_rings:].sum(axis=-1, keepdims=True)
            return np.concatenate([values[..., :n_rings], beyond], axis=-1)

        pixels = d.pixels[:, None, :] * d.covered[..., None]
        rows = np.stack([rings(v) for v in (d.difference, pixels, d.residual)], axis=1)
        arc = rings(d.difference - d.residual)
        cells = np.concatenate([d.covered[:, None], d.by_stratum(d.covered)[:, :-1]], axis=1)
        return cls(
            d.bands,
            d.edges,
            n_rings,
            HostSums.from_cells(d.host_index, (d.stratum, len(d.edges)), rows, cells, axis=2),
            np.stack([arc[d.stratum == s].sum(axis=0) for s in range(len(d.edges))]),
            np.stack([d.covered[d.stratum == s].sum(axis=0, dtype=np.int64) for s in range(len(d.edges))]),
        )

    def __add__(self, other: RadialProfile) -> RadialProfile:
        same_layout((self.bands, self.edges, self.n_rings), (other.bands, other.edges, other.n_rings))
        return RadialProfile(
            self.bands,
            self.edges,
            self.n_rings,
            self.hosts + other.hosts,
            self.arc + other.arc,
            self.n_rows + other.n_rows,
        )

    def result(self, settings: Settings) -> xr.Dataset:
        """Profiles with 95 % intervals over hosts, core/peak ratios and half-light radii."""
        same_layout(
            (self.edges, self.n_rings), (tuple(settings.diagnostics.theta_e_edges), settings.diagnostics.n_rings)
        )
        shape = (3, len(self.edges), len(self.bands), self.n_rings + 1)
        n_hosts = self.hosts.n_hosts.reshape(shape[1:3])
        light, pixels, rest = with_all(self.hosts.total.reshape(shape), 1)
        drawn = self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.radial_profile").reshape(
            -1, *shape
        )
        drawn = with_all(drawn, 2)
        arc = with_all(self.arc, 0)

        low, high = interval(ratio(drawn[:, 0], drawn[:, 1])[..., :-1], n_hosts[..., None])
        rest_low, rest_high = interval(ratio(drawn[:, 2], drawn[:, 1])[..., :-1], n_hosts[..., None])
        core_low, core_high = interval(_core_over_peak(drawn[:, 0], drawn[:, 1]), n_hosts)
        half_low, half_high = interval(half_light_radius(drawn[:, 0]), n_hosts)
        dims, per_ring = ["stratum", "band"], ["stratum", "band", "ring"]
        unit = "nMgy/pixel"
        out = {
            **with_interval(
                "profile",
                per_ring,
                (ratio(light, pixels)[..., :-1], (low, high)),
                unit,
                "mean of stamp - ctrl in the ring",
            ),
            "profile_expected": named(
                per_ring, ratio(arc, pixels)[..., :-1], unit, "mean of the noiseless rendered arc in the ring"
            ),
            **with_interval(
                "residual",
                per_ring,
                (ratio(rest, pixels)[..., :-1], (rest_low, rest_high)),
                unit,
                "mean of stamp - ctrl - arc in the ring; 0 is expected",
            ),
            "n_pixels": named(per_ring, pixels[..., :-1].astype(np.int64), "1", "pixels in the ring, all rows"),
            **with_interval(
                "core_over_peak",
                dims,
                (_core_over_peak(light, pixels), (core_low, core_high)),
                "1",
                "mean over r < 5 pix over the brightest ring's mean",
            ),
            **with_interval(
                "half_light_radius_pix",
                dims,
                (half_light_radius(light), (half_low, half_high)),
                "pixel",
                "radius that holds half of the summed stamp - ctrl, linear within a ring; NaN beyond the last ring",
            ),
            "n_rows": named(dims, with_all(self.n_rows, 0), "1", "injection rows covered in the band"),
            "n_hosts": named(dims, n_hosts, "1", "hosts of those rows"),
        }
        radius = named(["ring"], np.arange(self.n_rings) + 0.5, "pixel", "middle of the ring k <= r < k + 1")
        return xr.Dataset(
            out,
            coords={"band": list(self.bands), "radius_pix": radius, **stratum_coords(self.edges)},
            attrs={"title": "radial profile", "interval": "expanded percentile, bootstrap over hosts"},
        )


def _core_over_peak(light: Floats, pixels: Floats) -> Floats:
    core = int(geometry.CORE_RADIUS_PIX)
    profile = ratio(light, pixels)[..., :-1]
    peak = np.max(profile, axis=-1, initial=-np.inf, where=np.isfinite(profile))
    mean = ratio(light[..., :core].sum(axis=-1), pixels[..., :core].sum(axis=-1))
    return ratio(mean, np.where(peak > 0, peak, 0))


def half_light_radius(light: Floats) -> Floats:
    """Radius (pixels) that contains half of ``light`` (..., ring + beyond); NaN if beyond the last ring."""
    inside = np.cumsum(light, axis=-1)
    half = inside[..., -1:] / 2
    reached = (inside >= half)[..., :-1]
    ring = np.argmax(reached, axis=-1)[..., None]
    before = np.where(ring > 0, np.take_along_axis(inside, np.maximum(ring - 1, 0), axis=-1), 0.0)
    step = np.take_along_axis(light, ring, axis=-1)
    radius = (ring + ratio(half - before, step))[..., 0]
    return np.where(reached.any(axis=-1) & (half[..., 0] > 0), radius, np.nan)
