"""Render packed rows: one compiled call for all, each row by itself, without the GIL.

Per row: the light's samples on a grid (:mod:`shoot`), the grid's low frequencies (:mod:`bands`), and for every band a
product with its PSF and a transform to the pixels. The samples are drawn twice, at different nodes: the mean is the
image, half the difference its error. A row whose halves disagree is drawn again, more finely. Nothing is kept from
one row to the next, so a row's bits do not depend on the rows around it.
"""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled
from lensflow.lensing.engine import bands, shoot
from lensflow.lensing.engine import quadrature as quad
from lensflow.lensing.engine.matmul import LANES
from lensflow.lensing.engine.pack import CENTRAL_LIGHT, INDEX, ORIGIN_X, ORIGIN_Y, PERIOD, STEP, B

# The arc is exactly 0 below this share of its peak (in its row and band).
ARC_FLOOR = 1e-6
# render_err, in units of the arc's peak: what both renderings of a row have in common (faint light not followed, the
# spreading window, the tables), the frequencies beyond the PSF's cut from those just below it, and half the
# difference of the two renderings.
COMMON = 4e-5
PER_RING = 0.2
PER_DIFFERENCE = 1.0
# Light beyond the margin counts by its flux times the PSF at the margin's width, an upper limit, from this share of the
# peak on. And by how much the magnifications of the two renderings may differ.
LEAK_FROM = 1e-4
MAGNIFICATIONS_APART = 0.01
# Share of the frequencies that the difference is formed from: the PSF transmits 1 % or less of the others.
_DIFFERENCE_CUT = 0.6
# Rows whose estimate is above this are rendered once more with finer panels, and with a finer core.
REFINE_ABOVE = 4e-4
_FINER, _FINER_CORE = 0.6, 0.25

_SAMPLES, _MAGNIFICATION, _ERROR = 0, 1, 2
RESULTS = 3


