"""The per-pixel work of a pair in one pass: noise, stamp, and the sums for the metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.jit import compiled
from lensflow.lensing.noise import draw_normals, scale_normals

# Columns of the sums over one band of one row, of one row (all bands), and of one band of a host.
FLUX, GOOD_FLUX, PEAK_SNR, MATCHED, PEAK_TOTAL, MATCHED_TOTAL, GOOD_ARC, N_SUMS = range(8)
CORE, ANNULUS, R50, N_SHAPE = range(4)
SKY_VARIANCE, GOOD_PIXELS, GOOD_LIGHT, N_HOST = range(4)

_CORE2 = geometry.CORE_RADIUS_PIX**2
_ANNULUS2 = geometry.ANNULUS_INNER_PIX**2
# The half-light radius is the radius of a pixel; rings this fine (in r^2) separate pixels.
_RINGS_PER_PIX2 = 2
# Every sum uses lanes, in an explicit order: sums that the compiler may reorder differ in the last bit between a
# process that compiled the code and one that loaded it, and so between workers.
_LANES = 16


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels of a block.

    Attributes
    ----------
    band : ndarray, shape (sample, band, N_SUMS)
    shape : ndarray, shape (sample, N_SHAPE)
        Both filled by :func:`inject_rows`.
    host : ndarray, shape (sample, band, N_HOST)
    """

    band: NDArray[np.float64]
    shape: NDArray[np.float64]
    host: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        arc: NDArray[np.float32],
        image: NDArray[np.float32],
        invvar: NDArray[np.float32],
        rows: NDArray[np.int64],
    ) -> Sums:
        """Return empty sums for a block of arcs, with those of the hosts (each taken once) filled in."""
        hosts = np.zeros((*invvar.shape[:2], N_HOST))
        measure_hosts(image, invvar, np.unique(rows), hosts)
        return cls(np.zeros((*arc.shape[:2], N_SUMS)), np.zeros((len(arc), N_SHAPE)), hosts[rows])


def mask_no_data(
    arc: NDArray[np.float32], invvar: NDArray[np.float32], rows: NDArray[np.int64], sums: Sums
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Set pixels without data to 0: the survey would show no light there.

    Parameters
    ----------
    arc : ndarray of float32, shape (sample, band, y, x)
        Changed in place.
    invvar : ndarray of float32, shape (host, band, y, x)
    rows : ndarray of int64, shape (sample,)
        Row of each sample's host.
    sums : Sums
        Its hosts say which bands have such pixels: the others are skipped.

    Returns
    -------
    arc : ndarray of float32
        Exactly 0 where invvar is 0.
    lost : ndarray, shape (sample, band)
        Flux that it had there, nMgy.
    """
    lost = np.zeros(arc.shape[:2])
    holes = sums.host[..., GOOD_PIXELS] < arc.shape[2] * arc.shape[3]
    for row, band in np.argwhere(holes):
        light, empty = arc[row, band], ~(invvar[rows[row], band] > 0)
        lost[row, band] = light[empty].sum(dtype=np.float64)
        light[empty] = 0
    return arc, lost


@compiled()
def inject_rows(  # type: ignore[no-untyped-def]
    image, invvar, host, arc, per_nmgy, row_id, k0, k1, x_center, y_center, stamp, sums, shape
):  # fmt: skip
    """Fill ``stamp``, ``sums`` and ``shape`` for every row.

    Parameters
    ----------
    image, invvar : float32 (host, band, y, x)
    host : int64 (sample,)
        Row of each sample's host.
    arc : float32 (sample, band, y, x)
    per_nmgy : float32 (sample, band)
        Variance of the noise of 1 nMgy; 0 for none. The draw is that of :func:`lensflow.lensing.noise.arc_noise`.
    row_id, k0, k1 : uint64 (sample,) and the seed's key words
    x_center, y_center : float64 (sample,)
    stamp : float32 (sample, band, y, x), output
        ``float32(image + arc + noise)``, summed in float64 from left to right.
    sums : float64 (sample, band, N_SUMS), output
    shape : float64 (sample, N_SHAPE), output
        Of the bands' summed light: flux in the core and in the annulus, and the half-light radius, pixels (NaN
        without light).
    """
    n, bands, size, _ = arc.shape
    pixels = size * size
    z = np.zeros((pixels + 3) // 4 * 4, np.float32)
    noise = np.zeros(pixels, np.float32)
    total_lanes = np.zeros((3, _LANES), np.float32)
    light = np.zeros(pixels, np.float32)
    growth = np.zeros(_RINGS_PER_PIX2 * pixels // 2 + 1)
    ring = np.zeros(size, np.int32)
    lanes, columns = np.zeros((4, _LANES), np.float32), np.zeros((3, size), np.float32)
    for i in range(n):
        light[:] = 0.0
        top, bottom = pixels, 0  # range of pixels with light in any band
        for b in range(bands):
            ctrl, weight = image[host[i], b].reshape(pixels), invvar[host[i], b].reshape(pixels)
            lit, total = arc[i, b].reshape(pixels), stamp[i, b].reshape(pixels)
            first, last = draw_normals(z, lit, k0, k1, row_id[i], np.uint64(b))
            total[:first] = ctrl[:first]
            total[last:] = ctrl[last:]
            if first == last:
                continue
            top, bottom = min(top, first), max(bottom, last)
            lit, drawn = lit[first:last], noise[first:last]
            scale_normals(drawn, lit, z[first:last], per_nmgy[i, b])
            _add(total[first:last], ctrl[first:last], lit, drawn)
            _sum(lit, weight[first:last], light[first:last], lanes, sums[i, b])
            if per_nmgy[i, b] > 0:
                _sum_total(lit, ctrl[first:last], weight[first:last], per_nmgy[i, b], total_lanes, sums[i, b])
        _measure(light.reshape(size, size), top, bottom, x_center[i], y_center[i], growth, ring, columns, shape[i])


@compiled()
def _add(stamp, ctrl, arc, noise):  # type: ignore[no-untyped-def]
    for p in range(stamp.size):
        stamp[p] = np.float32(np.float64(ctrl[p]) + np.float64(arc[p]) + np.float64(noise[p]))


@compiled()
def _sum(arc, weight, light, lanes, sums):  # type: ignore[no-untyped-def]
    """Fill the sums of one band, and add it to the bands' summed light."""
    lanes[:] = np.float32(0.0)
    whole = arc.size - arc.size % _LANES
    for p in range(0, whole, _LANES):
        for j in range(_LANES):
            _add_pixel(arc[p + j], weight[p + j], lanes, j)
    for p in range(whole, arc.size):
        _add_pixel(arc[p], weight[p], lanes, p - whole)
    for p in range(arc.size):
        light[p] += arc[p]
    flux = good = matched = 0.0
    peak = np.float32(0.0)
    for j in range(_LANES):
        flux, good, matched = flux + lanes[0, j], good + lanes[1, j], matched + lanes[2, j]
        peak = max(peak, lanes[3, j])
    sums[FLUX], sums[GOOD_FLUX], sums[MATCHED], sums[PEAK_SNR] = flux, good, matched, np.sqrt(peak)


