"""Turn checked rows into the plain arrays that the compiled engine reads, all rows at once.

Every choice of accuracy is made here, per row and from that row alone: which light is too faint to follow, how fine
the quadrature is, the field, the grid and the frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv

from lensflow.lensing import psf
from lensflow.lensing.components import KINDS, KNOT_KIND
from lensflow.lensing.engine import quadrature as quad
from lensflow.lensing.engine.bands import TABLE_STEPS
from lensflow.lensing.engine.kernel_set import PackedKernels
from lensflow.lensing.engine.records import Packed, Parts, Psfs
from lensflow.lensing.engine.spreading import ETA, TAPS
from lensflow.lensing.rows import Rows
from lensflow.lensing.sources import sersic_amplitude, sersic_b

Floats = NDArray[np.float64]

# Frequencies at which the PSF transmits less than this are left out: up to 2e-4 of the peak for a point source.
PSF_FLOOR = 6e-5
# Share of the source's flux that is too far out to be followed.
DARK_FLUX = 8e-5
# Share of the flux, for n = 1, within the radius down to which cells are graded; steeper cusps ask for less.
CORE_FLUX = 1e-2
_CORE_POWER = 1.5
# The same of a knot, which has no cusp.
KNOT_CORE = 0.5
# Panels of a component that has a share of the light may be longer: their error grows as the eighth power of that.
_PART_POWER, _LONGEST_PART = -1 / 8, 1.8
# Exponential decay over the longest panel, in units of n/b half-light radii.
STEEPNESS = 6.0
# Images whose half-light radius times the highest frequency is below this are read at finer levels.
SMALL_IMAGE, _SMALL_POWER, _FINEST = 0.6, 0.4, 0.35
# The padded field repeats (it is a Fourier sum) where the PSF has fallen to this share of its peak, at the latest
# after three stamps.
_REPEAT_LEVEL = 1e-5

INDEX, B, CENTRAL_LIGHT, PERIOD, STEP, ORIGIN_X, ORIGIN_Y = range(7)


@lru_cache(maxsize=16)
def psf_table(model: str, beta: float) -> NDArray[np.float32]:
    """PSF transform against x = 2 pi (scale length) f, TABLE_STEPS to the unit; 0 below PSF_FLOOR.

    One table serves every width, so that Bessel functions are evaluated once per ``beta``.
    """
    length = float(psf.scale_length(1.0, model, beta))
    x = np.arange(int(np.ceil(_cut(model, beta) * TABLE_STEPS)) + 1) / TABLE_STEPS
    table = np.append(psf.transform(x / (2 * np.pi * length), 1.0, model, beta), [0.0, 0.0]).astype(np.float32)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=16)
def _cut(model: str, beta: float) -> float:
    return 2 * np.pi * float(psf.scale_length(1.0, model, beta)) * psf.cutoff_frequency(model, beta, PSF_FLOOR)


def psfs(beta: float, kernels: PackedKernels) -> Psfs:
    """The PSFs of a call: tables of every model, padded to one length, and the kernels."""
    each = [psf_table(model, beta) for model in psf.MODELS]
    size = np.array([t.size for t in each], dtype=np.int64)
    padded = np.zeros((len(each), int(size.max())), dtype=np.float32)
    for line, table in zip(padded, each, strict=True):
        line[: table.size] = table
    return Psfs(padded, size, kernels.size, kernels.fold, kernels.cut, kernels.neglected, kernels.unseen)


def pack(rows: Rows, models: NDArray[np.str_], beta: float, size: int, pixel: float) -> Packed:
    """Pack every injection of ``rows``.

    Parameters
    ----------
    rows : Rows
    models : ndarray of str, shape (sample,)
        PSF model of each row.
    beta : float
        Moffat exponent.
    size : int
        Pixels on a side of the stamp.
    pixel : float
        Arcsec.

    Returns
    -------
    Packed
        Every row that is no control.
    """
    which = np.flatnonzero(~rows.is_control)
    geometry, series = _lens(rows, which, pixel)
    n = which.size
    column = {k: v[which] for k, v in rows.column.items()}
    index, reff = column["src_n"], column["src_reff_arcsec"] / pixel
    b = _profile(geometry, index)
    image = _images(geometry, rows, which)
    transmitted = _transmitted(rows, which, models, beta, size, pixel)
    pad, period, frequencies = transmitted.pad, transmitted.period, transmitted.frequencies
    field = size + 2 * pad
    highest = np.maximum(frequencies.max(axis=1, initial=0.0), 4.0)
    # The grid's step follows the highest frequency; then the grid is fitted to the field and the window's margin.
    grid_size = 8 * np.ceil((field * highest / period / ETA + TAPS + 2) / 8)
    step = field / (grid_size - TAPS - 2)
    x, y = rows.x_center[which], rows.y_center[which]
    geometry[:, quad.LEFT], geometry[:, quad.RIGHT] = -pad - 0.5 - x, size + pad - 0.5 - x
    geometry[:, quad.LOW], geometry[:, quad.HIGH] = -pad - 0.5 - y, size + pad - 0.5 - y
    geometry[:, quad.REACH] = 0.5 * size
    first = 0.5 * (size - 1) - 0.5 * (grid_size - 1) * step
    settings = np.repeat(quad.SETTINGS[None], n, axis=0)
    settings[:, :, [quad.LONGEST, quad.ARC, quad.SHIFT, quad.DETAIL]] *= (0.45 * period / highest)[:, None, None]
    # Of a small image detail is seen only next to the critical curves, where the map changes within a few pixels.
    shown = image >= 0
    seen = np.where(shown, reff, 1.0) * highest / period
    settings[shown, :, quad.DETAIL] *= np.clip((seen[shown] / SMALL_IMAGE) ** _SMALL_POWER, _FINEST, 1.0)[:, None]
    central = sersic_amplitude(1.0, reff, index, column["src_q"]) * np.exp(b)
    # An image's light is in units of its unlensed flux per squared half-light radius.
    central = np.where(shown, reff**-2.0, central)
    parts = _parts(rows, which, geometry, pixel)
    # Light of several components is in units of its unlensed flux.
    central = np.where(np.diff(parts.first) > 0, 1.0, central)
    scalars = np.stack([index, b, central, period, step, first - x, first - y], axis=1)
    return Packed(
        row=which,
        geometry=geometry,
        series=series,
        settings=settings,
        scalars=np.ascontiguousarray(scalars),
        band_scale=np.ascontiguousarray(transmitted.scale),
        frequencies=frequencies.astype(np.int64),
        disc=np.ascontiguousarray(transmitted.disc),
        sharpest=transmitted.sharpest,
        entry=np.ascontiguousarray(rows.kernels.entry[which]),
        image=image,
        grid_size=grid_size.astype(np.int64),
        table=transmitted.table,
        leak=transmitted.leak,
        flux=np.ascontiguousarray(rows.flux[which]),
        parts=parts,
    )


def _profile(geometry: Floats, index: Floats) -> Floats:
    """Fill the radii and the panels that a Sersic profile asks for; returns its b_n."""
    b = sersic_b(index)
    core = CORE_FLUX / np.maximum(index, 1) ** _CORE_POWER
    geometry[:, quad.CORE] = (gammaincinv(2 * index, core) / b) ** index
    geometry[:, quad.DARK] = (gammainccinv(2 * index, DARK_FLUX) / b) ** index
    # Below n = 1 the profile falls faster and faster outwards.
    geometry[:, quad.STEEP] = STEEPNESS * index / b * np.where(index < 1, 0.8 * index, 1.0)
    geometry[:, quad.FLATTER] = np.where(index > 1, 1 - 1 / index, 0.0)
    return b


def _parts(rows: Rows, which: NDArray[np.int64], geometry: Floats, pixel: float) -> Parts:
    """Components of the rows that have several: the row's lens and field, each with a map and a profile of its own."""
    found = rows.components
    if not found.row.size:
        first, kind = np.zeros(which.size + 1, np.int64), np.zeros(KINDS * which.size + 1, np.int64)
        return Parts(first, kind, np.zeros((0, quad.PARAMETERS)), np.zeros((0, 4)), rows.components.share[which])
    # Controls have none, so that a component's row is always among those that are packed.
    row = np.searchsorted(which, found.row)
    of, index = found.column, found.column["src_n"]
    place = geometry[row]
    lens = {k: rows.column[k][found.row] for k in ("shear", "shear_phi_rad")}
    _map(place, {**of, **lens}, pixel)
    b = _profile(place, index)
    place[found.kind == KNOT_KIND, quad.CORE] = KNOT_CORE
    reff = of["src_reff_arcsec"] / pixel
    unit = found.weight * sersic_amplitude(1.0, reff, index, of["src_q"]) * np.exp(b)
    share = found.share[which]
    most = found.weight * share.max(axis=2, initial=0.0)[row, found.kind]
    coarser = np.clip(np.maximum(most, 1e-9) ** _PART_POWER, 1.0, _LONGEST_PART)
    return Parts(
        first=np.searchsorted(row, np.arange(which.size + 1)),
        kind=np.searchsorted(KINDS * row + found.kind, np.arange(KINDS * which.size + 1)),
        geometry=np.ascontiguousarray(place),
        profile=np.stack([index, b, unit, coarser], axis=1),
        share=np.ascontiguousarray(share),
    )


