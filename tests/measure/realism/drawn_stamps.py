"""Stamps drawn with numpy: a galaxy, an arc and its counter image on white noise, in g, r and z."""

from dataclasses import dataclass

import numpy as np

BANDS = ("g", "r", "z")
SIGMA = np.array([0.003, 0.004, 0.009])


@dataclass(frozen=True)
class Drawn:
    """Input of ``features``, by its names."""

    images: np.ndarray
    invvar: np.ndarray
    psfsize_arcsec: np.ndarray
    pixel_scale_arcsec: float
    bands: tuple
    x_center: np.ndarray
    y_center: np.ndarray

    def with_(self, **changes):
        return {**self.__dict__, **changes}


def arc_light(x, y, radius, angle, width, length, flux):
    """Gaussian across and along a circle; x, y, radius and width in arcsec, length in radians."""
    off = np.abs((np.arctan2(y, x) - angle + np.pi) % (2 * np.pi) - np.pi)
    light = np.exp(-0.5 * ((np.hypot(x, y) - radius) / width) ** 2 - 0.5 * (off / length) ** 2)
    return flux * light / light.sum()


def drawn(
    n, seed=1, *, size=64, scale=0.262, flux=4.0, host=20.0, colour=(0.4, 1.0, 1.3), noise=1.0, q=1.0, width=0.45,
    off=True,
):  # fmt: skip
    """n stamps; ``flux`` of the arc in r, nMgy, that of the host, and a factor on SIGMA."""
    draw = np.random.default_rng(seed)
    radius, angle, length = draw.uniform(1.8, 2.6, n), draw.uniform(0, 2 * np.pi, n), draw.uniform(0.35, 0.6, n)
    shift = draw.uniform(-0.45, 0.45, (2, n)) * off
    turn = draw.uniform(0, np.pi, n)
    sigma = SIGMA * noise
    images = np.empty((n, 3, size, size))
    centre = (size - 1) / 2 + shift
    grid = np.arange(size)
    for i in range(n):
        x, y = (grid[None, :] - centre[0, i]) * scale, (grid[:, None] - centre[1, i]) * scale
        along, across = x * np.cos(turn[i]) + y * np.sin(turn[i]), y * np.cos(turn[i]) - x * np.sin(turn[i])
        light = host * np.exp(-np.sqrt(along**2 * q + across**2 / q + 0.09) / 0.7)
        light *= scale**2 / (2 * np.pi * 0.7**2)
        arc = arc_light(x, y, radius[i], angle[i], width, length[i], 0.75 * flux)
        arc = arc + arc_light(x, y, 0.7 * radius[i], angle[i] + np.pi, width, width / (0.7 * radius[i]), 0.25 * flux)
        for b, factor in enumerate(colour):
            images[i, b] = (0.3, 1.0, 1.7)[b] * light + factor * arc + draw.normal(0, sigma[b], (size, size))
    invvar = np.broadcast_to((1 / np.maximum(sigma, 1e-12) ** 2)[:, None, None], images.shape)
    return Drawn(
        images.astype(np.float32), invvar.copy(), np.tile([1.5, 1.35, 1.25], (n, 1)), scale, BANDS, centre[0], centre[1]
    )


def turned(of: Drawn, quarter, flip):
    """Every stamp turned by ``quarter`` quarter-turns (as ``numpy.rot90`` of y, x), then mirrored along x."""
    last = of.images.shape[-1] - 1
    x, y = of.x_center, of.y_center
    for _ in range(quarter):
        x, y = y, last - x
    pixels = {k: np.rot90(getattr(of, k), quarter, (2, 3)) for k in ("images", "invvar")}
    if flip:
        x = last - x
        pixels = {k: v[..., ::-1] for k, v in pixels.items()}
    return of.with_(**pixels, x_center=x, y_center=y)
