"""The measured PSFs of a call: which row and band uses which, each prepared once and made ready for the engine.

Beyond its edge a kernel is 0 at pixel distances, but between them what is band-limited oscillates, by as much as it has
power at 0.5 cycles per pixel: 1e-7 of the peak for a smooth PSF of 4 pixels, 4e-4 with noise of 0.2 % of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import RenderError
from lensflow.geometry import centre
from lensflow.lensing.engine.matmul import LANES
from lensflow.lensing.psf_image import KernelPSF, prepare_kernel

# The corner of the square of frequencies that a sampled kernel has: 0.5 cycles per pixel along each axis.
_CORNER = math.sqrt(0.5)
# What lies beyond the highest frequency used, over the kernel's peak: the worst that it can change a point's image.
NEGLECTED = 1e-4
_STEPS = 32
# What a kernel's samples cannot know counts from this share of its peak on.
UNSEEN_FROM = 5e-5
# Where the outermost ring of frequencies begins (`bands.outer_ring`).
_RING = 0.85


@dataclass(frozen=True)
class PackedKernels:
    """Prepared kernels, one entry for each that is used.

    Attributes
    ----------
    entry : which of the entries, -1 where there is none, (sample, band).
    size : pixels on a side, (entry,).
    fold : the kernels folded about their middle into the parts even and odd along y and x, (entry, 4, h, h) float32.
    cut : highest frequency used, cycles per pixel, (entry,).
    neglected : what lies beyond it, over the kernel's peak, (entry,).
    fwhm_pix : of the Gaussian with the kernel's noise-equivalent area, (entry,).
    unseen : what lies beyond 0.5 cycles per pixel, where samples know nothing, over what lies in the ring inside of
        it (from 0.425 on); 0 for a kernel that is sampled well enough, (entry,).
    far : largest value of the kernel at the distance r = 0, 1, ... pixels from its centre and beyond, (entry, r).
    """

    entry: NDArray[np.int64]
    size: NDArray[np.int64]
    fold: NDArray[np.float32]
    cut: NDArray[np.float64]
    neglected: NDArray[np.float64]
    fwhm_pix: NDArray[np.float64]
    unseen: NDArray[np.float64]
    far: NDArray[np.float64]


def no_kernels(samples: int, bands: int) -> PackedKernels:
    """What the engine reads where the PSFs are analytic."""
    none = np.zeros(0)
    entry = np.full((samples, bands), -1, dtype=np.int64)
    fold = np.zeros((0, 4, LANES, LANES), np.float32)
    return PackedKernels(entry, none.astype(np.int64), fold, none, none, none, none, np.zeros((0, 1)))


class KernelSet:
    """Kernels as the user gave them, and which row uses which.

    Parameters
    ----------
    kernels : ndarray
        Float, shape (band, k, k) or (n, band, k, k); or of KernelPSF and None, shape (band,) or (n, band).
    index : array_like of int, shape (sample,), optional
        Row to kernels; without it, ``n`` is the number of rows.
    samples : int

    Raises
    ------
    RenderError
        If the shapes do not fit.
    """

    def __init__(self, kernels: NDArray[Any], index: ArrayLike | None, samples: int) -> None:
        self.prepared = kernels.dtype == object
        shape = "(band,) or (n, band)" if self.prepared else "(band, k, k) or (n, band, k, k)"
        leading = kernels.ndim - (0 if self.prepared else 2)
        if leading not in (1, 2):
            raise RenderError(f"psf_model: kernels must have the shape {shape}, not {kernels.shape}")
        self.one_for_all = leading == 1 and index is None
        if leading == 1 and index is not None:
            raise RenderError(
                f"psf_index needs kernels with a leading axis to point into, not the shape {kernels.shape}"
            )
        self.values = kernels[None] if leading == 1 else kernels
        if index is not None:
            self.index = np.atleast_1d(np.asarray(index))
            if self.index.shape != (samples,) or self.index.dtype.kind not in "iu":
                found = f"{self.index.dtype} of the shape {self.index.shape}"
                raise RenderError(f"psf_index must be whole numbers of the shape ({samples},), not {found}")
            self.index = self.index.astype(np.int64)
        elif self.one_for_all:
            self.index = np.zeros(samples, dtype=np.int64)
        elif len(kernels) == samples:
            self.index = np.arange(samples)
        else:
            text = f"psf_model holds {len(kernels)} sets of kernels for {samples} rows"
            raise RenderError(f"{text}; say by psf_index which row uses which")

    def given(self, control: NDArray[np.bool_], bands: int, name: Callable[[int], str]) -> NDArray[np.bool_]:
        """Where a row has a kernel, (sample, band): it is no None and not all NaN. Controls have none.

        Raises
        ------
        RenderError
            If the bands differ, or an injection points outside of the kernels.
        """
        count, own_bands = self.values.shape[:2]
        if own_bands != bands:
            raise RenderError(f"psf_model holds kernels of {own_bands} bands, src_flux_nmgy has {bands}")
        outside = ~control & ((self.index < 0) | (self.index >= count))
        if outside.any():
            i = int(np.argmax(outside))
            raise RenderError(f"{name(i)}: psf_index must be in [0, {count - 1}], not {self.index[i]}")
        if self.prepared:
            there = np.array([[k is not None for k in line] for line in self.values], dtype=bool)
        else:
            there = ~np.isnan(self.values).all(axis=(2, 3))
        if not count:
            return np.zeros((control.size, bands), dtype=bool)
        return np.asarray(there[np.where(control, 0, self.index)] & ~control[:, None])

    def pack(self, used: NDArray[np.bool_], name: Callable[[int], str]) -> PackedKernels:
        """Prepare every kernel that ``used`` (sample, band) asks for.

        Raises
        ------
        RenderError
            If a kernel cannot serve; names it and the first row that uses it.
        """
        entry = np.full(used.shape, -1, dtype=np.int64)
        first: dict[tuple[int, int], int] = {}
        known: dict[tuple[int, int], int] = {}
        for i, band in np.argwhere(used):
            key = (int(self.index[i]), int(band))
            first.setdefault(key, int(i))
            entry[i, band] = known.setdefault(key, len(known))
        kernels = [self._prepare(key, name(first[key])) for key in known]
        size = np.array([len(k.kernel) for k in kernels], dtype=np.int64)
        h = (int(size.max(initial=1)) + 1) // 2
        wide = (h + LANES - 1) // LANES * LANES
        fold = np.zeros((len(kernels), 4, wide, wide), dtype=np.float32)
        cut, neglected, unseen = (np.zeros(len(kernels)) for _ in range(3))
        far = np.zeros((len(kernels), int(size.max(initial=1)) + 2))
        for k, prepared in enumerate(kernels):
            half = (len(prepared.kernel) + 1) // 2
            fold[k, :, :half, :half] = _fold(prepared.kernel)
            cut[k], neglected[k] = _cut(prepared.kernel)
            unseen[k] = _unseen(prepared.kernel)
            far[k] = _far(prepared.kernel, far.shape[1])
        widths = np.array([k.psfsize_pix for k in kernels])
        return PackedKernels(entry, size, fold, cut, neglected, widths, unseen, far)

    def _prepare(self, key: tuple[int, int], row: str) -> KernelPSF:
        value = self.values[key]
        if self.prepared:
            if not isinstance(value, KernelPSF):
                raise RenderError(f"psf_model: band {key[1]} of {row} must be a KernelPSF or None, not {type(value)}")
            return value
        which = f"band {key[1]}" if self.one_for_all else f"{key[0]}, band {key[1]} ({row})"
        return prepare_kernel(value, name=f"PSF kernel {which}")


def _fold(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums and differences of a kernel's four quarters; the middle row and column of an odd one count half each."""
    middle, odd = len(kernel) // 2, len(kernel) % 2
    weight = np.ones(middle + odd)
    if odd:
        weight[0] = 0.5
    up, down = kernel[middle:], kernel[middle - 1 + odd :: -1]
    even_odd = []
    for y in (up + down, up - down):
        right, left = y[:, middle:], y[:, middle - 1 + odd :: -1]
        even_odd += [right + left, right - left]
    return np.array(even_odd) * weight[:, None] * weight


