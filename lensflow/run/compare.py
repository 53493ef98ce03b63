"""Compare two runs that are finished, or as far as they are."""

from __future__ import annotations

from typing import Any

from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.completeness.stored import stored_completeness
from lensflow.run.identity import pairs_content, stored_key
from lensflow.show.comparison import Comparison, RunSide, compare, write_page
from lensflow.stats import codec
from lensflow.store import paths, receipts
from lensflow.store.results import read_results
from lensflow.store.run_folder import RunFolder, config_of


def compare_step(before: str, after: str, html: str | None = None) -> tuple[Comparison, str]:
    """Compare two runs, and write the comparison as a page.

    Parameters
    ----------
    before, after : str
        Folders of the runs, or their YAML files.
    html : str, optional
        Where the page goes; by default ``report/compare-with-<folder>.html`` in the second run's folder.

    Returns
    -------
    Comparison, str
        What was found, and the page's path.

    Raises
    ------
    ConfigError
        If one is no run.
    StoreError
        If one has no receipts at all: nothing was ever made there.
    """
    sides = [_side(config_of(run)) for run in (before, after)]
    found = compare(*sides)
    name = sides[0].folder.rstrip("/").rsplit("/", 1)[-1] or "run"
    page = html or paths.join(RunFolder.of(sides[1].config).report, f"compare-with-{name}.html")
    paths.write_text(page, write_page(found))
    return found, page


def _side(config: RunConfig) -> RunSide:
    folder, notes = RunFolder.of(config), []
    counts: dict[str, int] = {}
    for stage in ("cutouts", "pairs"):
        for key, n in receipts.total_counts(receipts.read_receipts(folder.receipts(stage)).values()).items():
            counts[f"{stage}: {key}"] = n
    if not counts:
        raise StoreError(f"{folder.root}: no receipts: nothing was made there. Run it first.")
    try:
        content = pairs_content(config)
    except StoreError as error:
        content = ""
        notes.append(f"{error} Gates and diagnostics are left out.")
    stored = {}
    for stage, url in (("gates", folder.gates), ("diagnostics", folder.diagnostics)):
        stored[stage] = _current(url, stored_key(config, stage, content), stage, notes) if content else None
    return RunSide(
        folder=folder.root,
        config=config,
        counts=counts,
        gates=tuple(GateResult.from_dict(g) for g in stored["gates"] or []),
        diagnostics=codec.datasets(stored["diagnostics"]) if stored["diagnostics"] else {},
        notes=tuple(notes),
        completeness=tuple(s.kept for s in stored_completeness(config) if s.is_current),
    )


def _current(url: str, key: str, stage: str, notes: list[str]) -> Any:
    command = {"gates": "gate", "diagnostics": "diagnose"}[stage]
    stored = read_results(url, f"run `lensflow {command}`")
    if stored is None:
        notes.append(f"No {stage} yet: `lensflow {command}` computes them.")
        return None
    if stored.key != key:
        notes.append(f"The stored {stage} belong to other pixels or settings: `lensflow {command}` renews them.")
        return None
    return stored.results