@dataclass(frozen=True)
class _Transmitted:
    """Field, period and frequencies of the rows; see :class:`Packed`."""

    pad: Floats
    period: Floats
    scale: Floats
    frequencies: Floats
    disc: Floats
    sharpest: NDArray[np.int64]
    table: NDArray[np.int64]
    leak: Floats


def _transmitted(
    rows: Rows, which: NDArray[np.int64], models: NDArray[np.str_], beta: float, size: int, pixel: float
) -> _Transmitted:
    """Choose what each row's PSFs ask for: how far around the stamp light counts, and which frequencies they pass."""
    used, entry = rows.present[which], rows.kernels.entry[which]
    measured, kernels = entry >= 0, rows.kernels
    n, by_kernel = which.size, measured.any(axis=1)
    fwhm = np.where(used, rows.fwhm[which] / pixel, np.nan)
    fwhm[measured] = kernels.fwhm_pix[entry[measured]]
    length, cut, reach = np.full(fwhm.shape, np.nan), np.full(n, np.nan), np.zeros(n)
    table = np.zeros(n, dtype=np.int64)
    for k, model in enumerate(psf.MODELS):
        mine = ~by_kernel & (models[which] == model)
        if not mine.any():
            continue
        length[mine] = psf.scale_length(fwhm[mine], model, beta)
        cut[mine], table[mine] = _cut(model, beta), k
        reach[mine] = psf.level_radius(_REPEAT_LEVEL, 1.0, model, beta)
    widest = np.where(used, fwhm, 0.0).max(axis=1, initial=0.0)
    pad = psf.margin_pix(widest)
    wings = np.minimum(reach * widest, 2 * size)
    # A kernel has no light beyond its edge.
    edge = np.zeros(entry.shape)
    edge[measured] = 0.5 * kernels.size[entry[measured]]
    wings[by_kernel] = edge[by_kernel].max(axis=1, initial=0.0)
    period = np.maximum(size + pad + wings, size + 2 * pad)
    scale = 2 * np.pi * length / period[:, None]
    frequencies = np.where(used & ~measured, 4 * np.ceil(cut[:, None] / scale / 4 + 0.01), 0.0)
    sharpest = np.zeros(n, dtype=np.int64)
    if fwhm.size:
        sharpest = np.where(by_kernel, np.where(used, fwhm, np.inf).argmin(axis=1), frequencies.argmax(axis=1))
    leak = _leak(rows, which, models, beta, fwhm, sharpest, np.stack([pad, wings], axis=1))
    disc = frequencies.copy()
    disc[measured] = kernels.cut[entry[measured]] * np.broadcast_to(period[:, None], disc.shape)[measured]
    frequencies[measured] = 4 * np.ceil(np.minimum(disc, 0.5 * period[:, None])[measured] / 4)
    return _Transmitted(pad, period, scale, frequencies, disc, sharpest, table, leak)


