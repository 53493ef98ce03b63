"""Render packed rows: one compiled call for all, each row by itself, without the GIL.

Per row: the light's samples on a grid (:mod:`shoot`), the grid's low frequencies (:mod:`bands`), and for every band a
product with its PSF and a transform to the pixels. The samples are drawn twice, at different nodes: the mean is the
image, half the difference its error. A row whose halves disagree is drawn again, more finely. Nothing is kept from
one row to the next, so a row's bits do not depend on the rows around it.
"""

from __future__ import annotations

import numpy as np

from lensflow.jit import compiled
from lensflow.lensing.components import KINDS
from lensflow.lensing.engine import bands, shoot, shoot_image
from lensflow.lensing.engine import quadrature as quad
from lensflow.lensing.engine.image_lookup import TAPS
from lensflow.lensing.engine.matmul import LANES
from lensflow.lensing.engine.pack import CENTRAL_LIGHT, INDEX, ORIGIN_X, ORIGIN_Y, PERIOD, STEP, B
from lensflow.lensing.engine.records import (
    Constants,
    Extent,
    Grid,
    ImageRow,
    Passed,
    PictureSpace,
    Products,
    Row,
    Sampling,
    Waves,
)
from lensflow.lensing.engine.spreading import DECONVOLUTION, WEIGHTS

# The arc is exactly 0 below this share of its peak (in its row and band).
ARC_FLOOR = 1e-6
# render_err, in units of the arc's peak: what both renderings of a row have in common (faint light not followed, the
# spreading window, the tables), the frequencies beyond the PSF's cut from those just below it, and half the
# difference of the two renderings.
COMMON, COMMON_OF_IMAGES = 4e-5, 1.2e-4
PER_RING = 0.2
PER_DIFFERENCE, PER_DIFFERENCE_OF_IMAGES = 1.0, 2.5
# A ray over an image that ended before its light did may have been the brightest.
ENDED_EARLY = 1.0
# Light beyond the margin counts by its flux times the PSF at the margin's width, an upper limit, from this share of the
# peak on. And by how much the magnifications of the two renderings may differ.
LEAK_FROM = 1e-4
MAGNIFICATIONS_APART = 0.01
# Share of the frequencies that the difference is formed from: the PSF transmits 1 % or less of the others.
_DIFFERENCE_CUT = 0.6
# Rows whose estimate is above this are rendered once more with finer panels, and with a finer core.
REFINE_ABOVE, REFINE_IMAGES_ABOVE = 4e-4, 3.5e-4
_FINER, _FINER_CORE = 0.6, 0.25

_SAMPLES, _MAGNIFICATION, _ERROR = 0, 1, 2
# Then the magnification in every band.
RESULTS = 3
# Columns of ``Parts.profile``.
_INDEX, _B, _UNIT, _COARSER = range(4)

CONSTANTS = Constants(quad.NODES, quad.TURNS, WEIGHTS, DECONVOLUTION, TAPS, shoot_image.TURNS)


