"""Cut stamps out of survey bricks: one block of hosts in, one dataset out, a row for every host.

Two steps. *Reading* fills a :class:`RawBlock` with pixels and facts, host by host. *Assessing* judges the
whole block at once - coverage, PSF, masks, status, reasons - by one path for good and bad hosts, and for
hosts from bricks and from stamps (:mod:`lensflow.survey.stamps`) alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry, schema
from lensflow.config import SurveyConfig
from lensflow.errors import SurveyError, TargetError
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey import masks
from lensflow.survey.bricks import Brick, UnreadableFile, open_brick, pixel_scale_arcsec, wcs_to_pixel
from lensflow.survey.layout import Layout
from lensflow.survey.psfsize import REFERENCE_BAND, choose_psfsize, theory_band_ratio

NO_NEXP_FILE = -1
SCALE_TOLERANCE = 1e-3
_FAR_PIX = 1e7  # a position further off than this many pixels is not on any brick
_NPRIMARY = 1 << masks.MaskBit.NPRIMARY
_IDENTITY = ("host_id", "ra_deg", "dec_deg", "brickname")


@dataclass
class RawBlock:
    """What was read for a block of hosts, before any judgement.

    All arrays start as "nothing was read". ``nexp`` is NO_NEXP_FILE where no such file says anything;
    ``readable`` is True where image and invvar were read; ``reasons`` and ``band_reasons`` hold the bits that
    reading found.
    """

    bands: tuple[str, ...]
    image: NDArray[np.float32]
    invvar: NDArray[np.float32]
    maskbits: NDArray[np.int32]
    nexp: NDArray[np.int64]
    psf_map: NDArray[np.float64]
    psf_catalogue: NDArray[np.float64]
    readable: NDArray[np.bool_]
    band_reasons: NDArray[np.uint32]
    reasons: NDArray[np.uint32]
    x_center: NDArray[np.float64]
    y_center: NDArray[np.float64]

    @classmethod
    def empty(cls, n_hosts: int, bands: Sequence[str], size: int) -> RawBlock:
        """Return a block of ``n_hosts`` about which nothing is known."""
        per_band = (n_hosts, len(bands))
        return cls(
            bands=tuple(bands),
            image=np.zeros((*per_band, size, size), np.float32),
            invvar=np.zeros((*per_band, size, size), np.float32),
            maskbits=np.zeros((n_hosts, size, size), np.int32),
            nexp=np.full(per_band, NO_NEXP_FILE, np.int64),
            psf_map=np.full(per_band, np.nan),
            psf_catalogue=np.full(per_band, np.nan),
            readable=np.zeros(per_band, bool),
            band_reasons=np.zeros(per_band, np.uint32),
            reasons=np.zeros(n_hosts, np.uint32),
            x_center=np.full(n_hosts, np.nan),
            y_center=np.full(n_hosts, np.nan),
        )


@dataclass
class Messages:
    """Error lines, one per cause, each naming the first host that it struck and the number of the others."""

    hosts: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def add(self, cause: str, mark: str, advice: str, host: str) -> None:
        """Note that ``cause`` struck ``host``, which is marked ``mark``; ``advice`` is the way out."""
        struck = self.hosts.setdefault((cause, mark, advice), [])
        if host not in struck:
            struck.append(host)

    def lines(self) -> list[str]:
        """Return one line per cause, mark and advice."""
        out = []
        for (cause, mark, advice), struck in self.hosts.items():
            others = f" and {len(struck) - 1} other{'s' if len(struck) > 2 else ''}" if len(struck) > 1 else ""
            out.append(f"{cause} Host {struck[0]}{others} marked {mark}. {advice}")
        return out


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
        Dim host: host_id, ra_deg, dec_deg, brickname; optionally ``psfsize_arcsec`` (host, band) in arcsec,
        the catalogue's or brick's PSF size, used where the map has none.
    layout : Layout
        Where the files are.
    bands : sequence of str
        In the order of the result.
    survey : SurveyConfig
        stamp_size, mask_bits and min_coverage_frac are used.
    psf_band_ratio : mapping, optional
        PSF size of a band over that of r as measured in this run; the theory stands in for bands not in it.

    Returns
    -------
    Dataset
        Every variable of ``schema.CUTOUTS`` but cell and split, and the four columns above; the hosts are
        those of ``targets`` in the same order, whatever happened to them. Where the target's position in the
        brick is unknown, x_center and y_center are NaN and the status is FAILED. attrs: pixel_scale_arcsec
        (NaN if no brick could be read), seconds_io, n_files_opened, bytes_read (compressed tiles touched,
        plus headers and tile indices), messages (list of str).

    Raises
    ------
    TargetError
        If targets lacks a column.
    SurveyError
        If the bricks differ in pixel scale by more than 0.1 %: one block has one scale.
    """
    missing = [name for name in _IDENTITY if name not in targets]
    if missing:
        raise TargetError(f"targets lack {', '.join(missing)}; needed: {', '.join(_IDENTITY)}. See survey.columns")
    table = {name: np.asarray(targets[name].values) for name in _IDENTITY}
    names = table["host_id"].astype(str)
    raw = RawBlock.empty(names.size, bands, survey.stamp_size)
    raw.psf_catalogue = _catalogue_psfsize(targets, raw.bands)
    messages = Messages()
    reader = _Reader(raw, names, messages)
    spent: dict[str, float] = {"seconds_io": 0.0, "bytes_read": 0, "n_files_opened": 0}
    scales: dict[str, float] = {}

    bricks = table["brickname"].astype(str)
    for brickname in dict.fromkeys(bricks.tolist()):
        rows = np.flatnonzero(bricks == brickname)
        with open_brick(layout, brickname, raw.bands) as brick:
            reader.read_brick(brick, rows, table["ra_deg"][rows], table["dec_deg"][rows])
            if brick.wcs is not None:
                scales[brickname] = pixel_scale_arcsec(brick.wcs)
            for key in spent:
                spent[key] += getattr(brick, key)
    scale = _one_scale(scales)

    arrays = assess(raw, survey, psf_band_ratio)
    _explain_no_psf(messages, arrays["band_reasons"], raw.bands, layout, bricks, names)
    out = schema.dataset("cutouts", {**table, **arrays}, {"band": list(raw.bands)})
    return out.assign_attrs(pixel_scale_arcsec=scale, **spent, messages=messages.lines())


