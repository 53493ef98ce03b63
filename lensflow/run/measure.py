"""Diagnostics and gates of a finished run: one read of the store, one task per region."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.config.checks import MASK_EDGE
from lensflow.injection.core import unmasked_arcs
from lensflow.injection.inject import rows_of_hosts
from lensflow.manifest.image_sources import bank_of
from lensflow.measure.gate import FeatureBlock, GateResult, chosen_hosts, feature_block
from lensflow.measure.gate.mask_edge import MAX_PAIRS as MAX_MASKED
from lensflow.measure.gate.mask_edge import Mask, mask_block, mask_edge_gate
from lensflow.measure.gates import run_gate
from lensflow.measure.metadata.arcs import ArcImages
from lensflow.measure.metadata.checks import run_checks
from lensflow.measure.metadata.hosts import Keep, continued, first_of_class, unpaired_rows
from lensflow.measure.metadata.rows import MetadataRows
from lensflow.measure.metadata.splits import galaxies_once, unpaired_once
from lensflow.measure.pixels import Origin, Summaries
from lensflow.measure.pixels.rendering import last_key
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.run.gate_rows import GateRows, Measured
from lensflow.run.identity import keep_config, pairs_content, stored_key
from lensflow.run.inject import hosts_of
from lensflow.run.priors import priors_of
from lensflow.run.sources import stamp_diagonal_arcsec
from lensflow.run.twins import portraits_of, rows_of_splits, twins_of
from lensflow.stats import codec
from lensflow.store import resume
from lensflow.store.open import read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Region, Regions
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder
from lensflow.survey.twins import Twins


def diagnose_step(config: RunConfig, progress: Progress = silent) -> dict[str, xr.Dataset]:
    """Compute the diagnostics of a run, or read them where they are up to date.

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
    """Compute the gates of a run, or read them where they are up to date; errors as :func:`diagnose_step`."""
    return measure_step(config, progress, diagnostics=False)[1]


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

    With ``again``, what is stored is not believed: all of it is computed now. Without ``keep``, nothing is written.
    """
    folder = RunFolder.of(config)
    content = pairs_content(config)
    gated = current_results(folder.gates, stored_key(config, "gates", content)) if gates and not again else None
    want_features = gates and gated is None
    diagnostics = diagnostics or (want_features and bool(config.gate.checks))
    take = diagnostics and not again
    found = current_results(folder.diagnostics, stored_key(config, "diagnostics", content)) if take else None
    want_summaries = diagnostics and found is None
    if want_summaries or want_features:
        regions = stored_regions(folder.pairs, "pairs")
        task = _MeasureTask(config, regions, want_summaries, want_features)
        measured = reduce_tasks(task, [r.index for r in regions], Measured.joined, "measure", progress)
        if want_summaries:
            results = measured.summaries.results(config.diagnostics, config.seed, config.injection)
            found = codec.encode(results)
            if keep:
                keep_results(folder.diagnostics, stored_key(config, "diagnostics", content), found)
        if want_features:
            rows = measured.rows
            twins = twins_of(config, rows.portraits)
            block, unpaired = galaxies_once(rows.features, twins), unpaired_once(rows.unpaired, twins)
            masks = None if rows.masks is None else galaxies_once(rows.masks, twins)
            judged = [
                *run_all_gates(block, config, progress, unpaired, masks),
                *_checks(config, found, twins, rows.arcs),
            ]
            gated = [g.to_dict() for g in judged]
            if keep:
                keep_results(folder.gates, stored_key(config, "gates", content), gated)
    if keep:
        keep_config(config)
    return (
        codec.datasets(found) if found is not None else {},
        [GateResult.from_dict(g) for g in gated or []],
    )


def run_all_gates(
    block: FeatureBlock,
    config: RunConfig,
    progress: Progress = silent,
    unpaired: Any = None,
    masks: FeatureBlock | None = None,
) -> list[GateResult]:
    """Run the gates side by side here: their rows are here, and the solver releases the GIL."""
    edges, done = config.diagnostics.theta_e_edges, 0
    names = (*config.gate.every, *((MASK_EDGE,) if masks is not None else ()))
    progress("gate", 0, len(names))

    def one(name: str) -> GateResult:
        nonlocal done
        if name == MASK_EDGE and masks is not None:
            mask = Mask(*config.injection.core_mask)
            result = mask_edge_gate(masks, mask, config.gate, config.bands, config.seed, edges)
        else:
            result = run_gate(block, name, config.gate, config.bands, config.seed, edges, unpaired)
        done += 1
        progress("gate", done, len(names))
        return result

    # Each gate holds its features in double precision: no more at once than there are cores.
    with threadpool_limits(1), ThreadPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        return list(pool.map(one, names))


def _checks(config: RunConfig, diagnostics: Any, twins: Twins, arcs: ArcImages) -> list[GateResult]:
    """Gates without a fit, of the diagnostics' results as they are stored."""
    if not config.gate.checks:
        return []
    folder = RunFolder.of(config)
    results = codec.datasets(diagnostics)
    hosts = read_head(folder.cutouts, "cutouts", names=("host_id", "ra_deg", "dec_deg", "cell", "split"))
    rows, same_image = rows_of_splits(config)
    scale = float(read_attrs(folder.cutouts, "cutouts")["pixel_scale_arcsec"])
    apart = max(config.splits.guard_arcsec or 0.0, stamp_diagonal_arcsec(config, scale))
    priors = priors_of(config, arcs) if "priors" in config.gate.checks else []
    return run_checks(config.gate.checks, results, hosts, rows, apart, priors, twins, same_image)


