"""From the grid of lensed light to the images of the bands: cosine and sine transforms as small matrix products.

For a real image the Fourier integral separates into four parts, cos or sin along each axis. A round PSF multiplies
all four alike; a measured kernel has four parts of its own, and their product mixes them. Only frequencies that the
PSF transmits are formed (about 50 x 50 of them), at any spacing of the light's grid, and the inverse is evaluated at
the pixel centres only: less work than fast transforms of a padded canvas. Positions are measured from the middle of
the stamp, so that folding about it halves every product.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lensflow.jit import compiled
from lensflow.lensing.engine.matmul import LANES, matmul, matmul_transposed
from lensflow.lensing.engine.spreading import deconvolution

# Entries of a radial PSF table per unit of its argument.
TABLE_STEPS = 128


@compiled(fastmath=True)
def _waves(cos, sin, rows, columns, first, step, work):  # type: ignore[no-untyped-def]
    """``cos[i, j], sin[i, j]`` of ``2 pi step (i + first) j`` by rotation: no trigonometry beyond the first row.

    ``work``: float64, shape (4, >= columns).
    """
    c, s, dc, ds = work[0], work[1], work[2], work[3]
    for j in range(columns):
        angle = 2.0 * math.pi * step * j
        dc[j], ds[j] = math.cos(angle), math.sin(angle)
        if first == 0.0:
            c[j], s[j] = 1.0, 0.0
        else:  # one half
            c[j], s[j] = math.cos(0.5 * angle), math.sin(0.5 * angle)
    for i in range(rows):
        row_c, row_s = cos[i], sin[i]
        for j in range(columns):
            x, y = c[j], s[j]
            row_c[j], row_s[j] = x, y
            c[j] = x * dc[j] - y * ds[j]
            s[j] = x * ds[j] + y * dc[j]


@compiled(fastmath=True)
def _transpose(out, a, rows, columns):  # type: ignore[no-untyped-def]
    for j in range(columns):
        line = out[j]
        for i in range(rows):
            line[i] = a[i, j]


@compiled(fastmath=True)
def grid_waves(waves, points, k, step, period, table, work):  # type: ignore[no-untyped-def]
    """Fill the waves at the grid's points, divided by the spreading window's transform.

    Shape (point, frequency). Points lie (j + 1/2) ``step`` pixels on either side of the middle, ``points`` of them;
    frequencies are j over ``period``; ``table`` is ``spreading.DECONVOLUTION``.
    """
    cos, sin = waves
    wide_k = (k + LANES - 1) // LANES * LANES
    _waves(cos, sin, points, k, 0.5, step / period, work)
    for j in range(k):
        work[0, j] = deconvolution(j * step / period, table)
    for i in range(points):
        row_c, row_s = cos[i], sin[i]
        for j in range(k):
            row_c[j] *= work[0, j]
            row_s[j] *= work[0, j]
        for j in range(k, wide_k):
            row_c[j] = 0.0
            row_s[j] = 0.0


@compiled(inline="always")
def _columns(i, disc, wide_k):  # type: ignore[no-untyped-def]
    """How many columns of the block of rows from ``i`` on lie in the quarter disc, in whole vectors."""
    longest = math.sqrt(max(disc * disc - float(i * i), 0.0))
    return min((int(longest) // LANES + 1) * LANES, wide_k)


@compiled(fastmath=True)
def forward(spectrum, grid, extent, k, disc, waves, products):  # type: ignore[no-untyped-def]
    """The four parts of the transform of the grid's light.

    Parameters
    ----------
    spectrum : ndarray of float32, shape (4, >= k, >= k padded)
        Filled: parts cos-cos, cos-sin, sin-cos, sin-sin (y, then x), at frequencies 0..k-1 over the period.
    grid : ndarray of float32, shape (>= 2 half, >= 2 half)
        Light; the grid's middle is the stamp's.
    extent : Extent
        Of the light.
    k : int
        A multiple of 4.
    disc : float
        Only frequencies within this distance (in frequency indices) are wanted.
    waves : Waves
        From :func:`grid_waves`, of as many points as hold light.
    products : Products
        Work space.
    """
    cos, sin = waves
    fold, half = products
    h, high, wide = extent
    padded, wide_k = (wide + LANES - 1) // LANES * LANES, (k + LANES - 1) // LANES * LANES
    for i in range(high):
        up, down = grid[h + i], grid[h - 1 - i]
        ee, eo, oe, oo = fold[0, i], fold[1, i], fold[2, i], fold[3, i]
        for j in range(wide):
            a, b, c, d = up[h + j], up[h - 1 - j], down[h + j], down[h - 1 - j]
            ee[j] = (a + b) + (c + d)
            eo[j] = (a - b) + (c - d)
            oe[j] = (a + b) - (c + d)
            oo[j] = (a - b) - (c - d)
        for j in range(wide, padded):
            ee[j] = 0.0
            eo[j] = 0.0
            oe[j] = 0.0
            oo[j] = 0.0
    for part in range(4):
        along_y = cos if part < 2 else sin
        along_x = cos if part % 2 == 0 else sin
        matmul_transposed(half, along_y, fold[part], k, high, padded)
        # Only the quarter disc of frequencies is wanted: fewer columns as the row's frequency rises.
        for first in range(0, k, LANES):
            rows = min(LANES, k - first)
            columns = _columns(first, disc, wide_k)
            matmul(spectrum[part, first:], half[first:], along_x, rows, wide, columns)


@intrinsic
def _pair(typing_context, table, i):  # type: ignore[no-untyped-def]
    """Two float32 of a table, ``i`` and the next, as one int64: one load instead of two."""
    signature = types.int64(table, types.int32)

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        i64 = ir.IntType(64)
        place = builder.gep(data, [builder.zext(arguments[1], i64)])
        return builder.load(builder.bitcast(place, i64.as_pointer()), align=4)

    return signature, emit


@compiled(fastmath=True)
def radial_psf(radial, k, scale, psf, work):  # type: ignore[no-untyped-def]
    """Fill a round PSF's transform at the frequencies within ``k``, and 0 or more beyond.

    Parameters
    ----------
    radial : ndarray of float32, shape (>= k, >= k padded)
        Filled.
    k : int
        Frequencies used, a multiple of 4.
    scale : float
        Of the PSF's radial table: its argument per unit of frequency index.
    psf : ndarray of float32
        Radial table of the PSF's transform, ``TABLE_STEPS`` to the unit, 0 at its end.
    work : ndarray of float64, shape (>= 3, >= k padded)
        Work space.
    """
    wide_k = (k + LANES - 1) // LANES * LANES
    to_table = np.float32(scale * TABLE_STEPS)
    last = np.float32(psf.size - 2)
    # Loading from the table apart from the arithmetic takes less than half the time of one loop for both.
    entry, part, pairs = work[0].view(np.int32), work[1].view(np.float32), work[2].view(np.int64)
    ends = work[2].view(np.float32)
    for i in range(k):
        line, ii = radial[i], np.float32(i * i)
        columns = _columns(i // LANES * LANES, float(k), wide_k)
        for j in range(columns):
            fj = np.float32(j)
            x = min(to_table * np.sqrt(ii + fj * fj), last)
            n = np.int32(x)
            entry[j], part[j] = n, x - np.float32(n)
        for j in range(columns):
            pairs[j] = _pair(psf, entry[j])
        for j in range(columns):
            line[j] = ends[2 * j] + part[j] * (ends[2 * j + 1] - ends[2 * j])


@compiled(fastmath=True)
def shape_radial(shaped, spectrum, k, period, radial):  # type: ignore[no-untyped-def]
    """Multiply a spectrum by a round PSF's transform.

    Parameters
    ----------
    shaped : ndarray of float32, shape (4, >= k, >= k padded)
        Filled: the product, with the weights of the inverse transform.
    spectrum : ndarray of float32
        From :func:`forward`.
    k : int
        Frequencies used, at most the spectrum's; a multiple of 4.
    period : float
        Pixels.
    radial : ndarray of float32
        From :func:`radial_psf`, for as many frequencies or more.
    """
    wide_k = (k + LANES - 1) // LANES * LANES
    norm = 4.0 / (period * period)
    for i in range(k):
        # Frequencies 0 stand for themselves, all others for +f and -f.
        weight = np.float32(norm * (0.5 if i == 0 else 1.0))
        line = radial[i]
        cc, cs, sc, ss = spectrum[0, i], spectrum[1, i], spectrum[2, i], spectrum[3, i]
        bcc, bcs, bsc, bss = shaped[0, i], shaped[1, i], shaped[2, i], shaped[3, i]
        reach = _columns(i // LANES * LANES, float(k), wide_k)
        for j in range(reach):
            p = weight * line[j]
            bcc[j] = p * cc[j]
            bcs[j] = p * cs[j]
            bsc[j] = p * sc[j]
            bss[j] = p * ss[j]
        for j in range(reach, wide_k):
            bcc[j] = 0.0
            bcs[j] = 0.0
            bsc[j] = 0.0
            bss[j] = 0.0
        for part in range(4):
            shaped[part, i, 0] *= np.float32(0.5)


@compiled(fastmath=True)
def kernel_parts(parts, fold, k, cut, period, waves, half):  # type: ignore[no-untyped-def]
    """The four parts of a measured kernel's transform, as :func:`forward` gives those of the light.

    Parameters
    ----------
    parts : ndarray of float32, shape (4, >= k, >= k padded)
        Filled; 0 where the kernel transmits nothing: at 0.5 cycles per pixel along either axis, and beyond ``cut``.
    fold : ndarray of float32, shape (4, h, h)
        The kernel folded about its middle (:mod:`lensflow.lensing.engine.kernel_set`).
    k : int
        Frequencies, a multiple of 4.
    cut : float
        Cycles per pixel.
    period : float
        Pixels.
    waves : Waves
        From :func:`pixel_waves`, for the kernel's size and ``k``.
    half : ndarray of float32, shape (>= k, h)
        Work space.
    """
    cos, sin = waves
    h = fold.shape[1]
    wide_k = (k + LANES - 1) // LANES * LANES
    nyquist, outer = 0.5 * period, np.float32(cut * period * cut * period)
    for part in range(4):
        matmul_transposed(half, cos if part < 2 else sin, fold[part], k, h, h)
        matmul(parts[part], half, cos if part % 2 == 0 else sin, k, h, wide_k)
        for i in range(k):
            line, ii = parts[part, i], np.float32(i * i)
            for j in range(wide_k):
                seen = i < nyquist and j < nyquist and ii + np.float32(j * j) < outer
                line[j] = line[j] if seen else np.float32(0.0)


@compiled(fastmath=True)
def shape_kernel(shaped, spectrum, parts, k, disc, period):  # type: ignore[no-untyped-def]
    """Multiply a spectrum by a kernel's transform: cos (a + b) = cos a cos b - sin a sin b along each axis.

    Parameters
    ----------
    shaped, spectrum, k, period
        As for :func:`shape_radial`.
    parts : ndarray of float32
        From :func:`kernel_parts`.
    disc : float
        Of the spectrum, as for :func:`forward`.
    """
    wide_k = (k + LANES - 1) // LANES * LANES
    norm = 4.0 / (period * period)
    for i in range(k):
        weight = np.float32(norm * (0.5 if i == 0 else 1.0))
        cc, cs, sc, ss = spectrum[0, i], spectrum[1, i], spectrum[2, i], spectrum[3, i]
        pcc, pcs, psc, pss = parts[0, i], parts[1, i], parts[2, i], parts[3, i]
        bcc, bcs, bsc, bss = shaped[0, i], shaped[1, i], shaped[2, i], shaped[3, i]
        reach = _columns(i // LANES * LANES, disc, wide_k)
        for j in range(reach):
            w, a, b, c, d = weight, cc[j], cs[j], sc[j], ss[j]
            e, f, g, h = pcc[j], pcs[j], psc[j], pss[j]
            bcc[j] = w * ((a * e - b * f) - (c * g - d * h))
            bcs[j] = w * ((b * e + a * f) - (d * g + c * h))
            bsc[j] = w * ((c * e - d * f) + (a * g - b * h))
            bss[j] = w * ((d * e + c * f) + (b * g + a * h))
        for j in range(reach, wide_k):
            bcc[j] = 0.0
            bcs[j] = 0.0
            bsc[j] = 0.0
            bss[j] = 0.0
        for part in range(4):
            shaped[part, i, 0] *= np.float32(0.5)


@compiled(fastmath=True)
def to_pixels(out, shaped, k, size, waves, products):  # type: ignore[no-untyped-def]
    """Transform a shaped spectrum back, at the stamp's pixel centres.

    Parameters
    ----------
    out : ndarray of float32, shape (size, size)
        Filled.
    shaped : ndarray of float32
        From :func:`shape_radial` or :func:`shape_kernel`.
    k : int
        Frequencies used, a multiple of 4.
    size : int
        Pixels on a side.
    waves : Waves
        From :func:`pixel_waves`, transposed.
    products : Products
        Work space.
    """
    cos, sin = waves
    quarter, half = products
    hp = (size + 1) // 2
    rows_p, wide_p = (hp + 3) // 4 * 4, (hp + LANES - 1) // LANES * LANES
    wide_k = (k + LANES - 1) // LANES * LANES
    for part in range(4):
        along_y, along_x = cos if part < 2 else sin, cos if part % 2 == 0 else sin
        matmul_transposed(half, along_y, shaped[part], rows_p, k, wide_k)
        matmul(quarter[part], half, along_x, rows_p, k, wide_p)
    odd = size % 2
    middle = size // 2
    for i in range(hp):
        cc, cs, sc, ss = quarter[0, i], quarter[1, i], quarter[2, i], quarter[3, i]
        up, down = out[middle + i], out[middle - 1 + odd - i]
        for j in range(hp):
            a, b, c, d = cc[j] + sc[j], cs[j] + ss[j], cc[j] - sc[j], cs[j] - ss[j]
            up[middle + j] = a + b
            up[middle - 1 + odd - j] = a - b
            down[middle + j] = c + d
            down[middle - 1 + odd - j] = c - d


@compiled(fastmath=True)
def pixel_waves(waves, size, k, period, work):  # type: ignore[no-untyped-def]
    """Fill the waves at the pixel centres' distances from the middle: 1/2, 3/2, ... or 0, 1, ... (odd size)."""
    cos, sin = waves
    hp = (size + 1) // 2
    wide_k = (k + LANES - 1) // LANES * LANES
    _waves(cos, sin, hp, k, 0.5 if size % 2 == 0 else 0.0, 1.0 / period, work)
    for i in range(hp):
        for j in range(k, wide_k):
            cos[i, j] = 0.0
            sin[i, j] = 0.0


