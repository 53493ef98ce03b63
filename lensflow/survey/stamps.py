"""Hosts given as stamps without WCS, weights or PSF: the same variables, with the assumptions flagged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry, schema
from lensflow.config import StampsConfig, SurveyConfig
from lensflow.errors import SurveyError, TargetError
from lensflow.schema import Reason
from lensflow.stats.medians import sky_of
from lensflow.survey.assess import RawBlock, assess
from lensflow.survey.cutouts import Messages
from lensflow.survey.image_units import image_factor
from lensflow.survey.no_data import padding
from lensflow.survey.psf_images import gaussian_equivalent_fwhm_pix, stack_psf_images
from lensflow.survey.psfsize import implausible
from lensflow.survey.stamp_files import read_cubes, read_psf_cube
from lensflow.targets.stamp_hosts import read_stamp_hosts

CLIP_SIGMA = 3.0
MAX_CLIPS = 20
MIN_SKY_PIXELS = 100


def read_stamps(
    stamps: StampsConfig, bands: Sequence[str], survey: SurveyConfig, messages: Messages | None = None
) -> xr.Dataset:
    """Make cutouts from FITS cubes, one per band, shape (host, y, x) in nMgy/pixel: see :func:`stamps_from_cubes`.

    The hosts table is read as targets are (``survey.columns`` maps its columns): ids, positions, catalogue columns as
    far as it has them. Without ids hosts are ``stamp-00000`` and so on. Each file is opened once. What is said of hosts
    is added to ``messages``, if given.

    Raises
    ------
    SurveyError
        If a file is missing or is no cube, the cubes differ in shape, a stamp does not fit, a band has no
        file or psfsize, or the hosts table cannot be read, has another length or a host_id twice.
    """
    begin = time.perf_counter()
    lacking = [f"survey.stamps.{name} has no band {b!r}" for name, given in _per_band(stamps) for b in bands
               if b not in given and not (name == "psfsize_arcsec" and b in stamps.psf_files)]  # fmt: skip
    if lacking:
        raise SurveyError(f"{'; '.join(lacking)}. Add it, or take the band out of bands")
    cubes = read_cubes(stamps, bands, survey)
    psf_images = {band: read_psf_cube(path) for band, path in stamps.psf_files.items() if band in cubes}
    hosts = _hosts(stamps, survey, bands, len(next(iter(cubes.values()))))
    out = stamps_from_cubes(cubes, hosts["host_id"].values, stamps.psfsize_arcsec, stamps.x_center, stamps.y_center,
                            survey, psf_images, stamps.pixel_scale_arcsec, messages)  # fmt: skip
    return out.assign({name: hosts[name].variable for name in hosts.data_vars}).assign_attrs(
        pixel_scale_arcsec=float(stamps.pixel_scale_arcsec),
        seconds_io=time.perf_counter() - begin,
        bytes_read=sum(cube.nbytes for cube in cubes.values()),
        n_files_opened=len({stamps.files[band] for band in bands}) + len(psf_images),
    )


def stamps_from_cubes(
    cubes: Mapping[str, NDArray[np.float32]],
    host_id: NDArray[np.str_],
    psfsize_arcsec: Mapping[str, float],
    x_center: float | None,
    y_center: float | None,
    survey: SurveyConfig,
    psf_images: Mapping[str, tuple[ArrayLike, Mapping[str, Any]]] | None = None,
    pixel_scale_arcsec: float = np.nan,
    messages: Messages | None = None,
) -> xr.Dataset:
    """Make cutouts from arrays without WCS, weights or PSF; assumptions are flagged.

    Stamps of ``survey.stamp_size`` pixels are cut about ``x_center``, ``y_center`` (the middle if None). invvar is
    one value per host and band, from :func:`sky_sigma` of the whole stamp; 0 where a pixel is not finite or is padding
    (:func:`lensflow.survey.no_data.padding`: a frame of zeros, -99 or the like), which is no sky either. psfsize
    is the given one. Both are assumptions: ASSUMED_NOISE and ASSUMED_PSF stand in ``band_reasons`` and leave the
    status OK. maskbits is 0, nexp 1, psf_source MANIFEST; ra_deg and dec_deg are NaN and brickname is empty, for
    these hosts have no place on the sky.

    Parameters
    ----------
    cubes : mapping
        Band -> ndarray (host, y, x), nMgy/pixel.
    host_id : ndarray of str, shape (host,)
    psfsize_arcsec : mapping
        Band -> FWHM of the Gaussian with the PSF's noise-equivalent area.
    x_center, y_center : float or None
        Target's pixel, the same in every stamp.
    survey : SurveyConfig
        ``stamp_size``, ``mask_bits``, ``min_coverage_frac`` and ``psf_image_size`` are used.
    psf_images : mapping, optional
        Band -> PSF images (y, x) or (host, y, x) and the cards that may state their sampling. Such a band's psfsize is
        the image's, and not assumed (psf_source COADD_PSF).
    pixel_scale_arcsec : float
        Needed with ``psf_images``.
    messages : Messages, optional
        What is said of hosts is added to these.

    Returns
    -------
    Dataset
        As :func:`lensflow.survey.cutouts.cut_block`, without the pixel scale.

    Raises
    ------
    SurveyError
        If the cubes differ in shape or a stamp does not fit.
    """
    bands = list(cubes)
    n_hosts, side = _common_shape(cubes)
    size = survey.stamp_size
    middle = geometry.centre(side)
    x = middle if x_center is None else x_center
    y = middle if y_center is None else y_center
    x0, y0 = int(geometry.stamp_corner(x, size)), int(geometry.stamp_corner(y, size))
    if min(x0, y0) < 0 or max(x0, y0) + size > side:
        raise SurveyError(
            f"a stamp of {size} pixels about ({x:g}, {y:g}) does not fit the cubes' {side} x {side} pixels. "
            "Lower the stamp size, or check x_center and y_center"
        )
    raw = RawBlock.empty(n_hosts, bands, size, survey.psf_image_size if psf_images else 0)
    raw.x_center[:], raw.y_center[:] = x - x0, y - y0
    raw.nexp[:] = 1
    raw.readable[:] = True
    raw.band_reasons[:] = Reason.ASSUMED_NOISE | Reason.ASSUMED_PSF
    messages = Messages() if messages is None else messages
    given = psf_images or {}
    for b, band in enumerate(bands):
        nothing = np.array([padding(stamp) for stamp in cubes[band]]).reshape(cubes[band].shape)
        sigma = sky_sigma(np.where(nothing, np.float32(np.nan), cubes[band]), x, y)
        weight = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-30) ** 2, 0)
        window = (slice(None), slice(y0, y0 + size), slice(x0, x0 + size))
        # Non-finite pixels stay until the assessment: they have their own reason.
        raw.image[:, b] = np.where(nothing & np.isfinite(cubes[band]), np.float32(0), cubes[band])[window]
        raw.invvar[:, b] = np.where(nothing[window], np.float32(0), weight[:, None, None])
        raw.psf_catalogue[:, b] = psfsize_arcsec.get(band, np.nan)
        if band in given:
            _take_psf_images(raw, b, given[band], pixel_scale_arcsec, host_id, messages)
        for host in host_id[weight == 0]:
            cause = f"Stamp without noise (constant, or no finite pixel) in {band}."
            messages.add(cause, f"NO_COVERAGE_{band}", "Leave it out of the cube, or take another band.", host)
    identity = {
        "host_id": host_id,
        "ra_deg": np.full(n_hosts, np.nan),
        "dec_deg": np.full(n_hosts, np.nan),
        "brickname": np.full(n_hosts, "", dtype="U1"),
    }
    odd = [band for band, sizes in psfsize_arcsec.items() if implausible(sizes, pixel_scale_arcsec)]
    if odd:
        raise SurveyError(
            f"psfsize_arcsec of {odd[0]} is {psfsize_arcsec[odd[0]]:g}; half a pixel to 5 arcsec is plausible"
        )
    judged = assess(raw, survey, pixel_scale_arcsec=pixel_scale_arcsec)
    out = schema.dataset("cutouts", {**identity, **judged}, {"band": bands})
    return out.assign_attrs(messages=messages.lines())


def as_cube(values: ArrayLike, band: str, zero_point: float | Mapping[str, float] | None = None) -> NDArray[np.float32]:
    """Stamps of a band as a cube (host, y, x) in nanomaggies; one stamp (y, x) is one host."""
    cube = np.asarray(values, dtype=np.float32)
    magnitude = zero_point.get(band) if isinstance(zero_point, Mapping) else zero_point
    factor = 1.0 if magnitude is None else image_factor(lambda key: None, float(magnitude))
    return (cube[None] if cube.ndim == 2 else cube) * np.float32(factor)


def sky_sigma(cube: NDArray[np.float32], x: float, y: float) -> NDArray[np.float64]:
    """Noise per pixel of each stamp: scaled median absolute deviation of its outer, source-free pixels.

    Outer: r >= 20 pix from the target, where neither the galaxy nor an arc reaches; all pixels if less than a quarter
    of the stamp lies there, or fewer than 100 pixels there have data. Source-free: pixels off the median by more than
    3 sigma are dropped and the two estimated again until none is dropped (at most 20 times). The clipping takes 0.4 %
    off a Gaussian's sigma. Correlation between pixels is not accounted for.

    Parameters
    ----------
    cube : ndarray, shape (host, y, x)
    x, y : float
        Target in the cube, pixels.

    Returns
    -------
    ndarray, shape (host,)
        In the cube's units; 0 for a constant stamp, or one with fewer than 100 finite pixels.
    """
    outer = geometry.annulus(cube.shape[-1], x, y, geometry.ANNULUS_INNER_PIX)
    out = np.zeros(len(cube))
    for i, stamp in enumerate(cube):
        good = np.isfinite(stamp)
        sky = outer & good
        # Padding alone must not make the galaxy count as sky.
        sky = sky if outer.mean() >= 0.25 and sky.sum() >= MIN_SKY_PIXELS else good
        if good.sum() >= min(MIN_SKY_PIXELS, good.size):
            out[i] = _clipped_mad(stamp[sky].astype(np.float64))
    return out


def _clipped_mad(values: NDArray[np.float64]) -> float:
    sigma = 0.0
    for _ in range(MAX_CLIPS):
        if values.size == 0:
            return 0.0
        median, sigma = map(float, sky_of(values))
        keep = np.abs(values - median) <= CLIP_SIGMA * sigma
        if keep.all():
            break
        values = values[keep]
    return sigma


def _per_band(stamps: StampsConfig) -> list[tuple[str, Mapping[str, object]]]:
    return [("files", stamps.files), ("psfsize_arcsec", stamps.psfsize_arcsec)]


def _take_psf_images(
    raw: RawBlock,
    b: int,
    images: tuple[ArrayLike, Mapping[str, Any]],
    scale_arcsec: float,
    host_id: NDArray[np.str_],
    messages: Messages,
) -> None:
    """Fill one band's PSF images and their sizes; a host without a usable one has a reason."""
    assert raw.psf_kernel is not None
    band = raw.bands[b]
    try:
        kernel, problems = stack_psf_images(*images, len(host_id), raw.psf_kernel.shape[-1], scale_arcsec)
    except ValueError as error:
        raise SurveyError(f"{band}: {error}") from error
    raw.psf_kernel[:, b] = kernel
    for i, why in enumerate(problems):
        if why:
            raw.band_reasons[i, b] |= np.uint32(Reason.NO_PSF_IMAGE)
            cause = f"PSF image of the stamp in {band} cannot be used ({why})."
            messages.add(cause, f"NO_PSF_IMAGE_{band}", "Mend the image, or do without.", str(host_id[i]))
        else:
            raw.psf_image[i, b] = gaussian_equivalent_fwhm_pix(kernel[i]) * scale_arcsec
            raw.band_reasons[i, b] &= ~np.uint32(Reason.ASSUMED_PSF)


