"""At which angles rays are sent through an image's light: as dense as the light asks for, and smoothly so.

The circle is halved into leaves, as :mod:`quadrature` halves its panels, but only until each leaf's rays know how close
they must be. The density of the rays is a smooth function of angle through the leaves' densities, and its integral
counts the rays: they are evenly spaced in it, so that the trapezoidal rule leaves nothing out that is coarser than the
rays are. Panels of Gauss-Legendre nodes, each a power of two wide, need 1.5 to 2 times as many rays.
"""

from __future__ import annotations

import math

from lensflow.jit import compiled
from lensflow.lensing.engine.quadrature import (
    ACROSS,
    ARC,
    AX,
    AY,
    BX,
    BY,
    COS,
    DARK,
    DETAIL,
    HIGH,
    LEFT,
    LONGEST,
    LOW,
    MAP,
    POWER,
    R0,
    REACH,
    RIGHT,
    RS,
    SHIFT,
    SIN,
    SOURCE,
    SPEED,
    STRENGTH,
    TO_SOURCE,
    UX,
    UY,
    VX,
    VY,
    Q,
    distance_to_path,
    may_hide,
)

# Radii at which a leaf is looked at.
_LOOKS, _LOOKS_INSIDE = 9, 4
# The map changes over this share of the radius.
_CHANGE = 0.18
_CHANGE2 = _CHANGE**2
# Where rays begin, pixels.
START = 0.008
# Rays of a leaf, at most; of a run, at least.
_RAYS_OF_LEAF, _LEAST_RAYS = 12.0, 8
# The distance between rays changes by this share of itself from one to the next, at most.
_GRADIENT = 0.12
# Longest arc from ray to ray, in units of ARC.
_ARC_SHARE = 0.18
_FAR = 1e9
# Within this of the source's centre, half-light radii (squared), rays are as close as the level that is read there asks
# for. Elsewhere the map is taken to be the same all along a ray: by the lens, levels are finer than that, but light is
# faint. An image of a bright centre within some pixels of the lens was wrong by up to 2e-3 of the peak, in both of a
# row's renderings alike. Such images are looked for where a ray comes closest to the centre, and at some radii, pixels.
_CORE2 = 1.0
_LOOKS_BY_LENS, _NEAREST_LOOK = 3, 0.6
# Columns of a leaf: angle of its middle, width, rays per radian (0: dark).
MIDDLE, WIDTH, DENSITY = range(3)
MAX_LEAVES = 2000


@compiled(fastmath=True, inline="always")
def _position(ray, r, rp, p):  # type: ignore[no-untyped-def]
    """Source-plane position of a ray at a radius, half-light radii."""
    if p[POWER] == 0.0:
        return r * ray[AX] - ray[BX], r * ray[AY] - ray[BY]
    return r * ray[AX] - rp * ray[BX] - p[SOURCE], r * ray[AY] - rp * ray[BY] - p[SOURCE + 1]


