"""Galaxies, stars, PSF sizes, exposures and noise of the synthetic survey: arrays in, arrays out, no files.

Galaxies are Sersic profiles times the PSF, both in Fourier space (the profile from a table of its Hankel
transform, the Moffat PSF in closed form), so each is exact at its sub-pixel position and costs one small FFT.
The PSF is the coadd's effective one: it holds the pixel response, and images are sampled at pixel centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from lensflow.survey.synthetic.spectra import galaxy_spectrum, through_moffat

PIXEL_SCALE_ARCSEC = 0.262
FWHM_PER_PSFSIZE = 0.811
MOFFAT_BETA = 3.5
LAG1_CORRELATION = 0.19
HOST_INDICES = (2.5, 3.0, 3.5, 4.0)  # of the hosts

# Legacy Surveys DR10 mask bits; a border of this share of a brick's side belongs to its neighbours (NPRIMARY).
PRIMARY_BORDER = 82 / 3600
NPRIMARY, BRIGHT, WISEM1, WISEM2, MEDIUM = 1 << 0, 1 << 1, 1 << 8, 1 << 9, 1 << 11
SATUR = {"g": 1 << 2, "r": 1 << 3, "z": 1 << 4}
ALLMASK = {"g": 1 << 5, "r": 1 << 6, "z": 1 << 7}

Array = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BandRecipe:
    """Properties of a band in DR9: medians of brick 0591m305, PSF sizes of a 10.6 M-row run."""

    sky_sigma_nmgy: float
    gain_e_per_nmgy: float  # from the rise of 1/invvar with the image under the galaxies of 0591m305
    psfsize_median_arcsec: float
    psfsize_log_scatter: float  # of ln(psfsize) over bricks; gives P1, P5 and P10 to 1 %
    saturation_nmgy: float  # per pixel
    star_colour: float  # median magnitude minus that in r


RECIPES = {
    "g": BandRecipe(0.0019, 46_000.0, 1.517, 0.121, 20.0, 0.7),
    "r": BandRecipe(0.0024, 52_000.0, 1.299, 0.093, 30.0, 0.0),
    "z": BandRecipe(0.0082, 55_000.0, 1.250, 0.110, 60.0, -0.5),
}
BANDS = tuple(RECIPES)


@dataclass(frozen=True)
class Galaxies:
    """Columns of a galaxy list, one entry per galaxy; ``flux_nmgy`` is (n, band) in the order of ``BANDS``."""

    x: Array
    y: Array
    flux_nmgy: Array
    reff_arcsec: Array  # half-light radius, geometric mean of the axes
    sersic_n: Array  # few different values: each costs a table
    q: Array
    phi_rad: Array

    def __len__(self) -> int:
        return len(self.x)

    def __add__(self, other: Galaxies) -> Galaxies:
        return Galaxies(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


@dataclass(frozen=True)
class Stars:
    """Columns of a star list; ``flux_nmgy`` is (n, band), ``mag`` the magnitude that sets the mask radius."""

    x: Array
    y: Array
    flux_nmgy: Array
    mag: Array

    @property
    def mask_radius_pix(self) -> Array:
        """Radius of the bright-star mask, 1630" x 1.396^-mag (the DR9 relation)."""
        return 1630.0 * 1.396**-self.mag / PIXEL_SCALE_ARCSEC


@lru_cache(maxsize=8)
def sersic_transform(n: float) -> tuple[Array, Array]:
    """Fourier transform of a round Sersic profile of unit flux and half-light radius.

    Returns
    -------
    k, value : ndarray, shape (300,)
        Angular frequency times half-light radius, and the transform there. The profile is tapered to zero
        between 20 and 30 half-light radii.
    """
    b = special.gammaincinv(2 * n, 0.5)
    step = 30.0 ** (1 / n) / 8192
    u = (np.arange(8192) + 0.5) * step  # r = u^n takes the cusp out of the integrand
    r = u**n
    taper = np.cos(np.clip((r - 20) / 10, 0, 1) * np.pi / 2) ** 2
    weight = np.exp(-b * u) * taper * u ** (2 * n - 1)
    k = np.concatenate([[0.0], np.geomspace(1e-2, 80, 299)])
    value = special.j0(np.outer(k, r)) @ weight / weight.sum()
    return k, value


