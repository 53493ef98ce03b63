r"""Drawn source positions: uniform in area over a region behind the lens where the source has enough images.

For an isothermal lens with shear, B = 1 - shear matrix, e = e(phi) and alpha(phi) the deflection, the critical curve
is ``r(phi) = k P / det B`` with ``P = e . B e`` and ``k = |d alpha / d phi|``. The caustic is ``r B e - alpha``, the
cut is its limit r = 0, ``-alpha``. Two images or more lie inside the cut or the caustic, three or more inside the
caustic. Positions are proposed in the box about these curves, in the lens's frame, and taken if the lens equation has
the images asked for: uniform in area over that part of the region, however small the caustic is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lensflow.config import PlanConfig
from lensflow.errors import ManifestError
from lensflow.lensing.deflectors import deflect_sie
from lensflow.lensing.image_positions import image_positions
from lensflow.manifest.draws import Draws

Floats = NDArray[np.float64]

# Directions that trace a caustic. Its extremes are accurate to 2e-3 of its size; the margin covers that.
_DIRECTIONS = 96
_MARGIN = 1.01
_ROWS_AT_ONCE = 4096
_LENS = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad")


def draw_positions(draws: Draws, lens: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Draw the source position of every row.

    Parameters
    ----------
    draws : Draws
    lens : mapping
        lens_model and the lens's columns, shape (n,).

    Returns
    -------
    dict
        src_x_arcsec, src_y_arcsec, and src_tries: the number of positions drawn; negative where none of
        ``plan.src_position_tries``, or the one that a table gives, had the images asked for (the last one stands).

    Raises
    ------
    ManifestError
        If images are to be counted for a lens that is not isothermal.
    """
    plan = draws.plan
    given = {"src_x_arcsec", "src_y_arcsec"} <= set(draws.given)
    if plan.src_min_images == 1:
        x, y = region_position(plan, lens["theta_e_arcsec"], draws.uniform("src_offset", 2))
        return {"src_x_arcsec": x, "src_y_arcsec": y, "src_tries": np.ones(draws.size, np.int16)}
    if (lens["lens_model"] == "EPL").any():
        row = int(np.argmax(lens["lens_model"] == "EPL"))
        raise ManifestError(
            f"row_id {int(draws.row_id[row])}: plan.src_min_images counts the images of SIS and SIE lenses, not of EPL"
        )
    if given:
        x, y = draws.given["src_x_arcsec"], draws.given["src_y_arcsec"]
        columns = [*(lens[name] for name in _LENS), x, y]
        found = image_positions(*columns).count
        # A requested ring (-1) is accepted.
        tries = np.where((found >= plan.src_min_images) | (found == -1), 1, -1).astype(np.int16)
        return {"src_x_arcsec": x, "src_y_arcsec": y, "src_tries": tries}
    low, high = _proposal_box(plan, lens)
    x, y = np.empty(draws.size), np.empty(draws.size)
    tries = np.full(draws.size, -plan.src_position_tries, np.int16)
    todo = np.arange(draws.size)
    for attempt in range(plan.src_position_tries):
        part = {name: lens[name][todo] for name in _LENS}
        u = draws.at(todo).uniform("src_offset", 2, attempt)
        along, across = (low[todo] + (high - low)[todo] * u).T
        cos, sin = np.cos(part["lens_phi_rad"]), np.sin(part["lens_phi_rad"])
        x[todo], y[todo] = cos * along - sin * across, sin * along + cos * across
        inside = in_region(plan, part["theta_e_arcsec"], x[todo], y[todo])
        here = [part[name][inside] for name in _LENS]
        count = image_positions(here[0], here[1], here[2], here[3], here[4], x[todo][inside], y[todo][inside]).count
        # A ring (-1) fails: the caustic of a circular lens has no area, and a single point is not a prior.
        inside[inside] = count >= plan.src_min_images
        tries[todo[inside]] = attempt + 1
        todo = todo[~inside]
        if todo.size == 0:
            break
    return {"src_x_arcsec": x, "src_y_arcsec": y, "src_tries": tries}


