"""Collect the light of a row whose source is an image, at the level of detail that the map and the PSF let through.

An image has structure everywhere, not about its centre alone, but little of it is seen: a source frequency ``f`` is
the image-plane frequency ``J^T f``, J the local Jacobian, and the PSF passes none above ``f_max``. So where the smaller
of J's stretches is s, source frequencies above ``f_max / s`` are lost in the convolution, and the image may be read
from the level whose knots are DETAIL s apart (:mod:`lensflow.lensing.image_levels`). On a critical curve s is 0, and
the image itself is read: there the rays cross it quickly, and its pixels are few. Two levels are blended where one
gives way to the other: a sharp change would let the finer level's detail, cut off half-way through a wave, into the
image.

Angular panels are those of :mod:`quadrature`, but start as 8 of 8 rays, and are halved until their rays are as close
as the level's knots ask for at every radius with light. What counts is the way across the ray's direction in the
source: along it the light is integrated finely. Along a ray the trapezoidal rule is used, at radii that are a smooth
function of their number: spaced as the knots are, it leaves nothing out, where panels of Gauss-Legendre nodes need
twice as many.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled
from lensflow.lensing.engine.image_lookup import between_pixels
from lensflow.lensing.engine.light import exp2, log2, power_in_place
from lensflow.lensing.engine.quadrature import (
    ACROSS,
    ALONG,
    ARC,
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
    REACH,
    RIGHT,
    RS,
    SHIFT,
    SOURCE,
    SPEED,
    TURN,
    UX,
    UY,
    VX,
    VY,
    distance_to_path,
    may_hide,
    trace,
)
from lensflow.lensing.engine.records import BEND_X, GRID_X, GRID_Y, SOURCE_X, SOURCE_Y, VALUE, WEIGHT
from lensflow.lensing.engine.shoot import FIRST_RAY, halve
from lensflow.lensing.engine.spreading import spread
from lensflow.lensing.image_levels import FRAME

# Samples of one ray this close to each other (grid steps) become one, at their centroid.
_TOGETHER = 0.08
# Radii at which an angular panel is looked at.
_LOOKS, _LOOKS_INSIDE = 9, 4
# The map changes over this share of the radius.
_CHANGE = 0.18
_CHANGE2 = _CHANGE**2
# Up to this share of the way from one level to the next the finer one is taken; the two are blended from there on.
_SHARP = np.float32(0.5)
_OVER_BLEND = np.float32(1.0 / (1.0 - 0.5))
# Where rays begin, pixels.
_START = 0.008
# Largest step, over the radius.
_GROWTH2 = 0.35**2
# Steps that a ray has for the radius of the light, at least.
_MOST = 4.0
_GOLDEN = 0.6180339887498949
# Rays of an angular panel: more of them to a panel resolve more with each than four do.
RAYS = 8
# Panels to start with.
_BASE = 8
NODES = np.array(np.polynomial.legendre.leggauss(RAYS))


def _turns() -> NDArray[np.float64]:
    """Cosines and sines of the rays' and a quarter's angles from a panel's middle, shape (depth, 2, RAYS + 1)."""
    angle = np.pi / _BASE / 2.0 ** np.arange(DEPTH + 2)[:, None] * np.append(NODES[0], 0.5)
    return np.ascontiguousarray(np.stack([np.cos(angle), np.sin(angle)], axis=1))


