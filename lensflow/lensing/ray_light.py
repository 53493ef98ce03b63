"""The lensed light of one row, image source or Sersic, on uniform rays: compiled loops and what they need.

Serial, without fastmath, one row per call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lensflow.jit import compiled
from lensflow.lensing.exterior import image_reach, outside_nodes, sersic_flux_radius
from lensflow.lensing.lens_map import map_ray, map_reach, pack_map
from lensflow.lensing.source_image import ImageSource, interpolate
from lensflow.lensing.sources import sersic_amplitude, sersic_b

# exp(-30) = 1e-13 of the central brightness is called dark.
_DARK_EXPONENT = 30.0
# Share of a Sersic source's flux beyond the last radius that its magnification looks at.
_SPENT = 1e-5


class RayLight:
    """The lensed light of one row, for single rays and sums of them.

    Parameters
    ----------
    row : mapping of floats
        See :func:`lensflow.lensing.render_image.render_image_source_row`.
    source : ImageSource or None
        None: the row's Sersic profile.

    Attributes
    ----------
    per_arcsec2 : float
        Surface brightness, arcsec^-2 for a source of unit flux, of a ray whose light is 1.
    """

    def __init__(self, row: Mapping[str, Any], source: ImageSource | None) -> None:
        self.row = row
        lens = {k: row[k] for k in ("theta_e", "lens_q", "lens_phi", "shear", "shear_phi", "src_x", "src_y")}
        reff, n = row["reff"], row["n"]
        if source is None:
            parameters = pack_map(**lens, unit=reff, src_q=row["src_q"], src_phi=row["src_phi"])
            b = float(sersic_b(n))
            self.per_arcsec2 = float(sersic_amplitude(1.0, reff, n, row["src_q"])) * math.exp(b)
            dark = (_DARK_EXPONENT / b) ** n
            self.extent, self.spent = 3 * reff, sersic_flux_radius(_SPENT, reff, n)
            self.arguments = (parameters, np.zeros((0, 0)), 0.0, 0.0, dark, b, 0.5 / n)
        else:
            unit = source.scale_arcsec(reff)
            parameters = pack_map(**lens, unit=unit, src_q=1.0, src_phi=row["src_phi"])
            self.per_arcsec2 = 1 / unit**2
            y, x = np.nonzero(source.pixels)
            # The interpolated light ends 2 pixels beyond the last pixel on each axis.
            dark = float(np.hypot(x - source.x_center, y - source.y_center).max()) + 2 * math.sqrt(2)
            self.extent = self.spent = dark * unit
            self.arguments = (parameters, source.padded(), source.x_center, source.y_center, dark, 0.0, 0.0)

    def shoot(
        self, fine: NDArray[np.float64], s: int, refinement: int, x0: float, y0: float, pixel: float
    ) -> tuple[float, int, int]:
        """Fill the fine grid, ``s`` cells per pixel, each with the mean of ``refinement`` squared rays.

        Returns
        -------
        total : float
            Sum of the grid.
        first_row, end_row : int
            Range of its rows that hold light.
        """
        total, first, end = _shoot(fine, s, refinement, x0, y0, pixel, *self.arguments)
        return float(total), int(first), int(end)

    def magnification(self, total: float, x0: float, y0: float, pixel: float, n_pix: int, s: int) -> float:
        """Flux of all images over the unlensed one, from the field's sum and what lies outside of the field."""
        r, half = self.row, 0.5 * pixel
        reach = [
            image_reach(r["theta_e"], r["lens_q"], r["shear"], r["src_x"], r["src_y"], radius)
            for radius in (self.extent, self.spent)
        ]
        near = min(half - x0, x0 - half + n_pix * pixel, half - y0, y0 - half + n_pix * pixel)
        margin = max(0, math.ceil((reach[0] - near) / pixel))
        if margin:
            total += _sum_frame(s, x0, y0, pixel, n_pix, margin, *self.arguments)
        flux = total * (pixel / s) ** 2
        if reach[1] > near + margin * pixel:
            grow = half + margin * pixel
            span = n_pix * pixel + 2 * margin * pixel
            edges = (x0 - grow, x0 - grow + span, y0 - grow, y0 - grow + span)
            flux += _weighted_sum(*outside_nodes(edges, reach[1]), *self.arguments)
        return float(flux * self.per_arcsec2)


@compiled(inline="always")
def _ray(x, y, p, padded, cx, cy, b, power):  # type: ignore[no-untyped-def]
    wx, wy = map_ray(x, y, p)
    if padded.size:
        return interpolate(padded, cx + wx, cy + wy)
    w2 = wx * wx + wy * wy
    return math.exp(-b * math.exp(power * math.log(w2))) if w2 > 0.0 else 1.0


@compiled(inline="always")
def _is_dark(x, y, distance, p, dark):  # type: ignore[no-untyped-def]
    wx, wy = map_ray(x, y, p)
    return math.sqrt(wx * wx + wy * wy) - map_reach(x, y, distance, p) > dark


@compiled()
def _shoot(light, s, r, x0, y0, pixel, p, padded, cx, cy, dark, b, power):  # type: ignore[no-untyped-def]
    """Fill the fine grid, each cell with the mean of ``r`` x ``r`` rays; return its sum and its rows with light.

    See ``kernels.shoot_grid``.
    """
    sr = s * r
    ny, nx = light.shape[0] // s, light.shape[1] // s
    total, first, end = 0.0, -1, 0
    for i in range(ny):
        for j in range(nx):
            x, y = x0 + j * pixel, y0 + i * pixel
            if _is_dark(x, y, pixel * math.sqrt(0.5), p, dark):
                continue
            first, end = (i * s if first < 0 else first), (i + 1) * s
            for k in range(sr):
                line = light[i * s + k // r, j * s : (j + 1) * s]
                yr = y + ((k + 0.5) / sr - 0.5) * pixel
                for m in range(sr):
                    line[m // r] += _ray(x + ((m + 0.5) / sr - 0.5) * pixel, yr, p, padded, cx, cy, b, power)
            cells = light[i * s : (i + 1) * s, j * s : (j + 1) * s]
            for k in range(s):
                for m in range(s):
                    cells[k, m] /= r * r
                    total += cells[k, m]
    return total, max(first, 0), end


@compiled()
def _sum_frame(s, x0, y0, pixel, n, margin, p, padded, cx, cy, dark, b, power):  # type: ignore[no-untyped-def]
    """Sum of the rays in a frame of ``margin`` pixels around an ``n`` x ``n`` grid."""
    total = 0.0
    for i in range(-margin, n + margin):
        for j in range(-margin, n + margin):
            x, y = x0 + j * pixel, y0 + i * pixel
            if (0 <= i < n and 0 <= j < n) or _is_dark(x, y, pixel * math.sqrt(0.5), p, dark):
                continue
            for k in range(s):
                for m in range(s):
                    xr, yr = x + ((m + 0.5) / s - 0.5) * pixel, y + ((k + 0.5) / s - 0.5) * pixel
                    total += _ray(xr, yr, p, padded, cx, cy, b, power)
    return total


@compiled()
def _weighted_sum(x, y, weight, p, padded, cx, cy, dark, b, power):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(x.size):
        total += weight[i] * _ray(x[i], y[i], p, padded, cx, cy, b, power)
    return total
