"""Where to sample the lensed light of a row: rays from the lens outwards, adaptive in angle and radius.

In polar coordinates about the lens the map of an isothermal lens (with shear) is a straight line along every ray:
``w(r) = r a(phi) - b(phi)``, with w the source-plane position in half-light radii along and across the source's
axes, so that the light is a function of |w| alone. The cusp of a Sersic profile then asks for fine steps in one
coordinate at a time: in radius about the point r0 of closest approach, in angle about the few directions where the
ray meets the source's centre. The lens's own singularity is gone, and a tangential arc lies along the angle. For
another slope, ``w(r) = r a - r^p b - w0`` with p = 2 - gamma, a little bent.

Panels of 4-point Gauss-Legendre nodes are used in both coordinates: halved in angle, graded in radius.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# --- one row's geometry: indices into its parameters (lengths in pixels, relative to the lens) -----------------
COS, SIN, Q, POWER, STRENGTH, TERMS = 0, 1, 2, 3, 4, 5
MAP, TO_SOURCE, SOURCE = 6, 10, 14  # 2 x 2, 2 x 2, 2
CORE, DARK, STEEP = 16, 17, 18
LEFT, RIGHT, LOW, HIGH = 19, 20, 21, 22
REACH, FLATTER = 23, 24
PARAMETERS = 25

# --- what `trace` says of a ray -----------------------------------------------------------------------------------
_AX, _AY, _BX, _BY, _R0, _VX, _VY, _SPEED, _RS, _RIN, _UX, _UY, _SPEED_IN = range(13)
_RAY = 13

_T = (-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526)
_W = (0.34785484513745385, 0.6521451548625461, 0.6521451548625461, 0.34785484513745385)
NODES = np.array([_T, _W])

MAX_PANELS = 160
MAX_SAMPLES = 4 * 4 * MAX_PANELS
_DEPTH = 26
_BASE = 24
_FAR = 1e30


def half_turns() -> np.ndarray:
    """Cosines and sines by which a panel's middle is turned: to its outer and inner nodes and to its quarters.

    Shape (depth, 6); panels of depth d span 2 pi / 24 / 2^d.
    """
    half = np.pi / _BASE / 2.0 ** np.arange(_DEPTH + 2)[:, None]
    angle = half * np.array([_T[3], _T[2], 0.5])
    return np.ascontiguousarray(np.hstack([np.cos(angle), np.sin(angle)]))


TURNS = half_turns()


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def trace(c, s, p, series, ray):  # type: ignore[no-untyped-def]
    """Describe the ray in direction (c, s): its line in the source plane and its closest approach to the source.

    The deflection is that of the elliptical power law, ``r^p`` times a function of angle given by a series whose
    terms fall as ((1-q)/(1+q))^n; p = 0 is the SIE (Tessore & Metcalf 2015, A&A 580, A79, eqs. 13 and 23).
    """
    power = p[POWER]
    cl, sl = p[COS] * c + p[SIN] * s, p[COS] * s - p[SIN] * c
    u = p[Q] * cl
    inverse = 1.0 / math.sqrt(u * u + sl * sl)
    u, v = u * inverse, sl * inverse
    zr, zi = u * u - v * v, 2.0 * u * v
    hr, hi = 1.0, 0.0
    for n in range(int(p[TERMS]) - 1, -1, -1):
        a = series[n]
        hr, hi = 1.0 + a * (zr * hr - zi * hi), a * (zr * hi + zi * hr)
    strength = p[STRENGTH]
    if power != 0.0:
        strength *= math.exp(-power * math.log(inverse))
    dx, dy = strength * (u * hr - v * hi), strength * (u * hi + v * hr)
    dx, dy = p[COS] * dx - p[SIN] * dy, p[SIN] * dx + p[COS] * dy
    ax, ay = p[MAP] * c + p[MAP + 1] * s, p[MAP + 2] * c + p[MAP + 3] * s
    bx, by = p[TO_SOURCE] * dx + p[TO_SOURCE + 1] * dy, p[TO_SOURCE + 2] * dx + p[TO_SOURCE + 3] * dy
    a2 = ax * ax + ay * ay
    ray[_AX], ray[_AY] = ax, ay
    if power == 0.0:
        bx += p[SOURCE]
        by += p[SOURCE + 1]
        r0 = (ax * bx + ay * by) / a2
        closest = max(r0, 0.0)
        ray[_BX], ray[_BY], ray[_R0] = bx, by, r0
        ray[_VX], ray[_VY] = closest * ax - bx, closest * ay - by
        ray[_SPEED], ray[_RS] = math.sqrt(a2), 0.0
        return
    ray[_BX], ray[_BY] = bx, by
    _closest_on_a_bent_ray(p, ray, a2)


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def _closest_on_a_bent_ray(p, ray, a2):  # type: ignore[no-untyped-def]
    """Closest approaches for p != 0, by a few Gauss-Newton steps: they only place the nodes."""
    ax, ay, bx, by = ray[_AX], ray[_AY], ray[_BX], ray[_BY]
    power, sx, sy = p[POWER], p[SOURCE], p[SOURCE + 1]
    along = (ax * bx + ay * by) / a2
    # For p > 0 the line first runs backwards, out to r = turn: there lies the lens's faint central image.
    turn = 0.0
    if power > 0.0 and along > 0.0:
        turn = (power * along) ** (1.0 / (1.0 - power))
    least = max(turn, 1e-4)
    r = max(along ** (1.0 / (1.0 - power)) if along > 0.0 else least, least)
    r = max((ax * (bx * r**power + sx) + ay * (by * r**power + sy)) / a2, least)
    wx = wy = tx = ty = 0.0
    for _ in range(6):
        rp = r**power
        wx, wy = r * ax - rp * bx - sx, r * ay - rp * by - sy
        tx, ty = ax - power * rp / r * bx, ay - power * rp / r * by
        step = (wx * tx + wy * ty) / (tx * tx + ty * ty + 1e-12 * a2)
        r = min(max(r - step, 0.5 * (r + least), least), 4.0 * r) if step > 0.0 else min(r - step, 4.0 * r)
    rp = r**power
    ray[_R0], ray[_RS] = r, turn
    ray[_VX], ray[_VY] = r * ax - rp * bx - sx, r * ay - rp * by - sy
    tx, ty = ax - power * rp / r * bx, ay - power * rp / r * by
    ray[_SPEED] = max(math.sqrt(tx * tx + ty * ty), 0.05 * math.sqrt(a2))
    if turn <= 0.0:
        return
    b2 = bx * bx + by * by
    top = turn**power
    u = min(max(-(sx * bx + sy * by) / b2, 1e-6 * top), top)
    for _ in range(4):
        r = u ** (1.0 / power)
        wx, wy = r * ax - u * bx - sx, r * ay - u * by - sy
        tx, ty = ax * r / (power * u) - bx, ay * r / (power * u) - by
        u = min(max(u - (wx * tx + wy * ty) / (tx * tx + ty * ty), 1e-6 * top), top)
    r = u ** (1.0 / power)
    ray[_RIN] = r
    ray[_UX], ray[_UY] = r * ax - u * bx - sx, r * ay - u * by - sy
    slope = power * u / max(r, 1e-12)
    tx, ty = ax - slope * bx, ay - slope * by
    ray[_SPEED_IN] = math.sqrt(tx * tx + ty * ty)


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def _panels(r0, low, high, first, growth, longest, steep, flatter, reach, inward, bend, edges, n):  # type: ignore[no-untyped-def]
    """Append panels (start, end) of [low, high] graded away from ``r0``; return how many there are then.

    ``bend``: largest ratio of a panel's ends, for lines that are not straight towards r = 0.
    """
    for side in range(2):
        if side == 0:
            e, end = max(0.0, low - r0), min(high - r0, reach)
        else:
            e, end = max(0.0, r0 - high), min(r0 - low, inward)
        sign = 1.0 if side == 0 else -1.0
        while e < end and n < MAX_PANELS:
            length = min(max(first, growth * e), longest, steep + flatter * e)
            if side == 0:
                length = min(length, (bend - 1.0) * max(r0 + e, 1e-3))
            else:
                length = min(length, max((1.0 - 1.0 / bend) * (r0 - e), 1e-3))
            far = e + length
            if far + 0.35 * length > end or n == MAX_PANELS - 1:
                far = end
            edges[n, 0], edges[n, 1] = r0 + sign * e, r0 + sign * far
            e = far
            n += 1
    return n


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def ray_panels(c, s, p, ray, tune, edges):  # type: ignore[no-untyped-def]
    """Radial panels of one ray, up to the field's edge.

    Returns
    -------
    n : int
        Number of panels; ``edges[:n]`` holds where they start and end.
    edge : float
        Radius of the field's edge in this direction, or 0 where no light lies beyond.
    """
    edge = _FAR
    if c != 0.0:
        edge = (p[RIGHT] if c > 0.0 else p[LEFT]) / c
    if s != 0.0:
        edge = min(edge, (p[HIGH] if s > 0.0 else p[LOW]) / s)
    distance = math.sqrt(ray[_VX] * ray[_VX] + ray[_VY] * ray[_VY])
    dark = p[DARK]
    n = 0
    beyond = 0.0
    if distance < dark:
        inverse = 1.0 / ray[_SPEED]
        r0 = ray[_R0]
        span = distance
        if r0 < 0.0:  # the line's own closest approach lies behind the lens
            span = abs(ray[_AX] * ray[_BY] - ray[_AY] * ray[_BX]) * inverse
        reach = math.sqrt(dark * dark - span * span) * inverse
        inward, bend = reach, _FAR
        if p[POWER] != 0.0:
            # The line's speed at r0 is not its speed everywhere: for p > 0 it comes to a halt at _RS.
            reach = max(reach, dark / math.sqrt(ray[_AX] * ray[_AX] + ray[_AY] * ray[_AY]))
            inward = r0 if p[POWER] > 0.0 else reach
            bend = 3.0
        first = max(span, p[CORE]) * tune[0] * inverse
        steep = p[STEEP] * (1.0 - p[FLATTER]) * inverse
        flatter = p[STEEP] * p[FLATTER]
        n = _panels(r0, ray[_RS], edge, first, tune[1], tune[2], steep, flatter, reach, inward, bend, edges, 0)
        if r0 + reach > edge:
            beyond = edge
    if ray[_RS] > 0.0:
        distance = math.sqrt(ray[_UX] * ray[_UX] + ray[_UY] * ray[_UY])
        if distance < dark:
            inverse = 1.0 / ray[_SPEED_IN]
            top = min(ray[_RS], edge)
            first = max(max(distance, p[CORE]) * tune[0] * inverse, 1e-3 * top)
            n = _panels(ray[_RIN], 0.0, top, first, tune[1], tune[2], _FAR, 0.0, top, top, 3.0, edges, n)
    return n, beyond


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def _distance_to_path(x0, y0, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
    """Distance of the origin from the two segments through three points, and the path's length and bend."""
    nearest = _FAR
    length = 0.0
    for k in range(2):
        px, py = (x0, y0) if k == 0 else (x1, y1)
        dx, dy = (x1 - x0, y1 - y0) if k == 0 else (x2 - x1, y2 - y1)
        d2 = dx * dx + dy * dy
        t = min(max(-(px * dx + py * dy) / (d2 + 1e-300), 0.0), 1.0)
        nx, ny = px + t * dx, py + t * dy
        nearest = min(nearest, nx * nx + ny * ny)
        length += math.sqrt(d2)
    bend = math.sqrt((x0 - 2 * x1 + x2) ** 2 + (y0 - 2 * y1 + y2) ** 2)
    return math.sqrt(nearest), length, bend


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def judge(left, middle, right, width, p, tune):  # type: ignore[no-untyped-def]
    """Whether an angular panel is dark (0), good as it is (1), or to be halved (2)."""
    dark = p[DARK]
    near, length, bend = _distance_to_path(
        left[_VX], left[_VY], middle[_VX], middle[_VY], right[_VX], right[_VY]
    )
    lit = near - 0.25 * bend < dark
    halve = False
    if lit:
        r0 = max(middle[_R0], 0.0)
        shift = abs(left[_R0] - middle[_R0]) + abs(middle[_R0] - right[_R0])
        arc = width * min(r0 + tune[6] / middle[_SPEED], p[REACH])
        halve = (
            length > tune[3] * (near + p[CORE])
            or length > p[STEEP] * tune[7] * (1.0 + p[FLATTER] * max(near - 1.0, 0.0))
            or arc > tune[4]
            or (shift > tune[5] and middle[_R0] > 0.0)
        )
    if middle[_RS] > 0.0:
        near, length, bend = _distance_to_path(
            left[_UX], left[_UY], middle[_UX], middle[_UY], right[_UX], right[_UY]
        )
        if near - 0.25 * bend < dark:
            lit = True
            halve = halve or length > tune[3] * (near + max(p[CORE], tune[8]))
    if not lit:
        return 0
    return 2 if halve else 1
