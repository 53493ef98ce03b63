"""Render packed rows: one compiled call for all, each row by itself, without the GIL.

Per row: the light's samples on a grid (:mod:`shoot`), the grid's low frequencies (:mod:`bands`), and for every band a
product with its PSF and a transform to the pixels. The samples are drawn twice, at different nodes: the mean is the
image, half the difference its error. A row whose halves disagree is drawn again, more finely. Nothing is kept from
one row to the next, so a row's bits do not depend on the rows around it.
"""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled
from lensflow.lensing import bands, shoot
from lensflow.lensing import quadrature as quad
from lensflow.lensing.matmul import LANES
from lensflow.lensing.pack import CENTRAL_LIGHT, INDEX, ORIGIN_X, ORIGIN_Y, PERIOD, STEP, B

# The arc is exactly 0 below this share of its peak (in its row and band).
ARC_FLOOR = 1e-6
# render_err, in units of the arc's peak: what both renderings of a row have in common (faint light not followed, the
# spreading window, the tables), the frequencies beyond the PSF's cut from those just below it, and half the
# difference of the two renderings.
COMMON = 4e-5
PER_RING = 0.2
PER_DIFFERENCE = 1.0
# Share of the frequencies that the difference is formed from: the PSF transmits 1 % or less of the others.
_DIFFERENCE_CUT = 0.6
# Rows whose estimate is above this are rendered once more with finer panels, and with a finer core.
REFINE_ABOVE = 4e-4
_FINER, _FINER_CORE = 0.6, 0.25

_SAMPLES, _MAGNIFICATION, _ERROR = 0, 1, 2
RESULTS = 3


