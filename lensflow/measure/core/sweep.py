"""Core handlings under the gates: what the gates still see with each, and the light it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import GateError
from lensflow.injection.core import Handling, handle_core, match_controls, removed_fraction
from lensflow.injection.core.handling import METHODS
from lensflow.measure.gate.features import FeatureBlock, Numbers, feature_block, refuse_other_masks
from lensflow.measure.gate.mask_edge import Mask, mask_block, mask_edge_gate
from lensflow.measure.gate.recipes import Recipe
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.measure.gates import run_gate
from lensflow.stats import codec
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import HostSums, interval, ratio, stratum_of

Floats = NDArray[np.float64]

# Core brightness is measured for every handling: matching needs it, and the classes' difference in it is shown.
BRIGHTNESS = "brightness_all"


@dataclass(frozen=True, eq=False)
class CoreRows:
    """Injection rows under every handling, reduced to the features for gates and costs.

    Attributes
    ----------
    features : dict of FeatureBlock
        By ``Handling.pixels``; the same rows in each.
    removed : dict of ndarray, shape (n,)
        Share of each row's arc light that the handling's mask hides; NaN for rows without light.
    edges : dict of FeatureBlock
        What the mask-edge gate looks at, of handlings that mask the arcs.
    """

    features: dict[str, FeatureBlock]
    removed: dict[str, Floats]
    edges: dict[str, FeatureBlock]

    @classmethod
    def from_block(cls, pairs: xr.Dataset, config: RunConfig) -> CoreRows:
        """Handle and reduce one block of pairs, reading its pixels once.

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
        injected = np.flatnonzero(~pairs["is_control"].values)
        pairs = pairs.isel(sample=injected)
        features: dict[str, FeatureBlock] = {}
        removed, edges = {}, {}
        recipes = list(dict.fromkeys([*config.core.gates, BRIGHTNESS]))
        for how in (Handling.parse(n) for n in config.core.handlings):
            if how.pixels in features:
                continue
            handled = handle_core(pairs, how.pixels, seed=config.seed, width_pix=config.core.taper_width_pix)
            radius = how.radius_pix if how.mask else 0.0
            features[how.pixels] = feature_block(handled, recipes, config.gate.core_box_pix, radius)
            removed[how.pixels] = removed_fraction(handled, pairs["arc"].values)
            if how.masks_arcs:
                # Negatives made from the arc contain its light: the mask is compared with the arc alone.
                alone = handle_core(pairs, f"{how.mask}_{how.radius_pix:g}", width_pix=config.core.taper_width_pix)
                edges[how.pixels] = mask_block(alone, pairs["arc"].values, _mask(how, config))
        return cls(features, removed, edges)

    def __add__(self, other: CoreRows) -> CoreRows:
        return self.concat([self, other])

    @classmethod
    def concat(cls, parts: Iterable[CoreRows]) -> CoreRows:
        """Join blocks of the same handlings."""
        every = list(parts)
        if not every:
            raise GateError("core handling: no block of pairs to join")
        names = list(every[0].features)
        return cls(
            {k: FeatureBlock.concat([p.features[k] for p in every]) for k in names},
            {k: np.concatenate([p.removed[k] for p in every]) for k in names},
            {k: FeatureBlock.concat([p.edges[k] for p in every]) for k in every[0].edges},
        )

    @property
    def host_index(self) -> NDArray[np.int64]:
        """Host of each row, shape (n,)."""
        return next(iter(self.features.values())).host_index

    def take(self, rows: NDArray[np.int64]) -> CoreRows:
        """Rows in the order given."""
        return CoreRows(
            {k: v.take(rows) for k, v in self.features.items()},
            {k: v[rows] for k, v in self.removed.items()},
            {k: v.take(rows) for k, v in self.edges.items()},
        )


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


