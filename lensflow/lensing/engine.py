"""Render packed rows: one compiled call for all, each row by itself, without the GIL.

Per row: the light's samples on a grid (:mod:`shoot`), the grid's low frequencies (:mod:`bands`), and for every band
a product with its PSF and a transform to the pixels. Nothing is kept from one row to the next, so a row's bits do
not depend on the rows around it.
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
# What render_err adds up, in units of the arc's peak: what is always there (faint light not followed, the spreading
# window, the tables), the frequencies beyond the PSF's cut from those just below it, and the quadrature.
ALWAYS = 8e-5
PER_RING = 0.2
PER_RADIAL = 0.7
PER_ANGULAR = 1.0

_SAMPLES, _MAGNIFICATION, _ERROR = 0, 1, 2
RESULTS = 3


@compiled()
def render_rows(  # type: ignore[no-untyped-def]
    arc, row, geometry, series, settings, scalars, band_scale, frequencies, grid_size, table, sharpness, flux,
    psf_tables, psf_sizes, constants, deconvolution, results,
):  # fmt: skip
    """Render rows into ``arc``.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x), zeros
        Filled at the samples ``row``.
    row, geometry, series, settings, scalars, band_scale, frequencies, grid_size, table, sharpness
        Fields of :class:`lensflow.lensing.pack.Packed`.
    flux : ndarray, shape (row, band)
        Unlensed flux, nMgy.
    psf_tables, psf_sizes
        From :func:`lensflow.lensing.pack.tables`.
    constants, deconvolution
        See :func:`lensflow.lensing.shoot.shoot_row` and :func:`lensflow.lensing.bands.forward`.
    results : ndarray, shape (row, RESULTS)
        Filled: number of samples, magnification, render_err.
    """
    size = arc.shape[2]
    m_max, k_max = grid_size.max(), frequencies.max()
    # Work space, once for all rows; whole vectors, with room to round up.
    wide_m, wide_h = (m_max + LANES) // LANES * LANES, (m_max // 2 + LANES) // LANES * LANES
    wide_k, wide_p = (k_max + LANES) // LANES * LANES, (size // 2 + 1 + LANES) // LANES * LANES
    f4 = np.float32
    grid = np.zeros((wide_m, wide_m), f4)
    flat = grid.reshape(wide_m * wide_m)
    cells = np.zeros((2, m_max // shoot.CELL + 2, m_max // shoot.CELL + 2))
    scratch = np.empty((shoot.SCRATCH_ROWS, quad.MAX_SAMPLES), f4)
    edges = np.empty((quad.MAX_PANELS, 2))
    stack = np.zeros((shoot.STACK_ROWS, shoot.STACK_COLUMNS))
    spectrum, shaped = np.zeros((4, wide_k, wide_k), f4), np.zeros((4, wide_k, wide_k), f4)
    cos, sin = np.zeros((wide_k, wide_h), f4), np.zeros((wide_k, wide_h), f4)
    cos_t, sin_t = np.zeros((wide_h, wide_k), f4), np.zeros((wide_h, wide_k), f4)
    fold, half = np.zeros((4, wide_h, wide_h), f4), np.zeros((wide_k, wide_h), f4)
    pixel_cos, pixel_sin = np.zeros((wide_p, wide_k), f4), np.zeros((wide_p, wide_k), f4)
    pixel_cos_t, pixel_sin_t = np.zeros((wide_k, wide_p), f4), np.zeros((wide_k, wide_p), f4)
    lines, quarter = np.zeros((max(wide_p, wide_k), wide_k), f4), np.zeros((4, wide_p, wide_p), f4)
    picture = np.zeros((size, size), f4)
    work = np.zeros((4, max(wide_k, wide_h, wide_p)))
    for i in range(row.size):
        s = scalars[i]
        m, k = grid_size[i], frequencies[i].max()
        grid[:m] = 0.0
        cells[:] = 0.0
        inside, outside, samples = shoot.shoot_row(
            geometry[i], series[i], settings[i], s[INDEX], s[B], flat, wide_m, s[STEP], s[ORIGIN_X], s[ORIGIN_Y],
            constants, cells, scratch, edges, stack,
        )  # fmt: skip
        results[i, _SAMPLES] = samples
        results[i, _MAGNIFICATION] = (inside + outside) * s[CENTRAL_LIGHT]
        results[i, _ERROR] = np.nan
        if k == 0:
            continue
        period = s[PERIOD]
        bands.forward(spectrum, grid, m, k, s[STEP], period, deconvolution, cos, sin, cos_t, sin_t, fold, half, work)
        bands.pixel_waves(pixel_cos, pixel_sin, pixel_cos_t, pixel_sin_t, size, k, period, work)
        psf_table = psf_tables[table[i], : psf_sizes[table[i]]]
        for band in range(arc.shape[1]):
            used, scale = frequencies[i, band], band_scale[i, band]
            if used == 0:
                continue
            bands.image(
                picture, spectrum, used, scale, period, psf_table, size, pixel_cos, pixel_sin, pixel_cos_t,
                pixel_sin_t, shaped, lines, quarter,
            )  # fmt: skip
            peak = picture.max()
            if used == k:  # the sharpest band is the one that misses most
                cut = (psf_table.size - 3) / bands.TABLE_STEPS / scale
                missed = PER_RING * bands.outer_ring(shaped, used, cut)
                missed += sharpness[i] * (PER_RADIAL * cells[0].max() + PER_ANGULAR * cells[1].max())
                results[i, _ERROR] = ALWAYS + missed / peak if peak > 0 else ALWAYS
            _write(arc[row[i], band], picture, np.float32(s[CENTRAL_LIGHT] * flux[i, band]), peak)


@compiled(fastmath={"contract", "nsz"})
def _write(out, picture, unit, peak):  # type: ignore[no-untyped-def]
    floor = np.float32(ARC_FLOOR) * peak
    for y in range(picture.shape[0]):
        line, source = out[y], picture[y]
        for x in range(picture.shape[1]):
            v = source[x]
            line[x] = v * unit if abs(v) >= floor else np.float32(0.0)