@compiled(fastmath=True)
def transpose_waves(out, waves, size, k):  # type: ignore[no-untyped-def]
    """The waves of :func:`pixel_waves` as (frequency, pixel), and 0 up to whole vectors of pixels."""
    hp = (size + 1) // 2
    padded = (hp + LANES - 1) // LANES * LANES
    _transpose(out.cos, waves.cos, hp, k)
    _transpose(out.sin, waves.sin, hp, k)
    for i in range(k):
        for j in range(hp, padded):
            out.cos[i, j] = 0.0
            out.sin[i, j] = 0.0


@compiled(fastmath=True)
def outer_ring(shaped, k, reach):  # type: ignore[no-untyped-def]
    """Sum of the amplitudes of :func:`shape_radial`'s outermost frequencies, from 0.85 of the cut ``reach`` on.

    What the cut at the highest frequency leaves out is estimated from it.
    """
    total = np.float32(0.0)
    inner, outer = np.float32(0.7225 * reach * reach), np.float32(reach * reach)
    for i in range(k):
        ii = np.float32(i * i)
        cc, cs, sc, ss = shaped[0, i], shaped[1, i], shaped[2, i], shaped[3, i]
        for j in range(k):
            d = ii + np.float32(j * j)
            a = np.sqrt(cc[j] * cc[j] + cs[j] * cs[j] + sc[j] * sc[j] + ss[j] * ss[j])
            total += a if inner <= d < outer else np.float32(0.0)
    return total
