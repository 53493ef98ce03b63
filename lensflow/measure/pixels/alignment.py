"""Alignment: is a stamp aligned with its control, and the added light with the rendered arc?

A stamp moved by (dx, dy) differs from its control by - dx d/dx - dy d/dy of it (Lucas & Kanade 1981, IJCAI 81, 674):
least squares whose sums merge over rows, where upsampled phase correlation would need each row's pixels at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.differences import INJECTED_SHIFT_PIX
from lensflow.measure.pixels.pixel_sums import (
    CORE,
    CORE_DOWN,
    CORE_RIGHT,
    GXD,
    GXX,
    GXY,
    GYD,
    GYY,
    N_SHIFT,
    PXD,
    PXX,
    PXY,
    PYD,
    PYY,
)
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, interval, named, ratio, same_layout

LOCALISED_PIX = 1.5
# Of a single row: beyond what its arc's noise does to the estimate.
ROW_SHIFT_PIX = 0.1
# Sums per band of the rows' own shifts: how many, along x and y, squared, and how many beyond ROW_SHIFT_PIX; then GXD
# and GYD of the rows that a shift was put into, before it.
_N_ROW = 8


@dataclass(frozen=True, eq=False)
class Alignment:
    """Shift between stamp and control at r >= 16 pix, per band; and the radius of the added light, per row."""

    bands: tuple[str, ...]
    # Columns: (band, N_SHIFT), (band, _N_ROW), rows with light, and those of them whose light is where it should be.
    hosts: HostSums

    @classmethod
    def from_block(cls, block: Block) -> Alignment:
        """Summarise one block of pairs."""
        d = block.differences
        n, n_bands = d.covered.shape
        found, wanted = (_light_radius(v) for v in (d.difference.sum(axis=1), (d.difference - d.residual).sum(axis=1)))
        known = np.isfinite(found) & np.isfinite(wanted)
        inside = known & (np.abs(np.where(known, found - wanted, np.inf)) <= LOCALISED_PIX)
        shift = d.sums[..., :N_SHIFT]
        rows = np.concatenate(
            [
                shift.reshape(n, n_bands * N_SHIFT),
                _row_sums(shift).reshape(n, n_bands * _N_ROW),
                np.stack([known, inside], axis=1),
            ],
            axis=1,
        )
        cells = np.concatenate([d.covered, known[:, None]], axis=1)
        return cls(d.bands, HostSums.from_rows(d.host_index, rows, cells))

    def __add__(self, other: Alignment) -> Alignment:
        same_layout(self.bands, other.bands)
        return Alignment(self.bands, self.hosts + other.hosts)

    def result(self, settings: Settings) -> xr.Dataset:
        """Shifts with 95 % intervals over hosts, the shift found where one was put in, and localisation."""
        n_bands = len(self.bands)
        n_hosts = self.hosts.n_hosts
        total, drawn = (
            self.hosts.total,
            self.hosts.replicates(settings.bootstrap, settings.seed, "diagnostics.alignment"),
        )

        def of_shift(values: Floats) -> Floats:
            return values[..., : n_bands * N_SHIFT].reshape(*values.shape[:-1], n_bands, N_SHIFT)

        def of_rows(values: Floats) -> Floats:
            return values[..., n_bands * N_SHIFT : -2].reshape(*values.shape[:-1], n_bands, _N_ROW)

        def response(values: Floats) -> Floats:
            return _solve(of_shift(values), PXX, PXY, PYY, PXD, PYD)

        def shifts(values: Floats) -> Floats:
            return _solve(of_shift(values), GXX, GXY, GYY, GXD, GYD)

        # Differences of neighbours are no exact derivative; the known shift says how much of one is found.
        before = np.concatenate([of_shift(total), of_rows(total)[:, -2:]], axis=-1)
        still = _solve(before, PXX, PXY, PYY, N_SHIFT, N_SHIFT + 1)
        gain = ratio(response(total) - still, INJECTED_SHIFT_PIX)
        gain = np.where(gain > 0, gain, np.nan)
        dims = ["axis", "band"]
        low, high = interval(np.moveaxis(shifts(drawn) / gain, -1, 1), n_hosts[None, :-1])
        p_low, p_high = interval(np.moveaxis(response(drawn) / gain, -1, 1), n_hosts[None, :-1])
        core, moved = of_shift(total)[:, CORE], of_shift(total)[:, CORE_RIGHT : CORE_DOWN + 1].min(axis=-1)
        # Under a hard core mask stamp and control are the same there: any difference after moving is more than none.
        worse = np.where((core == 0) & (moved > 0), np.inf, np.sqrt(ratio(moved, core)))
        share = ratio(total[-1], total[-2])
        share_low, share_high = interval(ratio(drawn[:, -1], drawn[:, -2]), n_hosts[-1])
        mean, scatter, beyond = _of_single_rows(of_rows(total), gain)
        beyond_low, beyond_high = interval(_of_single_rows(of_rows(drawn), gain)[2], n_hosts[:-1])
        put = f"the shift found when {INJECTED_SHIFT_PIX:g} pix were put in along both axes (one row in eight)"
        out = {
            **with_interval(
                "shift",
                dims,
                ((shifts(total) / gain).T, (low, high)),
                "pixel",
                "shift of stamp - arc against ctrl, r >= 16 pix",
            ),
            **with_interval("injected_found", dims, ((response(total) / gain).T, (p_low, p_high)), "pixel", put),
            "row_shift_mean": named(dims, mean, "pixel", "mean over the rows of each one's own shift"),
            "row_shift_std": named(dims, scatter, "pixel", "standard deviation over the rows of each one's own shift"),
            **with_interval(
                "rows_moved",
                ["band"],
                (beyond, (beyond_low, beyond_high)),
                "1",
                f"share of the rows whose own shift is beyond {ROW_SHIFT_PIX:g} pix along x or y",
            ),
            "core_rms_moved": named(
                ["move", "band"],
                np.sqrt(ratio(of_shift(total)[:, CORE_RIGHT : CORE_DOWN + 1].T, core)),
                "1",
                "rms of stamp - ctrl - arc over r < 5 pix after moving ctrl by a pixel, over before (one row in eight)",
            ),
            "core_rms_ratio": named(
                ["band"],
                worse,
                "1",
                "rms of stamp - ctrl - arc over r < 5 pix after moving ctrl by one pixel, along x or y, either way, "
                "whichever fits best, over before; must exceed 1",
            ),
            **with_interval(
                "localised_share",
                [],
                (share, (share_low, share_high)),
                "1",
                f"rows whose added light has its mean radius within {LOCALISED_PIX:g} pix of the arc's",
            ),
            "n_localised": named([], int(total[-2]), "1", "rows with light, all bands together"),
            "n_hosts": named(["band"], n_hosts[:-1], "1", "hosts of the covered rows"),
        }
        coords = {"axis": ["x", "y"], "band": list(self.bands), "move": ["right", "left", "up", "down"]}
        return xr.Dataset(out, coords=coords, attrs={"title": "alignment", "injected_shift_pix": INJECTED_SHIFT_PIX})


def _row_sums(sums: Floats) -> Floats:
    """What is kept of the rows' own shifts, (row, band, _N_ROW), from their sums (row, band, N_SHIFT)."""
    shift = _solve(sums, GXX, GXY, GYY, GXD, GYD)
    known = np.asarray(np.isfinite(shift).all(axis=-1))
    s = np.where(known[..., None], shift, 0.0)
    large = np.asarray((np.abs(s) > ROW_SHIFT_PIX).any(axis=-1))
    before = np.where(sums[..., PXX, None] > 0, sums[..., GXD : GYD + 1], 0.0)
    return np.concatenate([known[..., None], s, s**2, large[..., None], before], axis=-1)


