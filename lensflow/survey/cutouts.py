"""Cut stamps out of survey bricks: one block of hosts in, one dataset out, a row for every host.

Reading fills a :class:`~lensflow.survey.assess.RawBlock` with pixels and facts, host by host;
:mod:`lensflow.survey.assess` then judges the block, for hosts from bricks and from stamps alike.
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
from lensflow.schema import Reason
from lensflow.survey import masks
from lensflow.survey.assess import RawBlock, assess
from lensflow.survey.bricks import Brick, UnreadableFile, open_brick, pixel_scale_arcsec, wcs_to_pixel
from lensflow.survey.layout import Layout

SCALE_TOLERANCE = 1e-3
_FAR_PIX = 1e7  # a position further off than this many pixels is not on any brick
_NPRIMARY = 1 << masks.MaskBit.NPRIMARY
_IDENTITY = ("host_id", "ra_deg", "dec_deg", "brickname")


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
        advice = "No arc can be put there. Fetch the file, or assume a size with survey.psfsize_arcsec."
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
