"""Input of every diagnostic: the pixels of one block, reduced once to sums per row and band."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from lensflow import geometry, rng
from lensflow.config import DiagnosticsConfig
from lensflow.measure.pixels.pixel_sums import CONTROL_CORE, LIT, N_SUMS, pixel_sums
from lensflow.stats.hostsums import Floats, column, same_values, stratum_of

# Shifts are looked for where no arc is bright.
SHIFT_INNER_PIX = 16.0
INJECTED_SHIFT_PIX = 0.1
# One row in this many, chosen by its id, is also used for the tests with an added shift.
_SHIFTED_ONE_IN = 8
# So few that their transforms stay in the processor's cache.
_SHIFTED_AT_ONCE = 8


@dataclass(frozen=True)
class Differences:
    """The sums that all diagnostics of one block share; injection rows only.

    ``rings`` are 1-pixel rings around the target (``geometry.ring_index``), the last entry holding everything
    beyond ``n_rings``. A band is ``covered`` in a row if it has a PSF there and all its pixels are finite; sums of
    other bands are 0.
    """

    bands: tuple[str, ...]
    edges: tuple[float, ...]
    host_index: NDArray[np.int64]  # (n,)
    stratum: NDArray[np.int64]  # (n,)
    covered: NDArray[np.bool_]  # (n, band)
    pixels: Floats  # (n, ring)
    difference: Floats  # (n, band, ring): sum of stamp - ctrl, nMgy
    residual: Floats  # (n, band, ring): sum of stamp - ctrl - arc, nMgy
    control_core: Floats  # (n, band): sum of ctrl over r < 5, nMgy
    sums: Floats  # (n, band, N_SUMS): see lensflow.measure.pixels.pixel_sums
    middle: Floats  # (n, 2, band, 3, 3): stamp - ctrl, and less the arc, of the pixels about the target, nMgy
    filled: NDArray[np.bool_]  # (n, band): an arc, or a changed pixel, in a band without a PSF
    dark: NDArray[np.bool_]  # (n, band): the same on a pixel without data
    n_unknown: int  # rows that do not say where there is data
    pairs: xr.Dataset  # of all rows
    rows: NDArray[np.integer]  # (n,): the injection rows among them
    n_controls: int
    n_controls_changed: int
    max_control_change: float
    n_nonfinite: NDArray[np.int64]  # (band,): covered rows left out because a pixel is not finite

    @classmethod
    def from_block(cls, pairs: xr.Dataset, config: DiagnosticsConfig) -> Differences:
        """Read the block's pixels once, in one compiled pass."""
        stamp, ctrl, arc = (column(pairs, name) for name in ("stamp", "ctrl", "arc"))
        is_control = column(pairs, "is_control").astype(bool)
        change, n_changed = _control_change(stamp, ctrl, np.flatnonzero(is_control))
        rows = np.flatnonzero(~is_control)
        n, n_bands, size = rows.size, stamp.shape[1], stamp.shape[-1]
        n_rings = max(config.n_rings, int(geometry.ANNULUS_INNER_PIX))
        width = n_rings + 1

        def known(name: str) -> NDArray[Any]:
            return column(pairs, name)[rows]

        step = known("quantize_step_nmgy") if "quantize_step_nmgy" in pairs else np.zeros((n, n_bands))
        y, x = (known(k).astype(np.float64) for k in ("y_center", "x_center"))
        stamp, ctrl, arc = (np.ascontiguousarray(v, dtype=np.float32) for v in (stamp, ctrl, arc))
        dark = np.zeros((n, n_bands), dtype=bool)
        if "has_data" in pairs:
            has_data = column(pairs, "has_data")
            for i, b in np.argwhere(~np.asarray(has_data.all(axis=(2, 3)))[rows]):
                of_row, empty = (rows[i], b), ~has_data[rows[i], b]
                dark[i, b] = ((stamp[of_row] != ctrl[of_row]) | (arc[of_row] != 0))[empty].any()
        outside, _ = regions(size)
        power, moved = _moved(ctrl, rows, known("row_id"))
        pixels, difference, residual, sums = (
            np.zeros(shape) for shape in ((n, width), (n, n_bands, width), (n, n_bands, width), (n, n_bands, N_SUMS))
        )
        pixel_sums(
            stamp, ctrl, arc, rows, x, y, step.astype(np.float64), outside, geometry.CORE_RADIUS_PIX, power, moved,
            pixels, difference, residual, sums,
        )  # fmt: skip
        control_core = sums[..., CONTROL_CORE]

        has_psf = np.isfinite(known("psf_fwhm_arcsec")).reshape(n, n_bands)
        finite = np.isfinite(difference).all(-1) & np.isfinite(residual).all(-1) & np.isfinite(control_core)
        covered = has_psf & finite
        return cls(
            bands=tuple(str(b) for b in pairs["band"].values),
            edges=tuple(config.theta_e_edges),
            host_index=known("host_index").astype(np.int64),
            stratum=stratum_of(known("theta_e_arcsec").astype(np.float64), config.theta_e_edges),
            covered=covered,
            pixels=pixels,
            difference=np.where(covered[..., None], difference, 0.0),
            residual=np.where(covered[..., None], residual, 0.0),
            control_core=np.where(covered, control_core, 0.0),
            sums=np.where(covered[..., None], sums, 0.0),
            middle=np.where(covered[:, None, :, None, None], _middle(stamp, ctrl, arc, rows, y, x), 0.0),
            filled=~has_psf & (sums[..., LIT] > 0),
            dark=dark,
            n_unknown=0 if "has_data" in pairs else n,
            pairs=pairs,
            rows=rows,
            n_controls=int(is_control.sum()),
            n_controls_changed=n_changed,
            max_control_change=change,
            n_nonfinite=(has_psf & ~finite).sum(axis=0, dtype=np.int64),
        )

    def inside(self, rings: Floats) -> Floats:
        """Sum of ``rings`` (..., ring) over r < 5 pix."""
        return rings[..., : int(geometry.CORE_RADIUS_PIX)].sum(axis=-1)

    def outside(self, rings: Floats) -> Floats:
        """Sum of ``rings`` (..., ring) over r >= 20 pix."""
        return rings[..., int(geometry.ANNULUS_INNER_PIX) :].sum(axis=-1)

    def by_stratum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Put ``values`` (n, ...) into the cell of their row's stratum: shape (n, strata + outside, ...)."""
        out = np.zeros((values.shape[0], len(self.edges), *values.shape[1:]), dtype=values.dtype)
        out[np.arange(values.shape[0]), self.stratum] = values
        return out

    def columns(self, names: Iterable[str]) -> xr.Dataset:
        """Given columns of the injection rows, of those that the block has."""
        found = {n: self.pairs.variables[n] for n in names if n in self.pairs}
        return xr.Dataset({n: (v.dims, v.values[self.rows]) for n, v in found.items()})

    def per_band(self, name: str) -> Floats:
        """Values of a column as (n, band), repeated over bands where it has none; NaN where the block lacks it."""
        n, n_bands = self.covered.shape
        if name not in self.pairs:
            return np.full((n, n_bands), np.nan)
        values = column(self.pairs, name)[self.rows].astype(np.float64)
        return np.broadcast_to(values[:, None], (n, n_bands)) if values.ndim == 1 else values


