"""Drawn bulges and knots of sources: shares of the flux in every band, sizes, places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from lensflow import schema
from lensflow.config import PlanConfig, Range
from lensflow.errors import ManifestError
from lensflow.lensing.components import BULGE, KNOTS, OF_BANDS, OF_KNOTS, check_components
from lensflow.lensing.sources import sersic_b
from lensflow.manifest.draws import Draws, Prior, at
from lensflow.manifest.population import WAVELENGTH_NM, wavelengths_nm

Floats = NDArray[np.float64]
NAMES = (*BULGE, *KNOTS)


def has_components(plan: PlanConfig, given: Sequence[str] | Mapping[str, NDArray] = ()) -> bool:
    """Whether the manifest of a plan has the columns of ``schema.COMPONENTS``; ``given`` are those of its table."""
    return plan.src_bulge is not None or plan.src_knots is not None or any(name in NAMES for name in given)


def with_components(drawn: dict[str, NDArray], draws: Draws) -> dict[str, NDArray]:
    """Add the columns of bulges and knots to a block of injections, if the plan or the user's table has any.

    A source that is an image has none. The fluxes stay: components share them.

    Parameters
    ----------
    drawn : dict
        The other columns, shape (n,) or (n, band); ``src_id`` among them.
    draws : Draws

    Returns
    -------
    dict
        With the columns of ``schema.COMPONENTS``, or unchanged.

    Raises
    ------
    ConfigError
        If a band's wavelength is not known, so that a colour says nothing of it.
    ManifestError
        If the table's values and the drawn ones do not go together; names the first such row.
    """
    if not has_components(draws.plan, draws.given):
        return drawn
    # A row for which no galaxy was found has no size; it is left out later.
    plain = (drawn["src_id"] == "") & np.isfinite(drawn["src_reff_arcsec"])
    share = np.zeros((3, draws.size, len(draws.bands)))
    out = _none(draws.size, len(draws.bands))
    if draws.plan.src_bulge is not None:
        share[1], bulge = _bulge(draws, drawn)
        out |= bulge
    if draws.plan.src_knots is not None:
        share[2], knots = _knots(draws, drawn)
        out |= knots
    # In the reference band shares are as drawn; in the others each component's light has its own colour.
    reference = draws.reference_band
    share[0] = np.maximum(1 - share[1:, :, [reference]].sum(axis=0), 0)
    share /= share.sum(axis=0)
    out |= {"src_bulge_share": share[1], "src_knots_share": share[2]}
    nothing = _none(draws.size, len(draws.bands))
    out = {k: np.where(plain if v.ndim == 1 else plain[:, None], v, nothing[k]) for k, v in out.items()}
    out |= {k: v for k, v in draws.given.items() if k in NAMES}
    _check(out, draws, drawn["src_id"] != "")
    return {**drawn, **out}


def _none(n: int, bands: int) -> dict[str, NDArray]:
    """Columns of sources with neither bulge nor knots."""
    out: dict[str, NDArray] = {}
    for name in NAMES:
        width = {**dict.fromkeys(OF_BANDS, (bands,)), **dict.fromkeys(OF_KNOTS, (schema.N_KNOTS,))}.get(name, ())
        out[name] = np.full((n, *width), 0.0 if name in (*OF_BANDS, "src_knots") else np.nan)
    return out


def _bulge(draws: Draws, disc: Mapping[str, NDArray]) -> tuple[Floats, dict[str, NDArray]]:
    """Light of the bulges over the sources' in the reference band, shape (n, band), and their columns."""
    plan = draws.plan.src_bulge
    assert plan is not None
    u = draws.uniform("src_bulge", 5)
    share = at(plan.share, u[:, 0])
    light = share[:, None] * _redder(at(plan.redder_g_r, u[:, 4]), draws)
    none = share == 0
    columns = {
        "src_bulge_reff_arcsec": disc["src_reff_arcsec"] * at(plan.reff_ratio, u[:, 1]),
        "src_bulge_n": at(plan.n, u[:, 2]),
        "src_bulge_q": at(plan.q, u[:, 3]),
        "src_bulge_phi_rad": disc["src_phi_rad"].copy(),
    }
    return light, {k: np.where(none, np.nan, v) for k, v in columns.items()}


