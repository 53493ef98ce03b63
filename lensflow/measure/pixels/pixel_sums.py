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
# The compiler may add several terms of a sum at a time; nothing else is allowed to it.
_SEVERAL_TERMS = {"reassoc", "nsz"}


@compiled()
def pixel_sums(stamp, ctrl, arc, rows, x, y, step, outside, core_pix, power, moved, pixels, difference, residual, sums):  # type: ignore[no-untyped-def]
    """Fill ``pixels``, ``difference``, ``residual`` and ``sums``.

    Of sums along a line of pixels the compiler takes several terms at a time; lines are added in their order.

    Parameters
    ----------
    stamp, ctrl, arc : float32, shape (m, band, size, size)
    rows : int64, shape (n,)
        Those of the m that are summed.
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
    moved : float32, shape (k, band, size, size)
        The controls of some rows after a known shift, less themselves.
    pixels : float64, shape (n, ring), zeros
    difference, residual : float64, shape (n, band, ring), zeros
        Sums of stamp - ctrl and of stamp - ctrl - arc in 1-pixel rings, the last ring holding all beyond.
    sums : float64, shape (n, band, N_SUMS), zeros
    """
    bands, size = stamp.shape[1], stamp.shape[-1]
    last = pixels.shape[1] - 1
    ring, radius = np.zeros((size, size), np.int64), np.empty(size)
    difference_of, rest_of = np.empty((size, size)), np.empty((size, size))
    nothing, area = np.zeros((size, size), np.float32), size * size
    order, ends = np.empty(area, np.int64), np.zeros(last + 1, np.int64)
    for i in range(len(rows)):
        row = rows[i]
        if i > 0 and x[i] == x[i - 1] and y[i] == y[i - 1]:
            pixels[i] = pixels[i - 1]
        else:
            _rings(x[i], y[i], last, radius, ring, pixels[i])
            _order(ring.reshape(area), order, ends)
        for b in range(bands):
            # A rounded arc is 0 up to half of its own step, and noise comes with it: two steps are let pass.
            slack = 2 * step[i, b]
            s, light, control, added = sums[i, b], stamp[row, b], ctrl[row, b], arc[row, b]
            for v in range(size):
                found = _light(light[v], control[v], added[v], slack, difference_of[v], rest_of[v])
                s[RESIDUAL_SQUARE] += found[0]
                s[ARC_SQUARE] += found[1]
                s[LIT] += found[2]
                s[TOUCHED] += found[3]
            _by_ring(order, ends, difference_of.reshape(area), rest_of.reshape(area), difference[i, b], residual[i, b])
            shifted = power[i] >= 0
            _core(ring, x[i], y[i], core_pix, control, rest_of, shifted, s)
            extra = moved[power[i], b] if shifted else nothing
            for v in range(1, size - 1):
                lines = control[v - 1], control[v], control[v + 1]
                found = _gradients(lines, rest_of[v], nothing[v], outside[v])
                for k in range(5):
                    s[GXX + k] += found[k]
                if shifted:
                    found = _gradients(lines, rest_of[v], extra[v], outside[v])
                    for k in range(5):
                        s[PXX + k] += found[k]


@compiled()
def _rings(x, y, last, radius, ring, pixels):  # type: ignore[no-untyped-def]
    """Ring of every pixel, and how many pixels each ring has."""
    size = len(ring)
    for v in range(size):
        along_y = (v - y) ** 2
        of_row = ring[v]
        for u in range(size):
            radius[u] = math.sqrt((u - x) ** 2 + along_y)
        for u in range(size):
            k = min(int(radius[u]), last)
            of_row[u] = k
            pixels[k] += 1


@compiled(fastmath=_SEVERAL_TERMS)
def _light(stamp, ctrl, arc, slack, difference, rest):  # type: ignore[no-untyped-def]
    """Fill the differences of one line of pixels; their squares, and how many pixels have light, or changed without."""
    rest_square = arc_square = 0.0
    lit = touched = 0
    for u in range(len(stamp)):
        a = np.float64(arc[u])
        d = np.float64(stamp[u]) - np.float64(ctrl[u])
        difference[u] = d
        rest[u] = d - a
        rest_square += (d - a) * (d - a)
        arc_square += a * a
        changed, dark = abs(d) > slack, a == 0
        lit += 1 if changed or not dark else 0
        touched += 1 if changed and dark else 0
    return rest_square, arc_square, lit, touched


