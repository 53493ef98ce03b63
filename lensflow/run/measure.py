"""Diagnostics and gates of a finished run: one read of the store, one task per region."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.checks import MASK_EDGE
from lensflow.injection.inject import rows_of_hosts
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.mask_edge import Mask, mask_edge_gate
from lensflow.measure.gate.verdicts import Drawn
from lensflow.measure.gates import run_gate
from lensflow.measure.measurement import Measured
from lensflow.measure.metadata.arcs import arc_images
from lensflow.measure.metadata.checks import run_checks
from lensflow.measure.metadata.hosts import continued, first_of_class
from lensflow.measure.pixels import Block, Origin, measure
from lensflow.measure.pixels.rendering import last_key
from lensflow.measure.pixels.specimens import specimen_key
from lensflow.run.execute import Progress, announce_verdict, reduce_tasks, silent, waiting_bytes
from lensflow.run.gate_rows import ARCS, PORTRAITS, GateInput, GateRows
from lensflow.run.identity import keep_config, pairs_content, stored_key
from lensflow.run.kinds import kinds_of, settings_of
from lensflow.run.priors import priors_of
from lensflow.run.sources import stamp_diagonal_arcsec
from lensflow.run.twins import portraits_of, rows_of_splits, twins_of
from lensflow.stats import codec
from lensflow.store import resume
from lensflow.store.blocks import hosts_of
from lensflow.store.open import read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.read import opened_together
from lensflow.store.regions import Region, Regions
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder
from lensflow.survey.twins import Twins

# Arrays of a region's size that measuring holds at a time: stamps, arcs and controls; hosts and what is made of all.
MEASURED_COPIES = 4
# The stage of the gates, as progress is told.
GATES = "gate"


def diagnose_step(config: RunConfig, progress: Progress = silent) -> dict[str, xr.Dataset]:
    """Compute the diagnostics of a run, or read them if up to date.

    Returns
    -------
    dict of Dataset
        Name of the diagnostic -> its results, with intervals.

    Raises
    ------
    StoreError
        If the pairs are not complete.
    """
    return measure_step(config, progress, gates=False)[0]


def gate_step(config: RunConfig, progress: Progress = silent) -> list[GateResult]:
    """Compute the gates of a run, or read them if up to date; errors as :func:`diagnose_step`."""
    return measure_step(config, progress, diagnostics=False)[1]


def gate_draws(config: RunConfig) -> dict[str, Drawn]:
    """Areas of a run's gates in bootstrap draws of hosts, by name; none where those of its results are not kept.

    Parameters
    ----------
    config : RunConfig
        Of a run whose gates are current.
    """
    key = stored_key(config, "gates", pairs_content(config))
    stored: Any = current_results(RunFolder.of(config).gate_draws, key)
    return {name: Drawn.from_json(tree) for name, tree in (stored or {}).items()}


def measure_step(
    config: RunConfig,
    progress: Progress = silent,
    *,
    diagnostics: bool = True,
    gates: bool = True,
    again: bool = False,
    keep: bool = True,
) -> tuple[dict[str, xr.Dataset], list[GateResult]]:
    """Compute diagnostics and gates together, reading the pairs once.

    With ``again``, stored results are ignored and everything is computed. Without ``keep``, nothing is written.
    """
    folder = RunFolder.of(config)
    content = pairs_content(config)
    gated = current_results(folder.gates, stored_key(config, "gates", content)) if gates and not again else None
    want_features = gates and gated is None
    diagnostics = diagnostics or (want_features and bool(config.gate.checks))
    take = diagnostics and not again
    found = current_results(folder.diagnostics, stored_key(config, "diagnostics", content)) if take else None
    want_diagnostics = diagnostics and found is None
    if want_diagnostics or want_features:
        resume.refuse_other_inputs(folder.pairs, folder.manifest, folder.cutouts)
        regions = stored_regions(folder.pairs, "pairs")
        kinds, task = kinds_of(config), _MeasureTask(config, regions, want_diagnostics, want_features)
        held, every = waiting_bytes(config, MEASURED_COPIES), [r.index for r in regions]
        measured = reduce_tasks(task, every, Measured.joined, "measure", progress, held, together=True)

        def results() -> Any:
            if not want_diagnostics:
                return found
            made = codec.encode(measured.only(k.name for k in kinds).results(settings_of(config)))
            if keep:
                keep_results(folder.diagnostics, stored_key(config, "diagnostics", content), made)
            return made

        if not want_features:
            found = results()
        else:
            twins = twins_of(config, measured[PORTRAITS].rows)
            # Intervals, rows that are rendered again and checks of them, on a core of their own beside the gates.
            with threadpool_limits(1), ThreadPoolExecutor(2) as beside:
                made = beside.submit(results)
                checks = beside.submit(lambda: _checks(config, made.result(), twins, measured[ARCS].rows))
                judged = run_all_gates(GateInput.of(measured, twins), config, progress, announce_verdict)
                found = made.result()
            for check in checks.result():
                announce_verdict(check)
                judged.append(check)
            gated = [g.to_dict() for g in judged]
            if keep:
                draws = {g.name: g.drawn.to_json() for g in judged if g.drawn is not None}
                keep_results(folder.gate_draws, stored_key(config, "gates", content), draws)
                keep_results(folder.gates, stored_key(config, "gates", content), gated)
    if keep:
        keep_config(config)
    return (
        codec.datasets(found) if found is not None else {},
        [GateResult.from_dict(g) for g in gated or []],
    )


def run_all_gates(
    rows: GateInput,
    config: RunConfig,
    progress: Progress = silent,
    announce: Callable[[GateResult], None] = lambda found: None,
) -> list[GateResult]:
    """Run the gates side by side here: their rows are here, and the solver releases the GIL; announce each."""
    edges, done = config.diagnostics.theta_e_edges, 0
    names = (*config.gate.every, *((MASK_EDGE,) if rows.masks is not None else ()))
    progress(GATES, 0, len(names))

    def one(name: str) -> GateResult:
        nonlocal done
        if name == MASK_EDGE and rows.masks is not None:
            mask = Mask(*config.injection.core_mask)
            result = mask_edge_gate(rows.masks, mask, config.gate, config.bands, config.seed, edges)
        else:
            result = run_gate(rows.features, name, config.gate, config.bands, config.seed, edges, rows.unpaired)
        done += 1
        progress(GATES, done, len(names))
        announce(result)
        return result

    # Each gate holds its features in double precision: at most one per core at a time.
    with threadpool_limits(1), ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        return list(pool.map(one, names))


def _checks(config: RunConfig, diagnostics: Any, twins: Twins, arcs: xr.Dataset) -> list[GateResult]:
    """Gates without a fit, from the stored results of the diagnostics."""
    if not config.gate.checks:
        return []
    folder = RunFolder.of(config)
    results = codec.datasets(diagnostics)
    hosts = read_head(folder.cutouts, "cutouts", names=("host_id", "ra_deg", "dec_deg", "cell", "split"))
    rows, same_image = rows_of_splits(config)
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    apart = max(config.splits.guard_arcsec or 0.0, stamp_diagonal_arcsec(config, scale))
    priors = priors_of(config, arcs) if "priors" in config.gate.checks else []
    return run_checks(config.gate.checks, results, hosts, rows, apart, priors, twins, same_image, kinds_of(config))


class _MeasureTask:
    """Read one region of pairs and reduce it for diagnostics and gates."""

    def __init__(self, config: RunConfig, regions: Regions, diagnostics: bool, gates: bool):
        self.config, self.regions, self.diagnostics = config, regions, diagnostics
        self.origin, self.folder = origin_of(config), str(Path.cwd())
        self.gate_rows: GateRows | None = None
        if gates:
            head = read_head(RunFolder.of(config).manifest, "manifest", names=("host_index", "is_control"))
            host, control = head["host_index"].values.astype(np.int64), head["is_control"].values
            self.gate_rows = GateRows.of(config, host, control)
            self.continued = continued(host, control, regions.rows)

    def __call__(self, index: int) -> Measured:
        folder = RunFolder.of(self.config)
        with opened_together(folder.pairs, folder.manifest, folder.cutouts):
            pairs, origin = region_block(self.config, self.origin, self.regions[index])
        out = Measured({})
        if self.diagnostics:
            out |= measure(Block(pairs, self.config.diagnostics, origin), kinds_of(self.config, self.folder))
        if self.gate_rows is not None:
            pairs = with_conditions(self._with_first_of_class(index, pairs), origin)
            out |= self.gate_rows.of_block(pairs, portraits_of(origin, pairs))
            out |= Measured({ARCS: arc_images(pairs, origin.last_key)})
        return out

    def _with_first_of_class(self, index: int, pairs: xr.Dataset) -> xr.Dataset:
        """Rows that are the first of their host and class in the whole run: a host may be in two regions."""
        host, control = pairs["host_index"].values.astype(np.int64), pairs["is_control"].values
        before = self.continued[self.continued[:, 0] == index, 1]
        first = first_of_class(host, control) & ~np.isin(2 * host + control, before)
        return pairs.assign(first_of_class=("sample", first))


def origin_of(config: RunConfig) -> Origin:
    """Settings that made a run's pairs, and which rows are rendered again; hosts and sources are read by region."""
    folder = RunFolder.of(config)
    identity: Any = read_attrs(folder.pairs, "pairs").get("identity", {})
    head = read_head(folder.manifest, "manifest", names=("row_id", "is_control"))
    rows = head["row_id"].values, head["is_control"].values
    return Origin(
        None, config.injection, config.store,
        last_key=last_key(*rows), specimen_key=specimen_key(*rows),
        same_code=identity.get("lensflow.code") == resume.code_fingerprint(),
    )  # fmt: skip


def region_block(config: RunConfig, origin: Origin, region: Region) -> tuple[xr.Dataset, Origin]:
    """Pairs of a region, with their hosts' PSF images if used for the arcs; and their origin."""
    folder = RunFolder.of(config)
    index = read_head(folder.manifest, "manifest", region.slice, ("host_index",))["host_index"].values
    hosts = hosts_of(folder.cutouts, index)
    origin = replace(origin, hosts=hosts, sources=bank_of(config))
    pairs = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, region, hosts)
    if pairs.attrs.get("psf_model") != "kernel":
        return pairs, origin
    kernel = hosts["psf_kernel"].values[np.searchsorted(hosts["host_index"].values, index)]
    return pairs.assign(psf_kernel=(("sample", *schema.PSF_KERNEL.dims[1:]), kernel)), origin


def with_conditions(pairs: xr.Dataset, origin: Origin) -> xr.Dataset:
    """Pairs with what is known of their hosts' exposures beside the PSF's size."""
    assert origin.hosts is not None
    row = rows_of_hosts(origin.hosts, pairs["host_index"].values)
    names = ("bad_pixel_frac", "psf_source")
    return pairs.assign({k: (("sample", *origin.hosts[k].dims[1:]), origin.hosts[k].values[row]) for k in names})
