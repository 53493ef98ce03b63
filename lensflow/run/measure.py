"""Diagnostics and gates of a finished run: one read of the store, one task per region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.injection.inject import rows_of_hosts
from lensflow.lensing.image_light import Sources
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.gate import GateResult
from lensflow.measure.gate.verdicts import Drawn
from lensflow.measure.measurement import Measured
from lensflow.measure.metadata.arcs import arc_images
from lensflow.measure.metadata.hosts import continued, first_of_class
from lensflow.measure.pixels import Block, Origin, measure
from lensflow.measure.pixels.rendering import last_key
from lensflow.measure.pixels.specimens import specimen_key
from lensflow.run.execute import Progress, reduce_tasks, silent, waiting_bytes
from lensflow.run.gate_rows import ARCS, GateRows
from lensflow.run.identity import keep_config, pairs_content, stored_key
from lensflow.run.judge import judge_run, results_of
from lensflow.run.kinds import kinds_of
from lensflow.run.twins import portraits_of
from lensflow.stats import codec
from lensflow.store import resume
from lensflow.store.blocks import hosts_of
from lensflow.store.open import read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.read import opened_together
from lensflow.store.regions import Region, Regions
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder

# Arrays of a region's size that measuring holds at a time: stamps, arcs and controls; hosts and what is made of all.
MEASURED_COPIES = 4


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
        kinds_of(config)  # refuse one that cannot be imported before any pixel is read
        task = _MeasureTask(config, regions, want_diagnostics, want_features)
        held, every = waiting_bytes(config, MEASURED_COPIES), [r.index for r in regions]
        measured = reduce_tasks(task, every, Measured.joined, "measure", progress, held, together=True)

        def keep_diagnostics(made: Any) -> None:
            if keep:
                keep_results(folder.diagnostics, stored_key(config, "diagnostics", content), made)

        if not want_features:
            found = results_of(config, measured)
            keep_diagnostics(found)
        else:
            found, judged = judge_run(config, measured, found, keep_diagnostics, progress)
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
    return origin_of_rows(config, head["row_id"].values, head["is_control"].values, identity.get("lensflow.code"))


def origin_of_rows(
    config: RunConfig,
    row_id: NDArray[np.uint64],
    is_control: NDArray[np.bool_],
    pixel_code: str | None,
    sources: Sources | None = None,
) -> Origin:
    """Settings that made pairs, and which of all their rows are rendered again.

    Parameters
    ----------
    config : RunConfig
        That the pairs were made with.
    row_id, is_control : ndarray, shape (n,)
        Of all rows.
    pixel_code : str or None
        Fingerprint of the code that made their pixels; None where it is not known, hence another.
    sources : Sources, optional
        Where the images of rows with a ``src_id`` come from.
    """
    return Origin(
        None, config.injection, config.store, sources,
        last_key=last_key(row_id, is_control), specimen_key=specimen_key(row_id, is_control),
        same_code=pixel_code == resume.code_fingerprint(),
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