@compiled(fastmath=True, inline="always")
def knots2(rx, ry, tx, ty, r, unit2, detail2):  # type: ignore[no-untyped-def]
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
def judge_leaf(left, middle, right, width, p, settings, unit, top):  # type: ignore[no-untyped-def]
    """Rays per radian that a leaf's light asks for; 0 if it is dark, negative if it is to be halved."""
    dark = p[DARK]
    near, length, bend = distance_to_path(left[VX], left[VY], middle[VX], middle[VY], right[VX], right[VY])
    lit = near - 0.25 * bend < dark
    if not lit and middle[RS] > 0.0:
        near, _, bend = distance_to_path(left[UX], left[UY], middle[UX], middle[UY], right[UX], right[UY])
        lit = near - 0.25 * bend < dark
    if not lit:
        return -1.0 if may_hide(left, middle, right, dark) else 0.0
    if length > 0.5 * dark:
        return -1.0
    power = p[POWER]
    r0 = max(middle[R0], 0.0)
    reach = dark / middle[SPEED]
    farthest = 1.5 * max(max(-p[LEFT], p[RIGHT]), max(-p[LOW], p[HIGH]))
    low, high = max(r0 - reach, max(middle[RS], START)), min(r0 + reach, max(farthest, r0))
    dark2 = 1.1 * dark * dark
    across = 2.0 / width
    unit2, detail2 = unit * unit, settings[DETAIL] ** 2
    looks = _LOOKS if middle[RS] <= START else _LOOKS + _LOOKS_INSIDE
    rays = 0.5
    for k in range(looks + 1 + _LOOKS_BY_LENS):
        r = low + (high - low) * k / (_LOOKS - 1)
        limit = _FAR
        if k >= looks:  # where it comes closest to the source's centre, and by the lens
            r = limit = max(r0, START) if k == looks else _NEAREST_LOOK * 2.0 ** (k - looks - 1)
        elif k >= _LOOKS:  # about the central image
            r = middle[RS] * (k - _LOOKS + 0.5) / _LOOKS_INSIDE
        rp = r**power if power != 0.0 else 1.0
        lx, ly = _position(left, r, rp, p)
        mx, my = _position(middle, r, rp, p)
        qx, qy = _position(right, r, rp, p)
        if min(lx * lx + ly * ly, mx * mx + my * my, qx * qx + qy * qy) > (dark2 if k < looks else _CORE2):
            continue
        rays = max(rays, width * min(r, p[REACH]) / (_ARC_SHARE * settings[ARC]))
        rx, ry = middle[AX], middle[AY]
        if power != 0.0:
            rx -= power * rp / r * middle[BX]
            ry -= power * rp / r * middle[BY]
        lx, ly, qx, qy = mx - lx, my - ly, qx - mx, qy - my
        one, speed2 = knots2(rx, ry, across * lx / r, across * ly / r, limit, unit2, detail2)
        two, _ = knots2(rx, ry, across * qx / r, across * qy / r, limit, unit2, detail2)
        # Along the ray the light is integrated finely: what counts is the way across it, and along it the image's.
        way = (abs(rx * ly - ry * lx) + abs(rx * qy - ry * qx)) / math.sqrt(speed2)
        # There is little light about the lens itself: an error there counts by its radius.
        counts = min(8.0 * r / min(settings[LONGEST], high), 1.0)
        each = unit * counts / (settings[ACROSS] * min(math.sqrt(min(one, two)), top))
        rays = max(rays, way * each)
        way = abs(rx * (lx + qx) + ry * (ly + qy))
        rays = max(rays, min(8.0 * way / (settings[SHIFT] * speed2), way / math.sqrt(speed2) * each))
        if rays > _RAYS_OF_LEAF:
            return -rays / width
    return rays / width


@compiled(fastmath=True)
def even_out(leaves, n, closed):  # type: ignore[no-untyped-def]
    """Raise the densities of a run of leaves until they change slowly from ray to ray.

    Parameters
    ----------
    leaves : ndarray of float64, shape (>= n, 3)
        Neighbours one after the other; ``DENSITY`` is changed.
    n : int
    closed : bool
        Whether the run is the whole circle.

    Returns
    -------
    rays : float
        The density's integral, as :func:`place_in_segment` interpolates it.
    """
    steps = 2 * n if closed else n
    for way in range(2):
        for k in range(1, steps):
            i, j = (k - 1) % n, k % n
            if way == 1:
                i, j = n - 1 - i, n - 1 - j
            apart = 0.5 * (leaves[i, WIDTH] + leaves[j, WIDTH])
            least = leaves[i, DENSITY] / (1.0 + _GRADIENT * apart * leaves[i, DENSITY])
            leaves[j, DENSITY] = max(leaves[j, DENSITY], least)
    rays = 0.0
    for k in range(n - 1):
        apart = 0.5 * (leaves[k, WIDTH] + leaves[k + 1, WIDTH])
        rays += 0.5 * apart * (leaves[k, DENSITY] + leaves[k + 1, DENSITY])
    if closed:
        apart = 0.5 * (leaves[n - 1, WIDTH] + leaves[0, WIDTH])
        return rays + 0.5 * apart * (leaves[n - 1, DENSITY] + leaves[0, DENSITY])
    return rays + 0.5 * (leaves[0, WIDTH] * leaves[0, DENSITY] + leaves[n - 1, WIDTH] * leaves[n - 1, DENSITY])


