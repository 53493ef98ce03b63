"""Assess a block of hosts after reading: coverage, PSF, masks, status and reasons, in one code path for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.config import SurveyConfig
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey import masks
from lensflow.survey.no_data import IMPOSSIBLE, dithered_zeros
from lensflow.survey.psfsize import REFERENCE_BAND, choose_psfsize, implausible, theory_band_ratio

NO_NEXP_FILE = -1


@dataclass
class RawBlock:
    """Data read for a block of hosts, before assessment.

    All arrays start as "nothing was read". ``nexp`` is NO_NEXP_FILE where no such file says anything;
    ``readable`` is True where image and invvar were read; ``reasons`` and ``band_reasons`` hold the bits that
    reading found. ``psf_kernel`` (host, band, y, x) and ``psf_image``, its size in arcsec, are filled where PSF images
    are asked for; ``psf_median`` is the brick's, from its map, where that has enough values; ``psf_odd`` a size that
    was not used because it cannot be. ``east_phi`` and ``north_phi`` are directions on the stamp, rad.
    """

    bands: tuple[str, ...]
    image: NDArray[np.float32]
    invvar: NDArray[np.float32]
    maskbits: NDArray[np.int32]
    nexp: NDArray[np.int64]
    psf_map: NDArray[np.float64]
    psf_catalogue: NDArray[np.float64]
    psf_image: NDArray[np.float64]
    psf_median: NDArray[np.float64]
    psf_odd: NDArray[np.float64]
    psf_kernel: NDArray[np.float32] | None
    readable: NDArray[np.bool_]
    band_reasons: NDArray[np.uint32]
    reasons: NDArray[np.uint32]
    x_center: NDArray[np.float64]
    y_center: NDArray[np.float64]
    east_phi: NDArray[np.float64]
    north_phi: NDArray[np.float64]

    @classmethod
    def empty(cls, n_hosts: int, bands: Sequence[str], size: int, psf_size: int = 0) -> RawBlock:
        """Return an empty block of ``n_hosts``."""
        per_band = (n_hosts, len(bands))
        return cls(
            bands=tuple(bands),
            image=np.zeros((*per_band, size, size), np.float32),
            invvar=np.zeros((*per_band, size, size), np.float32),
            maskbits=np.zeros((n_hosts, size, size), np.int32),
            nexp=np.full(per_band, NO_NEXP_FILE, np.int64),
            psf_map=np.full(per_band, np.nan),
            psf_catalogue=np.full(per_band, np.nan),
            psf_image=np.full(per_band, np.nan),
            psf_median=np.full(per_band, np.nan),
            psf_odd=np.full(per_band, np.nan),
            psf_kernel=np.full((*per_band, psf_size, psf_size), np.nan, np.float32) if psf_size else None,
            readable=np.zeros(per_band, bool),
            band_reasons=np.zeros(per_band, np.uint32),
            reasons=np.zeros(n_hosts, np.uint32),
            x_center=np.full(n_hosts, np.nan),
            y_center=np.full(n_hosts, np.nan),
            east_phi=np.full(n_hosts, np.nan),
            north_phi=np.full(n_hosts, np.nan),
        )


def assess(
    raw: RawBlock,
    survey: SurveyConfig,
    psf_band_ratio: Mapping[str, float] | None = None,
    pixel_scale_arcsec: float = np.nan,
) -> dict[str, NDArray[Any]]:
    """Assess a block: coverage, PSF size, masks, status and reasons of every host.

    - A band is *covered* if its image and invvar were read, the survey has an exposure at the target
      (:func:`exposed_at_target`), and a PSF size is known there.
    - FAILED: outside the brick, no covered band, or every pixel bad. PARTIAL: a band is absent, a covered
      band has less than min_coverage_frac of its pixels or non-finite ones, the stamp hangs over the brick's
      edge, or one of its files is corrupt. OK: the rest.
    - NO_COVERAGE is said only where the files were read and the target lies on the brick: a file that is
      missing says nothing about exposures.
    - Weights that are zero but for the dither of a lossy compression are zero
      (:func:`lensflow.survey.no_data.dithered_zeros`).
    - A PSF size that cannot be (:func:`lensflow.survey.psfsize.implausible`) is not used: IMPLAUSIBLE_PSF, and the next
      of the chain is taken.
    - A pixel with a mask bit that has no name here is bad for ``mask_bits: default``; UNKNOWN_MASK_BIT.

    Returns
    -------
    dict
        The variables of ``schema.CUTOUTS`` but cell and split.
    """
    weight = _without_dithered_zeros(raw.invvar)
    bad = ~np.isfinite(raw.image) | ~np.isfinite(weight) | (weight < 0) | (np.abs(raw.image) >= IMPOSSIBLE)
    image, invvar = np.where(bad, np.float32(0), raw.image), np.where(bad, np.float32(0), weight)
    band_reasons = raw.band_reasons | _flag(np.any(bad, axis=(-2, -1)), Reason.NONFINITE)
    has_data = invvar > 0
    coverage = has_data.mean(axis=(-2, -1))

    on_brick = (raw.reasons & Reason.OUTSIDE_BRICK) == 0
    judged = raw.readable & on_brick[:, None]
    exposed = judged & exposed_at_target(has_data, raw.nexp, raw.x_center, raw.y_center)
    odd = _drop_implausible_psf(raw, pixel_scale_arcsec) & exposed
    band_reasons |= _flag(odd, Reason.IMPLAUSIBLE_PSF)
    psfsize, psf_source = _psf_chain(raw, exposed, psf_band_ratio or {})
    given = np.array([survey.psfsize_arcsec.get(band, np.nan) for band in raw.bands])
    assumed = exposed & (psf_source == PsfSource.NONE) & np.isfinite(given)
    psfsize = np.where(assumed, given, psfsize)
    psf_source = np.where(assumed, PsfSource.MANIFEST, psf_source)
    band_reasons |= _flag(assumed, Reason.ASSUMED_PSF)
    covered = exposed & (psf_source != PsfSource.NONE)
    thin = covered & (coverage < survey.min_coverage_frac)
    band_reasons |= _flag(judged & ~exposed, Reason.NO_COVERAGE)
    band_reasons |= _flag(exposed & ~covered, Reason.NO_PSF)
    # Without an exposure no PSF image is needed.
    band_reasons &= ~_flag(~exposed, Reason.NO_PSF_IMAGE)
    band_reasons |= _flag(thin, Reason.PARTIAL_STAMP)

    masked = masks.masked_pixels(raw.maskbits, survey.mask_bits, raw.bands)
    unknown = (masks.unknown_bits(raw.maskbits) != 0) & (not survey.is_foreign)
    useless = masked | ~(has_data & covered[:, :, None, None]).any(axis=1)
    all_masked = covered.any(axis=1) & useless.all(axis=(-2, -1))
    reasons = raw.reasons | _flag(all_masked, Reason.ALL_MASKED) | np.bitwise_or.reduce(band_reasons, axis=1)
    reasons |= _flag(unknown.any(axis=(-2, -1)), Reason.UNKNOWN_MASK_BIT)

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
        "east_phi_rad": raw.east_phi,
        "north_phi_rad": raw.north_phi,
        "status": np.where(failed, Status.FAILED, np.where(partial, Status.PARTIAL, Status.OK)),
        "reasons": reasons,
        "band_reasons": band_reasons,
        "bad_pixel_frac": masked.mean(axis=(-2, -1)),
        # Bits 8 and 9 of another survey's mask are something else.
        "wise_brightmask_frac": masks.wise_fraction(raw.maskbits) * np.float32(np.nan if survey.is_foreign else 1),
        "mask_bit_frac": masks.fraction_per_bit(raw.maskbits),
        **_kernels(raw, psf_source),
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


def _without_dithered_zeros(invvar: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights with dithered zeros set to zero; the same array if there are none."""
    # Every stamp with a dithered zero has a weight that is not zero and far below its largest.
    high = np.nanmax(invvar, axis=(-2, -1), initial=0, keepdims=True)
    suspect = ((invvar != 0) & (invvar < 1e-2 * high)).any(axis=(-2, -1)) | (invvar < 0).any(axis=(-2, -1))
    if not suspect.any():
        return invvar
    out = invvar.copy()
    for host, band in np.argwhere(suspect):
        out[host, band][dithered_zeros(invvar[host, band])] = 0
    return out


