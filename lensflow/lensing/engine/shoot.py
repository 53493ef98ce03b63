"""Collect one row's light on its grid: run the adaptive quadrature, evaluate the source, spread the samples."""

from __future__ import annotations

import math

import numpy as np

from lensflow.jit import compiled
from lensflow.lensing.engine.image_angles import MAX_LEAVES
from lensflow.lensing.engine.light import power_in_place, scale_in_place, sersic_in_place
from lensflow.lensing.engine.quadrature import (
    AX,
    AY,
    BASE,
    BX,
    BY,
    DARK,
    DEPTH,
    MAX_PANELS,
    MAX_SAMPLES,
    POWER,
    RAY,
    RS,
    SOURCE,
    TURN,
    beyond_panels,
    judge,
    ray_panels,
    trace,
)
from lensflow.lensing.engine.records import (
    BEND_X,
    BEND_Y,
    GRID_X,
    GRID_Y,
    SOURCE_X,
    SOURCE_Y,
    VALUE,
    WEIGHT,
    ShootSpace,
)
from lensflow.lensing.engine.spreading import spread
from lensflow.lensing.engine.straight import (
    BEYOND,
    DIRECTION_X,
    DIRECTION_Y,
    LEAVES,
    divide_rays,
    leaf_samples,
    straight_space,
    trace_circle,
    trace_rays,
)

# Columns of a panel on the stack: depth, cosine and sine of its middle, its rays (left, middle, right).
FIRST_RAY = 3
STACK_COLUMNS = FIRST_RAY + 3 * RAY
STACK_ROWS = DEPTH + 2


