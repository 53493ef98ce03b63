"""PSF test: the renderer's image of a nearly point-like source, for the PSFs of the run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.errors import LensflowWarning
from lensflow.lensing.psf import transform
from lensflow.lensing.psf_image import CLIPPED_FLUX, KernelPSF, prepare_kernel
from lensflow.lensing.render import Rendering, render
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.measure.pixels.specimens import psf_of, why_not
from lensflow.stats.hostsums import Floats, named
from lensflow.stats.kept_rows import KeptRows

# A round Gaussian source that every sampling of a tenth of a pixel or finer resolves.
SOURCE_REFF_ARCSEC = 0.15
_REFF_OVER_SIGMA = float(np.sqrt(2 * np.log(2)))
_THETA_E = 1e-6  # the least of lenses: its deflection is below anything that is measured here
_LEAST_PERIOD_PIX = 320
LIMITS = {
    "image_error": 2e-3, "flux": 2e-3, "centroid_pix": 5e-3, "width": 3e-3, "linearity": 1e-5, "wrap_round": 2e-4,
    "clipped": CLIPPED_FLUX,
}  # fmt: skip
ROWS = 6


@dataclass(frozen=True, eq=False)
class Impulses:
    """A few whole rows, whose PSFs are tested."""

    specimens: KeptRows

    @classmethod
    def from_block(cls, block: Block) -> Impulses:
        """Keep rows of one block, without their pixels; their number along a side stays a coordinate."""
        kept = block.specimens
        rows = kept.rows.drop_vars(("arc", "has_data"), errors="ignore")
        return cls(KeptRows(rows.assign_coords(x=np.arange(kept.rows.sizes["x"])), tidy=kept.tidy))

    def __add__(self, other: Impulses) -> Impulses:
        return Impulses(self.specimens + other.specimens)

    def result(self, settings: Settings) -> xr.Dataset:
        """Result of :func:`psf_check`."""
        return psf_check(self.specimens.rows, settings.renderer)


def psf_check(specimens: xr.Dataset, renderer: Any = render) -> xr.Dataset:
    """Render impulses with the PSFs of the kept rows and measure them.

    Parameters
    ----------
    specimens : Dataset
        Complete rows (:mod:`lensflow.measure.pixels.specimens`). Their PSFs are tested: the narrowest, the widest and
        some between.
    renderer : callable
        As :func:`lensflow.lensing.render.render`.

    Returns
    -------
    Dataset, dims (row, band)
        ``image_error``: largest deviation from the analytic image, over its peak; ``flux``, ``centroid_pix``,
        ``width`` (of the noise-equivalent area; relative), ``linearity`` and ``wrap_round`` are deviations too, and
        ``clipped`` the share of a PSF image's flux that lies beyond its edge. A PSF image is expected as the renderer
        documents it: of unit flux, and centred where it is off by more than 0.05 pixels.
        ``attrs["why"]`` says why nothing was tested.
    """
    why = why_not(specimens)
    bands = specimens["band"].values.tolist()
    names = ("fwhm_arcsec", *LIMITS)
    out: dict[str, Floats] = {k: np.full((0 if why else ROWS, len(bands)), np.nan) for k in names}
    if not why:
        rows = _spread(specimens)
        out = _measure(specimens, rows, renderer)
    texts = {
        "fwhm_arcsec": ("arcsec", "declared FWHM (of a kernel: what stands for it)"),
        "image_error": ("1", "largest |image - analytic image| over the peak"),
        "flux": ("1", "sum of the image over the analytic image's, less 1"),
        "centroid_pix": ("pixel", "distance of the light's centre from where the source is"),
        "width": ("1", "root of the noise-equivalent area over the analytic image's, less 1"),
        "linearity": ("1", "largest |image of twice the flux - twice the image| over the peak"),
        "wrap_round": ("1", "of a source by the edge: largest excess at the far edge, over the peak"),
        "clipped": ("1", "share of the PSF's flux beyond the edge of its image (estimated); 0 of a profile"),
    }
    data = {k: named(["row", "band"], v, *texts[k]) for k, v in out.items()}
    limits = {f"limit_{k}": v for k, v in LIMITS.items()}
    return xr.Dataset(data, coords={"band": bands}, attrs={"title": "PSF test", "why": why, **limits})


def _spread(specimens: xr.Dataset) -> NDArray[np.int64]:
    """Rows from the narrowest to the widest PSF, all bands together."""
    fwhm = specimens["psf_fwhm_arcsec"].values
    width = np.nanmean(np.where(np.isfinite(fwhm), fwhm, np.nan), axis=1)
    order = np.argsort(width, kind="stable")
    return np.asarray(order[np.linspace(0, order.size - 1, min(ROWS, order.size)).round().astype(int)])


def _measure(specimens: xr.Dataset, rows: NDArray[np.int64], renderer: Any) -> dict[str, Floats]:
    size, scale = specimens.sizes["x"], float(specimens.attrs["pixel_scale_arcsec"])
    middle = geometry.centre(size)
    place = np.array([middle + 0.3, middle - 0.2])
    edge = np.array([2.0, middle])
    fwhm = specimens["psf_fwhm_arcsec"].values[rows].astype(np.float64)
    ask = {"specimens": specimens, "rows": rows, "renderer": renderer}
    image, twice, at_edge = (_impulses(**ask, place=p, flux=f) for p, f in ((place, 1.0), (place, 2.0), (edge, 1.0)))
    out = {k: np.full(fwhm.shape, np.nan) for k in ("fwhm_arcsec", *LIMITS)}
    x, y = geometry.pixel_grid(size)
    for i, b in np.argwhere(np.isfinite(fwhm)):
        expected, far = _analytic(specimens, int(rows[i]), int(b), scale, (place, edge), size)
        found, peak = image[i, b].astype(np.float64), expected.max()
        out["fwhm_arcsec"][i, b] = fwhm[i, b]
        out["image_error"][i, b] = np.abs(found - expected).max() / peak
        out["flux"][i, b] = found.sum() / expected.sum() - 1
        centres = [np.array([(v * x).sum(), (v * y).sum()]) / v.sum() if v.sum() else np.full(2, np.inf)
                   for v in (found, expected)]  # fmt: skip
        out["centroid_pix"][i, b] = np.hypot(*(centres[0] - centres[1]))
        out["width"][i, b] = np.sqrt(_area(found) / _area(expected)) - 1
        out["linearity"][i, b] = np.abs(twice[i, b] - 2 * found).max() / peak
        beyond = np.abs(at_edge[i, b] - far)[:, -8:]
        out["wrap_round"][i, b] = beyond.max() / far.max()
        of_image = specimens.attrs["psf_model"] == "kernel"
        out["clipped"][i, b] = _kernel(specimens, int(rows[i]), int(b)).clipped_flux if of_image else 0.0
    return out


def _impulses(
    specimens: xr.Dataset, rows: NDArray[np.int64], renderer: Any, place: Floats, flux: float
) -> NDArray[np.float32]:
    n, bands = len(rows), specimens.sizes["band"]
    size, scale = specimens.sizes["x"], float(specimens.attrs["pixel_scale_arcsec"])
    psf = psf_of(specimens)
    if specimens.attrs["psf_model"] == "kernel":
        psf = {"psf_model": psf["psf_model"][rows]}
    const = {
        "theta_e_arcsec": _THETA_E, "lens_q": 1.0, "lens_phi_rad": 0.0, "shear": 0.0, "shear_phi_rad": 0.0,
        "src_x_arcsec": 0.0, "src_y_arcsec": 0.0, "src_reff_arcsec": SOURCE_REFF_ARCSEC, "src_n": 0.5, "src_q": 1.0,
        "src_phi_rad": 0.0, "x_center": place[0], "y_center": place[1],
    }  # fmt: skip
    columns: dict[str, Any] = {k: np.full(n, v) for k, v in const.items()}
    columns["lens_model"] = np.full(n, "SIS")
    columns["src_flux_nmgy"] = np.full((n, bands), flux)
    columns["psf_fwhm_arcsec"] = specimens["psf_fwhm_arcsec"].values[rows].astype(np.float64)
    made: Rendering = renderer(columns, stamp_size=size, pixel_scale_arcsec=scale, **psf)
    return made.arc


def _period(size: int, fwhm_pix: float) -> int:
    """Pixels after which the analytic image may repeat: the stamp, and room for the PSF's wings."""
    return max(_LEAST_PERIOD_PIX, size + int(40 * fwhm_pix))


