"""Collect the light of a row whose source is an image, at the level of detail that the map and the PSF let through.

An image has structure everywhere, not about its centre alone, but little of it is seen: a source frequency ``f`` is
the image-plane frequency ``J^T f``, J the local Jacobian, and the PSF passes none above ``f_max``. So where the smaller
of J's stretches is s, source frequencies above ``f_max / s`` are lost in the convolution, and the image may be read
from the level whose knots are DETAIL s apart (:mod:`lensflow.lensing.image_levels`). On a critical curve s is 0, and
the image itself is read: there the rays cross it quickly, and its pixels are few. Two levels are blended where one
gives way to the other: a sharp change would let the finer level's detail, cut off half-way through a wave, into the
image.

Rays are sent as densely as the levels' knots ask for at every radius with light (:mod:`image_angles`); what counts is
the way across the ray's direction in the source: along it the light is integrated finely. Along a ray the trapezoidal
rule is used as well, at radii that are a smooth function of their number: spaced as the knots are, it leaves nothing
out, where panels of Gauss-Legendre nodes need twice as many.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled
from lensflow.lensing.engine.image_angles import (
    DENSITY,
    MIDDLE,
    START,
    WIDTH,
    even_out,
    judge_leaf,
    knots2,
    place_in_segment,
    segment,
    turned,
    whole_rays,
)
from lensflow.lensing.engine.image_lookup import between_pixels
from lensflow.lensing.engine.light import exp2, log2, power_in_place
from lensflow.lensing.engine.quadrature import (
    ALONG,
    AX,
    AY,
    BX,
    BY,
    DARK,
    DEPTH,
    DETAIL,
    HIGH,
    LEFT,
    LONGEST,
    LOW,
    POWER,
    R0,
    RAY,
    RIGHT,
    SOURCE,
    TURN,
    trace,
)
from lensflow.lensing.engine.records import BEND_X, GRID_X, GRID_Y, SOURCE_X, SOURCE_Y, VALUE, WEIGHT
from lensflow.lensing.engine.shoot import FIRST_RAY, halve
from lensflow.lensing.engine.spreading import spread
from lensflow.lensing.image_levels import FRAME

# Samples of one ray this close to each other (grid steps) become one, at their centroid.
_TOGETHER = 0.08
# Up to this share of the way from one level to the next the finer one is taken; the two are blended from there on.
_SHARP = np.float32(0.5)
_OVER_BLEND = np.float32(1.0 / (1.0 - 0.5))
# Largest step, over the radius.
_GROWTH2 = 0.35**2
_GOLDEN = 0.6180339887498949
# Rays that take their steps together.
RAYS = 8
# Leaves of the circle to start with.
_BASE = 8


def _turns() -> NDArray[np.float64]:
    """Cosines and sines of a quarter of a leaf's width, shape (depth, 2)."""
    angle = 0.5 * np.pi / _BASE / 2.0 ** np.arange(DEPTH + 2)
    return np.ascontiguousarray(np.stack([np.cos(angle), np.sin(angle)], axis=1))


TURNS = _turns()
# Rows of ``ShootSpace.lanes``, after the derivatives of a and b.
LOW_END, HIGH_END, PHASE, EDGE, COS_RAY, SIN_RAY, COUNT, _AX, _AY, _BX, _BY, _R, _BEFORE, _OVER, _RZERO = range(4, 19)
ANGULAR, _A, _B = 19, 20, 21
_FAR = 1e9