@compiled()
def _order(ring, order, ends):  # type: ignore[no-untyped-def]
    """Pixels by ring, those of a ring in their order, and where each ring ends among them."""
    ends[:] = 0
    for p in range(len(ring)):
        ends[ring[p]] += 1
    first = 0
    for k in range(len(ends)):
        ends[k], first = first, first + ends[k]
    for p in range(len(ring)):
        order[ends[ring[p]]] = p
        ends[ring[p]] += 1


@compiled()
def _by_ring(order, ends, difference, rest, rings, rests):  # type: ignore[no-untyped-def]
    """Add both differences to their rings, each in the order of its pixels: a ring's sum stays in a register."""
    first = 0
    for k in range(len(ends)):
        total = left = 0.0
        for j in range(first, ends[k]):
            total += difference[order[j]]
            left += rest[order[j]]
        rings[k], rests[k], first = total, left, ends[k]


@compiled()
def _within(middle, reach, size):  # type: ignore[no-untyped-def]
    """Begin and end of the pixels along an axis that may be within a distance of a position."""
    return max(int(np.floor(middle - reach)), 0), min(int(np.ceil(middle + reach)) + 1, size)


@compiled()
def _core(ring, x, y, core_pix, ctrl, rest, with_shift, s):  # type: ignore[no-untyped-def]
    """Light of the core, and what is left in it before and after moving the control by a pixel."""
    size = len(ring)
    for v in range(*_within(y, core_pix, size)):
        for u in range(*_within(x, core_pix, size)):
            if ring[v, u] >= core_pix:
                continue
            host = np.float64(ctrl[v, u])
            s[CONTROL_CORE] += host
            if with_shift:
                still = rest[v, u] + host
                s[CORE] += rest[v, u] * rest[v, u]
                s[CORE_RIGHT] += (still - ctrl[v, max(u - 1, 0)]) ** 2
                s[CORE_LEFT] += (still - ctrl[v, min(u + 1, size - 1)]) ** 2
                s[CORE_UP] += (still - ctrl[max(v - 1, 0), u]) ** 2
                s[CORE_DOWN] += (still - ctrl[min(v + 1, size - 1), u]) ** 2


@compiled(fastmath=_SEVERAL_TERMS)
def _gradients(lines, rest, moved, outside):  # type: ignore[no-untyped-def]
    """Sums of the shift's least squares over one line of pixels, without its ends."""
    above, ctrl, below = lines
    left, right, up, down, wanted = ctrl[:-2], ctrl[2:], above[1:-1], below[1:-1], outside[1:-1]
    left_over, change = rest[1:-1], moved[1:-1]
    xx = xy = yy = xd = yd = 0.0
    for u in range(len(wanted)):
        gx = 0.5 * (np.float64(right[u]) - np.float64(left[u])) if wanted[u] else 0.0
        gy = 0.5 * (np.float64(down[u]) - np.float64(up[u])) if wanted[u] else 0.0
        r = left_over[u] + np.float64(change[u]) if wanted[u] else 0.0
        xx += gx * gx
        xy += gx * gy
        yy += gy * gy
        xd -= gx * r
        yd -= gy * r
    return xx, xy, yy, xd, yd


@compiled()
def outer_sums(stamp, arc, ctrl, outer, core, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` (n, band, 3), zeros: stamp - arc over ``outer``, its square, and ctrl over ``core``; any row.

    Wings of arcs reach everywhere and are no imbalance between the classes: they are taken away.
    """
    n, bands, size, _ = stamp.shape
    for i in range(n):
        for b in range(bands):
            for v in range(size):
                found = _outer(stamp[i, b, v], arc[i, b, v], ctrl[i, b, v], outer[v], core[v])
                for k in range(3):
                    sums[i, b, k] += found[k]


@compiled(fastmath=_SEVERAL_TERMS)
def _outer(stamp, arc, ctrl, outer, core):  # type: ignore[no-untyped-def]
    total = square = inner = 0.0
    for u in range(len(stamp)):
        left = np.float64(stamp[u]) - np.float64(arc[u]) if outer[u] else 0.0
        total += left
        square += left * left
        inner += np.float64(ctrl[u]) if core[u] and not outer[u] else 0.0
    return total, square, inner