class _MeasureTask:
    """Read one region of pairs and reduce it to what diagnostics and gates need of it."""

    def __init__(self, config: RunConfig, regions: Regions, summaries: bool, features: bool):
        self.config, self.regions, self.summaries, self.features = config, regions, summaries, features
        self.mask = Mask(*config.injection.core_mask)
        self.masked = features and self.mask.radius_pix > 0
        self.origin = origin_of(config)
        if features:
            self._choose_hosts()

    def _choose_hosts(self) -> None:
        """Hosts that the gates will use: the same whatever the region, so no more need be kept."""
        gate, seed = self.config.gate, self.config.seed
        head = read_head(RunFolder.of(self.config).manifest, "manifest", names=("host_index", "is_control"))
        host, control = head["host_index"].values.astype(np.int64), head["is_control"].values
        self.gate_hosts = chosen_hosts(host[~control], gate.max_pairs, seed)
        if self.masked:
            self.mask_hosts = chosen_hosts(host[~control], MAX_MASKED, seed)
        if gate.unpaired_kinds:
            self.keep, self.continued = Keep.of(gate, host, control, seed), continued(host, control, self.regions.rows)

    def __call__(self, index: int) -> Measured:
        pairs, origin = region_block(self.config, self.origin, self.regions[index])
        return Measured(
            Summaries.from_block(pairs, self.config.diagnostics, origin) if self.summaries else None,
            self._rows(index, pairs, origin) if self.features else None,
        )

    def _rows(self, index: int, pairs: xr.Dataset, origin: Origin) -> GateRows:
        return GateRows(
            self._features(with_conditions(pairs, origin)),
            self._unpaired(index, pairs) if self.config.gate.unpaired_kinds else {},
            self._masks(pairs) if self.masked else None,
            portraits_of(origin, pairs),
            ArcImages.from_block(pairs, origin.last_key),
        )

    def _features(self, pairs: xr.Dataset) -> FeatureBlock:
        gate, some = self.config.gate, np.isin(pairs["host_index"].values, self.gate_hosts)
        return feature_block(pairs.isel(sample=some), gate.every, gate.core_box_pix, self.mask.radius_pix)

    def _unpaired(self, index: int, pairs: xr.Dataset) -> dict[str, MetadataRows]:
        """Of all rows: control rows may have hosts of their own, and exact balance is counted over every row."""
        host, control = pairs["host_index"].values.astype(np.int64), pairs["is_control"].values
        before = self.continued[self.continued[:, 0] == index, 1]
        first = first_of_class(host, control) & ~np.isin(2 * host + control, before)
        return unpaired_rows(pairs.assign(first_of_class=("sample", first)), self.config.gate, self.keep)

    def _masks(self, pairs: xr.Dataset) -> FeatureBlock:
        """With the mask and without: those rows are rendered again."""
        some = np.isin(pairs["host_index"].values, self.mask_hosts) & ~pairs["is_control"].values
        pairs = pairs.isel(sample=np.flatnonzero(some))
        return mask_block(pairs, unmasked_arcs(pairs, bank_of(self.config)), self.mask)


def origin_of(config: RunConfig) -> Origin:
    """Settings that made a run's pairs, and which rows are rendered again; hosts and sources are read by region."""
    folder = RunFolder.of(config)
    identity: Any = read_attrs(folder.pairs, "pairs").get("identity", {})
    return Origin(
        None, config.injection, config.store,
        last_key=_last_key(config),
        same_code=identity.get("lensflow.code") == resume.code_fingerprint(),
    )  # fmt: skip


def _last_key(config: RunConfig) -> int | None:
    head = read_head(RunFolder.of(config).manifest, "manifest", names=("row_id", "is_control"))
    return last_key(head["row_id"].values, head["is_control"].values)


def region_block(config: RunConfig, origin: Origin, region: Region) -> tuple[xr.Dataset, Origin]:
    """Pairs of a region, with the PSF images of their hosts where the arcs have some; and what they were made from."""
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