@compiled()
def render_rows(  # type: ignore[no-untyped-def]
    arc, row, geometry, series, settings, scalars, band_scale, frequencies, disc, sharpest, entry, image, grid_size,
    table, leak, flux, psf_tables, psf_sizes, kernels, images, constants, deconvolution, results,
):  # fmt: skip
    """Render rows into ``arc``.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x), zeros
        Filled at the samples ``row``.
    row, geometry, series, settings, scalars, band_scale, frequencies, disc, sharpest, entry, image, grid_size, table,
    leak
        Fields of :class:`lensflow.lensing.engine.pack.Packed`.
    flux : ndarray, shape (row, band)
        Unlensed flux, nMgy.
    psf_tables, psf_sizes
        From :func:`lensflow.lensing.engine.pack.tables`.
    kernels : tuple
        size, fold, cut, neglected and unseen of :class:`lensflow.lensing.engine.kernel_set.PackedKernels`.
    images : tuple
        pixels, frame and place of :class:`lensflow.lensing.image_light.Images`.
    constants, deconvolution
        See :func:`lensflow.lensing.engine.shoot.shoot_row` and :func:`lensflow.lensing.engine.bands.forward`.
    results : ndarray, shape (row, RESULTS)
        Filled: number of samples (of the last attempt), magnification, render_err.
    """
    size, n_bands = arc.shape[2], arc.shape[1]
    kernel_size, kernel_fold, kernel_cut, kernel_neglected, kernel_unseen = kernels
    pixels, frame, place = images
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
    # The kernels' transforms of the last row: rows of one host come together.
    kept_entry, kept_period = np.full(n_bands, -1), np.zeros(n_bands)
    n_kept, kernel_p = (n_bands, kernel_fold.shape[2]) if kernel_size.size else (0, 0)
    parts = np.zeros((n_kept, 4, wide_k, wide_k), f4)
    kernel_cos, kernel_sin = np.zeros((kernel_p, wide_k), f4), np.zeros((kernel_p, wide_k), f4)
    kernel_cos_t, kernel_sin_t = np.zeros((wide_k, kernel_p), f4), np.zeros((wide_k, kernel_p), f4)
    kernel_half = np.zeros((wide_k, kernel_p), f4)
    shape, finer = np.empty(geometry.shape[1]), np.empty(settings.shape[1:])
    work = np.zeros((4, max(wide_k, wide_h, wide_p)))
    measured = kernel_size.size > 0
    for i in range(row.size):
        s = scalars[i]
        m, k = grid_size[i], frequencies[i].max()
        first, period, radius = sharpest[i], s[PERIOD], disc[i].max()
        psf_table = psf_tables[table[i], : psf_sizes[table[i]]]
        k_low, radius_low = k, radius
        if not measured:
            k_low = (int(_DIFFERENCE_CUT * k) + 3) // 4 * 4
            radius_low = float(k_low)
        light, light_place = _image(pixels, frame, place, image[i])
        if k > 0:
            bands.grid_waves(cos, sin, cos_t, sin_t, m, k, s[STEP], period, deconvolution, work)
            bands.pixel_waves(pixel_cos, pixel_sin, pixel_cos_t, pixel_sin_t, size, k, period, work)
        waves = (pixel_cos, pixel_sin, pixel_cos_t, pixel_sin_t)
        for band in range(n_bands):
            j = entry[i, band]
            if j < 0 or (kept_entry[band] == j and kept_period[band] == period):
                continue
            kept_entry[band], kept_period[band] = j, period
            used = frequencies[i, band]
            bands.pixel_waves(
                kernel_cos, kernel_sin, kernel_cos_t, kernel_sin_t, kernel_size[j], used, period, work
            )  # fmt: skip
            bands.kernel_parts(
                parts[band], kernel_fold[j], used, kernel_cut[j], period, kernel_cos, kernel_sin, kernel_cos_t,
                kernel_sin_t, kernel_half,
            )  # fmt: skip
        results[i, _ERROR] = np.nan
        peak = missed = np.float32(0.0)
        for attempt in range(2):
            shape[:], finer[:] = geometry[i], settings[i]
            if attempt == 1:
                shape[quad.CORE] *= _FINER_CORE
                for turn in range(2):
                    for name in quad.LENGTHS:
                        finer[turn, name] *= _FINER
            total, apart, without, samples = 0.0, 0.0, 0.0, 0
            for turn in range(2):
                target = grid if turn == 0 else second
                target[:m] = 0.0
                inside, outside, count = shoot.shoot_row(
                    shape, series[i], finer[turn], s[INDEX], s[B], light, light_place,
                    target.reshape(wide_m * wide_m), wide_m, s[STEP], s[ORIGIN_X], s[ORIGIN_Y], constants, scratch,
                    edges, stack,
                )  # fmt: skip
                total += 0.5 * (inside + outside)
                without += 0.5 * outside
                apart += (inside + outside) * (1.0 if turn == 0 else -1.0)
                samples += count
            results[i, _SAMPLES] = samples
            results[i, _MAGNIFICATION] = total * s[CENTRAL_LIGHT]
            if k == 0:
                break
            _mean_and_difference(grid, second, m)
            bands.forward(difference, second, m, k_low, radius_low, cos, sin, cos_t, sin_t, fold, half)
            _picture(
                picture, difference, min(k_low, frequencies[i, first]), disc[i, first], band_scale[i, first], period,
                psf_table, parts, first, waves, shaped, lines, quarter,
            )  # fmt: skip
            missed = max(picture.max(), -picture.min())
            bands.forward(spectrum, grid, m, k, radius, cos, sin, cos_t, sin_t, fold, half)
            _picture(
                picture, spectrum, frequencies[i, first], disc[i, first], band_scale[i, first], period, psf_table,
                parts, first, waves, shaped, lines, quarter,
            )  # fmt: skip
            peak = picture.max()
            if missed <= REFINE_ABOVE * peak:
                break
        if k == 0:
            continue
        error = PER_DIFFERENCE * missed / max(peak, np.float32(1e-30))
        if measured:
            error += kernel_neglected[entry[i, first]]
            if kernel_unseen[entry[i, first]] > 0.0:
                ring = bands.outer_ring(shaped, k, 0.5 * period)
                error += kernel_unseen[entry[i, first]] * ring / max(peak, np.float32(1e-30))
        else:
            reach = (psf_table.size - 3) / bands.TABLE_STEPS / band_scale[i, first]
            error += PER_RING * bands.outer_ring(shaped, k, reach) / max(peak, np.float32(1e-30))
        lost = without * leak[i, 0] + max(total - without - picture.sum(), 0.0) * leak[i, 1]
        lost /= max(peak, np.float32(1e-30))
        if lost > LEAK_FROM:
            error += lost
        # One of the renderings has not seen an image, be it on the stamp or not.
        if abs(apart) > MAGNIFICATIONS_APART * total:
            error += abs(apart) / total
        results[i, _ERROR] = COMMON + error
        _write(arc[row[i], first], picture, np.float32(s[CENTRAL_LIGHT] * flux[i, first]), peak)
        for band in range(n_bands):
            used = frequencies[i, band]
            if used == 0 or band == first:
                continue
            _picture(
                picture, spectrum, used, disc[i, band], band_scale[i, band], period, psf_table, parts, band, waves,
                shaped, lines, quarter,
            )  # fmt: skip
            _write(arc[row[i], band], picture, np.float32(s[CENTRAL_LIGHT] * flux[i, band]), picture.max())


@compiled(inline="always")
def _image(pixels, frame, place, which):  # type: ignore[no-untyped-def]
    """An image and its place, or an empty one for a Sersic source."""
    if which < 0:
        return pixels[:0].reshape(0, 0), np.zeros(3)
    start, rows, columns = frame[which]
    return pixels[start : start + rows * columns].reshape(rows, columns), place[which]


@compiled()
def _picture(  # type: ignore[no-untyped-def]
    picture, spectrum, k, disc, scale, period, psf_table, parts, band, waves, shaped, half, quarter
):
    """Convolve with the band's PSF, by its kernel's parts where there are any, and sample at the pixel centres."""
    if parts.shape[0]:
        bands.shape_kernel(shaped, spectrum, parts[band], k, disc, period)
    else:
        bands.shape_radial(shaped, spectrum, k, scale, period, psf_table, half[0])
    cos, sin, cos_t, sin_t = waves
    bands.to_pixels(picture, shaped, k, picture.shape[0], cos, sin, cos_t, sin_t, half, quarter)


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
