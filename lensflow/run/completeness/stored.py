"""Stored completeness of a run's scorers, with whether it belongs to the pixels and code that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from lensflow.config import RunConfig
from lensflow.config.base import first_problem
from lensflow.config.completeness import CompletenessConfig
from lensflow.errors import CompletenessError, GateError, StoreError
from lensflow.measure.gate.verdicts import GateResult
from lensflow.run.completeness.files import own_name, results_named
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


def stored_of_scorer(config: RunConfig, scorer: str, split: str, fpr: float | None = None) -> StoredCompleteness | None:
    """Read the stored completeness of one scorer on one split, current or not; None if there is none.

    Parameters
    ----------
    config : RunConfig
    scorer : str
        As it was named when it was measured.
    split : str
    fpr : float, optional
        Of several results of the scorer, one with this threshold; of several of these, the one that is nearest to the
        run's own settings.

    Returns
    -------
    StoredCompleteness or None

    Raises
    ------
    StoreError
        If a file is damaged.
    CompletenessError
        If there are several, and nothing tells which is meant.
    """
    of_split = config.model_copy(update={"completeness": config.completeness.model_copy(update={"split": split})})
    folder, content = RunFolder.of(config), _content(config)
    every = [_read(config, folder, name, content) for name in results_named(of_split, scorer)]
    # Two names can be one file name.
    found = [f for f in every if (f.kept.scorer, f.kept.split) == (own_name(of_split, scorer), split)]
    found = [f for f in found if f.is_current and f.is_of_this_code] or found
    if fpr is not None:
        found = (
            [f for f in found if fpr in _rates(f.kept.tables)] or [f for f in found if _rates(f.kept.tables)] or found
        )
    # Of several, the one that is nearest to the run's own settings: other negatives are not taken by chance.
    options = [len(f.settings.options_against(config.completeness)) for f in found]
    found = [f for f, n in zip(found, options, strict=True) if n == min(options)]
    if len(found) > 1:
        raise CompletenessError(
            f"{folder.completeness}: {len(found)} results of {scorer} on split {split}, none by the run's own "
            f"settings: say which rate is meant, or delete those that are not "
            f"({', '.join(f.kept.file.rsplit('/', 1)[-1] for f in found)})"
        )
    return found[0] if found else None


def _rates(tables: Mapping[str, xr.Dataset]) -> list[float]:
    """False-positive rates that set thresholds."""
    rates = tables["thresholds"]["rate_wanted"].values if "thresholds" in tables else np.empty(0)
    return [float(r) for r in rates if np.isfinite(r)]


def _options(settings: CompletenessConfig, own: CompletenessConfig) -> str:
    """Options of the command that measures by these settings on a run that has its own."""
    options, threshold = settings.options_against(own), settings.threshold
    words = []
    if "threshold" in options and threshold is not None:
        words += [f"--fpr {rate:g}" for rate in threshold.fpr or ()]
        words += [] if threshold.value is None else [f"--value {threshold.value!r}"]
    words += [f"--negatives {settings.negatives}"] * ("negatives" in options)
    words += ["--truth"] * (options.get("kind") == "truth")
    return "".join(f" {w}" for w in words)


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
        options = _options(settings, config.completeness)
        # Two results of one scorer differ by what they were measured with.
        title = f"{results['title']} ({options.strip()})" if options else results["title"]
        kept = KeptCompleteness(
            results["scorer"], results["split"], file, title, gates[0] if gates else None,
            codec.datasets(results["tables"]),
        )  # fmt: skip
    except (AssertionError, ValidationError, ValueError, TypeError, KeyError, GateError) as error:
        reason = f"settings: {first_problem(error)}" if isinstance(error, ValidationError) else str(error)
        raise StoreError(
            f"{url}: cannot be read ({reason}). Delete it and run `lensflow completeness` again."
        ) from error
    measured = config.model_copy(update={"completeness": settings})
    is_current = bool(content) and found.key == stored_key(measured, "completeness", content)
    renew = f"lensflow completeness {folder.root} {kept.scorer}{options}"
    return StoredCompleteness(
        kept, results["kind"], results["source"], settings, is_current, found.is_of_this_code, renew
    )
