"""Formats of the numbers of a row and band: half precision, trailing zero bits, a lattice, values that repeat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled
from lensflow.measure.pixels.bits_lattice import LEAST_VALUES, is_on_lattice, lattice_of
from lensflow.measure.pixels.bits_pixels import HALF_CTRL, HALF_STAMP, PIXELS, ZEROS_CTRL, ZEROS_STAMP

FORMATS = ("half precision", "trailing zero bits", "lattice", "repeated values")
# A row and band differ in format where the shares of pixels of stamp and control do by more than this.
FORMAT_DIFFERENCE = 0.25
# Fewer pixels with an arc say nothing of a format.
LEAST_PIXELS = LEAST_VALUES


def formats_of(
    stamp: NDArray[np.float32], ctrl: NDArray[np.float32], lit: NDArray[np.bool_], counts: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], bool]:
    """In which formats stamp and control differ where the arc is, and whether both are on the same lattice."""
    n = counts[PIXELS]
    lattice_stamp, repeated_stamp, step_stamp = _lattice(stamp[lit])
    lattice_ctrl, repeated_ctrl, step_ctrl = _lattice(ctrl[lit])
    # On the same lattice, light alone decides how many bits a number needs.
    same = min(lattice_stamp, lattice_ctrl) > 0.9 and abs(step_stamp / step_ctrl - 1) < 1e-3
    shares = np.array(
        [
            (counts[HALF_STAMP] - counts[HALF_CTRL]) / n,
            (counts[ZEROS_STAMP] - counts[ZEROS_CTRL]) / n,
            lattice_stamp - lattice_ctrl,
            repeated_stamp - repeated_ctrl,
        ]
    )
    regular = max(lattice_ctrl, counts[HALF_CTRL] / n, counts[ZEROS_CTRL] / n) > 0.5
    return (np.zeros(len(FORMATS), bool) if same else np.abs(shares) > FORMAT_DIFFERENCE), bool(regular)


def _lattice(values: NDArray[np.float32]) -> tuple[float, float, float]:
    """Share of values on the lattice that their smallest differences make; share that repeats; the lattice's step."""
    # Single precision sorts several times as fast.
    ordered = np.sort(values)
    if ordered.size and not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
        ordered = ordered[np.isfinite(ordered)]
    if ordered.size < LEAST_PIXELS:
        return 0.0, 0.0, np.nan
    found: tuple[float, float, float] = lattice_numbers(ordered)
    return found


@compiled()
def lattice_numbers(ordered):  # type: ignore[no-untyped-def]
    """Share of ascending finite float32 values on their lattice, share that repeats, and the lattice's step."""
    n = len(ordered)
    x = np.empty(n)
    distinct = 0
    for k in range(n):
        x[k] = ordered[k]
        distinct += 1 if k == 0 or x[k] != x[k - 1] else 0
    repeated = 1 - distinct / n
    step, origin = lattice_of(x)
    if step == 0:
        return 1.0, repeated, np.nan
    if not step > 0:
        return 0.0, repeated, np.nan
    on = 0
    for k in range(n):
        on += 1 if is_on_lattice(x[k], step, origin) else 0
    return on / n, repeated, step
