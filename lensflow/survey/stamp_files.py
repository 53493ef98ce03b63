"""Files of bare stamps: one cube per band, single stamps, cut-outs whose planes are bands, PSF images of stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fsspec
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from lensflow.config import StampsConfig, SurveyConfig
from lensflow.errors import SurveyError
from lensflow.fits.astropy_image import ONE_THREAD
from lensflow.fits.reach import options
from lensflow.survey.image_units import UnitError, image_factor, zero_point_of
from lensflow.survey.psf_sampling import wcs_scale_arcsec

# A WCS that states another pixel scale than the config, by more than this, is refused.
_SCALE_TOLERANCE = 0.02
_Image = tuple[NDArray[np.float32], fits.Header]


def read_cubes(stamps: StampsConfig, bands: Sequence[str], survey: SurveyConfig) -> dict[str, NDArray[np.float32]]:
    """Read the stamps of every band, in nanomaggies: see :func:`read_cube`.

    Raises
    ------
    SurveyError
        Naming the file and what is wrong.
    """
    cubes = {}
    for path in dict.fromkeys(stamps.files[band] for band in bands):
        image = read_image(path)
        shared = [b for b in bands if stamps.files[b] == path]
        for band in shared:
            cube, header, planes = band_of(*image, path, band)
            if len(shared) > 1 and not planes:
                raise SurveyError(
                    f"survey.stamps.files: {path} is given for {', '.join(shared)}, and no card BANDS says that its "
                    "planes are bands. Give each band its own file"
                )
            try:
                factor = image_factor(header.get, zero_point_of(survey.zero_point, band))
                scale = wcs_scale_arcsec(header)
            except (UnitError, ValueError) as error:
                raise SurveyError(f"stamps file {path}: {error}") from error
            if scale is not None and abs(scale / stamps.pixel_scale_arcsec - 1) > _SCALE_TOLERANCE:
                raise SurveyError(
                    f"stamps file {path}: its WCS has pixels of {scale:.4g} arcsec, survey.stamps.pixel_scale_arcsec "
                    f"says {stamps.pixel_scale_arcsec:g}. Correct the setting"
                )
            cubes[band] = cube * np.float32(factor)
    return {band: cubes[band] for band in bands}


def read_cube(path: str, band: str) -> tuple[NDArray[np.float32], fits.Header, bool]:
    """Read the stamps of one band from a file: :func:`band_of` what :func:`read_image` reads."""
    return band_of(*read_image(path), path, band)


def read_image(path: str) -> _Image:
    """Read the image of a file of stamps, and its header with the cards of the file's first HDU behind its own.

    Raises
    ------
    SurveyError
        If the file is missing, cannot be read, or holds no stamps.
    """
    return _first_image(path, "stamps file", "survey.stamps.files")


def band_of(
    cube: NDArray[np.float32], header: fits.Header, path: str, band: str
) -> tuple[NDArray[np.float32], fits.Header, bool]:
    """Stamps of one band of a file: a cube (host, y, x), or one stamp (y, x), which is one host.

    A cube whose header names bands (``BANDS = grz`` or ``BAND0``, ``BAND1``, ...) is one host in several bands, as the
    Legacy Surveys' viewer gives it: the plane of ``band`` is taken.

    Returns
    -------
    cube : ndarray of float32, shape (host, y, x)
    header : Header
        Of the image, with the cards of the file's first HDU behind its own.
    planes : bool
        Whether the file's planes are bands.

    Raises
    ------
    SurveyError
        If the file lacks the band.
    """
    planes = plane_bands(header)
    if planes and cube.ndim == 3:
        if band not in planes or len(planes) != len(cube):
            raise SurveyError(
                f"stamps file {path}: its {len(cube)} planes are the bands {', '.join(planes)} (BANDS), and {band} is "
                "not one of them"
            )
        return cube[[planes.index(band)]], header, True
    if planes and planes != [band]:
        raise SurveyError(f"stamps file {path}: its header names the band {', '.join(planes)}, not {band}")
    return (cube[None] if cube.ndim == 2 else cube), header, bool(planes)


def plane_bands(header: fits.Header) -> list[str]:
    """Bands of a cube's planes from its header; empty if not stated."""
    numbered: list[str] = []
    while f"BAND{len(numbered)}" in header:
        numbered.append(str(header[f"BAND{len(numbered)}"]).strip())
    if numbered:
        return numbered
    text = str(header.get("BANDS", "")).strip()
    return text.replace(",", " ").split() if "," in text or " " in text else list(text)


def read_psf_cube(path: str) -> tuple[NDArray[np.float32], fits.Header]:
    """Read PSF images of stamps: one (y, x), or one per host (host, y, x).

    Raises
    ------
    SurveyError
    """
    return _first_image(path, "PSF file of stamps", "survey.stamps.psf_files")


def _first_image(path: str, what: str, setting: str) -> tuple[NDArray[Any], fits.Header]:
    """First HDU with two or three axes, as float32, and its header."""
    try:
        with ONE_THREAD, fsspec.open(path, "rb", **options(path)) as file, fits.open(file, memmap=False) as hdus:
            shapes = [tuple(hdu.shape) if hdu.is_image else () for hdu in hdus]
            first = next((i for i, shape in enumerate(shapes) if len(shape) in (2, 3)), None)
            if first is not None:
                header = hdus[0].header.copy()
                header.update(hdus[first].header)
                return np.array(hdus[first].data, dtype=np.float32), header
    except FileNotFoundError as error:
        raise SurveyError(f"no such {what}: {path}. Check {setting}") from error
    except Exception as error:  # astropy's errors on garbage vary; the result is the same
        raise SurveyError(f"{what} cannot be read: {path} ({type(error).__name__}: {error})") from error
    raise SurveyError(f"{what} holds no stamp (y, x) and no cube (host, y, x): {path} has HDUs of shapes {shapes}")