@compiled(fastmath=True)
def whole_rays(rays):  # type: ignore[no-untyped-def]
    """How many rays a run gets, for the integral of its densities."""
    return max(int(math.ceil(rays)), _LEAST_RAYS)  # noqa: RUF046 (numba gives a float)


@compiled(fastmath=True)
def segment(leaves, n, closed, k):  # type: ignore[no-untyped-def]
    """Part ``k`` of a run, from one leaf's middle to the next's: its start, length, and the densities at its ends.

    A run that is not the circle has n + 1 parts, of which the first and the last are half a leaf; the circle has n.
    Angles fall.
    """
    if closed:
        i, j = k, (k + 1) % n
    else:
        i, j = max(k - 1, 0), min(k, n - 1)
    start = leaves[i, MIDDLE]
    length = 0.5 * (leaves[i, WIDTH] + leaves[j, WIDTH])
    if not closed and k == 0:
        start += 0.5 * leaves[0, WIDTH]
    if not closed and (k == 0 or k == n):
        length *= 0.5
    return start, length, leaves[i, DENSITY], leaves[j, DENSITY]


@compiled(fastmath=True)
def place_in_segment(wanted, one, two):  # type: ignore[no-untyped-def]
    """Where in a segment (0 to 1) the integral of its density, per length, is ``wanted``; and the density there.

    The density goes from ``one`` to ``two`` as ``3 u^2 - 2 u^3``.
    """
    u = min(max(wanted / (0.5 * (one + two)), 0.0), 1.0)
    density = one
    for _ in range(8):
        density = one + (two - one) * u * u * (3.0 - 2.0 * u)
        step = (u * (one + (two - one) * u * u * (1.0 - 0.5 * u)) - wanted) / density
        u = min(max(u - step, 0.0), 1.0)
        if abs(step) < 1e-12:
            break
    return u, one + (two - one) * u * u * (3.0 - 2.0 * u)


@compiled(fastmath=True)
def turned(c, s, p, ray, lanes, i):  # type: ignore[no-untyped-def]
    """Write the derivatives by angle of a ray's a and b to the first four of ``lanes[:, i]``.

    A deflection that goes as r^p has, without curl and with the divergence 2 kappa, the derivative
    ``p alpha_phi e_r + (2 kappa - p alpha_r) e_phi``; kappa is constant on ellipses.
    """
    power, q = p[POWER], p[Q]
    cl, sl = q * (p[COS] * c + p[SIN] * s), p[COS] * s - p[SIN] * c
    inverse = 1.0 / math.sqrt(cl * cl + sl * sl)
    if power != 0.0:
        inverse = math.exp((1.0 - power) * math.log(inverse))
    kappa2 = 0.5 * (1.0 + power) * (1.0 + q) * p[STRENGTH] * inverse
    lanes[0, i], lanes[1, i] = p[MAP + 1] * c - p[MAP] * s, p[MAP + 3] * c - p[MAP + 2] * s
    out_x, out_y = p[TO_SOURCE] * c + p[TO_SOURCE + 1] * s, p[TO_SOURCE + 2] * c + p[TO_SOURCE + 3] * s
    side_x, side_y = p[TO_SOURCE + 1] * c - p[TO_SOURCE] * s, p[TO_SOURCE + 3] * c - p[TO_SOURCE + 2] * s
    outwards, sideways = 0.0, kappa2
    if power != 0.0:
        area = out_x * side_y - out_y * side_x
        outwards = power * (out_x * ray[BY] - out_y * ray[BX]) / area
        sideways -= power * (ray[BX] * side_y - ray[BY] * side_x) / area
    lanes[2, i], lanes[3, i] = outwards * out_x + sideways * side_x, outwards * out_y + sideways * side_y