def _drop_implausible_psf(raw: RawBlock, pixel_scale_arcsec: float) -> NDArray[np.bool_]:
    """Move implausible PSF sizes to ``psf_odd``; return where there were any, (host, band)."""
    for sizes in (raw.psf_catalogue, raw.psf_image, raw.psf_map):
        odd = implausible(sizes, pixel_scale_arcsec, raw.psf_median)
        raw.psf_odd[odd], sizes[odd] = sizes[odd], np.nan
    return np.isfinite(raw.psf_odd)


def _psf_chain(
    raw: RawBlock, exposed: NDArray[np.bool_], measured: Mapping[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    ratio = np.array([measured.get(band, theory_band_ratio(band)) for band in raw.bands])
    r_value = np.full((exposed.shape[0], 1), np.nan)
    if REFERENCE_BAND in raw.bands:
        r = [raw.bands.index(REFERENCE_BAND)]
        r_value, _ = choose_psfsize(raw.psf_map[:, r], raw.psf_catalogue[:, r], np.nan, exposed[:, r], 1.0)
    return choose_psfsize(raw.psf_map, raw.psf_catalogue, r_value, exposed, ratio, raw.psf_image)


def _flag(where: NDArray[np.bool_], reason: Reason) -> NDArray[np.uint32]:
    return np.where(where, np.uint32(reason), np.uint32(0))


def _kernels(raw: RawBlock, psf_source: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """PSF images where they are the source of the PSF size, NaN elsewhere; empty if none are requested."""
    if raw.psf_kernel is None:
        return {}
    used = (psf_source == PsfSource.COADD_PSF)[:, :, None, None]
    return {"psf_kernel": np.where(used, raw.psf_kernel, np.float32(np.nan))}
