"""Core handlings under the gates: what the gates still see with each, and the light it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import GateError
from lensflow.injection.core import Handling, handle_core, match_controls, removed_fraction
from lensflow.injection.core.handling import METHODS
from lensflow.measure.gate.features import (
    feature_rows,
    features_of,
    refuse_other_masks,
    sources_of,
    with_features,
)
from lensflow.measure.gate.mask_edge import Mask, mask_edge_gate, mask_rows
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.gates import run_gate
from lensflow.measure.measurement import Measured, Measurement
from lensflow.stats import codec
from lensflow.stats.estimate import NOT_MEASURED, Estimate
from lensflow.stats.hostsums import HostSums, interval, ratio, stratum_of
from lensflow.stats.kept_rows import KeptRows

Floats = NDArray[np.float64]

# Core brightness is measured for every handling: matching needs it, and the classes' difference in it is shown.
BRIGHTNESS = "brightness_all"


def core_rows(pairs: xr.Dataset, config: RunConfig) -> Measured:
    """Handle and reduce the injection rows of one block of pairs under every handling, reading its pixels once.

    Parameters
    ----------
    pairs : Dataset
        In memory, with ``arc`` and ``ctrl``, manifest columns and metrics.
    config : RunConfig
        ``core``, ``gate``, ``bands``, ``seed``.

    Returns
    -------
    Measured
        By ``Handling.pixels``, the same rows in each: the features for the gates and ``removed``, the share of each
        row's arc light that the handling's mask hides (NaN for rows without light). By :func:`edge_of` its name what
        the mask-edge gate looks at, of handlings that mask the arcs.

    Raises
    ------
    GateError
        If the pairs' arcs are masked already.
    """
    if config.injection.core_mask_radius_pix > 0:
        raise GateError(
            "the run's arcs are masked already (injection.core_mask_radius_pix: "
            f"{config.injection.core_mask_radius_pix:g}), so what their cores would show is gone: set it to 0, "
            "make the pairs again, and tune those"
        )
    refuse_other_masks(pairs, 0.0)
    pairs = pairs.isel(sample=np.flatnonzero(~pairs["is_control"].values))
    out: dict[str, Measurement] = {}
    recipes = list(dict.fromkeys([*config.core.gates, BRIGHTNESS]))
    for how in (Handling.parse(n) for n in config.core.handlings):
        if how.pixels in out:
            continue
        handled = handle_core(pairs, how.pixels, seed=config.seed, width_pix=config.core.taper_width_pix)
        radius = how.radius_pix if how.mask else 0.0
        features = feature_rows(handled, recipes, config.gate.core_box_pix, radius)
        out[how.pixels] = KeptRows(features.assign(removed=("sample", removed_fraction(handled, pairs["arc"].values))))
        if how.masks_arcs:
            # Negatives made from the arc contain its light: the mask is compared with the arc alone.
            alone = handle_core(pairs, f"{how.mask}_{how.radius_pix:g}", width_pix=config.core.taper_width_pix)
            out[edge_of(how)] = KeptRows(mask_rows(alone, pairs["arc"].values, _mask(how, config)))
    return Measured(out)


def edge_of(how: Handling) -> str:
    """Name of the rows for the mask-edge gate of a handling."""
    return f"{how.pixels}, its edge"


def host_index_of(rows: Measured) -> NDArray[np.int64]:
    """Host of each row of :func:`core_rows`, shape (n,)."""
    index: NDArray[np.int64] = next(iter(rows.values())).rows["host_index"].values
    return index


@dataclass(frozen=True)
class HandlingResult:
    """One handling's gates and costs.

    Attributes
    ----------
    name, what : str
        The handling as the config names it, and in words.
    is_experiment : bool
        Whether it explains a gate rather than making data to train on.
    n_rows, n_hosts : int
        Injections that it keeps, and their hosts.
    gates : tuple of GateResult
        Those of ``core.gates``, and ``mask_edge`` where arcs are masked.
    removed : Estimate
        Mean share of the arcs' light that is hidden, or left out with its row; 95 % interval over hosts.
    cost : tuple of dict
        The same by theta_E: ``low``, ``high`` (arcsec), ``n_rows``, ``removed``, ``removed_low``, ``removed_high``.
    open_share : float
        Share of the core gate's features in which any stamp differs from its negative; NaN without a core gate.
    core_excess_pct : float
        By how much the stamps' mean core brightness exceeds that of their negatives, percent, first gated band.
    """

    name: str
    what: str
    is_experiment: bool
    n_rows: int
    n_hosts: int
    gates: tuple[GateResult, ...]
    removed: Estimate
    cost: tuple[dict[str, Any], ...]
    open_share: float
    core_excess_pct: float

    def passes(self, accept_explained: bool = False) -> bool:
        """Whether every gate passes; one that could not be tested does not.

        Parameters
        ----------
        accept_explained : bool
            As ``gate.accept_explained``: count EXPLAINED as passed.

        Returns
        -------
        bool
            True if none refuses.
        """
        return all(g.passes(accept_explained) for g in self.gates)

    def refusals(self, accept_explained: bool = False) -> str:
        """Gates that do not pass, in words.

        Parameters
        ----------
        accept_explained : bool
            As ``gate.accept_explained``: count EXPLAINED as passed.

        Returns
        -------
        str
            Name and verdict of each, separated by commas; "" if all pass.
        """
        return ", ".join(
            f"{g.name} {str(g.verdict).replace('_', ' ')}" for g in self.gates if not g.passes(accept_explained)
        )

    def gate(self, name: str) -> GateResult:
        """Return one of its gates.

        Parameters
        ----------
        name : str
            As in ``core.gates``; ``mask_edge`` only of handlings that mask the arcs.

        Returns
        -------
        GateResult
            Fitted on the rows that the handling keeps.
        """
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, GateResult]:
        """Its gates by name."""
        return {g.name: g for g in self.gates}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN is None (:mod:`lensflow.stats.codec`)."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("gates", "removed")}
        tree: dict[str, Any] = codec.encode({**own, **self.removed.fields("removed")}, self.name)
        return {**tree, "gates": [g.to_dict() for g in self.gates]}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> HandlingResult:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        tree : mapping
            Plain JSON types.

        Returns
        -------
        HandlingResult
            Equal to the one that was written.

        Raises
        ------
        GateError
            If keys are missing or unknown; names them.
        """
        known = {f.name for f in fields(cls)} | {"removed_low", "removed_high"}
        if set(tree) != known:
            raise GateError(f"not a core handling's result: keys {sorted(set(tree) ^ known)} are missing or unknown")
        values = codec.decode({k: v for k, v in tree.items() if k not in ("gates", "removed_low", "removed_high")})
        values["removed"] = Estimate.from_fields(tree, "removed", tree["n_hosts"])
        values["cost"] = tuple(values["cost"])
        values["gates"] = tuple(GateResult.from_dict(g) for g in tree["gates"])
        return cls(**values)


