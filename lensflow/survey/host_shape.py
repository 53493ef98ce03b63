"""Axis ratio and angle of a target's light, corrected for the PSF by fitting a convolved model to the stamp.

The model is a sum of concentric Gaussians of many sizes and one shape, with amplitudes that are not negative
(Emsellem, Monnet & Bacon 1994, A&A 285, 723; Cappellari 2002, MNRAS 333, 400): it holds every Sersic profile and more.
The PSF is such a sum, too, so that the convolution is exact: covariances add. Shape and centre are searched by
Levenberg and Marquardt, the amplitudes follow by non-negative least squares (variable projection).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from lensflow.jit import compiled
from lensflow.lensing.psf import profile, psf_fwhm_from_psfsize
from lensflow.schema import HostShape

Floats = NDArray[np.float64]

# PSF if the survey has no image of it: the best fit to the coadds of DR9 (docs/decisions/0009).
PSF_BETA = 2.6
# Pixels to fit: within the larger of the two radii.
RADIUS_PIX, RADIUS_FWHM = 8.0, 2.5
# Sizes of the Gaussians, in the PSF's standard deviations.
_SIZES = 0.25 * 2.0 ** np.arange(6.0)
# A pixel that is brighter than its reflection through the target by this many sigma belongs to a neighbour.
_ASYMMETRY_SIGMA = 5.0
# ... and by this share of the reflection: the steep core is not sampled finely enough to be reflected exactly.
_ASYMMETRY_SHARE = 0.5
# Pixels this close to a neighbour's contain its wings.
_GROW_PIX = 2.3
# Systematic error of model and PSF, fraction of the light, so that bright cores do not dominate.
_MODEL_ERROR = 0.02
# Pixels above the model by this many sigma, with this fraction of the model as an error, are left out.
_OUTLIER_SIGMA, _OUTLIER_SHARE, _TURNS = 4.0, 0.05, 4
_MIN_WITH_DATA, _MIN_USED = 0.9, 0.6
MIN_SNR = 20.0
MAX_ERROR_Q = 0.1
MAX_RESIDUAL = 0.07
MAX_OFFSET_FWHM = 0.5
_LEAST_Q = 0.1


class Shape(NamedTuple):
    """Axis ratio, angle of the major axis (rad, from +x counter-clockwise, in [0, pi)), error of q, and origin."""

    q: float
    phi_rad: float
    q_error: float
    source: HostShape


class Psf(NamedTuple):
    """A PSF as Gaussians: shares and covariances (xx, xy, yy), shape (n, 4), pixels; and its FWHM in pixels."""

    parts: Floats
    fwhm_pix: float


def measure_shapes(cutouts: xr.Dataset, rows: NDArray[np.integer]) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Measure the hosts ``rows`` of a block of cutouts: in r, or in the first band if there is no r.

    The PSF is the host's own image (``psf_kernel``) where there is one, else a Moffat of its ``psfsize``.

    Returns
    -------
    q, phi_rad : ndarray of float64, shape (len(rows),)
        NaN where a host has no shape.
    source : ndarray of uint8
        ``HostShape``.
    """
    bands = [str(b) for b in cutouts["band"].values]
    r = bands.index("r") if "r" in bands else 0
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    kernels = cutouts["psf_kernel"].values[:, r] if "psf_kernel" in cutouts else None
    covered, psfsize = cutouts["covered"].values[:, r], cutouts["psfsize_arcsec"].values[:, r].astype(float)
    psfs: dict[bytes, Psf | None] = {}
    found = []
    for i in rows.tolist():
        if not (covered[i] and psfsize[i] > 0):
            found.append(no_shape(HostShape.NOT_MEASURED))
            continue
        psf = None
        if kernels is not None and np.isfinite(kernels[i]).all():
            key = kernels[i].tobytes()  # a brick's hosts share one
            psf = psfs[key] if key in psfs else psfs.setdefault(key, image_psf(kernels[i]))
        image, invvar, x, y = (cutouts[name].values[i] for name in ("image", "invvar", "x_center", "y_center"))
        found.append(light_shape(image[r], invvar[r], float(x), float(y), psf or moffat_psf(psfsize[i] / scale)))
    values = np.array([s[:2] for s in found], np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1], np.array([s.source for s in found], np.uint8)


