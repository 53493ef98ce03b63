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

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled
from lensflow.lensing.engine.records import Grading

# --- one row's geometry: indices into its parameters (lengths in pixels, relative to the lens) -----------------
COS, SIN, Q, POWER, STRENGTH, TERMS = 0, 1, 2, 3, 4, 5  # lens: axis, ratio, p, deflection at r = 1, series terms
MAP, TO_SOURCE, SOURCE = 6, 10, 14  # 2 x 2: shear and scale; 2 x 2: scale alone; 2: centre in half-light radii
# Radii, half-light radii, inside of which cells need no grading, and outside of which there is no light.
CORE, DARK = 16, 17
STEEP, FLATTER = 18, 19  # longest panel near the half-light radius, and how it grows outwards
LEFT, RIGHT, LOW, HIGH = 20, 21, 22, 23  # edges of the field
REACH = 24  # largest radius at which arcs are measured
PARAMETERS = 25

# --- how finely: indices into a row's settings ------------------------------------------------------------------
FIRST, GROWTH, LONGEST, NEAR, ARC, SHIFT, AROUND, DECAY, CENTRAL, PROFILE, TURN, DETAIL, ACROSS, ALONG = range(14)
# What a finer rendering divides.
LENGTHS = (FIRST, GROWTH, LONGEST, NEAR, ARC, SHIFT, DECAY, PROFILE, DETAIL)
# Two sets: every row is rendered with both. They differ in every panel's ends, and one is finer: whatever the coarser
# one misses, the difference shows. Of an image one has the finer levels and the other the closer samples.
SETTINGS = np.array(
    [
        [1.9, 1.25],  # radius: first panel, in units of the distance of closest approach
        [3.0, 2.4],  # radius: how much longer each next panel may be, in units of its distance from there
        [4.8, 3.9],  # radius: longest panel, pixels (for a PSF that passes 0.45 cycles per pixel; scales with 1/that)
        [3.8, 2.8],  # angle: longest way in the source plane, in units of the distance from the source's centre
        [5.0, 4.2],  # angle: longest arc in the image, pixels (scaled likewise)
        [5.0, 5.0],  # angle: largest change of the radius of closest approach, pixels (scaled likewise)
        [1.5, 1.5],  # angle: half-light radii beyond the closest approach at which that arc is measured
        [0.7, 0.7],  # angle: longest way where the profile decays exponentially, over STEEP
        [0.2, 0.2],  # angle: least distance, in half-light radii, that the faint central image is graded down to
        [1.15, 0.85],  # radius: longest panel where the profile decays exponentially, over STEEP
        [0.0, 0.38],  # angle: by how much of its width the first panel is turned
        [0.55, 0.88],  # image: distance of its knots, pixels of the image plane (scaled likewise)
        [1.0, 0.9],  # image, angle: longest way from ray to ray, in units of the knots' distance
        [0.85, 0.75],  # image, radius: longest step, likewise
    ]
).T.copy()

# --- what `trace` says of a ray -----------------------------------------------------------------------------------
# The line (a, b); radius, source-plane position and speed |dw/dr| of its closest approach. For p > 0 the line turns
# back at radius RS; inside of it there is a second closest approach: _RIN, (UX, UY), _SPEED_IN.
AX, AY, BX, BY, R0, VX, VY, SPEED, RS, _RIN, UX, UY, _SPEED_IN = range(13)
RAY = 13

# Nodes and weights of 4-point Gauss-Legendre quadrature on [-1, 1].
_T = (-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526)
_W = (0.34785484513745385, 0.6521451548625461, 0.6521451548625461, 0.34785484513745385)
NODES = np.array([_T, _W])

MAX_PANELS = 400
MAX_SAMPLES = 4 * 4 * MAX_PANELS
# Panels of angle to start with, and how often each may be halved.
BASE = 16
DEPTH = 26
_FAR = 1e30
# A panel is dark only if its rays' lines turn by less than this (a tangent), and its path is as far from the light as
# this many times its bend.
_TURN, _BEND = 0.5, 1.0


def _turns() -> NDArray[np.float64]:
    """Cosines and sines by which a panel's middle is turned: to its outer and inner nodes and to its quarters.

    Shape (depth, 6); panels of depth d span 2 pi / BASE / 2^d.
    """
    half = np.pi / BASE / 2.0 ** np.arange(DEPTH + 2)[:, None]
    angle = half * np.array([_T[3], _T[2], 0.5])
    return np.ascontiguousarray(np.hstack([np.cos(angle), np.sin(angle)]))


TURNS = _turns()


