"""Recompute every stored stamp from its host, its stored arc and its row's key, and compare.

A stamp is ``float32(host + arc + noise)``, the noise drawn from the row's key and scaled by the host's gain. All of it
is known, so the stamp is made again by the function that made it, and compared bit for bit.

Where pixels were rounded, the arc before its rounding is known to one of its own steps: the draw is keyed, so both ends
of that step are known. The stamps of both ends are rounded as stamps are, and the stored one must be on the lattice and
not beyond either. Where both ends give one value, that is the only one allowed: the pixel is held exactly.

Where nothing was rounded, one pass finds the rows that are plainly what they must be
(:mod:`lensflow.measure.pixels.recompute_plain`); only others are made again as injection makes them, and measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.injection.inject import add_arcs, combine, effective_gain, rows_of_hosts
from lensflow.injection.rounding import ARC, before_rounding, round_pixels, rounding_steps
from lensflow.jit import compiled
from lensflow.lensing.noise import arc_noise, variance_per_nmgy
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.origin import Origin
from lensflow.measure.pixels.recompute_plain import plainly_made
from lensflow.stats.hostsums import column, named, ratio, same_layout

# Rows compared at once: a few MB of pixels.
_ROWS_AT_ONCE = 96
_NEEDED = (
    "stamp", "ctrl", "arc", "row_id", "host_index", "is_control", "psf_fwhm_arcsec", "x_center", "y_center",
    "quantize_step_nmgy",
)  # fmt: skip
NO_HOSTS = "the hosts are not given with these pairs; `lensflow diagnose` has them, and so has lf.diagnose(cutouts=...)"

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Worst:
    """The pixel furthest from its required value."""

    difference: float  # nMgy/pixel; infinite where it is no number, or cannot be made again
    row_id: int
    host_index: int
    band: int
    y: int
    x: int
    pixels: int  # of this row and band that are not what they must be

    @property
    def order(self) -> tuple[float, int, int]:
        """The same pixel comes first, however the rows are divided into blocks."""
        return (-self.difference, self.row_id, self.band)


@dataclass(frozen=True, eq=False)
class Recompute:
    """Rows and pixels that differ from the recomputed ones; all rows, per band."""

    bands: tuple[str, ...]
    n_rows: int
    n_differing: NDArray[np.int64]  # (band,): rows
    n_pixels: NDArray[np.int64]  # (band,): pixels that differ
    n_exact: NDArray[np.int64]  # (band,): pixels with a single allowed value
    n_compared: NDArray[np.int64]  # (band,): pixels
    worst: Worst | None
    why: str

    @classmethod
    def from_block(cls, block: Block) -> Recompute:
        """Make the stamps of a block again, and compare."""
        pairs, origin, bands = block.pairs, block.origin, block.bands
        none = np.zeros(len(bands), np.int64)
        total = cls(bands, 0, none, none, none, none, None, "")
        if origin is None or origin.hosts is None:
            return replace(total, why=NO_HOSTS)
        made = plainly_made(pairs, origin, bands)
        n = np.full(len(bands), made.sum() * pairs.sizes["y"] * pairs.sizes["x"], np.int64)
        total = replace(total, n_rows=int(made.sum()), n_exact=n, n_compared=n)
        needed, rest = pairs[[name for name in _NEEDED if name in pairs.variables]], np.flatnonzero(~made)
        for start in range(0, rest.size, _ROWS_AT_ONCE):
            total = total + _compare(needed.isel(sample=rest[start : start + _ROWS_AT_ONCE]), origin, bands)
        return total

    def __add__(self, other: Recompute) -> Recompute:
        same_layout(self.bands, other.bands)
        found = [w for w in (self.worst, other.worst) if w is not None]
        return Recompute(
            self.bands,
            self.n_rows + other.n_rows,
            self.n_differing + other.n_differing,
            self.n_pixels + other.n_pixels,
            self.n_exact + other.n_exact,
            self.n_compared + other.n_compared,
            min(found, key=lambda w: w.order) if found else None,
            self.why or other.why,
        )

    def result(self, settings: Settings | None = None) -> xr.Dataset:
        """Rows and pixels that differ, and the worst of them by name."""
        exact = ratio(self.n_exact, self.n_compared)
        out = {
            "n_differing": named(
                ["band"], self.n_differing, "1",
                "rows whose pixels are not what injection makes of host, stored arc and the row's key; must be 0",
            ),
            "n_pixels": named(["band"], self.n_pixels, "1", "pixels of those rows that differ"),
            "exact_share": named(
                ["band"], exact, "1", "pixels held to a single value; others, rounded, may have one of a few"
            ),
            "n_rows": named([], self.n_rows, "1", "rows compared, controls included"),
        }  # fmt: skip
        return xr.Dataset(
            out,
            coords={"band": list(self.bands)},
            attrs={"title": "stamps made again", "why": self.why, "worst": self._worst()},
        )

    def _worst(self) -> str:
        if self.worst is None:
            return ""
        w = self.worst
        by = f"by {w.difference:.3g} nMgy" if np.isfinite(w.difference) else "and cannot be made again"
        return (
            f"row_id {w.row_id} (host_index {w.host_index}), {self.bands[w.band]}, pixel x {w.x}, y {w.y}: off {by}; "
            f"{w.pixels:,} pixels of that row and band differ"
        )


def _compare(pairs: xr.Dataset, origin: Origin, bands: tuple[str, ...]) -> Recompute:
    """Compare a few rows."""
    stamp, ctrl, arc = (np.ascontiguousarray(column(pairs, k), np.float32) for k in ("stamp", "ctrl", "arc"))
    assert origin.hosts is not None
    rows = rows_of_hosts(origin.hosts, column(pairs, "host_index").astype(np.int64))
    again = _Again(pairs, origin, rows, arc, list(bands))
    low, high = again.stamps()
    shape = (len(stamp), len(bands))
    counts, furthest = np.zeros((*shape, 2), np.int64), np.zeros((*shape, 2))
    compare_pixels(stamp, low, high, ctrl, *again.controls(), again.step, arc, again.fine, counts, furthest)
    # A band without a gain cannot have an arc, nor a row another step than its host's noise gives.
    refused = again.refused | (again.step != again.stored_step)
    furthest[..., 0] = np.where(refused, np.inf, furthest[..., 0])
    hit = furthest[..., 0] > 0
    return Recompute(
        bands,
        len(stamp),
        hit.sum(axis=0, dtype=np.int64),
        counts[..., 0].sum(axis=0, dtype=np.int64),
        counts[..., 1].sum(axis=0, dtype=np.int64),
        np.full(len(bands), len(stamp) * stamp[0, 0].size, np.int64),
        _worst_of(furthest, counts[..., 0], pairs) if hit.any() else None,
        "",
    )


@compiled()
def compare_pixels(stamp, low, high, ctrl, control, place, step, arc, fine, counts, furthest):  # type: ignore[no-untyped-def]
    """Count pixels that differ from their required values.

    Parameters
    ----------
    stamp, low, high, ctrl, arc : float32, shape (n, band, size, size)
        The stamp, and the ends of what it may be; the control; the arc.
    control : float32, shape (m, band, size, size)
        What controls must be.
    place : int64, shape (n,)
        Of each row's in ``control``.
    step, fine : float32, shape (n, band)
        Steps of stamp and control, and of the arc; 0 for none.
    counts : int64, shape (n, band, 2), zeros
        Pixels that differ, and pixels of the stamp for which there is one value only.
    furthest : float64, shape (n, band, 2), zeros
        Largest difference, nMgy/pixel (infinite for what is no number), and the pixel's number in C order.
    """
    n, bands, size, _ = stamp.shape
    for i in range(n):
        for b in range(bands):
            coarse, thin = np.float64(step[i, b]), np.float64(fine[i, b])
            if coarse == 0.0 and thin == 0.0:
                single, odd = _as_required(stamp[i, b], low[i, b], high[i, b], ctrl[i, b], control[place[i], b])
                if odd == 0:
                    counts[i, b, 1] += single
                    continue
            for v in range(size):
                for u in range(size):
                    s, a, c = stamp[i, b, v, u], low[i, b, v, u], high[i, b, v, u]
                    h, k = ctrl[i, b, v, u], control[place[i], b, v, u]
                    if a == c:
                        counts[i, b, 1] += 1
                    if s >= a and s <= c and h == k and coarse == 0.0 and thin == 0.0:
                        continue
                    off = max(_apart(s, a, c), _apart(h, k, k))
                    if coarse > 0.0 and a != c:
                        off = max(off, _off_lattice(s, coarse))
                    if thin > 0.0:
                        off = max(off, _off_lattice(arc[i, b, v, u], thin))
                    if off > 0.0:
                        counts[i, b, 0] += 1
                        if off > furthest[i, b, 0]:
                            furthest[i, b, 0], furthest[i, b, 1] = off, v * size + u


@compiled()
def _as_required(stamp, low, high, ctrl, control):  # type: ignore[no-untyped-def]
    """Pixels of a stamp for which there is one value only, and pixels that are not plainly what they must be."""
    single, odd = 0, 0
    for v in range(len(stamp)):
        s, a, c, h, k = stamp[v], low[v], high[v], ctrl[v], control[v]
        for u in range(len(s)):
            single += 1 if a[u] == c[u] else 0
            odd += 0 if (s[u] >= a[u]) & (s[u] <= c[u]) & (h[u] == k[u]) else 1
    return single, odd


@compiled()
def _apart(value, low, high):  # type: ignore[no-untyped-def]
    """How far a value is beyond two ends; two values that are no number are the same."""
    if value >= low and value <= high:
        return 0.0
    if np.isnan(value) or np.isnan(low):
        return 0.0 if np.isnan(value) and np.isnan(low) else np.inf
    return max(np.float64(low) - np.float64(value), np.float64(value) - np.float64(high))


@compiled()
def _off_lattice(value, step):  # type: ignore[no-untyped-def]
    wide = np.float64(value)
    nearest = np.float64(np.float32(np.floor(wide / step + 0.5) * step))
    return abs(wide - nearest) if wide == wide else 0.0


class _Again:
    """The stamps and controls of some rows, made again."""

    def __init__(self, pairs: xr.Dataset, origin: Origin, rows: NDArray[np.int64], arc: Pixels, bands: list[str]):
        assert origin.hosts is not None
        self.pairs, self.hosts, self.rows, self.arc = pairs, origin.hosts, rows, arc
        self.keys, self.seed = column(pairs, "row_id").astype(np.uint64), int(pairs.attrs["seed"])
        n = len(rows)
        if origin.injection.noise:
            gain = effective_gain(self.hosts, bands, origin.injection, rows)[rows]
        else:
            gain = np.full((n, len(bands)), np.inf)
        self.refused = np.isnan(gain)
        self.refused[self.refused] = (arc[self.refused] != 0).any(axis=(1, 2))
        self.gain = np.where(np.isnan(gain), np.inf, gain)
        self.step = self.fine = np.zeros((n, len(bands)), np.float32)
        store = origin.store
        if store.stamp_steps_per_sigma or store.arc_steps_per_sigma:
            self.step, self.fine = rounding_steps(self.hosts["invvar"].values, rows, store)
        known = "quantize_step_nmgy" in pairs
        self.stored_step = column(pairs, "quantize_step_nmgy").astype(np.float32) if known else self.step

    def controls(self) -> tuple[Pixels, NDArray[np.int64]]:
        """Controls: the hosts, rounded as the stamps are; and where among them each row's is."""
        image = self.hosts["image"].values
        if self.step.any():
            return self._rounded(image[self.rows]), np.arange(len(self.rows))
        return np.ascontiguousarray(image, np.float32), self.rows

    def stamps(self) -> tuple[Pixels, Pixels]:
        """Range of allowed values of each stored pixel; equal ends if only one value is allowed."""
        if not self.fine.any():
            per_nmgy = variance_per_nmgy(self.gain)
            made = self._rounded(add_arcs(self.arc, self.hosts, self.rows, self.pairs, per_nmgy))
            return made, made
        low, high = before_rounding(self.arc, self.fine, self.keys, self.seed, ARC)
        # Controls, absent bands and pixels without data have no arc, before the rounding as after it.
        dark = np.asarray(column(self.pairs, "is_control")).astype(bool)[:, None]
        dark = (dark | ~np.isfinite(column(self.pairs, "psf_fwhm_arcsec")))[..., None, None]
        dark = (dark | ~(self.hosts["invvar"].values[self.rows] > 0)) & (self.arc == 0)
        low, high = np.where(dark, np.float32(0), low), np.where(dark, np.float32(0), high)
        # The noise grows with the arc, away from 0 on the side that its draw says.
        noises = [arc_noise(a, self.gain, self.keys, self.seed) for a in (low, high)]
        image = self.hosts["image"].values[self.rows]
        return (
            self._rounded(combine(image, low, np.minimum(*noises))),
            self._rounded(combine(image, high, np.maximum(*noises))),
        )

    def _rounded(self, pixels: Pixels) -> Pixels:
        return round_pixels(pixels, self.step, self.keys, self.seed) if self.step.any() else pixels


def _worst_of(furthest: NDArray[np.float64], pixels: NDArray[np.int64], pairs: xr.Dataset) -> Worst:
    """Name the pixel that is furthest off."""
    keys, hosts, size = column(pairs, "row_id"), column(pairs, "host_index"), pairs.sizes["x"]
    off = furthest[..., 0]
    candidates = [
        Worst(
            float(off[i, b]), int(keys[i]), int(hosts[i]), int(b), *divmod(int(furthest[i, b, 1]), size),
            int(pixels[i, b]),
        )
        for i, b in np.argwhere(off == off.max())
    ]  # fmt: skip
    return min(candidates, key=lambda w: w.order)