def no_shape(why: HostShape) -> Shape:
    """Return the values for a host without a shape."""
    return Shape(math.nan, math.nan, math.nan, why)


def moffat_psf(psfsize_pix: float) -> Psf:
    """Express the Moffat profile of a ``psfsize`` (noise-equivalent, pixels) in Gaussians."""
    fwhm = float(psf_fwhm_from_psfsize(psfsize_pix, "moffat", PSF_BETA))
    share, sigma = _moffat_parts()
    variance = (sigma * fwhm) ** 2
    return Psf(np.stack([share, variance, 0 * variance, variance], axis=1), fwhm)


@lru_cache(maxsize=1)
def _moffat_parts() -> tuple[Floats, Floats]:
    """Shares and standard deviations of a Moffat of FWHM 1, good to 0.2 % of its peak."""
    r = np.linspace(0.0, 5.0, 400)
    sigma = np.geomspace(0.2, 3.2, 7)
    one = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    # Weighted as the plane is: with r, and a little in the middle.
    weight = np.sqrt(r + 0.05)
    share, _ = nnls(one * weight[:, None], profile(r, 1.0, "moffat", PSF_BETA) * weight)
    return share[share > 0], sigma[share > 0]


def image_psf(kernel: NDArray[np.floating]) -> Psf | None:
    """Express a PSF image in Gaussians of one shape; None where that leaves more than MAX_RESIDUAL of its light."""
    kernel = np.asarray(kernel, np.float64)
    size = len(kernel)
    area = kernel.sum() ** 2 / (kernel**2).sum()
    sigma = math.sqrt(area / (4 * math.pi))
    reach = min(size // 2, math.ceil(6 * sigma))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    middle = size // 2
    value = kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    light = np.stack([x.ravel(), y.ravel(), value.ravel(), np.ones(x.size)], axis=1)
    sizes = (sigma * np.geomspace(0.4, 6.0, 7)) ** 2
    nothing = np.array([[1.0, 0.0, 0.0, 0.0]])
    found = _fit(light, sizes, nothing)
    if found is None or np.sqrt((found.residual**2).sum() / (value**2).sum()) > MAX_RESIDUAL:
        return None
    xx, xy, yy = _tensor(found.at[0], found.at[1])
    share = found.amplitude / found.amplitude.sum()
    parts = np.stack([share, sizes * xx, sizes * xy, sizes * yy], axis=1)[share > 0]
    return Psf(parts, float(psf_fwhm_from_psfsize(2.3548 * sigma, "moffat", PSF_BETA)))


def light_shape(
    image: NDArray[np.float32], invvar: NDArray[np.float32], x_center: float, y_center: float, psf: Psf
) -> Shape:
    """Measure one host's light in one band.

    Parameters
    ----------
    image, invvar : ndarray of float32, shape (y, x)
        nMgy/pixel and nMgy^-2, 0 = no data.
    x_center, y_center : float
        Target in the stamp, pixels.
    psf : Psf

    Returns
    -------
    Shape
        NaN, with the reason, where a tenth of the disc has no data (NO_DATA), the light has a signal to noise below 20
        (FAINT), the error of q exceeds 0.1 (UNRESOLVED), the light is centred more than half a FWHM from the target
        (OFF_CENTRE), or the model leaves more than 7 % of the light or does not settle (POOR_FIT: a blend, mostly).

    Notes
    -----
    A pixel that is much brighter than its reflection through the target is not used: a galaxy is symmetric, a neighbour
    is not. Nor is one that stands out of the model, which is then fitted again. The error takes pixels for independent.
    """
    radius = max(RADIUS_PIX, RADIUS_FWHM * psf.fwhm_pix)
    if not (math.isfinite(x_center) and math.isfinite(y_center)):
        return no_shape(HostShape.NOT_MEASURED)
    light = np.empty((int(2 * radius + 3) ** 2, 4))
    n, with_data, wanted = _collect(
        np.ascontiguousarray(image), np.ascontiguousarray(invvar), float(x_center), float(y_center), radius, light
    )
    if with_data < _MIN_WITH_DATA * wanted:
        return no_shape(HostShape.NO_DATA)
    light = light[:n]
    alone = light[:, 3] > 0
    for x, y in light[~alone, :2]:
        alone &= (light[:, 0] - x) ** 2 + (light[:, 1] - y) ** 2 > _GROW_PIX**2
    light = light[alone]
    if len(light) < _MIN_USED * wanted:
        return no_shape(HostShape.NO_DATA)
    blurred = float((psf.parts[:, 0] * (psf.parts[:, 1] + psf.parts[:, 3])).sum() / 2)
    sigma = min(psf.fwhm_pix / 2.3548, math.sqrt(blurred))
    found, variance = _fit(light, (sigma * _SIZES) ** 2, psf.parts), 1 / light[:, 3] ** 2
    for turn in range(_TURNS):
        if found is None:
            return no_shape(HostShape.POOR_FIT)
        model = light[:, 2] - found.residual
        if not math.sqrt(float((model**2 / variance).sum())) >= MIN_SNR:
            return no_shape(HostShape.FAINT)
        # Light above the model belongs to a neighbour.
        keep = found.residual < _OUTLIER_SIGMA * np.sqrt(variance + (_OUTLIER_SHARE * model) ** 2)
        if turn and keep.all():
            break
        light, variance, model = light[keep], variance[keep], model[keep]
        if len(light) < _MIN_USED * wanted:
            return no_shape(HostShape.POOR_FIT)
        # Again, with the error of the model: from the fit before, whose noise is not the pixel's.
        light[:, 3] = 1 / np.sqrt(variance + (_MODEL_ERROR * model) ** 2)
        found = _fit(light, (sigma * _SIZES) ** 2, psf.parts, found.at)
    if found is None:
        return no_shape(HostShape.POOR_FIT)
    model = light[:, 2] - found.residual
    # Beyond what noise leaves, at 3 sigma.
    excess = float((found.residual**2 / variance).sum()) - len(light) - 3 * math.sqrt(2 * len(light))
    left = max(excess, 0.0) / float((model**2 / variance).sum())
    if math.sqrt(left) > MAX_RESIDUAL:
        return no_shape(HostShape.POOR_FIT)
    if math.hypot(found.at[2], found.at[3]) > MAX_OFFSET_FWHM * psf.fwhm_pix:
        return no_shape(HostShape.OFF_CENTRE)
    eta = math.hypot(found.at[0], found.at[1])
    q = math.exp(-eta)
    error = q * found.error_eta * math.sqrt(max(1.0, float(((found.residual * light[:, 3]) ** 2).mean())))
    if not error <= MAX_ERROR_Q or q < _LEAST_Q:
        return no_shape(HostShape.UNRESOLVED)
    phi = 0.5 * math.atan2(found.at[1], found.at[0]) % math.pi
    return Shape(q, phi if phi < math.pi else 0.0, error, HostShape.FIT)


class _Fit(NamedTuple):
    at: Floats  # (eta_1, eta_2, x, y)
    amplitude: Floats
    residual: Floats  # light less model
    error_eta: float


def _fit(light: Floats, sizes: Floats, psf: Floats, start: Floats | None = None) -> _Fit | None:
    """Fit shape, centre and amplitudes to pixels (x, y, value, 1/sigma); None if it does not settle."""
    columns = np.empty((len(light), len(sizes)))
    weight, target = light[:, 3], light[:, 2] * light[:, 3]

    def solve(at: Floats) -> tuple[Floats, Floats]:
        columns[:] = 0.0
        _fill(light, at, sizes, psf, columns)
        amplitude, _ = nnls(columns * weight[:, None], target)
        return amplitude, light[:, 2] - columns @ amplitude

    def misfit(at: Floats) -> Floats:
        # Runaway shapes end where cosh would overflow; they are refused by their error or axis ratio.
        return solve(np.clip(at, -20, 20))[1] * weight

    first = np.zeros(4) if start is None else start
    found = least_squares(misfit, first, method="lm", x_scale=1.0, diff_step=1e-4, xtol=1e-5, ftol=1e-8, max_nfev=200)
    if not found.success or not np.isfinite(found.x).all() or np.abs(found.x).max() > 20:
        return None
    amplitude, residual = solve(found.x)
    if not amplitude.sum() > 0:
        return None
    try:
        covariance = np.linalg.inv(found.jac.T @ found.jac)[:2, :2]
        error = math.sqrt(max(float(np.linalg.eigvalsh(covariance)[-1]), 0.0))
    except np.linalg.LinAlgError:
        error = math.inf
    return _Fit(found.x, amplitude, residual, error)


@compiled()
def _tensor(eta_1, eta_2):  # type: ignore[no-untyped-def]
    """Covariance of unit determinant whose axes are as exp(|eta|) to 1 along half the angle of (eta_1, eta_2)."""
    eta = math.hypot(eta_1, eta_2)
    along = math.sinh(eta) / eta if eta > 1e-8 else 1.0
    return math.cosh(eta) + along * eta_1, along * eta_2, math.cosh(eta) - along * eta_1


@compiled()
def _fill(light, at, sizes, psf, columns):  # type: ignore[no-untyped-def]
    """Add to ``columns`` (pixel, size) the Gaussians of each size, convolved with the PSF."""
    txx, txy, tyy = _tensor(at[0], at[1])
    for k in range(len(sizes)):
        for j in range(len(psf)):
            xx = sizes[k] * txx + psf[j, 1]
            xy = sizes[k] * txy + psf[j, 2]
            yy = sizes[k] * tyy + psf[j, 3]
            det = xx * yy - xy * xy
            ixx, ixy, iyy = 0.5 * yy / det, -xy / det, 0.5 * xx / det
            norm = psf[j, 0] / (2 * math.pi * math.sqrt(det))
            for i in range(len(light)):
                dx, dy = light[i, 0] - at[2], light[i, 1] - at[3]
                power = ixx * dx * dx + ixy * dx * dy + iyy * dy * dy
                if power < 30.0:
                    columns[i, k] += norm * math.exp(-power)


@compiled()
def _collect(image, invvar, xc, yc, radius, light):  # type: ignore[no-untyped-def]
    """Fill ``light`` with (dx, dy, value, 1/sigma; 0 for a neighbour's) of the disc; return filled, with data, all."""
    n = with_data = wanted = 0
    ny, nx = image.shape
    for y in range(math.floor(yc - radius), math.ceil(yc + radius) + 1):
        for x in range(math.floor(xc - radius), math.ceil(xc + radius) + 1):
            dx, dy = x - xc, y - yc
            if dx * dx + dy * dy >= radius * radius:
                continue
            wanted += 1
            if not (0 <= x < nx and 0 <= y < ny) or not invvar[y, x] > 0:
                continue
            with_data += 1
            weight = math.sqrt(invvar[y, x])
            value = np.float64(image[y, x])
            back = _bilinear(image, invvar, 2 * xc - x, 2 * yc - y)
            if back == back:
                noise = 1.5 / math.sqrt(invvar[y, x])
                if value - back > _ASYMMETRY_SIGMA * noise + _ASYMMETRY_SHARE * abs(back):
                    weight = 0.0
            light[n, 0], light[n, 1], light[n, 2], light[n, 3] = dx, dy, value, weight
            n += 1
    return n, with_data, wanted


@compiled()
def _bilinear(image, invvar, x, y):  # type: ignore[no-untyped-def]
    """Image between pixel centres; NaN where one of the four has no data or lies off the stamp."""
    x0, y0 = math.floor(x), math.floor(y)
    total = 0.0
    for j in range(2):
        for i in range(2):
            weight = (1.0 - abs(x - (x0 + i))) * (1.0 - abs(y - (y0 + j)))
            if weight <= 0.0:
                continue
            xi, yj = int(x0) + i, int(y0) + j
            if not (0 <= xi < image.shape[1] and 0 <= yj < image.shape[0]) or not invvar[yj, xi] > 0:
                return math.nan
            total += weight * image[yj, xi]
    return total
