"""Compiled inner loops: ray shooting on the uniform grid, and folding of the fine spectrum.

Serial, without fastmath, one row per call: a row's bits cannot depend on the rows beside it. Everything a row
needs is packed into one small array of floats (:func:`pack_row`).
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from lensflow.lensing.sources import sersic_amplitude, sersic_b

# The lens map of a row is w = M theta + N alpha_lens + w0, with w the source-plane position in half-light radii
# along and across the source's axes (so that the light depends on |w| only), theta the ray relative to the lens,
# and alpha_lens the deflection in the lens's principal frame.
_F, _Q, _SCALE, _COS, _SIN = 0, 1, 2, 3, 4
_M, _N, _W0 = 5, 9, 13
_B, _POWER, _SRC_Q = 15, 16, 17
_SLOPE_FAR, _SLOPE_LENS, _W_DARK = 18, 19, 20
_PARAMETERS = 21

# exp(-30) = 1e-13 of the central brightness is called dark.
_DARK_EXPONENT = 30.0
# Below this f = sqrt(1 - q^2), a series in f replaces arcsin and arcsinh (error < 1e-14 relative, also at f = 0).
_SERIES_F = 0.04


def pack_row(
    theta_e: float,
    lens_q: float,
    lens_phi: float,
    shear: float,
    shear_phi: float,
    src_x: float,
    src_y: float,
    reff: float,
    n: float,
    src_q: float,
    src_phi: float,
) -> tuple[NDArray[np.float64], float]:
    """Pack one row for the kernels (``lens_q`` 1 for an SIS); lengths in arcsec, angles in rad.

    Returns
    -------
    parameters : ndarray, shape (21,)
    central : float
        Central surface brightness, arcsec^-2, of a source of unit flux; the kernels return light in units of it.
    """
    p = np.zeros(_PARAMETERS)
    f = math.sqrt((1.0 - lens_q) * (1.0 + lens_q))
    small = f < _SERIES_F
    p[_F], p[_Q], p[_COS], p[_SIN] = f, lens_q, math.cos(lens_phi), math.sin(lens_phi)
    p[_SCALE] = theta_e * math.sqrt(lens_q) / (1.0 if small else f)
    g1, g2 = shear * math.cos(2 * shear_phi), shear * math.sin(2 * shear_phi)
    c, s = math.cos(src_phi), math.sin(src_phi)
    to_source = np.array([[c, s], [-s / src_q, c / src_q]]) / reff
    unrotate = np.array([[p[_COS], -p[_SIN]], [p[_SIN], p[_COS]]])
    p[_M : _M + 4] = (to_source @ np.array([[1 - g1, -g2], [-g2, 1 + g1]])).ravel()
    p[_N : _N + 4] = (-to_source @ unrotate).ravel()
    p[_W0 : _W0 + 2] = -to_source @ np.array([src_x, src_y])
    b = float(sersic_b(n))
    p[_B], p[_POWER], p[_SRC_Q] = b, 0.5 / n, src_q
    # How fast the source-plane position can change (in half-light radii, unsquashed) per arcsec in the image:
    # 1 + shear, plus the SIE's 2 kappa = theta_e sqrt(q) / sqrt(q^2 x^2 + y^2) <= theta_e / (sqrt(q) r), the one
    # eigenvalue of its Hessian that is not 0.
    p[_SLOPE_FAR], p[_SLOPE_LENS] = (1 + shear) / reff, theta_e / (math.sqrt(lens_q) * reff)
    p[_W_DARK] = (_DARK_EXPONENT / b) ** n
    return p, float(sersic_amplitude(1.0, reff, n, src_q)) * math.exp(b)


@numba.njit(inline="always", cache=True, error_model="numpy")
def _source_position(x, y, p):  # type: ignore[no-untyped-def]
    """Source-plane position, in half-light radii along and across the source's axes."""
    f = p[_F]
    r = math.sqrt(x * x + y * y)
    inverse = 1.0 / r if r > 1e-150 else 0.0
    cos = (p[_COS] * x + p[_SIN] * y) * inverse
    sin = (p[_COS] * y - p[_SIN] * x) * inverse
    u = f * cos
    v = f * sin / p[_Q]
    if f < _SERIES_F:
        u2, v2 = u * u, v * v
        ax = cos * (1 + u2 * (1 / 6 + u2 * (3 / 40 + u2 * (5 / 112 + u2 * (35 / 1152)))))
        ay = sin / p[_Q] * (1 - v2 * (1 / 6 - v2 * (3 / 40 - v2 * (5 / 112 - v2 * (35 / 1152)))))
    else:
        ax = math.asin(u)
        # arcsinh; |v| + sqrt() loses nothing that matters here: the error is 1e-16 absolute, f is not small.
        ay = math.copysign(math.log(abs(v) + math.sqrt(v * v + 1.0)), v)
    ax *= p[_SCALE]
    ay *= p[_SCALE]
    wx = p[_M] * x + p[_M + 1] * y + p[_N] * ax + p[_N + 1] * ay + p[_W0]
    wy = p[_M + 2] * x + p[_M + 3] * y + p[_N + 2] * ax + p[_N + 3] * ay + p[_W0 + 1]
    return wx, wy