TURNS = _turns()
# Rows of ``ShootSpace.lanes``, after the derivatives of a and b.
LOW_END, HIGH_END, PHASE, EDGE, COS_RAY, SIN_RAY, COUNT, _AX, _AY, _BX, _BY, _R, _BEFORE, _OVER, _RZERO = range(4, 19)
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
    """
    p = row.geometry
    series = row.series
    settings = row.settings
    image_nodes = constants.image_nodes
    image_turns = constants.image_turns
    stack = space.stack
    rays = space.image_rays
    lanes = space.lanes
    unit, coarsest = row.place[2], 2.0 ** (row.frame.shape[0] - 1)
    phase = settings[TURN]
    inside = outside = 0.0
    total = 0
    base = 2.0 * math.pi / _BASE
    for start in range(_BASE):
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
            verdict = _judge(left, middle, right, width, p, settings, unit, coarsest)
            if verdict == 2 and depth < DEPTH - 1:
                ct, st = image_turns[depth, 0, RAYS], image_turns[depth, 1, RAYS]
                halve(panel, stack[top + 1], ct, st, p, series)
                top += 1
                continue
            top -= 1
            if verdict == 0:
                continue
            c, s = panel[1], panel[2]
            one, two = 1.0 / width, 2.0 / width
            for i in range(RAYS):
                ct, st = image_turns[depth, 0, i], image_turns[depth, 1, i]
                lanes[COS_RAY, i], lanes[SIN_RAY, i] = c * ct - s * st, s * ct + c * st
                trace(lanes[COS_RAY, i], lanes[SIN_RAY, i], p, series, rays[i])
                _ends(lanes[COS_RAY, i], lanes[SIN_RAY, i], rays[i], i, p, lanes)
                t = image_nodes[0, i]
                for k in range(4):
                    at_left, at_right = left[k], right[k]
                    bend = at_left + at_right - 2.0 * middle[k]
                    lanes[k, i] = one * (at_right - at_left) + two * t * bend
                # Where the first sample is must not follow the angle.
                phase += _GOLDEN
                phase -= math.floor(phase)
                lanes[PHASE, i] = phase
            _steps(rays, lanes, row, coarsest, space.steps)
            for i in range(RAYS):
                angular = 0.5 * width * image_nodes[1, i]
                lit, beyond, count = _walk(
                    lanes[COS_RAY, i], lanes[SIN_RAY, i], i, angular, row, grid, constants, space
                )
                inside += lit
                outside += beyond
                total += count
    return inside, outside, total


@compiled(fastmath=True, inline="always")
def _position(ray, r, rp, p):  # type: ignore[no-untyped-def]
    """Source-plane position of a ray at a radius, half-light radii."""
    if p[POWER] == 0.0:
        return r * ray[AX] - ray[BX], r * ray[AY] - ray[BY]
    return r * ray[AX] - rp * ray[BX] - p[SOURCE], r * ray[AY] - rp * ray[BY] - p[SOURCE + 1]


@compiled(fastmath=True, inline="always")
def _knots2(rx, ry, tx, ty, r, unit2, detail2):  # type: ignore[no-untyped-def]
    """Squared distance of the knots that will do, image pixels; for a map with these columns, half-light radii a pixel.

    The smaller stretch is taken to be ``d^2 f / (f^2 - d^2)``, too small by at most a fifth where the two are equal.
    The map changes over a share of r, and a level must be coarser by less; and no knots are closer than the pixels.
    """
    speed2 = rx * rx + ry * ry
    d = rx * ty - ry * tx
    d2 = d * d
    f = speed2 + tx * tx + ty * ty
    near2 = _CHANGE2 * r * r
    top = d2 * f * near2 * detail2 * unit2
    bottom = (f * f - d2) * (near2 + detail2)
    # 1 + k^4 / (1 + k^2), k^2 = top / bottom
    return 1.0 + top * top / (bottom * (top + bottom)), speed2


@compiled(fastmath=True)
def _judge(left, middle, right, width, p, settings, unit, top):  # type: ignore[no-untyped-def]
    """Whether an angular panel is dark (0), good as it is (1), or to be halved (2)."""
    dark = p[DARK]
    near, length, bend = distance_to_path(left[VX], left[VY], middle[VX], middle[VY], right[VX], right[VY])
    lit = near - 0.25 * bend < dark
    if not lit and middle[RS] > 0.0:
        near, _, bend = distance_to_path(left[UX], left[UY], middle[UX], middle[UY], right[UX], right[UY])
        lit = near - 0.25 * bend < dark
    if not lit:
        return 2 if may_hide(left, middle, right, dark) else 0
    if length > 0.5 * dark:
        return 2
    power = p[POWER]
    r0 = max(middle[R0], 0.0)
    reach = dark / middle[SPEED]
    farthest = 1.5 * max(max(-p[LEFT], p[RIGHT]), max(-p[LOW], p[HIGH]))
    low, high = max(r0 - reach, max(middle[RS], _START)), min(r0 + reach, max(farthest, r0))
    dark2 = 1.1 * dark * dark
    across = 2.0 / width
    unit2, detail2 = unit * unit, settings[DETAIL] ** 2
    looks = _LOOKS if middle[RS] <= _START else _LOOKS + _LOOKS_INSIDE
    for k in range(looks):
        r = low + (high - low) * k / (_LOOKS - 1)
        if k >= _LOOKS:  # about the central image
            r = middle[RS] * (k - _LOOKS + 0.5) / _LOOKS_INSIDE
        rp = r**power if power != 0.0 else 1.0
        lx, ly = _position(left, r, rp, p)
        mx, my = _position(middle, r, rp, p)
        qx, qy = _position(right, r, rp, p)
        if min(lx * lx + ly * ly, mx * mx + my * my, qx * qx + qy * qy) > dark2:
            continue
        if width * min(r, p[REACH]) > settings[ARC]:
            return 2
        rx, ry = middle[AX], middle[AY]
        if power != 0.0:
            rx -= power * rp / r * middle[BX]
            ry -= power * rp / r * middle[BY]
        lx, ly, qx, qy = mx - lx, my - ly, qx - mx, qy - my
        one, speed2 = _knots2(rx, ry, across * lx / r, across * ly / r, _FAR, unit2, detail2)
        two, _ = _knots2(rx, ry, across * qx / r, across * qy / r, _FAR, unit2, detail2)
        # Along the ray the light is integrated finely: what counts is the way across it, and along it the image's.
        way = (abs(rx * ly - ry * lx) + abs(rx * qy - ry * qx)) / math.sqrt(speed2)
        # There is little light about the lens itself: an error there counts by its radius.
        counts = min(8.0 * r / settings[LONGEST], 1.0)
        most = settings[ACROSS] * min(math.sqrt(min(one, two)), top)
        if way * unit * counts > most:
            return 2
        way = abs(rx * (lx + qx) + ry * (ly + qy))
        if way > settings[SHIFT] * speed2 and way * unit * counts > most * math.sqrt(speed2):
            return 2
    return 1


@compiled(fastmath=True)
def _steps(rays, lanes, row, top, steps):  # type: ignore[no-untyped-def]
    """Write radii along a panel's rays, as far apart as the light's detail asks for, and the knots' distance at each.

    The radii are a smooth function of their number, so the trapezoidal rule is as good as if they were evenly spaced:
    it integrates whatever is coarser than they are, and nothing else is left in the levels' light.

    Parameters
    ----------
    rays : ndarray
        From :func:`trace`.
    lanes : ndarray of float64, shape (19, RAYS)
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
    # The steps must not run out before the light does.
    least2 = (_MOST * p[DARK] * unit / steps.shape[1]) ** 2
    sx, sy = p[SOURCE], p[SOURCE + 1]
    for i in range(RAYS):
        ray = rays[i]
        lanes[_AX, i], lanes[_AY, i], lanes[_BX, i], lanes[_BY, i] = ray[AX], ray[AY], ray[BX], ray[BY]
        lanes[_R, i] = lanes[LOW_END, i]
        lanes[COUNT, i] = lanes[_OVER, i] = 0.0
    n = -1
    least = 0.0
    while n < steps.shape[1] and least < 2.0:
        least = 2.0
        for i in range(RAYS):
            r = lanes[_R, i]
            if power == 0.0:
                g = 1.0 / r
            else:
                g = float(exp2(np.float32(power - 1.0) * log2(np.float32(r))))
            ax, ay, bx, by = lanes[_AX, i], lanes[_AY, i], lanes[_BX, i], lanes[_BY, i]
            rx, ry = ax - power * g * bx, ay - power * g * by
            tx, ty = lanes[0, i] - g * lanes[2, i], lanes[1, i] - g * lanes[3, i]
            k2, speed2 = _knots2(rx, ry, tx, ty, r, unit2, detail2)
            k2 = min(max(k2, least2), top2)
            near2, grain2 = _GROWTH2 * r * r, along2 * k2
            most2 = near2 * longest2
            step = math.sqrt(grain2 * most2 / (speed2 * most2 + grain2 * (near2 + longest2)))
            beyond = 1.0 if r > lanes[HIGH_END, i] else 0.0
            if power != 0.0:
                x, y = r * (ax - g * bx) - sx, r * (ay - g * by) - sy
                distance = math.sqrt(x * x + y * y)
                if r > lanes[_RZERO, i] and distance > dark and x * rx + y * ry > 0.0:
                    beyond = 1.0
                # In the dark the steps may grow.
                stride = min(longest, _CHANGE * r, 0.5 * (distance - dark) / math.sqrt(speed2))
                if stride > step:
                    step = lanes[_BEFORE, i] = stride
            if n < 0:
                lanes[_R, i] = r + lanes[PHASE, i] * step
            else:
                steps[0, n, i], steps[1, n, i] = r, k2
                lanes[COUNT, i] += 1.0 if lanes[_OVER, i] < 2.0 else 0.0
                lanes[_OVER, i] += beyond
                least = min(least, lanes[_OVER, i])
                lanes[_R, i] = r + max(1.5 * step - 0.5 * lanes[_BEFORE, i], 0.5 * step)
            lanes[_BEFORE, i] = step
        if n < 0:
            least = 0.0
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
    lanes[LOW_END, i], lanes[HIGH_END, i] = _START, _FAR
    if p[POWER] != 0.0:
        return
    a2 = ray[AX] * ray[AX] + ray[AY] * ray[AY]
    cross = ray[AX] * ray[BY] - ray[AY] * ray[BX]
    reach = math.sqrt(max(p[DARK] * p[DARK] - cross * cross / a2, 0.0) / a2)
    lanes[LOW_END, i], lanes[HIGH_END, i] = max(ray[R0] - reach, _START), ray[R0] + reach


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
    radii, squares = space.line[0], space.line[1]
    for m in range(nodes):
        radii[m], squares[m] = space.steps[0, m, i], space.steps[1, m, i]
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
        found = _light(pixels, frame[level], level, x, y, taps)
        if share > 0.0 and level < top_level:
            share = share * share * (np.float32(3.0) - np.float32(2.0) * share)
            found += share * (_light(pixels, frame[level + 1], level + 1, x, y, taps) - found)
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
    columns = frame[2]
    if not (px >= 1 and py >= 1 and px < columns - 2 and py < frame[1] - 2):
        return np.float32(0.0)
    i, j = np.int64(py), np.int64(px)
    start = frame[0] + (i - 1) * columns + j - 1
    kind = 1 if level > 0 else 0
    return between_pixels(pixels, start, columns, taps, kind, px - np.float32(j), py - np.float32(i))
