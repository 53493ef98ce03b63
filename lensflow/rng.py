"""Counter-based random numbers: every number is a pure function of (seed, row id, purpose, index).

Philox4x32-10 (Salmon et al. 2011, SC11, "Parallel random numbers: as easy as 1, 2, 3"). The key is made
from the seed and the purpose's name, the counter from the row id, a lane (a band, say) and the index of the
draw. So any row can be drawn alone, in any order, on any machine, and a new purpose never shifts an old one.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.jit import compiled

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_BELOW_ONE = 1.0 - 2.0**-53


@compiled(inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """One Philox4x32-10 block: four counter words and two key words (uint64 holding 32 bits) to four words."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0 = (p1 >> _32) ^ c1 ^ k0
        c1 = p1 & _LOW
        c2 = (p0 >> _32) ^ c3 ^ k1
        c3 = p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@compiled(inline="always")
def _to_open_unit(high, low):  # type: ignore[no-untyped-def]
    # 53 bits, then half a step up: never 0, so that log() below is finite. From 2^52 on the half step is rounded to
    # even, which takes the last value to 2^53: it is put back, so that nothing is 1.
    bits = ((high << np.uint64(21)) ^ (low >> np.uint64(11))) & np.uint64(0x1FFFFFFFFFFFFF)
    return min((np.float64(bits) + 0.5) * (1.0 / 9007199254740992.0), _BELOW_ONE)


@compiled(inline="always")
def uniform_pair(k0, k1, row_id, lane, block):  # type: ignore[no-untyped-def]
    """Two uniforms in (0, 1) from one block; for use inside compiled kernels."""
    c0, c1, c2, c3 = philox4x32(row_id & _LOW, row_id >> _32, block & _LOW, lane & _LOW, k0, k1)
    return _to_open_unit(c0, c1), _to_open_unit(c2, c3)


@compiled(inline="always")
def normal_at(k0, k1, row_id, lane, index):  # type: ignore[no-untyped-def]
    """Return standard normal number ``index`` of (row, lane), by Box-Muller; for use inside compiled kernels."""
    u, v = uniform_pair(k0, k1, row_id, lane, index >> np.uint64(1))
    radius = np.sqrt(-2.0 * np.log(u))
    angle = 2.0 * np.pi * v
    return radius * (np.cos(angle) if index & np.uint64(1) == 0 else np.sin(angle))


def _fit_log() -> tuple[np.float32, ...]:
    # log(m) / (m - 1) on [sqrt(1/2), sqrt(2)]
    m = np.sqrt(0.5) * (1.5 + 0.5 * np.cos(np.pi * (np.arange(200) + 0.5) / 200))
    return tuple(np.float32(c) for c in np.polynomial.Polynomial.fit(m - 1, np.log(m) / (m - 1), 8).convert().coef)


_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = _fit_log()
_LN2 = np.float32(0.6931471805599453)
# Taylor series of sine and cosine on [-pi/4, pi/4]: to 3e-7 and 3e-8.
_S3, _S5, _S7 = np.float32(-1 / 6), np.float32(1 / 120), np.float32(-1 / 5040)
_C2, _C4, _C6, _C8 = np.float32(-1 / 2), np.float32(1 / 24), np.float32(-1 / 720), np.float32(1 / 40320)
_EIGHTH_TURN = np.float32(np.pi / 4 / 2147483648.0)


@compiled(inline="always")
def _box_muller_f4(first, second):  # type: ignore[no-untyped-def]
    """Two normals of single precision from two words of 32 bits, out to 6.7 sigma, to 1e-6.

    Only sums, products, square roots and bit operations: they run in vector registers, and their bits do not depend
    on how many are drawn together.
    """
    one = np.float32(1.0)
    i, k = np.uint32(first), np.uint32(second)
    u = (np.float32(np.int32(i >> np.uint32(1))) + np.float32(0.5)) * np.float32(1.0 / 2147483648.0)
    bits = np.float32(u).view(np.int32)
    # Take sqrt(1/2) as the start of the mantissa, so that the argument of the polynomial is centred on 0.
    e = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32) - one
    y = _L0 + m * (_L1 + m * (_L2 + m * (_L3 + m * (_L4 + m * (_L5 + m * (_L6 + m * (_L7 + m * _L8)))))))
    radius = np.sqrt(np.float32(-2.0) * (np.float32(e) * _LN2 + m * y))
    # An angle within an eighth of a turn of +x from 30 bits; the other two bits swap the axes and turn by a half.
    a = np.float32(np.int32(k << np.uint32(2))) * _EIGHTH_TURN
    a2 = a * a
    sin = a * (one + a2 * (_S3 + a2 * (_S5 + a2 * _S7)))
    cos = one + a2 * (_C2 + a2 * (_C4 + a2 * (_C6 + a2 * _C8)))
    swap = np.uint32(k >> np.uint32(30)) & np.uint32(1)
    signed = np.uint32(np.float32(radius).view(np.uint32) ^ np.uint32(k & np.uint32(0x80000000))).view(np.float32)
    return signed * (sin if swap else cos), signed * (cos if swap else sin)


