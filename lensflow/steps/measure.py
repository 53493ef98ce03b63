"""Diagnostics and gates of a finished run: one read of the store, one task per region."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.diagnostics import Summaries, results_from_json, results_to_json
from lensflow.errors import StoreError
from lensflow.gates import FeatureBlock, GateResult, core_block, core_gate
from lensflow.steps.execute import Progress, run_tasks, silent
from lensflow.steps.run_folder import RunFolder
from lensflow.store import paths, receipts
from lensflow.store.open import open_manifest, read_pairs_block
from lensflow.store.regions import plan_regions, region_at


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
    """Compute the core gates of a run, or read them where they are up to date; errors as :func:`diagnose_step`."""
    return measure_step(config, progress, diagnostics=False)[1]


def measure_step(
    config: RunConfig, progress: Progress = silent, *, diagnostics: bool = True, gates: bool = True
) -> tuple[dict[str, xr.Dataset], list[GateResult]]:
    """Compute diagnostics and gates together, reading the pairs once."""
    folder = RunFolder.of(config)
    content = pairs_content(config)
    found = _stored(folder.diagnostics, _key(config, "diagnostics", content)) if diagnostics else None
    gated = _stored(folder.gates, _key(config, "gates", content)) if gates else None
    want_summaries, want_features = diagnostics and found is None, gates and gated is None
    if want_summaries or want_features:
        n_rows = open_manifest(folder.manifest).sizes["sample"]
        regions = plan_regions(n_rows, config.store.samples_per_region)
        task = _MeasureTask(config, n_rows, want_summaries, want_features)
        # Merged in the order of the regions, not of arrival, so that sums round alike in every run.
        parts = sorted(run_tasks(task, [r.index for r in regions], "measure", progress), key=lambda p: p.index)
        if want_summaries:
            total = parts[0].summaries
            for part in parts[1:]:
                total = total + part.summaries
            found = json.loads(results_to_json(total.results(config.diagnostics, config.seed)))
            _keep(folder.diagnostics, _key(config, "diagnostics", content), found)
        if want_features:
            progress("gate", 0, 1)
            block = FeatureBlock.concat([p.features for p in parts])
            edges = config.diagnostics.theta_e_edges
            gated = [g.to_dict() for g in core_gate(block, config.gate, config.bands, config.seed, edges)]
            _keep(folder.gates, _key(config, "gates", content), gated)
            progress("gate", 1, 1)
    return (
        results_from_json(json.dumps(found)) if found is not None else {},
        [GateResult.from_dict(g) for g in gated or []],
    )


@dataclass(frozen=True)
class _Part:
    index: int
    summaries: Any
    features: Any


class _MeasureTask:
    """Read one region of pairs and reduce it to what diagnostics and gates need of it."""

    def __init__(self, config: RunConfig, n_rows: int, summaries: bool, features: bool):
        self.config, self.n_rows, self.summaries, self.features = config, n_rows, summaries, features

    def __call__(self, index: int) -> _Part:
        folder, config = RunFolder.of(self.config), self.config
        region = region_at(index, self.n_rows, config.store.samples_per_region)
        pairs = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, region)
        return _Part(
            index,
            Summaries.from_block(pairs, config.diagnostics) if self.summaries else None,
            core_block(pairs, config.gate.core_box_pix) if self.features else None,
        )


def pairs_content(config: RunConfig) -> str:
    """Fingerprint of the finished pairs' bytes.

    Raises
    ------
    StoreError
        If they are not complete.
    """
    folder = RunFolder.of(config)
    done = receipts.read_receipts(folder.receipts("pairs"))
    stamp = str(paths.open_group(folder.pairs).attrs.get("fingerprint"))
    n_rows = open_manifest(folder.manifest).sizes["sample"]
    regions = plan_regions(n_rows, config.store.samples_per_region)
    todo = receipts.missing_regions(folder.receipts("pairs"), regions, stamp)
    if todo:
        raise StoreError(
            f"{folder.pairs}: {len(todo)} of {len(regions)} regions are not finished. Run `lensflow inject` again: it "
            "continues where it stopped."
        )
    return receipts.content_fingerprint({r.index: done[r.index] for r in regions})


def _key(config: RunConfig, stage: str, content: str) -> str:
    return fingerprint(config.settings_of(stage), content)


def _stored(url: str, key: str) -> Any:
    if not paths.exists(url):
        return None
    stored = paths.read_json(url)
    return stored["results"] if stored.get("key") == key else None


def _keep(url: str, key: str, results: Any) -> None:
    paths.write_json(url, {"key": key, "results": results})
