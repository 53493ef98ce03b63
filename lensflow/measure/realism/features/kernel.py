"""Compiled measurement of the features, a stamp at a time; :mod:`.reference` says the same slowly."""

from __future__ import annotations

import math

import numpy as np

from lensflow.jit import compiled
from lensflow.measure.realism.features.names import (
    ARC_PIXELS,
    ARC_SIGMA,
    KNOT_SIGMA,
    MOST_MISSING,
    OPPOSITE_DEG,
    PEAK_WIDTHS,
    SECTOR_SIGMA,
    SECTORS,
    ZONE_INNER_PSF,
    ZONE_OUTER_ARCSEC,
    Note,
)
from lensflow.units import NMGY_MAG

# Columns of the result, in the order of names.FEATURES.
(
    SNR, MAG, GR, RZ, MU, RADIUS, FILL, COUNTER, TANGENTIAL, KNOTS, HIGH_K, COLOUR_SCATTER, LOCAL_VAR, CORE, PEAK,
) = range(15)  # fmt: skip
_NO_REFERENCE, _NO_SKY, _ZONE, _NO_ARC = (
    int(Note.NO_REFERENCE), int(Note.NO_SKY), int(Note.ZONE_MISSING), int(Note.NO_ARC),
)  # fmt: skip
_NO_G, _NO_Z, _NO_GR, _NO_RZ = (
    int(Note.NO_G), int(Note.NO_Z), int(Note.NO_COLOUR_GR), int(Note.NO_COLOUR_RZ),
)  # fmt: skip
_NO_CORE, _NO_TEXTURE, _NO_PEAK = int(Note.NO_CORE), int(Note.NO_TEXTURE), int(Note.NO_PEAK)
# Magnitudes of a small relative change of flux.
_MAG = 2.5 / math.log(10.0)
_FWHM_TO_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2.0)))
_COS_OPPOSITE = math.cos(math.radians(OPPOSITE_DEG))
# A radius that is the zone's end but for rounding is on the same side in any orientation of the stamp.
_EPS = 1e-9


@compiled()
def _weights(fwhm_pix):  # type: ignore[no-untyped-def]
    """One-dimensional Gaussian of unit sum."""
    sigma = fwhm_pix * _FWHM_TO_SIGMA
    reach = max(math.ceil(3 * sigma), 1)
    g = np.empty(2 * reach + 1)
    for k in range(-reach, reach + 1):
        g[k + reach] = math.exp(-0.5 * (k / sigma) ** 2)
    return g / g.sum()


@compiled()
def _smooth(image, g, box, half, out):  # type: ignore[no-untyped-def]
    """Convolve with the outer product of ``g`` with itself, in a box (y0, y1, x0, x1) alone; 0 beyond the stamp."""
    height, width = image.shape
    reach = len(g) // 2
    y0, y1, x0, x1 = box
    for v in range(max(y0 - reach, 0), min(y1 + reach, height)):
        for u in range(x0, x1):
            total = 0.0
            for k in range(max(-reach, -u), min(reach, width - 1 - u) + 1):
                total += g[k + reach] * image[v, u + k]
            half[v, u] = total
    for v in range(y0, y1):
        for u in range(x0, x1):
            total = 0.0
            for k in range(max(-reach, -v), min(reach, height - 1 - v) + 1):
                total += g[k + reach] * half[v + k, u]
            out[v, u] = total


