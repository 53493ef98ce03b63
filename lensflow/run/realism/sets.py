"""Matched sets of a run: each real lens with hosts that look like its own, and their injections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import RealismError
from lensflow.measure.realism.matching import Matched, balance_with_other_arcs, match
from lensflow.measure.realism.road import STAMPS, RoadCheck, with_rounding
from lensflow.run.execute import Progress, silent
from lensflow.run.realism.hosts import Matching, host_covariates, reliability, road_check, stamp_covariates
from lensflow.run.realism.pixels import images_as_pairs, stamps_of_pairs
from lensflow.run.realism.stamps import RealFolder, open_real
from lensflow.schema import Status
from lensflow.store.open import open_cutouts, read_head
from lensflow.store.run_folder import RunFolder

# Columns of the real lenses that sets carry.
CARRIED = ("tier", "is_lens", "theta_e_arcsec", "z_lens", "z_source", "kind")
# What a catalogue knows of a galaxy.
LIGHT = ("mag_r", "g_r", "r_z", "half_light_arcsec")
NO_CATALOGUE = "matching on catalogue values: the real lenses have no fluxes and sizes (realism.catalogue)"
NOT_OK = "the real lens's stamp failed"
NOT_TIER = "tier {}: not compared"


@dataclass(frozen=True, eq=False)
class Light:
    """Covariates that were matched, dim host: of the real lenses, of the hosts with an arc, of the hosts without."""

    real: xr.Dataset
    hosts: xr.Dataset
    bare: xr.Dataset


@dataclass(frozen=True, eq=False)
class MatchedSets:
    """Matched sets of a run, and whether they can carry a verdict.

    Attributes
    ----------
    sets : Dataset
        Dims set, match, draw. ``real_row`` (set): row of ``real.zarr``. ``host_row`` (set, match): row of the run's
        cutouts. ``control_row`` (set, match): row of the pairs that is this host without an arc; -1: none.
        ``injection_row`` (set, match, draw): rows of the pairs with an arc on this host, in the order of a hash of
        their row id; -1 where a host has fewer. ``distance`` (set, match). ``lens_id``, ``split`` and ``CARRIED`` of
        the real lens (set).
    matched : Matched
        The matching that the sets are of: balance, counts, reason.
    other : Matched or None
        The second matching, on the other covariates; None, with ``other_reason``, where they are not known.
    other_sets : Dataset or None
        Its sets, as ``sets``.
    other_reason : str
    road : RoadCheck
    counts : dict
        Reason -> real lenses without a set; of all stamps in ``real.zarr`` but the known non-lenses.
    hosts_left_out : dict
        Reason -> hosts of the run that were not offered.
    light : Light, optional
        What the first matching is of.
    """

    sets: xr.Dataset
    matched: Matched
    other: Matched | None
    other_sets: xr.Dataset | None
    other_reason: str
    road: RoadCheck
    counts: dict[str, int]
    hosts_left_out: dict[str, int]
    light: Light | None = None

    @property
    def balance(self) -> xr.Dataset:
        """The balance of the matching that the sets are of."""
        return self.matched.balance

    @property
    def reason(self) -> str:
        """Why the sets carry no verdict: the road first, then the balance; empty if they do."""
        return self.road.reason or self.matched.reason


def matched_sets(
    config: RunConfig,
    *,
    splits: Sequence[str] = ("val", "test"),
    tiers: Sequence[str] = ("A", "B"),
    matching: Matching = "measured",
    progress: Progress = silent,
) -> MatchedSets:
    """Match the real lenses of a run with its hosts, by the settings of ``realism``.

    Parameters
    ----------
    config : RunConfig
        Of a run with pairs, and ``real.zarr`` (:func:`lensflow.run.realism.stamps.cut_real`).
    splits : sequence of str
        Of the hosts. Not train, for a scorer that was trained on the run.
    tiers : sequence of str
        Of the real lenses.
    matching : {"measured", "catalogue"}
        Covariates of the sets; the others give ``other``.
    progress : callable, optional

    Returns
    -------
    MatchedSets

    Raises
    ------
    RealismError
        If no real lens has these tiers, or no host of these splits has an injection.
    """
    run, folder, settings = RunFolder.of(config), RealFolder.of(config), config.realism
    unknown = [s for s in splits if s not in schema.SPLITS]
    if unknown or not splits:
        raise RealismError(f"matched sets: no split {unknown or list(splits)}; known: {', '.join(schema.SPLITS)}.")
    real = open_real(config)
    counts: dict[str, int] = {}
    lenses = _lenses(real, tiers, counts)
    injections, controls = _rows_of_hosts(run.manifest)
    hosts, left_out = _hosts(run.cutouts, splits, injections, real.attrs["hosts_dropped"])

    # One of each host: the injection that is compared.
    compared = np.array([injections[h][0] for h in hosts.tolist()], np.int64)

    def found(kind: Matching) -> tuple[Matched, Light]:
        own = host_covariates(folder.cutouts, progress, matching=kind, rounded_as=config).isel(host=lenses)
        bare = host_covariates(run.cutouts, progress, matching=kind).isel(host=hosts)
        if kind == "catalogue":
            if not any(np.isfinite(own[n].values).any() for n in LIGHT if n in own):
                raise RealismError(NO_CATALOGUE)  # seeing and depth alone match nothing of the galaxy
            theirs, share = bare, None
        else:
            # Real lenses come with their arcs, so injections do.
            theirs = stamp_covariates(config, compared, progress).assign(host_id=bare["host_id"])
            share = reliability(bare, theirs)
        matched = match(own, theirs, k=settings.hosts_per_lens, caliper_sd=settings.caliper_sd,
                        max_balance_sd=settings.max_balance_sd, seed=config.seed, reliability=share)  # fmt: skip
        return matched, Light(own, theirs, bare)

    matched, light = found(matching)
    other, why = None, ""
    try:
        other, _ = found("catalogue" if matching == "measured" else "measured")
    except RealismError as error:
        why = str(error)
    road = road_check(folder.cutouts, run.cutouts, settings.max_road_sd)
    sets, other_sets = (
        None if m is None else _with_rows(m.sets, lenses, hosts, real, injections, controls) for m in (matched, other)
    )
    assert sets is not None
    if sets.sizes["set"]:
        some = slice(None, STAMPS)
        pairs = stamps_of_pairs(config, sets["injection_row"].values[some, 0, 0])
        own = images_as_pairs(config, folder.cutouts, sets["real_row"].values[some])
        road = with_rounding(road, own, pairs, settings.max_road_sd)
    return MatchedSets(sets, matched, other, other_sets, why, road, counts | matched.counts, left_out, light)


def with_arcs_of(sets: MatchedSets, pairs: RunConfig, rows: xr.Dataset, progress: Progress = silent) -> MatchedSets:
    """Judge the balance with the arcs that are compared, where they are not those that the hosts were matched with.

    Parameters
    ----------
    sets : MatchedSets
        Matched by measured covariates.
    pairs : RunConfig
        Of the run whose pairs are compared.
    rows : Dataset
        ``sets.sets`` with ``injection_row`` of that run's pairs.
    progress : callable, optional
    """
    light = sets.light
    if light is None or not rows.sizes["set"]:
        return sets
    again = stamp_covariates(pairs, rows["injection_row"].values[:, :, 0].ravel(), progress)
    share = reliability(light.bare.isel(host=sets.matched.sets["host_row"].values.ravel()), again)
    matched = balance_with_other_arcs(
        sets.matched, light.real, light.hosts, again, max_balance_sd=pairs.realism.max_balance_sd, reliability=share
    )
    return replace(sets, matched=matched)


def _lenses(real: xr.Dataset, tiers: Sequence[str], counts: dict[str, int]) -> NDArray[np.int64]:
    tier, failed = real["tier"].values.astype(str), real["status"].values == Status.FAILED
    wanted = np.isin(tier, list(tiers))
    for name in sorted({*tier[~wanted].tolist()} - {"N"}):
        counts[NOT_TIER.format(name)] = int((tier == name).sum())
    if lost := int((wanted & failed).sum()):
        counts[NOT_OK] = lost
    rows = np.flatnonzero(wanted & ~failed)
    if not rows.size:
        why = ", ".join(f"{n} {r}" for r, n in counts.items()) or "no lens"
        raise RealismError(
            f"matched sets: none of {len(tier)} real stamps is a lens of tier {', '.join(tiers)} ({why})."
        )
    return rows


@dataclass(frozen=True, eq=False)
class _RowsOfHosts:
    """Rows of a manifest by host: those with an arc, in the order of a hash of their ids, and the first control."""

    hosts: NDArray[np.int64]
    first: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, host: NDArray[np.int64], rows: NDArray[np.int64]) -> _RowsOfHosts:
        """Group rows, sorted by host, that are at these hosts."""
        names, first = np.unique(host, return_index=True)
        return cls(names, np.append(first, len(rows)), rows)

    def __getitem__(self, host: int) -> NDArray[np.int64]:
        k = int(np.searchsorted(self.hosts, host))
        known = k < len(self.hosts) and self.hosts[k] == host
        return self.rows[self.first[k] : self.first[k + 1]] if known else self.rows[:0]


def _rows_of_hosts(manifest: str) -> tuple[_RowsOfHosts, _RowsOfHosts]:
    """Injections and controls of each host."""
    rows = read_head(manifest, "manifest", names=("row_id", "host_index", "is_control"))
    host, control = rows["host_index"].values, rows["is_control"].values
    # Neither the order of rows nor their number of replicates decides which of a host's injections comes first.
    key = np.asarray(rng.mix_ids(rows["row_id"].values, np.uint64(0x5E75)))
    order = np.lexsort((key, host))
    sides = (order[~control[order]], order[control[order]])
    injections, controls = (_RowsOfHosts.of(host[side], side) for side in sides)
    return injections, controls


def _hosts(
    url: str, splits: Sequence[str], injections: _RowsOfHosts, real: Sequence[str]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Hosts that may be matched, and why the others may not."""
    cutouts = open_cutouts(url)
    codes = [schema.SPLITS.index(s) for s in splits]
    n = cutouts.sizes["host"]
    reason = np.full(n, "", object)
    for why, rows in (
        (f"not of split {', '.join(splits)}", ~np.isin(cutouts["split"].values, codes)),
        ("the cutout failed", cutouts["status"].values == Status.FAILED),
        ("the host is a real lens", np.isin(cutouts["host_id"].values.astype(str), list(real))),
        ("no injection on it", ~np.isin(np.arange(n), injections.hosts)),
    ):
        reason[(reason == "") & rows] = why
    left_out = {str(w): int((reason == w).sum()) for w in dict.fromkeys(reason[reason != ""].tolist())}
    hosts = np.flatnonzero(reason == "")
    if not hosts.size:
        why = ", ".join(f"{n:,} {r}" for r, n in left_out.items()) or "the run has none"
        raise RealismError(f"matched sets: no host can be matched ({why}).")
    return hosts, left_out


