"""Cut stamps out of survey bricks: one block of hosts in, one dataset out, a row for every host.

Reading fills a :class:`~lensflow.survey.assess.RawBlock` with pixels and facts, host by host;
:mod:`lensflow.survey.assess` then judges the block, for hosts from bricks and from stamps alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, schema
from lensflow.config import SurveyConfig
from lensflow.errors import SurveyError, TargetError
from lensflow.fits.header import FormatError
from lensflow.schema import Reason
from lensflow.survey import masks
from lensflow.survey.assess import RawBlock, assess
from lensflow.survey.bricks import SPENT, Brick, UnreadableFile, open_brick
from lensflow.survey.image_units import UnitError, image_factor, weight_factor, zero_point_of
from lensflow.survey.layout import BAND_PRODUCTS, PRODUCTS, PSF_IMAGE, Layout
from lensflow.survey.mask_planes import plane_bits, renumbered
from lensflow.survey.messages import Messages, explain_no_psf, explain_odd_psf, explain_unknown_bits
from lensflow.survey.plausible import impossible_pixels
from lensflow.survey.psf_images import gaussian_equivalent_fwhm_pix, read_psf_images, widths_disagree

SCALE_TOLERANCE = 1e-3
_FAR_PIX = 1e7  # a position further off than this many pixels is not on any brick
# A brick's PSF map is sampled for its median on a grid of this many pixels per side.
_PSF_GRID = 3
_NPRIMARY = 1 << masks.MaskBit.NPRIMARY
_IDENTITY = ("host_id", "ra_deg", "dec_deg", "brickname")


def cut_block(
    targets: xr.Dataset,
    layout: Layout,
    bands: Sequence[str],
    survey: SurveyConfig,
    psf_band_ratio: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Cut one stamp per host.

    Parameters
    ----------
    targets : Dataset
        Dim host: host_id, ra_deg, dec_deg, brickname; optionally ``catalogue_psfsize_arcsec`` (host, band), used
        where the map has no PSF size. Other columns that the cutouts know (E(B-V), depths) are carried along.
    layout : Layout
        Where the files are.
    bands : sequence of str
        In the order of the result.
    survey : SurveyConfig
        Layout of the files excepted, all settings of the cutting are used.
    psf_band_ratio : mapping, optional
        PSF size of a band over that of r as measured in this run; the theory stands in for bands not in it.

    Returns
    -------
    Dataset
        Every variable of ``schema.CUTOUTS`` but cell and split, and the four columns above; the hosts are
        those of ``targets`` in the same order, whatever happened to them. Where the target's position in the
        brick is unknown, x_center and y_center are NaN and the status is FAILED. attrs: pixel_scale_arcsec
        (NaN if no brick could be read), seconds_io, n_files_opened, n_through_astropy (files that lensflow's own reader
        does not fully handle, read by astropy), bytes_read (moved from disk or network), bytes_whole (size of the files
        that were opened), messages (list of str).

    Raises
    ------
    TargetError
        If targets lacks a column.
    SurveyError
        If the bricks differ in pixel scale by more than 0.1 %: one block has one scale.
    TransportError
        If the survey cannot be reached.
    """
    block = HostBlock(targets, bands, survey)
    for brickname in block.bricknames:
        with open_brick(layout, brickname, block.raw.bands, PRODUCTS, survey.access) as brick:
            block.read(brick)
    return block.result(layout, psf_band_ratio)