@compiled()
def _groups(above, label, stack):  # type: ignore[no-untyped-def]
    """Label pixels that share edges in groups of ``ARC_PIXELS`` or more from 1 on, others 0; number of groups."""
    height, width = above.shape
    label[:] = 0
    groups = 0
    for v in range(height):
        for u in range(width):
            if not above[v, u] or label[v, u] != 0:
                continue
            groups += 1
            stack[0] = v * width + u
            label[v, u] = groups
            n, done = 1, 0
            while done < n:
                a, b = stack[done] // width, stack[done] % width
                done += 1
                for way in range(4):
                    c = a + (1 if way == 0 else -1 if way == 1 else 0)
                    d = b + (1 if way == 2 else -1 if way == 3 else 0)
                    if 0 <= c < height and 0 <= d < width and above[c, d] and label[c, d] == 0:
                        label[c, d] = groups
                        stack[n] = c * width + d
                        n += 1
            if n < ARC_PIXELS:
                for k in range(n):
                    label[stack[k] // width, stack[k] % width] = -1
                groups -= 1
    for v in range(height):
        for u in range(width):
            label[v, u] = max(label[v, u], 0)
    return groups


@compiled()
def _colour(blue, red, mask, blue_var, red_var, n_mask):  # type: ignore[no-untyped-def]
    """Return colour of the arc's pixels that have both bands, its scatter, and whether there is one."""
    height, width = mask.shape
    f_blue, f_red, n = 0.0, 0.0, 0
    for v in range(height):
        for u in range(width):
            if mask[v, u] and math.isfinite(blue[v, u]) and math.isfinite(red[v, u]):
                f_blue += blue[v, u]
                f_red += red[v, u]
                n += 1
    if n < (1 - MOST_MISSING) * n_mask or f_blue <= 0 or f_red <= 0:
        return np.nan, np.nan, False
    ratio, off, power = f_blue / f_red, 0.0, 0.0
    for v in range(height):
        for u in range(width):
            if mask[v, u] and math.isfinite(blue[v, u]) and math.isfinite(red[v, u]):
                off += (blue[v, u] - ratio * red[v, u]) ** 2 - blue_var[v, u] - ratio**2 * red_var[v, u]
                power += red[v, u] ** 2 - red_var[v, u]
    if power <= 0:
        return np.nan, np.nan, False
    scatter = _MAG * math.sqrt(abs(off) / (ratio**2 * power))
    return -2.5 * math.log10(ratio), (scatter if off >= 0 else -scatter), True


@compiled()
def _zone(residual, x, y, inner, outer, zone):  # type: ignore[no-untyped-def]
    """Mark the arc zone's pixels with data; their number and that of an endless stamp."""
    height, width = residual.shape
    zone[:] = False
    n, of = 0, 0
    for v in range(math.floor(y - outer), math.ceil(y + outer) + 1):
        for u in range(math.floor(x - outer), math.ceil(x + outer) + 1):
            r = math.sqrt((u - x) ** 2 + (v - y) ** 2)
            if inner - _EPS <= r <= outer + _EPS:
                of += 1
                if 0 <= u < width and 0 <= v < height and math.isfinite(residual[v, u]):
                    zone[v, u] = True
                    n += 1
    return n, of


@compiled()
def _at(image, has, g, v, u):  # type: ignore[no-untyped-def]
    """The image smoothed as by :func:`_smooth`, at one pixel; what has no data counts neither way."""
    height, width = image.shape
    reach = len(g) // 2
    total, share = 0.0, 0.0
    for b in range(max(v - reach, 0), min(v + reach + 1, height)):
        for a in range(max(u - reach, 0), min(u + reach + 1, width)):
            weight = g[b - v + reach] * g[a - u + reach] * has[b, a]
            total += weight * image[b, a]
            share += weight
    return total / share


@compiled()
def _peak(flat, has, psf_pix, v, u, row):  # type: ignore[no-untyped-def]
    """Fill peak_shape, of the knot at a pixel; whether it is a peak."""
    one = _at(flat, has, _weights(PEAK_WIDTHS[0] * psf_pix), v, u)
    two = _at(flat, has, _weights(PEAK_WIDTHS[1] * psf_pix), v, u)
    three = _at(flat, has, _weights(PEAK_WIDTHS[2] * psf_pix), v, u)
    four = _at(flat, has, _weights(PEAK_WIDTHS[3] * psf_pix), v, u)
    five = _at(flat, has, _weights(PEAK_WIDTHS[4] * psf_pix), v, u)
    if two <= five:
        return False
    row[PEAK] = ((one - two) - 2 * (three - four) + (four - five)) / (two - five)
    return True


@compiled()
def _texture(res, x, y, psf_pix, label, groups, sigma, variance, box, row):  # type: ignore[no-untyped-def]
    """Fill what depends on the PSF's width: tangential, knots, local_var, peak_shape; bits of what there is not."""
    height, width = res.shape
    y0, y1, x0, x1 = box
    gx, gy, flat, has = (
        np.zeros((height, width)),
        np.zeros((height, width)),
        np.zeros((height, width)),
        np.zeros((height, width)),
    )
    for v in range(height):
        for u in range(width):
            if math.isfinite(res[v, u]):
                flat[v, u], has[v, u] = res[v, u], 1.0
    for v in range(1, height - 1):
        for u in range(1, width - 1):
            gx[v, u] = 0.5 * (flat[v, u + 1] - flat[v, u - 1]) * has[v, u + 1] * has[v, u - 1]
            gy[v, u] = 0.5 * (flat[v + 1, u] - flat[v - 1, u]) * has[v + 1, u] * has[v - 1, u]
    g, half = _weights(psf_pix), np.zeros((height, width))
    jxx, jxy, jyy = np.zeros((height, width)), np.zeros((height, width)), np.zeros((height, width))
    _smooth(gx * gx, g, box, half, jxx)
    _smooth(gx * gy, g, box, half, jxy)
    _smooth(gy * gy, g, box, half, jyy)
    smooth, share, noise, fine = (
        np.zeros((height, width)), np.zeros((height, width)), np.zeros((height, width)), np.zeros((height, width)),
    )  # fmt: skip
    _smooth(flat, g, box, half, smooth)
    _smooth(has, g, box, half, share)
    _smooth(variance, g * g, box, half, noise)
    _smooth(flat, _weights(0.5 * psf_pix), box, half, fine)
    own = 1 - 2 * g[len(g) // 2] ** 2
    along, across, left, expected, tops = 0.0, 0.0, 0.0, 0.0, 0
    brightest, at_v, at_u = -np.inf, 0, 0
    for v in range(y0, y1):
        for u in range(x0, x1):
            if label[v, u] == 0:
                continue
            dx, dy = u - x, v - y
            r2 = dx * dx + dy * dy
            jr = (dx * dx * jxx[v, u] + 2 * dx * dy * jxy[v, u] + dy * dy * jyy[v, u]) / r2
            along += flat[v, u] * jr
            across += flat[v, u] * (jxx[v, u] + jyy[v, u] - jr)
            left += (flat[v, u] - smooth[v, u] / share[v, u]) ** 2
            expected += own * variance[v, u] + noise[v, u]
            if fine[v, u] > brightest:
                brightest, at_v, at_u = fine[v, u], v, u
            if fine[v, u] > KNOT_SIGMA * sigma:
                top = True
                for a in range(max(v - 1, y0), min(v + 2, y1)):
                    for b in range(max(u - 1, x0), min(u + 2, x1)):
                        top = top and (fine[a, b] < fine[v, u] or (a == v and b == u))
                tops += top
    row[KNOTS] = tops / groups
    row[LOCAL_VAR] = left / expected
    lacking = 0 if _peak(flat, has, psf_pix, at_v, at_u, row) else _NO_PEAK
    if along + across <= 0:
        return lacking | _NO_TEXTURE
    row[TANGENTIAL] = (along - across) / (along + across)
    return lacking


@compiled()
def _light(res, x, y, label, groups, variance, scale, row):  # type: ignore[no-untyped-def]
    """Fill what depends on the arc's pixels alone: arc_snr, arc_mag, arc_mu, arc_radius, counter; their number."""
    height, width = res.shape
    flux, at_x, at_y = np.zeros(groups + 1), np.zeros(groups + 1), np.zeros(groups + 1)
    some = np.empty(height * width)
    n, total, square, far = 0, 0.0, 0.0, 0.0
    for v in range(height):
        for u in range(width):
            k = label[v, u]
            if k > 0:
                f = res[v, u]
                flux[k] += f
                at_x[k] += f * (u - x)
                at_y[k] += f * (v - y)
                some[n] = f
                n += 1
                total += f
                square += variance[v, u]
                far += f * math.sqrt((u - x) ** 2 + (v - y) ** 2)
    row[SNR] = total / math.sqrt(square)
    row[MAG] = NMGY_MAG - 2.5 * math.log10(total)
    some[:n].sort()
    at = 0.9 * (n - 1)
    bright = some[int(at)] + (at - int(at)) * (some[min(int(at) + 1, n - 1)] - some[int(at)])
    row[MU] = NMGY_MAG - 2.5 * math.log10(bright / scale**2)
    row[RADIUS] = far / total * scale
    main = 1
    for k in range(2, groups + 1):
        if flux[k] > flux[main]:
            main = k
    length = math.sqrt(at_x[main] ** 2 + at_y[main] ** 2)
    opposite = 0.0
    for v in range(height):
        for u in range(width):
            if label[v, u] > 0:
                r = math.sqrt((u - x) ** 2 + (v - y) ** 2)
                cosine = -((u - x) * at_x[main] + (v - y) * at_y[main])
                if cosine >= (_COS_OPPOSITE - _EPS) * r * length:
                    opposite += res[v, u]
    row[COUNTER] = opposite / total
    return n


@compiled()
def measure_stamps(residual, invvar, psf_pix, x, y, sigmas, scale, r, g, z, out, note, mask_pixels, masked):  # type: ignore[no-untyped-def]
    """Fill ``out``, ``note``, ``mask_pixels`` and ``masked``.

    Parameters
    ----------
    residual : float64, shape (n, band, y, x)
        Stamps without the lens's light; NaN: no data.
    invvar : float64, shape (n, band, y, x)
        Above 0 where there is data.
    psf_pix : float64, shape (n, band)
        psfsize, pixels; NaN: the band is absent.
    x, y : float64, shape (n,)
    sigmas : float64, shape (n,)
        Scatter of the sky in the reference band, nMgy/pixel; NaN or 0 where there is none.
    scale : float
        arcsec per pixel.
    r, g, z : int
        Places of the bands: reference, and those of the colours; -1 for none.
    out : float64, shape (n, 15), NaN
    note : int64, shape (n,), zeros
    mask_pixels : int64, shape (n,), zeros
    masked : float64, shape (n, y, x), zeros
        Gets the reference band's residual in the arc's pixels.
    """
    n, bands, height, width = residual.shape
    zone, above = np.empty((height, width), np.bool_), np.empty((height, width), np.bool_)
    label, stack = np.empty((height, width), np.int64), np.empty(height * width, np.int64)
    variance = np.empty((bands, height, width))
    box, there = np.empty(4, np.int64), np.empty(bands, np.bool_)
    for i in range(n):
        for b in range(bands):
            there[b] = False
            for v in range(height):
                for u in range(width):
                    if math.isfinite(residual[i, b, v, u]):
                        variance[b, v, u] = 1 / invvar[i, b, v, u]
                        there[b] = psf_pix[i, b] > 0
                    else:
                        variance[b, v, u] = 0.0
        row = out[i]
        if g < 0 or not there[g]:
            note[i] |= _NO_G
        if z < 0 or not there[z]:
            note[i] |= _NO_Z
        if r < 0 or not there[r]:
            note[i] |= _NO_REFERENCE
            continue
        res, sigma = residual[i, r], sigmas[i]
        inner, outer = ZONE_INNER_PSF * psf_pix[i, r], ZONE_OUTER_ARCSEC / scale
        seen, of = _zone(res, x[i], y[i], inner, outer, zone)
        if not sigma > 0:
            note[i] |= _NO_SKY
        if seen < (1 - MOST_MISSING) * of:
            note[i] |= _ZONE
        if note[i] & (_NO_SKY | _ZONE):
            continue
        light, power = np.zeros(SECTORS), np.zeros(SECTORS)
        core, core_var = 0.0, 0.0
        for v in range(height):
            for u in range(width):
                above[v, u] = zone[v, u] and res[v, u] > ARC_SIGMA * sigma
                dx, dy = u - x[i], v - y[i]
                if zone[v, u]:
                    # Sectors lie about the axes, so that no pixel is on an edge of one in any orientation.
                    s = math.floor(math.atan2(dy, dx) * SECTORS / (2 * math.pi) + 0.5) % SECTORS
                    light[s] += res[v, u]
                    power[s] += variance[r, v, u]
                elif dx * dx + dy * dy < inner * inner and math.isfinite(res[v, u]):
                    core += res[v, u]
                    core_var += variance[r, v, u]
        filled = 0
        for s in range(SECTORS):
            filled += light[s] > SECTOR_SIGMA * math.sqrt(power[s])
        row[FILL] = filled / SECTORS
        if core_var > 0:
            row[CORE] = core / math.sqrt(core_var)
        else:
            note[i] |= _NO_CORE
        groups = _groups(above, label, stack)
        if groups == 0:
            note[i] |= _NO_ARC
            row[SNR] = row[KNOTS] = 0.0
            continue
        mask_pixels[i] = _light(res, x[i], y[i], label, groups, variance[r], scale, row)
        # A pixel more than the zone on each side, for the neighbours of its maxima.
        box[0], box[1] = max(int(y[i] - outer) - 1, 0), min(int(y[i] + outer) + 3, height)
        box[2], box[3] = max(int(x[i] - outer) - 1, 0), min(int(x[i] + outer) + 3, width)
        note[i] |= _texture(res, x[i], y[i], psf_pix[i, r], label, groups, sigma, variance[r], box, row)
        mask = label > 0
        for v in range(height):
            for u in range(width):
                if mask[v, u]:
                    masked[i, v, u] = res[v, u]
        if not note[i] & _NO_G:
            colour, scatter, known = _colour(residual[i, g], res, mask, variance[g], variance[r], mask_pixels[i])
            row[GR], row[COLOUR_SCATTER] = colour, scatter
            if not known:
                note[i] |= _NO_GR
        if not note[i] & _NO_Z:
            colour, scatter, known = _colour(res, residual[i, z], mask, variance[r], variance[z], mask_pixels[i])
            row[RZ] = colour
            if not known:
                note[i] |= _NO_RZ
