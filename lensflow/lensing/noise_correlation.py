"""Correlated pixel noise: by how much a signal-to-noise ratio over many pixels is overestimated.

Resampled coadds have noise that neighbouring pixels share (DES: 0.12 at lag 1, -0.06 at lag 2), which an
inverse-variance map does not know of. The variance of a weighted sum over pixels is then
``sigma^2 sum_lag rho(lag) A(lag)``, with A the weights' autocorrelation, and not ``sigma^2 A(0)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import RenderError
from lensflow.jit import compiled
from lensflow.units import MAD_TO_SIGMA

Floats = NDArray[np.float64]

# Objects are found on the image smoothed by this, pixels, above so many sigma, and grown by a few pixels.
_SMOOTH_PIX, _DETECT_SIGMA, _GROW_PIX = 1.5, 3.0, 4
# Fewer blank pixels than this say nothing about 24 lags.
_LEAST_PIXELS = 400
# Constant and plane are fitted to the blank sky.
_FITTED = 3
_SMOOTHING = np.exp(-0.5 * (np.arange(-6, 7) / _SMOOTH_PIX) ** 2)
_SMOOTHING /= _SMOOTHING.sum()
_ANY_ORDER = {"contract", "reassoc", "nsz"}


class NoiseCorrelation(NamedTuple):
    """What blank sky tells of the noise.

    Attributes
    ----------
    rho : ndarray of float64, shape (band, 2 max_lag + 1, 2 max_lag + 1)
        Autocorrelation at the lags (y, x), 1 in the middle; NaN for a band with too little blank sky.
    sigma : ndarray of float64, shape (band,)
        Standard deviation of a pixel, the image's unit.
    pixels : ndarray of int64, shape (band,)
        Number of blank pixels.
    """

    rho: Floats
    sigma: Floats
    pixels: NDArray[np.int64]


def noise_autocorrelation(image: ArrayLike, *, valid: ArrayLike | None = None, max_lag: int = 3) -> NoiseCorrelation:
    """Autocorrelation of the noise on the blank sky of a stamp, or of several stamps together.

    Parameters
    ----------
    image : array_like, shape (band, y, x) or (stamp, band, y, x)
        Any unit; pixels that are not finite are left out.
    valid : array_like of bool, same shape, optional
        False where a pixel must not be used (no data, bad).
    max_lag : int
        Largest lag on either axis, pixels.

    Returns
    -------
    NoiseCorrelation

    Raises
    ------
    RenderError
        If the image has no such shape, or ``max_lag`` does not fit it.

    Notes
    -----
    Objects are masked (3 sigma above the image smoothed by 1.5 pixels, grown by 4 pixels), a plane is subtracted,
    and what fitting it takes away from every lag is put back. Objects too faint to be masked count as noise: on DES
    stamps the wide-aperture factor is 1.25 so, 1.4 with a mask at 4 sigma, 4 with none. A stamp of 64 x 64 pixels
    gives every lag to about 0.02; pool stamps where the noise is known to be alike.
    """
    stack = np.asarray(image, dtype=np.float64)
    if stack.ndim == 3:
        stack = stack[None]
    if stack.ndim != 4 or not 1 <= max_lag < min(stack.shape[2:]) // 2:
        raise RenderError(
            f"image must be (band, y, x) or (stamp, band, y, x) and wider than twice max_lag = {max_lag}, "
            f"not of the shape {np.shape(image)}"
        )
    usable = np.isfinite(stack)
    if valid is not None:
        usable &= np.broadcast_to(np.asarray(valid, dtype=bool), np.shape(image)).reshape(stack.shape)
    stamps, bands = stack.shape[:2]
    width = 2 * max_lag + 1
    rho, sigma = np.full((bands, width, width), np.nan), np.full(bands, np.nan)
    pixels = np.zeros(bands, dtype=np.int64)
    for band in range(bands):
        products, pairs, used = np.zeros((width, width)), np.zeros((width, width)), 0
        for stamp in range(stamps):
            sky, blank = _blank_sky(stack[stamp, band], usable[stamp, band], _SMOOTHING)
            if blank.sum() < _LEAST_PIXELS:
                continue
            used += 1
            pixels[band] += blank.sum()
            products += _lagged_sums(sky, max_lag)
            pairs += _lagged_sums(blank.astype(np.float64), max_lag)
        if not used:
            continue
        covariance = products / np.maximum(pairs, 1)
        # A fit of p numbers to N pixels takes p/N of the power at frequency 0, sum(covariance), from every lag.
        lost = _FITTED * used / pixels[band]
        covariance += covariance.sum() * lost / (1 - lost * width**2)
        rho[band] = covariance / covariance[max_lag, max_lag]
        sigma[band] = np.sqrt(covariance[max_lag, max_lag])
    return NoiseCorrelation(rho, sigma, pixels)


def correlated_noise_factor(
    image: ArrayLike | NoiseCorrelation,
    template: ArrayLike | None = None,
    *,
    valid: ArrayLike | None = None,
    max_lag: int = 3,
) -> Floats:
    """Factor by which an SNR that takes pixels as independent is too high: divide the SNR by it.

    Parameters
    ----------
    image : array_like, shape (band, y, x) or (stamp, band, y, x), or NoiseCorrelation
        Where the noise is measured; see :func:`noise_autocorrelation`.
    template : array_like, shape (y, x) or (band, y, x), optional
        Weights of the sum: 1 inside of an aperture, the arc (times invvar) for a matched filter. Default: the limit
        of an aperture much wider than the lags, ``sqrt(sum(rho))``, the largest factor of any smooth template.
    valid : array_like of bool, optional
        Pixels to use, as :func:`noise_autocorrelation` takes them.
    max_lag : int
        Largest distance in x and in y of two pixels that are compared, pixels.

    Returns
    -------
    ndarray of float64, shape (band,)
        1 for white noise, and for a template of one pixel. NaN where there is too little blank sky, or an empty
        template. One stamp of 64 x 64 pixels gives it to about 10 %.

    Raises
    ------
    RenderError
        If the template's shape does not fit.
    """
    measured = (
        image if isinstance(image, NoiseCorrelation) else noise_autocorrelation(image, valid=valid, max_lag=max_lag)
    )
    bands, width = measured.rho.shape[:2]
    if template is None:
        share = np.ones((bands, width, width))
    else:
        weights = np.asarray(template, dtype=np.float64)
        if weights.ndim == 2:
            weights = np.broadcast_to(weights, (bands, *weights.shape))
        if weights.ndim != 3 or weights.shape[0] != bands or min(weights.shape[1:]) < width:
            raise RenderError(f"template must be (y, x) or ({bands}, y, x), not of the shape {np.shape(template)}")
        power = np.sum(weights**2, axis=(1, 2))
        lagged = np.array([_lagged_sums(w, width // 2) for w in weights])
        share = np.divide(
            lagged, power[:, None, None], out=np.full(lagged.shape, np.nan), where=power[:, None, None] > 0
        )
    # Noise in 48 lags can make the sum of a narrow set of pixels negative; a variance is not.
    return np.asarray(np.sqrt(np.maximum(np.sum(measured.rho * share, axis=(1, 2)), 0.0)))


@compiled()
def _blank_sky(image, usable, weights):  # type: ignore[no-untyped-def]
    """Image with objects and a plane taken off, 0 where it is not blank, and where it is.

    ``weights`` is the smoothing kernel along one axis.
    """
    ny, nx = image.shape
    smooth, share = np.empty((ny, nx)), np.empty((ny, nx))
    filled, known = np.zeros((ny, nx)), np.zeros((ny, nx))
    for y in range(ny):
        for x in range(nx):
            if usable[y, x]:
                filled[y, x], known[y, x] = image[y, x], 1.0
    _smooth(filled, weights, smooth)
    _smooth(known, weights, share)
    for y in range(ny):
        for x in range(nx):
            smooth[y, x] /= max(share[y, x], 1e-3)
    blank = usable.copy()
    values = np.empty(ny * nx)
    for _ in range(3):
        n = _take(smooth, blank, values)
        if n == 0:
            break
        level = np.median(values[:n])
        threshold = level + _DETECT_SIGMA * MAD_TO_SIGMA * np.median(np.abs(values[:n] - level))
        before = blank.sum()
        _mask_objects(usable & (smooth > threshold), usable, blank)
        if blank.sum() == before:
            break
    sky = np.zeros((ny, nx))
    for _ in range(2):  # the second time without outliers (cosmic rays, bad pixels)
        n = blank.sum()
        if n <= _FITTED:
            break
        _subtract_plane(image, blank, n, sky)
        n = _take(sky, blank, values)
        limit = 5 * MAD_TO_SIGMA * np.median(np.abs(values[:n])) + 1e-300
        for y in range(ny):
            for x in range(nx):
                if not abs(sky[y, x]) < limit:
                    blank[y, x], sky[y, x] = False, 0.0
    return sky, blank


@compiled()
def _take(image, where, values):  # type: ignore[no-untyped-def]
    """Copy the pixels ``where`` into ``values``; return how many."""
    n = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            values[n] = image[y, x]
            n += where[y, x]
            if n == values.size:
                break
    return n


@compiled(fastmath=_ANY_ORDER)
def _smooth(image, weights, out):  # type: ignore[no-untyped-def]
    """Convolve with ``weights`` along both axes; the image is mirrored at its edges."""
    ny, nx = image.shape
    reach = weights.size // 2
    line = np.empty(nx + 2 * reach)
    inner = line[reach : reach + nx]
    for y in range(ny):
        inner[:] = 0.0
        for k in range(weights.size):
            at = (y + k - reach) % (2 * ny)
            w, source = weights[k], image[min(at, 2 * ny - 1 - at)]
            for x in range(nx):
                inner[x] += w * source[x]
        for x in range(reach):
            left, right = (x - reach) % (2 * nx), (nx + x) % (2 * nx)
            line[x] = inner[min(left, 2 * nx - 1 - left)]
            line[reach + nx + x] = inner[min(right, 2 * nx - 1 - right)]
        smooth = out[y]
        smooth[:] = 0.0
        for k in range(weights.size):
            w, source = weights[k], line[k:]
            for x in range(nx):
                smooth[x] += w * source[x]


@compiled()
def _mask_objects(high, usable, blank):  # type: ignore[no-untyped-def]
    """Set ``blank`` to the usable pixels more than _GROW_PIX steps from an object: four high pixels in a square.

    One pixel above 3 sigma is noise: it is a detection where its neighbours are, too.
    """
    ny, nx = high.shape
    steps = np.full((ny, nx), _GROW_PIX + 1)
    for y in range(ny - 1):
        for x in range(nx - 1):
            if high[y, x] and high[y, x + 1] and high[y + 1, x] and high[y + 1, x + 1]:
                steps[y, x] = steps[y, x + 1] = steps[y + 1, x] = steps[y + 1, x + 1] = 0
    for y in range(ny):
        for x in range(nx):
            if y > 0:
                steps[y, x] = min(steps[y, x], steps[y - 1, x] + 1)
            if x > 0:
                steps[y, x] = min(steps[y, x], steps[y, x - 1] + 1)
    for y in range(ny - 1, -1, -1):
        for x in range(nx - 1, -1, -1):
            if y < ny - 1:
                steps[y, x] = min(steps[y, x], steps[y + 1, x] + 1)
            if x < nx - 1:
                steps[y, x] = min(steps[y, x], steps[y, x + 1] + 1)
            blank[y, x] = usable[y, x] and steps[y, x] > _GROW_PIX


@compiled()
def _subtract_plane(image, where, n, out):  # type: ignore[no-untyped-def]
    """Least-squares plane through the ``n`` pixels ``where``; ``out`` is the rest there, 0 elsewhere."""
    mean = ym = xm = 0.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if where[y, x]:
                mean, ym, xm = mean + image[y, x], ym + y, xm + x
    mean, ym, xm = mean / n, ym / n, xm / n
    yy = xy = xx = vy = vx = 0.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if where[y, x]:
                dy, dx, v = y - ym, x - xm, image[y, x] - mean
                yy, xy, xx, vy, vx = yy + dy * dy, xy + dy * dx, xx + dx * dx, vy + v * dy, vx + v * dx
    det = yy * xx - xy * xy
    # Pixels along one line leave the slope open: none is taken off.
    by, bx = ((vy * xx - vx * xy) / det, (vx * yy - vy * xy) / det) if det > 1e-9 * yy * xx else (0.0, 0.0)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = image[y, x] - mean - by * (y - ym) - bx * (x - xm) if where[y, x] else 0.0


@compiled(fastmath=_ANY_ORDER)
def _lagged_sums(values, max_lag):  # type: ignore[no-untyped-def]
    """Sums over pixels of value times the value one lag away, for all lags to ``max_lag`` on both axes."""
    ny, nx = values.shape
    out = np.zeros((2 * max_lag + 1, 2 * max_lag + 1))
    for dy in range(max_lag + 1):
        for dx in range(-max_lag, max_lag + 1):
            total = 0.0
            for y in range(ny - dy):
                first = values[y, max(0, -dx) : nx - max(0, dx)]
                second = values[y + dy, max(0, dx) : nx + min(0, dx)]
                for x in range(first.size):
                    total += first[x] * second[x]
            # The lags (dy, dx) and (-dy, -dx) are the same pairs.
            out[max_lag + dy, max_lag + dx] = out[max_lag - dy, max_lag - dx] = total
    return out
