"""Compiled: the spectrum of a galaxy, and through the PSF of a band; operation for operation as numpy does them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

Array = NDArray[np.float64]


@compiled()
def galaxy_spectrum(
    kx: Array,
    ky: Array,
    c: float,
    s: float,
    q: float,
    reff: float,
    k: Array,
    value: Array,
    spectrum: NDArray[np.complex128],
) -> None:  # pragma: no cover - compiled
    """Multiply a spectrum by a Sersic profile's transform, ``np.interp`` of a table, in place.

    Parameters
    ----------
    kx, ky : ndarray, shape (box // 2 + 1,), (box,)
        Angular frequencies, 1/pixel.
    c, s : float
        Cosine and sine of the major axis's angle.
    q, reff : float
        Axis ratio, and half-light radius in pixels.
    k, value : ndarray
        The table: angular frequency times half-light radius, from 0, and the transform there.
    spectrum : ndarray of complex, shape (box, box // 2 + 1)
    """
    slope = (value[1:] - value[:-1]) / (k[1:] - k[:-1])
    j, last = 0, len(k) - 1
    for y in range(len(ky)):
        for x in range(len(kx)):
            along, across = kx[x] * c + ky[y] * s, ky[y] * c - kx[x] * s
            at = reff * np.sqrt(along * along / q + across * across * q)
            if at >= k[last]:
                shape = value[last]
            else:
                while at >= k[j + 1]:
                    j += 1
                while at < k[j]:
                    j -= 1
                shape = value[j] if at == k[j] else slope[j] * (at - k[j]) + value[j]
            spectrum[y, x] = complex(shape * spectrum[y, x].real, shape * spectrum[y, x].imag)


@compiled()
def through_moffat(
    spectrum: NDArray[np.complex128], k: Array, alpha: float, decay: Array, flux: float, out: NDArray[np.complex128]
) -> None:  # pragma: no cover - compiled
    """Multiply a spectrum by a flux and a Moffat profile's transform, e^-x (1 + x + x^2/3), into ``out``.

    Parameters
    ----------
    spectrum, out : ndarray of complex, shape (box, box // 2 + 1)
    k : ndarray, shape (box // 2 + 1, box // 2 + 1)
        Absolute angular frequencies, 1/pixel, from 0: those of negative ones along y are the same.
    alpha : float
        Scale length, pixels; x is k times it.
    decay : ndarray
        e^-x, by numpy: compiled code has another exponential, whose last digits differ.
    flux : float
    """
    box = len(spectrum)
    for y in range(box):
        row = min(y, box - y)
        for x in range(spectrum.shape[1]):
            at = k[row, x] * alpha
            psf = flux * (decay[row, x] * (1.0 + at + at * at / 3.0))
            out[y, x] = complex(spectrum[y, x].real * psf, spectrum[y, x].imag * psf)
