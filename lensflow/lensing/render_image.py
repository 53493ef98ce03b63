"""Render arcs of image sources, and of any source with measured PSFs: uniform rays at exact phase.

As in :mod:`lensflow.lensing.canvas`, each ray enters the convolution at its own position: the transform of the fine
grid is multiplied by the PSF's at physical frequencies and folded onto the pixel grid. A measured kernel stops at
the pixel Nyquist frequency, so that nothing folds.

Where the rays are too few (a compact galaxy, demagnified), each ray gives way to the mean of r x r, r = 2, 4, 8: a
box, whose transform is divided out. What would alias from around s cycles per pixel is suppressed by its zeros, and
the Fourier transforms stay as small as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError, RenderError
from lensflow.jit import compiled
from lensflow.lensing import psf as profiles
from lensflow.lensing.psf_image import KernelPSF
from lensflow.lensing.ray_light import RayLight
from lensflow.lensing.render import Rendering
from lensflow.lensing.rows import Rows, read_rows
from lensflow.lensing.source_image import ImageSource

Spectrum = NDArray[np.complex128]

# The arc is exactly 0 below this share of its peak (in its row and band).
ARC_FLOOR = 1e-6
_PSF_FLOOR = 1e-12
_WRAP = 1e-4
_MAX_REACH_PIX = 1024.0
# render_err over the half-lattices' difference, as in ``canvas``.
_LATTICE_TO_ERROR = 0.5


class Sources(Protocol):
    """Where image sources come from: a ``SourceBank``, or anything else with ``get``."""

    def get(self, source_id: str) -> ImageSource:
        """Return the source of that name, or raise a LensflowError."""
        ...


@dataclass(frozen=True)
class AnalyticPSF:
    """A Moffat or Gaussian with what a ``KernelPSF`` offers; FWHM in pixels."""

    fwhm_pix: float
    model: str = "moffat"
    beta: float = 3.5

    @property
    def reach_pix(self) -> float:
        """Radius that holds all but 1e-4 of the flux."""
        return min(profiles.enclosing_radius(_WRAP, self.fwhm_pix, self.model, self.beta), _MAX_REACH_PIX)

    def transform(self, fx: ArrayLike, fy: ArrayLike) -> NDArray[np.float64]:
        """Fourier transform at frequencies in cycles per pixel, shapes (nx,), (ny,) -> (ny, nx)."""
        radius = np.hypot(np.asarray(fy, dtype=np.float64)[:, None], np.asarray(fx, dtype=np.float64))
        return profiles.transform(radius, self.fwhm_pix, self.model, self.beta)


PSF = KernelPSF | AnalyticPSF


def render_images(
    manifest: Mapping[str, ArrayLike],
    sources: Sources | None = None,
    *,
    psf: str | Sequence[KernelPSF | None] = "moffat",
    psf_beta: float = 3.5,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    supersample: int = 8,
    pad_pix: int = 16,
    tolerance: float = 2e-4,
    max_refinement: int = 8,
) -> Rendering:
    """Render every row of a manifest whose sources may be images and whose PSFs may be measured.

    Parameters
    ----------
    manifest : mapping of arrays
        As for :func:`lensflow.lensing.render`, and ``src_id``: the image's id, or "" for a row with a Sersic source
        (without the column, all are). In a row with an image ``src_n`` and ``src_q`` are not looked at,
        ``src_phi_rad`` turns the image, and it is scaled so that its half-light radius along its major axis is
        ``src_reff_arcsec``; NaN keeps its native scale. ``psf_fwhm_arcsec`` is not needed with kernels; where
        present, a NaN still means that the row's band is absent.
    sources : SourceBank
        Or anything with ``get(id) -> ImageSource``.
    psf : {"moffat", "gaussian"} or sequence of KernelPSF or None, one per band
        None: the band is absent in all rows. Rows with different kernels are different calls.
    psf_beta, stamp_size, pixel_scale_arcsec, supersample, pad_pix
        As for :func:`lensflow.lensing.render`.
    tolerance : float
        Rows whose estimated error over the peak is larger get more rays.
    max_refinement : int
        At most ``supersample * max_refinement`` rays per pixel and axis; a power of 2, 1 for uniform rays as they are.

    Returns
    -------
    Rendering

    Raises
    ------
    ManifestError
        If a row cannot be rendered; a LensflowError of the bank if it has no such source.
    RenderError
        If the PSFs do not fit the bands, or the geometry has no answer.

    Notes
    -----
    ``render_err`` is half of the largest difference to the image from half as many rays, or for single rays that of
    half-lattices as in :func:`lensflow.lensing.render`. Ten HST galaxies of 0.1-0.6 arcsec in 40 rows: error over
    the peak 1e-5 in the median and 4e-4 at worst (8 x 8 rays alone: 1e-2), flux to 2e-4, at most 2.3 times
    ``render_err``; about 40 ms a row. Sersic sources, 12 rows each: n = 1 to 5e-5 at worst in 0.1 s a row, n = 2 to
    5e-4 (3.2 times ``render_err``) in 0.7 s. n = 4 does not converge with uniform rays: 4 s a row, half of the rows
    with a ``render_err`` of 1e-3 or more.
    """
    for name, value, least in (("stamp_size", stamp_size, 1), ("supersample", supersample, 1), ("pad_pix", pad_pix, 0)):
        if int(value) != value or value < least:
            raise RenderError(f"{name} must be a whole number of at least {least}, not {value}")
    if not (np.isfinite(pixel_scale_arcsec) and pixel_scale_arcsec > 0):
        raise RenderError(f"pixel_scale_arcsec must be positive and finite, not {pixel_scale_arcsec}")
    columns = {str(key): np.atleast_1d(np.asarray(manifest[key])) for key in manifest}
    images = _images(columns, sources)
    if isinstance(psf, str):
        profiles.check_model(psf, psf_beta)
    else:
        _kernel_widths(columns, psf, pixel_scale_arcsec)
    rows = read_rows(columns, stamp_size, pixel_scale_arcsec)
    n, bands = rows.fwhm.shape
    arc = np.zeros((n, bands, stamp_size, stamp_size), dtype=np.float32)
    error, magnified = np.full(n, np.nan), np.full(n, np.nan)
    for i in (int(v) for v in np.flatnonzero(~rows.is_control)):
        psfs: list[PSF | None] = [
            None
            if np.isnan(fwhm)
            else (AnalyticPSF(fwhm / pixel_scale_arcsec, psf, psf_beta) if isinstance(psf, str) else psf[band])
            for band, fwhm in enumerate(rows.fwhm[i])
        ]
        row = _row_of(rows, i)
        result, error[i], magnified[i] = render_image_source_row(
            row,
            images.get(i),
            psfs,
            stamp_size=stamp_size,
            pixel_scale_arcsec=pixel_scale_arcsec,
            supersample=supersample,
            pad_pix=pad_pix,
            tolerance=tolerance,
            max_refinement=max_refinement,
        )
        arc[i] = result * rows.flux[i][:, None, None]
    return Rendering(arc=arc, render_err=error, magnification=magnified)


def _row_of(rows: Rows, i: int) -> dict[str, float]:
    """Lens and source of one checked row; an SIS has axis ratio 1.

    Raises
    ------
    RenderError
        For an EPL: image sources are rendered behind isothermal lenses only.
    """
    if rows.gamma[i] != 2.0:
        raise RenderError(f"row {i}: image sources and kernel PSFs need an SIS or SIE lens, not an EPL")
    c = {k: float(v[i]) for k, v in rows.column.items()}
    return {
        "theta_e": c["theta_e_arcsec"],
        "lens_q": 1.0 if rows.is_sis[i] else c["lens_q"],
        "lens_phi": 0.0 if rows.is_sis[i] else c["lens_phi_rad"],
        "shear": c["shear"],
        "shear_phi": c["shear_phi_rad"],
        "src_x": c["src_x_arcsec"],
        "src_y": c["src_y_arcsec"],
        "reff": c["src_reff_arcsec"],
        "n": c["src_n"],
        "src_q": c["src_q"],
        "src_phi": c["src_phi_rad"],
        "x_center": float(rows.x_center[i]),
        "y_center": float(rows.y_center[i]),
    }


def render_image_source_row(
    row: Mapping[str, Any],
    source: ImageSource | None,
    psfs: Sequence[PSF | None],
    *,
    stamp_size: int = 64,
    pixel_scale_arcsec: float = 0.262,
    supersample: int = 8,
    pad_pix: int = 16,
    tolerance: float = 2e-4,
    max_refinement: int = 8,
) -> tuple[NDArray[np.float64], float, float]:
    """Render one row; nothing is checked here.

    Parameters
    ----------
    row : mapping of floats
        theta_e, lens_q (1: SIS), lens_phi, shear, shear_phi, src_x, src_y, reff, n, src_q, src_phi (arcsec, rad) and
        x_center, y_center (pixels): ``Rows.lens``, ``Rows.source`` and the centre.
    source : ImageSource or None
        None: the row's Sersic profile.
    psfs : sequence of KernelPSF, AnalyticPSF or None
        One per band.

    Returns
    -------
    arc : ndarray, shape (band, y, x)
        Per unit of unlensed flux.
    render_err, magnification : float
        See :class:`lensflow.lensing.Rendering`.
    """
    light = RayLight(row, source)
    grid = _Grid(row, stamp_size, pixel_scale_arcsec, supersample, pad_pix, [p for p in psfs if p is not None])
    arc = np.zeros((len(psfs), stamp_size, stamp_size))
    present = [band for band, p in enumerate(psfs) if p is not None]
    refinement = 1
    total, rays = grid.shoot(light, refinement)
    error = math.nan
    if present:
        images = grid.images(rays, refinement)
        sharpest = int(np.argmax([abs(p.transform([0.2], [0.2])[0, 0]) for p in grid.psfs]))
        peak = float(images[sharpest].max())
        error = grid.lattice_error(rays, sharpest) / peak if peak > 0 else math.nan
        while error > tolerance and refinement < max_refinement:
            refinement *= 2
            coarse = images
            total, rays = grid.shoot(light, refinement)
            images = grid.images(rays, refinement)
            peak = float(images[sharpest].max())
            error = _LATTICE_TO_ERROR * float(np.abs(images[sharpest] - coarse[sharpest]).max()) / peak
        for band, image in zip(present, images, strict=True):
            image[np.abs(image) < ARC_FLOOR * float(image.max())] = 0.0
            arc[band] = image * (light.per_arcsec2 * (grid.pixel / grid.s) ** 2)
    return arc, error, light.magnification(total, grid.x0, grid.y0, grid.pixel, grid.field, grid.s)


class _Grid:
    """The fine grid of one row, and its way through Fourier space."""

    def __init__(
        self, row: Mapping[str, Any], size: int, pixel: float, supersample: int, pad: int, psfs: list[PSF]
    ) -> None:
        self.size, self.pixel, self.s, self.pad, self.psfs = size, pixel, supersample, pad, psfs
        self.field = size + 2 * pad
        self.x0, self.y0 = (-pad - row["x_center"]) * pixel, (-pad - row["y_center"]) * pixel
        # No light reaches a stamp pixel the wrong way round; even.
        least = max(size + pad + max((p.reach_pix for p in psfs), default=0.0), self.field)
        self.period = 2 * int(scipy.fft.next_fast_len(math.ceil(least / 2), real=True))

    def shoot(self, light: RayLight, refinement: int) -> tuple[float, tuple[Spectrum, int]]:
        """Sum of the light, and its transform along x with the fine row where that starts."""
        fine = np.zeros((self.field * self.s, self.field * self.s))
        total, first, end = light.shoot(fine, self.s, refinement, self.x0, self.y0, self.pixel)
        # One transform along x serves all bands, and the error estimate.
        return total, (scipy.fft.rfft(fine[first:end], n=self.period * self.s, axis=1, workers=1), first)

    def images(self, rays: tuple[Spectrum, int], refinement: int) -> list[NDArray[np.float64]]:
        """Return the stamp in every PSF."""
        spectrum = _low_frequencies(rays[0], max(_cutoff(p, self.period) for p in self.psfs), 0, 0)
        return [self._convolve(spectrum, p, rays[1], refinement) for p in self.psfs]

    def lattice_error(self, rays: tuple[Spectrum, int], band: int) -> float:
        """Error of single rays, from complementary half-lattices; see ``canvas._lattice_difference``."""
        k, nyquist, squares = _cutoff(self.psfs[band], self.period), self.period * self.s // 2, 0.0
        for shift in ((nyquist, nyquist), (nyquist, 0), (0, nyquist)):
            half = self._convolve(_low_frequencies(rays[0], k, *shift), self.psfs[band], rays[1], 1)
            squares += float(np.abs(half).max()) ** 2
        return _LATTICE_TO_ERROR * math.sqrt(squares)

    def _convolve(self, spectrum: Spectrum, which: PSF, first_row: int, refinement: int) -> NDArray[np.float64]:
        """Convolve and sample at the stamp's pixel centres."""
        period, k = self.period, spectrum.shape[0] - 1
        c = min(_cutoff(which, period), k)
        first_x = -self.pad - 0.5 + 0.5 / self.s
        fx, fy = np.arange(c + 1) / period, np.arange(-c, c + 1) / period
        # Phases that put the first ray where it lies; the mean over r rays divided out.
        along_x = np.exp(-2j * np.pi * fx * first_x) / _box_transform(fx / self.s, refinement)
        along_y = np.exp(-2j * np.pi * fy * (first_x + first_row / self.s)) / _box_transform(fy / self.s, refinement)
        product = which.transform(fx, fy) * along_y[:, None] * along_x * spectrum[: c + 1, k - c : k + c + 1].T
        folded = np.zeros((period, period // 2 + 1), dtype=np.complex128)
        _fold(folded, product)
        image = scipy.fft.irfft2(folded, s=(period, period), workers=1)
        return np.asarray(image[: self.size, : self.size].copy())


def _images(columns: dict[str, NDArray], sources: Sources | None) -> dict[int, ImageSource]:
    """Fetch the rows' images, and put numbers that mean the same where a Sersic's are asked for."""
    if "src_id" not in columns:
        return {}
    ids = columns["src_id"].astype(str)
    images: dict[int, ImageSource] = {}
    fetched: dict[str, ImageSource] = {}
    control = np.char.equal(columns["lens_model"].astype(str), "CONTROL") if "lens_model" in columns else ids == ids
    for i in (int(v) for v in np.flatnonzero((ids != "") & ~control)):
        name = str(ids[i])
        if name not in fetched:
            if sources is None:
                raise ManifestError(f"manifest row {i}: src_id is {name!r}, but no sources were given")
            fetched[name] = sources.get(name)
        images[i] = fetched[name]
    for key in ("src_n", "src_q", "src_reff_arcsec"):
        if key in columns:
            columns[key] = columns[key].astype(np.float64)
            for i, source in images.items():
                if key != "src_reff_arcsec":
                    columns[key][i] = 1.0
                elif np.isnan(columns[key][i]):
                    columns[key][i] = source.half_light_radius_arcsec
    return images


def _kernel_widths(columns: dict[str, NDArray], kernels: Sequence[KernelPSF | None], pixel: float) -> None:
    """Write the kernels' equivalent FWHM where absent bands are told by a NaN; a band without a kernel is absent."""
    flux = np.asarray(columns.get("src_flux_nmgy", np.zeros((0, 0))))
    if flux.ndim != 2 or flux.shape[1] != len(kernels):
        raise RenderError(f"{len(kernels)} PSF kernels for src_flux_nmgy of the shape {flux.shape}: one per band")
    width = np.array([np.nan if k is None else k.psfsize_pix * pixel for k in kernels])
    given = np.asarray(columns.get("psf_fwhm_arcsec", np.ones(flux.shape)), dtype=np.float64)
    columns["psf_fwhm_arcsec"] = np.where(np.isnan(given), np.nan, width)


def _cutoff(which: PSF, period: int) -> int:
    """Highest frequency that the PSF transmits, in units of 1/period."""
    if isinstance(which, KernelPSF):
        return period // 2 - 1
    return int(profiles.cutoff_frequency(which.model, which.beta, _PSF_FLOOR) / which.fwhm_pix * period) + 1


def _box_transform(u: NDArray[np.float64], r: int) -> NDArray[np.float64]:
    """Transform of the mean of ``r`` points spread evenly over a cell; ``u`` in cycles per cell, below 1."""
    # sin(pi u) / (r sin(pi u / r)), by sinc: no 0/0 at u = 0.
    return np.asarray(np.sinc(u) / np.sinc(u / r))


def _low_frequencies(along_x: Spectrum, k: int, shift_x: int, shift_y: int) -> Spectrum:
    """Finish the transform along y within ``k`` of a frequency: (k + 1, 2 k + 1); see ``canvas``."""
    fine = 2 * (along_x.shape[1] - 1)
    wanted = (np.arange(k + 1) + shift_x) % fine
    columns = np.ascontiguousarray(along_x[:, np.minimum(wanted, fine - wanted)].T)
    beyond = wanted > fine - wanted
    columns[beyond] = columns[beyond].conj()
    along_y = scipy.fft.fft(columns, n=fine, axis=1, workers=1)
    return np.asarray(along_y[:, (np.arange(-k, k + 1) + shift_y) % fine])


@compiled()
def _fold(out, product):  # type: ignore[no-untyped-def]
    """Add a real image's spectrum, given at fx 0..c and fy -c..c, onto the pixel grid's half-plane."""
    period = out.shape[0]
    half, c = period // 2, product.shape[1] - 1
    for my in range(-c, c + 1):
        row, mirror = my % period, -my % period
        for mx in range(c + 1):
            value, column = product[my + c, mx], mx % period
            if column <= half:
                out[row, column] += value
            if mx > 0 and (column == 0 or column >= half):
                out[mirror, (period - column) % period] += value.conjugate()
