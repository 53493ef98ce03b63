"""Choose the rows of a report: typical ones, spread over theta_E and SNR, and outliers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.injection.quality import MAX_BAD_PIXEL_FRAC, MIN_STAMP_FLUX
from lensflow.measure.gate import GateResult, Verdict
from lensflow.show.numbers import number
from lensflow.units import mag_of_flux

GALLERY_ROWS = 10
# theta_E (by rank) x SNR (by rank within it): where the gallery's rows are taken from.
_THETA_E_SHARES = (0.1, 0.5, 0.9)
_SNR_SHARES = (0.08, 0.5, 0.92)
# Rows shown for what gates say of them, and for each other kind of trouble.
GATE_ROWS, TROUBLE_ROWS = 8, 2
# Rows shown of each gate that is not passed because of what it found.
TELLING_ROWS = 10
TELLING = (Verdict.FAIL, Verdict.EXPLAINED)


@dataclass(frozen=True, eq=False)
class Example:
    """One row of a gallery, with its pixels.

    Attributes
    ----------
    row : int
        Position in the manifest.
    name, place, split : str
        ``HOST:REPLICATE``, by which ``lensflow rerender --row`` finds the row; RA and Dec in degrees, or ""; split.
    arc_snr, matched_snr : float
        Of the arc's brightest pixel, and of the whole arc, in the reference band.
    ctrl, arc, stamp : ndarray, shape (band, y, x)
        nMgy/pixel.
    absent : tuple of str
        Bands without an exposure of the host.
    why : tuple of str
        What makes the row stand out; empty in the gallery of typical rows.
    """

    row: int
    host_id: str
    name: str
    place: str
    split: str
    theta_e_arcsec: float
    src_mag: float
    magnification: float
    arc_snr: float
    matched_snr: float
    absent: tuple[str, ...]
    ctrl: NDArray[np.float32]
    arc: NDArray[np.float32]
    stamp: NDArray[np.float32]
    why: tuple[str, ...] = ()


def choose_rows(rows: xr.Dataset, count: int = GALLERY_ROWS) -> NDArray[np.int64]:
    """Choose rows to show, spread over theta_E and SNR, on different hosts if there are enough.

    Parameters
    ----------
    rows : Dataset
        Manifest columns and metrics of finished rows.
    count : int
        At most so many.

    Returns
    -------
    ndarray of int64
        Positions in ``rows``, sorted by theta_E and SNR. No random number is drawn. One of them is of a host with
        an absent band, if there is any.
    """
    theta_e, snr = rows["theta_e_arcsec"].values, _best_snr(rows)
    usable = np.flatnonzero(~rows["is_control"].values & np.isfinite(snr))
    if usable.size == 0:
        return usable
    absent = ~np.isfinite(rows["psf_fwhm_arcsec"].values).all(axis=1)
    host = rows["host_index"].values
    chosen: list[int] = []

    def nearest(pool: NDArray[np.int64], rank: float) -> None:
        """Take the row at the rank of the pool's SNR, or the nearest one of a host that is not shown yet."""
        pool = np.setdiff1d(pool, chosen)
        fresh = pool[~np.isin(host[pool], host[chosen])] if chosen else pool
        pool = fresh if fresh.size else pool
        if pool.size:
            ordered = pool[np.lexsort((pool, snr[pool]))]
            chosen.append(int(ordered[round(rank * (ordered.size - 1))]))

    if absent[usable].any():
        nearest(usable[absent[usable]], 0.5)
    whole = usable[~absent[usable]] if (~absent[usable]).any() else usable
    groups = np.array_split(whole[np.lexsort((whole, theta_e[whole]))], len(_THETA_E_SHARES))
    for rank in (_SNR_SHARES[1], _SNR_SHARES[0], _SNR_SHARES[2]):
        for group in groups:
            if len(chosen) < count:
                nearest(group, rank)
    order = np.lexsort((snr[chosen], theta_e[chosen]))
    return np.asarray(chosen, dtype=np.int64)[order]


# Ranks of the first screen's arcs by SNR: of all, and of those that are resolved.
_TYPICAL, _RESOLVED = (0.75, 0.5, 0.25), (0.97, 0.85, 0.6)