@compiled(fastmath=True)
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
    ray[AX], ray[AY] = ax, ay
    if power == 0.0:
        bx += p[SOURCE]
        by += p[SOURCE + 1]
        r0 = (ax * bx + ay * by) / a2
        closest = max(r0, 0.0)
        ray[BX], ray[BY], ray[R0] = bx, by, r0
        ray[VX], ray[VY] = closest * ax - bx, closest * ay - by
        ray[SPEED], ray[RS] = math.sqrt(a2), 0.0
        return
    ray[BX], ray[BY] = bx, by
    ray[_RIN], ray[UX], ray[UY], ray[_SPEED_IN] = 0.0, -p[SOURCE], -p[SOURCE + 1], 1.0
    _closest_on_a_bent_ray(p, ray, a2)


@compiled(fastmath=True)
def _closest_on_a_bent_ray(p, ray, a2):  # type: ignore[no-untyped-def]
    """Closest approaches for p != 0, by a few Gauss-Newton steps: they only place the nodes."""
    ax, ay, bx, by = ray[AX], ray[AY], ray[BX], ray[BY]
    power, sx, sy = p[POWER], p[SOURCE], p[SOURCE + 1]
    along = (ax * bx + ay * by) / a2
    # For p > 0 the line first runs backwards, out to r = turn: there lies the lens's faint central image.
    turn = 0.0
    if power > 0.0 and along > 0.0:
        turn = (power * along) ** (1.0 / (1.0 - power))
    least = max(turn, 1e-4)
    ring = max(along ** (1.0 / (1.0 - power)) if along > 0.0 else least, least)
    r = max((ax * (bx * ring**power + sx) + ay * (by * ring**power + sy)) / a2, 0.03 * ring, least)
    wx = wy = tx = ty = 0.0
    for _ in range(20):
        rp = r**power
        wx, wy = r * ax - rp * bx - sx, r * ay - rp * by - sy
        tx, ty = ax - power * rp / r * bx, ay - power * rp / r * by
        step = (wx * tx + wy * ty) / (tx * tx + ty * ty + 1e-12 * a2)
        last = r
        r = max(r - step, 0.5 * (r + least)) if step > 0.0 else min(r - step, 4.0 * r)
        if abs(r - last) < 0.01 * last:
            break
    rp = r**power
    ray[R0], ray[RS] = r, turn
    ray[VX], ray[VY] = r * ax - rp * bx - sx, r * ay - rp * by - sy
    tx, ty = ax - power * rp / r * bx, ay - power * rp / r * by
    ray[SPEED] = max(math.sqrt(tx * tx + ty * ty), 0.05 * math.sqrt(a2))
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
    ray[UX], ray[UY] = r * ax - u * bx - sx, r * ay - u * by - sy
    slope = power * u / max(r, 1e-12)
    tx, ty = ax - slope * bx, ay - slope * by
    ray[_SPEED_IN] = math.sqrt(tx * tx + ty * ty)


@compiled(fastmath=True)
def _panels(r0, low, high, reach, inward, grading, edges, n):  # type: ignore[no-untyped-def]
    """Append panels (start, end) of [low, high] graded away from ``r0``; return how many there are then.

    They end at the distance ``reach`` outwards and ``inward`` inwards, pixels.
    """
    first, growth, longest, steep, flatter, bend = grading
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


@compiled(fastmath=True)
def ray_panels(c, s, p, ray, settings, edges):  # type: ignore[no-untyped-def]
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
    distance = math.sqrt(ray[VX] * ray[VX] + ray[VY] * ray[VY])
    dark = p[DARK]
    growth, longest = settings[GROWTH], settings[LONGEST]
    n = 0
    beyond = 0.0
    if distance < dark:
        inverse = 1.0 / ray[SPEED]
        r0 = ray[R0]
        span = distance
        if r0 < 0.0:  # the line's own closest approach lies behind the lens
            span = abs(ray[AX] * ray[BY] - ray[AY] * ray[BX]) * inverse
        reach = math.sqrt(dark * dark - span * span) * inverse
        inward, bend = reach, _FAR
        if p[POWER] != 0.0:
            # The line's speed at r0 is not its speed everywhere: for p > 0 it comes to a halt at RS.
            away = 1.0 / math.sqrt(ray[AX] * ray[AX] + ray[AY] * ray[AY])
            reach = max(reach, dark * away)
            inward = r0 if p[POWER] > 0.0 else reach
            inverse = min(inverse, away)
            bend = 3.0
        first = max(span, p[CORE]) * settings[FIRST] * inverse
        steep = settings[PROFILE] * p[STEEP] * (1.0 - p[FLATTER]) * inverse
        flatter = settings[PROFILE] * p[STEEP] * p[FLATTER]
        grading = Grading(first, growth, longest, steep, flatter, bend)
        n = _panels(r0, ray[RS], edge, reach, inward, grading, edges, 0)
        if r0 + reach > edge:
            beyond = edge
    if ray[RS] > 0.0:
        distance = math.sqrt(ray[UX] * ray[UX] + ray[UY] * ray[UY])
        if distance < dark:
            inverse = 1.0 / max(ray[_SPEED_IN], math.sqrt(ray[AX] * ray[AX] + ray[AY] * ray[AY]))
            top = min(ray[RS], edge)
            first = max(max(distance, p[CORE]) * settings[FIRST] * inverse, 1e-3 * top)
            # The line's length out to `top`, in half-light radii, says how many panels the profile's decay asks for.
            whole = top ** p[POWER] * math.sqrt(ray[BX] * ray[BX] + ray[BY] * ray[BY])
            steep = max(settings[PROFILE] * p[STEEP] * (1.0 - p[FLATTER]) / whole, 0.02) * top
            flatter = settings[PROFILE] * p[STEEP] * p[FLATTER]
            grading = Grading(first, growth, longest, steep, flatter, 3.0)
            n = _panels(ray[_RIN], 0.0, top, top, top, grading, edges, n)
    return n, beyond


