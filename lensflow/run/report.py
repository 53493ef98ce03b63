"""Collect a run's results and write its report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.completeness.stored import stored_completeness
from lensflow.run.execute import Progress, silent
from lensflow.run.finished import shown_in_report
from lensflow.run.helper import begun_on_workers
from lensflow.run.identity import pairs_content, refuse_other_results, stored_key
from lensflow.run.kinds import kinds_of
from lensflow.run.realism.examples import has_its_stamps, shown_realism
from lensflow.run.realism.files import results_names
from lensflow.run.realism.stored import stored_realism
from lensflow.run.score import stored_scorers
from lensflow.run.stored_training import stored_training
from lensflow.run.zoo import zoo_key
from lensflow.show.begin import Start, here
from lensflow.show.collect import Places, RunRecord, collect
from lensflow.show.page import begin, sections, write_page
from lensflow.store import paths
from lensflow.store.run_folder import RunFolder


def report_step(config: RunConfig, progress: Progress = silent, start: Start | None = None) -> str:
    """Write the HTML report of a run, finished or not; it names missing parts.

    Parameters
    ----------
    config : RunConfig
        At least its cutouts must exist.
    progress : callable, optional
        Called with (stage, tasks done, tasks in all).
    start : callable, optional
        What :func:`begin_figures` was given.

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
    start = start or begun_on_workers() or here
    made_from = _made_from(config)
    found = stored_completeness(config)
    notes = tuple(
        f"The completeness of {s.kept.scorer} on {s.kept.split} belongs to other pixels or settings and is left out: "
        f"`{s.renew}` renews it."
        for s in found
        if not s.is_current
    )
    shown = tuple(s.kept for s in found if s.is_current)
    sections(shown, start)  # they take longest, and need no more than this
    record = _record(config)
    if (trained := stored_training(config)) is not None and not trained.is_current:
        notes += (
            "The training belongs to other pixels or settings and is left out: "
            f"`lensflow train {folder.root}` renews it.",
        )
    compared = stored_realism(config)
    content = _content(config) if compared else ""
    current = [s for s in compared if s.pairs == content]
    notes += tuple(
        f"The comparison with {s.kept.table} belongs to other pixels and is left out: `lensflow realism {folder.root} "
        f"--real {s.kept.table}` renews it."
        for s in compared
        if s not in current
    )
    notes += tuple(
        f"The stamps of the comparison with {s.kept.table} were replaced by those of another and are not shown: "
        f"`lensflow realism {folder.root} --real {s.kept.table} --again` brings them back."
        for s in current
        if not has_its_stamps(config, s.kept)
    )
    real = tuple(shown_realism(config, s.kept) for s in current)
    training = trained.kept if trained is not None and trained.is_current else None
    record = replace(record, completeness=shown, training=training, realism=real, notes=(*record.notes, *notes))
    progress("report", 1, 2)
    page = write_page(record, folder.report, start=start)
    paths.write_json(_note(folder), made_from)
    progress("report", 2, 2)
    return page


def begin_figures(config: RunConfig, start: Start) -> None:
    """Begin with the figures of diagnostics and gates, which further steps do not change."""
    begin(_record(config, stamps=False), start)


def _record(config: RunConfig, stamps: bool = True) -> RunRecord:
    folder = RunFolder.of(config)
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
    keys = {**result_keys(config), "zoo": zoo_key()}
    return collect(config, places, keys, _scorers(config), kinds_of(config), stamps)


def report_if_stale(config: RunConfig, progress: Progress = silent, start: Start | None = None) -> str:
    """Write the report unless the existing one was made from the same settings, pixels and measurements."""
    folder = RunFolder.of(config)
    page, kept, made_from = paths.join(folder.report, "index.html"), _kept_note(folder), _made_from(config)
    if not paths.exists(page) or kept.get("key") != made_from["key"]:
        return report_step(config, progress, start)
    if kept != made_from:
        paths.write_json(_note(folder), made_from)
    return page


def report_of(config: RunConfig) -> str:
    """Path of a run's report, if it is up to date.

    Raises
    ------
    StoreError
        If there is none, or pixels, settings or results are newer than it; the message says how to make it.
    """
    folder = RunFolder.of(config)
    page = paths.join(folder.report, "index.html")
    if not paths.exists(page):
        raise StoreError(f"{page}: no report yet. `lensflow report {folder.root}` writes it.")
    kept, now = _kept_note(folder), _made_from(config)
    if any(kept.get(k) != now[k] for k in ("shows", "of")):
        raise StoreError(
            f"{page}: the report is older than the run's present content. `lensflow report {folder.root}` writes it "
            f"again."
        )
    return page


def _note(folder: RunFolder) -> str:
    return paths.join(folder.report, "made-from.json")


def _kept_note(folder: RunFolder) -> dict[str, Any]:
    kept = paths.read_json(_note(folder)) if paths.exists(_note(folder)) else {}
    return kept if isinstance(kept, dict) else {}


def _made_from(config: RunConfig) -> dict[str, str]:
    """What a report is made from: ``key`` of all that it shows, ``shows`` of the small files, ``of`` of pixels.

    The last two stay the same when the folder is moved.
    """
    folder, keys = RunFolder.of(config), result_keys(config)
    stages = paths.read_json(folder.timings)["stages"] if paths.exists(folder.timings) else {}
    extra = [paths.exists(url) for url in (folder.core_tuning, folder.zoo)]
    scored = [g.to_dict() for g in _scorers(config)]
    names = [n for n in paths.list_names(folder.completeness) if n.endswith(".json")]
    found = [(n, paths.sha256(paths.join(folder.completeness, n))) for n in names]
    found += [(n, paths.sha256(paths.join(folder.realism, n))) for n in results_names(config)]
    if (trained := paths.sha256(paths.join(folder.training, "report.json"))) is not None:
        found.append(("training", trained))
    return {
        "key": fingerprint(config.effective(), {**keys, "zoo": zoo_key()}, stages, extra, scored, found),
        "shows": shown_in_report(folder),
        "of": fingerprint(keys),
    }


def _content(config: RunConfig) -> str:
    """Fingerprint of the pairs; empty where they are not complete: nothing belongs to them."""
    try:
        return pairs_content(config)
    except StoreError:
        return ""


def _scorers(config: RunConfig) -> list[GateResult]:
    """Results of lens finders on these pixels; none if the pairs are not complete."""
    try:
        return stored_scorers(config)
    except StoreError:
        return []


def result_keys(config: RunConfig) -> dict[str, str]:
    """Keys that stored ``diagnostics``, ``gates`` and ``core`` must carry to belong to these pixels and settings."""
    # Missing or incomplete pairs: stored results were measured on others.
    content = _content(config)
    return {stage: stored_key(config, stage, content) for stage in ("diagnostics", "gates", "core")}
