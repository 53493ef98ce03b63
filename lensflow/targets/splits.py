"""Train / val / test by sky cell: cells are never divided, and hosts of different splits share no pixels.

Cells are assigned to splits; then the guard band removes hosts closer than a stamp to a host of another split. The one
with the lower split code (train before val before test) is removed: held-out sets keep their hosts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr
import xxhash
from astropy import units
from astropy_healpix import HEALPix
from numpy.typing import ArrayLike, NDArray

from lensflow import rng, schema
from lensflow.config import SplitsConfig
from lensflow.config.presets import SplitRule
from lensflow.errors import LensflowWarning, SplitError
from lensflow.sky import close_pairs

# Tolerance on the achieved fractions before a warning.
SHARE_TOLERANCE = 0.02
# Columns that determine an arc with a Sersic source.
ARC = (
    *("theta_e_arcsec", "lens_q", "lens_phi_rad", "lens_gamma", "shear", "shear_phi_rad", "src_x_arcsec"),
    *("src_y_arcsec", "src_reff_arcsec", "src_n", "src_q", "src_phi_rad"),
)


def sky_cells(ra_deg: ArrayLike, dec_deg: ArrayLike, host_id: ArrayLike, nside: int) -> NDArray[np.int64]:
    """Sky cell of every host.

    Parameters
    ----------
    ra_deg, dec_deg : array_like, shape (n,)
        Positions; NaN where the host has none (stamps without WCS).
    host_id : array_like of str, shape (n,)
        Names; a host without a position is a cell of its own, numbered below zero by its name's hash.
    nside : int
        HEALPix resolution; nested order.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    ra = np.asarray(ra_deg, dtype=np.float64)
    dec = np.asarray(dec_deg, dtype=np.float64)
    known = np.isfinite(ra) & np.isfinite(dec)
    cells = np.empty(len(ra), dtype=np.int64)
    cells[~known] = -1 - _hash62(np.asarray(host_id)[~known])
    if known.any():
        healpix = HEALPix(nside=nside, order="nested")
        cells[known] = healpix.lonlat_to_healpix(ra[known] * units.deg, dec[known] * units.deg)
    return cells


def region_cells(region: ArrayLike) -> NDArray[np.int64]:
    """Cell of every host from its region's name: a number that depends on the name alone.

    Raises
    ------
    SplitError
        If a host has no region.
    """
    names, inverse = np.unique(np.asarray(region), return_inverse=True)
    if len(names) and names[0] == "":
        raise SplitError("splits.cells is region, but some hosts have no region. Map it: survey.columns: {region: ...}")
    return _hash62(names)[inverse]


def _hash62(names: ArrayLike) -> NDArray[np.int64]:
    return (rng.hash_ids(names) >> np.uint64(2)).astype(np.int64)


def assign_splits(cells: ArrayLike, config: SplitsConfig, seed: int) -> NDArray[np.uint8]:
    """Split of every host: whole cells, assigned by ``config.rule``.

    balanced: cells are taken in decreasing number of hosts, ties in the order of a keyed hash, and each goes to the
    split that is least filled relative to its fraction. So splits get both rich and poor cells, and small cells at the
    end even out the sums.

    A preset (xxhash64): ``pmod(xxhash64(cell), 100)`` below 70 is train, below 85 val (for shares 70/15/15), as Spark
    computes it from a bigint. The fractions of hosts are not met, and a warning says by how much.

    Returns
    -------
    ndarray of uint8, shape (n,): 0 train, 1 val, 2 test.
    """
    names, inverse, counts = np.unique(np.asarray(cells), return_inverse=True, return_counts=True)
    if config.rule != "balanced":
        rule = SplitRule.named(config.rule)
        content = (int(name).to_bytes(8, "little", signed=True) for name in names.tolist())
        part = np.array([spark_xxhash64(c, rule.seed) % rule.parts for c in content])
        edges = np.cumsum(config.fractions)[:2] * rule.parts
        split = np.searchsorted(edges, part, side="right").astype(np.uint8)[inverse]
        _warn_if_off(split, config)
        return split
    tie = rng.uniform(seed, names.astype(np.uint64), "splits")[:, 0]
    order = np.lexsort((tie, -counts))
    return _deal(counts[order], config.fractions)[np.argsort(order)][inverse]