@compiled(fastmath=True)
def shoot_image_row(row, grid, constants, space):  # type: ignore[no-untyped-def]
    """Put the light of one row with an image on its grid; as :func:`lensflow.lensing.engine.shoot.shoot_row`.

    Parameters
    ----------
    row : ImageRow
    grid : Grid
        Added to.
    constants : Constants
    space : ShootSpace

    Returns
    -------
    inside, outside : float
        Flux of the field and of what lies beyond it.
    samples : int
    short : int
        Rays whose steps ran out before their light did, and leaves that were not halved as they asked for.
    """
    leaves = space.leaves
    n, short = _find_leaves(row, constants, space)
    first = 0
    while first < n and leaves[first, DENSITY] > 0.0:
        first += 1
    if first == n:
        inside, outside, samples, ended = _shoot_run(leaves[:n], True, 0.0, row, grid, constants, space)
        return inside, outside, samples, short + ended
    # A run may go on across the first leaf.
    for k in range(first):
        leaves[n + k] = leaves[k]
    inside = outside = phase = 0.0
    samples = 0
    start = first
    for k in range(first, n + first + 1):
        if k < n + first and leaves[k, DENSITY] > 0.0:
            continue
        if k > start:
            lit, beyond, count, ended = _shoot_run(leaves[start:k], False, phase, row, grid, constants, space)
            inside += lit
            outside += beyond
            samples += count
            short += ended
            phase += 0.29
        start = k + 1
    return inside, outside, samples, short


@compiled(fastmath=True)
def _find_leaves(row, constants, space):  # type: ignore[no-untyped-def]
    """Halve the circle into ``space.leaves``, neighbours one after the other, angles falling.

    Returns
    -------
    n : int
        Leaves.
    short : int
        How many of them were not halved for want of room.
    """
    p = row.geometry
    series = row.series
    settings = row.settings
    image_turns = constants.image_turns
    stack = space.stack
    leaves = space.leaves
    unit, coarsest = row.place[2], 2.0 ** (row.frame.shape[0] - 1)
    n = short = 0
    base = 2.0 * math.pi / _BASE
    end = base * (_BASE + settings[TURN])
    for start in range(_BASE - 1, -1, -1):
        panel = stack[0]
        panel[0] = 0.0
        for k in range(3):
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
            density = judge_leaf(left, middle, right, width, p, settings, unit, coarsest)
            if density < 0.0 and depth < DEPTH - 1:
                # The second half of the array is for the run that goes on across the first leaf.
                if n + top + _BASE < leaves.shape[0] // 2:
                    halve(panel, stack[top + 1], image_turns[depth, 0], image_turns[depth, 1], p, series)
                    top += 1
                    continue
                short += 1
            top -= 1
            leaves[n, MIDDLE], leaves[n, WIDTH] = end - 0.5 * width, width
            leaves[n, DENSITY] = max(-density, 1.0 / width) if density < 0.0 else density
            end -= width
            n += 1
    return n, short


@compiled(fastmath=True)
def _shoot_run(leaves, closed, phase, row, grid, constants, space):  # type: ignore[no-untyped-def]
    """Send the rays of neighbouring leaves that are lit; as :func:`shoot_image_row`."""
    p = row.geometry
    series = row.series
    rays = space.image_rays
    lanes = space.lanes
    coarsest = 2.0 ** (row.frame.shape[0] - 1)
    n = leaves.shape[0]
    every = even_out(leaves, n, closed)
    count = whole_rays(every)
    scale = count / every
    inside = outside = 0.0
    samples = short = filled = 0
    part, before = 0, 0.0
    start, length, one, two = segment(leaves, n, closed, 0)
    within = 0.5 * scale * length * (one + two)
    last = n - 1 if closed else n
    for k in range(count):
        while part < last and before + within < k + 0.5:
            before += within
            part += 1
            start, length, one, two = segment(leaves, n, closed, part)
            within = 0.5 * scale * length * (one + two)
        u, density = place_in_segment((k + 0.5 - before) / (scale * length), one, two)
        angle = start - u * length
        c, s = math.cos(angle), math.sin(angle)
        lanes[COS_RAY, filled], lanes[SIN_RAY, filled], lanes[ANGULAR, filled] = c, s, 1.0 / (scale * density)
        ray = rays[filled]
        trace(c, s, p, series, ray)
        _ends(c, s, ray, filled, p, lanes)
        turned(c, s, p, ray, lanes, filled)
        # Where the first sample is must not follow the angle.
        phase += _GOLDEN
        phase -= math.floor(phase)
        lanes[PHASE, filled] = phase
        filled += 1
        if filled < RAYS and k < count - 1:
            continue
        for i in range(filled, RAYS):
            rays[i] = rays[0]
            lanes[:, i] = lanes[:, 0]
        _steps(rays, lanes, row, coarsest, space.steps)
        for i in range(filled):
            lit, beyond, spread_out = _walk(
                lanes[COS_RAY, i], lanes[SIN_RAY, i], i, lanes[ANGULAR, i], row, grid, constants, space
            )
            inside += lit
            outside += beyond
            samples += spread_out
            short += 1 if lanes[_OVER, i] < 2.0 else 0
        filled = 0
    return inside, outside, samples, short