def first_rows(rows: xr.Dataset, reference_band: int) -> NDArray[np.int64]:
    """Choose the six rows of the first screen: three arcs that are resolved and three typical ones.

    Parameters
    ----------
    rows : Dataset
        Manifest columns and metrics of finished rows.
    reference_band : int
        Whose PSF decides what is resolved.

    Returns
    -------
    ndarray of int64
        Positions in ``rows``, of different hosts where there are enough: first at 97, 85 and 60 % by SNR of those whose
        theta_E is larger than the PSF's FWHM, then at 75, 50 and 25 % of all injections. With data in every band, if
        there are any. No random number is drawn.
    """
    snr, fwhm, host = _best_snr(rows), rows["psf_fwhm_arcsec"].values, rows["host_index"].values
    usable = ~rows["is_control"].values & np.isfinite(snr)
    if (usable & np.isfinite(fwhm).all(axis=1)).any():
        usable &= np.isfinite(fwhm).all(axis=1)
    resolved = usable & (rows["theta_e_arcsec"].values > np.nan_to_num(fwhm[:, reference_band], nan=np.inf))
    chosen: list[int] = []
    for pool, ranks in ((resolved if resolved.any() else usable, _RESOLVED), (usable, _TYPICAL)):
        order = np.flatnonzero(pool)
        order = order[np.lexsort((order, snr[order]))]
        for rank in ranks:
            by_distance = np.argsort(np.abs(np.arange(order.size) - rank * (order.size - 1)), kind="stable")
            fresh = [int(order[k]) for k in by_distance if order[k] not in chosen]
            other = [k for k in fresh if host[k] not in host[chosen]]
            chosen += (other or fresh)[:1]
    return np.asarray(chosen, dtype=np.int64)


def _best_snr(rows: xr.Dataset) -> NDArray[np.float64]:
    """``arc_snr``, or the best band's peak SNR if the reference band is absent."""
    per_band = np.where(np.isfinite(rows["snr_peak"].values), rows["snr_peak"].values, -np.inf).max(axis=1)
    alias = rows["arc_snr"].values.astype(np.float64)
    return np.where(np.isfinite(alias), alias, np.where(np.isfinite(per_band), per_band, np.nan))


def example(
    row: xr.Dataset,
    cutouts: xr.Dataset,
    pixels: Mapping[str, NDArray[np.float32]],
    config: RunConfig,
    why: Sequence[str],
) -> Example:
    """Collect a row's data for display: its columns, its pixels and the reason for its choice."""
    absent = ~np.isfinite(row["psf_fwhm_arcsec"].values)
    flux = float(row["src_flux_nmgy"].values[config.reference_band])
    host = cutouts[["host_id", "ra_deg", "dec_deg"]].isel(host=int(row["host_index"]))
    ra, dec, host_id = float(host["ra_deg"]), float(host["dec_deg"]), str(host["host_id"].values)
    return Example(
        row=int(row["row"]),
        host_id=host_id,
        name=f"{host_id}:{'c' if bool(row['is_control']) else ''}{int(row['replicate'])}",
        place=f"{ra:.5f}, {dec:+.5f}" if np.isfinite(ra) and np.isfinite(dec) else "",
        split=(*schema.SPLITS, "guard")[int(row["split"])],
        theta_e_arcsec=float(row["theta_e_arcsec"]),
        src_mag=float(mag_of_flux(flux)),
        magnification=float(row["magnification"]),
        arc_snr=float(row["arc_snr"]),
        matched_snr=float(row["snr_matched"].values[config.reference_band]),
        absent=tuple(b for b, gone in zip(config.bands, absent, strict=True) if gone),
        ctrl=pixels["ctrl"],
        arc=pixels["arc"],
        stamp=pixels["stamp"],
        why=tuple(why),
    )


def worst_rows(
    rows: xr.Dataset, cutouts: xr.Dataset, gates: Sequence[GateResult], config: RunConfig
) -> dict[int, tuple[str, ...]]:
    """Choose outliers with a reason: rows that gates distinguish most clearly, then other problems.

    Parameters
    ----------
    rows, cutouts : Dataset
        Finished rows with the manifest's columns, metrics and flags; the hosts' tables.
    gates : sequence of GateResult
        Rows of required and of failing ones are shown.
    config : RunConfig

    Returns
    -------
    dict
        Position in ``rows`` -> reasons. Each row stands once, with all its reasons.
    """
    chosen: dict[int, list[str]] = {}
    asked = [g for g in gates if g.worst and (g.name in config.gate.recipes or g.verdict is Verdict.FAIL)]
    place = _positions(rows["row_id"].values, [w["row_id"] for g in asked for w in g.worst])
    # In turns, so that every gate is represented: the worst of each, then the second of each.
    for turn in zip_longest(*([(g, w) for w in g.worst if w["margin"] > 0] for g in asked)):
        for gate, worst in (t for t in turn if t is not None):
            k = place.get(worst["row_id"])
            if k is not None and (k in chosen or len(chosen) < GATE_ROWS):
                why = f"{gate.name}: the stamp scores {number(worst['margin'])} above its own control"
                chosen.setdefault(k, []).append(why)
    for trouble in _troubles(rows, cutouts, config):
        for k in _extremes(trouble, rows["host_index"].values):
            chosen.setdefault(k, []).append(trouble.say(float(trouble.severity[k])))
    return {k: tuple(why) for k, why in chosen.items()}


