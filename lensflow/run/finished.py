"""Test whether anything is left to do, before a cluster is started; no pixels are read, and little is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StoreError
from lensflow.run.extend import manifest_extends
from lensflow.run.identity import (
    cutouts_content,
    manifest_identity,
    pairs_content,
    pairs_identity,
    refuse_other_cut,
    stored_key,
)
from lensflow.run.plan_size import extends
from lensflow.store import objects, paths, receipts, resume
from lensflow.store.results import current_results
from lensflow.store.run_folder import RunFolder


@dataclass(frozen=True)
class FinishedRun:
    """A run with nothing left to do.

    Attributes
    ----------
    verdicts : dict
        Gate -> verdict, as they are stored.
    counts : dict
        Rows by what became of them, from the receipts of the pairs.
    report : str
        Path of the report's page.
    """

    verdicts: dict[str, str]
    counts: dict[str, int]
    report: str


def finished_stage(config: RunConfig, stage: str) -> bool:
    """Whether the cutouts, the manifest or the pairs of this config are finished; nothing is written.

    Parameters
    ----------
    config : RunConfig
    stage : {"cutouts", "manifest", "pairs"}

    Raises
    ------
    StaleStoreError
        If the store was made with other settings, inputs or code.
    """
    folder = RunFolder.of(config)
    if not paths.group_exists(folder.store(stage)):
        return False
    if stage == "cutouts":
        return _is_cut(config)
    try:
        cutouts = cutouts_content(config)
    except StoreError:
        return False
    plan = manifest_identity(config, cutouts)
    if manifest_extends(config) or not resume.may_resume(folder.manifest, plan):
        return False
    if not objects.open_group(folder.manifest).attrs.get("finished"):
        return False
    if stage == "manifest":
        return True
    pairs = pairs_identity(config, cutouts, fingerprint(plan))
    if extends(objects.open_group(folder.pairs).attrs.get("identity"), pairs) or not resume.may_resume(
        folder.pairs, pairs
    ):
        return False
    return _has_every_receipt(config, "pairs")


def _is_cut(config: RunConfig) -> bool:
    from lensflow.run.execute import silent
    from lensflow.run.sources import find_targets

    refuse_other_cut(config)
    folder = RunFolder.of(config)
    if config.survey.synthetic is not None and not paths.exists(paths.join(folder.survey, "synthetic.json")):
        return False
    if not _has_every_receipt(config, "cutouts"):
        return False
    # Targets are read again, and the survey's files are listed, since they may have changed.
    identity = resume.identity(config, "cutouts", find_targets(config, silent)[1])
    return resume.may_resume(folder.cutouts, identity)


def _has_every_receipt(config: RunConfig, stage: str) -> bool:
    folder = RunFolder.of(config)
    try:
        resume.finished_content(folder.receipts(stage), folder.store(stage), stage, "lensflow run")
    except StoreError:
        return False
    return True


def finished_run(config: RunConfig) -> FinishedRun | None:
    """Say what a run came to, if every step of it is done for this very config; None if anything is left to do.

    Raises
    ------
    StaleStoreError
        If a store was made with other settings, inputs or code.
    """
    folder = RunFolder.of(config)
    page = paths.join(folder.report, "index.html")
    if not all(paths.exists(p) for p in (folder.gates, folder.diagnostics, folder.config, page)):
        return None
    if not all(finished_stage(config, stage) for stage in ("cutouts", "pairs")):
        return None
    content = pairs_content(config)
    found: dict[str, Any] = {}
    for stage, url in (("diagnostics", folder.diagnostics), ("gates", folder.gates)):
        found[stage] = current_results(url, stored_key(config, stage, content))
        if found[stage] is None:
            return None
    if paths.read_text(folder.config) != config.to_yaml() or not _report_is_new(folder):
        return None
    counts = receipts.total_counts(receipts.read_receipts(folder.receipts("pairs")).values())
    return FinishedRun({g["name"]: g["verdict"] for g in found["gates"]}, counts, page)


def _report_is_new(folder: RunFolder) -> bool:
    """Whether the report was written after everything that it shows."""
    note = paths.join(folder.report, "made-from.json")
    if not paths.exists(note):
        return False
    made_from = paths.read_json(note)
    return made_from.get("shows") == shown_in_report(folder)


def shown_in_report(folder: RunFolder) -> str:
    """Fingerprint of the small files that a report shows."""
    urls = [folder.config, folder.diagnostics, folder.gates, folder.timings, folder.core_tuning, folder.zoo]
    urls.append(paths.join(folder.training, "report.json"))
    for place in (folder.scorers, folder.completeness, folder.realism):
        urls += [paths.join(place, n) for n in paths.list_names(place) if n.endswith(".json")]
    return fingerprint([(u.removeprefix(folder.root), paths.read_text(u)) for u in urls if paths.exists(u)])