def _of_single_rows(sums: Floats, gain: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and scatter of the rows' own shifts, (axis, band), and the share of large ones, (..., band)."""
    n = sums[..., 0]
    mean = ratio(sums[..., 1:3], n[..., None])
    scatter = np.sqrt(np.maximum(ratio(sums[..., 3:5], n[..., None]) - mean**2, 0))
    axis_first = [np.moveaxis(v / gain, -1, -2) for v in (mean, scatter)]
    return axis_first[0], axis_first[1], ratio(sums[..., 5], n)


def _solve(sums: Floats, xx: int, xy: int, yy: int, xd: int, yd: int) -> Floats:
    """Shift along x and y, shape (..., band, 2); NaN where the gradients do not fix it."""
    a, b, c = sums[..., xx], sums[..., xy], sums[..., yy]
    det = a * c - b * b
    det = np.where(det > 1e-9 * a * c, det, 0.0)
    return np.stack(
        [
            ratio(c * sums[..., xd] - b * sums[..., yd], det),
            ratio(a * sums[..., yd] - b * sums[..., xd], det),
        ],
        axis=-1,
    )


def _light_radius(rings: Floats) -> Floats:
    """Mean radius of |light|, pixels, shape (n,), from sums over rings (n, ring)."""
    light = np.abs(rings)
    return ratio(light @ (np.arange(light.shape[1]) + 0.5), light.sum(axis=1))
