"""Sources of several components: a disc, a bulge at its centre and knots of star formation in it.

The disc is the row's own Sersic profile. Bulge and knots take their shares of the row's flux in each band, and the
disc has the rest, so that the total is ``src_flux_nmgy`` whatever the shares; where these differ between bands, the
components have colours of their own. Without either a row is the plain Sersic source, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import ManifestError
from lensflow.lensing.sources import N_RANGE

Floats = NDArray[np.float64]
# (rows that break a rule, the column's values, its name, the rule in words) -> raises for the first such row.
Refuse = Callable[[NDArray[np.bool_], NDArray[Any], str, str], None]

# The disc's columns, which are those of a plain source.
OWN = ("src_x_arcsec", "src_y_arcsec", "src_reff_arcsec", "src_n", "src_q", "src_phi_rad")
BULGE = ("src_bulge_share", "src_bulge_reff_arcsec", "src_bulge_n", "src_bulge_q", "src_bulge_phi_rad")
KNOTS = ("src_knots", "src_knots_share", "src_knot_x_arcsec", "src_knot_y_arcsec", "src_knot_reff_arcsec",
         "src_knot_weight")  # fmt: skip
OF_BANDS = ("src_bulge_share", "src_knots_share")
OF_KNOTS = ("src_knot_x_arcsec", "src_knot_y_arcsec", "src_knot_reff_arcsec", "src_knot_weight")
# A knot is a Gaussian: a Sersic profile of this index.
KNOT_N = 0.5
DISC, BULGE_KIND, KNOT_KIND = range(3)
KINDS = 3
_SUM_TO = 1e-9


@dataclass(frozen=True)
class Profile:
    """One component of a source: an elliptical Sersic profile.

    Attributes
    ----------
    kind : {"disc", "bulge", "knot"}
        What it is; components of one kind have one colour.
    x_arcsec, y_arcsec : float
        Centre relative to the lens, arcsec.
    reff_arcsec : float
        Half-light radius along the major axis, arcsec.
    n, q : float
        Sersic index and axis ratio.
    phi_rad : float
        Angle of the major axis from +x counter-clockwise, rad.
    share : ndarray of float64, shape (band,)
        Of the source's unlensed flux; the profiles of a row sum to 1.
    """

    kind: str
    x_arcsec: float
    y_arcsec: float
    reff_arcsec: float
    n: float
    q: float
    phi_rad: float
    share: Floats


@dataclass(frozen=True)
class Components:
    """Checked profiles of the rows that have more than one, flat; each row's are together, in the order of the kinds.

    Attributes
    ----------
    row : ndarray of int64, shape (profile,)
    kind : ndarray of int64, shape (profile,)
        DISC, BULGE_KIND or KNOT_KIND: components of one kind have one colour.
    column : mapping
        ``src_x_arcsec``, ``src_y_arcsec``, ``src_reff_arcsec``, ``src_n``, ``src_q`` and ``src_phi_rad``, (profile,).
    weight : ndarray of float64, shape (profile,)
        Share of its kind's light.
    share : ndarray of float64, shape (sample, kind, band)
        Of the row's flux; rows of one profile have 1 as the disc's.
    """

    row: NDArray[np.int64]
    kind: NDArray[np.int64]
    column: Mapping[str, Floats]
    weight: Floats
    share: Floats


def check_components(
    columns: Mapping[str, NDArray[Any]], applies: NDArray[np.bool_], images: NDArray[np.bool_], refuse: Refuse
) -> None:
    """Refuse bulges and knots that cannot be rendered.

    Parameters
    ----------
    columns : mapping of arrays
        Those of ``BULGE`` and of ``KNOTS`` that there are: all of a group or none.
    applies : ndarray of bool, shape (sample,)
        Rows to look at: the injections.
    images : ndarray of bool, shape (sample,)
        Rows whose source is an image; it has no bulge and no knots.
    refuse : callable
        Given the rows that break a rule.
    """
    for group in (BULGE, KNOTS):
        present = [name for name in group if name in columns]
        if present and len(present) < len(group):
            missing = next(name for name in group if name not in columns)
            raise ManifestError(f"manifest: {present[0]} is given without {missing}; give all of {', '.join(group)}.")
    total: NDArray[Any] | None = None
    for name in OF_BANDS:
        if name not in columns:
            continue
        share = columns[name]
        refuse(applies[:, None] & ~((share >= 0) & (share <= 1)), share, name, "in [0, 1], a share of src_flux_nmgy")
        refuse(images & (share != 0).any(axis=1), share.max(axis=1), name, "0 where src_id names an image")
        total = share if total is None else total + share
    if total is not None:
        together = " + ".join(name for name in OF_BANDS if name in columns)
        refuse(applies[:, None] & (total > 1 + _SUM_TO), total, together, "at most 1")
    if "src_bulge_share" in columns:
        bulge = applies & (columns["src_bulge_share"] > 0).any(axis=1)
        rules: tuple[tuple[str, str, Callable[[Floats], NDArray[np.bool_]]], ...] = (
            ("src_bulge_reff_arcsec", "> 0", lambda v: v > 0),
            ("src_bulge_n", f"in [{N_RANGE[0]}, {N_RANGE[1]}]", lambda v: (v >= N_RANGE[0]) & (v <= N_RANGE[1])),
            ("src_bulge_q", "in (0, 1]", lambda v: (v > 0) & (v <= 1)),
            ("src_bulge_phi_rad", "finite", np.isfinite),
        )
        for name, rule, holds in rules:
            value = columns[name]
            refuse(
                bulge & ~(np.isfinite(value) & holds(value)), value, name, rule + " where src_bulge_share is above 0"
            )
    if "src_knots" not in columns:
        return
    number, slots = columns["src_knots"], columns["src_knot_weight"].shape[1]
    whole = (number >= 0) & (number <= slots) & (number == np.floor(number))
    refuse(applies & ~whole, number, "src_knots", f"a whole number from 0 to {slots}")
    refuse(applies & images & (number != 0), number, "src_knots", "0 where src_id names an image")
    without = applies & (number == 0) & (columns["src_knots_share"] != 0).any(axis=1)
    refuse(without, number, "src_knots", "1 or more where src_knots_share is above 0")
    there = applies[:, None] & (np.arange(slots) < np.where(whole, number, 0)[:, None])
    for name in OF_KNOTS:
        value = columns[name]
        positive = name == "src_knot_reff_arcsec"
        bad = ~(np.isfinite(value) & ((value > 0) if positive else (value >= 0) | (name != "src_knot_weight")))
        refuse(there & bad, value, name, "> 0" if positive else ">= 0" if name == "src_knot_weight" else "finite")
        beyond = applies[:, None] & ~there & ~np.isnan(value)
        refuse(beyond, value, name, "empty (NaN) in places beyond the row's src_knots")
    weight = np.where(there, columns["src_knot_weight"], 0.0).sum(axis=1)
    refuse(there.any(axis=1) & (np.abs(weight - 1) > _SUM_TO), weight, "the sum of src_knot_weight", "1")


def read_components(
    columns: Mapping[str, NDArray[Any]], plain: Mapping[str, Floats], applies: NDArray[np.bool_], bands: int
) -> Components:
    """Lay out the profiles of the rows that have more than one.

    Parameters
    ----------
    columns : mapping of arrays
        Checked by :func:`check_components`.
    plain : mapping of ndarray, shape (sample,)
        ``src_x_arcsec`` to ``src_phi_rad``, of the disc.
    applies : ndarray of bool, shape (sample,)
        The injections.
    bands : int
    """
    n = applies.size
    share = np.zeros((n, KINDS, bands))
    for kind, name in ((BULGE_KIND, "src_bulge_share"), (KNOT_KIND, "src_knots_share")):
        if name in columns:
            share[applies, kind] = columns[name][applies]
    # Shares that sum to 1 but for their rounding leave no light to the disc, and none that is negative.
    rest = 1.0 - share[:, BULGE_KIND:].sum(axis=1)
    share[:, DISC] = np.where(rest > _SUM_TO, rest, 0.0)
    shown = share.max(axis=2, initial=0.0) > 0
    several = shown[:, BULGE_KIND:].any(axis=1)
    if not several.any():
        none = np.zeros(0, np.int64)
        return Components(none, none, {name: np.zeros(0) for name in OWN}, np.zeros(0), share)
    place = {name: plain[name] for name in ("src_x_arcsec", "src_y_arcsec")}
    parts: list[tuple[int, NDArray[np.int64], dict[str, Floats], Floats]] = []
    disc = np.flatnonzero(several & shown[:, DISC])
    parts.append((DISC, disc, {name: plain[name][disc] for name in OWN}, np.ones(disc.size)))
    bulge = np.flatnonzero(shown[:, BULGE_KIND])
    if bulge.size:
        profile = {name.replace("bulge_", ""): columns[name][bulge].astype(np.float64) for name in BULGE[1:]}
        parts.append((BULGE_KIND, bulge, {**{k: v[bulge] for k, v in place.items()}, **profile}, np.ones(bulge.size)))
    if shown[:, KNOT_KIND].any():
        weight = columns["src_knot_weight"]
        there = shown[:, KNOT_KIND, None] & (np.arange(weight.shape[1]) < columns["src_knots"][:, None])
        there &= np.nan_to_num(weight) > 0
        of, slot = np.nonzero(there)
        round_ = {"src_n": np.full(of.size, KNOT_N), "src_q": np.ones(of.size), "src_phi_rad": np.zeros(of.size)}
        where = {f"src_{k}_arcsec": plain[f"src_{k}_arcsec"][of] + columns[f"src_knot_{k}_arcsec"][of, slot]
                 for k in "xy"}  # fmt: skip
        reff = columns["src_knot_reff_arcsec"][of, slot]
        parts.append((KNOT_KIND, of, {**where, "src_reff_arcsec": reff, **round_}, weight[of, slot]))
    row = np.concatenate([of for _, of, _, _ in parts])
    order = np.argsort(row, kind="stable")
    kinds = np.concatenate([np.full(of.size, kind) for kind, of, _, _ in parts])
    column = {name: np.concatenate([c[name] for _, _, c, _ in parts])[order] for name in OWN}
    weights = np.concatenate([w for _, _, _, w in parts])
    return Components(row[order], kinds[order], column, weights[order], share)


def extent_arcsec(columns: Mapping[str, NDArray[Any]]) -> tuple[Floats, NDArray[np.bool_]]:
    """Distance from a source's centre that its light does not exceed but for 3 % of each component, shape (sample,).

    Parameters
    ----------
    columns : mapping of arrays
        Of a manifest, with or without those of bulges and knots.

    Returns
    -------
    distance : ndarray of float64
        4 half-light radii of the disc, of the bulge, or of a knot and its distance, whichever is most; arcsec.
    known : ndarray of bool
        Whether no component has an index above 1.2, for which that holds.
    """
    distance = 4 * columns["src_reff_arcsec"].astype(np.float64)
    known = columns["src_n"] <= 1.2
    if "src_bulge_share" in columns:
        bulge = (columns["src_bulge_share"] > 0).any(axis=1)
        known = known & ~(bulge & (columns["src_bulge_n"] > 1.2))
        distance = np.where(bulge, np.fmax(distance, 4 * columns["src_bulge_reff_arcsec"]), distance)
    if "src_knots" in columns:
        away = (
            np.hypot(columns["src_knot_x_arcsec"], columns["src_knot_y_arcsec"]) + 4 * columns["src_knot_reff_arcsec"]
        )
        distance = np.fmax(distance, np.nan_to_num(away).max(axis=1, initial=0.0))
    return distance, known


def source_profiles(row: Mapping[str, ArrayLike]) -> list[Profile]:
    """The components of one row's source, as the renderer takes them.

    Parameters
    ----------
    row : mapping
        One row of a manifest: scalars, and arrays of shape (band,) and (knot,); a source that is an image has none.

    Returns
    -------
    list of Profile
        The disc, the bulge and the knots, as far as they have light: what :func:`render` sums, and what another
        program needs to render the row again.

    Raises
    ------
    ManifestError
        If they cannot be rendered; names the column and its value.
    """
    arrays = {k: np.asarray(v)[None] for k, v in row.items()}
    columns = {k: v.astype(np.float64) for k, v in arrays.items() if k in (*BULGE, *KNOTS)}
    applies = np.ones(1, bool)

    def refuse(bad: NDArray[np.bool_], values: NDArray[Any], column: str, rule: str) -> None:
        if bad.any():
            raise ManifestError(f"{column} must be {rule}, not {values[tuple(np.argwhere(bad)[0])]}.")

    check_components(columns, applies, np.zeros(1, bool), refuse)
    plain = {name: arrays[name].astype(np.float64) for name in OWN}
    bands = arrays["src_flux_nmgy"].shape[1] if "src_flux_nmgy" in arrays else 1
    found = read_components(columns, plain, applies, bands)
    if not found.row.size:
        x, y, reff, n, q, phi = (float(plain[name][0]) for name in OWN)
        return [Profile("disc", x, y, reff, n, q, phi, np.ones(bands))]
    out = []
    for i, kind in enumerate(found.kind):
        x, y, reff, n, q, phi = (float(found.column[name][i]) for name in OWN)
        share = found.weight[i] * found.share[0, kind]
        out.append(Profile(("disc", "bulge", "knot")[kind], x, y, reff, n, q, phi, share))
    return out
