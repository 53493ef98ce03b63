"""Sky to pixels and back: plain tangent projections from their parameters, all others with astropy.wcs.

A tangent projection with a CD matrix, or PC with CDELT, in ICRS or FK5 J2000 is what survey coadds have; it is set up
from its few numbers. Any other card of a WCS sends the whole header to astropy.wcs, with all distortions. What astropy
would not read right either, and pixels that are not square, are refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import FK5, ICRS, BaseCoordinateFrame, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area, wcs_to_celestial_frame
from numpy.typing import ArrayLike, NDArray

from lensflow.fits.astropy_image import quiet
from lensflow.fits.header import FormatError, Header
from lensflow.fits.known import contradiction

# One pixel scale is used for both axes and the whole image, to this relative accuracy.
SQUARE_TOLERANCE = 0.02
# Grids that differ by less, in pixels, are one.
SAME_PIX = 0.01
_LARGEST_PIXEL_ARCSEC = 60.0
_ARCSEC = np.rad2deg(1) * 3600

# Every card that wcslib or astropy takes a WCS from (FITS 4.0, section 8; SIP; lookup tables; SCAMP and IRAF).
_BEARING = re.compile(
    r"(WCSAXES|CTYPE\d+|CUNIT\d+|CRVAL\d+|CRPIX\d+|CDELT\d+|CROTA\d+|CD\d+_\d+|PC\d+_\d+|CD\d{6}|PC\d{6}|PV\d+_\d+"
    r"|PS\d+_\d+|PROJP\d+|LONPOLE|LATPOLE|RADESYS|RADECSYS|EQUINOX|EPOCH|VELREF"
    r"|CPDIS\d+|CQDIS\d+|DP\d+|DQ\d+|CPERR\d+|CQERR\d+|DVERR|AXISCORR|D2IM\w*|WAT\d+_\d+"
    r"|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)|TCTYP\d+|DP\d+\..*|DQ\d+\..*|DSUN_OBS|A_RADIUS|B_RADIUS|C_RADIUS)\Z"
)
_ALTERNATE = re.compile(r"(WCSAXES|CTYPE\d+|CRVAL\d+|CRPIX\d+|CDELT\d+|CD\d+_\d+|PC\d+_\d+|PV\d+_\d+)[A-Z]\Z")
_TANGENT = re.compile(
    r"(WCSAXES|CTYPE[12]|CUNIT[12]|CRVAL[12]|CRPIX[12]|CDELT[12]|CD[12]_[12]|PC[12]_[12]|LONPOLE|LATPOLE|RADESYS|EQUINOX)\Z"
)
_NEEDED = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
_TABLES = re.compile(r"(CPDIS\d+|CQDIS\d+|D2IM\w*)\Z")
# Orders beyond these are no polynomial that anybody fitted; astropy would allocate their square.
_LARGEST = {"WCSAXES": 9, "A_ORDER": 9, "B_ORDER": 9, "AP_ORDER": 9, "BP_ORDER": 9}


@dataclass(frozen=True)
class SkyGrid:
    """Position of an image's pixels on the sky.

    Attributes
    ----------
    wcs : WCS
        Of two axes, distortions included.
    frame : BaseCoordinateFrame or None
        Of the image's own coordinates; None for ICRS.
    shape : (int, int)
        Pixels (y, x) of the image.
    cards : mapping
        The cards that it was made from, as text.
    through_astropy : str
        The card that lensflow does not read itself; "" for a plain tangent projection.
    pixel_scale_arcsec : float
        Square root of a pixel's area, arcsec.
    """

    wcs: WCS
    frame: BaseCoordinateFrame | None
    shape: tuple[int, int]
    cards: dict[str, str]
    through_astropy: str
    pixel_scale_arcsec: float = 0.0

    def to_pixel(self, ra_deg: ArrayLike, dec_deg: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Zero-based pixel position (x, y) of ICRS positions; NaN where the projection has no answer."""
        sky = [np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (ra_deg, dec_deg)]
        x, y = np.full((2, sky[0].size), np.nan)
        known = np.isfinite(sky[0]) & (np.abs(sky[1]) <= 90)
        if not known.any():
            return x, y
        lon, lat = sky[0][known], sky[1][known]
        if self.frame is not None:
            there = SkyCoord(lon, lat, unit="deg", frame=ICRS()).transform_to(self.frame).spherical
            lon, lat = there.lon.deg, there.lat.deg
        world = np.empty((lon.size, 2))
        world[:, self.wcs.wcs.lng], world[:, self.wcs.wcs.lat] = lon, lat
        x[known], y[known] = self._inverse(world).T
        return x, y

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """ICRS position (RA, Dec) in degrees of zero-based pixel positions."""
        pixel = np.stack([np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (x, y)], axis=1)
        world = self.wcs.all_pix2world(pixel, 0)
        lon, lat = world[:, self.wcs.wcs.lng], world[:, self.wcs.wcs.lat]
        if self.frame is not None:
            there = SkyCoord(lon, lat, unit="deg", frame=self.frame).icrs
            lon, lat = there.ra.deg, there.dec.deg
        return np.asarray(lon), np.asarray(lat)

    def axes_arcsec(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Steps on the sky of a step of one pixel, at zero-based pixel positions.

        Returns
        -------
        ndarray, shape (n, 2, 2)
            ``(east, north) = out @ (dx, dy)``, arcsec: the matrix that position angles on the image follow from,
            distortions and the image's own frame included.
        """
        x, y = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (x, y))
        ra, dec = (np.deg2rad(v) for v in self.to_sky(x, y))
        east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
        north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
        steps = np.stack([self._unit(x + 0.5, y) - self._unit(x - 0.5, y),
                          self._unit(x, y + 0.5) - self._unit(x, y - 0.5)], axis=-1)  # fmt: skip
        return np.stack([np.einsum("ni,nij->nj", e, steps) for e in (east, north)], axis=1) * _ARCSEC

    def same_as(self, other: SkyGrid) -> bool:
        """Whether two images share their pixels' places on the sky, to SAME_PIX."""
        if self.cards == other.cards and not any(_TABLES.match(key) for key in self.cards):
            return True
        x, y = _mesh(self.shape)
        found = np.stack(other.to_pixel(*self.to_sky(x, y)))
        return bool((np.abs(found - np.stack([x, y])) < SAME_PIX).all())  # False for NaN

    def _unit(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        ra, dec = (np.deg2rad(v) for v in self.to_sky(x, y))
        return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)

    def _inverse(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels of positions in the image's own coordinates, those without an answer NaN."""
        distorted = bool(self.wcs.has_distortion)
        try:
            if not distorted:
                return np.asarray(self.wcs.wcs_world2pix(world, 0))
            pixel = np.asarray(self.wcs.all_world2pix(world, 0, tolerance=1e-5, maxiter=50, quiet=True))
        except Exception:  # one position without an answer fails all of them
            if len(world) == 1:
                return np.full((1, 2), np.nan)
            return np.concatenate([self._inverse(world[k : k + 1]) for k in range(len(world))])
        # The iteration also returns values that did not converge.
        with np.errstate(all="ignore"):
            miss = np.abs(self.wcs.all_pix2world(pixel, 0) - world)
        lng, lat = self.wcs.wcs.lng, self.wcs.wcs.lat
        miss[:, lng] = np.abs((miss[:, lng] + 180) % 360 - 180) * np.cos(np.deg2rad(world[:, lat]))
        pixel[~(miss < SAME_PIX * np.sqrt(proj_plane_pixel_area(self.wcs))).all(axis=1)] = np.nan
        return pixel


def grid_of(header: Header, shape: tuple[int, int], hdus: fits.HDUList | None = None) -> SkyGrid:
    """Read the WCS of an image.

    Parameters
    ----------
    header : Header
        Of the image's HDU.
    shape : (int, int)
        Pixels (y, x).
    hdus : HDUList, optional
        The file, for distortions that are tables (:func:`needs_tables`).

    Raises
    ------
    FormatError
        If there is no WCS of the sky, astropy cannot read it, or its pixels are not square; the message says which.
    """
    cards = wcs_cards(header)
    for key in cards:
        if key in header.repeated and (why := contradiction(header, key)):
            raise FormatError(f"WCS: {why}")
        try:
            header.get(key)
        except FormatError as error:
            raise FormatError(f"WCS: {error}") from error
    lacking = [key for key in _NEEDED if key not in header.cards]
    if lacking:
        other = next((key for key in header.cards if _ALTERNATE.match(key)), "")
        raise FormatError(f"no WCS: {lacking[0]} is missing{f' (only an alternate WCS, {other})' if other else ''}")
    why = _beyond_a_tangent(header, cards)
    grid = _by_numbers(header, shape, cards) if not why else _by_astropy(header, shape, cards, why, hdus)
    return _checked(grid)


def wcs_cards(header: Header) -> dict[str, str]:
    """Cards of a header that affect its pixels' positions on the sky: values without comments, by keyword."""
    out = {}
    for key in (*header.cards, *sorted(header.odd)):
        if _BEARING.match(key):
            try:
                out[key] = repr(header.get(key))
            except FormatError:
                out[key] = header.cards[key]
    return out


def needs_tables(header: Header) -> bool:
    """Whether the WCS has distortions stored as separate images in the file."""
    return any(_TABLES.match(key) for key in (*header.cards, *header.odd))


def _beyond_a_tangent(header: Header, cards: dict[str, str]) -> str:
    """Name the part of a WCS that is not a plain tangent projection; "" if there is none."""
    for key in cards:
        if not _TANGENT.match(key):
            return key
    if unusual := header.unusual(cards):
        return unusual
    types = header.get("CTYPE1"), header.get("CTYPE2")
    if types != ("RA---TAN", "DEC--TAN"):
        return f"CTYPE {', '.join(map(str, types))}"
    numbers = [key for key in cards if not key.startswith(("CTYPE", "CUNIT", "RADESYS"))]
    for key in numbers:
        value = header.get(key)
        if isinstance(value, bool | str) or not abs(value) < 1e6:
            return f"{key} = {value!r}"
    if header.get("CUNIT1", "deg") != "deg" or header.get("CUNIT2", "deg") != "deg":
        return "CUNIT other than deg"
    frame = header.get("RADESYS", ""), header.get("EQUINOX", 2000.0)
    if frame not in (("ICRS", 2000.0), ("FK5", 2000.0)) and not (frame[0] == "" and "EQUINOX" not in cards):
        return f"RADESYS {frame[0]!r}, EQUINOX {frame[1]}"
    matrix = {key[:2] for key in cards if key[2:] in ("1_1", "1_2", "2_1", "2_2")}
    if "CD" in matrix and ("PC" in matrix or "CDELT1" in cards or "CDELT2" in cards):
        return "CD beside PC or CDELT"
    if header.get("LONPOLE", 180) != 180 or header.get("WCSAXES", 2) != 2 or not abs(header.get("LATPOLE", 0)) <= 90:
        return "LONPOLE, LATPOLE or WCSAXES"
    return ""


def _by_numbers(header: Header, shape: tuple[int, int], cards: dict[str, str]) -> SkyGrid:
    """Set the WCS up from numbers, not from the header's text: astropy would parse each of its cards."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [header.number(f"CRVAL{i}") for i in (1, 2)]
    wcs.wcs.crpix = [header.number(f"CRPIX{i}") for i in (1, 2)]
    if any(key.startswith(("CD1_", "CD2_")) for key in cards):
        wcs.wcs.cd = [[header.number(f"CD{i}_{j}", 0) for j in (1, 2)] for i in (1, 2)]
    else:
        wcs.wcs.cdelt = [header.number(f"CDELT{i}", 1) for i in (1, 2)]
        wcs.wcs.pc = [[header.number(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    try:
        wcs.wcs.set()
    except Exception as error:  # wcslib has a dozen ways to refuse a WCS
        raise FormatError(f"WCS: {' '.join(str(error).split())}") from error
    return SkyGrid(wcs, FK5(equinox="J2000") if header.get("RADESYS") == "FK5" else None, shape, cards, "")


def _by_astropy(
    header: Header, shape: tuple[int, int], cards: dict[str, str], why: str, hdus: fits.HDUList | None
) -> SkyGrid:
    _refuse_what_astropy_guesses(header, cards)
    if needs_tables(header) and hdus is None:
        raise FormatError("WCS: its distortions are tables of their own, which are not at hand")
    with quiet():
        try:
            whole = WCS(fits.Header.fromstring(header.printable), fobj=hdus)
            wcs = _of_two_axes(whole)
            frame: Any = wcs_to_celestial_frame(wcs)
        except FormatError:
            raise
        except Exception as error:  # wcslib has a dozen ways to refuse a WCS
            what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise FormatError(f"WCS: astropy cannot read it ({what})") from error
        if not hasattr(SkyCoord(0, 0, unit="deg", frame=frame), "icrs") or type(frame).__name__ == "ITRS":
            raise FormatError(f"WCS: its frame {type(frame).__name__} is none of the sky")
        _refuse_two_readings_of_pv(header, wcs)
    return SkyGrid(wcs, None if isinstance(frame, ICRS) else frame, shape, cards, why)


def _of_two_axes(wcs: WCS) -> WCS:
    """Keep the first two axes, in their order; those beyond have one pixel."""
    if not wcs.has_celestial:
        raise FormatError(f"WCS: not of the sky (CTYPE {', '.join(wcs.wcs.ctype)})")
    if {wcs.wcs.lng, wcs.wcs.lat} != {0, 1}:
        raise FormatError(f"WCS: its first two axes are not those of the sky (CTYPE {', '.join(wcs.wcs.ctype)})")
    return wcs if wcs.naxis == 2 else wcs.sub([1, 2])


def _refuse_what_astropy_guesses(header: Header, cards: dict[str, str]) -> None:
    for key in cards:
        if key in header.odd and not key.startswith(("DP", "DQ", "D2IM")):
            raise FormatError(f"WCS: the card {key} is not in the form KEYWORD = value")
        number = header.string(key)
        if (key.startswith("WCSAXES") or key.endswith("_ORDER")) and not (number.isdigit() and int(number) <= 9):
            raise FormatError(f"WCS: {key} is {number or 'no number'}, at most 9 is possible")
        if key.startswith(("DP", "DQ")) and not needs_tables(header):
            raise FormatError(f"WCS: a distortion of its own kind ({key})")
    for axis in (1, 2):
        kind = header.string(f"CTYPE{axis}").upper()
        if kind.endswith(("-TNX", "-ZPX")):
            raise FormatError(f"WCS: CTYPE{axis} {kind} of IRAF, whose polynomials (WAT cards) astropy does not apply")
        if kind.endswith("-TAB"):
            raise FormatError(f"WCS: CTYPE{axis} {kind} takes positions from a table")
    if any(re.match(r"WAT\d+_\d+\Z", key) and "cor" in header.string(key) for key in cards):
        raise FormatError("WCS: polynomials of IRAF (WAT cards), which astropy does not apply")
    if "PROJP1" in cards or any(key.startswith("PROJP") for key in cards):
        raise FormatError("WCS: PROJP cards, which astropy does not apply")
    if not any(key.startswith(("CD", "PC")) for key in cards):
        raise FormatError("WCS: no CD matrix and no CDELT, so there is no pixel scale")


def _refuse_two_readings_of_pv(header: Header, wcs: WCS) -> None:
    """PV cards on a TAN are distortions to SCAMP and other parameters to the standard: let them agree, or refuse."""
    ends = {header.string(f"CTYPE{i}")[4:].strip("-").upper() for i in (1, 2)}
    if ends != {"TAN"} or not any(re.match(r"PV\d+_\d+\Z", key) for key in header.cards):
        return
    pixel = np.stack(_mesh((200, 200)), axis=1) + wcs.wcs.crpix - 100
    try:
        cards = fits.Header.fromstring(header.printable)
        for i in (1, 2):
            cards[f"CTYPE{i}"] = header.string(f"CTYPE{i}").replace("TAN", "TPV")
        scamp = _of_two_axes(WCS(cards)).all_pix2world(pixel, 0)
        agree = np.allclose(scamp, wcs.all_pix2world(pixel, 0), rtol=0, atol=1e-8)
    except Exception:  # wcslib has a dozen ways to refuse a WCS
        agree = False
    if not agree:
        raise FormatError("WCS: PV cards on a TAN projection have two readings that differ; CTYPE RA---TPV says which")


def _mesh(shape: tuple[int, int], n: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel positions (x, y) spread over an image, its corners among them."""
    y, x = np.meshgrid(*(np.linspace(0, length - 1, n) for length in shape), indexing="ij")
    return x.ravel(), y.ravel()


def _checked(grid: SkyGrid) -> SkyGrid:
    """Measure the pixels all over the image; refuse those that are not square, and a WCS without inverse."""
    x, y = _mesh(grid.shape)
    centre = np.array([(n - 1) / 2 for n in grid.shape[::-1]])
    try:
        with np.errstate(all="ignore"):
            axes = grid.axes_arcsec(np.append(x, centre[0]), np.append(y, centre[1]))
            sides = np.linalg.svd(axes, compute_uv=False)
            back = np.stack(grid.to_pixel(*grid.to_sky(x, y))) - np.stack([x, y])
    except Exception as error:  # positions that are not on the sky
        raise FormatError(f"WCS: its pixels are not on the sky ({error})") from error
    if not np.isfinite(axes).all():
        raise FormatError("WCS: its pixels are not all on the sky")
    area = np.sqrt(sides.prod(axis=1))
    if not (area.min() > 1e-4 and area.max() < _LARGEST_PIXEL_ARCSEC):
        raise FormatError(f"WCS: pixels of {area[-1]:.3g} arcsec; is there a pixel scale in the header?")
    worst = int(np.argmax(sides[:, 0] / sides[:, 1]))
    if sides[worst, 0] / sides[worst, 1] > 1 + SQUARE_TOLERANCE:
        long, short = sides[worst]
        raise FormatError(
            f"WCS: its pixels are not square, {long:.4g} x {short:.4g} arcsec{' at its edge' if worst < x.size else ''}"
            f"{f' ({grid.through_astropy})' if grid.through_astropy else ''}; resample the image to square pixels"
        )
    if area.max() / area.min() > 1 + SQUARE_TOLERANCE:
        raise FormatError(
            f"WCS: its pixel scale runs from {area.min():.4g} to {area.max():.4g} arcsec over the image; "
            "resample the image to one pixel scale"
        )
    if not (np.abs(back) < SAME_PIX).all():
        raise FormatError(f"WCS: it cannot be inverted all over the image ({grid.through_astropy})")
    plain = float(np.sqrt(proj_plane_pixel_area(grid.wcs)) * 3600)
    scale = plain if abs(plain / area[-1] - 1) < 1e-6 else float(area[-1])
    return SkyGrid(grid.wcs, grid.frame, grid.shape, grid.cards, grid.through_astropy, scale)