@compiled()
def render_rows(arc, rows, psfs, pictures, constants, results):  # type: ignore[no-untyped-def]
    """Render rows into ``arc``.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x), zeros
        Filled at the samples ``rows.row``, nMgy/pixel.
    rows : Packed
    psfs : Psfs
    pictures : Pictures
    constants : Constants
        :data:`CONSTANTS`.
    results : ndarray of float64, shape (row, RESULTS + band)
        Filled: number of samples (of the last attempt), magnification of all bands' light together, render_err; and
        the magnification in each band.
    """
    size, n_bands = arc.shape[2], arc.shape[1]
    m_max, k_max = rows.grid_size.max(), rows.frequencies.max()
    # Work space, once for all rows; whole vectors, with room to round up.
    wide_m, wide_h = (m_max + LANES) // LANES * LANES, (m_max // 2 + LANES) // LANES * LANES
    wide_k, wide_p = (k_max + LANES) // LANES * LANES, (size // 2 + 1 + LANES) // LANES * LANES
    f4 = np.float32
    grid = np.zeros((wide_m, wide_m), f4)
    second = np.zeros((wide_m, wide_m), f4)
    shooting = shoot.shoot_space()
    spectrum, difference = np.zeros((4, wide_k, wide_k), f4), np.zeros((4, wide_k, wide_k), f4)
    waves = Waves(np.zeros((wide_h, wide_k), f4), np.zeros((wide_h, wide_k), f4))
    folded = Products(np.zeros((4, wide_h, wide_h), f4), np.zeros((wide_k, wide_h), f4))
    pixel_waves = Waves(np.zeros((wide_p, wide_k), f4), np.zeros((wide_p, wide_k), f4))
    space = PictureSpace(
        Waves(np.zeros((wide_k, wide_p), f4), np.zeros((wide_k, wide_p), f4)),
        np.zeros((n_bands, wide_k, wide_k), f4),
        np.zeros((4, wide_k, wide_k), f4),
        Products(np.zeros((4, wide_p, wide_p), f4), np.zeros((max(wide_p, wide_k), wide_k), f4)),
    )
    picture = np.zeros((size, size), f4)
    line, columns = np.zeros(wide_m, f4), np.zeros((3, size), f4)
    # Waves at the pixels and the kernels' transforms of the last row: rows of one host come together.
    measured = psfs.kernel_size.size > 0
    kept_entry, kept_period = np.full(n_bands, -1), np.zeros(n_bands)
    kept_waves = (0, 0.0)
    # So are the round PSFs at its frequencies.
    kept_table, kept_k, kept_scale = np.full(n_bands, -1), np.zeros(n_bands, np.int64), np.zeros(n_bands)
    n_kept, kernel_p = (n_bands, psfs.kernel_fold.shape[2]) if measured else (0, 0)
    parts = np.zeros((n_kept, 4, wide_k, wide_k), f4)
    kernel_waves = Waves(np.zeros((kernel_p, wide_k), f4), np.zeros((kernel_p, wide_k), f4))
    kernel_half = np.zeros((wide_k, kernel_p), f4)
    geometry, settings = np.empty(rows.geometry.shape[1]), np.empty(rows.settings.shape[1:])
    work = np.zeros((4, max(wide_k, wide_h, wide_p)))
    # Of sources with several components: the spectra of each kind.
    n_kinds = KINDS if rows.parts.profile.size else 0
    spectra = np.zeros((n_kinds, 4, wide_k, wide_k), f4)
    differences = np.zeros((n_kinds, 4, wide_k, wide_k), f4)
    light = np.zeros((n_kinds, 4))
    own = np.empty(rows.settings.shape[2])
    for i in range(rows.row.size):
        s, frequencies, disc, band_scale = rows.scalars[i], rows.frequencies[i], rows.disc[i], rows.band_scale[i]
        entry, leak, flux = rows.entry[i], rows.leak[i], rows.flux[i]
        m, k = rows.grid_size[i], frequencies.max()
        first, period, radius = rows.sharpest[i], s[PERIOD], disc.max()
        table = psfs.tables[rows.table[i], : psfs.table_sizes[rows.table[i]]]
        k_low, radius_low = k, radius
        if not measured:
            k_low = (int(_DIFFERENCE_CUT * k) + 3) // 4 * 4
            radius_low = float(k_low)
        image = rows.image[i]
        frame, place = _image(pictures, image)
        points = 0  # of the grid, at which waves are known
        if k > 0 and kept_waves != (k, period):
            kept_waves = (k, period)
            bands.pixel_waves(pixel_waves, size, k, period, work)
            bands.transpose_waves(space.waves, pixel_waves, size, k)
        for band in range(n_bands):
            j = entry[band]
            if not measured and frequencies[band] > 0:
                same = kept_table[band] == rows.table[i] and kept_k[band] == frequencies[band]
                if not same or kept_scale[band] != band_scale[band]:
                    kept_table[band], kept_k[band] = rows.table[i], frequencies[band]
                    kept_scale[band] = band_scale[band]
                    bands.radial_psf(space.radial[band], frequencies[band], band_scale[band], table, work)
            if j < 0 or (kept_entry[band] == j and kept_period[band] == period):
                continue
            kept_entry[band], kept_period[band] = j, period
            used = frequencies[band]
            bands.pixel_waves(kernel_waves, psfs.kernel_size[j], used, period, work)
            bands.kernel_parts(
                parts[band], psfs.kernel_fold[j], used, psfs.kernel_cut[j], period, kernel_waves, kernel_half
            )
        several = rows.parts.first[i + 1] > rows.parts.first[i]
        passed = Passed(frequencies[first], disc[first], period)
        results[i, _ERROR] = np.nan
        peak = missed = np.float32(0.0)
        for attempt in range(2):
            geometry[:], settings[:] = rows.geometry[i], rows.settings[i]
            if attempt == 1:
                geometry[quad.CORE] *= _FINER_CORE
                for turn in range(2):
                    for name in quad.LENGTHS:
                        settings[turn, name] *= _FINER
            total, apart, without, samples, short = 0.0, 0.0, 0.0, 0, 0
            for turn in range(0 if several else 2):
                target = grid if turn == 0 else second
                target[:m] = 0.0
                field = Grid(target.reshape(wide_m * wide_m), wide_m, s[STEP], s[ORIGIN_X], s[ORIGIN_Y])
                if image < 0:
                    row = Row(geometry, rows.series[i], settings[turn], s[INDEX], s[B], 1.0)
                    inside, outside, count = shoot.shoot_row(row, field, constants, shooting)
                else:
                    shown = ImageRow(geometry, rows.series[i], settings[turn], pictures.pixels, frame, place)
                    inside, outside, count, ended = shoot_image.shoot_image_row(shown, field, constants, shooting)
                    short += ended
                total += 0.5 * (inside + outside)
                without += 0.5 * outside
                apart += (inside + outside) * (1.0 if turn == 0 else -1.0)
                samples += count
            if several:
                # The work of :func:`forward` for every kind, at a time when its light is on the grids.
                for kind in range(KINDS):
                    at = KINDS * i + kind
                    start, end = rows.parts.kind[at], rows.parts.kind[at + 1]
                    if start == end:
                        light[kind] = 0.0
                        continue
                    grid[:m] = 0.0
                    second[:m] = 0.0
                    one = Grid(grid.reshape(wide_m * wide_m), wide_m, s[STEP], s[ORIGIN_X], s[ORIGIN_Y])
                    two = Grid(second.reshape(wide_m * wide_m), wide_m, s[STEP], s[ORIGIN_X], s[ORIGIN_Y])
                    core = 1.0 if attempt == 0 else _FINER_CORE
                    sampling = Sampling(rows.series[i], settings, own, geometry, one, two, core)
                    _shoot_parts(rows.parts, start, end, sampling, constants, shooting, light[kind])
                    samples += int(light[kind, 3])
                    if k > 0:
                        extent = _lit(grid, second, m, line)
                        _mean_and_difference(grid, second, extent)
                        if points < max(extent.high, extent.wide):
                            points = max(extent.high, extent.wide)
                            bands.grid_waves(waves, points, k, s[STEP], period, constants.deconvolution, work)
                        bands.forward(differences[kind], second, extent, k_low, radius_low, waves, folded)
                        bands.forward(spectra[kind], grid, extent, k, radius, waves, folded)
                share = rows.parts.share[i]
                for kind in range(KINDS):
                    total += share[kind, first] * light[kind, 0]
                    without += share[kind, first] * light[kind, 1]
                    apart += share[kind, first] * light[kind, 2]
            results[i, _SAMPLES] = samples
            results[i, _MAGNIFICATION] = total * s[CENTRAL_LIGHT]
            results[i, RESULTS:] = total * s[CENTRAL_LIGHT]
            if several:
                _magnifications(results[i], light, rows.parts.share[i], flux)
            if k == 0:
                break
            if several:
                _mix(difference, differences, rows.parts.share[i, :, first], k_low)
                _mix(spectrum, spectra, rows.parts.share[i, :, first], k)
            else:
                extent = _lit(grid, second, m, line)
                _mean_and_difference(grid, second, extent)
                if points < max(extent.high, extent.wide):
                    points = max(extent.high, extent.wide)
                    bands.grid_waves(waves, points, k, s[STEP], period, constants.deconvolution, work)
                bands.forward(difference, second, extent, k_low, radius_low, waves, folded)
            low = Passed(min(k_low, passed.k), passed.disc, period)
            _picture(picture, difference, low, parts, first, space)
            least, most = _range(picture, columns)
            missed = max(most, -least)
            if not several:
                bands.forward(spectrum, grid, extent, k, radius, waves, folded)
            _picture(picture, spectrum, passed, parts, first, space)
            peak = _range(picture, columns)[1]
            if missed <= (REFINE_ABOVE if image < 0 else REFINE_IMAGES_ABOVE) * peak:
                break
        if k == 0:
            continue
        error = (PER_DIFFERENCE if image < 0 else PER_DIFFERENCE_OF_IMAGES) * missed / max(peak, np.float32(1e-30))
        of_first = error
        if measured:
            error += psfs.kernel_neglected[entry[first]]
            unseen = psfs.kernel_unseen[entry[first]]
            if unseen > 0.0:
                error += unseen * bands.outer_ring(space.shaped, k, 0.5 * period) / max(peak, np.float32(1e-30))
        else:
            reach = (table.size - 3) / bands.TABLE_STEPS / band_scale[first]
            error += PER_RING * bands.outer_ring(space.shaped, k, reach) / max(peak, np.float32(1e-30))
        # Only where it may count is the light on the stamp summed as it always was: one pixel after another, slowly.
        lost = _lost(total, without, columns[2].sum(), leak) / max(peak, np.float32(1e-30))
        if lost > 0.5 * LEAK_FROM:
            lost = _lost(total, without, picture.sum(), leak) / max(peak, np.float32(1e-30))
        if lost > LEAK_FROM:
            error += lost
        # One of the renderings has not seen an image, be it on the stamp or not.
        if abs(apart) > MAGNIFICATIONS_APART * total:
            error += abs(apart) / total
        if short > 0:
            error += ENDED_EARLY
        results[i, _ERROR] = (COMMON if image < 0 else COMMON_OF_IMAGES) + error
        _write(arc[rows.row[i], first], picture, np.float32(s[CENTRAL_LIGHT] * flux[first]), peak)
        for band in range(n_bands):
            if frequencies[band] == 0 or band == first:
                continue
            other = Passed(frequencies[band], disc[band], period)
            if several:
                # Another colour mixes the kinds otherwise, and their errors.
                _mix(difference, differences, rows.parts.share[i, :, band], k_low)
                low = Passed(min(k_low, other.k), other.disc, period)
                _picture(picture, difference, low, parts, band, space)
                least, most = _range(picture, columns)
                missed = max(most, -least)
                _mix(spectrum, spectra, rows.parts.share[i, :, band], k)
                _picture(picture, spectrum, other, parts, band, space)
                most = _range(picture, columns)[1]
                of_band = PER_DIFFERENCE * missed / max(most, np.float32(1e-30))
                if of_band > of_first:
                    results[i, _ERROR] += of_band - of_first
                    of_first = of_band
                _write(arc[rows.row[i], band], picture, np.float32(s[CENTRAL_LIGHT] * flux[band]), most)
                continue
            _picture(picture, spectrum, other, parts, band, space)
            most = _range(picture, columns)[1]
            _write(arc[rows.row[i], band], picture, np.float32(s[CENTRAL_LIGHT] * flux[band]), most)


