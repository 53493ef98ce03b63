"""The compiled pass over the pixels of a block: all sums per row for the diagnostics."""

from __future__ import annotations

import math

import numpy as np

from lensflow.jit import compiled

# Sums of one row and band. First the shift's least squares: gradients of the control among themselves, with the
# residual, with the residual after a known shift; then what is left in the core before and after moving the control
# by a pixel along x and y, either way.
GXX, GXY, GYY, GXD, GYD, PXX, PXY, PYY, PXD, PYD, CORE, CORE_RIGHT, CORE_LEFT, CORE_UP, CORE_DOWN, N_SHIFT = range(16)
# Then light: of the control's core, squares of residual and arc; pixels changed without an arc, pixels with light.
CONTROL_CORE, RESIDUAL_SQUARE, ARC_SQUARE, TOUCHED, LIT, N_SUMS = range(N_SHIFT, N_SHIFT + 6)


@compiled()
def pixel_sums(stamp, ctrl, arc, x, y, step, outside, core_pix, power, moved, pixels, difference, residual, sums):  # type: ignore[no-untyped-def]
    """Fill ``pixels``, ``difference``, ``residual`` and ``sums``.

    Parameters
    ----------
    stamp, ctrl, arc : float32, shape (n, band, size, size)
    x, y : float64, shape (n,)
        The target's position in the stamp, pixels.
    step : float64, shape (n, band)
        Rounding step, 0 for none.
    outside : bool, shape (size, size)
        Pixels of the shift's least squares, none at the stamp's edge.
    core_pix : float
        Radius of the core.
    power : int64, shape (n,)
        Place of the row in ``moved``, or -1.
    moved : float32, shape (m, band, size, size)
        The controls of some rows after a known shift, less themselves.
    pixels : float64, shape (n, ring), zeros
    difference, residual : float64, shape (n, band, ring), zeros
        Sums of stamp - ctrl and of stamp - ctrl - arc in 1-pixel rings, the last ring holding all beyond.
    sums : float64, shape (n, band, N_SUMS), zeros
    """
    n, bands, size, _ = stamp.shape
    last = pixels.shape[1] - 1
    ring = np.empty((size, size), np.int64)
    for i in range(n):
        for v in range(size):
            for u in range(size):
                k = min(int(math.sqrt((u - x[i]) ** 2 + (v - y[i]) ** 2)), last)
                ring[v, u] = k
                pixels[i, k] += 1
        for b in range(bands):
            # A rounded arc is 0 up to half of its own step, and noise comes with it: two steps are let pass.
            slack = 2 * step[i, b]
            s, rings, rests = sums[i, b], difference[i, b], residual[i, b]
            for v in range(size):
                for u in range(size):
                    host, a = np.float64(ctrl[i, b, v, u]), np.float64(arc[i, b, v, u])
                    d = np.float64(stamp[i, b, v, u]) - host
                    rest = d - a
                    k = ring[v, u]
                    rings[k] += d
                    rests[k] += rest
                    s[RESIDUAL_SQUARE] += rest * rest
                    s[ARC_SQUARE] += a * a
                    if abs(d) > slack:
                        s[LIT] += 1
                        if a == 0:
                            s[TOUCHED] += 1
                    elif a != 0:
                        s[LIT] += 1
                    if k < core_pix:
                        s[CONTROL_CORE] += host
                        if power[i] >= 0:
                            still = rest + host
                            s[CORE] += rest * rest
                            s[CORE_RIGHT] += (still - ctrl[i, b, v, max(u - 1, 0)]) ** 2
                            s[CORE_LEFT] += (still - ctrl[i, b, v, min(u + 1, size - 1)]) ** 2
                            s[CORE_UP] += (still - ctrl[i, b, max(v - 1, 0), u]) ** 2
                            s[CORE_DOWN] += (still - ctrl[i, b, min(v + 1, size - 1), u]) ** 2
                    if outside[v, u]:
                        gx = 0.5 * (np.float64(ctrl[i, b, v, u + 1]) - np.float64(ctrl[i, b, v, u - 1]))
                        gy = 0.5 * (np.float64(ctrl[i, b, v + 1, u]) - np.float64(ctrl[i, b, v - 1, u]))
                        s[GXX] += gx * gx
                        s[GXY] += gx * gy
                        s[GYY] += gy * gy
                        s[GXD] -= gx * rest
                        s[GYD] -= gy * rest
                        if power[i] >= 0:
                            m = rest + np.float64(moved[power[i], b, v, u])
                            s[PXX] += gx * gx
                            s[PXY] += gx * gy
                            s[PYY] += gy * gy
                            s[PXD] -= gx * m
                            s[PYD] -= gy * m


@compiled()
def outer_sums(stamp, arc, ctrl, outer, core, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` (n, band, 3): stamp - arc over ``outer``, its square, and ctrl over ``core``; any class of row.

    Wings of arcs reach everywhere and are no imbalance between the classes: they are taken away.
    """
    n, bands, size, _ = stamp.shape
    for i in range(n):
        for b in range(bands):
            total, square, inner = 0.0, 0.0, 0.0
            for v in range(size):
                for u in range(size):
                    if outer[v, u]:
                        left = np.float64(stamp[i, b, v, u]) - np.float64(arc[i, b, v, u])
                        total += left
                        square += left * left
                    elif core[v, u]:
                        inner += np.float64(ctrl[i, b, v, u])
            sums[i, b, 0], sums[i, b, 1], sums[i, b, 2] = total, square, inner
