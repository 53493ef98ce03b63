"""Image sources by name: GalSim's real-galaxy catalogues, plain FITS images, arrays.

A bank stores names and paths; an image is read and prepared on first use. It holds no open files and is pickled to
workers without the images that it has read.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError, SurveyError, did_you_mean
from lensflow.lensing.source_image import ImageSource, prepare_image_source

# Maximum length of a source's name in manifests; longer ones are shortened uniquely (:func:`short_name`).
NAME_CHARACTERS = 32
# Prepared images that a bank keeps, about 0.4 MB each.
_KEPT = 256
# Larger files (catalogues of hundreds of MB) are identified by size and modification time instead of every byte.
_HASHED_BYTES = 100_000_000
_GALSIM_COLUMNS = ("IDENT", "GAL_FILENAME", "GAL_HDU", "PIXEL_SCALE")


@dataclass(frozen=True, eq=False)
class SourceEntry:
    """Where an image is, or the image itself.

    Attributes
    ----------
    image : Path or ndarray of shape (y, x)
        FITS file or pixels.
    pixel_scale_arcsec : float
        Pixel size.
    hdu : int
        HDU of the file.
    noise_variance : float
        Variance of a pixel from the catalogue; NaN if not given.
    magnitude : float
        The catalogue's; NaN if it has none.
    redshift : float
        The catalogue's, or of the image's header; NaN if there is none.
    """

    image: Path | NDArray[np.float64]
    pixel_scale_arcsec: float
    hdu: int = 0
    noise_variance: float = float("nan")
    magnitude: float = float("nan")
    redshift: float = float("nan")


class SourceBank:
    """Image sources by name, in a fixed order.

    Parameters
    ----------
    entries : mapping of str to SourceEntry
        The bank's sources, by names of any length; ``ids`` and manifests have :func:`short_name` of each.
    **prepare
        Settings of :func:`lensflow.lensing.source_image.prepare_image_source`, the same for all.
    """

    def __init__(self, entries: Mapping[str, SourceEntry], **prepare: Any) -> None:
        self.entries = {short_name(name): entry for name, entry in entries.items()}
        if len(self.entries) < len(entries):
            raise SurveyError(f"two of {len(entries)} image sources share a name once cut. Rename one of them.")
        self.prepare = prepare
        self._read: OrderedDict[str, ImageSource] = OrderedDict()

    @classmethod
    def from_galsim(cls, catalog: str | os.PathLike[str], **prepare: Any) -> SourceBank:
        """Open a real-galaxy catalogue of GalSim (COSMOS: ``real_galaxy_catalog_23.5.fits``).

        Parameters
        ----------
        catalog : path
            Table with the columns IDENT, GAL_FILENAME, GAL_HDU and PIXEL_SCALE; NOISE_VARIANCE, MAG and ZPHOT (in any
            case) are kept where present. Redshifts may be in the catalogue of fits beside it, as COSMOS has them:
            ``real_galaxy_catalog_23.5_fits.fits``. The image files are in the same folder.
        **prepare
            Settings of :func:`lensflow.lensing.prepare_image_source`, the same for all.

        Returns
        -------
        SourceBank
            One source per galaxy, named by its IDENT.

        Raises
        ------
        SurveyError
            If the catalogue cannot be read, lacks a column, names a galaxy twice, or an image file is not there.

        References
        ----------
        Mandelbaum et al. 2012, MNRAS 420, 1518; the format is GalSim's ``RealGalaxyCatalog``.
        """
        path = Path(catalog)
        try:
            table = fits.getdata(path, 1)
        except (OSError, IndexError, TypeError, ValueError) as error:
            raise SurveyError(
                f"{path}: cannot be read as a real-galaxy catalogue ({error}). Fetch it again."
            ) from error
        names = [] if table is None or table.dtype.names is None else list(table.dtype.names)
        missing = [name for name in _GALSIM_COLUMNS if name not in names]
        if missing:
            raise SurveyError(
                f"{path}: no column {', '.join(missing)}; is it the catalogue of images, not that of fits (_fits.fits)?"
            )
        redshifts = _redshifts(path, table, names)
        entries: dict[str, SourceEntry] = {}
        for row in table:
            source_id = str(row["IDENT"]).strip()
            if source_id in entries:
                raise SurveyError(f"{path}: galaxy {source_id} is listed twice")
            entries[source_id] = SourceEntry(
                path.parent / str(row["GAL_FILENAME"]).strip(),
                float(row["PIXEL_SCALE"]),
                int(row["GAL_HDU"]),
                float(row["NOISE_VARIANCE"]) if "NOISE_VARIANCE" in names else float("nan"),
                float(row["MAG"]) if "MAG" in names else float("nan"),
                redshifts.get(source_id, float("nan")),
            )
        absent = sorted({str(e.image) for e in entries.values() if isinstance(e.image, Path) and not e.image.is_file()})
        if absent:
            raise SurveyError(f"{path}: {len(absent)} image files are absent, first {absent[0]}. Put them beside it.")
        return cls(entries, **prepare)

    @classmethod
    def from_fits(
        cls, paths: Iterable[str | os.PathLike[str]], pixel_scale_arcsec: float | None = None, **prepare: Any
    ) -> SourceBank:
        """Use FITS images, one source each, named after their files without the suffix.

        Parameters
        ----------
        paths : iterable of paths
            Each with its image in the first HDU that has one; the header's REDSHIFT is kept where present.
        pixel_scale_arcsec : float, optional
            Pixel size, arcsec; by default each header's.
        **prepare
            Settings of :func:`lensflow.lensing.prepare_image_source`, the same for all.

        Returns
        -------
        SourceBank
            In the order of ``paths``.

        Raises
        ------
        SurveyError
            If a file cannot be read, holds no image, has no pixel scale, or shares its name with another.
        """
        entries: dict[str, SourceEntry] = {}
        for path in map(Path, paths):
            if path.stem in entries:
                raise SurveyError(f"{path}: there is a source {path.stem!r} already, {entries[path.stem].image}")
            try:
                with fits.open(path) as hdus:
                    hdu = next((i for i, h in enumerate(hdus) if h.is_image and h.header.get("NAXIS") == 2), None)
                    header = None if hdu is None else hdus[hdu].header.copy()
            except (OSError, ValueError) as error:
                raise SurveyError(f"{path}: cannot be read as FITS ({error}). Fetch it again.") from error
            if header is None or hdu is None:
                raise SurveyError(f"{path}: holds no two-dimensional image")
            scale = _header_scale(header, path) if pixel_scale_arcsec is None else pixel_scale_arcsec
            redshift = header.get("REDSHIFT")
            known = float(redshift) if isinstance(redshift, int | float) else float("nan")
            entries[path.stem] = SourceEntry(path, scale, hdu, redshift=known)
        return cls(entries, **prepare)

    @classmethod
    def from_arrays(
        cls,
        images: Mapping[str, ArrayLike],
        pixel_scale_arcsec: float,
        redshifts: Mapping[str, float] | None = None,
        **prepare: Any,
    ) -> SourceBank:
        """Use images from memory, for example in a notebook; :func:`lensflow.inject` takes the bank as ``sources``.

        Parameters
        ----------
        images : mapping of str to array_like, shape (y, x)
            Source's name -> flux per pixel, any unit.
        pixel_scale_arcsec : float
            Pixel size of all of them, arcsec.
        redshifts : mapping of str to float, optional
            Source's name -> redshift, for ``plan.sources.redshift``.
        **prepare
            Settings of :func:`lensflow.lensing.prepare_image_source`, the same for all.

        Returns
        -------
        SourceBank
            In the order of ``images``.

        Raises
        ------
        SurveyError
            If two names are the same once they are cut to 32 characters.
        """
        z = redshifts or {}
        entries = {
            k: SourceEntry(np.asarray(v, np.float64), pixel_scale_arcsec, redshift=float(z.get(k, np.nan)))
            for k, v in images.items()
        }
        return cls(entries, **prepare)

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the sources, in the order of the catalogue."""
        return tuple(self.entries)

    def content(self) -> list[tuple[str, int, float, float | None, str, float | None]]:
        """Content of the bank's fingerprint: name, HDU, scale, magnitude, digest of file or array, redshift of each."""
        paths = dict.fromkeys(e.image for e in self.entries.values() if isinstance(e.image, Path))
        files = {path: _content_of(path) for path in paths}
        return [
            (
                name,
                e.hdu,
                e.pixel_scale_arcsec,
                e.magnitude if np.isfinite(e.magnitude) else None,
                files[e.image] if isinstance(e.image, Path) else hashlib.sha256(e.image.tobytes()).hexdigest(),
                e.redshift if np.isfinite(e.redshift) else None,
            )
            for name, e in self.entries.items()
        ]

    def same_images(self, ids: Iterable[str]) -> dict[str, str]:
        """Map each source to the first one with the same pixels, also rotated by 90 degrees or mirrored.

        Reads every named image once; sources without a copy are left out.

        Parameters
        ----------
        ids : iterable of str
            Names of sources; "" is skipped.

        Returns
        -------
        dict of str to str
            Name -> the first name, in alphabetical order, of a source with the same pixels.
        """
        first: dict[str, str] = {}
        out = {}
        for name in sorted(set(map(short_name, ids)) - {""}):
            image = np.ascontiguousarray(_read_image(self.entries[name], name), dtype=np.float64)
            views = [np.rot90(v, k) for v in (image, image[:, ::-1]) for k in range(4)]
            digest = min(hashlib.sha256(f"{v.shape}".encode() + v.tobytes()).hexdigest() for v in views)
            known = first.setdefault(digest, name)
            if known != name:
                out[name] = known
        return out

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, source_id: object) -> bool:
        return isinstance(source_id, str) and short_name(source_id) in self.entries

    def get(self, source_id: str) -> ImageSource:
        """Read and prepare a source, or return it as it was.

        Parameters
        ----------
        source_id : str
            One of ``ids``, or the longer name that it is cut from.

        Returns
        -------
        ImageSource
            Kept for the next call.

        Raises
        ------
        ManifestError
            If the bank has no such source; the message names the nearest.
        SurveyError
            If its file is damaged; the message names file and HDU.
        RenderError
            If the image cannot be a source (see ``prepare_image_source``).
        """
        source_id = short_name(source_id)
        if source_id in self._read:
            return self._read[source_id]
        if source_id not in self.entries:
            raise ManifestError(
                f"no image source {source_id!r} among the bank's {len(self)}.{did_you_mean(str(source_id), self.ids)}"
            )
        entry = self.entries[source_id]
        image = _read_image(entry, source_id)
        source = prepare_image_source(image, entry.pixel_scale_arcsec, source_id=source_id, **self.prepare)
        self._read[source_id] = source
        if len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return source

    def __getstate__(self) -> dict[str, Any]:
        # Images already read are not pickled: a worker reads those its rows need.
        return {**self.__dict__, "_read": OrderedDict()}


