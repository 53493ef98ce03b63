"""Values of what bins are made of: columns of rows as they are, and magnitudes, sizes and depths derived from them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.config.completeness import band_of
from lensflow.errors import CompletenessError
from lensflow.measure.completeness.bins import check_fixed_before_scoring
from lensflow.stats.hostsums import Floats, ratio
from lensflow.units import NMGY_MAG, mag_of_flux

# FWHM of a Gaussian over its standard deviation.
_FWHM = 2.3548


def values_of(name: str, rows: xr.Dataset) -> np.ndarray:
    """Values of a variable that bins are made of.

    Parameters
    ----------
    name : str
        As a config names it: ``theta_e_arcsec``, ``src_mag_r``, ``psfsize_r``, ``resolution``.
    rows : Dataset
        Over ``sample`` and ``band`` (with the bands' names): columns of manifest, metrics and hosts, these brought to
        the rows. ``psfdepth_r`` needs ``psfdepth_mag``; where that is NaN, ``median_invvar`` (nMgy^-2, over ``sample``
        and ``band``) and ``pixel_scale_arcsec`` in the attrs.

    Returns
    -------
    ndarray, shape (n,)
        NaN, or empty text, where it is not known. Columns keep their dtype.

    Raises
    ------
    ConfigError
        If the variable is measured after noise or scoring, or is none.
    CompletenessError
        If the rows lack a column or a band.
    """
    check_fixed_before_scoring([name], "completeness")
    band = band_of(name)
    base = name if band is None else name[: -len(band) - 1]
    made = {
        "src_mag": lambda: _mag(_of(rows, "src_flux_nmgy", band) / _of(rows, "mw_transmission", band)),
        "host_mag": lambda: _mag(_of(rows, "flux_nmgy", band)),
        "psfsize": lambda: _of(rows, "psfsize_arcsec", band),
        "psfdepth": lambda: depth_of(rows, str(band))[0],
        "theta_e_over_psfsize": lambda: _over_psf(rows, "psfsize_arcsec", str(band)),
        "theta_e_over_fwhm": lambda: _over_psf(rows, "psf_fwhm_arcsec", str(band)),
        "resolution": lambda: _over_psf(rows, "psfsize_arcsec", reference_band(rows)),
        "resolution_fwhm": lambda: _over_psf(rows, "psf_fwhm_arcsec", reference_band(rows)),
        "host_colour": lambda: _colour(rows),
        "brick": lambda: _of(rows, "brickname", None),
    }
    return np.asarray(made[base]() if base in made else _of(rows, base, band))


def reference_band(rows: xr.Dataset) -> str:
    """Band that magnitudes and resolution refer to: r, or the first where there is no r.

    Parameters
    ----------
    rows : Dataset

    Returns
    -------
    str
    """
    bands = [str(b) for b in rows["band"].values]
    return "r" if "r" in bands else bands[0]


def depth_of(rows: xr.Dataset, band: str) -> tuple[Floats, np.ndarray]:
    """5-sigma point-source depth: the catalogue's where it is finite, else derived from the host's own pixels.

    Parameters
    ----------
    rows : Dataset
        As :func:`values_of`.
    band : str

    Returns
    -------
    depth : ndarray of float64, shape (n,)
        AB magnitudes; NaN where neither is known.
    derived : ndarray of bool, shape (n,)
        Which were derived.
    """
    depth = _of(rows, "psfdepth_mag", band).astype(np.float64)
    derived = np.zeros(len(depth), bool)
    if "median_invvar" in rows and "pixel_scale_arcsec" in rows.attrs:
        size, weight = _of(rows, "psfsize_arcsec", band), _of(rows, "median_invvar", band)
        made = psf_depth(size, weight, float(rows.attrs["pixel_scale_arcsec"]))
        derived = ~np.isfinite(depth) & np.isfinite(made)
        depth = np.where(derived, made, depth)
    return np.where(np.isfinite(depth), depth, np.nan), derived


def psf_depth(psfsize_arcsec: ArrayLike, median_invvar: ArrayLike, pixel_scale_arcsec: float) -> Floats:
    """5-sigma depth of a point source from PSF size and noise.

    Parameters
    ----------
    psfsize_arcsec : array_like
        FWHM of the Gaussian with the PSF's noise-equivalent area, arcsec.
    median_invvar : array_like
        Inverse variance of one good pixel, nMgy^-2.
    pixel_scale_arcsec : float
        Side of a pixel, arcsec.

    Returns
    -------
    ndarray of float64
        22.5 - 2.5 log10(5 sqrt(NEA / w)), NEA = 4 pi (psfsize / (2.3548 pixel scale))^2 pixels; NaN where size or
        weight is not above 0.
    """
    size, w = np.asarray(psfsize_arcsec, dtype=np.float64), np.asarray(median_invvar, dtype=np.float64)
    area_pix = 4 * np.pi * (size / (_FWHM * pixel_scale_arcsec)) ** 2
    known = (size > 0) & (w > 0)
    safe = np.where(known, area_pix, 1.0) / np.where(known, w, 1.0)
    return np.where(known, NMGY_MAG - 2.5 * np.log10(5 * np.sqrt(safe)), np.nan)


def _of(rows: xr.Dataset, name: str, band: str | None) -> np.ndarray:
    if name not in rows.variables:
        raise CompletenessError(f"completeness: rows lack {name}")
    column = rows[name]
    if band is None:
        return np.asarray(column.values)
    bands = [str(b) for b in rows["band"].values]
    if band not in bands:
        raise CompletenessError(f"completeness: {name} has no band {band!r}; there are {', '.join(bands)}")
    return np.asarray(column.transpose("sample", "band").values[:, bands.index(band)])


def _mag(flux: np.ndarray) -> Floats:
    return np.asarray(mag_of_flux(np.asarray(flux, dtype=np.float64)), dtype=np.float64)


def _over_psf(rows: xr.Dataset, psf: str, band: str) -> Floats:
    size = _of(rows, psf, band).astype(np.float64)
    return ratio(_of(rows, "theta_e_arcsec", None), np.where(size > 0, size, np.nan))


def _colour(rows: xr.Dataset) -> Floats:
    """Magnitude in the first band less that in the reference band; NaN where these are one."""
    first, reference = str(rows["band"].values[0]), reference_band(rows)
    if first == reference:
        return np.full(rows.sizes["sample"], np.nan)
    return _mag(_of(rows, "flux_nmgy", first)) - _mag(_of(rows, "flux_nmgy", reference))
