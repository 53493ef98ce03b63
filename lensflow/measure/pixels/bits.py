"""Bits: do the numbers themselves distinguish stamps from controls, inside the arc's light?

For stamps from anywhere: neither a key nor a gain is needed. What is left of a stamp without its control and its arc is
noise, and the sign of noise is a fair coin in every pixel, whatever its strength. So signs alone are counted: against
nothing (an offset), the host's light (a gain), its gradients (a shift), its curvature (a blur), by position over all
rows, and by spatial frequency, in phase from row to row and in any phase. Their null distribution is exact, no bright
pixel outweighs another, and the threshold does not widen with the leak. Noise without any sign is seen by its scatter:
that of light grows with its square root, so over it residuals are as large in the faintest third of an arc's pixels as
in the brightest. Pixels that were rounded have a test of their own (:mod:`lensflow.measure.pixels.bits_rounded`).

The formats of the numbers are compared with the control's: half precision, trailing zero bits, a lattice, exact zeros,
values that repeat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, special

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels import bits_rounded
from lensflow.measure.pixels.bits_formats import FORMATS, LEAST_PIXELS, formats_of
from lensflow.measure.pixels.bits_pixels import (
    CONTRASTS,
    DEAD,
    N_COUNTS,
    PIXELS,
    bits_pixels,
    lit_pixels,
)
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.specimens import injections
from lensflow.stats.hostsums import column, named, same_layout
from lensflow.stats.medians import median_of

# The noise of fainter pixels is near the rounding of single precision, which is no light's: so many roundings, and a
# share of the peak.
_ROUNDINGS, _FAINTEST = 32 * 2.0**-23, 1e-5
EVERY_CONTRAST = (*CONTRASTS, "scatter in faint light")
_ROWS_AT_ONCE = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bits:
    """Signs of the residuals and formats of the numbers, of a sample of injection rows.

    Attributes
    ----------
    n_rows : int
    n_rounded : ndarray (band,)
        Rows whose pixels are rounded: their residuals are steps, whose signs are no coin; ``recompute`` holds those.
    n_looked : ndarray (band,)
        Rows with an arc that were looked at.
    n_format : ndarray (band, format)
        Rows whose numbers are of another format than their control's.
    n_dead : ndarray (band,)
        Pixels that are exactly 0 in the stamp and not in the control.
    contrasts : ndarray (band, contrast, 2)
    pattern : ndarray (2, band, y, x)
        Sums of signs by position, and how many.
    power : ndarray (2, band, y, x // 2 + 1)
        Summed power of the signs by frequency; of these the second is the sum of the squared numbers of pixels.
    noise : ndarray (band, 2)
        Sum of log10 of the rows' median residuals, nMgy, and of how many.
    rounded : ndarray (3, band, y, x)
        Of the rows that are rounded: sums of the residuals over their scatter, of their squares, and how many.
    odd : ndarray (2, band, y, x // 2 + 1)
        Sums of the part of their spectra that is odd about the stamp's centre, and of its squares.
    lines, n_lines : ndarray (2, band, frequency) and (band,)
        Of stamps and controls: power of the histograms of their steps, where steps are known; and how many rows.
    """

    bands: tuple[str, ...]
    n_rows: int
    n_rounded: NDArray[np.int64]
    n_looked: NDArray[np.int64]
    n_format: NDArray[np.int64]
    n_dead: NDArray[np.int64]
    contrasts: NDArray[np.int64]
    pattern: NDArray[np.int64]
    power: Floats
    squares: Floats
    noise: Floats
    rounded: Floats
    odd: Floats
    lines: Floats
    n_lines: NDArray[np.int64]

    @classmethod
    def from_block(cls, block: Block) -> Bits:
        """Measure the chosen rows of one block."""
        pairs, bands, size = block.pairs, block.bands, block.stamp_size
        rows, _ = injections(pairs, block.last_key)
        total = cls._none(bands, size)
        for start in range(0, rows.size, _ROWS_AT_ONCE):
            total = total + _look(pairs, rows[start : start + _ROWS_AT_ONCE], cls._none(bands, size))
        return total

    @classmethod
    def _none(cls, bands: tuple[str, ...], size: int) -> Bits:
        n = len(bands)
        whole = np.zeros((2, n, size, size), np.int64)
        counts = (np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros((n, len(FORMATS)), np.int64),
                  np.zeros(n, np.int64), np.zeros((n, len(EVERY_CONTRAST), 2), np.int64))  # fmt: skip
        waves, rounded = np.zeros((n, size, size // 2 + 1)), np.zeros((3, n, size, size))
        odd, lines = np.stack([waves, waves]), np.zeros((2, n, bits_rounded.LINES_LENGTH // 2 + 1))
        none, few = np.zeros((n, 2)), np.zeros(n, np.int64)
        return cls(bands, 0, *counts, whole, waves, none, none, rounded, odd, lines, few)

    def __add__(self, other: Bits) -> Bits:
        same_layout((self.bands, self.pattern.shape), (other.bands, other.pattern.shape))
        return Bits(
            self.bands,
            self.n_rows + other.n_rows,
            self.n_rounded + other.n_rounded,
            self.n_looked + other.n_looked,
            self.n_format + other.n_format,
            self.n_dead + other.n_dead,
            self.contrasts + other.contrasts,
            self.pattern + other.pattern,
            self.power + other.power,
            self.squares + other.squares,
            self.noise + other.noise,
            self.rounded + other.rounded,
            self.odd + other.odd,
            self.lines + other.lines,
            self.n_lines + other.n_lines,
        )

    def result(self, settings: Settings | None = None) -> xr.Dataset:
        """Probabilities of the result for fair coins, and rows with another format."""
        band = list(self.bands)
        of_contrasts = _two_sided(self.contrasts[..., 0], self.contrasts[..., 1])
        signs, n = self.pattern
        of_positions = _two_sided(signs, n)
        coins = n.sum(axis=(1, 2), dtype=np.float64)
        in_phase, waves = self._in_phase(coins)
        any_phase = self._any_phase(coins)
        maps = [of_positions, in_phase, any_phase, *bits_rounded.chances(*self.rounded, *self.odd)]
        places = [_least(p) for p in maps]
        size = signs.shape[-1]
        where = [
            [f"x {k % size}, y {k // size}" if p.shape[-1] == size else _wave(k, p.shape[-1], size) for k in best]
            for p, (_, best) in zip(maps, places, strict=True)
        ]
        # Multiplied by the number of tests: a probability of 1 % means 1 % for all of them together.
        tries = np.array([signs[0].size, waves, waves, signs[0].size, waves, waves]) * len(band)
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = 10 ** (self.noise[:, 0] / self.noise[:, 1])
            smallest = 4.9 * np.sqrt(np.pi / 2) * noise / special.erfinv(0.5) / np.sqrt(2) / np.sqrt(coins)
        out = {
            "n_format": named(
                ["band", "format"], self.n_format, "1",
                "rows whose numbers are of another format than their control's where the arc is; must be 0",
            ),
            "n_dead": named(["band"], self.n_dead, "1", "pixels that are exactly 0 in stamps and not in controls"),
            "contrast_z": named(
                ["band", "contrast"], _z(self.contrasts[..., 0], self.contrasts[..., 1]), "1",
                "signs of stamp - ctrl - arc beside the host's light and its derivatives, and its scatter in the arc's "
                "faint light, in standard deviations",
            ),
            "contrast_p": named(
                ["band", "contrast"], np.minimum(of_contrasts * self.contrasts[..., 0].size, 1), "1",
                "chance of a fair coin to reach that in any of them",
            ),
            "pattern_p": named(
                ["pattern", "band"], np.minimum(np.array([p for p, _ in places]) * tries[:, None], 1), "1",
                "chance of a fair coin to reach the largest of a map of the signs of stamp - ctrl - arc",
            ),
            "pattern_where": named(["pattern", "band"], np.array(where), "", "where the largest is"),
            "smallest_nmgy": named(
                ["band"], smallest, "nMgy/pixel",
                "amplitude of a pattern, the same in every row, that is seen with 80 % probability (from above: faint "
                "pixels see less)",
            ),
            "second_lattice": named(
                ["band"], bits_rounded.second_lattice(self.lines, self.n_lines), "1",
                "mean power of a second lattice in rounded stamps, of another step, that their controls have not; 1 is "
                "chance",
            ),
            "n_coins": named(["band"], coins.astype(np.int64), "1", "pixels whose sign was counted"),
            "n_looked": named(["band"], self.n_looked, "1", "rows with an arc that were looked at"),
            "n_rounded": named(["band"], self.n_rounded, "1", "rows whose pixels are rounded: no coins"),
        }  # fmt: skip
        coords = {
            "band": band, "format": list(FORMATS), "contrast": list(EVERY_CONTRAST),
            "pattern": [
                "by position", "by frequency, in phase", "by frequency, any phase", *bits_rounded.PATTERNS
            ],
        }  # fmt: skip
        return xr.Dataset(out, coords=coords, attrs={"title": "bits", "n_rows": self.n_rows})

    def _in_phase(self, coins: Floats) -> tuple[Floats, int]:
        """Chance of each frequency of the signs' sum over rows; and how many there are."""
        wave = np.fft.rfft2(self.pattern[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.abs(wave) ** 2 / coins[:, None, None]
        p = np.exp(-share)
        size = self.pattern.shape[-1]
        real = [0, size // 2] if size % 2 == 0 else [0]
        p[:, [[k] for k in real], real] = special.erfc(np.sqrt(share[:, [[k] for k in real], real] / 2))
        return np.where(coins[:, None, None] > 0, p, 1.0), p[0].size

    def _any_phase(self, coins: Floats) -> Floats:
        """Chance of each frequency's power: a sum of exponentials, as wide as the rows are unequal."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = (coins**2 / self.squares[:, 0])[:, None, None]
            mean = self.power / coins[:, None, None]
            p = special.gammaincc(np.nan_to_num(rows), np.nan_to_num(rows * mean))
        # Waves that are their own mirror image have one phase only, and a power twice as wide.
        size = self.pattern.shape[-1]
        real = [0, size // 2] if size % 2 == 0 else [0]
        at = (slice(None), [[k] for k in real], real)
        p[at] = special.gammaincc(np.nan_to_num(rows) / 2, np.nan_to_num(rows * mean[at]) / 2)
        return np.where(coins[:, None, None] > 0, p, 1.0)


def _look(pairs: xr.Dataset, rows: NDArray[np.int64], none: Bits) -> Bits:
    """Measure some rows."""
    stamp, ctrl, arc = (np.ascontiguousarray(column(pairs, k)[rows], np.float32) for k in ("stamp", "ctrl", "arc"))
    n, bands = stamp.shape[:2]
    step = column(pairs, "quantize_step_nmgy")[rows] if "quantize_step_nmgy" in pairs else np.zeros((n, bands))
    lit = (arc != 0).any(axis=(2, 3))
    rounded = lit & (step > 0)
    used = lit & ~rounded
    signs = np.zeros(stamp.shape, np.int8)
    counts, contrasts = np.zeros((n, bands, N_COUNTS), np.int64), np.zeros((n, bands, len(EVERY_CONTRAST), 2), np.int64)
    bits_pixels(stamp, ctrl, arc, stamp.view(np.uint32), ctrl.view(np.uint32), used, signs, counts, contrasts)
    formats = np.zeros((n, bands, len(FORMATS)), bool)
    squares, noise, steps = none.squares.copy(), none.noise.copy(), none.rounded.copy()
    odd, powers, n_lines = none.odd.copy(), none.lines.copy(), none.n_lines.copy()
    for i, b in np.argwhere(used & (counts[..., PIXELS] >= LEAST_PIXELS)):
        formats[i, b], regular = formats_of(stamp[i, b], ctrl[i, b], arc[i, b] != 0, counts[i, b])
        if regular:  # rounded before it came here
            rounded[i, b], used[i, b] = True, False
            signs[i, b], contrasts[i, b] = 0, 0
            continue
        counted = signs[i, b] != 0
        rest = stamp[i, b][counted].astype(np.float64) - ctrl[i, b][counted] - arc[i, b][counted]
        if rest.size:
            noise[b] += np.log10(median_of(np.abs(rest))), 1
        contrasts[i, b, -1] = _scatter(stamp[i, b], ctrl[i, b], arc[i, b])
    for i, b in np.argwhere(rounded):
        rest = bits_rounded.residuals(stamp[i, b], ctrl[i, b], arc[i, b])
        steps[:, b] += rest, rest**2, arc[i, b] != 0
        of_row = bits_rounded.odd_part(rest)
        odd[:, b] += of_row, of_row**2
        if step[i, b] > 0:
            lit_pixels = arc[i, b] != 0
            powers[:, b] += [bits_rounded.lines(v[i, b][lit_pixels], float(step[i, b])) for v in (stamp, ctrl)]
            n_lines[b] += 1
    per_row = np.abs(signs).sum(axis=(2, 3), dtype=np.float64)
    squares[:, 0] = (per_row**2).sum(axis=0)
    power = (np.abs(fft.rfft2(signs.astype(np.float64))) ** 2).sum(axis=0)
    pattern = np.stack([signs.sum(axis=0, dtype=np.int64), np.abs(signs).sum(axis=0, dtype=np.int64)])
    return Bits(
        none.bands, n, rounded.sum(axis=0, dtype=np.int64), used.sum(axis=0, dtype=np.int64),
        formats.sum(axis=0, dtype=np.int64), counts[..., DEAD].sum(axis=0, dtype=np.int64),
        contrasts.sum(axis=0, dtype=np.int64), pattern, power, squares, noise, steps, odd, powers, n_lines,
    )  # fmt: skip


def _scatter(stamp: NDArray[np.float32], ctrl: NDArray[np.float32], arc: NDArray[np.float32]) -> tuple[int, int]:
    """Of residuals over the root of the arc: large ones less small ones in faint light, less the same in bright light.

    Two thirds of as many pixels, so that the difference has the variance of as many coins as there are pixels.
    """
    size, light, largest = np.empty(arc.size), np.empty(arc.size), np.empty(arc.size, np.float32)
    n = lit_pixels(stamp, ctrl, arc, _FAINTEST * arc.max(initial=0.0), size, light, largest)
    if n < 3 * LEAST_PIXELS:
        return 0, 0
    size, light, largest = size[:n], light[:n], largest[:n]
    middle = median_of(size)
    clear = middle * light > _ROUNDINGS * largest
    if not clear.all():
        size, light = size[clear], light[clear]
        if size.size < 3 * LEAST_PIXELS:
            return 0, 0
        middle = median_of(size)
    n = size.size // 3
    large = (size > middle)[np.argpartition(light, (n, size.size - n))]
    return 2 * int(large[:n].sum() - large[-n:].sum()), 2 * n


def _z(signs: NDArray[np.int64], n: NDArray[np.int64]) -> Floats:
    return np.divide(signs, np.sqrt(n), out=np.zeros(signs.shape), where=n > 0)


def _two_sided(signs: NDArray[np.int64], n: NDArray[np.int64]) -> Floats:
    """Upper bound on the probability of such an excess of one sign: the normal tail is wider than the binomial one."""
    return np.asarray(special.erfc(np.abs(_z(signs, n)) / np.sqrt(2)))


def _least(p: Floats) -> tuple[Floats, NDArray[np.int64]]:
    flat = p.reshape(len(p), -1)
    best = flat.argmin(axis=1)
    return np.take_along_axis(flat, best[:, None], axis=1)[:, 0], best


def _wave(flat: int, columns: int, size: int) -> str:
    ky, kx = divmod(int(flat), columns)
    ky = ky if ky <= size // 2 else ky - size
    return f"{kx / size:.3g}, {ky / size:.3g} cycles/pixel along x, y"