def short_name(name: str) -> str:
    """Name of a source in manifests: unchanged up to 32 characters, else its beginning and a hash of the whole.

    ``hst_11359_20_acs_wfc_total_jb6o20_cutout_0`` becomes ``hst_11359_20_acs_wfc_to~`` and eight hexadecimal digits,
    the same in every run and different for every name.
    """
    name = str(name)
    if len(name) <= NAME_CHARACTERS:
        return name
    return f"{name[: NAME_CHARACTERS - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _redshifts(path: Path, table: Any, names: list[str]) -> dict[str, float]:
    """Redshift of each galaxy of a catalogue, from it or the catalogue of fits beside it; nothing where neither has."""
    beside = path.with_name(f"{path.stem}_fits{path.suffix}")
    column = next((n for n in names if n.upper() == "ZPHOT"), None)
    if column is None and beside.is_file():
        try:
            table = fits.getdata(beside, 1)
        except (OSError, IndexError, TypeError, ValueError) as error:
            raise SurveyError(f"{beside}: cannot be read as a catalogue of fits ({error}). Fetch it again.") from error
        names = [] if table is None or table.dtype.names is None else list(table.dtype.names)
        column = next((n for n in names if n.upper() == "ZPHOT"), None) if "IDENT" in names else None
    if column is None:
        return {}
    return {str(i).strip(): float(z) for i, z in zip(table["IDENT"], table[column], strict=True)}


