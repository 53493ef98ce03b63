"""The compiled pass of the bits check: signs of a stamp minus its host and arc, and formats of its numbers."""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled

# Counts of one row and band, over the pixels where there is an arc: these pixels; stamp and control: numbers that half
# precision holds, numbers with 8 or more trailing zero bits; exact zeros in the stamp that are none in the control.
PIXELS, HALF_STAMP, HALF_CTRL, ZEROS_STAMP, ZEROS_CTRL, DEAD, N_COUNTS = range(7)
# The signs are correlated with: nothing, the host's light, its gradients, its curvature.
CONTRASTS = ("offset", "gain", "shift in x", "shift in y", "blur")
_NORMAL, _LARGEST, _SUBNORMALS = np.float32(2.0**-14), np.float32(65504.0), np.float32(2.0**24)
# Below this many units in the last place a residual is the rounding of a sum, and its sign is meaningless.
_ROUNDING = 4 * 2.0**-23


@compiled()
def _is_half(value, bits):  # type: ignore[no-untyped-def]
    size = abs(value)
    if size > _LARGEST:
        return False
    if size >= _NORMAL:
        return (bits & np.uint32(0x1FFF)) == 0
    scaled = value * _SUBNORMALS
    return scaled == np.floor(scaled)


@compiled()
def bits_pixels(stamp, ctrl, arc, stamp_bits, ctrl_bits, used, signs, counts, contrasts):  # type: ignore[no-untyped-def]
    """Fill ``signs``, ``counts`` and ``contrasts``.

    Parameters
    ----------
    stamp, ctrl, arc : float32, shape (n, band, size, size)
    stamp_bits, ctrl_bits : uint32, the same pixels
    used : bool, shape (n, band)
        Rows and bands that are looked at.
    signs : int8, shape (n, band, size, size), zeros
        Sign of stamp - ctrl - arc where there is an arc and the residual is more than the rounding of its sum.
    counts : int64, shape (n, band, N_COUNTS), zeros
    contrasts : int64, shape (n, band, 5, 2), zeros
        Sums of the signs times the sign of each of ``CONTRASTS``, and pixels in them.
    """
    n, bands, size, _ = stamp.shape
    weight = np.zeros(5, np.int64)
    for i in range(n):
        for b in range(bands):
            if not used[i, b]:
                continue
            c = counts[i, b]
            for v in range(size):
                for u in range(size):
                    a = np.float64(arc[i, b, v, u])
                    s, h = stamp[i, b, v, u], ctrl[i, b, v, u]
                    if s == 0 and h != 0:
                        c[DEAD] += 1
                    if a == 0.0:
                        continue
                    c[PIXELS] += 1
                    ps, ph = stamp_bits[i, b, v, u], ctrl_bits[i, b, v, u]
                    c[HALF_STAMP] += 1 if _is_half(s, ps) else 0
                    c[HALF_CTRL] += 1 if _is_half(h, ph) else 0
                    c[ZEROS_STAMP] += 1 if (ps & np.uint32(0xFF)) == 0 else 0
                    c[ZEROS_CTRL] += 1 if (ph & np.uint32(0xFF)) == 0 else 0
                    host = np.float64(h)
                    rest = np.float64(s) - host - a
                    largest = max(max(abs(np.float64(s)), abs(host)), abs(a))
                    if not abs(rest) > _ROUNDING * largest:
                        continue
                    sign = 1 if rest > 0 else -1
                    signs[i, b, v, u] = sign
                    if 0 < v < size - 1 and 0 < u < size - 1:
                        left, right = np.float64(ctrl[i, b, v, u - 1]), np.float64(ctrl[i, b, v, u + 1])
                        up, down = np.float64(ctrl[i, b, v - 1, u]), np.float64(ctrl[i, b, v + 1, u])
                        weight[0] = 1
                        weight[1] = np.sign(host)
                        weight[2] = np.sign(right - left)
                        weight[3] = np.sign(down - up)
                        weight[4] = np.sign(left + right + up + down - 4 * host)
                        for k in range(5):
                            contrasts[i, b, k, 0] += sign * weight[k]
                            contrasts[i, b, k, 1] += abs(weight[k])


@compiled()
def lit_pixels(stamp, ctrl, arc, faintest, size, light, largest):  # type: ignore[no-untyped-def]
    """Gather the pixels of a row and band whose arc is above ``faintest``, and return how many there are.

    Parameters
    ----------
    stamp, ctrl, arc : float32, shape (y, x)
    faintest : float32
    size, light : float64, shape (y * x,)
        Filled from the start: |stamp - ctrl - arc| over the root of the arc, and that root.
    largest : float32, shape (y * x,)
        Largest of the three numbers.
    """
    n = 0
    for v in range(stamp.shape[0]):
        for u in range(stamp.shape[1]):
            s, h, a = stamp[v, u], ctrl[v, u], arc[v, u]
            if not a > faintest:
                continue
            light[n] = np.sqrt(np.float64(a))
            size[n] = abs(np.float64(s) - np.float64(h) - np.float64(a)) / light[n]
            largest[n] = max(max(abs(s), abs(h)), a)
            n += 1
    return n