def assess(
    raw: RawBlock, survey: SurveyConfig, psf_band_ratio: Mapping[str, float] | None = None
) -> dict[str, NDArray[Any]]:
    """Judge a block: coverage, PSF size, masks, status and reasons of every host.

    - A band is *covered* if its image and invvar were read, the survey has an exposure at the target
      (:func:`exposed_at_target`), and a PSF size is known there.
    - FAILED: outside the brick, no covered band, or every pixel bad. PARTIAL: a band is absent, a covered
      band has less than min_coverage_frac of its pixels or non-finite ones, the stamp hangs over the brick's
      edge, or one of its files is corrupt. OK: the rest.
    - NO_COVERAGE is said only where the files were read and the target lies on the brick: a file that is
      missing says nothing about exposures.

    Returns
    -------
    dict
        The variables of ``schema.CUTOUTS`` but cell and split.
    """
    bad = ~np.isfinite(raw.image) | ~np.isfinite(raw.invvar) | (raw.invvar < 0)
    image, invvar = np.where(bad, np.float32(0), raw.image), np.where(bad, np.float32(0), raw.invvar)
    band_reasons = raw.band_reasons | _flag(np.any(bad, axis=(-2, -1)), Reason.NONFINITE)
    has_data = invvar > 0
    coverage = has_data.mean(axis=(-2, -1))

    on_brick = (raw.reasons & Reason.OUTSIDE_BRICK) == 0
    judged = raw.readable & on_brick[:, None]
    exposed = judged & exposed_at_target(has_data, raw.nexp, raw.x_center, raw.y_center)
    psfsize, psf_source = _psf_chain(raw, exposed, psf_band_ratio or {})
    covered = exposed & (psf_source != PsfSource.NONE)
    thin = covered & (coverage < survey.min_coverage_frac)
    band_reasons |= _flag(judged & ~exposed, Reason.NO_COVERAGE)
    band_reasons |= _flag(exposed & ~covered, Reason.NO_PSF)
    band_reasons |= _flag(thin, Reason.PARTIAL_STAMP)

    bits = masks.default_bits(raw.bands) if survey.mask_bits is None else survey.mask_bits
    masked = masks.bad_pixels(raw.maskbits, bits)
    useless = masked | ~(has_data & covered[:, :, None, None]).any(axis=1)
    all_masked = covered.any(axis=1) & useless.all(axis=(-2, -1))
    reasons = raw.reasons | _flag(all_masked, Reason.ALL_MASKED) | np.bitwise_or.reduce(band_reasons, axis=1)

    failed = ~on_brick | ~covered.any(axis=1) | all_masked
    blemish = np.uint32(Reason.PARTIAL_STAMP | Reason.CORRUPT_FILE)
    partial = ~covered.all(axis=1) | ((reasons & blemish) != 0)
    partial |= (covered & ((band_reasons & Reason.NONFINITE) != 0)).any(axis=1)
    return {
        "image": image,
        "invvar": invvar,
        "maskbits": raw.maskbits,
        "nexp": np.where(raw.nexp == NO_NEXP_FILE, exposed, np.clip(raw.nexp, 0, 32767)),
        "psfsize_arcsec": psfsize,
        "psf_source": psf_source,
        "covered": covered,
        "coverage_frac": coverage,
        "x_center": raw.x_center,
        "y_center": raw.y_center,
        "status": np.where(failed, Status.FAILED, np.where(partial, Status.PARTIAL, Status.OK)),
        "reasons": reasons,
        "band_reasons": band_reasons,
        "bad_pixel_frac": masked.mean(axis=(-2, -1)),
        "wise_brightmask_frac": masks.wise_fraction(raw.maskbits),
    }


