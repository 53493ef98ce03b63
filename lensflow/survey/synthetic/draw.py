"""Contents of a synthetic brick: hosts, their companions, field galaxies, stars, regions.

All distributions are in one place; the numbers they imitate and what comes out: ``docs/synthetic-survey.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from lensflow.config import SyntheticConfig
from lensflow.errors import SurveyError
from lensflow.survey.synthetic.sky import HOST_INDICES, PIXEL_SCALE_ARCSEC, RECIPES, Array, Galaxies, Stars
from lensflow.units import mag_of_flux, nmgy_of_mag

# Host quantiles: total magnitude in r and colours. They lie beside the wanted aperture values by what the
# aperture loses and what neighbours add to it.
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
HOST_R_MAG = (17.86, 18.41, 19.71, 20.01, 20.33, 20.51, 20.61)
HOST_G_R = (1.46, 1.58, 1.74, 1.81, 1.87, 1.94, 1.98)
HOST_R_Z = (0.70, 0.81, 1.06, 1.16, 1.30, 1.45, 1.52)

COMPANIONS = (0.60, 0.25, 0.10, 0.05)  # probability of 0, 1, 2, 3 beside the field
FIELD_PER_ARCMIN2 = 34.0  # galaxies with 18.5 < r < FIELD_FAINTEST
FIELD_FAINTEST = 24.8
FIELD_SLOPE = 0.34  # dex per magnitude
STARS_PER_ARCMIN2 = 1.0
EDGE_MARGIN_PIX = 36  # hosts elsewhere have a full 64-pixel stamp


@dataclass(frozen=True)
class Scene:
    """Everything that a brick shows."""

    hosts: Galaxies
    others: Galaxies
    stars: Stars
    hole: tuple[float, float, float]  # x, y, radius (pixels) of the region without a PSF size
    corner_pix: int  # side of the region without z exposures, at the origin; 0 = none


def draw_scene(rng: np.random.Generator, config: SyntheticConfig, corner_pix: int) -> Scene:
    """Draw a brick.

    Parameters
    ----------
    rng : numpy.random.Generator
        The brick's own.
    config : SyntheticConfig
        Size of the brick and number of hosts.
    corner_pix : int
        Side of the corner without z exposures.
    """
    size = config.brick_size_pix
    stars = _draw_stars(rng, size)
    hole = _draw_hole(rng, size, stars)
    positions = _place_hosts(rng, size, config.hosts_per_brick, stars, hole, corner_pix)
    hosts = _draw_hosts(rng, positions)
    return Scene(hosts, _draw_companions(rng, hosts) + _draw_field(rng, size), stars, hole, corner_pix)


def _draw_hole(rng: np.random.Generator, size: int, stars: Stars) -> tuple[float, float, float]:
    radius = max(18.0, 0.03 * size)
    for _ in range(100):  # away from bright stars if possible
        x, y = rng.uniform(0.4 * size, 0.8 * size, 2)
        if not _in_glare(stars, x, y, radius):
            break
    return float(x), float(y), radius


def _in_glare(stars: Stars, x: float, y: float, margin: float = 0.0) -> bool:
    bright = stars.mag < 13
    distance = np.hypot(stars.x[bright] - x, stars.y[bright] - y)
    return bool((distance < 0.6 * stars.mask_radius_pix[bright] + margin).any())


def _flux(r_mag: Array, g_r: Array, r_z: Array) -> Array:
    return nmgy_of_mag(np.stack([r_mag + g_r, r_mag, r_mag - r_z], axis=1))


def _area_arcmin2(size: int) -> float:
    return (size * PIXEL_SCALE_ARCSEC / 60) ** 2


def _draw_stars(rng: np.random.Generator, size: int) -> Stars:
    area = _area_arcmin2(size)
    # One star or two above the BRIGHT limit, none with a mask wider than a tenth of the brick's side.
    brightest = max(11.8, float(np.log(1630 / (0.1 * size * PIXEL_SCALE_ARCSEC)) / np.log(1.396)))
    n_bright, n_medium = 1 + int(rng.poisson(0.02 * area)), 1 + int(rng.poisson(0.12 * area))
    mag = np.concatenate(
        [
            rng.uniform(min(brightest, 12.9), 12.95, n_bright),
            rng.uniform(min(max(brightest, 13.2), 15.5), 15.9, n_medium),
            16 + 6.5 * rng.uniform(size=rng.poisson(STARS_PER_ARCMIN2 * area)) ** 0.6,
        ]
    )
    x, y = rng.uniform(0, size - 1, (2, mag.size))
    x[0], y[0] = rng.uniform(0.25 * size, 0.75 * size, 2)
    tint = rng.normal(0, 0.3, mag.size)
    colour = np.array([recipe.star_colour for recipe in RECIPES.values()])
    flux = nmgy_of_mag(mag[:, None] + colour * (1 + tint[:, None]))
    return Stars(x, y, flux, mag)


def _place_hosts(
    rng: np.random.Generator,
    size: int,
    count: int,
    stars: Stars,
    hole: tuple[float, float, float],
    corner: int,
) -> Array:
    """Draw positions, shape (count, 2), apart from each other and from bright stars.

    Two or three lie near an edge, one at least in the hole and in the corner without z.
    """
    apart = min(24.0, 0.35 * (size - 2 * EDGE_MARGIN_PIX) / np.sqrt(count))
    edge = 3 if count >= 30 else 2 if count >= 10 else min(count // 4, 1)
    zones = ["edge"] * edge + (["hole", "corner"] if corner else ["hole"]) * (1 if count >= 6 else 0)
    zones += ["corner"] * (count // 30 if corner else 0)
    zones += ["inside"] * (count - len(zones))
    found: list[Array] = []
    for zone in zones:
        for _ in range(2000):
            xy = rng.uniform(EDGE_MARGIN_PIX, size - 1 - EDGE_MARGIN_PIX, 2)
            if zone == "edge":
                xy[rng.integers(2)] = abs(rng.integers(2) * (size - 1) - rng.uniform(3, 26))
            elif zone == "hole":
                radius, phi = 0.8 * hole[2] * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
                xy = np.array([hole[0] + radius * np.cos(phi), hole[1] + radius * np.sin(phi)])
            elif zone == "corner":
                xy = rng.uniform(min(EDGE_MARGIN_PIX, 0.5 * corner), corner - 3, 2)
            if zone in ("edge", "inside") and _in_glare(stars, *xy):
                continue
            if all(np.hypot(*(xy - other)) >= apart for other in found):
                found.append(xy)
                break
        else:
            raise SurveyError(
                f"synthetic survey: no room for {count} hosts in a brick of {size} pixels. "
                "Lower survey.synthetic.hosts_per_brick or raise survey.synthetic.brick_size_pix."
            )
    return rng.permutation(np.array(found))  # so that the first hosts of a brick are hosts like any other


def _draw_hosts(rng: np.random.Generator, positions: Array) -> Galaxies:
    n = len(positions)
    # Faint hosts are redder and smaller; rank correlations as in the real stamps (0.67 and -0.45).
    faint = rng.standard_normal(n)
    red_gr = 0.7 * faint + np.sqrt(1 - 0.7**2) * rng.standard_normal(n)
    red_rz = 0.7 * faint + np.sqrt(1 - 0.7**2) * rng.standard_normal(n)
    r_mag, g_r, r_z = (
        np.interp(special.ndtr(z), LEVELS, quantiles)
        for z, quantiles in ((faint, HOST_R_MAG), (red_gr, HOST_G_R), (red_rz, HOST_R_Z))
    )
    reff = 0.88 * 10 ** (-0.14 * (r_mag - 20) + rng.normal(0, 0.17, n))
    return Galaxies(
        x=positions[:, 0],
        y=positions[:, 1],
        flux_nmgy=_flux(r_mag, g_r, r_z),
        reff_arcsec=np.clip(reff, 0.35, 3.5),
        sersic_n=rng.choice(HOST_INDICES, n),
        q=np.clip(rng.normal(0.72, 0.15, n), 0.4, 0.98),
        phi_rad=rng.uniform(0, np.pi, n),
    )


def _draw_companions(rng: np.random.Generator, hosts: Galaxies) -> Galaxies:
    number = rng.choice(len(COMPANIONS), len(hosts), p=COMPANIONS)
    host = np.repeat(np.arange(len(hosts)), number)
    n = host.size
    radius, phi = np.sqrt(rng.uniform(9.0**2, 32.0**2, n)), rng.uniform(0, 2 * np.pi, n)
    host_r = mag_of_flux(hosts.flux_nmgy[host, 1])
    host_colours = -2.5 * np.log10(hosts.flux_nmgy[host, :2] / hosts.flux_nmgy[host, 1:])
    like_host = rng.uniform(size=n) < 0.6
    r_mag = np.maximum(host_r + rng.uniform(0.8, 3.4, n), 20.5)
    g_r = np.where(like_host, host_colours[:, 0] - 0.1, rng.normal(0.8, 0.35, n))
    r_z = np.where(like_host, host_colours[:, 1] - 0.1, rng.normal(0.5, 0.25, n))
    return Galaxies(
        x=hosts.x[host] + radius * np.cos(phi),
        y=hosts.y[host] + radius * np.sin(phi),
        flux_nmgy=_flux(r_mag, g_r, r_z),
        reff_arcsec=0.5 * 10 ** (-0.15 * (r_mag - 22) + rng.normal(0, 0.15, n)),
        sersic_n=np.where(like_host, 3.0, 1.0),
        q=rng.uniform(0.4, 1, n),
        phi_rad=rng.uniform(0, np.pi, n),
    )


def _draw_field(rng: np.random.Generator, size: int) -> Galaxies:
    n = int(rng.poisson(FIELD_PER_ARCMIN2 * _area_arcmin2(size)))
    brightest = 10 ** (FIELD_SLOPE * (18.5 - FIELD_FAINTEST))
    r_mag = FIELD_FAINTEST + np.log10(rng.uniform(brightest, 1, n)) / FIELD_SLOPE
    early = rng.uniform(size=n) < 0.15
    return Galaxies(
        x=rng.uniform(-10, size + 10, n),
        y=rng.uniform(-10, size + 10, n),
        flux_nmgy=_flux(r_mag, rng.normal(0.65, 0.35, n) + 0.8 * early, rng.normal(0.4, 0.25, n) + 0.5 * early),
        reff_arcsec=np.clip(0.45 * 10 ** (-0.12 * (r_mag - 23) + rng.normal(0, 0.18, n)), 0.1, 2.5),
        sersic_n=np.where(early, 3.0, 1.0),
        q=rng.uniform(0.25, 1, n),
        phi_rad=rng.uniform(0, np.pi, n),
    )
