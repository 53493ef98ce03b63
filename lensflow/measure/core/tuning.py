"""Choose a core handling on some hosts, and test the choice on others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lensflow import rng
from lensflow.config import RunConfig
from lensflow.errors import GateError
from lensflow.injection.core import Handling
from lensflow.measure.core.sweep import HandlingResult, host_index_of, measure_handling
from lensflow.measure.measurement import Measured

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class CoreTuning:
    """Results of a sweep of core handlings.

    Attributes
    ----------
    chosen_on, reported_on : tuple of HandlingResult
        Every handling on the hosts that choose, and on those that had no part in the choice.
    recommended : str
        Name of the handling, "" if none can be recommended.
    reason : str
        Why that one, or why none.
    n_sealed : int
        Rows of the test split, which were not looked at.
    """

    chosen_on: tuple[HandlingResult, ...]
    reported_on: tuple[HandlingResult, ...]
    recommended: str
    reason: str
    n_sealed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "recommended": self.recommended,
            "reason": self.reason,
            "n_sealed": self.n_sealed,
            "chosen_on": [r.to_dict() for r in self.chosen_on],
            "reported_on": [r.to_dict() for r in self.reported_on],
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> CoreTuning:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        tree : mapping
            Plain JSON types.

        Returns
        -------
        CoreTuning
            Equal to the one that was written.

        Raises
        ------
        GateError
            If keys are missing or unknown; names them.
        """
        try:
            chosen, reported = (
                tuple(HandlingResult.from_dict(r) for r in tree[k]) for k in ("chosen_on", "reported_on")
            )
            return cls(chosen, reported, str(tree["recommended"]), str(tree["reason"]), int(tree["n_sealed"]))
        except KeyError as error:
            raise GateError(f"not a tuning of the core: no {error}") from None


def measure_handlings(
    rows: Measured, config: RunConfig, tell: Tell | None = None, some: NDArray[np.bool_] | None = None
) -> tuple[HandlingResult, ...]:
    """Measure every handling of ``config.core.handlings`` on the same rows, or some, side by side in threads."""
    names, done = config.core.handlings, 0

    def one(name: str) -> HandlingResult:
        nonlocal done
        result = measure_handling(rows, name, config, some)
        done += 1
        if tell:
            tell(done, len(names))
        return result

    with threadpool_limits(1), ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        return tuple(pool.map(one, names))


def tune(rows: Measured, config: RunConfig, tell: Tell | None = None, n_sealed: int = 0) -> CoreTuning:
    """Choose a handling that passes every gate on some hosts, and try it on the others: :func:`recommend`.

    Parameters
    ----------
    rows : Measured
    config : RunConfig
    tell : callable, optional
        Told how many of how many measurements are done.
    n_sealed : int
        Rows that were kept back; noted in the result.

    Raises
    ------
    GateError
        If there are fewer than two hosts.
    """
    reported = reported_hosts(host_index_of(rows), config.core.reported_share, config.seed)
    every = len(config.core.handlings)

    def progress_after(before: int) -> Tell | None:
        return None if tell is None else lambda done, _: tell(before + done, 2 * every)

    chosen_on = measure_handlings(rows, config, progress_after(0), ~reported)
    reported_on = measure_handlings(rows, config, progress_after(every), reported)
    return CoreTuning(chosen_on, reported_on, *recommend(chosen_on, reported_on, config), n_sealed)


def reported_hosts(host_index: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Rows of the hosts that have no part in the choice: whole hosts, at least one on either side."""
    hosts, place = np.unique(host_index, return_inverse=True)
    if hosts.size < 2:
        raise GateError(f"tuning the core needs hosts to choose on and others to report: there is {hosts.size}")
    order = np.argsort(rng.uniform(seed, hosts.astype(np.uint64), "gates.core.tuning")[:, 0], kind="stable")
    n = min(max(round(share * hosts.size), 1), hosts.size - 1)
    return np.asarray(np.isin(place, order[:n]))


def recommend(
    chosen_on: tuple[HandlingResult, ...], reported_on: tuple[HandlingResult, ...], config: RunConfig
) -> tuple[str, str]:
    """Name of the handling to recommend ("" for none), and why.

    Of those that pass all gates on the choosing hosts it is one that deletes no light, if there is one, and of those
    the one that costs least (the first named of equals); it must pass all of them on the other hosts too. A second best
    is never tried there: that would be choosing on them. A hard edge is never recommended, whatever passes.
    """
    accept = config.gate.accept_explained
    every = [(r, Handling.parse(r.name)) for r in chosen_on if not r.is_experiment]
    passing = [(r, how) for r, how in every if r.passes(accept) and not how.has_hard_edge]
    if not passing:
        return "", _nothing_passes([r for r, _ in every], config)
    best, how = min(passing, key=lambda v: (v[1].deletes_light, v[0].removed.value))
    again = next(r for r in reported_on if r.name == best.name)
    if not again.passes(accept):
        return "", (
            f"{best.name} ({best.what}) passes on the {best.n_hosts} hosts that choose, but not on the {again.n_hosts} "
            f"held-out hosts ({again.refusals(accept)}): not recommended, and no second choice is tried there."
        )
    cost = f"it {'hides' if how.deletes_light else 'leaves out'} {100 * again.removed.value:.0f} % of the arcs' light"
    if not again.removed.value:
        cost = "it costs no light"
    advice = how.advice(config.core.taper_width_pix)
    return (
        best.name,
        f"{best.name} ({best.what}) passes every gate on held-out hosts too; {cost}. To apply it: {advice}.",
    )


def _nothing_passes(usable: Sequence[HandlingResult], config: RunConfig) -> str:
    """Describe why every handling fails, and the remaining options."""
    accept = config.gate.accept_explained
    why = "; ".join(f"{r.name}: {r.refusals(accept) or 'a hard edge is never recommended'}" for r in usable)
    text = f"No handling passes every gate on the hosts that choose ({why})."
    plain = next((r for r in usable if r.name == "none"), None)
    if config.plan.priors.src_mag == "lens_plus_dmag" and not config.plan.table:
        text += (
            " Sources are drawn about as bright as their hosts (plan.src_mag: lens_plus_dmag): plan.preset: realistic "
            "makes fainter arcs, which need less."
        )
    if plain is not None and not accept and plain.passes(accept_explained=True):
        text += (
            " Without any handling nothing but the arcs' own light is seen (EXPLAINED): gate.accept_explained: true "
            "lets that count as passed, and a network then sees cores as bright as lensing makes them."
        )
    return text