@compiled(fastmath=True)
def _steps(rays, lanes, row, top, steps):  # type: ignore[no-untyped-def]
    """Write radii along a panel's rays, as far apart as the light's detail asks for, and the knots' distance at each.

    The radii are a smooth function of their number, so the trapezoidal rule is as good as if they were evenly spaced:
    it integrates whatever is coarser than they are, and nothing else is left in the levels' light.

    Parameters
    ----------
    rays : ndarray
        From :func:`trace`.
    lanes : ndarray of float64, shape (22, RAYS)
        Of each ray, filled: derivatives by angle of its a and b; where it starts, in steps from LOW; and ends.
    row : ImageRow
    top : float
        Distance of the coarsest knots, image pixels.
    steps : ndarray of float64, shape (2, n, RAYS)
        Filled: radii, pixels, and squared distances of the knots, image pixels.

    Left in ``lanes[COUNT]`` is how many there are; the last two are beyond the light.
    """
    p = row.geometry
    settings = row.settings
    power, unit, dark = p[POWER], row.place[2], p[DARK]
    unit2, detail2, top2 = unit * unit, settings[DETAIL] ** 2, top * top
    along2, longest = (settings[ALONG] / unit) ** 2, 0.25 * settings[LONGEST]
    longest2 = longest * longest
    sx, sy = p[SOURCE], p[SOURCE + 1]
    for i in range(RAYS):
        ray = rays[i]
        lanes[_AX, i], lanes[_AY, i], lanes[_BX, i], lanes[_BY, i] = ray[AX], ray[AY], ray[BX], ray[BY]
        lanes[_A, i] = math.sqrt(ray[AX] * ray[AX] + ray[AY] * ray[AY])
        lanes[_B, i] = abs(power) * math.sqrt(ray[BX] * ray[BX] + ray[BY] * ray[BY])
        lanes[_R, i] = lanes[LOW_END, i]
        lanes[COUNT, i] = lanes[_OVER, i] = 0.0
    # Flat, at distances that the compiler knows: it then takes all rays' steps in vector instructions.
    flat, radii, knots = lanes.reshape(lanes.size), steps[0].reshape(-1), steps[1].reshape(-1)
    n = -1
    least = 0.0
    while n < steps.shape[1] and least < 2.0:
        least = 2.0
        counts = 1.0 if n >= 0 else 0.0
        at = max(n, 0) * RAYS
        for i in range(RAYS):
            r = flat[_R * RAYS + i]
            if power == 0.0:
                g = 1.0 / r
            else:
                g = float(exp2(np.float32(power - 1.0) * log2(np.float32(r))))
            ax, ay, bx, by = flat[_AX * RAYS + i], flat[_AY * RAYS + i], flat[_BX * RAYS + i], flat[_BY * RAYS + i]
            rx, ry = ax - power * g * bx, ay - power * g * by
            tx, ty = flat[i] - g * flat[2 * RAYS + i], flat[RAYS + i] - g * flat[3 * RAYS + i]
            k2, speed2 = knots2(rx, ry, tx, ty, r, unit2, detail2)
            k2 = min(k2, top2)
            near2, grain2 = _GROWTH2 * r * r, along2 * k2
            most2 = near2 * longest2
            step = math.sqrt(grain2 * most2 / (speed2 * most2 + grain2 * (near2 + longest2)))
            over, before = flat[_OVER * RAYS + i], flat[_BEFORE * RAYS + i]
            beyond = 1.0 if r > flat[HIGH_END * RAYS + i] else 0.0
            if power != 0.0:
                x, y = r * (ax - g * bx) - sx, r * (ay - g * by) - sy
                distance = math.sqrt(x * x + y * y)
                outwards = min(r - flat[_RZERO * RAYS + i], distance - dark, x * rx + y * ry)
                beyond = 1.0 if outwards > 0.0 else 0.0
                # In the dark the steps may grow: the source position moves no faster than here, or than a.
                stride = 0.5 * (distance - dark) / (flat[_A * RAYS + i] + flat[_B * RAYS + i] * g)
                before = stride if stride > step else before
                step = max(step, stride)
            radii[at + i], knots[at + i] = r, k2
            flat[COUNT * RAYS + i] += counts if over < 2.0 else 0.0
            over += counts * beyond
            flat[_OVER * RAYS + i] = over
            least = min(least, over)
            # The first step is a part of one: where the first sample is must not follow the angle.
            following = max(1.5 * step - 0.5 * before, 0.5 * step)
            flat[_R * RAYS + i] = r + (following if n >= 0 else flat[PHASE * RAYS + i] * step)
            flat[_BEFORE * RAYS + i] = step
        n += 1


