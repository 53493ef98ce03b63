"""Correlated pixel noise: by how much a signal-to-noise ratio over many pixels is overestimated.

Resampled coadds have noise that neighbouring pixels share (DES: 0.12 at lag 1, -0.06 at lag 2), which an
inverse-variance map does not know of. The variance of a weighted sum over pixels is then
``sigma^2 sum_lag rho(lag) A(lag)``, with A the weights' autocorrelation, and not ``sigma^2 A(0)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from lensflow.errors import RenderError

Floats = NDArray[np.float64]

# Objects are found on the image smoothed by this, pixels, above so many sigma, and grown by a few pixels.
_SMOOTH_PIX, _DETECT_SIGMA, _GROW_PIX = 1.5, 3.0, 4
# Fewer blank pixels than this say nothing about 24 lags.
_LEAST_PIXELS = 400
# Constant and plane are fitted to the blank sky.
_FITTED = 3


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
            sky, blank = _blank_sky(stack[stamp, band], usable[stamp, band])
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
    valid, max_lag
        See :func:`noise_autocorrelation`.

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


def _blank_sky(image: Floats, usable: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Image with objects and a plane taken off, 0 where it is not blank, and where it is."""
    blank = usable.copy()
    filled = np.where(usable, image, 0.0)
    weight = ndimage.gaussian_filter(usable.astype(np.float64), _SMOOTH_PIX)
    smooth = ndimage.gaussian_filter(filled, _SMOOTH_PIX) / np.maximum(weight, 1e-3)
    for _ in range(3):
        if not blank.any():
            break
        level = np.median(smooth[blank])
        sigma = 1.4826 * np.median(np.abs(smooth[blank] - level))
        objects = usable & (smooth > level + _DETECT_SIGMA * sigma)
        # One pixel above 3 sigma is noise: it is a detection where its neighbours are, too.
        objects = ndimage.binary_opening(objects, np.ones((2, 2), dtype=bool))
        blank = usable & ~ndimage.binary_dilation(objects, iterations=_GROW_PIX)
    sky = np.zeros(image.shape)
    if blank.sum() > _FITTED:
        y, x = np.nonzero(blank)
        plane = np.stack([np.ones(y.size), y - y.mean(), x - x.mean()], axis=1)
        values = image[blank]
        for _ in range(2):  # the second time without outliers (cosmic rays, bad pixels)
            fit, *_ = np.linalg.lstsq(plane, values, rcond=None)
            rest = values - plane @ fit
            keep = np.abs(rest) < 5 * 1.4826 * np.median(np.abs(rest)) + 1e-300
            values, plane, y, x = values[keep], plane[keep], y[keep], x[keep]
            rest = rest[keep]
        blank = np.zeros_like(blank)
        blank[y, x] = True
        sky[y, x] = rest
    return sky, blank


def _lagged_sums(values: Floats, max_lag: int) -> Floats:
    """Sums over pixels of value times the value one lag away, for all lags to ``max_lag`` on both axes."""
    ny, nx = values.shape
    out = np.zeros((2 * max_lag + 1, 2 * max_lag + 1))
    for dy in range(max_lag + 1):
        for dx in range(-max_lag, max_lag + 1):
            first = values[: ny - dy, max(0, -dx) : nx - max(0, dx)]
            second = values[dy:, max(0, dx) : nx + min(0, dx)]
            # The lags (dy, dx) and (-dy, -dx) are the same pairs.
            out[max_lag + dy, max_lag + dx] = out[max_lag - dy, max_lag - dx] = np.sum(first * second)
    return out