class HostBlock:
    """Hosts of a block, read brick by brick and then assessed.

    Parameters
    ----------
    targets, bands, survey
        As for :func:`cut_block`, with its errors.

    Attributes
    ----------
    names : ndarray of str, shape (host,)
    bricknames : list of str
        Bricks of the hosts, in the order of their first hosts.
    raw : RawBlock
    messages : Messages
    spent : dict
        What reading took, as in the attrs of the result.
    scales : dict
        Brick -> pixel scale, arcsec.
    """

    def __init__(self, targets: xr.Dataset, bands: Sequence[str], survey: SurveyConfig) -> None:
        missing = [name for name in _IDENTITY if name not in targets]
        if missing:
            raise TargetError(f"targets lack {', '.join(missing)}; needed: {', '.join(_IDENTITY)}. See survey.columns")
        self._targets, self._survey = targets, survey
        self._table = {name: np.asarray(targets[name].values) for name in _IDENTITY}
        self.names, self._bricks = (self._table[n].astype(str) for n in ("host_id", "brickname"))
        self.bricknames = list(dict.fromkeys(self._bricks.tolist()))
        psf_size = survey.psf_image_size if survey.psf_images else 0
        self.raw = RawBlock.empty(self.names.size, bands, survey.stamp_size, psf_size)
        self.raw.psf_catalogue = _catalogue_psfsize(targets, self.raw.bands)
        self.messages = Messages()
        self.spent: dict[str, float] = dict.fromkeys(SPENT, 0)
        self.scales: dict[str, float] = {}

    def read(self, brick: Brick) -> int:
        """Read the hosts of one brick; return their number."""
        rows = np.flatnonzero(self._bricks == brick.name)
        reader = _Reader(self.raw, self.names, self.messages, self._survey)
        reader.read_brick(brick, rows, self._table["ra_deg"][rows], self._table["dec_deg"][rows])
        if brick.wcs is not None:
            self.scales[brick.name] = brick.wcs.pixel_scale_arcsec
        for key, number in brick.take_spent().items():
            self.spent[key] += number
        return rows.size

    def result(self, layout: Layout, psf_band_ratio: Mapping[str, float] | None = None) -> xr.Dataset:
        """Assess what was read; as :func:`cut_block`."""
        # In the order of the hosts, whatever order bricks were read in.
        scale = _one_scale({b: self.scales[b] for b in self.bricknames if b in self.scales})
        raw, survey, names = self.raw, self._survey, self.names
        self.messages.sort(names)
        arrays = assess(raw, survey, psf_band_ratio, scale)
        explain_odd_psf(self.messages, raw, arrays["band_reasons"], names)
        if not survey.is_foreign:
            explain_unknown_bits(self.messages, raw.maskbits, names)
        explain_no_psf(self.messages, arrays["band_reasons"], raw.bands, layout, self._bricks, names)
        out = schema.dataset("cutouts", {**self._table, **arrays}, {"band": list(raw.bands)})
        targets, known = self._targets, {v.name for v in schema.STORES["cutouts"]}
        carried = {n: _in_bands(targets[n], raw.bands) for n in targets.data_vars if n in known and n not in out}
        attrs = {"pixel_scale_arcsec": scale, **self.spent, "messages": self.messages.lines()}
        return out.assign(carried).assign_attrs(attrs)


def fetch_stamps(brick: Brick, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64], survey: SurveyConfig) -> None:
    """Fetch from a brick's files, all at once, what its hosts need."""
    if brick.wcs is None:
        return
    place = _Place.of(brick, *brick.wcs.to_pixel(ra_deg, dec_deg), survey.stamp_size)
    if place.inside.any():
        _fetch(brick, place.corners[place.inside], place.pixels[place.inside], survey.stamp_size)
        if survey.psf_images:
            with suppress(UnreadableFile):  # the reader says so
                brick.content(PSF_IMAGE)


def _fetch(brick: Brick, corners: NDArray[np.int64], pixels: NDArray[np.int64], size: int) -> None:
    at = {"image": (corners, size), "invvar": (corners, size), "nexp": (pixels, 1)}
    at["psfsize"] = (np.concatenate([pixels, _grid_pixels(brick)]), 1)
    brick.fetch({(p, band): at[p] for p in BAND_PRODUCTS for band in brick.bands}
                | {("maskbits", b): (corners, size) for b in brick.layout.mask_bands(brick.bands)})  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """Where stamps are on a brick.

    Attributes
    ----------
    on_sky : ndarray of bool, shape (host,)
        Whether the position is near the brick at all.
    position : ndarray, shape (host, 2)
        Of the targets, (y, x).
    corners, pixels : ndarray of int64, shape (host, 2)
        Of the stamps, and the targets' own.
    inside : ndarray of bool, shape (host,)
        Whether the target is on the brick.
    """

    on_sky: NDArray[np.bool_]
    position: NDArray[np.float64]
    corners: NDArray[np.int64]
    pixels: NDArray[np.int64]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, brick: Brick, x: NDArray[np.float64], y: NDArray[np.float64], size: int) -> _Place:
        """Stamps of ``size`` pixels around positions (x, y)."""
        assert brick.shape is not None
        on_sky = np.hypot(x, y) < _FAR_PIX  # False for NaN
        position = np.stack([np.where(on_sky, y, -1e6), np.where(on_sky, x, -1e6)], axis=1)
        pixels = np.floor(position + 0.5).astype(np.int64)
        inside = np.asarray(((pixels >= 0) & (pixels < np.array(brick.shape))).all(axis=1))
        return cls(on_sky, position, geometry.stamp_corner(position, size), pixels, inside)


