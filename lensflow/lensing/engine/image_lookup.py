"""The light of an image, or of one of its coarser levels, between its pixels: 16 of them, in vector instructions."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_LANES = 4
# Powers of the distance from the pixel to the left, highest first, and for each the factors of the pixels at -1, 0, 1
# and 2; twice, for x and y. First cubic convolution (Keys 1981), then the cubic B-spline.
_KEYS = [[-0.5, 1.5, -1.5, 0.5], [1.0, -2.5, 2.0, -0.5], [-0.5, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0]]
_SPLINE = [[-1 / 6, 0.5, -0.5, 1 / 6], [0.5, -1.0, 0.5, 0.0], [-0.5, 0.0, 0.5, 0.0], [1 / 6, 2 / 3, 1 / 6, 0.0]]
TAPS = np.ascontiguousarray([np.tile(_KEYS, 2), np.tile(_SPLINE, 2)], dtype=np.float32)


@intrinsic
def between_pixels(typing_context, pixels, start, stride, taps, kind, tx, ty):  # type: ignore[no-untyped-def]
    """Sum of the 4 x 4 pixels from the flat index ``start`` on, weighted for the position (tx, ty) in [0, 1)."""
    signature = types.float32(pixels, types.int64, types.int64, taps, types.int64, types.float32, types.float32)

    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pixels_type, _, _, taps_type, *_ = signature.args
        pixels, start, stride, taps, kind, tx, ty = arguments
        i32, i64 = ir.IntType(32), ir.IntType(64)
        half, full = ir.VectorType(ir.FloatType(), _LANES), ir.VectorType(ir.FloatType(), 2 * _LANES)
        nothing = ir.Constant(half, ir.Undefined)

        def pick(vector, lanes):  # type: ignore[no-untyped-def]
            mask = ir.Constant(ir.VectorType(i32, len(lanes)), list(lanes))
            return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

        def fma(a, b, c):  # type: ignore[no-untyped-def]
            return builder.fadd(builder.fmul(a, b, flags=["contract"]), c, flags=["contract"])

        def load(base, index, vector):  # type: ignore[no-untyped-def]
            return builder.load(builder.bitcast(builder.gep(base, [index]), vector.as_pointer()), align=4)

        table = context.make_array(taps_type)(context, builder, taps).data
        data = context.make_array(pixels_type)(context, builder, pixels).data
        first = builder.mul(kind, ir.Constant(i64, 8 * _LANES))
        x = builder.insert_element(nothing, tx, ir.Constant(i32, 0))
        y = builder.insert_element(nothing, ty, ir.Constant(i32, 0))
        mask = ir.Constant(ir.VectorType(i32, 2 * _LANES), [0] * _LANES + [_LANES] * _LANES)
        t = builder.shuffle_vector(x, y, mask)
        weights = load(table, first, full)
        for power in range(1, 4):
            at = builder.add(first, ir.Constant(i64, 2 * _LANES * power))
            weights = fma(weights, t, load(table, at, full))
        columns, total = pick(weights, range(_LANES)), None
        for k in range(_LANES):
            line = load(data, start, half)
            row = pick(weights, [_LANES + k] * _LANES)
            total = builder.fmul(row, line) if total is None else fma(row, line, total)
            start = builder.add(start, stride)
        total = builder.fmul(total, columns)
        total = builder.fadd(total, pick(total, [2, 3, 0, 1]))
        total = builder.fadd(total, pick(total, [1, 0, 3, 2]))
        return builder.extract_element(total, ir.Constant(i32, 0))

    return signature, emit
