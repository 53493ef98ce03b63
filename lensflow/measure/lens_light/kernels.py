"""Compiled loops of the lens galaxy's light: medians over rings, an ellipse, a profile of Gaussians."""

from __future__ import annotations

import math

import numpy as np

from lensflow.jit import compiled
from lensflow.units import MAD_TO_SIGMA

# Radii at which rings begin are whole numbers; a radius that is one but for rounding is on the same side in any
# orientation of the stamp.
_ON_THE_EDGE = 1e-9
# Pixels by which an ellipse is judged: those nearer the target are the PSF's, those beyond have no light of the lens.
_FIT_INNER_PIX, _FIT_OUTER_PIX = 2.0, 16.0
# Steps of the search for the ellipse, in (a - b)/(a + b), and its limit: b/a is 0.25 there.
_STEPS = (0.2, 0.1, 0.05, 0.025, 0.0125)
_MOST = 0.6
# Sky sigma above which a pixel's residual counts no more for the ellipse: an arc then does not pull it.
_MOST_SIGMA = 3.0
# Widths of the Gaussians, pixels, and how often their amplitudes are weighed and improved.
_WIDTHS = 1.1 * 1.45 ** np.arange(9)
_ROUNDS, _SWEEPS = 6, 400
_NO_WEIGHT = 1e-20
# A profile is not expected to follow a galaxy to better than this share of its light; a ring that exceeds it by more
# than this many of its errors counts less.
# How often pixels are left out that are further from the fit than this many errors: an arc's, a neighbour's.
_CLIPS, _CLIP, _MIDDLE_PIX = 4, 2.0, 3.0
_SHARE, _TOO_BRIGHT = 0.01, 0.7