@compiled(inline="always")
def _normal4_f4(k0, k1, low, high, lane, block):  # type: ignore[no-untyped-def]
    c0, c1, c2, c3 = philox4x32(low, high, block & _LOW, lane & _LOW, k0, k1)
    a, b = _box_muller_f4(c0, c1)
    c, d = _box_muller_f4(c2, c3)
    return a, b, c, d


@compiled()
def fill_normal_f4(out, blocks, k0, k1, row_id, lane, first):  # type: ignore[no-untyped-def]
    """Fill ``out[:4 blocks]`` with normals 4 ``first``, 4 ``first`` + 1, ... of (row, lane); for compiled kernels.

    0.7 ns each in vector registers of 64 bytes, where one at a time takes 13 ns.
    """
    low, high = row_id & _LOW, row_id >> _32
    for j in range(blocks):
        a, b, c, d = _normal4_f4(k0, k1, low, high, lane, np.uint64(first + j))
        out[4 * j], out[4 * j + 1], out[4 * j + 2], out[4 * j + 3] = a, b, c, d


@compiled()
def _fill_uniform(out, k0, k1, row_id, lane):  # type: ignore[no-untyped-def]
    rows, count = out.shape
    for i in range(rows):
        for j in range(0, count, 2):
            u, v = uniform_pair(k0, k1, row_id[i], lane, np.uint64(j >> 1))
            out[i, j] = u
            if j + 1 < count:
                out[i, j + 1] = v


@compiled()
def _fill_normal(out, k0, k1, row_id, lane):  # type: ignore[no-untyped-def]
    rows, count = out.shape
    for i in range(rows):
        for j in range(count):
            out[i, j] = normal_at(k0, k1, row_id[i], lane, np.uint64(j))


@compiled()
def _fill_rows_f4(out, blocks, k0, k1, row_id, lane):  # type: ignore[no-untyped-def]
    for i in range(len(out)):
        fill_normal_f4(out[i], blocks, k0, k1, row_id[i], lane, 0)


def key_words(seed: int, purpose: str) -> tuple[np.uint64, np.uint64]:
    """Two 32-bit key words for a seed and a purpose, as uint64."""
    digest = hashlib.blake2b(f"{int(seed)}\x1f{purpose}".encode(), digest_size=8).digest()
    word = int.from_bytes(digest, "little")
    return np.uint64(word & 0xFFFFFFFF), np.uint64(word >> 32)


def hash_ids(names: ArrayLike) -> NDArray[np.uint64]:
    """64-bit hash of each name: the row key of a host, independent of position and order."""
    values = np.asarray(names).ravel()
    out = [int.from_bytes(hashlib.blake2b(str(v).encode(), digest_size=8).digest(), "little") for v in values]
    return np.array(out, dtype=np.uint64)


def mix_ids(first: ArrayLike, second: ArrayLike) -> NDArray[np.uint64]:
    """Combine two arrays of 64-bit ids into one (splitmix64 finaliser); used for host x replicate row ids."""
    with np.errstate(over="ignore"):
        z = np.asarray(first, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15) * (
            np.asarray(second, dtype=np.uint64) + np.uint64(1)
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed: int, row_id: ArrayLike, purpose: str, count: int = 1, lane: int = 0) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1).

    Parameters
    ----------
    seed : int
        The run's seed.
    row_id : array_like of uint64, shape (n,)
        Key of each row.
    purpose : str
        What the numbers are for; another purpose gives independent numbers.
    count : int
        Numbers per row.
    lane : int
        An extra key, for example the band's index.

    Returns
    -------
    ndarray of float64, shape (n, count)
    """
    rows = np.ascontiguousarray(row_id, dtype=np.uint64).ravel()
    out = np.empty((rows.size, count))
    _fill_uniform(out, *key_words(seed, purpose), rows, np.uint64(lane))
    return out


def normal(seed: int, row_id: ArrayLike, purpose: str, count: int = 1, lane: int = 0) -> NDArray[np.float64]:
    """Standard normal numbers, shape (n, count); parameters as for :func:`uniform`."""
    rows = np.ascontiguousarray(row_id, dtype=np.uint64).ravel()
    out = np.empty((rows.size, count))
    _fill_normal(out, *key_words(seed, purpose), rows, np.uint64(lane))
    return out


def normal_f4(seed: int, row_id: ArrayLike, purpose: str, count: int = 1, lane: int = 0) -> NDArray[np.float32]:
    """Standard normal numbers of single precision, for pixels; parameters as for :func:`uniform`."""
    rows = np.ascontiguousarray(row_id, dtype=np.uint64).ravel()
    blocks = (count + 3) // 4
    out = np.empty((rows.size, 4 * blocks), dtype=np.float32)
    _fill_rows_f4(out, blocks, *key_words(seed, purpose), rows, np.uint64(lane))
    return out[:, :count]


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a NumPy generator for sequential uses (fold shuffles, bootstraps): Philox keyed by seed and purpose."""
    k0, k1 = key_words(seed, purpose)
    return np.random.Generator(np.random.Philox(key=(int(k1) << 32) | int(k0)))