def exposed_at_target(
    has_data: NDArray[np.bool_], nexp: NDArray[np.int64], x_center: NDArray[np.float64], y_center: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether the survey has an exposure of the target, per host and band.

    nexp must not be 0 (where there is a nexp file), and the target's pixel must have data. A single dead
    pixel - a cosmic ray, a saturated core - is not a lack of exposure: where the target's pixel has none but
    most (5 of 9) of the 3x3 pixels about it do, the band counts as exposed. It is absent where a gap or the
    edge of the coverage runs through the target.

    Parameters
    ----------
    has_data : ndarray of bool, shape (host, band, y, x)
        Pixels with invvar > 0.
    nexp : ndarray of int, shape (host, band)
        At the target's pixel; NO_NEXP_FILE where no file says.
    x_center, y_center : ndarray, shape (host,)
        Target in the stamp; NaN where unknown (the middle is looked at).
    """
    size = has_data.shape[-1]
    middle = geometry.centre(size)
    x, y = (np.floor(np.nan_to_num(c, nan=middle) + 0.5).astype(int) for c in (x_center, y_center))
    near = np.arange(-1, 2)
    rows = np.clip(y[:, None] + near, 0, size - 1)
    columns = np.clip(x[:, None] + near, 0, size - 1)
    host = np.arange(has_data.shape[0])[:, None, None]
    box = np.moveaxis(has_data, 1, -1)[host, rows[:, :, None], columns[:, None, :]]  # (host, 3, 3, band)
    return np.asarray((box[:, 1, 1] | (box.sum(axis=(1, 2)) >= 5)) & (nexp != 0))


@dataclass
class _Reader:
    """Fills the rows of a block from bricks; ``names`` are the hosts' in the block's order."""

    raw: RawBlock
    names: NDArray[np.str_]
    messages: Messages

    def read_brick(
        self, brick: Brick, rows: NDArray[np.int64], ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]
    ) -> None:
        """Read the hosts of one brick, which stand in ``rows`` of the block and at the given positions."""
        if brick.wcs is None:
            for b, band in enumerate(self.raw.bands):
                problem = brick.problem("image", band)
                for row in rows:
                    self._note(self.raw.band_reasons, (row, b), row, problem, f"_{band}")
            return
        x, y = wcs_to_pixel(brick.wcs, ra_deg, dec_deg)
        for row, px, py in zip(rows, x, y, strict=True):
            self._read_host(brick, int(row), float(px), float(py))

    def _read_host(self, brick: Brick, row: int, x: float, y: float) -> None:
        assert brick.shape is not None
        raw, size = self.raw, self.raw.maskbits.shape[-1]
        on_sky = bool(np.hypot(x, y) < _FAR_PIX)  # False for NaN
        corner, pixel = (0, 0), (-1, -1)
        if on_sky:
            corner = (int(geometry.stamp_corner(y, size)), int(geometry.stamp_corner(x, size)))
            pixel = (math.floor(y + 0.5), math.floor(x + 0.5))
            raw.y_center[row], raw.x_center[row] = y - corner[0], x - corner[1]
        if not all(0 <= p < n for p, n in zip(pixel, brick.shape, strict=True)):
            raw.reasons[row] |= Reason.OUTSIDE_BRICK
            raw.maskbits[row] = _NPRIMARY
            cause = f"Target outside its brick: {brick.name} has {brick.shape[1]} x {brick.shape[0]} pixels."
            advice = "Do ra_deg, dec_deg and brickname belong together?"
            self.messages.add(cause, "OUTSIDE_BRICK", advice, str(self.names[row]))
            return
        if any(c < 0 or c + size > n for c, n in zip(corner, brick.shape, strict=True)):
            raw.reasons[row] |= Reason.PARTIAL_STAMP
        for b, band in enumerate(raw.bands):
            self._read_band(brick, row, b, band, corner, pixel)
        try:
            raw.maskbits[row] = brick.window("maskbits", "", corner, size, _NPRIMARY)
        except UnreadableFile as error:
            self._note(raw.reasons, row, row, error, " (maskbits taken as 0)")

    def _read_band(
        self, brick: Brick, row: int, b: int, band: str, corner: tuple[int, int], pixel: tuple[int, int]
    ) -> None:
        """Read both pixel arrays or neither, then nexp and psfsize at the target's pixel."""
        raw, size = self.raw, self.raw.maskbits.shape[-1]
        try:
            image = brick.window("image", band, corner, size, 0)
            raw.invvar[row, b] = brick.window("invvar", band, corner, size, 0)
        except UnreadableFile as error:
            self._note(raw.band_reasons, (row, b), row, error, f"_{band}")
            return
        raw.image[row, b] = image
        raw.readable[row, b] = True
        y, x = (slice(p, p + 1) for p in pixel)
        for product, values in (("nexp", raw.nexp), ("psfsize", raw.psf_map)):
            try:
                values[row, b] = brick.read(product, band, y, x)[0, 0]
            except UnreadableFile as error:
                # The band may be used without these files (coverage from invvar, PSF from the chain). That one is
                # there and cannot be read is said; that it is missing only if no PSF size is known in the end.
                if error.reason != Reason.MISSING_FILE:
                    self._note(raw.band_reasons, (row, b), row, error, f"_{band}")

    def _note(self, bits: NDArray[np.uint32], at: Any, row: int, error: UnreadableFile | None, suffix: str) -> None:
        if error is None:
            return
        bits[at] |= error.reason
        advice = "Fetch it again, or raise survey.failure_budget."
        if error.reason == Reason.MISSING_FILE:
            advice = "Fetch it, unless the survey has no such exposure; or raise survey.failure_budget."
        self.messages.add(str(error), f"{error.reason.name}{suffix}", advice, str(self.names[row]))


def _psf_chain(
    raw: RawBlock, exposed: NDArray[np.bool_], measured: Mapping[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    ratio = np.array([measured.get(band, theory_band_ratio(band)) for band in raw.bands])
    r_value = np.full((exposed.shape[0], 1), np.nan)
    if REFERENCE_BAND in raw.bands:
        r = [raw.bands.index(REFERENCE_BAND)]
        r_value, _ = choose_psfsize(raw.psf_map[:, r], raw.psf_catalogue[:, r], np.nan, exposed[:, r], 1.0)
    return choose_psfsize(raw.psf_map, raw.psf_catalogue, r_value, exposed, ratio)


def _explain_no_psf(
    messages: Messages,
    band_reasons: NDArray[np.uint32],
    bands: Sequence[str],
    layout: Layout,
    bricks: NDArray[np.str_],
    names: NDArray[np.str_],
) -> None:
    for row, b in np.argwhere((band_reasons & Reason.NO_PSF) != 0):
        path = layout.path(str(bricks[row]), "psfsize", bands[b])
        cause = f"No PSF size in {bands[b]}: {path} is missing or 0 at the target, and neither targets nor r give one."
        advice = "No arc can be put there. Fetch the file, or give the targets a psfsize_arcsec (host, band)."
        messages.add(cause, f"NO_PSF_{bands[b]}", advice, str(names[row]))


def _catalogue_psfsize(targets: xr.Dataset, bands: tuple[str, ...]) -> NDArray[np.float64]:
    if "psfsize_arcsec" not in targets:
        return np.full((targets.sizes["host"], len(bands)), np.nan)
    values = targets["psfsize_arcsec"].transpose("host", "band")
    if "band" in values.coords:
        values = values.reindex(band=list(bands))
    elif values.sizes["band"] != len(bands):
        raise TargetError(f"targets.psfsize_arcsec has {values.sizes['band']} unnamed bands, the run has {len(bands)}")
    return np.asarray(values.values, dtype=np.float64)


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


def _flag(where: NDArray[np.bool_], reason: Reason) -> NDArray[np.uint32]:
    return np.where(where, np.uint32(reason), np.uint32(0))