def _leak(
    rows: Rows,
    which: NDArray[np.int64],
    models: NDArray[np.str_],
    beta: float,
    fwhm: Floats,
    sharpest: NDArray[np.int64],
    distance: Floats,
) -> Floats:
    """Largest PSF of a row's bands at each of its distances, pixels, shape (row, distance).

    Over each band's own peak, times the sharpest band's: what light at that distance does to the image of a point.
    """
    entry, kernels = rows.kernels.entry[which], rows.kernels
    every = np.arange(which.size)
    out = np.zeros(distance.shape)
    measured = entry >= 0
    if measured.any():
        far, central = kernels.far, kernels.far[:, 0]
        at = np.minimum(np.ceil(distance).astype(np.int64), far.shape[1] - 1)
        share = np.where(measured[..., None], far[entry[:, :, None], at[:, None]] / central[entry][..., None], 0.0)
        rows_of_kernels = measured.any(axis=1)
        out[rows_of_kernels] = (share.max(axis=1) * central[entry[every, sharpest]][:, None])[rows_of_kernels]
    for model in psf.MODELS:
        mine = np.flatnonzero((models[which] == model) & ~measured.any(axis=1))
        width = fwhm[mine]
        if not width.size:
            continue
        known = np.isfinite(width)
        safe = np.where(known, width, 1.0)
        share = psf.profile(distance[mine, None] / safe[..., None], 1.0, model, beta) / psf.profile(
            0.0, 1.0, model, beta
        )
        narrow = safe[np.arange(mine.size), sharpest[mine]]
        peak = psf.profile(0.0, 1.0, model, beta) / narrow**2
        out[mine] = np.where(known[..., None], share, 0.0).max(axis=1) * peak[:, None]
    return out