@compiled()
def _shoot_parts(parts, start, end, sampling, constants, shooting, light):  # type: ignore[no-untyped-def]
    """Put the components of one kind on both renderings' grids.

    Filled is ``light``: the mean of the two renderings' flux, its part beyond the field, how far the two are apart, all
    for the kind's unit flux, and the number of samples.
    """
    series, settings, own, geometry, one, two, core = sampling
    light[:] = 0.0
    for j in range(start, end):
        profile = parts.profile[j]
        geometry[:] = parts.geometry[j]
        geometry[quad.CORE] *= core
        apart = 0.0
        for turn in range(2):
            own[:] = settings[turn]
            for name in quad.LENGTHS:
                own[name] *= profile[_COARSER]
            row = Row(geometry, series, own, profile[_INDEX], profile[_B], profile[_UNIT])
            inside, outside, count = shoot.shoot_row(row, one if turn == 0 else two, constants, shooting)
            light[0] += 0.5 * (inside + outside)
            light[1] += 0.5 * outside
            apart += (inside + outside) * (1.0 if turn == 0 else -1.0)
            light[3] += count
        # What one component lacks and another has too much of do not make up for each other.
        light[2] += abs(apart)


@compiled()
def _magnifications(results, light, share, flux):  # type: ignore[no-untyped-def]
    """Magnification of a source of several components in every band, and of all bands' light together."""
    lensed = unlensed = 0.0
    for band in range(flux.size):
        magnified = 0.0
        for kind in range(KINDS):
            magnified += share[kind, band] * light[kind, 0]
        results[RESULTS + band] = magnified
        if flux[band] > 0.0:  # not where it is missing
            lensed += flux[band] * magnified
            unlensed += flux[band]
    if unlensed > 0.0:
        results[_MAGNIFICATION] = lensed / unlensed