@compiled()
def render_rows(  # type: ignore[no-untyped-def]
    arc, row, geometry, series, settings, scalars, band_scale, frequencies, grid_size, table, flux,
    psf_tables, psf_sizes, constants, deconvolution, results,
):  # fmt: skip
    """Render rows into ``arc``.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x), zeros
        Filled at the samples ``row``.
    row, geometry, series, settings, scalars, band_scale, frequencies, grid_size, table
        Fields of :class:`lensflow.lensing.pack.Packed`.
    flux : ndarray, shape (row, band)
        Unlensed flux, nMgy.
    psf_tables, psf_sizes
        From :func:`lensflow.lensing.pack.tables`.
    constants, deconvolution
        See :func:`lensflow.lensing.shoot.shoot_row` and :func:`lensflow.lensing.bands.forward`.
    results : ndarray, shape (row, RESULTS)
        Filled: number of samples (of the last attempt), magnification, render_err.
    """
    size = arc.shape[2]
    m_max, k_max = grid_size.max(), frequencies.max()
    # Work space, once for all rows; whole vectors, with room to round up.
    wide_m, wide_h = (m_max + LANES) // LANES * LANES, (m_max // 2 + LANES) // LANES * LANES
    wide_k, wide_p = (k_max + LANES) // LANES * LANES, (size // 2 + 1 + LANES) // LANES * LANES
    f4 = np.float32
    grid = np.zeros((wide_m, wide_m), f4)
    second = np.zeros((wide_m, wide_m), f4)
    scratch = np.empty((shoot.SCRATCH_ROWS, quad.MAX_SAMPLES), f4)
    edges = np.empty((quad.MAX_PANELS, 2))
    stack = np.zeros((shoot.STACK_ROWS, shoot.STACK_COLUMNS))
    spectrum, shaped = np.zeros((4, wide_k, wide_k), f4), np.zeros((4, wide_k, wide_k), f4)
    difference = np.zeros((4, wide_k, wide_k), f4)
    cos, sin = np.zeros((wide_k, wide_h), f4), np.zeros((wide_k, wide_h), f4)
    cos_t, sin_t = np.zeros((wide_h, wide_k), f4), np.zeros((wide_h, wide_k), f4)
    fold, half = np.zeros((4, wide_h, wide_h), f4), np.zeros((wide_k, wide_h), f4)
    pixel_cos, pixel_sin = np.zeros((wide_p, wide_k), f4), np.zeros((wide_p, wide_k), f4)
    pixel_cos_t, pixel_sin_t = np.zeros((wide_k, wide_p), f4), np.zeros((wide_k, wide_p), f4)
    lines, quarter = np.zeros((max(wide_p, wide_k), wide_k), f4), np.zeros((4, wide_p, wide_p), f4)
    picture = np.zeros((size, size), f4)
    shape, finer = np.empty(geometry.shape[1]), np.empty(settings.shape[1:])
    work = np.zeros((4, max(wide_k, wide_h, wide_p)))
    for i in range(row.size):
        s = scalars[i]
        m, k = grid_size[i], frequencies[i].max()
        sharpest = frequencies[i].argmax()  # the band that shows the errors most
        scale, period = band_scale[i, sharpest], s[PERIOD]
        psf_table = psf_tables[table[i], : psf_sizes[table[i]]]
        k_low = (int(_DIFFERENCE_CUT * k) + 3) // 4 * 4
        if k > 0:
            bands.grid_waves(cos, sin, cos_t, sin_t, m, k, s[STEP], period, deconvolution, work)
            bands.pixel_waves(pixel_cos, pixel_sin, pixel_cos_t, pixel_sin_t, size, k, period, work)
        results[i, _ERROR] = np.nan
        peak = missed = np.float32(0.0)
        for attempt in range(2):
            shape[:], finer[:] = geometry[i], settings[i]
            if attempt == 1:
                shape[quad.CORE] *= _FINER_CORE
                for turn in range(2):
                    for name in quad.LENGTHS:
                        finer[turn, name] *= _FINER
            total, samples = 0.0, 0
            for turn in range(2):
                target = grid if turn == 0 else second
                target[:m] = 0.0
                inside, outside, count = shoot.shoot_row(
                    shape, series[i], finer[turn], s[INDEX], s[B], target.reshape(wide_m * wide_m), wide_m,
                    s[STEP], s[ORIGIN_X], s[ORIGIN_Y], constants, scratch, edges, stack,
                )  # fmt: skip
                total += 0.5 * (inside + outside)
                samples += count
            results[i, _SAMPLES] = samples
            results[i, _MAGNIFICATION] = total * s[CENTRAL_LIGHT]
            if k == 0:
                break
            _mean_and_difference(grid, second, m)
            bands.forward(difference, second, m, k_low, cos, sin, cos_t, sin_t, fold, half)
            bands.image(
                picture, difference, k_low, scale, period, psf_table, size, pixel_cos, pixel_sin, pixel_cos_t,
                pixel_sin_t, shaped, lines, quarter,
            )  # fmt: skip
            missed = max(picture.max(), -picture.min())
            bands.forward(spectrum, grid, m, k, cos, sin, cos_t, sin_t, fold, half)
            bands.image(
                picture, spectrum, k, scale, period, psf_table, size, pixel_cos, pixel_sin, pixel_cos_t,
                pixel_sin_t, shaped, lines, quarter,
            )  # fmt: skip
            peak = picture.max()
            if missed <= REFINE_ABOVE * peak:
                break
        if k == 0:
            continue
        ring = bands.outer_ring(shaped, k, (psf_table.size - 3) / bands.TABLE_STEPS / scale)
        results[i, _ERROR] = COMMON + (PER_DIFFERENCE * missed + PER_RING * ring) / max(peak, np.float32(1e-30))
        _write(arc[row[i], sharpest], picture, np.float32(s[CENTRAL_LIGHT] * flux[i, sharpest]), peak)
        for band in range(arc.shape[1]):
            used = frequencies[i, band]
            if used == 0 or band == sharpest:
                continue
            bands.image(
                picture, spectrum, used, band_scale[i, band], period, psf_table, size, pixel_cos, pixel_sin,
                pixel_cos_t, pixel_sin_t, shaped, lines, quarter,
            )  # fmt: skip
            _write(arc[row[i], band], picture, np.float32(s[CENTRAL_LIGHT] * flux[i, band]), picture.max())


@compiled(fastmath=True)
def _mean_and_difference(a, b, m):  # type: ignore[no-untyped-def]
    """Replace two grids by their mean and half their difference."""
    for i in range(m):
        x, y = a[i], b[i]
        for j in range(m):
            u, v = x[j], y[j]
            x[j] = np.float32(0.5) * (u + v)
            y[j] = np.float32(0.5) * (u - v)


@compiled(fastmath={"contract", "nsz"})
def _write(out, picture, unit, peak):  # type: ignore[no-untyped-def]
    floor = np.float32(ARC_FLOOR) * peak
    for y in range(picture.shape[0]):
        line, source = out[y], picture[y]
        for x in range(picture.shape[1]):
            v = source[x]
            line[x] = v * unit if abs(v) >= floor else np.float32(0.0)