def _images(geometry: Floats, rows: Rows, which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the rows with images are dark; and which image each shows."""
    image, images = rows.images.of[which], rows.images
    shown = image >= 0
    geometry[shown, quad.DARK] = images.dark[image[shown]]
    return image


def _lens(rows: Rows, which: NDArray[np.int64], pixel: float) -> tuple[Floats, Floats]:
    """Lens and map of the rows' geometry, and the coefficients of the lens series."""
    c = {k: v[which] for k, v in rows.column.items()}
    p = np.zeros((which.size, quad.PARAMETERS))
    sis = rows.is_sis[which]
    q, phi = np.where(sis, 1.0, c["lens_q"]), np.where(sis, 0.0, c["lens_phi_rad"])
    p[:, quad.COS], p[:, quad.SIN], p[:, quad.Q] = np.cos(phi), np.sin(phi), q
    power = 2 - rows.gamma[which]
    power[np.abs(power) < 1e-6] = 0.0
    p[:, quad.POWER] = power
    p[:, quad.STRENGTH] = 2 / (1 + q) * (c["theta_e_arcsec"] * np.sqrt(q) / pixel) ** (1 - power)
    # Terms fall as f^n; 1e-8 of the deflection is 1e-7 pixel.
    f = (1 - q) / (1 + q)
    terms = np.ceil(np.log(1e-8) / np.log(np.clip(f, 1e-9, 0.999)))
    p[:, quad.TERMS] = np.where(f > 1e-9, terms, 0)
    k = np.arange(1, int(terms.max(initial=1)) + 1)
    series = -f[:, None] * (2 * k - 1 - power[:, None]) / (2 * k + 1 + power[:, None])

    _map(p, c, pixel)
    return p, series


def _map(p: Floats, c: Mapping[str, Floats], pixel: float) -> None:
    """Fill the map from the image plane to the axes and half-light radii of a source."""
    cos, sin, q_src = np.cos(c["src_phi_rad"]), np.sin(c["src_phi_rad"]), c["src_q"]
    t = np.array([[cos, sin], [-sin / q_src, cos / q_src]]) * (pixel / c["src_reff_arcsec"])
    g1, g2 = c["shear"] * np.cos(2 * c["shear_phi_rad"]), c["shear"] * np.sin(2 * c["shear_phi_rad"])
    for i in range(2):
        p[:, quad.TO_SOURCE + 2 * i], p[:, quad.TO_SOURCE + 2 * i + 1] = t[i]
        p[:, quad.MAP + 2 * i] = t[i, 0] * (1 - g1) - t[i, 1] * g2
        p[:, quad.MAP + 2 * i + 1] = t[i, 1] * (1 + g1) - t[i, 0] * g2
        p[:, quad.SOURCE + i] = (t[i, 0] * c["src_x_arcsec"] + t[i, 1] * c["src_y_arcsec"]) / pixel