def telling_rows(rows: xr.Dataset, gates: Sequence[GateResult]) -> dict[str, dict[int, tuple[str, ...]]]:
    """Choose the stamps that drive each failing or explained gate: those with the most extreme out-of-fold scores.

    Parameters
    ----------
    rows : Dataset
        Finished rows.
    gates : sequence of GateResult

    Returns
    -------
    dict
        Name of the gate -> position in ``rows`` -> what is said of the row; at most ``TELLING_ROWS``, each of another
        host, those with the largest margin first.
    """
    out: dict[str, dict[int, tuple[str, ...]]] = {}
    for gate in gates:
        if gate.verdict not in TELLING or not gate.worst:
            continue
        place = _positions(rows["row_id"].values, [w["row_id"] for w in gate.worst])
        chosen = [w for w in gate.worst if w["margin"] > 0 and w["row_id"] in place][:TELLING_ROWS]
        out[gate.name] = {place[w["row_id"]]: (f"scores {number(w['margin'])} above its own control",) for w in chosen}
    return {name: found for name, found in out.items() if found}


def _positions(row_id: NDArray[np.uint64], wanted: Sequence[int]) -> dict[int, int]:
    found = np.flatnonzero(np.isin(row_id, np.array(wanted, dtype=np.uint64)))
    return {int(row_id[k]): int(k) for k in found}


@dataclass(frozen=True)
class _Trouble:
    """A number that rows are ranked by.

    Attributes
    ----------
    severity : ndarray, shape (row,)
        The larger the worse; -inf where the row has none.
    flagged : float
        Rows above it are in trouble. Without any the worst row is shown all the same.
    always : bool
        Whether the worst row is shown even if it is in no trouble.
    say : callable
        The words for a severity.
    """

    severity: NDArray[np.float64]
    flagged: float
    always: bool
    say: Callable[[float], str]


def _extremes(trouble: _Trouble, host: NDArray[np.int64]) -> list[int]:
    """At most ``TROUBLE_ROWS`` rows in trouble, of different hosts; else the worst row where it is always shown."""
    usable = np.flatnonzero(np.isfinite(trouble.severity))
    order = usable[np.lexsort((usable, -trouble.severity[usable]))]
    flagged = order[trouble.severity[order] > trouble.flagged]
    if not flagged.size:
        return [int(k) for k in order[: int(trouble.always)]]
    first = np.sort(np.unique(host[flagged], return_index=True)[1])
    return [int(k) for k in flagged[first[:TROUBLE_ROWS]]]


def _troubles(rows: xr.Dataset, cutouts: xr.Dataset, config: RunConfig) -> Iterator[_Trouble]:
    """Reasons other than gates that make an injection an outlier."""
    lit, host = ~rows["is_control"].values, rows["host_index"].values
    covered = np.isfinite(rows["psf_fwhm_arcsec"].values)

    def of_injections(values: NDArray) -> NDArray[np.float64]:
        return np.where(lit & np.isfinite(values), values, -np.inf)

    tolerance = config.injection.render_tolerance
    yield _Trouble(
        of_injections(rows["render_err"].values), tolerance, True,
        lambda v: f"estimated rendering error {number(v)} of the arc’s peak (flagged above {number(tolerance, 1)})",
    )  # fmt: skip
    yield _Trouble(
        of_injections(-rows["stamp_flux_fraction"].values), -MIN_STAMP_FLUX, True,
        lambda v: f"the stamp holds {_percent(-v)} of the lensed light (flagged below {_percent(MIN_STAMP_FLUX)})",
    )  # fmt: skip
    yield _Trouble(
        of_injections(cutouts["bad_pixel_frac"].values[host]), MAX_BAD_PIXEL_FRAC, False,
        lambda v: f"{_percent(v)} of the stamp’s pixels are masked (clean: at most {_percent(MAX_BAD_PIXEL_FRAC)})",
    )  # fmt: skip
    least = np.where(covered, cutouts["coverage_frac"].values[host], np.inf).min(axis=1)
    yield _Trouble(
        of_injections(-least), -1.0, False, lambda v: f"only {_percent(-v)} of the pixels of a band have data"
    )
    blind = (covered & ~np.isfinite(rows["snr_peak"].values)).sum(axis=1)
    yield _Trouble(of_injections(blind.astype(float)), 0.0, False, lambda v: f"no pixel with data in {v:g} band(s)")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