@compiled()
def shoot_space():  # type: ignore[no-untyped-def]
    """Allocate the work space of :func:`shoot_row`."""
    samples = np.empty((8, MAX_SAMPLES), np.float32)
    return ShootSpace(
        samples, np.empty((MAX_PANELS, 2)), np.zeros((4, RAY)), np.zeros((STACK_ROWS, STACK_COLUMNS)),
        np.zeros((8, RAY)), np.empty((2, MAX_SAMPLES // 2, 8)), np.zeros((22, 8)), np.empty((2, MAX_SAMPLES // 2)),
        np.zeros((2 * MAX_LEAVES, 3)), straight_space(),
    )  # fmt: skip


@compiled(fastmath=True)
def shoot_row(row, grid, constants, space):  # type: ignore[no-untyped-def]
    """Put one row's light on its grid.

    Parameters
    ----------
    row : Row
    grid : Grid
        Added to.
    constants : Constants
    space : ShootSpace
        From :func:`shoot_space`.

    Returns
    -------
    inside, outside : float
        Flux of the field and of what lies beyond it.
    samples : int
    """
    # Read once here, not once a panel: see the records' first lines.
    p = row.geometry
    series = row.series
    settings = row.settings
    nodes = constants.nodes
    turns = constants.turns
    window = constants.window
    stack = space.stack
    samples = space.samples
    inside = outside = 0.0
    total = 0
    base = 2.0 * math.pi / BASE
    straight = p[POWER] == 0.0
    circle, leaves = space.straight.circle, space.straight.leaves
    waiting = 0
    if straight:
        trace_circle(circle, settings[TURN], p, series, space.straight.work)
    for start in range(BASE):
        panel = stack[0]
        panel[0] = 0.0
        for k in range(3):
            if straight:
                at = (2 * start + k) % (2 * BASE)
                for name in range(RS + 1):
                    panel[FIRST_RAY + k * RAY + name] = circle[name, at]
                if k == 1:
                    panel[1], panel[2] = circle[DIRECTION_X, at], circle[DIRECTION_Y, at]
                continue
            angle = base * (start + settings[TURN] + 0.5 * k)
            c, s = math.cos(angle), math.sin(angle)
            trace(c, s, p, series, panel[FIRST_RAY + k * RAY :])
            if k == 1:
                panel[1], panel[2] = c, s
        top = 0
        while top >= 0:
            panel = stack[top]
            depth = int(panel[0])
            left = panel[FIRST_RAY : FIRST_RAY + RAY]
            middle = panel[FIRST_RAY + RAY : FIRST_RAY + 2 * RAY]
            right = panel[FIRST_RAY + 2 * RAY : FIRST_RAY + 3 * RAY]
            width = base / 2.0**depth
            verdict = judge(left, middle, right, width, p, settings)
            turn = turns[depth]
            if verdict == 2 and depth < DEPTH - 1:
                halve(panel, stack[top + 1], turn[2], turn[5], p, series)
                top += 1
                continue
            top -= 1
            if verdict == 0:
                continue
            if straight:
                leaves[waiting, 0], leaves[waiting, 1], leaves[waiting, 2] = panel[1], panel[2], panel[0]
                waiting += 1
                if waiting == LEAVES:
                    inside, outside, n = _shoot_straight(waiting, inside, outside, row, grid, constants, space)
                    total += n
                    waiting = 0
                continue
            n, beyond = _nodes(panel[1], panel[2], width, turn, row, grid, nodes, space)
            outside += beyond
            if n == 0:
                continue
            _bend(samples, n, p[POWER])
            inside += _put(samples, n, row, grid, window)
            total += n
    if waiting:
        inside, outside, n = _shoot_straight(waiting, inside, outside, row, grid, constants, space)
        total += n
    return inside, outside * row.unit, total


@compiled(fastmath=True)
def _shoot_straight(n_leaves, inside, outside, row, grid, constants, space):  # type: ignore[no-untyped-def]
    """What :func:`shoot_row` does with one lit panel of angle, for several at a time whose rays are straight.

    Returns the flux inside and outside with theirs added, and the number of samples.
    """
    straight, samples, nodes, turns = space.straight, space.samples, constants.nodes, constants.turns
    leaves, rays, window, ray = straight.leaves, straight.rays, constants.window, space.rays[0]
    n = 4 * n_leaves
    for leaf in range(n_leaves):
        c, s, turn = leaves[leaf, 0], leaves[leaf, 1], turns[int(leaves[leaf, 2])]
        for i in range(4):
            ct, st = _turned(turn, i)
            rays[DIRECTION_X, 4 * leaf + i], rays[DIRECTION_Y, 4 * leaf + i] = c * ct - s * st, s * ct + c * st
    trace_rays(rays, n, row.geometry, row.series, straight.work)
    divide_rays(n, row.geometry, row.settings, straight)
    total = 0
    for leaf in range(n_leaves):
        width = 2.0 * math.pi / BASE / 2.0 ** int(leaves[leaf, 2])
        count = leaf_samples(leaf, n, width, grid, nodes, straight, samples)
        beyond = 0.0
        for i in range(4):
            edge = rays[BEYOND, 4 * leaf + i]
            if edge > 0.0:
                for name in range(RS + 1):
                    ray[name] = rays[name, 4 * leaf + i]
                beyond += 0.5 * width * nodes[1, i] * _sum_beyond(edge, ray, row, nodes, space.edges)
        outside += beyond
        if count == 0:
            continue
        inside += _put(samples, count, row, grid, window)
        total += count
    return inside, outside, total


@compiled(fastmath=True)
def _put(samples, n, row, grid, window):  # type: ignore[no-untyped-def]
    """Put the light of samples, whose values are squared radii, on the grid; returns their flux."""
    value = samples[VALUE]
    sersic_in_place(value, samples[WEIGHT], n, row.n_sersic, row.b_n)
    if row.unit != 1.0:
        scale_in_place(value, n, row.unit)
    spread(grid.light, grid.stride, samples[GRID_X], samples[GRID_Y], value, n, window)
    return _sum(value, n)


@compiled(inline="always")
def _turned(turn, i):  # type: ignore[no-untyped-def]
    """Cosine and sine of the angle from a panel's middle to the first to fourth of its rays."""
    j = i if i < 2 else 3 - i
    return turn[j], turn[3 + j] if i >= 2 else -turn[3 + j]


@compiled(fastmath=True)
def halve(panel, other, ct, st, p, series):  # type: ignore[no-untyped-def]
    """Replace a panel by its first half, write its second to ``other``; trace their middles, (ct, st) either side."""
    c, s = panel[1], panel[2]
    other[0] = panel[0] = panel[0] + 1.0
    other[1], other[2] = c * ct - s * st, s * ct + c * st
    panel[1], panel[2] = c * ct + s * st, s * ct - c * st
    for k in range(FIRST_RAY, FIRST_RAY + RAY):
        other[k] = panel[k + RAY]
        other[k + 2 * RAY] = panel[k + 2 * RAY]
        panel[k + 2 * RAY] = panel[k + RAY]
    trace(other[1], other[2], p, series, other[FIRST_RAY + RAY :])
    trace(panel[1], panel[2], p, series, panel[FIRST_RAY + RAY :])


@compiled(fastmath=True)
def _nodes(c, s, width, turn, row, grid, nodes, space):  # type: ignore[no-untyped-def]
    """Write the samples of an angular panel's four bent rays to ``space.samples``.

    Their values are radii, to be finished by :func:`_bend`.

    Returns
    -------
    n : int
        Samples.
    outside : float
        Flux beyond the field.
    """
    samples = space.samples
    w2, weight, gx, gy = samples[VALUE], samples[WEIGHT], samples[GRID_X], samples[GRID_Y]
    sx, sy, bx, by = samples[SOURCE_X], samples[SOURCE_Y], samples[BEND_X], samples[BEND_Y]
    edges = space.edges
    rays = space.rays
    p = row.geometry
    series = row.series
    settings = row.settings
    ox, oy = -grid.origin_x / grid.step, -grid.origin_y / grid.step
    power, dark2 = p[POWER], p[DARK] * p[DARK]
    outside = 0.0
    n = 0
    for i in range(4):
        ct, st = _turned(turn, i)
        rc, rs = c * ct - s * st, s * ct + c * st
        ray = rays[i]
        trace(rc, rs, p, series, ray)
        count, beyond = ray_panels(rc, rs, p, ray, settings, edges)
        angular = 0.5 * width * nodes[1, i]
        cx, cy = rc / grid.step, rs / grid.step
        ax, ay = ray[AX], ray[AY]
        for k in range(count):
            # The end nearer to the closest approach is the brightest point of a panel.
            r = edges[k, 0]
            rp = math.exp(power * math.log(max(r, 1e-6)))
            x, y = r * ax - rp * ray[BX] - p[SOURCE], r * ay - rp * ray[BY] - p[SOURCE + 1]
            if x * x + y * y > dark2:
                continue
            half, middle = 0.5 * (edges[k, 1] - edges[k, 0]), 0.5 * (edges[k, 1] + edges[k, 0])
            area = abs(half) * angular
            for m in range(4):
                r = middle + half * nodes[0, m]
                w2[n + m] = r
                weight[n + m] = area * nodes[1, m] * r
                gx[n + m] = ox + r * cx
                gy[n + m] = oy + r * cy
                sx[n + m], sy[n + m] = r * ax - p[SOURCE], r * ay - p[SOURCE + 1]
                bx[n + m], by[n + m] = ray[BX], ray[BY]
            n += 4
        if beyond > 0.0:
            outside += angular * _sum_beyond(beyond, ray, row, nodes, edges)
    return n, outside


@compiled(fastmath=True)
def _bend(samples, n, power):  # type: ignore[no-untyped-def]
    """Turn radii into source positions of a bent line, and their squared radii."""
    w2, sx, sy, bx, by = samples[VALUE], samples[SOURCE_X], samples[SOURCE_Y], samples[BEND_X], samples[BEND_Y]
    power_in_place(w2, n, power)
    for k in range(n):
        x, y = sx[k] - w2[k] * bx[k], sy[k] - w2[k] * by[k]
        sx[k], sy[k] = x, y
        w2[k] = x * x + y * y


@compiled(fastmath=True)
def _sum(value, n):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(n):
        total += value[k]
    return total


@compiled(fastmath=True)
def _sum_beyond(edge, ray, row, nodes, edges):  # type: ignore[no-untyped-def]
    """Light of one ray beyond the field's edge, times radius: only the magnification asks for it."""
    p = row.geometry
    total = 0.0
    for k in range(beyond_panels(edge, p, ray, row.settings, edges)):
        half, middle = 0.5 * abs(edges[k, 1] - edges[k, 0]), 0.5 * (edges[k, 1] + edges[k, 0])
        for m in range(4):
            r = middle + half * nodes[0, m]
            if p[POWER] == 0.0:
                x, y = r * ray[AX] - ray[BX], r * ray[AY] - ray[BY]
            else:
                rp = r ** p[POWER]
                x, y = r * ray[AX] - rp * ray[BX] - p[SOURCE], r * ray[AY] - rp * ray[BY] - p[SOURCE + 1]
            total += half * nodes[1, m] * r * math.exp(-row.b_n * (x * x + y * y) ** (0.5 / row.n_sersic))
    return total
