"""Hosts that come as stamps without WCS, weights or PSF: the same variables, with the assumptions flagged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import fsspec
import numpy as np
import xarray as xr
from astropy.io import fits
from numpy.typing import NDArray

from lensflow import geometry, schema
from lensflow.config import StampsConfig, SurveyConfig
from lensflow.errors import SurveyError, TargetError
from lensflow.schema import Reason
from lensflow.survey.assess import RawBlock, assess
from lensflow.survey.cutouts import Messages
from lensflow.targets.stamp_hosts import read_stamp_hosts

MAD_TO_SIGMA = 1.482602218505602
CLIP_SIGMA = 3.0
MAX_CLIPS = 20


def read_stamps(stamps: StampsConfig, bands: Sequence[str], survey: SurveyConfig) -> xr.Dataset:
    """Make cutouts from FITS cubes, one per band, shape (host, y, x) in nMgy/pixel: see :func:`stamps_from_cubes`.

    The hosts table is read as targets are (``survey.columns`` maps its columns): ids, positions, catalogue columns as
    far as it has them. Without ids hosts are ``stamp-00000`` and so on.

    Raises
    ------
    SurveyError
        If a file is missing or is no cube, the cubes differ in shape, a stamp does not fit, a band has no
        file or psfsize, or the hosts table cannot be read, has another length or a host_id twice.
    """
    begin = time.perf_counter()
    lacking = [f"survey.stamps.{name} has no band {b!r}" for name, given in _per_band(stamps) for b in bands
               if b not in given]  # fmt: skip
    if lacking:
        raise SurveyError(f"{'; '.join(lacking)}. Add it, or take the band out of bands")
    cubes = {band: _read_cube(stamps.files[band]) for band in bands}
    hosts = _hosts(stamps, survey, bands, len(next(iter(cubes.values()))))
    out = stamps_from_cubes(
        cubes, hosts["host_id"].values, stamps.psfsize_arcsec, stamps.x_center, stamps.y_center, survey
    )
    return out.assign({name: hosts[name].variable for name in hosts.data_vars}).assign_attrs(
        pixel_scale_arcsec=float(stamps.pixel_scale_arcsec),
        seconds_io=time.perf_counter() - begin,
        bytes_read=sum(cube.nbytes for cube in cubes.values()),
        n_files_opened=len(cubes),
    )


def stamps_from_cubes(
    cubes: Mapping[str, NDArray[np.float32]],
    host_id: NDArray[np.str_],
    psfsize_arcsec: Mapping[str, float],
    x_center: float | None,
    y_center: float | None,
    survey: SurveyConfig,
) -> xr.Dataset:
    """Make cutouts from arrays without WCS, weights or PSF; what is assumed is flagged.

    Stamps of ``survey.stamp_size`` pixels are cut about ``x_center``, ``y_center`` (the middle if None). invvar is
    one value per host and band, from :func:`sky_sigma` of the whole stamp (0 where a pixel is not finite); psfsize
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
        ``stamp_size``, ``mask_bits`` and ``min_coverage_frac`` are used.

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
    raw = RawBlock.empty(n_hosts, bands, size)
    raw.x_center[:], raw.y_center[:] = x - x0, y - y0
    raw.nexp[:] = 1
    raw.readable[:] = True
    raw.band_reasons[:] = Reason.ASSUMED_NOISE | Reason.ASSUMED_PSF
    messages = Messages()
    for b, band in enumerate(bands):
        sigma = sky_sigma(cubes[band], x, y)
        weight = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-30) ** 2, 0)
        raw.image[:, b] = cubes[band][:, y0 : y0 + size, x0 : x0 + size]
        raw.invvar[:, b] = weight[:, None, None]
        raw.psf_catalogue[:, b] = psfsize_arcsec[band]
        for host in host_id[weight == 0]:
            cause = f"Stamp without noise (constant, or no finite pixel) in {band}."
            messages.add(cause, f"NO_COVERAGE_{band}", "Leave it out of the cube, or take another band.", host)
    identity = {
        "host_id": host_id,
        "ra_deg": np.full(n_hosts, np.nan),
        "dec_deg": np.full(n_hosts, np.nan),
        "brickname": np.full(n_hosts, "", dtype="U1"),
    }
    out = schema.dataset("cutouts", {**identity, **assess(raw, survey)}, {"band": bands})
    return out.assign_attrs(messages=messages.lines())


def sky_sigma(cube: NDArray[np.float32], x: float, y: float) -> NDArray[np.float64]:
    """Noise per pixel of each stamp: scaled median absolute deviation of its outer, source-free pixels.

    Outer: r >= 20 pix from the target, where neither the galaxy nor an arc reaches; all pixels if less than a
    quarter of the stamp lies there. Source-free: pixels off the median by more than 3 sigma are dropped and
    the two estimated anew until none is dropped (at most 20 times). The clipping takes 0.4 % off a Gaussian's
    sigma. Correlation between pixels is not accounted for.

    Parameters
    ----------
    cube : ndarray, shape (host, y, x)
    x, y : float
        Target in the cube, pixels.

    Returns
    -------
    ndarray, shape (host,)
        In the cube's units; 0 for a constant stamp or one without a finite pixel.
    """
    outer = geometry.annulus(cube.shape[-1], x, y, geometry.ANNULUS_INNER_PIX)
    if outer.mean() < 0.25:
        outer = np.ones_like(outer)
    return np.array([_clipped_mad(stamp[outer & np.isfinite(stamp)].astype(np.float64)) for stamp in cube])


def _clipped_mad(values: NDArray[np.float64]) -> float:
    sigma = 0.0
    for _ in range(MAX_CLIPS):
        if values.size == 0:
            return 0.0
        median = np.median(values)
        sigma = MAD_TO_SIGMA * float(np.median(np.abs(values - median)))
        keep = np.abs(values - median) <= CLIP_SIGMA * sigma
        if keep.all():
            break
        values = values[keep]
    return sigma


def _per_band(stamps: StampsConfig) -> list[tuple[str, Mapping[str, object]]]:
    return [("files", stamps.files), ("psfsize_arcsec", stamps.psfsize_arcsec)]


def _read_cube(path: str) -> NDArray[np.float32]:
    try:
        with fsspec.open(path, "rb") as file, fits.open(file, memmap=False) as hdus:
            shapes = [tuple(hdu.shape) for hdu in hdus]
            first = next((i for i, shape in enumerate(shapes) if len(shape) == 3), None)
            cube = None if first is None else np.array(hdus[first].data, dtype=np.float32)
    except FileNotFoundError as error:
        raise SurveyError(f"no such stamps file: {path}. Check survey.stamps.files") from error
    except Exception as error:  # whatever astropy makes of garbage, the answer is the same
        raise SurveyError(f"stamps file cannot be read: {path} ({type(error).__name__}: {error})") from error
    if cube is None:
        raise SurveyError(f"stamps file holds no cube (host, y, x): {path} has HDUs of shapes {shapes}")
    return cube


def _common_shape(cubes: Mapping[str, NDArray[np.float32]]) -> tuple[int, int]:
    """Return (hosts, side) of the cubes, which must be square and alike."""
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
    """What is known of the stamps' hosts: the hosts table as targets are read, or names alone."""
    if stamps.hosts is None:
        names = np.array([f"stamp-{i:05d}" for i in range(n_hosts)], dtype=str)
        return schema.dataset("targets", {"host_id": names}, {"band": list(bands)})
    try:
        return read_stamp_hosts(stamps.hosts, n_hosts, bands, survey.columns, survey.missing_values)
    except TargetError as error:
        raise SurveyError(str(error)) from error