@dataclass
class _Reader:
    """Fills the rows of a block from bricks; ``names`` are the hosts' names in the block's order."""

    raw: RawBlock
    names: NDArray[np.str_]
    messages: Messages
    survey: SurveyConfig

    def read_brick(
        self, brick: Brick, rows: NDArray[np.int64], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
    ) -> None:
        """Read the hosts of one brick, in ``rows`` of the block and at the given positions."""
        if brick.wcs is None:
            for b, band in enumerate(self.raw.bands):
                self._note_all(self.raw.band_reasons[:, b], rows, brick.problem("image", band), f"_{band}")
            return
        rows, corners, pixels = self._place(brick, rows, *brick.wcs.to_pixel(ra_deg, dec_deg))
        if not rows.size:
            return
        _fetch(brick, corners, pixels, self.raw.maskbits.shape[-1])
        for b, band in enumerate(self.raw.bands):
            self._read_band(brick, rows, b, band, corners, pixels)
        if self.raw.psf_kernel is not None:
            self._read_psf_images(brick, rows, self.raw.psf_kernel)
        for band in brick.layout.mask_bands(self.raw.bands) if self.survey.reads_masks else ():
            self._read_masks(brick, rows, band, corners)

    def _read_masks(self, brick: Brick, rows: NDArray[np.int64], band: str, corners: NDArray[np.int64]) -> None:
        """Add a mask to those of the hosts: a pixel that is bad in one band is bad."""
        if band and brick.problem("image", band):  # no such band here, which is said already
            return
        of = f"_{band}" if band else ""
        try:
            bits, errors = brick.windows("maskbits", band, corners, self.raw.maskbits.shape[-1], _NPRIMARY)
            bits = bits.astype(np.int64)
            bits = np.where((bits < 0) & (bits >= -(1 << 15)), bits & 0xFFFF, bits)  # bit 15, the sign of 16-bit masks
            if planes := self.survey.mask_planes:
                try:
                    bits = renumbered(bits, plane_bits(_cards(brick, "maskbits", band), planes))
                except FormatError as error:
                    path = brick.layout.path(brick.name, "maskbits", band)
                    text = f"Mask cannot be used: {path} ({error})."
                    raise UnreadableFile(Reason.CORRUPT_FILE, text) from error
        except UnreadableFile as error:
            self._note_all(self.raw.reasons, rows, error, f"{of} (maskbits taken as 0)")
            return
        self._note_each(self.raw.reasons, rows, errors, f"{of} (maskbits taken as 0)")
        good = np.array([e is None for e in errors])
        self.raw.maskbits[rows[good]] |= bits[good].astype(np.int32)

    def _place(
        self, brick: Brick, rows: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Record the targets' pixel positions; return rows, corners and pixels (y, x) of those on the brick."""
        assert brick.shape is not None and brick.wcs is not None
        raw, size = self.raw, self.raw.maskbits.shape[-1]
        place = _Place.of(brick, x, y, size)
        on_sky, inside, corners, pixels = place.on_sky, place.inside, place.corners, place.pixels
        raw.y_center[rows[on_sky]], raw.x_center[rows[on_sky]] = (place.position - corners)[on_sky].T
        on_pixels = np.linalg.inv(brick.wcs.axes_arcsec(x[inside], y[inside]))  # (dx, dy) of a step east, of one north
        for k, phi in enumerate((raw.east_phi, raw.north_phi)):
            phi[rows[inside]] = np.arctan2(on_pixels[:, 1, k], on_pixels[:, 0, k])
        cause = f"Target outside its brick: {brick.name} has {brick.shape[1]} x {brick.shape[0]} pixels."
        for row in rows[~inside]:
            raw.reasons[row] |= Reason.OUTSIDE_BRICK
            raw.maskbits[row] = _NPRIMARY
            advice = "Do ra_deg, dec_deg and brickname belong together?"
            self.messages.add(cause, "OUTSIDE_BRICK", advice, str(self.names[row]))
        hangs_over = ((corners < 0) | (corners + size > np.array(brick.shape))).any(axis=1)
        raw.reasons[rows[inside & hangs_over]] |= np.uint32(Reason.PARTIAL_STAMP)
        return rows[inside], corners[inside], pixels[inside]

    def _read_band(
        self,
        brick: Brick,
        rows: NDArray[np.int64],
        b: int,
        band: str,
        corners: NDArray[np.int64],
        pixels: NDArray[np.int64],
    ) -> None:
        """Read both pixel arrays or neither, then nexp and psfsize at the target's pixel."""
        raw, size = self.raw, self.raw.maskbits.shape[-1]
        try:
            image, image_errors = brick.windows("image", band, corners, size, 0)
            invvar, invvar_errors = brick.windows("invvar", band, corners, size, 0)
        except UnreadableFile as error:
            self._note_all(raw.band_reasons[:, b], rows, error, f"_{band}")
            return
        errors = [first or second for first, second in zip(image_errors, invvar_errors, strict=True)]
        for row, why in impossible_pixels(image, invvar).items():
            path = brick.layout.path(brick.name, "image", band)
            errors[row] = errors[row] or UnreadableFile(Reason.CORRUPT_FILE, f"Pixels cannot be: {path} ({why}).")
        self._note_each(raw.band_reasons[:, b], rows, errors, f"_{band}")
        good = np.array([e is None for e in errors])
        try:
            factor, weight = self._factors(brick, band)
        except UnreadableFile as error:  # a card that cannot be read
            self._note_all(raw.band_reasons[:, b], rows, error, f"_{band}")
            return
        except UnitError as error:
            path = brick.layout.path(brick.name, "image", band)
            for row in rows:
                raw.band_reasons[row, b] |= np.uint32(Reason.UNKNOWN_UNIT)
                cause = f"Unit of {path} is not understood: {error}."
                self.messages.add(cause, f"UNKNOWN_UNIT_{band}", "docs/cutouts.md says more.", str(self.names[row]))
            return
        raw.image[rows[good], b], raw.invvar[rows[good], b] = image[good] * factor, invvar[good] * weight
        raw.readable[rows[good], b] = True
        for product, values in (("nexp", raw.nexp), ("psfsize", raw.psf_map)):
            try:
                grid = _grid_pixels(brick) if product == "psfsize" else pixels[:0]
                found, errors = brick.windows(product, band, np.concatenate([pixels[good], grid]), 1, 0)
            except UnreadableFile as error:
                # The band may be used without these files (coverage from invvar, PSF from the chain). That one is
                # there and cannot be read is said; that it is missing only if no PSF size is known in the end.
                if error.reason != Reason.MISSING_FILE:
                    self._note_all(raw.band_reasons[:, b], rows[good], error, f"_{band}")
                continue
            if len(grid):
                n = int(good.sum())
                raw.psf_median[rows, b] = _median(found[n:, 0, 0], errors[n:])
                found, errors = found[:n], errors[:n]
            self._note_each(raw.band_reasons[:, b], rows[good], errors, f"_{band}")
            known = np.array([e is None for e in errors], dtype=bool)
            values[rows[good][known], b] = found[known, 0, 0]

    def _factors(self, brick: Brick, band: str) -> tuple[np.float32, np.float32]:
        """Factors that convert image and weights to nanomaggies and their inverse variance."""
        image = image_factor(_cards(brick, "image", band), zero_point_of(self.survey.zero_point, band))
        weight = weight_factor(_cards(brick, "invvar", band), image, brick.layout.weights)
        return np.float32(image), np.float32(weight)

    def _read_psf_images(self, brick: Brick, rows: NDArray[np.int64], kernel: NDArray[np.float32]) -> None:
        """Give every host the PSF images of its brick; a band without a usable one has a reason."""
        assert brick.wcs is not None
        raw, path, scale = self.raw, brick.layout.path(brick.name, PSF_IMAGE), brick.wcs.pixel_scale_arcsec
        try:
            found = read_psf_images(brick.content(PSF_IMAGE), raw.bands, kernel.shape[-1], scale)
        except UnreadableFile as error:
            for band in raw.bands:
                self._note_no_psf_image(rows, band, str(error))
            return
        except ValueError as error:
            broken = UnreadableFile(Reason.CORRUPT_FILE, f"PSF images cannot be read: {path} ({error}).")
            for b, band in enumerate(raw.bands):
                self._note_all(raw.band_reasons[:, b], rows, broken, f"_{band}")
                raw.band_reasons[rows, b] |= np.uint32(Reason.NO_PSF_IMAGE)
            return
        for band, why in found.problems.items():
            self._note_no_psf_image(rows, band, f"PSF image in {band} cannot be used: {path} ({why}).")
        for band, image in found.images.items():
            b = raw.bands.index(band)
            fwhm = gaussian_equivalent_fwhm_pix(image) * scale
            off = widths_disagree(fwhm, raw.psf_map[rows, b])
            cause = f"PSF image in {band} is {fwhm:.3g} arcsec wide, which the PSF size at the host is not: {path}."
            self._note_no_psf_image(rows[off], band, cause, "Is its sampling that of the survey's images (PSF_SAMP)?")
            raw.band_reasons[rows[off], b] |= np.uint32(Reason.IMPLAUSIBLE_PSF)
            kernel[rows[~off], b] = image
            raw.psf_image[rows[~off], b] = fwhm

    def _note_no_psf_image(
        self, rows: NDArray[np.int64], band: str, cause: str, advice: str = "Mend the file, or do without."
    ) -> None:
        for row in rows:
            self.raw.band_reasons[row, self.raw.bands.index(band)] |= np.uint32(Reason.NO_PSF_IMAGE)
            self.messages.add(cause, f"NO_PSF_IMAGE_{band}", advice, str(self.names[row]))

    def _note_each(
        self, bits: NDArray[np.uint32], rows: NDArray[np.int64], errors: Sequence[UnreadableFile | None], suffix: str
    ) -> None:
        for row, error in zip(rows, errors, strict=True):
            if error is not None:
                self._note_all(bits, [int(row)], error, suffix)

    def _note_all(
        self,
        bits: NDArray[np.uint32],
        rows: Sequence[int] | NDArray[np.int64],
        error: UnreadableFile | None,
        suffix: str,
    ) -> None:
        if error is None:
            return
        advice = "Fetch it again, or raise survey.failure_budget."
        if error.reason == Reason.MISSING_FILE:
            advice = "Fetch it, unless the survey has no such exposure; or raise survey.failure_budget."
        if "maskbits" in suffix:  # missing masks do not make a host fail
            advice = "Fetch it if the survey has it; until then these hosts are flagged, not lost."
        for row in rows:
            bits[row] |= np.uint32(error.reason)
            self.messages.add(str(error), f"{error.reason.name}{suffix}", advice, str(self.names[row]))


def _cards(brick: Brick, product: str, band: str) -> Callable[[str], Any]:
    """Look-up of a file's header cards."""
    return lambda key: brick.card(product, band, key)


def _grid_pixels(brick: Brick) -> NDArray[np.int64]:
    """Pixels (y, x) spread over a brick, the same whichever hosts are cut from it."""
    assert brick.shape is not None
    y, x = (((np.arange(_PSF_GRID) + 0.5) * n / _PSF_GRID).astype(np.int64) for n in brick.shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def _median(values: NDArray[Any], errors: Sequence[UnreadableFile | None]) -> float:
    """Median of the values above 0 that could be read; NaN if they are fewer than half."""
    good = np.array([e is None for e in errors], dtype=bool) & (values > 0)
    return float(np.median(values[good])) if good.sum() * 2 >= len(values) else math.nan


def _catalogue_psfsize(targets: xr.Dataset, bands: tuple[str, ...]) -> NDArray[np.float64]:
    if "catalogue_psfsize_arcsec" not in targets:
        return np.full((targets.sizes["host"], len(bands)), np.nan)
    return _in_bands(targets["catalogue_psfsize_arcsec"], bands).values.astype(np.float64)


def _in_bands(column: xr.DataArray, bands: tuple[str, ...]) -> xr.Variable:
    """Return a column of the targets in the order of the run's bands; NaN for missing bands."""
    if "band" not in column.dims:
        return column.variable
    column = column.transpose("host", "band")
    if "band" in column.coords:
        return column.reindex(band=list(bands)).variable
    if column.sizes["band"] != len(bands):
        raise TargetError(f"targets.{column.name} has {column.sizes['band']} unnamed bands, the run has {len(bands)}")
    return column.variable


def _one_scale(scales: Mapping[str, float]) -> float:
    """Return the pixel scale that all bricks share to 0.1 %, in arcsec; NaN if no brick could be read."""
    if not scales:
        return math.nan
    first, scale = next(iter(scales.items()))
    for brick, other in scales.items():
        if abs(other / scale - 1) > SCALE_TOLERANCE:
            raise SurveyError(
                f"pixel scale of brick {brick} is {other:.5f} arcsec, of brick {first} {scale:.5f}: "
                "one run has one pixel scale. Split the targets by survey."
            )
    return scale