def _cut(kernel: NDArray[np.float64]) -> tuple[float, float]:
    """Lowest frequency beyond which the kernel holds no more than NEGLECTED of its peak, and how much that is."""
    transform = np.fft.fft2(kernel)
    f = np.fft.fftfreq(len(kernel))
    radius = np.hypot(f[:, None], f)
    peak = float(kernel.max())

    def beyond(cut: float) -> float:
        return float(np.abs(np.fft.ifft2(np.where(radius >= cut, transform, 0))).max()) / peak

    low, high = 0, _STEPS
    neglected = 0.0
    while high - low > 1:
        middle = (low + high) // 2
        left_out = beyond(middle / _STEPS * _CORNER)
        if left_out <= NEGLECTED:
            high, neglected = middle, left_out
        else:
            low = middle
    return high / _STEPS * _CORNER, neglected


def _far(kernel: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Largest value at the distances 0, 1, ... from the centre and beyond each, pixels."""
    axis = np.abs(np.arange(len(kernel)) - centre(len(kernel)))
    ring = np.minimum(np.hypot(axis[:, None], axis).astype(np.int64), reach - 1)
    most = np.zeros(reach)
    np.maximum.at(most, ring, np.abs(kernel))
    return np.maximum.accumulate(most[::-1])[::-1]


def _unseen(kernel: NDArray[np.float64]) -> float:
    """What a kernel transmits beyond 0.5 cycles per pixel, extrapolated, over its ring from 0.425 to 0.5.

    Of the mean of its transform in rings: the phases of noise are random, and do not add up.
    """
    n = len(kernel)
    f = np.fft.fftfreq(n)
    about = np.exp(2j * np.pi * f * centre(n))
    transform = (np.fft.fft2(kernel) * about[:, None] * about).real
    ring = np.maximum(np.abs(f)[:, None], np.abs(f))
    inner, outer = (float(transform[(ring > a) & (ring <= a + 0.05)].mean()) for a in (0.40, 0.45))
    if outer <= 0 or outer >= inner:
        return 0.0
    decay = math.log(inner / outer) / 0.05
    # At 0.5 the transform and its alias are equal, and samples hold both. Beyond lie four sides and four corners.
    beyond = 0.25 * outer * math.exp(-0.025 * decay) * (4 / decay + 8 / decay**2)
    radius = np.hypot(f[:, None], f)
    annulus = float(np.abs(np.where((radius >= _RING * 0.5) & (radius < 0.5), transform, 0.0)).mean())
    return beyond / annulus if beyond > UNSEEN_FROM * float(transform.mean()) else 0.0