@numba.njit(inline="always", cache=True, error_model="numpy")
def _light(x, y, p):  # type: ignore[no-untyped-def]
    """Light of one ray over the source's central brightness."""
    wx, wy = _source_position(x, y, p)
    w2 = wx * wx + wy * wy
    power = p[_POWER]
    if power == 0.5:
        radius = math.sqrt(w2)
    elif power == 1.0:
        radius = w2
    elif w2 > 0.0:
        radius = math.exp(power * math.log(w2))
    else:
        radius = 0.0
    return math.exp(-p[_B] * radius)


@numba.njit(inline="always", cache=True, error_model="numpy")
def _is_dark(x, y, half_diagonal, p):  # type: ignore[no-untyped-def]
    """No ray within ``half_diagonal`` (arcsec) of (x, y) can reach light above 1e-13 of the central brightness."""
    r = math.sqrt(x * x + y * y) - half_diagonal
    if r <= 0.0:
        return False
    wx, wy = _source_position(x, y, p)
    reach = (p[_SLOPE_FAR] + p[_SLOPE_LENS] / r) * half_diagonal
    # Two bounds, both true: on the plain distance, and on the elliptical radius, which grows at most 1/q faster.
    q = p[_SRC_Q]
    return math.sqrt(wx * wx + q * q * wy * wy) - reach > p[_W_DARK] or (
        math.sqrt(wx * wx + wy * wy) - reach / q > p[_W_DARK]
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def shoot_grid(light, s, x0, y0, pixel, p):  # type: ignore[no-untyped-def]
    """Fill ``light`` with the light of the rays of a grid of pixels, ``s`` x ``s`` to each.

    Parameters
    ----------
    light : ndarray, shape (ny * s, nx * s), zeros
        Filled in place, in units of the central brightness; dark pixels are left alone.
    s : int
        Rays per pixel and axis.
    x0, y0 : float
        Centre of the first pixel relative to the lens, arcsec.
    pixel : float
        Pixel size, arcsec.
    p : ndarray
        From :func:`pack_row`.

    Returns
    -------
    total : float
        Sum of ``light``.
    first_row, end_row : int
        Range of the fine rows that hold light; (0, 0) where there is none.
    """
    ny, nx = light.shape[0] // s, light.shape[1] // s
    half_diagonal = pixel * math.sqrt(0.5)
    step = pixel / s
    total, first, end = 0.0, -1, 0
    for i in range(ny):
        y = y0 + i * pixel
        for j in range(nx):
            x = x0 + j * pixel
            if _is_dark(x, y, half_diagonal, p):
                continue
            if first < 0:
                first = i * s
            end = (i + 1) * s
            for k in range(s):
                yr = y + ((k + 0.5) * step - 0.5 * pixel)
                line = light[i * s + k, j * s : (j + 1) * s]
                for m in range(s):
                    value = _light(x + ((m + 0.5) * step - 0.5 * pixel), yr, p)
                    line[m] = value
                    total += value
    return total, max(first, 0), end


@numba.njit(nogil=True, cache=True, error_model="numpy")
def sum_frame(s, x0, y0, pixel, ny, nx, margin, p):  # type: ignore[no-untyped-def]
    """Sum of the light of the rays in a frame of ``margin`` pixels around an ``ny`` x ``nx`` grid; see above."""
    half_diagonal = pixel * math.sqrt(0.5)
    step = pixel / s
    total = 0.0
    for i in range(-margin, ny + margin):
        y = y0 + i * pixel
        for j in range(-margin, nx + margin):
            x = x0 + j * pixel
            if (0 <= i < ny and 0 <= j < nx) or _is_dark(x, y, half_diagonal, p):
                continue
            for k in range(s):
                for m in range(s):
                    total += _light(x + ((m + 0.5) * step - 0.5 * pixel), y + ((k + 0.5) * step - 0.5 * pixel), p)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def weighted_sum(x, y, weight, p):  # type: ignore[no-untyped-def]
    """Weighted sum of the light at scattered positions (arcsec from the lens), shape (n,) each."""
    total = 0.0
    for i in range(x.size):
        total += weight[i] * _light(x[i], y[i], p)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fold_spectrum(out, spectrum, psf, phase_x, phase_y, level):  # type: ignore[no-untyped-def]
    """Multiply the fine spectrum by the PSF's and fold it onto the pixel grid's half-plane of frequencies.

    Parameters
    ----------
    out : ndarray of complex, shape (period, period//2 + 1), zeros
        Spectrum for ``irfft2``; ``period`` is even.
    spectrum : ndarray of complex, shape (k + 1, 2 k + 1)
        Fine spectrum at x frequencies 0..k (rows) and y frequencies -k..k (columns), in units of 1/period.
    psf : ndarray, shape (c + 1, c + 1), c <= k
        PSF transform at |fy|, |fx|.
    phase_x, phase_y : ndarray of complex, shapes (k + 1,), (2 k + 1,)
        exp(-2 pi i f x_first): where the first ray lies.
    level : float
        Frequencies at which the PSF is below this are left out.
    """
    period = out.shape[0]
    half = period // 2
    k = spectrum.shape[0] - 1
    c = psf.shape[0] - 1
    for mx in range(c + 1):
        column = mx % period
        for my in range(-c, c + 1):
            weight = psf[abs(my), mx]
            if weight < level:
                continue
            value = spectrum[mx, my + k] * (weight * phase_x[mx] * phase_y[my + k])
            row = my % period
            mirror = -my % period
            # A real image: the frequencies with mx < 0 are the conjugates, and fold where their mirror images do.
            if column <= half:
                out[row, column] += value
            if mx > 0 and (column == 0 or column >= half):
                out[mirror, (period - column) % period] += value.conjugate()
