"""Spread point-like samples onto a grid so that the grid's Fourier transform is theirs.

A sample at any position is written to the ``TAPS`` grid points around it on each axis with the weights of a narrow
window; dividing the grid's transform by the window's undoes the blur. This is the non-uniform fast Fourier transform
with the "exponential of semicircle" window ``exp(B (sqrt(1 - (2 z/TAPS)^2) - 1))``, which for a given width leaks
least into the frequencies that alias (a Gaussian of equal width leaks ten times more).

References
----------
Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput. 41, C479 (FINUFFT).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from lensflow.jit import compiled

TAPS = 7
# Highest frequency used, in cycles per grid step. With the window below, what aliases into it is 1e-5 of a point
# source's image or less, once the PSF has suppressed the frequencies near ETA.
ETA = 0.45
_SHAPE = 13.3
_DEGREE = 8
# Eight lanes: one vector register; the eighth weight is 0.
LANES = 8
_TABLE = 1024


def window(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The window at distance ``z`` grid steps from the sample; 0 beyond TAPS/2."""
    inside = np.clip(1.0 - (2 * z / TAPS) ** 2, 0.0, None)
    return np.asarray(np.where(np.abs(z) <= TAPS / 2, np.exp(_SHAPE * (np.sqrt(inside) - 1)), 0.0))


def window_transform(f: ArrayLike) -> NDArray[np.float64]:
    """Fourier transform of :func:`window`; ``f`` in cycles per grid step."""
    t, weight = np.polynomial.legendre.leggauss(80)
    z = t * TAPS / 2
    return np.asarray((window(z) * weight * TAPS / 2) @ np.cos(2 * np.pi * np.outer(z, np.asarray(f))))


def _weight_polynomials() -> NDArray[np.float32]:
    """Coefficients, shape (degree + 1, 2 LANES: x, then y), highest power first, of each tap's weight.

    The polynomials run in u = 2 z - 1, where z in [0, 1) is the distance from the sample's first tap less what is
    left of TAPS/2.
    """
    u = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    table = np.zeros((_DEGREE + 1, LANES))
    for tap in range(TAPS):
        table[:, tap] = np.polyfit(u, window(0.5 * (u + 1) - TAPS / 2 + tap), _DEGREE)
    return np.ascontiguousarray(np.hstack([table, table]), dtype=np.float32)


WEIGHTS = _weight_polynomials()
# 1 / window_transform at 0, 1/_TABLE, ... of ETA (and one more, for the interpolation).
DECONVOLUTION = 1.0 / window_transform(np.arange(_TABLE + 2) * (ETA / _TABLE))


@compiled(inline="always")
def deconvolution(f, table):  # type: ignore[no-untyped-def]
    """Interpolate DECONVOLUTION (``table``) at ``f`` cycles per grid step, 0 <= f <= ETA."""
    x = f * (_TABLE / ETA)
    i = min(int(x), _TABLE)
    return table[i] + (x - i) * (table[i + 1] - table[i])


@intrinsic
def _add_sample(typing_context, grid, start, stride, weights, ux, uy, value):  # type: ignore[no-untyped-def]
    """Add one sample to the grid; written as vector instructions, which the compiler does not find by itself.

    Both axes' weights are one polynomial evaluation in 16 lanes: x in the lower eight, y in the upper.
    """
    signature = types.void(grid, types.int64, types.int64, weights, types.float32, types.float32, types.float32)

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        grid_type, _, _, weights_type, *_ = signature.args
        grid, start, stride, weights, ux, uy, value = arguments
        f32, i32 = ir.FloatType(), ir.IntType(32)
        half, full = ir.VectorType(f32, LANES), ir.VectorType(f32, 2 * LANES)

        def splat(scalar, vector):  # type: ignore[no-untyped-def]
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(i32, 0))
            mask = ir.Constant(ir.VectorType(i32, vector.count), [0] * vector.count)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)

        def fma(a, b, c):  # type: ignore[no-untyped-def]
            return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])

        def part(vector, lanes):  # type: ignore[no-untyped-def]
            mask = ir.Constant(ir.VectorType(i32, len(lanes)), list(lanes))
            return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

        def pointer(base, index, vector):  # type: ignore[no-untyped-def]
            return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

        table = context.make_array(weights_type)(context, builder, weights).data
        data = context.make_array(grid_type)(context, builder, grid).data
        i64 = ir.IntType(64)
        u = part_join(builder, splat(ux, half), splat(uy, half))
        w = builder.load(pointer(table, ir.Constant(i64, 0), full), align=4)
        for d in range(1, _DEGREE + 1):
            w = fma(w, u, builder.load(pointer(table, ir.Constant(i64, 2 * LANES * d), full), align=4))
        wx = part(w, range(LANES))
        wy = builder.fmul(part(w, range(LANES, 2 * LANES)), splat(value, half))
        for t in range(TAPS):
            row = pointer(data, start, half)
            a = part(wy, [t] * LANES)
            builder.store(fma(a, wx, builder.load(row, align=4)), row, align=4)
            start = builder.add(start, stride)
        return context.get_dummy_value()

    return signature, emit


def part_join(builder, low, high):  # type: ignore[no-untyped-def]
    """Concatenate two vectors of LANES."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 2 * LANES), list(range(2 * LANES)))
    return builder.shuffle_vector(low, high, mask)


@compiled(fastmath=True)
def spread(grid, stride, gx, gy, value, n, weights):  # type: ignore[no-untyped-def]
    """Add ``n`` samples to the grid.

    Parameters
    ----------
    grid : ndarray of float32, flat
        Row-major with ``stride`` floats to a row; every sample is at least TAPS/2 + 1 inside.
    gx, gy : ndarray of float32
        Positions in grid steps.
    value : ndarray of float32
        What each sample holds.
    weights : ndarray of float32
        WEIGHTS.
    """
    half = np.float32(0.5 * TAPS)
    one, two = np.float32(1.0), np.float32(2.0)
    for k in range(n):
        first_x, first_y = np.ceil(gx[k] - half), np.ceil(gy[k] - half)
        ux = two * (first_x - gx[k] + half) - one
        uy = two * (first_y - gy[k] + half) - one
        _add_sample(grid, np.int64(first_y) * stride + np.int64(first_x), stride, weights, ux, uy, value[k])
