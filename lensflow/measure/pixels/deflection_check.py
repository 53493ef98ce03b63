"""Deflection test: does the installed renderer deflect light according to the lens equation?

A compact source on a lens's axis, outside its caustic, has one image there whose place and magnification are known
in closed form; and the area inside the critical curve is pi theta_E^2 for every axis ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow import geometry
from lensflow.lensing.deflectors import deflect_sie, deflect_sis
from lensflow.lensing.render import Rendering, render
from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.hostsums import Floats, named

PLACE_LIMIT_ARCSEC, FLUX_LIMIT, AREA_LIMIT, DEFLECTION_LIMIT = 5e-3, 1e-2, 2e-3, 1e-9
# name (with the axis ratio), axis ratio, shear along x, axis of the source's position (0 x, 1 y)
CASES = (
    ("SIS", 1.0, 0.0, 0), ("SIS", 1.0, 0.0, 1), ("SIS, shear", 1.0, 0.05, 0), ("SIE 0.8", 0.8, 0.0, 0),
    ("SIE 0.8", 0.8, 0.0, 1), ("SIE 0.5", 0.5, 0.0, 0), ("SIE 0.5", 0.5, 0.0, 1),
    ("SIE 0.33, shear", 0.33, 0.05, 0),
)  # fmt: skip
_THETA_E, _BETA, _REFF, _FWHM, _SCALE, _SIZE = 1.0, 2.5, 0.08, 1.0, 0.262, 64


def expected_image(q: float, shear: float, axis: int) -> tuple[float, float]:
    """Distance from the lens (arcsec) and magnification of the outer image of the source, on the axis.

    Along the axes an isothermal deflection is constant, a; with shear g along x the lens equation is linear. The
    magnification is 1 / ((1 - g)(1 + g - 2 kappa)) on x, with kappa = theta_E sqrt(q) / (2 psi).
    """
    f = np.sqrt(1 - q * q)
    if f < 1e-6:
        bend = _THETA_E
    else:
        bend = _THETA_E * np.sqrt(q) / f * (np.arctan(f / q) if axis == 0 else np.arctanh(f))
    g = shear if axis == 0 else -shear
    place = (_BETA + bend) / (1 - g)
    twice_kappa = _THETA_E * np.sqrt(q) / ((q if axis == 0 else 1.0) * place)
    return float(place), float(1 / ((1 - g) * (1 + g - twice_kappa)))


@dataclass(frozen=True)
class Deflections:
    """Cases with a known answer, independent of the pairs."""

    @classmethod
    def from_block(cls, block: Block) -> Deflections:
        """Nothing of the block."""
        return cls()

    def __add__(self, other: Deflections) -> Deflections:
        return self

    def result(self, settings: Settings) -> xr.Dataset:
        """Result of :func:`deflection_check`."""
        return deflection_check(settings.renderer)


def deflection_check(renderer: Any = render) -> xr.Dataset:
    """Render the cases and compare; also the deflection functions themselves.

    Parameters
    ----------
    renderer : callable
        As :func:`lensflow.lensing.render.render`.
    """
    n, middle = len(CASES), geometry.centre(_SIZE)
    axis = np.array([c[3] for c in CASES])
    constant = {
        "theta_e_arcsec": _THETA_E, "lens_phi_rad": 0.0, "shear_phi_rad": 0.0, "src_reff_arcsec": _REFF, "src_n": 0.5,
        "src_q": 1.0, "src_phi_rad": 0.0, "x_center": middle, "y_center": middle,
    }  # fmt: skip
    columns: dict[str, Any] = {k: np.full(n, v) for k, v in constant.items()}
    columns |= {
        "lens_model": np.array(["SIS" if c[1] == 1 else "SIE" for c in CASES]),
        "lens_q": np.array([c[1] for c in CASES]),
        "shear": np.array([c[2] for c in CASES]),
        "src_x_arcsec": np.where(axis == 0, _BETA, 0.0),
        "src_y_arcsec": np.where(axis == 1, _BETA, 0.0),
        "src_flux_nmgy": np.ones((n, 1)),
        "psf_fwhm_arcsec": np.full((n, 1), _FWHM),
    }
    made: Rendering = renderer(columns, stamp_size=_SIZE, pixel_scale_arcsec=_SCALE, psf_model="gaussian")
    image = made.arc[:, 0].astype(np.float64)
    x, y = ((v - middle) * _SCALE for v in geometry.pixel_grid(_SIZE))
    along = np.where((axis == 0)[:, None, None], x, y)
    light = image.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (image * along).sum(axis=(1, 2)) / light
    place, magnified = np.array([expected_image(*c[1:]) for c in CASES]).T
    q = np.array([0.33, 0.5, 0.7, 0.9, 1.0])
    out = {
        "place": named(["case"], found, "arcsec", "distance of the image from the lens"),
        "place_expected": named(["case"], place, "arcsec", "of the lens equation, in closed form"),
        "flux": named(["case"], light, "1", "magnification: light in the stamp of a source of flux 1"),
        "flux_expected": named(["case"], magnified, "1", "1 / determinant of the Jacobian, in closed form"),
        "area": named(["q"], _critical_area(q), "1", "area inside the critical curve over pi theta_E^2; 1 is expected"),
        "sis_deflection": named([], _sis_error(), "1", "largest |deflection of an SIS - theta_E| / theta_E"),
    }
    names = [f"{c[0]}, {'xy'[c[3]]}" for c in CASES]
    return xr.Dataset(out, coords={"case": names, "q": q}, attrs={"title": "deflection test"})


def _critical_area(q: Floats) -> Floats:
    """Area inside the curve where the magnification diverges, from finite differences of the deflection."""
    angle = (np.arange(360) + 0.5) * 2 * np.pi / 360
    out = []
    for one in q:
        low, high = np.full(360, 0.2), np.full(360, 4.0)
        for _ in range(40):
            middle = 0.5 * (low + high)
            inside = _determinant(middle * np.cos(angle), middle * np.sin(angle), one) < 0
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        out.append((low**2).mean())
    return np.asarray(out)


def _determinant(x: Floats, y: Floats, q: float, h: float = 1e-4) -> Floats:
    def bend(dx: float, dy: float) -> tuple[Floats, Floats]:
        return deflect_sie(x + dx, y + dy, _THETA_E, q)

    (ax1, ay1), (ax0, ay0) = bend(h, 0), bend(-h, 0)
    (bx1, by1), (bx0, by0) = bend(0, h), bend(0, -h)
    xx, yx, xy, yy = ((a - b) / (2 * h) for a, b in ((ax1, ax0), (ay1, ay0), (bx1, bx0), (by1, by0)))
    return np.asarray((1 - xx) * (1 - yy) - xy * yx)


def _sis_error() -> float:
    r = np.geomspace(1e-3, 30, 50)
    x, y = deflect_sis(r * np.cos(1.1), r * np.sin(1.1), 1.3)
    return float(np.abs(np.hypot(x, y) / 1.3 - 1).max())