@lru_cache(maxsize=8)
def regions(size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels for the shift (r >= 16 pix, no edge) and of the outer annulus (r >= 20 pix), both (size, size).

    A stamp that ends before has its corners for either.
    """
    middle = geometry.centre(size)
    most = max(size / 2 - 2, 0.0)
    outside = geometry.annulus(size, middle, middle, min(SHIFT_INNER_PIX, most))
    outside[[0, -1]] = outside[:, [0, -1]] = False  # no central difference there
    return outside, geometry.annulus(size, middle, middle, min(geometry.ANNULUS_INNER_PIX, most))


def _middle(
    stamp: NDArray[np.float32],
    ctrl: NDArray[np.float32],
    arc: NDArray[np.float32],
    rows: NDArray[np.int64],
    y_center: Floats,
    x_center: Floats,
) -> Floats:
    """Stamp - ctrl, and stamp - ctrl - arc, of 3 x 3 pixels about the one that holds the target, (n, 2, band, 3, 3)."""
    size, about = stamp.shape[-1], np.arange(-1, 2)
    at = [np.clip(np.rint(v), 1, size - 2).astype(np.int64) for v in (y_center, x_center)]
    y, x = (v[:, None] + about for v in at)
    row = rows[:, None, None]
    s, c, a = (
        np.moveaxis(v[row, :, y[:, :, None], x[:, None, :]], -1, 1).astype(np.float64) for v in (stamp, ctrl, arc)
    )
    return np.stack([s - c, s - c - a], axis=1)


def _moved(
    ctrl: NDArray[np.float32], rows: NDArray[np.int64], row_id: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of the rows have a known shift put in, and their controls after it less before."""
    size, power = ctrl.shape[-1], np.full(len(rows), -1, np.int64)
    chosen = np.flatnonzero(rng.mix_ids(row_id.astype(np.uint64), np.uint64(7)) % np.uint64(_SHIFTED_ONE_IN) == 0)
    # A host's rows have one control, which is moved once.
    again = [k > 0 and same_values(ctrl[rows[chosen[k]]], ctrl[rows[chosen[k - 1]]]) for k in range(chosen.size)]
    fresh = ~np.array(again, bool)
    power[chosen], chosen = np.cumsum(fresh) - 1, chosen[fresh]
    f = np.fft.fftfreq(size)
    step = -2j * np.pi * INJECTED_SHIFT_PIX
    phase = np.exp(step * f[:, None]) * np.exp(step * f[: size // 2 + 1])
    moved = np.empty((chosen.size, *ctrl.shape[1:]), np.float32)
    for first in range(0, chosen.size, _SHIFTED_AT_ONCE):
        still = np.nan_to_num(ctrl[rows[chosen[first : first + _SHIFTED_AT_ONCE]]])
        moved[first : first + len(still)] = fft.irfft2(np.fft.rfft2(still) * phase, s=(size, size)) - still
    return power, moved


def _control_change(stamp: NDArray[Any], ctrl: NDArray[Any], rows: NDArray[np.int64]) -> tuple[float, int]:
    """Largest finite |stamp - ctrl| over the control rows, and how many of them differ anywhere."""
    if rows.size == 0:
        return np.nan, 0
    # Row by row: a copy of them all takes longer than the comparison.
    differing = rows[[not same_values(stamp[k], ctrl[k]) for k in rows]]
    change = np.abs(stamp[differing].astype(np.float64) - ctrl[differing])
    return float(np.max(change, initial=0.0, where=np.isfinite(change))), int(differing.size)
