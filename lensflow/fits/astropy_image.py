"""The slower way to read FITS images: astropy's reader, for files that lensflow's does not fully handle."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from lensflow.fits.choice import Image
from lensflow.fits.header import FormatError
from lensflow.fits.known import MAX_PIXELS

# The HCOMPRESS encoder of cfitsio, which astropy calls without the GIL, keeps its state in variables of the process:
# two threads at once write garbled files. The filters of warnings are the process's too.
ONE_THREAD = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence astropy's warnings about repaired headers; the caller reports unusual files. One thread at a time."""
    with ONE_THREAD, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", AstropyWarning)
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


class AstropyImage:
    """One image of a file, opened by astropy.

    Parameters
    ----------
    source : str or bytes
        A local path, or the content of the file.
    image : Image
        As :func:`lensflow.fits.choice.choose` found it; that astropy sees the same is checked.

    Attributes
    ----------
    header : astropy.io.fits.Header
        Of the image, as astropy gives it (cards of the compression taken out).
    hdus : HDUList
        All of the file, for distortions that are tables of their own.

    Raises
    ------
    FormatError
        If astropy cannot read it, or sees another image there.
    """

    def __init__(self, source: str | bytes, image: Image) -> None:
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            raise FormatError(f"its image has {image.shape[1]} x {image.shape[0]} pixels")
        self.shape = image.shape
        with quiet():
            try:
                # Not memory-mapped: a truncated map kills the process instead of raising an error.
                self.hdus = fits.open(source if isinstance(source, str) else BytesIO(source), memmap=False)
            except Exception as error:  # any error of astropy on a garbled file
                raise FormatError(_said_by(error)) from error
            try:
                self._hdu = self.hdus[image.hdu]
                self.header: fits.Header = self._hdu.header
                at, shape = self._hdu.fileinfo()["hdrLoc"], tuple(self._hdu.shape)
            except Exception as error:  # the same
                self.hdus.close()
                raise FormatError(_said_by(error)) from error
        if at != image.header.start or shape[-2:] != image.shape or np.prod(shape) != image.shape[0] * image.shape[1]:
            self.hdus.close()
            raise FormatError(f"astropy sees an image of shape {shape} at byte {at} where {image} is meant")

    def pixels(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Pixels ``[y0:y1, x0:x1]`` in the machine's byte order; undefined ones are NaN.

        Raises
        ------
        FormatError
            If astropy cannot read them.
        """
        with quiet():
            try:
                at = (0,) * (len(self._hdu.shape) - 2) + (slice(y0, y1), slice(x0, x1))
                part = np.asarray(self._hdu.section[at])
            except Exception as error:  # any error of a codec on garbage
                raise FormatError(_said_by(error)) from error
        if part.shape != (y1 - y0, x1 - x0) or part.dtype.kind not in "iuf":
            raise FormatError(f"astropy gives {part.dtype} of shape {part.shape}")
        return part.astype(part.dtype.newbyteorder("="), copy=False)

    def windows(self, corners: NDArray[np.int64], size: int, fill: float) -> tuple[NDArray[Any], dict[int, str]]:
        """Read ``size`` x ``size`` pixels from each corner (y, x); also, by window, why one cannot be read."""
        parts, broken = [], {}
        for k, (y, x) in enumerate(corners.tolist()):
            y0, y1, x0, x1 = max(y, 0), min(y + size, self.shape[0]), max(x, 0), min(x + size, self.shape[1])
            if y1 <= y0 or x1 <= x0:
                continue
            try:
                parts.append((k, y0 - y, x0 - x, self.pixels(y0, y1, x0, x1)))
            except FormatError as error:
                broken[k] = str(error)
        kinds = [part.dtype for *_, part in parts]
        dtype = np.result_type(*kinds) if kinds else np.dtype(np.float32)
        out = np.full((len(corners), size, size), fill, dtype=dtype)
        for k, y, x, part in parts:
            out[k, y : y + part.shape[0], x : x + part.shape[1]] = part
        return out, broken

    def close(self) -> None:
        """Close the file."""
        self.hdus.close()


def _said_by(error: Exception) -> str:
    return f"astropy: {type(error).__name__}: {str(error)[:200]}"
