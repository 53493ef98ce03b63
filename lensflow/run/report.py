"""Collect what a run left behind and write its report."""

from __future__ import annotations

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.execute import Progress, silent
from lensflow.run.finished import shown_in_report
from lensflow.run.identity import pairs_content, refuse_other_results, stored_key
from lensflow.run.score import stored_scorers
from lensflow.run.zoo import zoo_key
from lensflow.show.collect import Places, collect
from lensflow.show.page import write_page
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder


def report_step(config: RunConfig, progress: Progress = silent) -> str:
    """Write the HTML report of a run, finished or not; what is missing is named in it.

    Parameters
    ----------
    config : RunConfig
        At least its cutouts must exist.
    progress : callable, optional

    Returns
    -------
    str
        Path of ``report/index.html``.

    Raises
    ------
    StoreError
        If there are no cutouts.
    StaleStoreError
        If the folder holds the work of other settings; a report that is there stays.
    """
    folder = RunFolder.of(config)
    refuse_other_results(config)
    progress("report", 0, 2)
    places = Places(
        cutouts=folder.cutouts,
        manifest=folder.manifest,
        pairs=folder.pairs,
        cutouts_receipts=folder.receipts("cutouts"),
        pairs_receipts=folder.receipts("pairs"),
        diagnostics=folder.diagnostics,
        gates=folder.gates,
        timings=folder.timings,
        core=folder.core_tuning,
        zoo=folder.zoo,
    )
    record = collect(config, places, _keys(config), _scorers(config))
    progress("report", 1, 2)
    page = write_page(record, folder.report)
    progress("report", 2, 2)
    return page


def report_if_stale(config: RunConfig, progress: Progress = silent) -> str:
    """Write the report unless the one that is there was made from these very settings, pixels and measurements."""
    folder = RunFolder.of(config)
    page, note = paths.join(folder.report, "index.html"), paths.join(folder.report, "made-from.json")
    extra = [paths.exists(url) for url in (folder.core_tuning, folder.zoo)]
    stages = paths.read_json(folder.timings)["stages"]
    scored = [g.to_dict() for g in _scorers(config)]
    made_from = {"key": fingerprint(config.effective(), _keys(config), stages, extra, scored)}
    if not (paths.exists(page) and paths.exists(note) and paths.read_json(note).get("key") == made_from["key"]):
        page = report_step(config, progress)
    kept = {**made_from, "shows": shown_in_report(folder)}
    if not paths.exists(note) or paths.read_json(note) != kept:
        paths.write_json(note, kept)
    return page


def _scorers(config: RunConfig) -> list[GateResult]:
    """Results of lens finders on these pixels; none where the pairs are not complete."""
    try:
        return stored_scorers(config)
    except StoreError:
        return []


def _keys(config: RunConfig) -> dict[str, str]:
    """Keys that stored results must carry to belong to these pixels and settings."""
    try:
        content = pairs_content(config)
    except StoreError:
        # Pairs that are not there or not complete: whatever is stored was measured on others.
        content = ""
    keys = {stage: stored_key(config, stage, content) for stage in ("diagnostics", "gates", "core")}
    return {**keys, "zoo": zoo_key()}