@compiled(inline="always")
def _add_pixel(a, w, lanes, j):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    squared = a * a * w
    lit = squared if a > 0 else zero
    lanes[0, j] += a
    lanes[1, j] += a if w > 0 else zero
    lanes[2, j] += squared
    lanes[3, j] = lit if lit > lanes[3, j] else lanes[3, j]


@compiled()
def _sum_total(arc, ctrl, weight, per_nmgy, lanes, sums):  # type: ignore[no-untyped-def]
    """Fill the sums of one band whose variance counts the shot noise of the host and of the arc, too."""
    lanes[:] = np.float32(0.0)
    whole = arc.size - arc.size % _LANES
    for p in range(0, whole, _LANES):
        for j in range(_LANES):
            _add_pixel_total(arc[p + j], ctrl[p + j], weight[p + j], per_nmgy, lanes, j)
    for p in range(whole, arc.size):
        _add_pixel_total(arc[p], ctrl[p], weight[p], per_nmgy, lanes, p - whole)
    matched = good = 0.0
    peak = np.float32(0.0)
    for j in range(_LANES):
        matched, good = matched + lanes[0, j], good + lanes[2, j]
        peak = max(peak, lanes[1, j])
    sums[MATCHED_TOTAL], sums[PEAK_TOTAL], sums[GOOD_ARC] = matched, np.sqrt(peak), good


@compiled(inline="always")
def _add_pixel_total(a, c, w, per_nmgy, lanes, j):  # type: ignore[no-untyped-def]
    zero = np.float32(0.0)
    extra = (c if c > 0 else zero) + (a if a > 0 else zero)
    squared = a * a * w / (np.float32(1.0) + w * extra * per_nmgy)
    lit = squared if a > 0 else zero
    lanes[0, j] += squared
    lanes[1, j] = lit if lit > lanes[1, j] else lanes[1, j]
    lanes[2, j] += a if (w > 0 and a > 0) else zero


@compiled()
def _measure(light, top, bottom, x_center, y_center, growth, ring, columns, shape):  # type: ignore[no-untyped-def]
    size, last = len(light), growth.size - 1
    growth[:] = 0.0
    columns[:] = np.float32(0.0)
    core, outer, every = columns[0], columns[1], columns[2]
    for y in range(top // size, -(-bottom // size)):
        dy2 = (y - y_center) ** 2
        line = light[y]
        for x in range(size):
            r2 = dy2 + (x - x_center) ** 2
            core[x] += line[x] if r2 < _CORE2 else np.float32(0.0)
            outer[x] += line[x] if r2 >= _ANNULUS2 else np.float32(0.0)
            every[x] += line[x]
            ring[x] = min(int(r2 * _RINGS_PER_PIX2), last)
        for x in range(size):
            growth[ring[x]] += line[x]
    in_core = in_annulus = total = 0.0
    for x in range(size):
        in_core, in_annulus, total = in_core + core[x], in_annulus + outer[x], total + every[x]
    shape[CORE], shape[ANNULUS], shape[R50] = in_core, in_annulus, np.nan
    if total > 0:
        inside, k = growth[0], 0
        while inside < 0.5 * total and k < last:
            k += 1
            inside += growth[k]
        shape[R50] = np.sqrt((k + 1) / _RINGS_PER_PIX2)


@compiled()
def measure_hosts(image, invvar, used, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` (host, band, N_HOST) for the hosts ``used``: summed variance, number and light of pixels with data.

    Only positive light counts, as for a variance.
    """
    _, bands, size, _ = invvar.shape
    sky, bright = np.zeros(size), np.zeros(size)
    for h in used:
        for b in range(bands):
            sky[:] = 0.0
            bright[:] = 0.0
            good = 0
            for y in range(size):
                line, values = invvar[h, b, y], image[h, b, y]
                for x in range(size):
                    w, v = np.float64(line[x]), np.float64(values[x])
                    bright[x] += v if w > 0 and v > 0 else 0.0
                    sky[x] += 1.0 / w if w > 0 else 0.0
                    good += 1 if w > 0 else 0
            total = light = 0.0
            for x in range(size):
                total += sky[x]
                light += bright[x]
            sums[h, b, SKY_VARIANCE], sums[h, b, GOOD_PIXELS], sums[h, b, GOOD_LIGHT] = total, good, light
