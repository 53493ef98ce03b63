"""Axis ratio and angle of a target's light: adaptive second moments of a stamp, kept clear of neighbours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled

RADIUS_PIX = 8.0
# A pixel that is brighter than its reflection through the target by this many sigma belongs to a neighbour.
_ASYMMETRY_SIGMA = 5.0
# ... and by this share of the reflection: the steep core is not sampled finely enough to be reflected exactly.
_ASYMMETRY_SHARE = 0.5
_MIN_SNR = 10.0
_MIN_SHARE_WITH_DATA = 0.9
_MAX_STEPS = 100
_CONVERGED = 1e-4


def light_shape(
    image: NDArray[np.float32],
    invvar: NDArray[np.float32],
    x_center: NDArray[np.float64],
    y_center: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Axis ratio and angle of the light within 8 pixels of the target, seeing included.

    The moments are weighted with an elliptical Gaussian whose shape is fitted to them (it follows the light, so that
    pixels far out count little). Before that, a pixel that is much brighter than its reflection through the target is
    replaced by the reflection: a galaxy is symmetric, a neighbour is not.

    Parameters
    ----------
    image, invvar : ndarray of float32, shape (host, y, x)
        One band; nMgy/pixel and nMgy^-2, 0 = no data.
    x_center, y_center : ndarray, shape (host,)
        Target in the stamp, pixels.

    Returns
    -------
    q, phi_rad : ndarray of float32, shape (host,)
        Axis ratio in (0, 1], and the angle of the major axis from +x counter-clockwise, in [0, pi). NaN where a tenth
        of the disc has no data, the light's signal to noise is below 10, or the fit does not settle.

    References
    ----------
    Bernstein & Jarvis 2002, AJ 123, 583 (adaptive moments); Hirata & Seljak 2003, MNRAS 343, 459.
    """
    n = len(image)
    q, phi = np.full(n, np.nan), np.full(n, np.nan)
    places = (np.ascontiguousarray(c, dtype=np.float64) for c in (x_center, y_center))
    _measure(np.ascontiguousarray(image), np.ascontiguousarray(invvar), *places, q, phi)
    return q.astype(np.float32), phi.astype(np.float32)


@compiled()
def _measure(image, invvar, x_center, y_center, q, phi):  # type: ignore[no-untyped-def]
    size = image.shape[1]
    reach = int(RADIUS_PIX) + 1
    light = np.empty(((2 * reach + 1) ** 2, 3))
    for i in range(len(image)):
        xc, yc = x_center[i], y_center[i]
        if not (reach <= xc <= size - 1 - reach and reach <= yc <= size - 1 - reach):
            continue
        n, variance, complete = _collect(image[i], invvar[i], xc, yc, reach, light)
        if complete:
            q[i], phi[i] = _adapt(light[:n], variance)


@compiled()
def _collect(image, invvar, xc, yc, reach, light):  # type: ignore[no-untyped-def]
    """Fill ``light`` with (dx, dy, value) of the disc; return pixels, mean variance, and whether they suffice."""
    n, wanted, variance = 0, 0, 0.0
    for y in range(int(yc) - reach, int(yc) + reach + 2):
        for x in range(int(xc) - reach, int(xc) + reach + 2):
            dx, dy = x - xc, y - yc
            if dx * dx + dy * dy >= RADIUS_PIX * RADIUS_PIX:
                continue
            wanted += 1
            there, back = invvar[y, x] > 0, math.nan
            back = _bilinear(image, invvar, 2 * xc - x, 2 * yc - y)
            if not there and back != back:
                continue
            value = np.float64(image[y, x])
            if not there:
                value = back
            elif back == back:
                noise = 1.5 / math.sqrt(invvar[y, x])
                if value - back > _ASYMMETRY_SIGMA * noise + _ASYMMETRY_SHARE * abs(back):
                    value = back
            if there:
                variance += 1.0 / invvar[y, x]
            light[n, 0], light[n, 1], light[n, 2] = dx, dy, value
            n += 1
    return n, variance / max(n, 1), n >= _MIN_SHARE_WITH_DATA * wanted


@compiled()
def _bilinear(image, invvar, x, y):  # type: ignore[no-untyped-def]
    """Image between pixel centres; NaN where one of the four has no data or lies off the stamp."""
    x0, y0 = math.floor(x), math.floor(y)
    size = image.shape[0]
    total = 0.0
    for j in range(2):
        for i in range(2):
            weight = (1.0 - abs(x - (x0 + i))) * (1.0 - abs(y - (y0 + j)))
            if weight <= 0.0:
                continue
            xi, yj = int(x0) + i, int(y0) + j
            if not (0 <= xi < size and 0 <= yj < size) or invvar[yj, xi] <= 0:
                return math.nan
            total += weight * image[yj, xi]
    return total


@compiled()
def _adapt(light, variance):  # type: ignore[no-untyped-def]
    """Axis ratio and angle from moments whose Gaussian weight has the light's own shape; NaN if they do not settle."""
    sxx, sxy, syy = 6.0, 0.0, 6.0
    for _ in range(_MAX_STEPS):
        det = sxx * syy - sxy * sxy
        ixx, ixy, iyy = syy / det, -sxy / det, sxx / det
        total = mxx = mxy = myy = squares = 0.0
        for k in range(len(light)):
            dx, dy = light[k, 0], light[k, 1]
            weight = math.exp(-0.5 * (ixx * dx * dx + 2 * ixy * dx * dy + iyy * dy * dy))
            wl = weight * light[k, 2]
            total += wl
            squares += weight * weight
            mxx += wl * dx * dx
            mxy += wl * dx * dy
            myy += wl * dy * dy
        if total <= _MIN_SNR * math.sqrt(variance * squares):
            return math.nan, math.nan
        # A Gaussian of this shape, weighted with itself, has half its moments.
        nxx, nxy, nyy = 2 * mxx / total, 2 * mxy / total, 2 * myy / total
        if not (nxx > 0.1 and nyy > 0.1 and nxx * nyy - nxy * nxy > 0.01):
            return math.nan, math.nan
        change = abs(nxx - sxx) + abs(nxy - sxy) + abs(nyy - syy)
        sxx, sxy, syy = nxx, nxy, nyy
        if sxx + syy > RADIUS_PIX * RADIUS_PIX:
            return math.nan, math.nan
        if change < _CONVERGED * (sxx + syy):
            half, tilt = 0.5 * (sxx + syy), math.hypot(0.5 * (sxx - syy), sxy)
            angle = 0.5 * math.atan2(sxy, 0.5 * (sxx - syy)) % math.pi
            return math.sqrt((half - tilt) / (half + tilt)), angle if angle < math.pi else 0.0
    return math.nan, math.nan