def measure_handling(
    rows: Measured, name: str, config: RunConfig, some: NDArray[np.bool_] | None = None
) -> HandlingResult:
    """Run the gates of ``config.core.gates`` on rows under one handling, and count what it costs.

    Parameters
    ----------
    rows : Measured
        From :func:`core_rows`, of any blocks in any order.
    name : str
        One of ``config.core.handlings``.
    config : RunConfig
        ``core``, ``gate``, ``bands``, ``seed``, ``diagnostics.theta_e_edges``.
    some : ndarray of bool, shape (n,), optional
        Rows to use; by default all.
    """
    how, bands, edges = Handling.parse(name), config.bands, config.diagnostics.theta_e_edges
    chosen = np.ones(len(host_index_of(rows)), bool) if some is None else some
    block = rows[how.pixels].rows.isel(sample=chosen)
    kept, hidden = block["theta_e_arcsec"].values >= how.theta_e_min_arcsec, block["removed"].values
    removed = np.where(kept, hidden, np.where(np.isfinite(hidden), 1.0, np.nan))
    cost = _cost(removed, block, edges, config)
    block, refused = block.isel(sample=kept), None
    n_hosts = int(np.unique(block["host_index"].values).size)
    if how.negatives == "matched":
        try:
            block = matched(block, bands)
        except GateError as error:
            refused = str(error)
    gates = tuple(run_gate(block, g, config.gate, bands, config.seed, edges) for g in config.core.gates)
    if how.masks_arcs:
        masked = rows[edge_of(how)].rows.isel(sample=chosen).isel(sample=kept)
        gates += (mask_edge_gate(masked, _mask(how, config), config.gate, bands, config.seed, edges),)
    if refused:
        gates = tuple(g.decided(Verdict.NOT_TESTABLE, refused, area=NOT_MEASURED) for g in gates)
    return HandlingResult(
        name=name,
        what=how.describe(config.core.taper_width_pix),
        is_experiment=how.is_experiment,
        n_rows=block.sizes["sample"],
        n_hosts=n_hosts,
        gates=gates,
        removed=Estimate.from_fields(cost[0], "removed", n_hosts),
        cost=tuple(cost[1:]),
        open_share=_open_share(block, config.core.gates, bands),
        core_excess_pct=_core_excess(block, config.reference_band),
    )