def _with_rows(
    sets: xr.Dataset,
    lenses: NDArray[np.int64],
    hosts: NDArray[np.int64],
    real: xr.Dataset,
    injections: _RowsOfHosts,
    controls: _RowsOfHosts,
) -> xr.Dataset:
    """Rows of the stores, for rows among what was matched."""
    real_row, host_row = lenses[sets["real_row"].values], hosts[sets["host_row"].values]
    most = max((len(injections[h]) for h in host_row.ravel().tolist()), default=1)
    rows = np.full((*host_row.shape, most), -1, np.int64)
    control = np.full(host_row.shape, -1, np.int64)
    for at in np.ndindex(*host_row.shape):
        of_host = injections[int(host_row[at])]
        rows[at][: len(of_host)] = of_host
        control[at] = next(iter(controls[int(host_row[at])].tolist()), -1)
    out = sets.assign(
        real_row=("set", real_row, {"long_name": "row of real.zarr"}),
        host_row=(("set", "match"), host_row, {"long_name": "row of the run's cutouts, nearest first"}),
        control_row=(("set", "match"), control, {"long_name": "row of the pairs without an arc; -1: none"}),
        injection_row=(("set", "match", "draw"), rows, {"long_name": "rows of the pairs with an arc; -1: no more"}),
        lens_id=("set", real["host_id"].values.astype(str)[real_row]),
        split=("set", real["split"].values[real_row]),
    )
    return out.assign({n: ("set", real[n].values[real_row], real[n].attrs) for n in CARRIED})