@compiled(fastmath=True)
def _mix(out, spectra, share, k):  # type: ignore[no-untyped-def]
    """Sum the kinds' spectra in the shares that they have in a band."""
    wide_k = (k + LANES - 1) // LANES * LANES
    a, b, c = np.float32(share[0]), np.float32(share[1]), np.float32(share[2])
    for part in range(4):
        for i in range(k):
            line, x, y, z = out[part, i], spectra[0, part, i], spectra[1, part, i], spectra[2, part, i]
            for j in range(wide_k):
                line[j] = a * x[j] + b * y[j] + c * z[j]


@compiled(inline="always")
def _image(pictures, which):  # type: ignore[no-untyped-def]
    """An image's levels and its place; none for a Sersic source."""
    if which < 0:
        return pictures.frame[:0], np.zeros(3)
    return pictures.frame[pictures.levels[which] : pictures.levels[which + 1]], pictures.place[which]


@compiled()
def _picture(picture, spectrum, passed, parts, band, space):  # type: ignore[no-untyped-def]
    """Convolve with the band's PSF, by its kernel's parts where there are any, and sample at the pixel centres."""
    k, disc, period = passed
    shaped, products = space.shaped, space.products
    if parts.shape[0]:
        bands.shape_kernel(shaped, spectrum, parts[band], k, disc, period)
    else:
        bands.shape_radial(shaped, spectrum, k, period, space.radial[band])
    bands.to_pixels(picture, shaped, k, picture.shape[0], space.waves, products)


