"""Draw the manifest once and freeze it."""

from __future__ import annotations

from typing import Any

import xarray as xr

from lensflow.config import RunConfig, fingerprint
from lensflow.manifest.build import build_manifest, check_manifest
from lensflow.manifest.splits import check_splits
from lensflow.steps.execute import Progress, silent
from lensflow.steps.run_folder import RunFolder
from lensflow.steps.sources import dataset_content
from lensflow.store import create, receipts, resume
from lensflow.store.open import open_cutouts, open_manifest


def plan_step(config: RunConfig, progress: Progress = silent) -> xr.Dataset:
    """Draw and freeze the manifest of a run.

    Parameters
    ----------
    config : RunConfig
        Its cutouts must be complete.
    progress : callable, optional

    Returns
    -------
    Dataset
        The open manifest: one row per injection and control, sorted by host.

    Raises
    ------
    StoreError, ManifestError, SplitError
    """
    folder = RunFolder.of(config)
    identity = resume.identity(config, "manifest", {"cutouts": cutouts_content(config)})
    if not resume.may_resume(folder.manifest, identity):
        progress("plan", 0, 1)
        cutouts = open_cutouts(folder.cutouts)
        manifest = build_manifest(cutouts, config)
        check_splits(cutouts, manifest)
        _freeze(manifest, config, identity)
        progress("plan", 1, 1)
    return open_manifest(folder.manifest)


def freeze_manifest(manifest: xr.Dataset, config: RunConfig) -> None:
    """Make a given manifest (edited, subset, made elsewhere) the manifest of a run.

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
    if not resume.may_resume(RunFolder.of(config).manifest, identity):
        _freeze(manifest, config, identity)


def _freeze(manifest: xr.Dataset, config: RunConfig, identity: dict[str, Any]) -> None:
    create.create_store(
        RunFolder.of(config).manifest,
        "manifest",
        manifest.sizes["sample"],
        config.bands,
        head=manifest,
        attrs={**manifest.attrs, "identity": identity, "fingerprint": fingerprint(identity)},
    )


def cutouts_content(config: RunConfig) -> str:
    """Fingerprint of the finished cutouts' bytes.

    Raises
    ------
    StoreError
        If they are not complete.
    """
    folder = RunFolder.of(config)
    n_hosts = open_cutouts(folder.cutouts).sizes["host"]
    rows = config.store.hosts_per_region
    return receipts.finished_content(folder.receipts("cutouts"), folder.cutouts, rows, n_hosts, "lensflow cut")