@compiled(fastmath=True)
def distance_to_path(x0, y0, x1, y1, x2, y2):  # type: ignore[no-untyped-def]
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


@compiled(fastmath=True)
def judge(left, middle, right, width, p, settings):  # type: ignore[no-untyped-def]
    """Whether an angular panel is dark (0), good as it is (1), or to be halved (2)."""
    dark = p[DARK]
    near, length, bend = distance_to_path(left[VX], left[VY], middle[VX], middle[VY], right[VX], right[VY])
    lit = near - 0.25 * bend < dark
    halve = False
    if lit:
        r0 = max(middle[R0], 0.0)
        shift = abs(left[R0] - middle[R0]) + abs(middle[R0] - right[R0])
        speed = math.sqrt(middle[AX] * middle[AX] + middle[AY] * middle[AY])
        arc = width * min(r0 + settings[AROUND] / speed, p[REACH])
        halve = (
            length > settings[NEAR] * (near + p[CORE])
            or length > p[STEEP] * settings[DECAY] * (1.0 + p[FLATTER] * max(near - 1.0, 0.0))
            or arc > settings[ARC]
            or (shift > settings[SHIFT] and middle[R0] > 0.0)
        )
    if middle[RS] > 0.0:
        near, length, bend = distance_to_path(left[UX], left[UY], middle[UX], middle[UY], right[UX], right[UY])
        if near - 0.25 * bend < dark:
            lit = True
            halve = halve or length > settings[NEAR] * (near + max(p[CORE], settings[CENTRAL]))
    if not lit:
        return 2 if may_hide(left, middle, right, dark) else 0
    return 2 if halve else 1


@compiled(fastmath=True)
def may_hide(left, middle, right, dark):  # type: ignore[no-untyped-def]
    """Whether a panel that looks dark on its three rays may hold light between them: to be halved, not sampled.

    An elongated source and a strong shear turn the rays' lines up to a hundred times faster than the rays, and the
    paths between three of them are then anything but parabolas. A small source lies within one such turn.
    """
    across = left[AX] * right[AY] - left[AY] * right[AX]
    along = left[AX] * right[AX] + left[AY] * right[AY]
    if along <= 0.0 or abs(across) > _TURN * along:
        return True
    near, _, bend = distance_to_path(left[VX], left[VY], middle[VX], middle[VY], right[VX], right[VY])
    if near - _BEND * bend < dark:
        return True
    if middle[RS] <= 0.0:
        return False
    near, _, bend = distance_to_path(left[UX], left[UY], middle[UX], middle[UY], right[UX], right[UY])
    return near - _BEND * bend < dark


@compiled(fastmath=True)
def beyond_panels(edge, p, ray, settings, edges):  # type: ignore[no-untyped-def]
    """Panels of one ray from the field's edge out to where the source is dark; only its flux is wanted of them."""
    away = 1.0 / math.sqrt(ray[AX] * ray[AX] + ray[AY] * ray[AY])
    r0 = ray[R0]
    limit = max(r0, 0.0) + p[DARK] * away
    if limit <= edge:
        return 0
    distance = math.sqrt(ray[VX] * ray[VX] + ray[VY] * ray[VY])
    first = max(distance, p[CORE]) * settings[FIRST] * away
    steep = settings[PROFILE] * p[STEEP] * (1.0 - p[FLATTER]) * away
    flatter = settings[PROFILE] * p[STEEP] * p[FLATTER]
    return _panels(r0, edge, limit, _FAR, _FAR, Grading(first, settings[GROWTH], _FAR, steep, flatter, 3.0), edges, 0)
