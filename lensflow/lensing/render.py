"""Render the arcs of a manifest: the public face of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import RenderError
from lensflow.lensing import psf
from lensflow.lensing.canvas import Canvas
from lensflow.lensing.rows import read_rows


@dataclass(frozen=True)
class Rendering:
    """What a block of rows renders to.

    Attributes
    ----------
    arc : ndarray of float32, shape (sample, band, y, x)
        Noiseless, PSF-convolved arc, nMgy/pixel.
    render_err : ndarray of float64, shape (sample,)
        Estimated largest error over the arc's peak; NaN for controls and rows without any band.
    magnification : ndarray of float64, shape (sample,)
        Flux of all images over the unlensed flux, before the PSF; NaN for controls.
    """

    arc: NDArray[np.float32]
    render_err: NDArray[np.float64]
    magnification: NDArray[np.float64]


def render(
    manifest: Mapping[str, ArrayLike],
    *,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    psf_model: str = "moffat",
    psf_beta: float = 3.5,
    supersample: int = 8,
    pad_pix: int = 16,
) -> Rendering:
    """Render every row of a manifest, with its error estimate and its magnification.

    Parameters
    ----------
    manifest : mapping of arrays
        Columns of ``lensflow.schema.MANIFEST`` along ``sample`` (an ``xr.Dataset`` will do). Needed are lens_model,
        theta_e_arcsec, lens_q, lens_phi_rad, shear, shear_phi_rad, src_*, psf_fwhm_arcsec, x_center and y_center;
        is_control and row_id are used where present. Source positions are relative to the lens.
    stamp_size : int
        Pixels on a side, even or odd.
    pixel_scale_arcsec : float
        Pixel size, arcsec.
    psf_model : {"moffat", "gaussian"}
        Profile of every PSF; its FWHM is the row's ``psf_fwhm_arcsec`` (NaN: the band is absent, no arc there).
    psf_beta : float
        Moffat exponent.
    supersample : int
        Rays per pixel and axis.
    pad_pix : int
        Margin around the stamp, pixels, whose light the PSF brings in.

    Returns
    -------
    Rendering
        The arc is exactly 0 for controls, for absent bands, and where it is below 1e-6 of its peak.

    Raises
    ------
    ManifestError
        If a column is missing or a row cannot be rendered; names the first such row and its value.
    RenderError
        If the PSF or the geometry has no answer (FWHM of 0, unknown model, no pixels).

    Notes
    -----
    ``render_err`` compares, in the band with the narrowest PSF, the images made from complementary halves of the
    rays (checkerboard, alternate columns, alternate rows): half of the root sum of squares of the three largest
    differences, over the peak. Against the truth files (72 rows, n = 1, 8 x 8 rays) the true error is at most
    1.7 times it in every row, below it in 93 %, and 0.3 times it in the median. Against 32 x 32 rays the share of
    rows with true error <= 3 render_err is 100 % for n = 0.7 to 2, 96 % for n = 3 and 4 (worst 3.3 times). Light
    beyond the padded field and the Moffat's wings that reach round the canvas (< 1e-4) are not in it.

    Uniform 8 x 8 rays reach error/peak 1e-4 in the median and 1e-3 in 94 % of usual rows with n = 1 (worst 7e-3);
    steep sources are worse (n = 2: 1e-3, n = 4: 1e-2 in the median): the light between two rays at a cusp is not
    seen.
    """
    _check_geometry(stamp_size, pixel_scale_arcsec, supersample, pad_pix)
    psf.check_model(psf_model, psf_beta)
    rows = read_rows(manifest, stamp_size, pixel_scale_arcsec, supersample)
    n, bands = rows.fwhm.shape
    arc = np.zeros((n, bands, stamp_size, stamp_size), dtype=np.float32)
    error, magnified = np.full(n, np.nan), np.full(n, np.nan)
    canvas = Canvas(stamp_size, pixel_scale_arcsec, psf_model, psf_beta, supersample, pad_pix)
    for i in np.flatnonzero(~rows.is_control):
        error[i], magnified[i] = canvas.render_row(rows, int(i), arc[i])
    return Rendering(arc, error, magnified)


@overload
def render_arcs(
    manifest: Mapping[str, ArrayLike],
    *,
    stamp_size: int = ...,
    pixel_scale_arcsec: float = ...,
    psf_model: str = ...,
    psf_beta: float = ...,
    supersample: int = ...,
    pad_pix: int = ...,
    return_error: Literal[False] = ...,
) -> NDArray[np.float32]: ...


@overload
def render_arcs(
    manifest: Mapping[str, ArrayLike],
    *,
    stamp_size: int = ...,
    pixel_scale_arcsec: float = ...,
    psf_model: str = ...,
    psf_beta: float = ...,
    supersample: int = ...,
    pad_pix: int = ...,
    return_error: Literal[True],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]: ...


def render_arcs(
    manifest: Mapping[str, ArrayLike],
    *,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    psf_model: str = "moffat",
    psf_beta: float = 3.5,
    supersample: int = 8,
    pad_pix: int = 16,
    return_error: bool = False,
) -> NDArray[np.float32] | tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Render every row of a manifest and return the arcs alone; parameters and errors as for :func:`render`.

    Returns
    -------
    arc : ndarray of float32, shape (sample, band, y, x)
        nMgy/pixel.
    render_err : ndarray of float64, shape (sample,)
        Only with ``return_error=True``.
    """
    rendering = render(
        manifest,
        stamp_size=stamp_size,
        pixel_scale_arcsec=pixel_scale_arcsec,
        psf_model=psf_model,
        psf_beta=psf_beta,
        supersample=supersample,
        pad_pix=pad_pix,
    )
    return (rendering.arc, rendering.render_err) if return_error else rendering.arc


def _check_geometry(stamp_size: int, pixel: float, supersample: int, pad_pix: int) -> None:
    for name, value, least in (("stamp_size", stamp_size, 1), ("supersample", supersample, 1), ("pad_pix", pad_pix, 0)):
        if int(value) != value or value < least:
            raise RenderError(f"{name} must be a whole number of at least {least}, not {value}")
    if not (np.isfinite(pixel) and pixel > 0):
        raise RenderError(f"pixel_scale_arcsec must be positive and finite, not {pixel}")