@compiled()
def _median(a, first, stop):  # type: ignore[no-untyped-def]
    """Median of ``a[first:stop]``, which is put in another order (Hoare's selection)."""
    half = first + (stop - first) // 2
    low, high = first, stop - 1
    while low < high:
        pivot = a[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while a[j] > pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if half <= j:
            high = j
        elif half >= i:
            low = i
        else:
            break
    if (stop - first) % 2:
        return a[half]
    below = a[first]
    for p in range(first + 1, half):
        below = max(below, a[p])
    return 0.5 * (below + a[half])


@compiled()
def _rings(value, radius, m, work):  # type: ignore[no-untyped-def]
    """Median radius and value of every ring that has pixels: rows (radius, value, pixels, ring) of ``work.T``."""
    last = 0
    for p in range(m):
        last = max(last, int(radius[p] + _ON_THE_EDGE))
    start = np.zeros(last + 2, np.int64)
    for p in range(m):
        start[int(radius[p] + _ON_THE_EDGE) + 1] += 1
    for k in range(last + 1):
        start[k + 1] += start[k]
    place = start[:-1].copy()
    v, r = np.empty(m), np.empty(m)
    for p in range(m):
        k = int(radius[p] + _ON_THE_EDGE)
        v[place[k]], r[place[k]] = value[p], radius[p]
        place[k] += 1
    n = 0
    for k in range(last + 1):
        a, b = start[k], start[k + 1]
        if b > a:
            work[0, n], work[1, n] = _median(r, a, b), _median(v, a, b)
            work[2, n], work[3, n] = b - a, k
            n += 1
    return n


@compiled()
def _profile(value, radius, m, work):  # type: ignore[no-untyped-def]
    """Points of the profile with their slopes (row 4 of ``work``); number of points.

    The running median of three rings leaves a profile that falls as it is, so a steep one is not flattened.
    """
    n = _rings(value, radius, m, work)
    before = work[1, 0]
    for k in range(1, n - 1):
        here, after = work[1, k], work[1, k + 1]
        work[1, k] = max(min(before, here), min(max(before, here), after))
        before = here
    # Slopes of a cubic that does not overshoot (Fritsch & Butland 1984); even about the target.
    r, v, slope = work[0], work[1], work[4]
    for k in range(n):
        if k == 0:
            slope[k] = 2 * r[0] * (v[1] - v[0]) / (r[1] ** 2 - r[0] ** 2) if n > 1 else 0.0
        elif k == n - 1:
            slope[k] = 0.0
        else:
            h0, h1 = r[k] - r[k - 1], r[k + 1] - r[k]
            s0, s1 = (v[k] - v[k - 1]) / h0, (v[k + 1] - v[k]) / h1
            a, b = 2 * h1 + h0, h1 + 2 * h0
            slope[k] = (a + b) / (a / s0 + b / s1) if s0 * s1 > 0 else 0.0
    return n


@compiled()
def _value_at(radius, work, n, of_ring):  # type: ignore[no-untyped-def]
    """Profile at a radius; ``of_ring`` is the point of each ring, -1 for a ring without pixels."""
    r, v, slope = work[0], work[1], work[4]
    if n == 1 or radius >= r[n - 1]:
        return v[n - 1]
    if radius <= r[0]:
        return v[0] + (v[1] - v[0]) / (r[1] ** 2 - r[0] ** 2) * (radius**2 - r[0] ** 2)
    k = of_ring[int(radius + _ON_THE_EDGE)]
    if r[k] > radius:
        k -= 1
    h = r[k + 1] - r[k]
    t = (radius - r[k]) / h
    # In this order a level profile is level to the last bit.
    return (
        v[k]
        + (v[k + 1] - v[k]) * t**2 * (3 - 2 * t)
        + h * (slope[k] * t * (1 - t) ** 2 - slope[k + 1] * t**2 * (1 - t))
    )


@compiled()
def _radii(dx, dy, m, g1, g2, radius):  # type: ignore[no-untyped-def]
    """Elliptical radii: of the circle with the ellipse's area."""
    s = 1.0 / (1.0 - g1 * g1 - g2 * g2)
    a, b, c = s * (1 + g1 * g1 + g2 * g2 - 2 * g1), s * (1 + g1 * g1 + g2 * g2 + 2 * g1), s * 4 * g2
    for p in range(m):
        radius[p] = math.sqrt(max(a * dx[p] ** 2 + b * dy[p] ** 2 - c * dx[p] * dy[p], 0.0))


@compiled()
def _residual(value, radius, m, work, of_ring, out):  # type: ignore[no-untyped-def]
    n = _profile(value, radius, m, work)
    for k in range(n):
        of_ring[int(work[3, k])] = k
    for p in range(m):
        out[p] = value[p] - _value_at(radius[p], work, n, of_ring)


@compiled()
def _light_at(radius, amplitude):  # type: ignore[no-untyped-def]
    """Sum of the Gaussians and the level at a radius."""
    light = amplitude[len(_WIDTHS)]
    for j in range(len(_WIDTHS)):
        if amplitude[j] > 0:
            light += amplitude[j] * math.exp(-0.5 * (radius / _WIDTHS[j]) ** 2)
    return light


@compiled()
def _gaussians(value, radius, m, sigma, work, out):  # type: ignore[no-untyped-def]
    """Residuals from concentric Gaussians of amplitudes of 0 or more, and a level, fitted to the rings' medians.

    Such a sum is log-convex in the square of the radius: no amplitudes make a shoulder or a ring.
    """
    n, terms = _rings(value, radius, m, work), len(_WIDTHS) + 1
    columns = np.empty((terms, n))
    for k in range(n):
        for j in range(terms - 1):
            columns[j, k] = math.exp(-0.5 * (work[0, k] / _WIDTHS[j]) ** 2)
        columns[terms - 1, k] = 1.0
    amplitude, gram, right = np.zeros(terms), np.empty((terms, terms)), np.empty(terms)
    amplitude[terms - 1] = work[1, n - 1]
    for turn in range(_ROUNDS):
        gram[:], right[:] = 0.0, 0.0
        for k in range(n):
            # 1.2533: standard error of a median of Gaussian noise over that of a mean.
            error = (1.2533 * sigma) ** 2 / work[2, k] + (_SHARE * (work[1, k] - amplitude[terms - 1])) ** 2
            if error <= 0:
                error = 1.0 if sigma <= 0 else sigma * sigma
            weight = 1 / error
            if turn > 0:
                off = work[1, k]
                for j in range(terms):
                    off -= amplitude[j] * columns[j, k]
                if off > 0:
                    weight /= 1 + off * off * weight / _TOO_BRIGHT**2
            for j in range(terms):
                right[j] += weight * columns[j, k] * work[1, k]
                for i in range(terms):
                    gram[j, i] += weight * columns[j, k] * columns[i, k]
        for _ in range(_SWEEPS):
            for j in range(terms):
                step = right[j]
                for i in range(terms):
                    step -= gram[j, i] * amplitude[i]
                if gram[j, j] <= _NO_WEIGHT * gram[terms - 1, terms - 1]:
                    continue  # a Gaussian that reaches no ring with data
                amplitude[j] += step / gram[j, j]
                if j < terms - 1:
                    amplitude[j] = max(amplitude[j], 0.0)
    for j in range(terms):
        work[4, j] = amplitude[j]
    for p in range(m):
        out[p] = value[p] - _light_at(radius[p], amplitude)


@compiled()
def _clipped_gaussians(value, radius, m, sigma, work, out):  # type: ignore[no-untyped-def]
    """Fit the Gaussians again without the pixels far from the last fit, which are an arc's or a neighbour's."""
    _gaussians(value, radius, m, sigma, work, out)
    kept, at, rest, of = np.empty(m), np.empty(m), np.empty(m), m
    for _ in range(_CLIPS):
        k = 0
        for p in range(m):
            light = value[p] - out[p]
            # The middle is kept: without it the narrowest Gaussians would be anything there.
            if radius[p] < _MIDDLE_PIX or abs(out[p]) <= _CLIP * math.sqrt(sigma**2 + (2 * _SHARE * light) ** 2):
                kept[k], at[k] = value[p], radius[p]
                k += 1
        if k == of or 2 * k < m:
            break
        of = k
        _gaussians(kept, at, k, sigma, work, rest)
        for p in range(m):
            out[p] = value[p] - _light_at(radius[p], work[4])


@compiled()
def _cost(value, dx, dy, round_radius, m, g1, g2, most, radius, work, of_ring, left):  # type: ignore[no-untyped-def]
    """Sum of absolute residuals, each at most ``most``."""
    _radii(dx, dy, m, g1, g2, radius)
    _residual(value, radius, m, work, of_ring, left)
    total = 0.0
    for p in range(m):
        if _FIT_INNER_PIX <= round_radius[p] < _FIT_OUTER_PIX:
            total += min(abs(left[p]), most)
    return total


@compiled()
def _ellipse(value, dx, dy, round_radius, m, most, radius, work, of_ring, left):  # type: ignore[no-untyped-def]
    """Search for (g1, g2) from a circle on, in a pattern that quarter-turns and flips map to itself."""
    g1, g2 = 0.0, 0.0
    best = _cost(value, dx, dy, round_radius, m, g1, g2, most, radius, work, of_ring, left)
    for step in _STEPS:
        for _ in range(6):
            to1, to2, least = g1, g2, best
            for way in range(4):
                t1 = g1 + (step if way == 0 else -step if way == 1 else 0.0)
                t2 = g2 + (step if way == 2 else -step if way == 3 else 0.0)
                if t1 * t1 + t2 * t2 > _MOST**2:
                    continue
                cost = _cost(value, dx, dy, round_radius, m, t1, t2, most, radius, work, of_ring, left)
                if cost < least:
                    to1, to2, least = t1, t2, cost
            if least >= best:
                break
            g1, g2, best = to1, to2, least
    return g1, g2


@compiled()
def subtract_light(images, x, y, sky, smooth, out, ellipse):  # type: ignore[no-untyped-def]
    """Fill ``out`` with stamps less the profile of their light, and ``ellipse`` (n, band, 2) with (g1, g2).

    Parameters
    ----------
    images : float32, shape (n, band, y, x)
        NaN: no data, and stays so.
    x, y : float64, shape (n,)
        Targets, pixels.
    sky : bool, shape (y, x)
        Pixels whose scatter is the sky's.
    smooth : bool
        An ellipse and Gaussians; else rings.
    out : float64, shape (n, band, y, x)
    """
    n, bands, height, width = images.shape
    rings = int(3 * (height + width)) + 4
    value, radius, left, round_radius, dx, dy = (
        np.empty(height * width), np.empty(height * width), np.empty(height * width), np.empty(height * width),
        np.empty(height * width), np.empty(height * width),
    )  # fmt: skip
    near = np.empty((5, height * width))
    at = np.empty(height * width, np.int64)
    work, of_ring = np.empty((5, rings)), np.empty(rings, np.int64)
    level = np.empty(height * width)
    for i in range(n):
        for b in range(bands):
            m = 0
            for v in range(height):
                for u in range(width):
                    out[i, b, v, u] = np.nan
                    pixel = np.float64(images[i, b, v, u])
                    if math.isfinite(pixel):
                        value[m], at[m] = pixel, v * width + u
                        dx[m], dy[m] = u - x[i], v - y[i]
                        round_radius[m] = math.sqrt(dx[m] ** 2 + dy[m] ** 2)
                        m += 1
            ellipse[i, b, 0] = ellipse[i, b, 1] = 0.0
            if m == 0:
                continue
            g1, g2, sigma = 0.0, 0.0, 0.0
            if smooth:
                k = 0
                for p in range(m):
                    if sky[at[p] // width, at[p] % width]:
                        level[k] = value[p]
                        k += 1
                if k > 0:
                    middle = _median(level, 0, k)
                    for p in range(k):
                        level[p] = abs(level[p] - middle)
                    sigma = MAD_TO_SIGMA * _median(level, 0, k)
                k = 0
                for p in range(m):
                    if round_radius[p] < _FIT_OUTER_PIX:
                        near[0, k], near[1, k], near[2, k], near[3, k] = value[p], dx[p], dy[p], round_radius[p]
                        k += 1
                if k > 0:
                    most = _MOST_SIGMA * sigma if sigma > 0 else np.inf
                    g1, g2 = _ellipse(near[0], near[1], near[2], near[3], k, most, near[4], work, of_ring, left)
                ellipse[i, b, 0], ellipse[i, b, 1] = g1, g2
            _radii(dx, dy, m, g1, g2, radius)
            if smooth:
                _clipped_gaussians(value, radius, m, sigma, work, left)
            else:
                _residual(value, radius, m, work, of_ring, left)
            for p in range(m):
                out[i, b, at[p] // width, at[p] % width] = left[p]
