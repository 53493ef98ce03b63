"""Measure real lenses, injections and hosts of the matched sets, and put them side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import RealismError
from lensflow.measure.realism.controls import BRIGHTER_MAG, hosts_against_random
from lensflow.measure.realism.features import NAMES
from lensflow.measure.realism.samples import MatchedRows
from lensflow.measure.realism.verdict import Comparison
from lensflow.run.execute import Progress, silent
from lensflow.run.realism.features import features_and_brighter, features_of_cutouts, features_of_pairs
from lensflow.run.realism.pixels import (
    block_means,
    centres_of_hosts,
    embedded,
    find_encoder,
    images_as_pairs,
    images_of_hosts,
    stamps_of_pairs,
)
from lensflow.store.open import host_tables
from lensflow.store.run_folder import RunFolder

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

NOT_VISIBLE = "the lens's arc is not visible (arc_snr below {:g})"
NO_INJECTION = "no injection on its matched hosts is visible"


@dataclass(frozen=True, eq=False)
class Gathered:
    """The matched sets as they are compared.

    Attributes
    ----------
    comparison : Comparison
    sets : Dataset, dim set
        ``set`` (number), ``lens_id``, ``tier``, ``real_row``, ``theta_e_arcsec``, ``arc_snr``; visible ones only.
    rows : Dataset, dim row
        In the order of ``comparison.rows``: ``set``, ``is_real``, ``store_row`` (of real.zarr or of the pairs),
        ``host_row`` (of the cutouts; -1 for lenses), ``values`` (row, feature).
    counts : dict
        Reason -> lenses that are in no set.
    """

    comparison: Comparison
    sets: xr.Dataset
    rows: xr.Dataset
    counts: dict[str, int]


def gather(
    config: RunConfig,
    real_url: str,
    sets: xr.Dataset,
    balance: xr.Dataset | None,
    other_road: str,
    progress: Progress = silent,
    here: str = "",
    pairs: RunConfig | None = None,
    plain: bool = False,
) -> Gathered:
    """Measure what is compared.

    Parameters
    ----------
    config : RunConfig
    real_url : str
        Store of the real lenses' cutouts.
    sets : Dataset, dims set, match, draw
        ``lens_id``, ``tier``, ``real_row`` (set); ``host_row`` (set, match); ``injection_row`` (set, match, draw), -1
        where there is none; draw 1 is the second draw on the same host.
    balance : Dataset or None
    other_road : str
        Why the real stamps are of another road; empty where they are not.
    progress : callable, optional
    here : str
        Where an encoder's module is looked for.
    pairs : RunConfig, optional
        Of the run whose pairs ``injection_row`` counts, where they are not this run's.
    plain : bool
        Leave out controls and advisory inputs.

    Returns
    -------
    Gathered

    Raises
    ------
    RealismError
        If an injection row has no features.
    """
    counts: dict[str, int] = {}
    of_pairs = pairs or config
    real = features_of_cutouts(real_url, sets["real_row"].values, progress, rounded_as=of_pairs)
    first, second = (sets["injection_row"].values[:, :, d] if sets.sizes["draw"] > d else None for d in (0, 1))
    assert first is not None
    # One injection on each matched host: rows of one host share its pixels and cannot be exchanged.
    has = first >= 0
    of_set = np.broadcast_to(np.arange(len(first))[:, None], first.shape)[has]
    again = None if second is None else second[has]
    injected, controls = _of_injections(of_pairs, first[has], again, plain, progress)
    limit = config.realism.min_arc_snr
    seen_real, seen = (f["arc_snr"].values >= limit for f in (real, injected))
    with_one = np.bincount(of_set[seen], minlength=len(first)) > 0
    counts |= {k: n for k, n in ((NOT_VISIBLE.format(limit), int((~seen_real).sum())),
                                 (NO_INJECTION, int((seen_real & ~with_one).sum()))) if n}  # fmt: skip
    kept = np.flatnonzero(seen_real & with_one)
    use = seen & np.isin(of_set, kept)
    rows = MatchedRows.of(
        NAMES,
        np.concatenate([_values(real, kept), _values(injected, np.flatnonzero(use))]),
        np.repeat([True, False], [kept.size, int(use.sum())]),
        np.concatenate([kept, of_set[use]]),
    )
    host_row = sets["host_row"].values[has][use]
    table = _table(kept, of_set[use], sets["real_row"].values[kept], first[has][use], host_row)
    comparison = Comparison(rows, balance=balance, other_road=other_road) if kept.size else None
    if comparison is None:
        empty = MatchedRows(tuple(NAMES), np.empty((0, len(NAMES))), np.empty(0, bool), np.empty(0, np.int64))
        return Gathered(
            Comparison(empty, balance=balance, other_road=other_road), _sets(sets, kept, real), table, counts
        )
    shown = table.drop_vars("given").assign(values=(("row", "feature"), rows.values))
    shown = shown.assign_coords(feature=list(NAMES))
    if plain:
        return Gathered(comparison, _sets(sets, kept, real), shown, counts)
    order = table["given"].values[~table["is_real"].values] - kept.size
    more = _controls(config, of_pairs, sets, kept, controls, has, use, order, limit, progress)
    advisory, broken = _advisory(config, of_pairs, real_url, table, here)
    comparison = Comparison(
        rows, second=more["second"], brightened=more["brightened"], arcless=more["arcless"], hosts=more["hosts"],
        advisory=advisory,
        balance=balance, other_road=other_road, broken=broken,
        recipe={"tiers": list(config.realism.tiers), "encoder": config.realism.encoder or "",
                "injections": config.realism.injections},
    )  # fmt: skip
    return Gathered(comparison, _sets(sets, kept, real), shown, counts)


@dataclass(frozen=True)
class _Injected:
    """Features of first injections that only controls need: with brighter arcs, and of the second ones on their hosts.

    Attributes
    ----------
    brighter : Dataset
        In the order of the first ones.
    again : Dataset
        Of second ones.
    first_of : ndarray of int64
        Place, among the first ones, of the one on the same host.
    """

    brighter: xr.Dataset
    again: xr.Dataset
    first_of: Rows


def _of_injections(
    of_pairs: RunConfig, first: Rows, second: Rows | None, plain: bool, progress: Progress
) -> tuple[xr.Dataset, _Injected]:
    """Measure injections, and what controls need of them, from one reading of their pixels."""
    if plain:
        found = features_of_pairs(of_pairs, first, progress)
        return found, _Injected(found, found.isel(sample=slice(0)), np.empty(0, np.int64))
    there = np.empty(0, np.int64) if second is None else np.flatnonzero(second >= 0)
    rows = first if second is None else np.concatenate([first, second[there]])
    found, brighter = features_and_brighter(of_pairs, rows, BRIGHTER_MAG, progress)
    n = len(first)
    some = _Injected(brighter.isel(sample=slice(n)), found.isel(sample=slice(n, None)), there)
    return found.isel(sample=slice(n)), some


def _controls(
    config: RunConfig,
    of_pairs: RunConfig,
    sets: xr.Dataset,
    kept: Rows,
    injected: _Injected,
    has: NDArray[np.bool_],
    use: NDArray[np.bool_],
    order: Rows,
    limit: float,
    progress: Progress,
) -> dict[str, Any]:
    """Features of the second draw, of brighter arcs, of matched and of random hosts."""
    own_hosts = sets["host_row"].values[has][use][order]
    mine = np.flatnonzero(use)[order]
    found: dict[str, Any] = {"second": None, "brightened": _values(injected.brighter, mine)}
    # The same cut as on the first draw: else the two would differ by it.
    good = np.flatnonzero(injected.again["arc_snr"].values >= limit)
    values = np.full((use.size, len(NAMES)), np.nan)
    values[injected.first_of[good]] = _values(injected.again, good)
    if np.isfinite(values[mine]).any(axis=1).sum() >= 2 * config.realism.folds:
        found["second"] = values[mine]
    matched = sets["host_row"].values[kept, 0]
    random = _random_hosts(config, sets["host_row"].values, 4 * kept.size)
    enough = random.size >= kept.size
    wanted = np.concatenate([own_hosts, matched, random]) if enough else own_hosts
    bare = features_of_cutouts(RunFolder.of(config).cutouts, wanted, progress, rounded_as=of_pairs)
    arcless, one, other = np.split(_values(bare, np.arange(wanted.size)), np.cumsum([own_hosts.size, matched.size]))
    found["arcless"] = arcless
    found["hosts"] = hosts_against_random(one, other, NAMES) if enough else None
    return found


def _random_hosts(config: RunConfig, matched: Rows, count: int) -> Rows:
    """Hosts of the run in an order that only the seed decides, without those that are matched."""
    read, n = host_tables(RunFolder.of(config).cutouts)
    tables = read(0, n)
    usable = (tables["status"].values == schema.Status.OK) & ~np.isin(np.arange(n), matched)
    hosts = np.flatnonzero(usable)
    key = rng.uniform(config.seed, hosts.astype(np.uint64), "realism.hosts")[:, 0]
    return hosts[np.argsort(key, kind="stable")][:count].astype(np.int64)


def _advisory(
    config: RunConfig, of_pairs: RunConfig, real_url: str, table: xr.Dataset, here: str
) -> tuple[dict[str, MatchedRows], str]:
    """Inputs of the probe that carry no verdict, and what is wrong with one."""
    is_real, rows = table["is_real"].values, table["store_row"].values
    parts = [images_as_pairs(of_pairs, real_url, rows[is_real]), stamps_of_pairs(of_pairs, rows[~is_real])]
    images = np.empty((len(rows), *parts[0].shape[1:]), np.float32)
    images[is_real], images[~is_real] = parts
    x, y = (np.empty(len(rows)) for _ in range(2))
    for side, url, at in (
        (is_real, real_url, rows),
        (~is_real, RunFolder.of(config).cutouts, table["host_row"].values),
    ):
        x[side], y[side] = centres_of_hosts(url, at[side])
        images[side] = np.where(images_of_hosts(url, at[side], "invvar") > 0, images[side], np.nan)
    names, values = block_means(images, x, y, config.bands)
    out = {"pixels": MatchedRows.of(names, values, is_real, table["set"].values)}
    if config.realism.encoder is None:
        return out, ""
    encoder = find_encoder(config.realism.encoder, here or str(Path.cwd()))
    try:
        found = embedded(encoder, np.nan_to_num(images), config.realism.encoder)
    except RealismError as error:
        return out, str(error)
    embedding = MatchedRows.of([f"e{k}" for k in range(found.shape[1])], found, is_real, table["set"].values)
    # An encoder is handed 0 where there is no data: of a stamp without a band it would read that, and not the lens.
    has_bands = np.asarray(np.isfinite(images).any(axis=(2, 3)).all(axis=-1), dtype=np.bool_)
    out["embedding"] = embedding.take(has_bands)
    return out, ""


def _values(features: xr.Dataset, rows: Rows) -> Floats:
    return np.stack([features[name].values[rows] for name in NAMES], axis=1)


def _table(kept: Rows, of_set: Rows, real_row: Rows, injection_row: Rows, host_row: Rows) -> xr.Dataset:
    """Rows in the order that :meth:`MatchedRows.of` gives them."""
    is_real = np.repeat([True, False], [kept.size, of_set.size])
    sets = np.concatenate([kept, of_set])
    order = np.lexsort((~is_real, sets))
    columns: Mapping[str, NDArray[Any]] = {
        "set": sets, "is_real": is_real, "store_row": np.concatenate([real_row, injection_row]),
        "host_row": np.concatenate([np.full(kept.size, -1), host_row]), "given": np.arange(sets.size),
    }  # fmt: skip
    return xr.Dataset({k: ("row", v[order]) for k, v in columns.items()})


def _sets(sets: xr.Dataset, kept: Rows, real: xr.Dataset) -> xr.Dataset:
    names = [n for n in ("lens_id", "tier", "real_row", "theta_e_arcsec", "z_lens") if n in sets]
    some = sets[names].isel(set=kept).reset_coords(drop=True)
    data = {n: ("set", some[n].values.astype(str) if some[n].dtype.kind in "OU" else some[n].values) for n in names}
    return xr.Dataset({**data, "arc_snr": ("set", real["arc_snr"].values[kept]), "number": ("set", kept)})
