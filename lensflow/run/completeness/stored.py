"""Stored completeness of a run's scorers, with whether it belongs to the pixels and code that are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lensflow.config import RunConfig
from lensflow.config.completeness import CompletenessConfig
from lensflow.errors import GateError, StoreError
from lensflow.measure.gate.verdicts import GateResult
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
    try:
        content = pairs_content(config)
    except StoreError:  # not complete: no result belongs to them
        content = ""
    return [_read(config, folder, name, content) for name in sorted(names)]


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
    return StoredCompleteness(kept, settings, is_current, found.is_of_this_code, renew)
