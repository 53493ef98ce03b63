"""Choose a core handling on some hosts, and try the choice on others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lensflow import rng
from lensflow.config import RunConfig
from lensflow.errors import GateError
from lensflow.gates.core_sweep import CoreRows, HandlingResult, measure_handling
from lensflow.gates.verdicts import MOSTLY_OPEN
from lensflow.injection.core import Handling
from lensflow.injection.core.handling import WIDTH_PIX

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class CoreTuning:
    """What a sweep of core handlings found.

    Attributes
    ----------
    chosen_on, reported_on : tuple of HandlingResult
        Every handling on the hosts that choose, and on those that had no part in the choice.
    recommended : str
        Name of the handling, "" if none can be recommended.
    reason : str
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
        """Read back what :meth:`to_dict` gave."""
        try:
            chosen, reported = (
                tuple(HandlingResult.from_dict(r) for r in tree[k]) for k in ("chosen_on", "reported_on")
            )
            return cls(chosen, reported, str(tree["recommended"]), str(tree["reason"]), int(tree["n_sealed"]))
        except KeyError as error:
            raise GateError(f"not a tuning of the core: no {error}") from None


def measure_handlings(rows: CoreRows, config: RunConfig, tell: Tell | None = None) -> tuple[HandlingResult, ...]:
    """Measure every handling of ``config.core.handlings`` on the same rows, side by side in threads."""
    names, done = config.core.handlings, 0

    def one(name: str) -> HandlingResult:
        nonlocal done
        result = measure_handling(rows, name, config)
        done += 1
        if tell:
            tell(done, len(names))
        return result

    with threadpool_limits(1), ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        return tuple(pool.map(one, names))


def tune(rows: CoreRows, config: RunConfig, tell: Tell | None = None, n_sealed: int = 0) -> CoreTuning:
    """Choose the handling that passes every gate at the least cost on some hosts, and try it on the others.

    Parameters
    ----------
    rows : CoreRows
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
    reported = reported_hosts(rows.host_index, config.core.reported_share, config.seed)
    every = len(config.core.handlings)

    def told(before: int) -> Tell | None:
        return None if tell is None else lambda done, _: tell(before + done, 2 * every)

    chosen_on = measure_handlings(rows.take(np.flatnonzero(~reported)), config, told(0))
    reported_on = measure_handlings(rows.take(np.flatnonzero(reported)), config, told(every))
    return CoreTuning(chosen_on, reported_on, *recommend(chosen_on, reported_on, config.core.taper_width_pix), n_sealed)


def reported_hosts(host_index: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Rows of the hosts that have no part in the choice: whole hosts, at least one on either side."""
    hosts, place = np.unique(host_index, return_inverse=True)
    if hosts.size < 2:
        raise GateError(f"tuning the core needs hosts to choose on and others to report: there is {hosts.size}")
    order = np.argsort(rng.uniform(seed, hosts.astype(np.uint64), "gates.core.tuning")[:, 0], kind="stable")
    n = min(max(round(share * hosts.size), 1), hosts.size - 1)
    return np.asarray(np.isin(place, order[:n]))


def recommend(
    chosen_on: tuple[HandlingResult, ...], reported_on: tuple[HandlingResult, ...], width_pix: float = WIDTH_PIX
) -> tuple[str, str]:
    """Name of the handling to recommend ("" for none), and why.

    It is the cheapest of those that pass all gates on the choosing hosts (the first named of equals), if it passes
    all of them on the other hosts too. A second best is never tried there: that would be choosing on them.
    """
    usable = [r for r in chosen_on if not r.is_experiment]
    passing = [r for r in usable if r.passes]
    if not passing:
        why = "; ".join(f"{r.name}: {r.refusals}" for r in usable)
        return "", f"No handling passes every gate on the hosts that choose ({why})."
    best = min(passing, key=lambda r: r.removed)
    again = next(r for r in reported_on if r.name == best.name)
    cost = f"it hides {100 * again.removed:.0f} % of the arcs' light"
    if again.open_share < MOSTLY_OPEN:
        cost += f", and leaves {100 * again.open_share:.0f} % of the core gate's features open to differ at all"
    if again.passes:
        how = Handling.parse(best.name).advice(width_pix)
        return (
            best.name,
            f"{best.name} ({best.what}) passes every gate on held-out hosts too; {cost}. To apply it: {how}.",
        )
    return "", (
        f"{best.name} ({best.what}) passes on the {best.n_hosts} hosts that choose, but not on the {again.n_hosts} "
        f"held-out hosts ({again.refusals}): not recommended, and no second choice is tried there."
    )