def matched(block: xr.Dataset, bands: Sequence[str]) -> xr.Dataset:
    """Put the core-matched control of another host beside every stamp; pods of hosts take the hosts' place.

    Rows that lack a band are left out: they have no colour to match.
    """
    block = block.isel(sample=block["covered"].values.all(axis=1))
    if not block.sizes["sample"]:
        raise GateError("core-matched controls: no row is covered in all bands")
    core = features_of(block, Recipe.of(BRIGHTNESS, bands).source)
    softening = np.median(block["sky_sigma"].values.astype(np.float64), axis=0)
    stamp, ctrl = (v[..., 0].astype(np.float64) for v in (core.stamp, core.ctrl))
    row, pod = match_controls(stamp, ctrl, block["host_index"].values, softening)
    own = {k: features_of(block, k) for k in sources_of(block)}
    others = {k: v._replace(ctrl=v.ctrl[row]) for k, v in own.items()}
    return with_features(block.assign(host_index=("sample", pod)), others)


def _mask(how: Handling, config: RunConfig) -> Mask:
    return Mask(how.radius_pix, METHODS[how.mask], config.core.taper_width_pix)


def _cost(removed: Floats, block: xr.Dataset, edges: Sequence[float], config: RunConfig) -> list[dict[str, Any]]:
    """Mean share removed over all rows, and by theta_E, with intervals over hosts."""
    known = np.isfinite(removed)
    cells = np.zeros((len(removed), len(edges)), bool)
    cells[np.arange(len(removed)), stratum_of(block["theta_e_arcsec"].values, edges)] = True
    cells = np.concatenate([np.ones((len(removed), 1), bool), cells[:, :-1]], axis=1) & known[:, None]
    rows = np.stack([cells * np.nan_to_num(removed)[:, None], cells.astype(np.float64)], axis=-1)
    sums = HostSums.from_rows(block["host_index"].values, rows, cells)
    total = sums.total.reshape(-1, 2)
    draws = sums.replicates(config.gate.bootstrap, config.seed, "gates.core.cost").reshape(-1, len(total), 2)
    low, high = interval(ratio(draws[..., 0], draws[..., 1]), sums.n_hosts)
    mean = ratio(total[:, 0], total[:, 1])
    bounds = [(math.nan, math.nan), *pairwise(edges)]
    return [
        {"low": float(a), "high": float(b), "n_rows": int(total[k, 1]), "removed": float(mean[k]),
         "removed_low": float(low[k]), "removed_high": float(high[k])}
        for k, (a, b) in enumerate(bounds)
    ]  # fmt: skip


def _open_share(block: xr.Dataset, gates: Sequence[str], bands: Sequence[str]) -> float:
    core = [Recipe.of(g, bands) for g in gates if g.startswith("core_")]
    if not core or not block.sizes["sample"]:
        return math.nan
    found, own = features_of(block, core[0].source), list(core[0].bands)
    return float((found.stamp[:, own] != found.ctrl[:, own]).any(axis=0).mean())


def _core_excess(block: xr.Dataset, band: int) -> float:
    core = features_of(block, "brightness_raw")
    seen = block["covered"].values[:, band]
    stamp, ctrl = (v[seen, band, 0].sum(dtype=np.float64) for v in (core.stamp, core.ctrl))
    return float(100 * (stamp - ctrl) / ctrl) if ctrl > 0 else math.nan