def measure_handling(rows: CoreRows, name: str, config: RunConfig) -> HandlingResult:
    """Run the gates of ``config.core.gates`` on rows under one handling, and count what it costs.

    Parameters
    ----------
    rows : CoreRows
        Of the hosts to use; their order does not matter.
    name : str
        One of ``config.core.handlings``.
    config : RunConfig
        ``core``, ``gate``, ``bands``, ``seed``, ``diagnostics.theta_e_edges``.
    """
    how, bands, edges = Handling.parse(name), config.bands, config.diagnostics.theta_e_edges
    block = rows.features[how.pixels]
    kept = block.theta_e_arcsec >= how.theta_e_min_arcsec
    removed = np.where(kept, rows.removed[how.pixels], np.where(np.isfinite(rows.removed[how.pixels]), 1.0, np.nan))
    cost = _cost(removed, block, edges, config)
    kept_rows = np.flatnonzero(kept)
    block, refused = block.take(kept_rows), None
    n_hosts = int(np.unique(block.host_index).size)
    if how.negatives == "matched":
        try:
            block = matched(block, bands)
        except GateError as error:
            refused = str(error)
    gates = tuple(run_gate(block, g, config.gate, bands, config.seed, edges) for g in config.core.gates)
    if how.masks_arcs:
        masked = rows.edges[how.pixels].take(kept_rows)
        gates += (mask_edge_gate(masked, _mask(how, config), config.gate, bands, config.seed, edges),)
    if refused:
        gates = tuple(g.decided(Verdict.NOT_TESTABLE, refused, auc=math.nan) for g in gates)
    return HandlingResult(
        name=name,
        what=how.describe(config.core.taper_width_pix),
        is_experiment=how.is_experiment,
        n_rows=len(block),
        n_hosts=n_hosts,
        gates=gates,
        removed=Estimate.from_fields(cost[0], "removed", n_hosts),
        cost=tuple(cost[1:]),
        open_share=_open_share(block, config.core.gates, bands),
        core_excess_pct=_core_excess(block, config.reference_band),
    )


def matched(block: FeatureBlock, bands: Sequence[str]) -> FeatureBlock:
    """Put the core-matched control of another host beside every stamp; pods of hosts take the hosts' place.

    Rows that lack a band are left out: they have no colour to match.
    """
    block = block.take(np.flatnonzero(block.covered.all(axis=1)))
    if not len(block):
        raise GateError("core-matched controls: no row is covered in all bands")
    core = block.numbers[Recipe.of(BRIGHTNESS, bands).source]
    softening = np.median(block.sky_sigma.astype(np.float64), axis=0)
    row, pod = match_controls(
        core.stamp[..., 0].astype(np.float64), core.ctrl[..., 0].astype(np.float64), block.host_index, softening
    )
    numbers = {k: Numbers(v.stamp, v.ctrl[row], v.expected) for k, v in block.numbers.items()}
    return replace(block, numbers=numbers, host_index=pod)


def _mask(how: Handling, config: RunConfig) -> Mask:
    return Mask(how.radius_pix, METHODS[how.mask], config.core.taper_width_pix)


def _cost(removed: Floats, block: FeatureBlock, edges: Sequence[float], config: RunConfig) -> list[dict[str, Any]]:
    """Mean share removed over all rows, and by theta_E, with intervals over hosts."""
    known = np.isfinite(removed)
    cells = np.zeros((len(removed), len(edges)), bool)
    cells[np.arange(len(removed)), stratum_of(block.theta_e_arcsec, edges)] = True
    cells = np.concatenate([np.ones((len(removed), 1), bool), cells[:, :-1]], axis=1) & known[:, None]
    rows = np.stack([cells * np.nan_to_num(removed)[:, None], cells.astype(np.float64)], axis=-1)
    sums = HostSums.from_rows(block.host_index, rows, cells)
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


def _open_share(block: FeatureBlock, gates: Sequence[str], bands: Sequence[str]) -> float:
    core = [Recipe.of(g, bands) for g in gates if g.startswith("core_")]
    if not core or not len(block):
        return math.nan
    numbers, own = block.numbers[core[0].source], list(core[0].bands)
    return float((numbers.stamp[:, own] != numbers.ctrl[:, own]).any(axis=0).mean())


def _core_excess(block: FeatureBlock, band: int) -> float:
    core = block.numbers["brightness_raw"]
    seen = block.covered[:, band]
    stamp, ctrl = (v[seen, band, 0].sum(dtype=np.float64) for v in (core.stamp, core.ctrl))
    return float(100 * (stamp - ctrl) / ctrl) if ctrl > 0 else math.nan
