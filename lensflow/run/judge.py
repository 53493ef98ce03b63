"""What follows the read of a run's pairs, side by side: results of the diagnostics, gates, checks without a fit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import xarray as xr
from threadpoolctl import threadpool_limits

from lensflow.config import RunConfig
from lensflow.config.checks import MASK_EDGE
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.mask_edge import Mask, mask_edge_gate
from lensflow.measure.gates import run_gate
from lensflow.measure.measurement import Measured
from lensflow.measure.metadata.checks import run_checks
from lensflow.run.execute import Progress, announce_verdict, side_by_side, silent
from lensflow.run.gate_rows import ARCS, PORTRAITS, GateInput
from lensflow.run.kinds import kinds_of, settings_of
from lensflow.run.priors import priors_of
from lensflow.run.sources import stamp_diagonal_arcsec
from lensflow.run.twins import rows_of_splits, twins_of
from lensflow.stats import codec
from lensflow.store.open import read_attrs, read_head
from lensflow.store.run_folder import RunFolder
from lensflow.survey.twins import Twins

# The stage, as progress is told.
GATES = "gate"
# Times the bytes of the features, as kept, that a gate holds: with its own rows, in double precision, standardised.
GATE_COPIES = 6


def results_of(config: RunConfig, measured: Measured) -> dict[str, Any]:
    """Results of a run's diagnostics, as they are kept: intervals, rows that are rendered again."""
    own: dict[str, Any] = codec.encode(measured.only(k.name for k in kinds_of(config)).results(settings_of(config)))
    return own


def run_all_gates(rows: GateInput, config: RunConfig, progress: Progress = silent) -> list[GateResult]:
    """Run the gates on threads of this process."""
    task = _Judge(config, _names(config, rows))
    found: list[Any] = [None] * len(task.names)
    progress(GATES, 0, len(found))
    verdicts = side_by_side(task, len(found), GATES, {"rows": rows}, here=True)
    with threadpool_limits(1), closing(verdicts):
        for done, (place, verdict) in enumerate(verdicts, start=1):
            found[place] = verdict
            progress(GATES, done, len(found))
    return found


def judge_run(
    config: RunConfig,
    measured: Measured,
    known: dict[str, Any] | None,
    keep: Callable[[dict[str, Any]], None],
    progress: Progress = silent,
) -> tuple[dict[str, Any] | None, list[GateResult]]:
    """Results of a run's diagnostics and all of its gates, made side by side; each verdict is announced.

    Idle worker processes of this machine make what their memory has room for, else threads of this process do.

    Parameters
    ----------
    config : RunConfig
    measured : Measured
        Of all pairs: the gates' rows, and the diagnostics unless their results are ``known``.
    known : dict or None
        Results of the diagnostics, as they are kept.
    keep : callable
        Takes new results as soon as they are there.
    progress : callable, optional

    Returns
    -------
    results of the diagnostics, or None where no check needs them; gates
        First the gates in the order of the config, then the checks.
    """
    twins = twins_of(config, measured[PORTRAITS].rows)
    rows = GateInput.of(measured, twins)
    names = _names(config, rows)
    wanted = known is None and all(k.name in measured for k in kinds_of(config))
    shared: dict[str, Any] = {"rows": rows}
    if wanted:
        shared["measured"] = measured.only(k.name for k in kinds_of(config))
    task = _Judge(config, ([None] if wanted else []) + names)
    made: Future[dict[str, Any] | None] = Future()
    if not wanted:
        made.set_result(known)
    # Measurements of other modules may be known to this process alone.
    here = bool(config.diagnostics.also)
    gates: dict[str, GateResult] = {}
    progress(GATES, 0, len(names))
    with threadpool_limits(1), ThreadPoolExecutor(1) as aside:
        checks = aside.submit(_checks, config, made, twins, measured[ARCS].rows)
        try:
            held = GATE_COPIES * rows.features.nbytes
            with closing(side_by_side(task, len(task.names), GATES, shared, held, here=here)) as found:
                for place, value in found:
                    name = task.names[place]
                    if name is None:
                        keep(value)
                        made.set_result(value)
                        continue
                    gates[name] = value
                    progress(GATES, len(gates), len(names))
                    announce_verdict(value)
        finally:
            made.cancel()  # nothing waits for results that will not come
        judged = [gates[name] for name in names]
        for check in checks.result():
            announce_verdict(check)
            judged.append(check)
    return made.result(), judged


def _names(config: RunConfig, rows: GateInput) -> list[Any]:
    return [*config.gate.every, *([MASK_EDGE] if rows.masks is not None else [])]


@dataclass(frozen=True)
class _Judge:
    """One of a run's gates, by its place in ``names``; None there stands for the results of the diagnostics."""

    config: RunConfig
    names: list[str | None]

    def __call__(self, place: int, rows: GateInput, measured: Measured | None = None) -> Any:
        config, name = self.config, self.names[place]
        edges = config.diagnostics.theta_e_edges
        with threadpool_limits(1):
            if name is None:
                assert measured is not None
                return results_of(config, measured)
            if name == MASK_EDGE and rows.masks is not None:
                mask = Mask(*config.injection.core_mask)
                return mask_edge_gate(rows.masks, mask, config.gate, config.bands, config.seed, edges)
            gate = config.gate
            return run_gate(rows.features, name, gate, config.bands, config.seed, edges, rows.unpaired)


def _checks(config: RunConfig, diagnostics: Future[Any], twins: Twins, arcs: xr.Dataset) -> list[GateResult]:
    """Gates without a fit, the last of them from the results of the diagnostics."""
    if not config.gate.checks:
        return []
    folder = RunFolder.of(config)
    hosts = read_head(folder.cutouts, "cutouts", names=("host_id", "ra_deg", "dec_deg", "cell", "split"))
    rows, same_image = rows_of_splits(config)
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    apart = max(config.splits.guard_arcsec or 0.0, stamp_diagonal_arcsec(config, scale))
    priors = priors_of(config, arcs) if "priors" in config.gate.checks else []
    results = codec.datasets(diagnostics.result())
    return run_checks(config.gate.checks, results, hosts, rows, apart, priors, twins, same_image, kinds_of(config))