def _knots(draws: Draws, disc: Mapping[str, NDArray]) -> tuple[Floats, dict[str, NDArray]]:
    """Light of the knots over the sources' in the reference band, shape (n, band), and their columns."""
    plan, places = draws.plan.src_knots, schema.N_KNOTS
    assert plan is not None
    u = draws.uniform("src_knots", 3)
    number = _whole(plan.number, u[:, 0])
    share = np.where(number > 0, at(plan.share, u[:, 1]), 0.0)
    number = np.where(share > 0, number, 0)
    light = share[:, None] * _redder(-at(plan.bluer_g_r, u[:, 2]), draws)
    radius, angle, size, bright = draws.uniform("src_knot", 4 * places).reshape(-1, places, 4).transpose(2, 0, 1)
    there = np.arange(places) < number[:, None]
    # The radius that holds a share of the disc's light, of what lies within the outermost radius.
    index, b = (v[:, None] for v in (disc["src_n"], sersic_b(np.where(np.isnan(disc["src_n"]), 1, disc["src_n"]))))
    inside = gammainc(2 * index, b * plan.within ** (1 / index))
    away = disc["src_reff_arcsec"][:, None] * (gammaincinv(2 * index, radius * inside) / b) ** index
    along, across = away * np.cos(2 * np.pi * angle), away * np.sin(2 * np.pi * angle) * disc["src_q"][:, None]
    c, s = np.cos(disc["src_phi_rad"])[:, None], np.sin(disc["src_phi_rad"])[:, None]
    # Number counts that fall as L^-2 from the faintest knot on.
    luminosity = np.where(there, 1 / (1 - bright * (1 - 1 / plan.brightness_range)), 0.0)
    weight = luminosity / np.maximum(luminosity.sum(axis=1, keepdims=True), 1e-300)
    columns = {
        "src_knot_x_arcsec": c * along - s * across,
        "src_knot_y_arcsec": s * along + c * across,
        "src_knot_reff_arcsec": disc["src_reff_arcsec"][:, None] * at(plan.reff_ratio, size),
        "src_knot_weight": weight,
    }
    return light, {"src_knots": number.astype(float), **{k: np.where(there, v, np.nan) for k, v in columns.items()}}


def _whole(prior: Prior, u: Floats) -> Floats:
    """Whole numbers of a list, or of a range with both its ends."""
    if isinstance(prior, Range):
        return np.floor(prior.min + (prior.max - prior.min + 1) * u)
    return at(prior, u)


def _redder(g_minus_r: Floats, draws: Draws) -> Floats:
    """Light in every band over that in the reference band, of a component so much redder than the disc, (n, band)."""
    bands = [str(b) for b in draws.bands]
    nm = np.array(wavelengths_nm(bands, "no wavelength for", "the colours of components know"))
    way = np.log(nm / nm[draws.reference_band])
    per_mag = way / np.log(WAVELENGTH_NM["r"] / WAVELENGTH_NM["g"])
    return 10 ** (0.4 * g_minus_r[:, None] * per_mag)


def _check(columns: Mapping[str, NDArray], draws: Draws, images: NDArray[np.bool_]) -> None:
    def refuse(bad: NDArray[np.bool_], values: NDArray, column: str, rule: str) -> None:
        if bad.any():
            where = tuple(np.argwhere(bad)[0])
            others = int(bad.reshape(len(bad), -1).any(axis=1).sum()) - 1
            raise ManifestError(
                f"plan: the row with row_id {int(draws.row_id[where[0]])} has {column} {values[where]:g}; it must be "
                f"{rule}. {others} other row(s) alike. Correct plan.table, or what it leaves to plan.src_bulge and "
                "plan.src_knots."
            )

    check_components(columns, np.ones(draws.size, bool), images, refuse)
