"""Straight rays, many at a time: the same formulas as :mod:`quadrature` has for one, in loops that become vectors.

With an SIS or SIE every ray is a line in the source plane. Its series, its square roots and its panels are a chain of
operations that wait for each other: one ray after another takes ten times as long as eight side by side. So lit panels
of angle are kept until there are LEAVES of them, and their rays are traced and divided together. Samples come in the
order that they would come in without.

Indices of rays: ``AX`` to ``RS`` of :mod:`quadrature`, then those below.
"""

from __future__ import annotations

import math

import numpy as np

from lensflow.jit import compiled
from lensflow.lensing.engine.quadrature import (
    AX,
    AY,
    BASE,
    BX,
    BY,
    CORE,
    COS,
    DARK,
    FIRST,
    FLATTER,
    GROWTH,
    HIGH,
    LEFT,
    LONGEST,
    LOW,
    MAP,
    MAX_PANELS,
    PROFILE,
    R0,
    RIGHT,
    RS,
    SIN,
    SOURCE,
    SPEED,
    STEEP,
    STRENGTH,
    TERMS,
    TO_SOURCE,
    VX,
    VY,
    Q,
)
from lensflow.lensing.engine.records import GRID_X, GRID_Y, VALUE, WEIGHT, StraightSpace

# Panels of angle that are taken together.
LEAVES = 16
RAYS = 4 * LEAVES
# Panels of a ray outwards from the closest approach, and as many inwards.
SIDE = MAX_PANELS // 2
# Of a ray beside its line and its closest approach: its direction; the field's edge where light lies beyond it, or 0;
# squares of its speed and of its distance from the source's centre.
DIRECTION_X, DIRECTION_Y, BEYOND, SPEED2, DISTANCE2 = range(RS + 1, RS + 6)
COLUMNS = DISTANCE2 + 1
# Of a ray's side: its first panel, how long panels may be by the profile, where the last one ends, how many there are.
_FIRST, _STEEP, _END, _COUNT = range(4)
# Of a panel: its middle, half its length, area, and its ray's speed2, r0, distance2 and direction in steps of the grid.
_MIDDLE, _HALF, _AREA, _A2, _R0, _D2, _CX, _CY = range(8)
_FAR = 1e30


@compiled()
def straight_space():  # type: ignore[no-untyped-def]
    """Allocate the work space of this module."""
    return StraightSpace(
        np.zeros((COLUMNS, 2 * BASE)), np.zeros((LEAVES, 3)), np.zeros((COLUMNS, RAYS)), np.zeros((6, RAYS)),
        np.zeros((4, 2 * RAYS)), np.empty((SIDE + 1, 2 * RAYS)), np.empty((8, 4 * MAX_PANELS)),
    )  # fmt: skip


@compiled(fastmath=True)
def trace_rays(rays, n, p, series, work):  # type: ignore[no-untyped-def]
    """:func:`quadrature.trace` of the first ``n`` directions of ``rays`` through an SIS or SIE."""
    c, s = rays[DIRECTION_X], rays[DIRECTION_Y]
    u, v, zr, zi, hr, hi = work[0], work[1], work[2], work[3], work[4], work[5]
    cos, sin, q = p[COS], p[SIN], p[Q]
    for j in range(n):
        cl, sl = cos * c[j] + sin * s[j], cos * s[j] - sin * c[j]
        ql = q * cl
        inverse = 1.0 / math.sqrt(ql * ql + sl * sl)
        x, y = ql * inverse, sl * inverse
        u[j], v[j] = x, y
        zr[j], zi[j] = x * x - y * y, 2.0 * x * y
        hr[j], hi[j] = 1.0, 0.0
    for term in range(int(p[TERMS]) - 1, -1, -1):
        a = series[term]
        for j in range(n):
            real, imaginary = hr[j], hi[j]
            hr[j] = 1.0 + a * (zr[j] * real - zi[j] * imaginary)
            hi[j] = a * (zr[j] * imaginary + zi[j] * real)
    strength, sx, sy = p[STRENGTH], p[SOURCE], p[SOURCE + 1]
    m0, m1, m2, m3 = p[MAP], p[MAP + 1], p[MAP + 2], p[MAP + 3]
    t0, t1, t2, t3 = p[TO_SOURCE], p[TO_SOURCE + 1], p[TO_SOURCE + 2], p[TO_SOURCE + 3]
    rax, ray, rbx, rby = rays[AX], rays[AY], rays[BX], rays[BY]
    nearest, vx, vy, speed, turn = rays[R0], rays[VX], rays[VY], rays[SPEED], rays[RS]
    for j in range(n):
        x, y = strength * (u[j] * hr[j] - v[j] * hi[j]), strength * (u[j] * hi[j] + v[j] * hr[j])
        dx, dy = cos * x - sin * y, sin * x + cos * y
        ax, ay = m0 * c[j] + m1 * s[j], m2 * c[j] + m3 * s[j]
        bx, by = t0 * dx + t1 * dy + sx, t2 * dx + t3 * dy + sy
        a2 = ax * ax + ay * ay
        r0 = (ax * bx + ay * by) / a2
        closest = max(r0, 0.0)
        rax[j], ray[j], rbx[j], rby[j] = ax, ay, bx, by
        nearest[j], vx[j], vy[j] = r0, closest * ax - bx, closest * ay - by
        speed[j], turn[j] = math.sqrt(a2), 0.0