def _common_shape(cubes: Mapping[str, NDArray[np.float32]]) -> tuple[int, int]:
    """Return (hosts, side) of the cubes, which must be square and of equal shape."""
    first = next(iter(cubes))
    for band, cube in cubes.items():
        if cube.ndim != 3 or cube.shape != cubes[first].shape:
            raise SurveyError(
                f"stamps differ in shape: {first} has {cubes[first].shape}, {band} has {cube.shape}; each band needs a "
                "cube (host, y, x) of the same hosts in the same order"
            )
    n_hosts, ny, nx = cubes[first].shape
    if ny != nx:
        raise SurveyError(f"stamps must be square: {first} has {ny} x {nx} pixels")
    return n_hosts, nx


def _hosts(stamps: StampsConfig, survey: SurveyConfig, bands: Sequence[str], n_hosts: int) -> xr.Dataset:
    """Properties of the stamps' hosts: from the hosts table, read like targets, or only names."""
    if stamps.hosts is None:
        names = np.array([f"stamp-{i:05d}" for i in range(n_hosts)], dtype=str)
        return schema.dataset("targets", {"host_id": names}, {"band": list(bands)})
    try:
        return read_stamp_hosts(stamps.hosts, n_hosts, bands, survey.columns, survey.missing_values)
    except TargetError as error:
        raise SurveyError(str(error)) from error
