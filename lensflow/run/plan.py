"""Draw the manifest once and freeze it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.manifest.build import Planner
from lensflow.manifest.check import check_manifest
from lensflow.manifest.estimate import PlanCost, estimate, size_without_cutouts
from lensflow.manifest.hosts import PlanSize
from lensflow.run.execute import Progress, silent
from lensflow.run.extend import configs_of, manifest_extends, parts_of
from lensflow.run.identity import cutouts_content, keep_config, manifest_identity
from lensflow.run.sources import count_targets, dataset_content
from lensflow.store import objects, paths, resume
from lensflow.store.lease import hold
from lensflow.store.objects import unguarded
from lensflow.store.open import host_tables, open_manifest
from lensflow.store.run_folder import RunFolder
from lensflow.store.tables import TableWriter, write_table


def plan_step(config: RunConfig, progress: Progress = silent, *, confirmed: bool = False) -> xr.Dataset:
    """Draw the manifest of a run, block by block of hosts, and freeze it in ``config.out``.

    Parameters
    ----------
    config : RunConfig
        Its cutouts must be complete.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).
    confirmed : bool
        Whether a plan of more than 20 million rows is meant.

    Returns
    -------
    Dataset with dim sample
        As :func:`lensflow.open_manifest`: one row per injection and control, sorted by host.

    Raises
    ------
    StoreError
        If the cutouts are not complete, or the folder holds the work of other settings.
    ManifestError
        If a host lacks what the plan needs, or the plan has more rows than ``plan.max_rows``.
    SplitError
        If a host, sky cell, source image or arc is in two splits, or hosts of two splits are too close to each other.
    """
    folder = RunFolder.of(config)
    with hold(folder.root) as held:
        identity = manifest_identity(config, cutouts_content(config))
        if manifest_extends(config) or not _is_frozen(config, identity):
            parts = parts_of(config)
            planner_of(config, configs_of(config, parts[:-1])).refuse(confirmed)
            write_manifest(folder.manifest, config, identity, parts, progress, held.guard)
        keep_config(config)
        return open_manifest(folder.manifest)


def write_manifest(
    url: str,
    config: RunConfig,
    identity: dict[str, Any],
    parts: list[dict[str, int | None]],
    progress: Progress = silent,
    guard: objects.Guard = unguarded,
) -> None:
    """Draw the manifest of a config's cutouts into a store, block by block of hosts.

    Parameters
    ----------
    url : str
    config : RunConfig
    identity : dict
        Of the manifest.
    parts : list of dict
        Sizes of the plans that its rows come from; see :mod:`lensflow.run.extend`.
    progress, guard : callable, optional
    """
    planner = planner_of(config, configs_of(config, parts[:-1]))
    progress("plan", 0, planner.size.rows)
    attrs = {"identity": identity, "fingerprint": fingerprint(identity), "parts": parts}
    writer = TableWriter(url, "manifest", planner.size.rows, config.bands, attrs, guard, planner.further)
    done = 0
    for block in planner.blocks():
        writer.append(block)
        done += block.sizes["sample"]
        progress("plan", done, planner.size.rows)
    writer.finish(planner.attrs())


def planner_of(config: RunConfig, before: Sequence[RunConfig] = ()) -> Planner:
    """Planner of a run's cutouts, after the rows of smaller plans; nothing is drawn yet."""
    return Planner(config, *host_tables(RunFolder.of(config).cutouts), before=before)


def estimate_step(config: RunConfig) -> tuple[PlanSize, PlanCost]:
    """Size and cost of a run's plan; nothing is drawn or written.

    Before the hosts are cut, every target counts as a host that can carry an arc.
    """
    folder = RunFolder.of(config)
    if paths.group_exists(folder.cutouts):
        size = planner_of(config).size
    else:
        size = size_without_cutouts(config, count_targets(config))
    return size, estimate(size, config)


def _is_frozen(config: RunConfig, identity: dict[str, Any]) -> bool:
    """Whether this manifest is stored already; an unfinished one may be replaced."""
    url = RunFolder.of(config).manifest
    if paths.group_exists(url) and objects.open_group(url).attrs.get("finished") is False:
        return False
    return resume.may_resume(url, identity)


def freeze_manifest(manifest: xr.Dataset, config: RunConfig) -> None:
    """Store a given manifest (edited, subset, made elsewhere) as that of a run, unless it is stored already.

    Raises
    ------
    ManifestError
        If a row cannot be rendered.
    StaleStoreError
        If the run has another manifest already.
    """
    check_manifest(manifest)
    inputs = {"cutouts": cutouts_content(config), "manifest": dataset_content(manifest)}
    identity = resume.identity(config, "manifest", inputs)
    with hold(RunFolder.of(config).root) as held:
        if not _is_planned(manifest, config) and not _is_frozen(config, identity):
            attrs = {**manifest.attrs, "identity": identity, "fingerprint": fingerprint(identity)}
            write_table(RunFolder.of(config).manifest, "manifest", manifest, config.bands, attrs, held.guard)


def _is_planned(manifest: xr.Dataset, config: RunConfig) -> bool:
    """Whether a manifest is the one that :func:`plan_step` froze for this config, opened again and not edited."""
    url, opened = RunFolder.of(config).manifest, manifest.attrs.get("fingerprint")
    if (
        opened is None
        or not paths.group_exists(url)
        or opened != fingerprint(manifest_identity(config, cutouts_content(config)))
    ):
        return False
    stored = open_manifest(url)
    return bool(stored.attrs["fingerprint"] == opened and dataset_content(stored) == dataset_content(manifest))