@compiled(fastmath=True)
def _ends(c, s, ray, i, p, lanes):  # type: ignore[no-untyped-def]
    """Write where a ray's light begins and ends, and the radius of the field's edge."""
    edge = _FAR
    if c != 0.0:
        edge = (p[RIGHT] if c > 0.0 else p[LEFT]) / c
    if s != 0.0:
        edge = min(edge, (p[HIGH] if s > 0.0 else p[LOW]) / s)
    lanes[EDGE, i], lanes[_RZERO, i] = edge, ray[R0]
    lanes[LOW_END, i], lanes[HIGH_END, i] = START, _FAR
    if p[POWER] != 0.0:
        return
    a2 = ray[AX] * ray[AX] + ray[AY] * ray[AY]
    cross = ray[AX] * ray[BY] - ray[AY] * ray[BX]
    reach = math.sqrt(max(p[DARK] * p[DARK] - cross * cross / a2, 0.0) / a2)
    lanes[LOW_END, i], lanes[HIGH_END, i] = max(ray[R0] - reach, START), ray[R0] + reach


@compiled(fastmath=True)
def _walk(c, s, i, angular, row, grid, constants, space):  # type: ignore[no-untyped-def]
    """Sample one ray at its steps.

    Returns
    -------
    inside, outside : float
        Flux.
    samples : int
        Spread on the grid.
    """
    p = row.geometry
    pixels = row.pixels
    frame = row.frame
    taps = constants.taps
    samples = space.samples
    value, gx, gy, px, py = samples[VALUE], samples[GRID_X], samples[GRID_Y], samples[SOURCE_X], samples[SOURCE_Y]
    weights, knots2 = samples[WEIGHT], samples[BEND_X]
    lanes = space.lanes
    nodes = int(lanes[COUNT, i])
    steps = space.steps
    line = space.line
    radii, squares = line[0], line[1]
    for m in range(nodes):
        radii[m], squares[m] = steps[0, m, i], steps[1, m, i]
    power, dark2 = p[POWER], np.float32(p[DARK] * p[DARK])
    ax, ay, bx, by = lanes[_AX, i], lanes[_AY, i], lanes[_BX, i], lanes[_BY, i]
    sx, sy = p[SOURCE], p[SOURCE + 1]
    for m in range(2, nodes - 2):
        weights[m] = angular / 12.0 * radii[m] * (8.0 * (radii[m + 1] - radii[m - 1]) - (radii[m + 2] - radii[m - 2]))
    for m in range(nodes):
        if m < 2 or m >= nodes - 2:
            weights[m] = 0.5 * angular * radii[m] * (radii[min(m + 1, nodes - 1)] - radii[max(m - 1, 0)])
        value[m] = radii[m]
        knots2[m] = squares[m]
    if power == 0.0:
        for m in range(nodes):
            r = radii[m]
            px[m], py[m] = r * ax - bx, r * ay - by
    else:
        power_in_place(value, nodes, power)
        for m in range(nodes):
            r, rp = radii[m], value[m]
            px[m], py[m] = r * ax - rp * bx - sx, r * ay - rp * by - sy
    inside = outside = 0.0
    n = 0
    ox, oy = -grid.origin_x / grid.step, -grid.origin_y / grid.step
    step_x, step_y = c / grid.step, s / grid.step
    edge = lanes[EDGE, i]
    cx, cy, unit = np.float32(row.place[0]), np.float32(row.place[1]), np.float32(row.place[2])
    top_level = frame.shape[0] - 1
    # The sample being joined: its light, first moments, size and first position.
    light = along_x = along_y = size = 0.0
    first_x = first_y = 0.0
    for m in range(nodes):
        x, y = px[m], py[m]
        if x * x + y * y > dark2:
            continue
        x, y = cx + unit * x, cy + unit * y
        # A float's exponent is the level's number, its mantissa the place between two levels.
        bits = np.float32(np.sqrt(knots2[m])).view(np.int32)
        level = np.int64(bits >> np.int32(23)) - 127
        share = (np.float32(bits & np.int32(0x7FFFFF)) * np.float32(2.0**-23) - _SHARP) * _OVER_BLEND
        found = _light(pixels, frame, level, x, y, taps)
        if share > 0.0 and level < top_level:
            share = share * share * (np.float32(3.0) - np.float32(2.0) * share)
            found += share * (_light(pixels, frame, level + 1, x, y, taps) - found)
        if found == 0.0:
            continue
        lit = float(found) * weights[m]
        r = radii[m]
        if r >= edge:
            outside += lit
            continue
        u, v = ox + r * step_x, oy + r * step_y
        dx, dy = u - first_x, v - first_y
        if size > 0.0 and abs(dx) + abs(dy) > _TOGETHER:
            shift = 1.0 / light if abs(light) > 0.5 * size else 0.0
            value[n] = light
            gx[n], gy[n] = first_x + along_x * shift, first_y + along_y * shift
            inside += light
            n += 1
            light = along_x = along_y = size = 0.0
        if size == 0.0:
            first_x, first_y = u, v
            dx = dy = 0.0
        light += lit
        along_x += lit * dx
        along_y += lit * dy
        size += abs(lit)
    if size > 0.0:
        shift = 1.0 / light if abs(light) > 0.5 * size else 0.0
        value[n] = light
        gx[n], gy[n] = first_x + along_x * shift, first_y + along_y * shift
        inside += light
        n += 1
    spread(grid.light, grid.stride, gx, gy, value, n, constants.window)
    return inside, outside, n


@compiled(fastmath={"contract", "nsz"}, inline="always")
def _light(pixels, frame, level, x, y, taps):  # type: ignore[no-untyped-def]
    """A level's light at a position in the image's pixels; 0 beyond its frame."""
    inverse = np.int32((127 - level) << 23).view(np.float32)
    px, py = x * inverse + np.float32(FRAME), y * inverse + np.float32(FRAME)
    columns = frame[level, 2]
    if not (px >= 1 and py >= 1 and px < columns - 2 and py < frame[level, 1] - 2):
        return np.float32(0.0)
    i, j = np.int64(py), np.int64(px)
    start = frame[level, 0] + (i - 1) * columns + j - 1
    kind = 1 if level > 0 else 0
    return between_pixels(pixels, start, columns, taps, kind, px - np.float32(j), py - np.float32(i))
