"""Kinds of leaks and their ladders: each a change of the injections' stamps (and arcs) of a given amplitude."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class View:
    """Pixels that a leak is put into.

    Attributes
    ----------
    stamp, ctrl, arc : ndarray, shape (n, band, y, x)
        nMgy/pixel. For the judge ``stamp`` is the control: the mark without the arc's light.
    sky : ndarray, shape (band, 1, 1)
        Sky sigma, nMgy/pixel.
    seed : int
        Of leaks that are drawn.
    """

    stamp: Floats
    ctrl: Floats
    arc: Floats
    sky: Floats
    seed: int = 1

    @property
    def lit(self) -> NDArray[np.bool_]:
        """Where the arc is."""
        return self.arc != 0


Change = Callable[[View, float], Floats]


@dataclass(frozen=True, eq=False)
class Kind:
    """One leak.

    Attributes
    ----------
    name, unit : str
        The unit that amplitudes are in.
    ladder : tuple of float
        Rising amplitudes.
    change : callable
        View and amplitude -> stamps.
    where : {"light", "frame", "both", "rows", "mask"}
        Put where the arc is; into all pixels of the injections; where the arc is, into arc and stamp alike; into a
        share of the rows; as a setting of the injection.
    settings : dict
        Of the injection, for masks.
    """

    name: str
    unit: str
    ladder: tuple[float, ...]
    change: Change = field(default=lambda view, a: view.stamp)
    where: str = "light"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def on_arcs(self) -> bool:
        """Whether it changes the arcs themselves, so that nothing is left of it without them."""
        return self.where in ("rows", "mask")

    def put(self, view: View, amplitude: float) -> tuple[Pixels, Pixels]:
        """Stamps and arcs with the leak; masks are put in by the injection itself."""
        if self.where == "rows":
            return self._in_rows(view, amplitude)
        changed = self.change(view, amplitude)
        stamp = changed if self.where == "frame" else np.where(view.lit, changed, view.stamp)
        added = stamp - view.stamp if self.where == "both" else 0.0
        return stamp.astype(np.float32), (view.arc + added).astype(np.float32)

    def injection(self, amplitude: float) -> dict[str, Any]:
        """Settings of the injection that make the leak; empty for leaks in pixels."""
        return {**self.settings, "core_mask_radius_pix": amplitude} if self.where == "mask" else {}

    def _in_rows(self, view: View, share: float) -> tuple[Pixels, Pixels]:
        """Change arcs, and their noise with them, in a share of the rows."""
        n = len(view.stamp)
        rows = np.random.default_rng(view.seed).permutation(n)[: max(1, round(share * n))]
        stamp, arc = view.stamp.copy(), view.arc.copy()
        light = View(stamp[rows] - view.ctrl[rows], view.ctrl[rows], arc[rows], view.sky)
        stamp[rows] = view.ctrl[rows] + self.change(light, 1.0)
        arc[rows] = self.change(View(arc[rows], view.ctrl[rows], arc[rows], view.sky), 1.0)
        return stamp.astype(np.float32), arc.astype(np.float32)


def _grid(view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    size = view.stamp.shape[-1]
    y, x = np.mgrid[:size, :size]
    return y, x


def _board(view: View) -> Floats:
    y, x = _grid(view)
    return np.asarray((-1.0) ** (x + y), np.float64)


def _checkerboard(view: View, a: float) -> Floats:
    return view.stamp + a * view.sky * _board(view)


def _stripes(view: View, a: float) -> Floats:
    return view.stamp + a * view.sky * np.where(_grid(view)[1] // 4 % 2, 1.0, -1.0)


def _waves(view: View, a: float) -> Floats:
    phase = np.random.default_rng(view.seed).uniform(0, 2 * np.pi, (len(view.stamp), 1, 1, 1))
    return view.stamp + a * view.sky * np.sin(2 * np.pi * _grid(view)[1] * 13 / 64 + phase)


def _point(view: View, a: float) -> Floats:
    out = view.stamp.copy()
    middle = view.stamp.shape[-1] // 2
    out[..., middle - 2, middle + 8] += a * view.sky[:, 0, 0]
    return out


def _dead(view: View, a: float) -> Floats:
    out = view.stamp.copy()
    middle = view.stamp.shape[-1] // 2
    for y, x in ((-2, 8), (9, -3), (-9, -4), (3, -9))[: int(a)]:
        out[..., middle + y, middle + x] = 0.0
    return out


def _rounded(view: View, a: float) -> Floats:
    return np.round(view.stamp / (a * view.sky)) * (a * view.sky)


def _cut_bits(view: View, a: float) -> Floats:
    bits = np.ascontiguousarray(view.stamp, np.float32).view(np.uint32)
    half = np.uint32(1 << (int(a) - 1))
    return (((bits + half) >> np.uint32(a)) << np.uint32(a)).view(np.float32).astype(np.float64)


def _blur(view: View, a: float) -> Floats:
    near = np.mean([np.roll(view.stamp, k, axis) for axis in (-1, -2) for k in (-1, 1)], axis=0)
    return np.asarray(view.stamp + a * (near - view.stamp), np.float64)


def _shift(view: View, a: float) -> Floats:
    return view.stamp + a * (np.roll(view.stamp, 1, axis=-1) - view.stamp)


def _white(view: View, a: float) -> Floats:
    return view.stamp + a * view.sky * np.random.default_rng(view.seed).normal(size=view.stamp.shape)


def _tilt(view: View, a: float) -> Floats:
    middle = (view.stamp.shape[-1] - 1) / 2
    return view.stamp + a * view.sky * (_grid(view)[1] - middle) / middle


def _pedestal(view: View, a: float) -> Floats:
    return view.stamp + a * view.sky


def _gain(view: View, a: float) -> Floats:
    return view.stamp * (1 + a)


def _peaks(view: View) -> Floats:
    return view.arc.max(axis=(2, 3), keepdims=True)


def _shared_board(view: View, a: float) -> Floats:
    return view.stamp + a * _peaks(view) * _board(view)


def _ringing(view: View, a: float) -> Floats:
    size = view.stamp.shape[-1]
    r = geometry.radius_pix(size, (size - 1) / 2, (size - 1) / 2)
    return view.stamp + a * _peaks(view) * np.cos(2 * np.pi * r / 6)


def _moved(view: View, a: float) -> Floats:
    return np.roll(view.stamp, 1, axis=-1)


def _mirrored(view: View, a: float) -> Floats:
    return view.stamp[..., ::-1].copy()


_SIGMA = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.2)
_SHARES = (1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.2)
_OF_PEAK = (1e-6, 1e-5, 2e-5, 5e-5, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.02)
_IN_PIXELS = (
    ("checkerboard", "sky sigma", _SIGMA, _checkerboard),
    ("stripes of 4 pixels", "sky sigma", _SIGMA, _stripes),
    ("waves, any phase", "sky sigma", _SIGMA, _waves),
    ("one fixed pixel", "sky sigma", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0), _point),
    ("dead pixels", "pixels", (1.0, 2.0, 4.0), _dead),
    ("rounding", "sky sigma", (1 / 4096, 1 / 1024, 1 / 256, 1 / 64, 1 / 16, 1 / 4), _rounded),
    ("short mantissa", "bits cut", (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 13.0), _cut_bits),
    ("3 x 3 blur", "share", _SHARES, _blur),
    ("sub-pixel shift", "pixels", _SHARES, _shift),
    ("white noise", "sky sigma", _SIGMA, _white),
    ("tilt", "sky sigma", _SIGMA, _tilt),
    ("pedestal", "sky sigma", (1e-5, *_SIGMA), _pedestal),
    ("gain", "share", _SHARES, _gain),
)
_RADII = (1.0, 2.0, 3.0, 5.0, 7.0, 9.0)


def _mask(method: str) -> Kind:
    name = "hard mask" if method == "hard" else f"{method} mask of 2 pixels"
    settings = {"core_mask_method": method, "core_mask_width_pix": 2.0}
    return Kind(name, "pixels", _RADII, where="mask", settings=settings)


_ROWS = (1e-3, 2e-3, 5e-3, 0.01, 0.05, 0.2, 1.0)
KINDS = (
    *(Kind(name, unit, ladder, change) for name, unit, ladder, change in _IN_PIXELS),
    Kind("checkerboard in arc and stamp", "arc's peak", _OF_PEAK, _shared_board, "both"),
    Kind("ringing in arc and stamp", "arc's peak", _OF_PEAK, _ringing, "both"),
    Kind("arcs moved by a pixel", "share of rows", _ROWS, _moved, "rows"),
    Kind("arcs mirrored", "share of rows", _ROWS, _mirrored, "rows"),
    *(_mask(method) for method in ("hard", "taper", "tanh")),
    *(
        Kind(f"{name}, whole frame", unit, ladder, change, "frame")
        for name, unit, ladder, change in _IN_PIXELS
    ),
)  # fmt: skip


def kinds(names: tuple[str, ...] = ()) -> tuple[Kind, ...]:
    """Kinds by name, in the order of the suite; all of them without names."""
    return tuple(k for k in KINDS if not names or k.name in names)


__all__ = ["KINDS", "Kind", "View", "kinds"]