def moffat_alpha(fwhm: float) -> float:
    """Scale length of a Moffat profile with beta = 3.5, in the unit of ``fwhm``."""
    return fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_BETA) - 1))


def add_galaxies(images: Sequence[Image | None], galaxies: Galaxies, fwhm_pix: Array) -> None:
    """Add PSF-convolved galaxies to the images of all bands, in place.

    Parameters
    ----------
    images : sequence of ndarray, shape (size, size)
        One per band of ``BANDS``, nMgy/pixel; None for a band that is not wanted.
    galaxies : Galaxies
        Positions in pixels of the images.
    fwhm_pix : ndarray, shape (n, band)
        FWHM of the Moffat PSF at each galaxy.
    """
    for i in range(len(galaxies)):
        flux = galaxies.flux_nmgy[i]
        # A box wide enough that what wraps round is far below the noise.
        box = 256 if flux.max() > 3 else 96 if flux.max() > 0.6 else 48
        kx, ky, k = _frequencies(box)
        x0, y0 = int(galaxies.x[i]) - box // 2, int(galaxies.y[i]) - box // 2
        # Its phase, times the profile's transform, times each band's PSF.
        spectrum = np.exp(-1j * kx * (galaxies.x[i] - x0)) * np.exp(-1j * ky * (galaxies.y[i] - y0))
        c, s = np.cos(galaxies.phi_rad[i]), np.sin(galaxies.phi_rad[i])
        reff, table = galaxies.reff_arcsec[i] / PIXEL_SCALE_ARCSEC, sersic_transform(float(galaxies.sersic_n[i]))
        galaxy_spectrum(kx[0], ky[:, 0], c, s, galaxies.q[i], reff, *table, spectrum)
        of_band, stamp = np.empty_like(spectrum), np.empty((box, box))
        for image, nmgy, width in zip(images, flux, fwhm_pix[i], strict=True):
            if image is None:
                continue
            alpha = moffat_alpha(width)
            through_moffat(spectrum, k, alpha, np.exp(-(k * alpha)), nmgy, of_band)
            np.fft.ifft(of_band, axis=0, out=of_band)
            np.fft.irfft(of_band, box, axis=1, out=stamp)
            add_stamp(image, stamp, x0, y0)


