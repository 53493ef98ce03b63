"""Products of small float32 matrices, faster than a library's at sizes of 30 to 130, single-threaded always.

The inner block keeps 4 rows x up to 4 vectors of the result in registers while it runs along the inner dimension.
It is written as vector instructions, because the compiler does not find it in scalar loops; LLVM splits the vectors
of 16 on machines whose registers are shorter.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lensflow.jit import compiled

# Columns are counted in whole vectors of float32.
LANES = 16
_ROWS = 4


def _block(vectors: int, transposed: bool) -> Any:
    """Make the function that fills ``c[m : m + 4, n : n + 16 vectors]`` with ``a @ b``, or with ``a.T @ b``."""

    @intrinsic
    def block(typing_context, c, a, b, m, n, inner):  # type: ignore[no-untyped-def]
        signature = types.void(c, a, b, types.int64, types.int64, types.int64)

        def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            c_type, a_type, b_type, *_ = signature.args
            c, a, b = (
                context.make_array(t)(context, builder, v)
                for t, v in zip((c_type, a_type, b_type), arguments[:3], strict=True)
            )
            m, n, inner = arguments[3:]
            f32, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
            vector = ir.VectorType(f32, LANES)
            zero = ir.Constant(vector, [0.0] * LANES)
            undefined, splat = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)

            def address(array, row, column):  # type: ignore[no-untyped-def]
                stride = cgutils.unpack_tuple(builder, array.strides, 2)[0]
                base = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [builder.mul(row, stride)])
                return builder.gep(builder.bitcast(base, f32.as_pointer()), [column])

            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(_ROWS)]
            places = [builder.add(m, ir.Constant(i64, r)) for r in range(_ROWS)]
            a_rows = [] if transposed else [address(a, place, ir.Constant(i64, 0)) for place in places]
            with cgutils.for_range(builder, inner, intp=i64) as loop:
                b_row = address(b, loop.index, n)
                line = []
                for v in range(vectors):
                    at = builder.gep(b_row, [ir.Constant(i64, LANES * v)])
                    line.append(builder.load(builder.bitcast(at, vector.as_pointer()), align=4))
                for r in range(_ROWS):
                    if transposed:
                        factor = builder.load(address(a, loop.index, places[r]))
                    else:
                        factor = builder.load(builder.gep(a_rows[r], [loop.index]))
                    one = builder.insert_element(undefined, factor, ir.Constant(i32, 0))
                    factor = builder.shuffle_vector(one, undefined, splat)
                    for v in range(vectors):
                        product = builder.fmul(factor, line[v], flags=["contract"])
                        total = builder.fadd(builder.load(sums[r][v]), product, flags=["contract"])
                        builder.store(total, sums[r][v])
            for r in range(_ROWS):
                c_row = address(c, builder.add(m, ir.Constant(i64, r)), n)
                for v in range(vectors):
                    at = builder.gep(c_row, [ir.Constant(i64, LANES * v)])
                    builder.store(builder.load(sums[r][v]), builder.bitcast(at, vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return signature, emit

    return block


_block1, _block2, _block3, _block4 = (_block(v, False) for v in (1, 2, 3, 4))
_turned1, _turned2, _turned3, _turned4 = (_block(v, True) for v in (1, 2, 3, 4))


@compiled()
def matmul(c, a, b, rows, inner, columns):  # type: ignore[no-untyped-def]
    """``c[:rows, :columns] = a[:rows, :inner] @ b[:inner, :columns]``.

    Parameters
    ----------
    c, a, b : ndarray of float32, two-dimensional, contiguous rows
    rows : int
        Multiple of 4.
    inner : int
    columns : int
        Multiple of LANES.
    """
    for n in range(0, columns, 4 * LANES):
        left = (columns - n) // LANES
        for m in range(0, rows, 4):
            if left >= 4:
                _block4(c, a, b, m, n, inner)
            elif left == 3:
                _block3(c, a, b, m, n, inner)
            elif left == 2:
                _block2(c, a, b, m, n, inner)
            else:
                _block1(c, a, b, m, n, inner)


@compiled()
def matmul_transposed(c, a, b, rows, inner, columns):  # type: ignore[no-untyped-def]
    """``c[:rows, :columns] = a[:inner, :rows].T @ b[:inner, :columns]``; otherwise as :func:`matmul`."""
    for n in range(0, columns, 4 * LANES):
        left = (columns - n) // LANES
        for m in range(0, rows, 4):
            if left >= 4:
                _turned4(c, a, b, m, n, inner)
            elif left == 3:
                _turned3(c, a, b, m, n, inner)
            elif left == 2:
                _turned2(c, a, b, m, n, inner)
            else:
                _turned1(c, a, b, m, n, inner)
