"""Sweep core handlings over a finished run, and keep what was found beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.measure.core.sweep import core_rows
from lensflow.measure.core.tuning import CoreTuning, tune
from lensflow.measure.gate import chosen_hosts
from lensflow.measure.measurement import Measured
from lensflow.run.execute import Progress, reduce_tasks, silent
from lensflow.run.identity import pairs_content, stored_key
from lensflow.show import core_handling
from lensflow.store import paths
from lensflow.store.open import read_attrs, read_head, read_pairs_block, stored_regions
from lensflow.store.regions import Regions
from lensflow.store.results import current_results, keep_results
from lensflow.store.run_folder import RunFolder

STAGE = "tune core"


def tune_core_step(config: RunConfig, progress: Progress = silent) -> CoreTuning:
    """Sweep ``config.core.handlings``: choose on some hosts, report on others; the test split stays closed.

    ``core/tuning.json``, ``core/core-handling.png`` and ``core/table.md`` are written to the run's folder, or read
    where they are up to date.

    Parameters
    ----------
    config : RunConfig
        Of a finished run; its ``core``.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).

    Returns
    -------
    CoreTuning
        ``recommended`` is "" where nothing passes; ``reason`` says why.

    Raises
    ------
    StoreError
        If the pairs are not complete, or have no injection outside of the test split.
    GateError
        If there are fewer than two hosts.
    """
    folder = RunFolder.of(config)
    key = stored_key(config, "core", pairs_content(config))
    stored = current_results(folder.core_tuning, key)
    if stored is not None:
        return CoreTuning.from_dict(stored)
    head = read_head(folder.manifest, "manifest", names=("is_control", "split"))
    injected = ~head["is_control"].values
    sealed = head["split"].values == schema.SPLITS.index("test")
    rows = _rows(config, injected & ~sealed, progress)
    tuning = tune(rows, config, lambda done, total: progress(STAGE, done, total), int((injected & sealed).sum()))
    figure = core_handling.cost_curve(tuning.reported_on, tuning.chosen_on)
    paths.write_bytes(paths.join(folder.core, f"{figure.name}.png"), figure.png)
    text = f"{tuning.reason}\n\n" + "\n".join(t.markdown() for t in core_handling.tables(tuning))
    paths.write_text(paths.join(folder.core, "table.md"), text)
    keep_results(folder.core_tuning, key, tuning.to_dict())
    return tuning


def _rows(config: RunConfig, wanted: NDArray[np.bool_], progress: Progress) -> Measured:
    """Features of the wanted rows under all handlings, of whole hosts within ``core.max_pairs``."""
    folder = RunFolder.of(config)
    index = read_head(folder.manifest, "manifest", names=("host_index",))["host_index"].values[wanted]
    hosts = chosen_hosts(index, config.core.max_pairs, config.seed)
    if not hosts.size:
        raise StoreError(
            f"{folder.pairs}: no injection to handle (of whole hosts within core.max_pairs = {config.core.max_pairs}, "
            "outside of the test split)"
        )
    regions = stored_regions(folder.pairs, "pairs")
    of_region = np.arange(len(wanted)) // regions.rows
    some = np.unique(of_region[wanted][np.isin(index, hosts)])
    task = _CoreTask(config, regions, hosts)
    return reduce_tasks(task, some.tolist(), Measured.joined, "handle core", progress)


class _CoreTask:
    """Read one region and reduce its rows under every handling."""

    def __init__(self, config: RunConfig, regions: Regions, hosts: NDArray[np.int64]):
        self.config, self.regions, self.hosts = config, regions, hosts
        self.pixel_scale_arcsec = float(read_attrs(RunFolder.of(config).cutouts, "cutouts")["pixel_scale_arcsec"])

    def __call__(self, index: int) -> Measured:
        folder = RunFolder.of(self.config)
        pairs = read_pairs_block(folder.pairs, folder.manifest, folder.cutouts, self.regions[index])
        # A host lies in one split, whole: the choice of hosts has closed the test split already.
        pairs = pairs.isel(sample=np.isin(pairs["host_index"].values, self.hosts))
        return core_rows(pairs.assign_attrs(pixel_scale_arcsec=self.pixel_scale_arcsec), self.config)