@compiled(fastmath=True)
def trace_circle(circle, turned, p, series, work):  # type: ignore[no-untyped-def]
    """Trace the ends and the middles of the first panels of angle, turned by a part of their width."""
    width = 2.0 * math.pi / BASE
    for k in range(2 * BASE):
        angle = width * (k // 2 + turned + 0.5 * (k % 2))
        circle[DIRECTION_X, k], circle[DIRECTION_Y, k] = math.cos(angle), math.sin(angle)
    trace_rays(circle, 2 * BASE, p, series, work)


@compiled(fastmath=True)
def divide_rays(n, p, settings, space):  # type: ignore[no-untyped-def]
    """:func:`quadrature.ray_panels` of the first ``n`` of ``space.rays``, by the ends of their panels.

    ``space.ends[0]`` to ``space.ends[count]`` are distances from the closest approach, outwards in the first ``n``
    columns and inwards in the next.
    """
    rays, ends = space.rays, space.ends
    rax, ray, rbx, rby, nearest = rays[AX], rays[AY], rays[BX], rays[BY], rays[R0]
    c, s, vx, vy, speed = rays[DIRECTION_X], rays[DIRECTION_Y], rays[VX], rays[VY], rays[SPEED]
    beyond, speed2, distance2 = rays[BEYOND], rays[SPEED2], rays[DISTANCE2]
    first, steep, end, count = space.sides[_FIRST], space.sides[_STEEP], space.sides[_END], space.sides[_COUNT]
    first_in, steep_in, end_in = first[n:], steep[n:], end[n:]
    start, start_in = ends[0], ends[0, n:]
    dark, core, shortest = p[DARK], p[CORE], settings[FIRST]
    left, right, low, high = p[LEFT], p[RIGHT], p[LOW], p[HIGH]
    decay, flatter = settings[PROFILE] * p[STEEP] * (1.0 - p[FLATTER]), settings[PROFILE] * p[STEEP] * p[FLATTER]
    growth, longest = settings[GROWTH], settings[LONGEST]
    for j in range(n):
        ex = (right if c[j] > 0.0 else left) / c[j] if c[j] != 0.0 else _FAR
        ey = (high if s[j] > 0.0 else low) / s[j] if s[j] != 0.0 else _FAR
        edge, r0, inverse = min(ex, ey), nearest[j], 1.0 / speed[j]
        distance = math.sqrt(vx[j] * vx[j] + vy[j] * vy[j])
        a2 = rax[j] * rax[j] + ray[j] * ray[j]
        cross = rax[j] * rby[j] - ray[j] * rbx[j]
        speed2[j], distance2[j] = a2, cross * cross / a2
        span = abs(cross) * inverse if r0 < 0.0 else distance
        reach = math.sqrt(max(dark * dark - span * span, 0.0)) * inverse
        lit = distance < dark
        length, slope = max(span, core) * shortest * inverse, decay * inverse
        first[j] = length
        first_in[j] = length
        steep[j] = slope
        steep_in[j] = slope
        start[j] = max(0.0, -r0)
        start_in[j] = max(0.0, r0 - edge)
        end[j] = min(edge - r0, reach) if lit else -1.0
        end_in[j] = min(r0, reach) if lit else -1.0
        beyond[j] = edge if lit and r0 + reach > edge else 0.0
    for j in range(2 * n):
        count[j] = 0.0
    for k in range(SIDE):
        near, far = ends[k], ends[k + 1]
        last = _FAR if k == SIDE - 1 else 0.0
        more = 0.0
        for j in range(2 * n):
            e, stop = near[j], end[j]
            length = min(max(first[j], growth * e), longest, steep[j] + flatter * e)
            to = e + length
            to = stop if to + 0.35 * length + last > stop else to
            open_ = e < stop
            far[j] = to if open_ else e
            count[j] += 1.0 if open_ else 0.0
            more += 1.0 if open_ and to < stop else 0.0
        if more == 0.0:
            break


@compiled(fastmath=True)
def leaf_samples(leaf, n, width, grid, nodes, space, samples):  # type: ignore[no-untyped-def]
    """Write the samples of one of the panels of angle whose ``n`` rays are divided; returns how many."""
    rays, ends, panels = space.rays, space.ends, space.panels
    found = 0
    for i in range(4):
        j = 4 * leaf + i
        angular = 0.5 * width * nodes[1, i]
        cx, cy = rays[DIRECTION_X, j] / grid.step, rays[DIRECTION_Y, j] / grid.step
        a2, r0, d2 = rays[SPEED2, j], rays[R0, j], rays[DISTANCE2, j]
        for side in range(2):
            at = j + side * n
            sign = 1.0 if side == 0 else -1.0
            near = r0 + sign * ends[0, at]
            for k in range(int(space.sides[_COUNT, at])):
                far = r0 + sign * ends[k + 1, at]
                half = 0.5 * (far - near)
                panels[_MIDDLE, found], panels[_HALF, found] = 0.5 * (far + near), half
                panels[_AREA, found] = abs(half) * angular
                panels[_A2, found], panels[_R0, found], panels[_D2, found] = a2, r0, d2
                panels[_CX, found], panels[_CY, found] = cx, cy
                near = far
                found += 1
    _nodes_of_panels(panels, found, nodes, samples, -grid.origin_x / grid.step, -grid.origin_y / grid.step)
    return 4 * found


@compiled(fastmath=True)
def _nodes_of_panels(panels, n, nodes, samples, ox, oy):  # type: ignore[no-untyped-def]
    """Write the four nodes of every panel, each by itself: of a loop over them the compiler makes no vectors."""
    value, weight, gx, gy = samples[VALUE], samples[WEIGHT], samples[GRID_X], samples[GRID_Y]
    middles, halves, areas, a2s = panels[_MIDDLE], panels[_HALF], panels[_AREA], panels[_A2]
    r0s, d2s, cxs, cys = panels[_R0], panels[_D2], panels[_CX], panels[_CY]
    t0, t1, t2, t3 = nodes[0, 0], nodes[0, 1], nodes[0, 2], nodes[0, 3]
    w0, w1, w2, w3 = nodes[1, 0], nodes[1, 1], nodes[1, 2], nodes[1, 3]
    for k in range(n):
        middle, half, area, a2 = middles[k], halves[k], areas[k], a2s[k]
        r0, d2, cx, cy = r0s[k], d2s[k], cxs[k], cys[k]
        ra, rb, rc, rd = middle + half * t0, middle + half * t1, middle + half * t2, middle + half * t3
        value[4 * k] = a2 * (ra - r0) * (ra - r0) + d2
        value[4 * k + 1] = a2 * (rb - r0) * (rb - r0) + d2
        value[4 * k + 2] = a2 * (rc - r0) * (rc - r0) + d2
        value[4 * k + 3] = a2 * (rd - r0) * (rd - r0) + d2
        weight[4 * k] = area * w0 * ra
        weight[4 * k + 1] = area * w1 * rb
        weight[4 * k + 2] = area * w2 * rc
        weight[4 * k + 3] = area * w3 * rd
        gx[4 * k] = ox + ra * cx
        gx[4 * k + 1] = ox + rb * cx
        gx[4 * k + 2] = ox + rc * cx
        gx[4 * k + 3] = ox + rd * cx
        gy[4 * k] = oy + ra * cy
        gy[4 * k + 1] = oy + rb * cy
        gy[4 * k + 2] = oy + rc * cy
        gy[4 * k + 3] = oy + rd * cy