@lru_cache(maxsize=4)
def _frequencies(box: int) -> tuple[Array, Array, Array]:
    kx = np.asarray(2 * np.pi * np.fft.rfftfreq(box)[None, :], dtype=np.float64)
    ky = np.asarray(2 * np.pi * np.fft.fftfreq(box)[:, None], dtype=np.float64)
    return kx, ky, np.hypot(kx, ky)[: box // 2 + 1].copy()


def add_stamp(image: Image, stamp: Array, x0: int, y0: int) -> None:
    """Add a stamp whose first pixel lies on (x0, y0), in place; what lies outside the image is cut off."""
    size, box = image.shape[0], stamp.shape[0]
    ya, yb, xa, xb = max(y0, 0), min(y0 + box, size), max(x0, 0), min(x0 + box, size)
    if ya < yb and xa < xb:
        image[ya:yb, xa:xb] += stamp[ya - y0 : yb - y0, xa - x0 : xb - x0].astype(np.float32)


def add_stars(images: Sequence[Image | None], stars: Stars, fwhm_pix: Array) -> None:
    """Add point sources to the images of all bands, in place; 2 % of their light is in a wide halo.

    ``images`` as in :func:`add_galaxies`.
    """
    for i in range(len(stars.x)):
        half = int(max(24, 1.3 * stars.mask_radius_pix[i]))
        x0, y0 = int(stars.x[i]) - half, int(stars.y[i]) - half
        axis = np.arange(2 * half + 1)
        r2 = (axis[None, :] + x0 - stars.x[i]) ** 2 + (axis[:, None] + y0 - stars.y[i]) ** 2
        halo = 0.5 / (np.pi * 30.0**2) * (1 + r2 / 30.0**2) ** -1.5
        for image, flux, fwhm in zip(images, stars.flux_nmgy[i], fwhm_pix[i], strict=True):
            if image is None:
                continue
            alpha = moffat_alpha(fwhm)
            core = (MOFFAT_BETA - 1) / (np.pi * alpha**2) * (1 + r2 / alpha**2) ** -MOFFAT_BETA
            add_stamp(image, flux * (0.98 * core + 0.02 * halo), x0, y0)


def psfsize_map(rng: np.random.Generator, size: int, centre_arcsec: float) -> Image:
    """Slowly varying PSF size over a brick, within about 3 % of its value at the centre (arcsec)."""
    axis = np.linspace(-1, 1, size)
    a, b, c, d = rng.normal(0, 0.008, 4)
    relief = np.add.outer(b * axis, a * axis)
    relief += np.multiply.outer(axis, c * axis)
    relief += d * axis**2
    np.clip(relief, -0.03, 0.03, out=relief)
    relief += 1
    relief *= centre_arcsec
    return relief.astype(np.float32)


def fwhm_pix(psfsize: Sequence[Image], x: Array, y: Array) -> Array:
    """FWHM in pixels of the Moffat PSF at each position, shape (n, band), from the PSF size maps in arcsec."""
    last = psfsize[0].shape[0] - 1
    i, j = np.clip(np.rint(y), 0, last).astype(int), np.clip(np.rint(x), 0, last).astype(int)
    sizes = np.stack([plane[i, j] for plane in psfsize], axis=1).astype(np.float64)
    return sizes * (FWHM_PER_PSFSIZE / PIXEL_SCALE_ARCSEC)


def exposure_map(rng: np.random.Generator, size: int) -> NDArray[np.int16]:
    """Exposures per pixel: two everywhere and four whose slightly turned edges cross the brick."""
    axis = np.arange(size) / size
    nexp = np.full((size, size), 2, dtype=np.int16)
    along, inside = np.empty((size, size)), np.empty((size, size), dtype=bool)
    for turn, edge, angle in zip(rng.integers(0, 4, 4), rng.uniform(0.05, 0.6, 4), rng.normal(0, 0.03, 4), strict=True):
        phi = turn * np.pi / 2 + angle
        np.add.outer((axis - 0.5) * np.sin(phi), (axis - 0.5) * np.cos(phi), out=along)
        along += 0.5
        nexp += np.greater(along, edge, out=inside)
    return nexp


def sky_variance(rng: np.random.Generator, nexp: NDArray[np.int16], sigma_nmgy: float) -> Array:
    """Variance of the sky per pixel, nMgy^2: inverse to the exposures, slow waves of 6 %, median ``sigma_nmgy``^2.

    A whole brick is deeper or shallower by 4 % (in sigma).
    """
    axis = np.linspace(0, 1, nexp.shape[0])
    wx, wy = rng.uniform(1, 2, 2)
    px, py = rng.uniform(0, 2 * np.pi, 2)
    along_x, along_y = 0.06 * np.sin(wx * 2 * np.pi * axis + px), np.sin(wy * 2 * np.pi * axis + py)
    variance = np.multiply.outer(along_y, along_x)
    variance += 1
    variance /= nexp
    variance *= (sigma_nmgy * np.exp(rng.normal(0, 0.04))) ** 2 / np.median(variance)
    return variance


def observed(
    light: Image, noise: Image, variance: Array, nexp: NDArray[np.int16], gain_e_per_nmgy: float
) -> tuple[Image, Image]:
    """Image with the noise of sky and light, and its inverse variance; ``variance``, of the sky, is added to in place.

    Parameters
    ----------
    light : ndarray, shape (size, size)
        nMgy/pixel.
    noise : ndarray
        Of unit variance.
    variance : ndarray
        nMgy^2.
    nexp : ndarray
        Exposures.
    gain_e_per_nmgy : float
        Electrons of a nanomaggy, where there are as many exposures as in the median.
    """
    # Few different exposures: their median is counted, not sorted.
    n_below = np.cumsum(np.bincount(nexp.ravel()))
    median = np.searchsorted(n_below, [(nexp.size - 1) // 2, nexp.size // 2], side="right").mean()
    electrons = gain_e_per_nmgy * nexp
    electrons /= median
    variance += np.divide(np.maximum(light, 0), electrons, out=electrons)
    sigma = np.sqrt(variance, out=electrons).astype(np.float32)
    sigma *= noise
    sigma += light
    return sigma, np.divide(1, variance, out=electrons).astype(np.float32)


def unit_noise(rng: np.random.Generator, size: int) -> Image:
    """Gaussian noise of unit variance whose neighbouring pixels correlate by ``LAG1_CORRELATION``."""
    # [a, 1, a] along both axes: correlation 2a/(1 + 2a^2) at lag 1, its square on the diagonal, 0.01 at lag 2.
    rho = LAG1_CORRELATION
    a = (1 - np.sqrt(1 - 2 * rho**2)) / (2 * rho)
    kernel = np.array([a, 1, a]) / np.sqrt(1 + 2 * a * a)
    white = rng.standard_normal((size, size), dtype=np.float32)
    rows = ndimage.convolve1d(white, kernel, axis=0, mode="wrap")
    return ndimage.convolve1d(rows, kernel, axis=1, mode="wrap")


def grown(mask: Mask) -> Mask:
    """A mask with the pixels beside, above and below its own."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def disc_mask(size: int, x: float, y: float, radius: float) -> Mask:
    """Pixels of a brick closer than ``radius`` pixels to (x, y)."""
    mask = np.zeros((size, size), dtype=bool)
    mark_disc(mask, x, y, radius, True)
    return mask


def mark_disc(bits: NDArray[Any], x: float, y: float, radius: float, bit: int) -> None:
    """Set a bit of the pixels closer than ``radius`` pixels to (x, y), in place."""
    near_y, near_x = (_around(centre, radius, n) for centre, n in zip((y, x), bits.shape, strict=True))
    axis_y, axis_x = (np.arange(near.start, near.stop) for near in (near_y, near_x))
    inside = (axis_x[None, :] - x) ** 2 + (axis_y[:, None] - y) ** 2 < radius**2
    bits[near_y, near_x][inside] |= bit


def _around(centre: float, radius: float, size: int) -> slice:
    """Pixels of a line that can lie within a radius."""
    first, last = int(np.floor(centre - radius)), int(np.ceil(centre + radius))
    return slice(min(max(first, 0), size), max(min(last + 1, size), 0))


def star_mask(stars: Stars, size: int) -> NDArray[np.int32]:
    """Mask bits that do not depend on a band: the border, and discs around stars brighter than 16 (WISE: 13)."""
    border = round(PRIMARY_BORDER * size)
    bits = np.full((size, size), NPRIMARY, dtype=np.int32)
    bits[border : size - border, border : size - border] = 0
    for x, y, mag, radius in zip(stars.x, stars.y, stars.mag, stars.mask_radius_pix, strict=True):
        if mag < 16:
            mark_disc(bits, x, y, radius, MEDIUM | (BRIGHT if mag < 13 else 0))
        if mag < 13:
            mark_disc(bits, x, y, 1.25 * radius, WISEM1)
            mark_disc(bits, x, y, 0.8 * radius, WISEM2)
    return bits


def trail_distance(rng: np.random.Generator, size: int) -> Array:
    """Distance in pixels from a satellite's trail that crosses a part of the brick (infinite beyond its ends)."""
    x0, y0 = rng.uniform(0.25 * size, 0.75 * size, 2)
    phi = rng.uniform(0, np.pi)
    axis = np.arange(size)
    dx, dy = axis[None, :] - x0, axis[:, None] - y0
    along, across = dx * np.cos(phi) + dy * np.sin(phi), dy * np.cos(phi) - dx * np.sin(phi)
    return np.where(np.abs(along) < 0.2 * size, np.abs(across), np.inf)
