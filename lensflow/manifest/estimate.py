"""Estimated cost of a plan: rows, bytes, seconds and money, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.manifest.components import has_components
from lensflow.manifest.draws import crossed
from lensflow.manifest.hosts import PlanSize
from lensflow.manifest.table import read_injection_table


@dataclass(frozen=True)
class PlanCost:
    """Expected cost of a plan; rates and prices are those of the config's section ``estimate``.

    Attributes
    ----------
    bytes_cutouts, bytes_manifest : int
        Images and weights of the hosts looked at, and the manifest; uncompressed, so upper bounds.
    bytes_pairs : int
        The pairs as stored.
    core_seconds : dict
        Step -> seconds on one core.
    workers : int
        Cores that the wall-clock time is for.
    wall_seconds : float
        Planning and the gates run in one process (here: on one core), the other steps on all workers.
    usd : float
        Price of the core time, the planning's included.
    """

    bytes_cutouts: int
    bytes_manifest: int
    bytes_pairs: int
    core_seconds: dict[str, float]
    workers: int
    wall_seconds: float
    usd: float


def estimate(size: PlanSize, config: RunConfig, workers: int = 1) -> PlanCost:
    """Estimate a plan's cost.

    Parameters
    ----------
    size : PlanSize
    config : RunConfig
        ``estimate`` has the rates; cutting, injecting and measuring are scaled from 3 bands of 64 x 64 pixels to the
        run's.
    workers : int
        Cores at work; ``cluster.workers`` where the config says.
    """
    rates, n_bands, pixels = config.estimate, len(config.bands), config.survey.stamp_size**2
    workers = config.cluster.workers or workers
    work = n_bands * pixels / (3 * 64**2)
    gated = min(size.injections, config.gate.max_pairs)
    seconds = {
        "cut": size.n_hosts * work / rates.hosts_per_s_per_core,
        "plan": size.rows / rates.rows_planned_per_s,
        "inject": size.rows * work / rates.rows_per_s_per_core,
        "diagnose": size.rows * work / rates.measured_rows_per_s_per_core,
        "gate": gated * len(config.gate.every) / rates.gated_pairs_per_s_per_core,
    }
    alone = seconds["plan"] + seconds["gate"]
    columns = schema.MANIFEST + (schema.COMPONENTS if has_components(config.plan) else ())
    row = sum(v.stored_bytes * len(schema.packed_columns([v], config.bands)) for v in columns)
    copied = (schema.CTRL,) if config.store.copy_ctrl else ()
    kept = [v for v in (*schema.PAIRS, *copied) if v.name not in config.store.rendered]
    pair = sum(v.stored_bytes for v in kept) * n_bands * pixels
    rounded = config.store.stamp_steps_per_sigma > 0 and config.store.arc_steps_per_sigma > 0
    # Masks and the tables are small beside them; of pairs without stored pixels the table is all that there is.
    table = 0 if kept else 4 * len(schema.packed_columns((*schema.METRICS, *schema.ROUNDING), config.bands))
    cutout = sum(v.stored_bytes for v in schema.CUTOUTS if {"band", "y"} <= set(v.dims)) * n_bands * pixels
    return PlanCost(
        bytes_cutouts=size.n_hosts * cutout,
        bytes_manifest=size.rows * row,
        bytes_pairs=round(size.rows * (pair / (rates.compression_rounded if rounded else rates.compression) + table)),
        core_seconds=seconds,
        workers=workers,
        wall_seconds=alone + (sum(seconds.values()) - alone) / workers,
        usd=sum(seconds.values()) / 3600 * rates.usd_per_vcpu_hour,
    )


def size_without_cutouts(config: RunConfig, n_targets: int) -> PlanSize:
    """Size of a plan if every target can carry an arc: an upper bound, known before cutting.

    All targets are cut and considered; ``plan.limit_hosts`` of them are used.
    """
    plan = config.plan
    n = min(n_targets, plan.limit_hosts or n_targets)
    share = plan.control_share if plan.controls == "disjoint" else 0.0
    if plan.table is not None:
        table = read_injection_table(plan.table, config.bands, plan.table_ignore, config.survey.missing_values)
        injections = table.size * plan.replicates
    else:
        per_host = len(crossed(plan.priors)) * plan.replicates if plan.design == "grid" else plan.injections_per_host
        injections = round(n * (1 - share)) * per_host
    return PlanSize(n_targets, n, injections, round(n * (share or 1.0)) * plan.controls_per_host)