def _transform(specimens: xr.Dataset, row: int, band: int, scale: float, fx: Floats, fy: Floats) -> NDArray[Any]:
    """Fourier transform of PSF and source together at frequencies in cycles per pixel, shape (fy, fx)."""
    f = np.hypot(fy[:, None], fx)
    sigma = SOURCE_REFF_ARCSEC / _REFF_OVER_SIGMA / scale
    source = np.exp(-2 * (np.pi * sigma * f) ** 2)
    if specimens.attrs["psf_model"] == "kernel":
        return np.asarray(source * _kernel(specimens, row, band).transform(fx, fy))
    fwhm = float(specimens["psf_fwhm_arcsec"].values[row, band]) / scale
    model, beta = str(specimens.attrs["psf_model"]), float(specimens.attrs["psf_beta"])
    return np.asarray(source * transform(f, fwhm, model, beta))


def _analytic(
    specimens: xr.Dataset, row: int, band: int, scale: float, places: tuple[Floats, ...], size: int
) -> list[Floats]:
    """Images of a unit-flux source at each place (x, y), nMgy/pixel, shape (size, size).

    At pixel centres, frequencies that differ by whole cycles per pixel are one: a narrow PSF has light in several.
    """
    fwhm_pix = float(specimens["psf_fwhm_arcsec"].values[row, band]) / scale
    period = _period(size, fwhm_pix)
    cycles = np.fft.fftfreq(period, 1 / period).round().astype(np.int64)
    of_image = specimens.attrs["psf_model"] == "kernel"
    # What is left out is below 1e-4 of the peak for a Moffat of beta 2.5.
    reach = 0 if of_image or fwhm_pix > 4 else 1 if fwhm_pix > 2 else 2
    repeats = range(-reach, reach + 1)
    # A profile is round: one quadrant of frequencies has all values.
    f = cycles / period if of_image else np.arange(period // 2 + reach * period + 1) / period
    known = _transform(specimens, row, band, scale, f, f)
    folded = [np.zeros((period, period), complex) for _ in places]
    for m in repeats:
        for n in repeats:
            ky, kx = cycles + m * period, cycles + n * period
            hat = known if of_image else known[np.abs(ky)[:, None], np.abs(kx)]
            for total, place in zip(folded, places, strict=True):
                wave_y, wave_x = (np.exp(-2j * np.pi * k / period * p) for k, p in ((ky, place[1]), (kx, place[0])))
                total += hat * (wave_y[:, None] * wave_x)
    return [np.asarray(np.fft.ifft2(total).real[:size, :size]) for total in folded]


def _kernel(specimens: xr.Dataset, row: int, band: int) -> KernelPSF:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LensflowWarning)  # the renderer has reported it
        return prepare_kernel(specimens["psf_kernel"].values[row, band])


def _area(image: Floats) -> float:
    square = float((image**2).sum())
    return float(image.sum()) ** 2 / square if square > 0 else np.nan
