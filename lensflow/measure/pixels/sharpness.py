"""Sharpness: do the arcs have structure finer than their PSF allows?

Light that went through a PSF has at each spatial frequency at most its flux times the PSF's transfer function. What
arcs have beyond, in phase from row to row, was put in afterwards, into arc and stamp alike: a pattern, a mask with an
edge. It is seen without key, hosts or another rendering. Noise of any kind, also of a measured PSF, has another phase
in every row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, special

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.specimens import injections
from lensflow.stats.hostsums import column, named, same_layout

Floats = NDArray[np.float64]

# The widest wings that a PSF may have here: the transfer function of a Moffat with this beta is the highest.
BETA = 2.0
# Arcs may have this many times the limit of the transfer function, plus the window's leakage.
TOLERANCE, WINDOW_LEAKS, KAISER_BETA = 2.0, 2e-5, 14.0
# Tested frequencies, cycles per pixel; the window mixes those closer than its width.
FINEST_FROM, WINDOW_WIDTH = 0.3, 0.06
# In phase: beyond this many times the root of the summed squares; fewer rows cannot reach it.
PHASES, LEAST_ROWS = 4.5, 30
# Where a PSF lets so much through at every frequency, it is too narrow for the pixels to say anything.
_TOO_NARROW = 0.1
# So few that their spectra stay in the processor's cache.
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Sharpness:
    """Sums over rows of the arcs' spectra, with the limit from their PSFs.

    Attributes
    ----------
    n_rows : ndarray (band,)
    masked : int
        Rows that are masked by the settings: their edges are for ``mask_edge``.
    spectrum : ndarray of complex (band, y, x // 2 + 1)
    square, allowed : ndarray (band, y, x // 2 + 1)
        Sums of the squared moduli, and of the largest moduli that light may have.
    """

    bands: tuple[str, ...]
    n_rows: NDArray[np.int64]
    masked: int
    spectrum: NDArray[np.complex128]
    square: Floats
    allowed: Floats

    @classmethod
    def from_block(cls, block: Block) -> Sharpness:
        """Look at the rows of one block that :class:`lensflow.measure.pixels.bits.Bits` looks at."""
        pairs, origin, bands, size = block.pairs, block.origin, block.bands, block.stamp_size
        rows, _ = injections(pairs, block.last_key)
        shape = (len(bands), size, size // 2 + 1)
        masked = np.zeros(rows.size, bool)
        if origin is not None and origin.injection.core_mask_radius_pix > 0:
            masked[:] = True
        elif "core_mask_radius_pix" in pairs:
            masked = np.nan_to_num(column(pairs, "core_mask_radius_pix")[rows]) > 0
        none = np.zeros(len(bands), np.int64), int(masked.sum()), np.zeros(shape, complex), np.zeros(shape)
        total = cls(bands, *none, np.zeros(shape))
        scale = block.pixel_scale_arcsec
        rows = rows[~masked] if np.isfinite(scale) else rows[:0]
        for start in range(0, rows.size, _ROWS_AT_ONCE):
            total = total + _look(pairs, rows[start : start + _ROWS_AT_ONCE], bands, scale)
        return total

    def __add__(self, other: Sharpness) -> Sharpness:
        same_layout((self.bands, self.square.shape), (other.bands, other.square.shape))
        return Sharpness(
            self.bands,
            self.n_rows + other.n_rows,
            self.masked + other.masked,
            self.spectrum + other.spectrum,
            self.square + other.square,
            self.allowed + other.allowed,
        )

    def result(self, settings: Settings | None = None) -> xr.Dataset:
        """Largest modulus relative to the limit, and its frequency."""
        size = self.square.shape[1]
        fy, fx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
        fine = np.hypot(fy[:, None], fx) >= FINEST_FROM
        limit = TOLERANCE * self.allowed + PHASES * np.sqrt(self.square)
        over = np.divide(np.abs(self.spectrum), limit, out=np.zeros(limit.shape), where=fine & (limit > 0))
        flux = self.allowed[:, 0, 0]  # at frequency 0 all of it is let through
        finest = np.divide(self.allowed[:, size // 2, -1], flux, out=np.ones(len(self.bands)), where=flux > 0)
        tested = (self.n_rows >= LEAST_ROWS) & (finest < _TOO_NARROW)
        flat = over.reshape(len(self.bands), -1).argmax(axis=1)
        of_board = np.divide(limit[:, size // 2, -1], flux, out=np.full(flux.size, np.nan), where=flux > 0)
        where = [f"{fx[k % fx.size]:.3g}, {fy[k // fx.size]:.3g} cycles/pixel along x, y" for k in flat]
        why = "no row that can be looked at"
        if self.masked and not self.n_rows.any():
            why = "arcs are masked by the settings; whether the mask can be seen is for the gate mask_edge"
        elif self.n_rows.any():
            why = f"fewer than {LEAST_ROWS} rows, or a PSF that is too narrow for the pixels"
        out = {
            "over_limit": named(
                ["band"], np.where(tested, over.max(axis=(1, 2)), np.nan), "1",
                "light of the arcs that is finer than their PSFs let through, in phase from row to row, over what "
                "light may have",
            ),
            "where": named(["band"], np.array(where), "", "the frequency at which it is largest"),
            "limit_share": named(
                ["band"], of_board, "1", "what light may have of a checkerboard, over the arcs' flux"
            ),
            "n_rows": named(["band"], self.n_rows, "1", "rows looked at"),
        }  # fmt: skip
        attrs = {"title": "arcs are no finer than their PSF", "why": "" if tested.any() else why}
        return xr.Dataset(out, coords={"band": list(self.bands)}, attrs=attrs)


def kaiser(size: int) -> Floats:
    """Kaiser's window, shape (size,), to the bits of scipy.signal: to import that takes half a second."""
    half = (size - 1) / 2.0
    inside = np.sqrt(1 - ((np.arange(size, dtype=np.float64) - half) / half) ** 2.0)
    return np.asarray(special.i0(KAISER_BETA * inside) / special.i0(KAISER_BETA))


def _look(pairs: xr.Dataset, rows: NDArray[np.int64], bands: tuple[str, ...], scale: float) -> Sharpness:
    arc = column(pairs, "arc")[rows].astype(np.float64)
    size, n = arc.shape[-1], len(bands)
    fwhm = column(pairs, "psf_fwhm_arcsec")[rows].astype(np.float64) / scale
    # Light is missing where the survey has no data: an edge that is nobody's fault.
    if "has_data" in pairs:
        whole = column(pairs, "has_data")[rows].all(axis=(2, 3))
    else:
        ctrl = column(pairs, "ctrl")[rows]
        whole = (np.isfinite(ctrl) & (ctrl != 0)).all(axis=(2, 3))
    used = whole & (fwhm > 0) & np.isfinite(arc).all(axis=(2, 3)) & (arc > 0).any(axis=(2, 3))
    window = kaiser(size)
    spectrum = np.where(used[..., None, None], fft.rfft2(np.nan_to_num(arc) * np.outer(window, window)), 0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    axis = np.linspace(0, frequency.max(), 256)
    allowed = np.zeros((n, *frequency.shape))
    flux = np.nan_to_num(np.abs(arc).sum(axis=(2, 3)))
    for b in range(n):
        passed = np.zeros(axis.size)
        for i in np.flatnonzero(used[:, b]):
            passed += flux[i, b] * (transfer(axis, fwhm[i, b]) + WINDOW_LEAKS)
        allowed[b] = np.interp(frequency, axis, passed)
    return Sharpness(
        bands, used.sum(axis=0, dtype=np.int64), 0, spectrum.sum(axis=0), (np.abs(spectrum) ** 2).sum(axis=0), allowed
    )


def transfer(cycles_per_pix: Floats, fwhm_pix: float) -> Floats:
    """Largest share of light that a PSF of this width lets through, at frequencies that a window has smeared."""
    k = np.maximum(cycles_per_pix - WINDOW_WIDTH, 0.0)
    x = 2 * np.pi * k * fwhm_pix / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    # Of a Moffat of beta 2: x K_1(x).
    return np.where(x > 0, x * special.k1(np.maximum(x, 1e-12)), 1.0)
