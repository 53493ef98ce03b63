"""Stored completeness of a run's scorers, with whether it belongs to the pixels and code that are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lensflow.config import RunConfig
from lensflow.config.completeness import CompletenessConfig
from lensflow.errors import GateError, StoreError
from lensflow.measure.gate.verdicts import GateResult
from lensflow.run.completeness.files import own_name, results_of
from lensflow.run.identity import pairs_content, stored_key
from lensflow.show.completeness_page import KeptCompleteness
from lensflow.stats import codec
from lensflow.store import paths
from lensflow.store.results import read_results
from lensflow.store.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class StoredCompleteness:
    """One file of results.

    Attributes
    ----------
    kept : KeptCompleteness
        What it holds.
    kind, source : str
        What the scorer reads (``images``, ``table``, ``truth``), and the fingerprint of it; empty where it has none.
    settings : CompletenessConfig
        That made it; a command's options may have replaced the run's own.
    is_current : bool
        Whether it belongs to the stored pixels.
    is_of_this_code : bool
        Whether the installed code made it.
    renew : str
        The command that makes it again.
    """

    kept: KeptCompleteness
    kind: str
    source: str
    settings: CompletenessConfig
    is_current: bool
    is_of_this_code: bool
    renew: str


def stored_completeness(config: RunConfig) -> list[StoredCompleteness]:
    """Read every stored completeness of a run, current or not.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    list of StoredCompleteness

    Raises
    ------
    StoreError
        If a file is damaged.
    """
    folder = RunFolder.of(config)
    names = [n for n in paths.list_names(folder.completeness) if n.endswith(".json")]
    if not names:
        return []
    content = _content(config)
    return [_read(config, folder, name, content) for name in sorted(names)]


def stored_of_scorer(config: RunConfig, scorer: str, split: str) -> StoredCompleteness | None:
    """Read the stored completeness of one scorer on one split, current or not; None if there is none.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        As it was named when it was measured.
    split : str

    Returns
    -------
    StoredCompleteness or None

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    of_split = config.model_copy(update={"completeness": config.completeness.model_copy(update={"split": split})})
    url = results_of(of_split, scorer)
    if not paths.exists(url):
        return None
    found = _read(config, RunFolder.of(config), url.rsplit("/", 1)[-1], _content(config))
    # Two names can be one file name.
    return found if found.kept.scorer == own_name(of_split, scorer) else None


def _content(config: RunConfig) -> str:
    try:
        return pairs_content(config)
    except StoreError:  # not complete: no result belongs to them
        return ""


def _read(config: RunConfig, folder: RunFolder, name: str, content: str) -> StoredCompleteness:
    url = paths.join(folder.completeness, name)
    file = url.removeprefix(folder.root).lstrip("/")
    found = read_results(url, "run `lensflow completeness` again")
    try:
        assert found is not None
        results: Any = found.results
        settings = CompletenessConfig.model_validate(results["settings"])
        gates = [GateResult.from_dict(g) for g in results["gates"]]
        kept = KeptCompleteness(
            results["scorer"], results["split"], file, results["title"], gates[0] if gates else None,
            codec.datasets(results["tables"]),
        )  # fmt: skip
    except (AssertionError, ValidationError, ValueError, TypeError, KeyError, GateError) as error:
        reason = f"settings: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{url}: cannot be read ({reason}). Delete it and run `lensflow completeness` again."
        ) from error
    measured = config.model_copy(update={"completeness": settings})
    is_current = bool(content) and found.key == stored_key(measured, "completeness", content)
    renew = f"lensflow completeness {folder.root} {kept.scorer}"
    return StoredCompleteness(
        kept, results["kind"], results["source"], settings, is_current, found.is_of_this_code, renew
    )
