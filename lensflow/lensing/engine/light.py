"""Evaluate the Sersic profile at a batch of samples: plain vector arithmetic in float32, no library calls."""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled

_LOG2E = 1.4426950408889634
_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding and subtracting it rounds to a whole number


def _fit_exp2() -> tuple[np.float32, ...]:
    u = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    return tuple(np.float32(c) for c in np.polynomial.Polynomial.fit(0.5 * u, 2.0 ** (0.5 * u), 6).convert().coef)


def _fit_log2() -> tuple[np.float32, ...]:
    # log2(m) / (m - 1) on [sqrt(1/2), sqrt(2)]
    u = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    m = np.sqrt(0.5) + 0.5 * (u + 1) * np.sqrt(0.5)
    y = np.log1p(m - 1) / (m - 1) * _LOG2E
    return tuple(np.float32(c) for c in np.polynomial.Polynomial.fit(m - 1, y, 9).convert().coef)


_E0, _E1, _E2, _E3, _E4, _E5, _E6 = _fit_exp2()
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9 = _fit_log2()


@compiled(inline="always")
def exp2(t):  # type: ignore[no-untyped-def]
    """2^t for float32 t <= 127; below -126, 2^-126."""
    t = max(t, np.float32(-126.0))
    i = np.int32(np.rint(t))
    f = t - np.float32(i)
    y = _E0 + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6)))))
    return y * np.int32((i + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled(inline="always")
def log2(x):  # type: ignore[no-untyped-def]
    """Base-2 logarithm of a normal positive float32."""
    bits = np.float32(x).view(np.int32)
    # Take sqrt(1/2) as the start of the mantissa, so that the argument of the polynomial is centred on 0.
    shifted = np.int32(bits - np.int32(0x3F3504F3))
    e = np.int32(shifted >> np.int32(23))
    m = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32) - np.float32(1.0)
    y = _L0 + m * (_L1 + m * (_L2 + m * (_L3 + m * (_L4 + m * (_L5 + m * (_L6 + m * (_L7 + m * (_L8 + m * _L9))))))))
    return np.float32(e) + m * y


@compiled(fastmath={"contract", "reassoc", "nsz"})
def power_in_place(r, n, power):  # type: ignore[no-untyped-def]
    """``r ** power`` for ``n`` positive float32."""
    power = np.float32(power)
    for k in range(n):
        r[k] = exp2(power * log2(max(r[k], np.float32(1e-30))))


@compiled(fastmath={"contract", "reassoc", "nsz"})
def scale_in_place(value, n, unit):  # type: ignore[no-untyped-def]
    """Multiply ``n`` float32 by a number."""
    unit = np.float32(unit)
    for k in range(n):
        value[k] *= unit


@compiled(fastmath={"contract", "reassoc", "nsz"})
def sersic_in_place(w2, weight, n, index, b):  # type: ignore[no-untyped-def]
    """Replace the squared radius (in half-light radii) by ``weight exp(-b w^(1/index))``."""
    rate = np.float32(-b * _LOG2E)
    if index == 1.0:
        for k in range(n):
            w2[k] = weight[k] * exp2(rate * np.sqrt(w2[k]))
    elif index == 0.5:
        for k in range(n):
            w2[k] = weight[k] * exp2(rate * w2[k])
    elif index == 4.0:
        for k in range(n):
            w2[k] = weight[k] * exp2(rate * np.sqrt(np.sqrt(np.sqrt(w2[k]))))
    else:
        power = np.float32(0.5 / index)
        for k in range(n):
            w2[k] = weight[k] * exp2(rate * exp2(power * log2(max(w2[k], np.float32(1e-30)))))
