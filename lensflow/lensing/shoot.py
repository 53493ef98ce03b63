"""Collect one row's light on its grid: run the adaptive quadrature, evaluate the source, spread the samples."""

from __future__ import annotations

import math

import numba
import numpy as np

from lensflow.lensing.light import power_in_place, sersic_in_place
from lensflow.lensing.quadrature import (
    _AX,
    _AY,
    _BASE,
    _BX,
    _BY,
    _DEPTH,
    _R0,
    _RAY,
    DARK,
    POWER,
    REACH,
    SOURCE,
    judge,
    ray_panels,
    trace,
)
from lensflow.lensing.spreading import spread

_COLUMNS = 5 + 3 * _RAY
BIN = 4


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def shoot_row(p, series, tune, index, b, grid, stride, step, origin_x, origin_y, tables, bins, scratch, edges, stack):  # type: ignore[no-untyped-def]
    """TODO."""
    nodes, turns, weights = tables
    w2, weight, gx, gy, bent = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4:]
    rays = stack[_DEPTH * 2 : _DEPTH * 2 + 4]
    inside = outside = 0.0
    samples = 0
    panels = 0
    bx_count = bins.shape[1]
    base = 2.0 * math.pi / _BASE
    for start in range(_BASE):
        top = 0
        line = stack[0]
        line[0] = 0.0
        for k in range(3):
            angle = base * (start + 0.5 * k)
            ray = line[5 + k * _RAY : 5 + (k + 1) * _RAY]
            c, s = math.cos(angle), math.sin(angle)
            trace(c, s, p, series, ray)
            if k == 1:
                line[1], line[2] = c, s
        while top >= 0:
            line = stack[top]
            depth = int(line[0])
            left, middle, right = line[5 : 5 + _RAY], line[5 + _RAY : 5 + 2 * _RAY], line[5 + 2 * _RAY : 5 + 3 * _RAY]
            width = base / 2.0**depth
            verdict = judge(left, middle, right, width, p, tune)
            if verdict == 0:
                top -= 1
                continue
            c, s = line[1], line[2]
            turn = turns[depth]
            if verdict == 2 and depth < _DEPTH - 1:
                cq, sq = turn[2], turn[5]
                up = stack[top + 1]
                up[0] = depth + 1.0
                up[1], up[2] = c * cq - s * sq, s * cq + c * sq
                for k in range(_RAY):
                    up[5 + k] = middle[k]
                    up[5 + 2 * _RAY + k] = right[k]
                    right[k] = middle[k]
                line[0] = depth + 1.0
                line[1], line[2] = c * cq + s * sq, s * cq - c * sq
                trace(up[1], up[2], p, series, up[5 + _RAY : 5 + 2 * _RAY])
                trace(line[1], line[2], p, series, middle)
                top += 1
                continue
            top -= 1
            panels += 1
            n = 0
            ends = (0, 0, 0, 0, 0)
            e1 = e2 = e3 = 0
            ox, oy = -origin_x / step, -origin_y / step
            for i in range(4):
                j = i if i < 2 else 3 - i
                ct, st = turn[j], turn[3 + j] if i >= 2 else -turn[3 + j]
                rc, rs = c * ct - s * st, s * ct + c * st
                ray = rays[i, :_RAY]
                trace(rc, rs, p, series, ray)
                count, beyond = ray_panels(rc, rs, p, ray, tune, edges)
                angular = 0.5 * width * nodes[1, i]
                cx, cy = rc / step, rs / step
                if p[POWER] == 0.0:
                    ax, ay, bx, by = ray[_AX], ray[_AY], ray[_BX], ray[_BY]
                    a2, r0 = ax * ax + ay * ay, ray[_R0]
                    cross = (ax * by - ay * bx) / math.sqrt(a2)
                    d2 = cross * cross
                    for k in range(count):
                        half = 0.5 * (edges[k, 1] - edges[k, 0])
                        mid = 0.5 * (edges[k, 1] + edges[k, 0])
                        area = abs(half) * angular
                        for m in range(4):
                            r = mid + half * nodes[0, m]
                            w2[n + m] = a2 * (r - r0) * (r - r0) + d2
                            weight[n + m] = area * nodes[1, m] * r
                            gx[n + m] = ox + r * cx
                            gy[n + m] = oy + r * cy
                        n += 4
                else:
                    for k in range(count):
                        half = 0.5 * (edges[k, 1] - edges[k, 0])
                        mid = 0.5 * (edges[k, 1] + edges[k, 0])
                        area = abs(half) * angular
                        for m in range(4):
                            r = mid + half * nodes[0, m]
                            w2[n + m] = r
                            weight[n + m] = area * nodes[1, m] * r
                            gx[n + m] = ox + r * cx
                            gy[n + m] = oy + r * cy
                            bent[0, n + m] = r * ray[_AX] - p[SOURCE]
                            bent[1, n + m] = r * ray[_AY] - p[SOURCE + 1]
                            bent[2, n + m] = ray[_BX]
                            bent[3, n + m] = ray[_BY]
                        n += 4
                if beyond > 0.0:
                    outside += angular * _sum_beyond(beyond, p, ray, index, b, nodes)
                if i == 0:
                    e1 = n
                elif i == 1:
                    e2 = n
                elif i == 2:
                    e3 = n
            if n == 0:
                continue
            if p[POWER] != 0.0:
                power_in_place(w2, n, p[POWER])
                for k in range(n):
                    x = bent[0, k] - w2[k] * bent[2, k]
                    y = bent[1, k] - w2[k] * bent[3, k]
                    w2[k] = x * x + y * y
            sersic_in_place(w2, weight, n, index, b)
            spread(grid, stride, gx, gy, w2, n, weights)
            samples += n
            # Radial: the cubic term of each panel; angular: of the four rays' sums.
            sum0 = sum1 = sum2 = sum3 = 0.0
            for k in range(0, n, 4):
                v0, v1, v2, v3 = w2[k], w2[k + 1], w2[k + 2], w2[k + 3]
                total = (v0 + v3) + (v1 + v2)
                cubic = abs(0.3046 * (v3 - v0) - 0.4117 * (v2 - v1)) + 0.5*abs(0.6123 * (v0 + v3) - 0.3266 * (v1 + v2))*0
                square = abs(0.6123 * (v0 + v3) - 0.3266 * (v1 + v2))
                e = cubic * cubic * math.sqrt(cubic/total) / total if total>0 else 0.0
                eq = square*(square/total)**3 if total>0 else 0.0
                bins[0, int(gy[k]) // BIN, int(gx[k]) // BIN] += e
                bins[1, int(gy[k]) // BIN, int(gx[k]) // BIN] += eq
                if k < e1:
                    sum0 += total
                elif k < e2:
                    sum1 += total
                elif k < e3:
                    sum2 += total
                else:
                    sum3 += total
            inside += (sum0 + sum3) + (sum1 + sum2)
            total=(sum0 + sum3) + (sum1 + sum2)
            cubic = abs(0.3046 * (sum3 - sum0) - 0.4117 * (sum2 - sum1))
            square = abs(0.6123 * (sum0 + sum3) - 0.3266 * (sum1 + sum2))
            k = n // 2
            e = cubic * cubic * math.sqrt(cubic/total) / total if total>0 else 0.0
            ee = square*(square/total)**3 if total>0 else 0.0
            bins[2, int(gy[k]) // BIN, int(gx[k]) // BIN] += e
            bins[3, int(gy[k]) // BIN, int(gx[k]) // BIN] += ee
    return inside, outside, samples, panels


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=True)
def _sum_beyond(edge, p, ray, index, b, nodes):  # type: ignore[no-untyped-def]
    """Light of one ray beyond the field's edge, times radius: only the magnification asks for it."""
    total = 0.0
    start = edge
    rate = math.sqrt(ray[_AX] * ray[_AX] + ray[_AY] * ray[_AY])
    limit = max(ray[_R0], 0.0) + p[DARK] / rate
    while start < limit:
        # Panels that double, and that get finer about the closest approach where it is out there.
        end = min(start + max(0.3 * start, 0.0), limit)
        half, mid = 0.5 * (end - start), 0.5 * (end + start)
        for m in range(4):
            r = mid + half * nodes[0, m]
            if p[POWER] == 0.0:
                x, y = r * ray[_AX] - ray[_BX], r * ray[_AY] - ray[_BY]
            else:
                rp = r ** p[POWER]
                x, y = r * ray[_AX] - rp * ray[_BX] - p[SOURCE], r * ray[_AY] - rp * ray[_BY] - p[SOURCE + 1]
            total += half * nodes[1, m] * r * math.exp(-b * (x * x + y * y) ** (0.5 / index))
        start = end
    return total