def region_position(plan: PlanConfig, theta_e_arcsec: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Position in the config's region, uniform in area.

    Parameters
    ----------
    plan : PlanConfig
    theta_e_arcsec : ndarray, shape (n,)
    u : ndarray, shape (n, 2)
        Uniform numbers.

    Returns
    -------
    x, y : ndarray, shape (n,)
        Arcsec, relative to the lens.
    """
    if plan.src_offset == "square":
        return plan.src_offset_max * (2 * u[:, 0] - 1), plan.src_offset_max * (2 * u[:, 1] - 1)
    inner, outer = plan.src_offset_min**2, plan.src_offset_max**2
    radius = theta_e_arcsec * np.sqrt(inner + (outer - inner) * u[:, 0])
    angle = 2 * np.pi * u[:, 1]
    return radius * np.cos(angle), radius * np.sin(angle)


def in_region(plan: PlanConfig, theta_e_arcsec: Floats, x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Whether positions (arcsec, relative to the lens) are in the config's region."""
    if plan.src_offset == "square":
        return (np.abs(x) <= plan.src_offset_max) & (np.abs(y) <= plan.src_offset_max)
    share = np.hypot(x, y) / theta_e_arcsec
    return (share >= plan.src_offset_min) & (share <= plan.src_offset_max)


def _proposal_box(plan: PlanConfig, lens: Mapping[str, NDArray]) -> tuple[Floats, Floats]:
    """Corners (low, high), shape (n, 2), of a box in the lens's frame that contains every wanted position."""
    n = len(lens["lens_q"])
    low, high = np.empty((n, 2)), np.empty((n, 2))
    for start in range(0, n, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        low[part], high[part] = _box_of({k: lens[k][part] for k in _LENS}, plan.src_min_images == 2)
    if plan.src_offset == "square":
        reach = np.full((n, 1), np.sqrt(2) * plan.src_offset_max)
    else:
        reach = plan.src_offset_max * lens["theta_e_arcsec"][:, None]
    return np.maximum(low, -reach), np.minimum(high, reach)


def _box_of(lens: Mapping[str, NDArray], with_cut: bool) -> tuple[Floats, Floats]:
    theta_e, q, phi, shear, shear_phi = (lens[k] for k in _LENS)
    return caustic_box(theta_e, q, phi, shear, shear_phi, with_cut=with_cut)


def caustic_box(
    theta_e: Floats, q: Floats, phi: Floats, shear: Floats, shear_phi: Floats, *, with_cut: bool
) -> tuple[Floats, Floats]:
    """Box around the caustic (and the cut) of isothermal lenses with shear, in the lenses' frames.

    Parameters
    ----------
    theta_e, q, phi, shear, shear_phi : ndarray, shape (n,)
        Arcsec and rad.
    with_cut : bool
        Whether the box contains the cut too.

    Returns
    -------
    low, high : ndarray, shape (n, 2)
        Arcsec; a little wider than the curves.
    """
    angle = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    cos, sin = np.cos(angle), np.sin(angle)
    te, q_, g, tilt = (np.asarray(v)[:, None] for v in (theta_e, q, shear, shear_phi - phi))
    g1, g2 = g * np.cos(2 * tilt), g * np.sin(2 * tilt)
    be_x, be_y = (1 - g1) * cos - g2 * sin, -g2 * cos + (1 + g1) * sin
    k = te * np.sqrt(q_) / np.sqrt(q_**2 * cos**2 + sin**2)
    r = k * (cos * be_x + sin * be_y) / (1 - g**2)
    ax, ay = deflect_sie(cos, sin, te, q_)
    curves = [(r * be_x - ax, r * be_y - ay)]
    if with_cut:
        curves.append((-ax, -ay))
    x, y = (np.concatenate(c, axis=1) for c in zip(*curves, strict=True))
    low, high = np.stack([x.min(axis=1), y.min(axis=1)], axis=1), np.stack([x.max(axis=1), y.max(axis=1)], axis=1)
    middle, half = (low + high) / 2, _MARGIN * (high - low) / 2
    return middle - half, middle + half
