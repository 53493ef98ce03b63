"""Magnitude, colours and shape of a host's inner light, measured alike with an arc about it and without.

All within 1" of the target, where an arc of a galaxy's lens has little light: magnitude in the reddest band, where the
lens outshines a blue arc most.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.schema import Status
from lensflow.units import NMGY_MAG, mag_of_flux

Floats = NDArray[np.float64]

APERTURE_ARCSEC = 1.0
# A pixel of the aperture without data hides light; a tenth of it may.
LEAST_DATA = 0.9
# sigma of a Gaussian from its FWHM.
_FWHM = 2.3548200450309493
_HOSTS_AT_A_TIME = 256


def measured_covariates(cutouts: xr.Dataset, variable: str = "image") -> xr.Dataset:
    """Covariates of a block of cutouts, from its pixels alone.

    Parameters
    ----------
    cutouts : Dataset
        Dims host, band, y, x, in memory: ``variable`` [nMgy/pixel], invvar [nMgy^-2], x_center, y_center [pixel],
        psfsize_arcsec, status; attrs ``pixel_scale_arcsec``.
    variable : str
        The pixels to measure.

    Returns
    -------
    Dataset with dim host
        ``mag_z`` [mag] (of the last band, where there is no z), ``g_r``, ``r_z`` [mag] (of neighbouring bands),
        ``inner_radius_arcsec`` (root of the light's second moment), ``axis_ratio`` (of its second moments),
        ``psfsize_r_arcsec``, ``psfdepth_r_mag`` (5 sigma, point source, from the stamp's invvar). NaN
        where a tenth of the aperture has no data, or its light is not positive.
    """
    bands = [str(b) for b in cutouts["band"].values]
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    flux = np.full((cutouts.sizes["host"], len(bands)), np.nan)
    radius, ratio = np.full(len(flux), np.nan), np.full(len(flux), np.nan)
    depth = np.full(len(flux), np.nan)
    r = bands.index("r") if "r" in bands else 0
    red = bands.index("z") if "z" in bands else len(bands) - 1
    psf = cutouts["psfsize_arcsec"].values[:, r].astype(np.float64)
    worth = np.flatnonzero(cutouts["status"].values != Status.FAILED)
    for first in range(0, len(worth), _HOSTS_AT_A_TIME):
        rows = worth[first : first + _HOSTS_AT_A_TIME]
        image, invvar, x, y = (cutouts[n].values[rows] for n in (variable, "invvar", "x_center", "y_center"))
        flux[rows], radius[rows], ratio[rows] = inner_light(image, invvar, x, y, scale, red)
        depth[rows] = stamp_depth_mag(invvar[:, r], psf[rows], scale)
    mag = mag_of_flux(flux)
    found = {f"mag_{bands[red]}": (mag[:, red], "mag", 'magnitude within 1"')}
    for a, b in _neighbours(bands):
        colour = mag[:, bands.index(a)] - mag[:, bands.index(b)]
        found[f"{a}_{b}"] = (colour, "mag", f'colour {a} - {b} within 1"')
    found |= {
        "inner_radius_arcsec": (radius, "arcsec", 'root of the second moment of the light within 1"'),
        "axis_ratio": (ratio, "1", 'axis ratio of the second moments of the light within 1"'),
        f"psfsize_{bands[r]}_arcsec": (psf, "arcsec", "FWHM of the PSF"),
        f"psfdepth_{bands[r]}_mag": (depth, "mag", "5 sigma depth for a point source, from the stamp's invvar"),
    }
    return xr.Dataset({n: ("host", v, {"units": u, "long_name": m}) for n, (v, u, m) in found.items()})


def _neighbours(bands: list[str]) -> list[tuple[str, str]]:
    """g - r and r - z where there are these; else every band and the next."""
    wanted = [b for b in ("g", "r", "z") if b in bands]
    chain = wanted if len(wanted) > 1 else bands
    return list(pairwise(chain))


def inner_light(
    image: NDArray[np.float32],
    invvar: NDArray[np.float32],
    x_center: Floats,
    y_center: Floats,
    pixel_scale_arcsec: float,
    reference: int,
) -> tuple[Floats, Floats, Floats]:
    """Flux, size and axis ratio of the light within 1" of the target.

    Parameters
    ----------
    image, invvar : ndarray, shape (host, band, y, x)
        nMgy/pixel and nMgy^-2.
    x_center, y_center : ndarray, shape (host,)
        Pixels.
    pixel_scale_arcsec : float
    reference : int
        Band of size and axis ratio.

    Returns
    -------
    flux : ndarray, shape (host, band)
        nMgy.
    radius_arcsec, axis_ratio : ndarray, shape (host,)
    """
    radius_pix = APERTURE_ARCSEC / pixel_scale_arcsec
    dx, dy, box, inside = _box(image.shape[-1], x_center, y_center, radius_pix)
    taken = np.arange(len(image))[:, None, None]
    # The edge of the disc passes through pixels: one counts by how far inside it is.
    weight = np.clip(radius_pix + 0.5 - np.hypot(dx, dy), 0, 1)
    pixels = np.moveaxis(image, 1, -1)[taken, *box].astype(np.float64)
    data = (np.moveaxis(invvar, 1, -1)[taken, *box] > 0) & inside[..., None]
    whole = weight.sum(axis=(1, 2))
    share = (weight[..., None] * data).sum(axis=(1, 2)) / whole[:, None]
    light = np.where(data & np.isfinite(pixels), pixels, 0) * weight[..., None]
    flux = np.where(share >= LEAST_DATA, light.sum(axis=(1, 2)), np.nan)
    red = light[..., reference]
    total = flux[:, reference]
    with np.errstate(divide="ignore", invalid="ignore"):
        xx, yy, xy = ((red * m).sum(axis=(1, 2)) / total for m in (dx * dx, dy * dy, dx * dy))
        spread = np.hypot((xx - yy) / 2, xy)
        minor, major = (xx + yy) / 2 - spread, (xx + yy) / 2 + spread
        sound = (total > 0) & (minor > 0)
        radius = np.where(sound, np.sqrt(xx + yy) * pixel_scale_arcsec, np.nan)
        ratio = np.where(sound, np.sqrt(minor / major), np.nan)
    return flux, radius, ratio


def _box(
    size: int, x_center: Floats, y_center: Floats, radius_pix: float
) -> tuple[Floats, Floats, tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
    """Offsets from the target of the pixels in a box about it, shape (host, box, box); their places (y, x) in the
    stamp, and which of them are in it."""
    half = int(np.ceil(radius_pix + 1))
    side = np.arange(-half, half + 1)
    known = np.isfinite(x_center) & np.isfinite(y_center)
    x, y = (np.where(known, c, -1e3) for c in (x_center, y_center))  # nowhere: outside the stamp
    ys = np.rint(y).astype(np.int64)[:, None, None] + side[None, :, None]
    xs = np.rint(x).astype(np.int64)[:, None, None] + side[None, None, :]
    ys, xs = np.broadcast_arrays(ys, xs)
    inside = (ys >= 0) & (ys < size) & (xs >= 0) & (xs < size)
    place = (np.clip(ys, 0, size - 1), np.clip(xs, 0, size - 1))
    dx, dy = (np.asarray(p - c[:, None, None], np.float64) for p, c in ((xs, x), (ys, y)))
    return dx, dy, place, inside


def stamp_depth_mag(invvar: NDArray[np.float32], psfsize_arcsec: Floats, pixel_scale_arcsec: float) -> Floats:
    """5-sigma depth for a point source, from the median inverse variance of a stamp's pixels with data.

    Parameters
    ----------
    invvar : ndarray, shape (host, y, x)
        nMgy^-2; 0 = no data.
    psfsize_arcsec : ndarray, shape (host,)
    pixel_scale_arcsec : float

    Returns
    -------
    ndarray, shape (host,)
        AB mag; NaN without data or PSF. sigma sqrt(4 pi) s, with s the Gaussian's sigma in pixels.
    """
    flat = invvar.reshape(len(invvar), -1).astype(np.float64)
    middle = np.array([np.median(v[v > 0]) if (v > 0).any() else np.nan for v in flat])
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.sqrt(4 * np.pi / middle) * psfsize_arcsec / _FWHM / pixel_scale_arcsec
        return np.where(noise > 0, NMGY_MAG - 2.5 * np.log10(5 * noise), np.nan)


def catalogue_covariates(cutouts: xr.Dataset) -> xr.Dataset:
    """Covariates of a block of cutouts, from the catalogue's columns alone; a lens's values contain its arc.

    Returns
    -------
    Dataset with dim host
        ``mag_r``, ``g_r``, ``r_z``, ``half_light_arcsec``, ``axis_ratio`` (as the catalogue has them),
        ``psfsize_r_arcsec``, ``psfdepth_r_mag``; NaN where the catalogue has none.
    """
    bands = [str(b) for b in cutouts["band"].values]
    n = cutouts.sizes["host"]

    def of_band(name: str, band: str) -> Floats:
        if name not in cutouts or band not in bands:
            return np.full(n, np.nan)
        return np.asarray(cutouts[name].values[:, bands.index(band)], np.float64)

    mag = {b: mag_of_flux(of_band("flux_nmgy", b)) for b in bands}
    e1, e2 = (np.asarray(cutouts[c].values, np.float64) if c in cutouts else np.full(n, np.nan)
              for c in ("shape_e1", "shape_e2"))  # fmt: skip
    e = np.hypot(e1, e2)
    found = {"mag_r": mag.get("r", np.full(n, np.nan))}
    found |= {f"{a}_{b}": mag[a] - mag[b] for a, b in _neighbours(bands)}
    found |= {
        "half_light_arcsec": np.asarray(cutouts["shape_r_arcsec"].values, np.float64)
        if "shape_r_arcsec" in cutouts
        else np.full(n, np.nan),
        "axis_ratio": np.where(e < 1, (1 - e) / (1 + e), np.nan),
        "psfsize_r_arcsec": of_band("psfsize_arcsec", "r"),
        "psfdepth_r_mag": of_band("psfdepth_mag", "r"),
    }
    return xr.Dataset({k: ("host", v) for k, v in found.items()})
