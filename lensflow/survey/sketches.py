"""The compiled part of the portraits: hashes of every square of 3 x 3 pixels, and the smallest few of them."""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled

_GOLDEN, _CORNERS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_ONE, _FOUR = np.uint64(1), np.uint64(4)


@compiled()
def _mix(x):  # type: ignore[no-untyped-def]
    """Finish a hash (splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled()
def sketch_images(bits, good, nothing, sketch):  # type: ignore[no-untyped-def]
    """Fill ``sketch`` with the smallest hashes of each image's squares, rising.

    A hash is blind to its square's orientation: of the middle, the sum over the four beside, that over the corners.

    Parameters
    ----------
    bits : uint32, shape (image, size, size)
        Bits of the pixels; of 0 those of +0.
    good : bool, shape (image, size, size)
        Pixels with data; a square with another has no hash.
    nothing : uint64
        Hash of squares of one value, and of none.
    sketch : uint64, shape (image, kept), output
    """
    size, kept = bits.shape[1], sketch.shape[1]
    pixel = np.empty((size, size), np.uint64)
    for i in range(len(bits)):
        smallest = sketch[i]
        smallest[:] = nothing
        whole = True
        for v in range(size):
            for u in range(size):
                pixel[v, u] = _mix((np.uint64(bits[i, v, u]) + _ONE) * _GOLDEN)
                whole &= good[i, v, u]
        for v in range(1, size - 1):
            above, line, below = pixel[v - 1], pixel[v], pixel[v + 1]
            for u in range(1, size - 1):
                beside = above[u] + below[u] + line[u - 1] + line[u + 1]
                corners = above[u - 1] + below[u - 1] + above[u + 1] + below[u + 1]
                four = line[u] * _FOUR
                if (beside == four and corners == four) or not (whole or good[i, v - 1 : v + 2, u - 1 : u + 2].all()):
                    continue
                square = _mix(line[u] + beside * _GOLDEN + corners * _CORNERS)
                k = kept - 1
                if square >= smallest[k]:
                    continue
                while k > 0 and smallest[k - 1] > square:
                    smallest[k] = smallest[k - 1]
                    k -= 1
                smallest[k] = square