@compiled(inline="always")
def _lost(total, outside, on_stamp, leak):  # type: ignore[no-untyped-def]
    """An upper limit of what light beyond the margin, and beyond the period, would add to a pixel."""
    return outside * leak[0] + max(total - outside - on_stamp, 0.0) * leak[1]


@compiled(fastmath={"reassoc", "nsz"})  # a NaN is light, too
def _lit(a, b, m, line):  # type: ignore[no-untyped-def]
    """How far from the middle two grids of ``m`` points on a side hold light: most of a grid holds none."""
    h = m // 2
    high = wide = 0
    line[:m] = 0.0
    for i in range(m):
        x, y = a[i], b[i]
        light = np.float32(0.0)
        for j in range(m):
            v = abs(x[j]) + abs(y[j])
            line[j] += v
            light += v
        if light != 0.0:
            high = max(high, h - i, i + 1 - h)
    for j in range(m):
        if line[j] != 0.0:
            wide = max(wide, h - j, j + 1 - h)
    return Extent(h, high, wide)


@compiled()
def _range(picture, columns):  # type: ignore[no-untyped-def]
    """Least and largest value of a picture; both are NaN where it holds one, or infinities of both signs.

    ``columns``: float32, shape (3, >= size); a column's least, largest and sum, which the compiler makes vectors of.
    """
    least, most, total = columns[0], columns[1], columns[2]
    size = picture.shape[1]
    for x in range(size):
        least[x] = most[x] = total[x] = picture[0, x]
    for y in range(1, picture.shape[0]):
        line = picture[y]
        for x in range(size):
            v = line[x]
            least[x] = v if v < least[x] else least[x]
            most[x] = v if v > most[x] else most[x]
            total[x] += v
    low, high, light = least[0], most[0], total[0]
    for x in range(1, size):
        low, high = min(low, least[x]), max(high, most[x])
        light += total[x]
    if np.isnan(light):
        return light, light
    return low, high


@compiled(fastmath=True)
def _mean_and_difference(a, b, extent):  # type: ignore[no-untyped-def]
    """Replace two grids by their mean and half their difference."""
    h, high, wide = extent
    for i in range(h - high, h + high):
        # As slices: of an index that may be negative the compiler makes no vectors.
        x, y = a[i, h - wide : h + wide], b[i, h - wide : h + wide]
        for j in range(2 * wide):
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