def _deal(counts: NDArray[np.int64], fractions: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Give each number to the split that it would leave the least filled (Sainte-Lague's rule)."""
    open_splits = [k for k, f in enumerate(fractions) if f > 0]
    held = [0.0, 0.0, 0.0]
    out = np.empty(len(counts), dtype=np.uint8)
    for i, count in enumerate(counts.tolist()):
        choice = min(open_splits, key=lambda k: (held[k] + count / 2) / fractions[k])
        out[i] = choice
        held[choice] += count
    return out


def spark_xxhash64(content: bytes, seed: int = 42) -> int:
    """Spark SQL's ``xxhash64`` of one value (text as UTF-8, a bigint as 8 bytes), signed."""
    value = int(xxhash.xxh64_intdigest(content, seed=seed))
    return value - (1 << 64) if value >> 63 else value


def _warn_if_off(split: NDArray[np.uint8], config: SplitsConfig) -> None:
    share = np.bincount(split, minlength=3) / max(len(split), 1)
    if np.abs(share - config.fractions).max() > SHARE_TOLERANCE:
        got, asked = ("/".join(f"{100 * v:.0f}" for v in values) for values in (share, config.fractions))
        warnings.warn(
            f"splits.rule {config.rule} gives {got} % of the hosts to train/val/test, {asked} was asked for. "
            "splits.rule: balanced meets the shares.",
            LensflowWarning,
            stacklevel=3,
        )


def guard_band(
    ra_deg: ArrayLike, dec_deg: ArrayLike, split: NDArray[np.uint8], guard_arcsec: float
) -> NDArray[np.uint8]:
    """Splits with the guard band: of two close hosts of different splits, the one with the lower code becomes GUARD.

    Parameters
    ----------
    ra_deg, dec_deg : array_like, shape (n,)
    split : ndarray of uint8, shape (n,)
    guard_arcsec : float
        Minimum distance of hosts of different splits; 0 changes nothing.
    """
    out = split.copy()
    if guard_arcsec > 0:
        pairs = close_pairs(ra_deg, dec_deg, guard_arcsec / 3600)
        a, b = split[pairs[:, 0]], split[pairs[:, 1]]
        loser = np.where(a < b, pairs[:, 0], pairs[:, 1])[a != b]
        out[loser] = schema.GUARD
    return out


def split_counts(split: NDArray[np.uint8]) -> dict[str, int]:
    """Hosts in each split and in the guard band."""
    return {name: int((split == k).sum()) for k, name in enumerate((*schema.SPLITS, "guard"))}


def check_splits(
    hosts: xr.Dataset,
    manifest: xr.Dataset | None = None,
    guard_arcsec: float = 0.0,
    same_image: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Check over all rows that nothing is in two splits.

    No host id and no cell is in two splits; no two hosts of different splits are within ``guard_arcsec`` of each other,
    in any bricks; ids of hosts without a position differ by more than case and blanks from those of other splits; a
    manifest's rows are in their hosts' splits, none of them on a host of the guard band; no row id, no source
    (``src_id``) and no arc (``arc_key``, of :func:`arc_keys`) is in two splits, if the manifest has them.

    Parameters
    ----------
    hosts : Dataset
        Dim host: host_id, ra_deg, dec_deg, cell, split (cutouts or targets).
    manifest : Dataset, optional
        Dim sample: host_index, split, is_control; ``src_id`` if there is one.
    guard_arcsec : float
        0 skips the check of distances.
    same_image : mapping, optional
        Name of a source -> the first name with the same image.

    Returns
    -------
    dict
        What was compared: hosts, cells, close_pairs, rows, sources, arcs.

    Raises
    ------
    SplitError
        Naming the first offender and the number of the others.
    """
    split = hosts["split"].values
    used = np.flatnonzero(split != schema.GUARD)
    host_id = hosts["host_id"].values
    _refuse_shared("host", host_id[used], split[used])
    n_cells = _refuse_shared("cell", hosts["cell"].values[used], split[used])
    _refuse_alike(hosts, used)
    counts = {"hosts": len(used), "cells": n_cells, "close_pairs": 0, "rows": 0, "sources": 0, "arcs": 0}
    if guard_arcsec > 0:
        ra, dec = (hosts[n].values[used] for n in ("ra_deg", "dec_deg"))
        pairs = used[close_pairs(ra, dec, guard_arcsec / 3600)]
        counts["close_pairs"] = len(pairs)
        crossing = pairs[split[pairs[:, 0]] != split[pairs[:, 1]]]
        if len(crossing):
            a, b = crossing[0]
            raise SplitError(
                f"hosts {host_id[a]!s} ({_name(split[a])}) and {host_id[b]!s} ({_name(split[b])}) lie within "
                f"{guard_arcsec:g} arcsec of each other; {len(crossing) - 1} other pair(s) alike."
            )
    if manifest is not None:
        counts |= _check_rows(manifest, host_id, split, same_image or {})
    return counts


def arc_keys(rows: xr.Dataset) -> NDArray[np.uint64]:
    """Hash of lens and source of each row of a manifest; 0 for controls, and for images, which have names.

    Parameters
    ----------
    rows : Dataset
        The columns ``ARC`` and ``is_control``; ``src_id`` if there is one.
    """
    table = np.stack([rows[name].values.astype(np.float64) for name in ARC], axis=1) + 0.0  # -0 is 0
    words = np.where(np.isnan(table), np.inf, table).view(np.uint64)
    key = np.full(len(words), np.uint64(0))
    for k in range(words.shape[1]):
        key = np.asarray(rng.mix_ids(key ^ words[:, k], np.uint64(k + 1)))
    without = rows["is_control"].values.copy()
    if "src_id" in rows:
        without |= rows["src_id"].values != ""
    return np.where(without, np.uint64(0), key | np.uint64(1))


def _refuse_alike(hosts: xr.Dataset, used: NDArray[np.int64]) -> None:
    """Refuse ids of hosts without a position that differ only by case or blanks from an id of another split."""
    ra, dec = hosts["ra_deg"].values[used], hosts["dec_deg"].values[used]
    nowhere = ~(np.isfinite(ra) & np.isfinite(dec))
    if not nowhere.any():
        return  # hosts with positions are identified by them
    names, split = [str(n) for n in hosts["host_id"].values[used]], hosts["split"].values[used]
    plain, place = np.unique(["".join(n.split()).casefold() for n in names], return_inverse=True)
    low, high = np.full(len(plain), 255, np.uint8), np.zeros(len(plain), np.uint8)
    np.minimum.at(low, place, split)
    np.maximum.at(high, place, split)
    lost = np.bincount(place, nowhere, len(plain)) > 0
    shared = np.flatnonzero((low != high) & lost)
    if shared.size:
        alike = np.flatnonzero(place == shared[0])
        a = alike[0]
        b = alike[np.argmax(split[alike] != split[a])]
        raise SplitError(
            f"host ids {names[a]!r} ({_name(split[a])}) and {names[b]!r} ({_name(split[b])}) differ only by case or "
            f"blanks, and there is no position to tell the hosts apart; {shared.size - 1} other(s) alike. Rename one, "
            "or give positions."
        )


def _check_rows(
    manifest: xr.Dataset, host_id: NDArray, split: NDArray[np.uint8], same_image: Mapping[str, str]
) -> Mapping[str, int]:
    row_split, of_host = manifest["split"].values, split[manifest["host_index"].values]
    wrong = np.flatnonzero((row_split != of_host) | (of_host == schema.GUARD))
    if wrong.size:
        row = wrong[0]
        host = host_id[manifest["host_index"].values[row]]
        raise SplitError(
            f"manifest row {row} is in split {_name(row_split[row])}, its host {host!s} in {_name(of_host[row])}; "
            f"{wrong.size - 1} other row(s) alike."
        )
    if "row_id" in manifest:
        _refuse_shared("row id", manifest["row_id"].values, row_split)
    sources = n_arcs = 0
    arcs = ~manifest["is_control"].values
    if "src_id" in manifest:
        ids = manifest["src_id"].values[arcs]
        # Analytic sources have no identity: an empty name, or a number below zero.
        named = ids != "" if ids.dtype.kind in "UOT" else ids >= 0
        ids, of = ids[named], row_split[arcs][named]
        sources = _refuse_shared("source", ids, of)
        if same_image:
            names, place = np.unique(ids.astype(str), return_inverse=True)
            first = np.array([f"{same_image.get(n, n)} (or the same image under another name)" for n in names])
            _refuse_shared("source", first[place], of)
    if "arc_key" in manifest:
        keys = manifest["arc_key"].values
        n_arcs = _refuse_twice(keys, row_split)
    return {"rows": len(row_split), "sources": sources, "arcs": n_arcs}


def _refuse_twice(keys: NDArray[np.uint64], split: NDArray[np.uint8]) -> int:
    """Refuse an arc with the same lens and source in two splits; return the number of arcs."""
    rows = np.flatnonzero(keys != 0)
    order = rows[np.lexsort((split[rows], keys[rows]))]
    twice = np.flatnonzero((keys[order][1:] == keys[order][:-1]) & (split[order][1:] != split[order][:-1]))
    if twice.size:
        a, b = order[twice[0]], order[twice[0] + 1]
        raise SplitError(
            f"manifest rows {a} ({_name(split[a])}) and {b} ({_name(split[b])}) have the same lens and source in every "
            f"parameter; {twice.size - 1} other(s) alike. Draw them again, or leave one of each out."
        )
    return int(rows.size)


def _refuse_shared(what: str, keys: NDArray, split: NDArray[np.uint8]) -> int:
    """Refuse a key that occurs in two splits; return the number of different keys."""
    names, inverse = np.unique(keys, return_inverse=True)
    low, high = np.full(len(names), 255, np.uint8), np.zeros(len(names), np.uint8)
    np.minimum.at(low, inverse, split)
    np.maximum.at(high, inverse, split)
    shared = np.flatnonzero(low != high)
    if shared.size:
        k = shared[0]
        raise SplitError(
            f"{what} {names[k]!s} is in {_name(low[k])} and in {_name(high[k])}; {shared.size - 1} other(s) alike."
        )
    return len(names)


def _name(code: int) -> str:
    return (*schema.SPLITS, "guard")[int(code)]