def _read_image(entry: SourceEntry, source_id: str) -> NDArray[np.float64]:
    if not isinstance(entry.image, Path):
        return entry.image
    where = f"{entry.image}[{entry.hdu}] (source {source_id})"
    try:
        # Not memory-mapped: a truncated map kills the process instead of raising an error.
        with fits.open(entry.image, memmap=False) as hdus:
            data = hdus[entry.hdu].data
            image = None if data is None else np.array(data, dtype=np.float64)
    except (OSError, IndexError, TypeError, ValueError, KeyError) as error:
        raise SurveyError(f"{where}: FITS image missing or damaged ({error}). Fetch the file again.") from error
    if image is None or image.ndim != 2:
        raise SurveyError(f"{where}: no two-dimensional image there")
    return image


def _header_scale(header: fits.Header, path: Path) -> float:
    wcs = WCS(header, naxis=2)
    scales = proj_plane_pixel_scales(wcs) * 3600
    if not wcs.has_celestial or abs(scales[0] / scales[1] - 1) > 1e-3:
        raise SurveyError(f"{path}: its header has no pixel scale (or not a square one); pass pixel_scale_arcsec")
    return float(scales[0])


def _content_of(path: Path) -> str:
    about = path.stat()
    if about.st_size > _HASHED_BYTES:
        return f"{path.name} {about.st_size} {about.st_mtime_ns}"
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
