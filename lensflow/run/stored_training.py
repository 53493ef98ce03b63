"""The stored reference training of a run, with whether it belongs to the pixels that are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.config import RunConfig
from lensflow.errors import GateError, StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.identity import pairs_content
from lensflow.show.training import KeptTraining
from lensflow.stats import codec
from lensflow.store.results import read_results
from lensflow.store.run_folder import RunFolder
from lensflow.training.files import real_key, report_of, training_key, weights_of


@dataclass(frozen=True, eq=False)
class StoredTraining:
    """A training's file of results.

    Attributes
    ----------
    kept : KeptTraining
    is_current : bool
        Whether it belongs to the stored pixels and these settings.
    """

    kept: KeptTraining
    is_current: bool


def stored_training(config: RunConfig) -> StoredTraining | None:
    """Read the stored training of a run, current or not; None if there is none.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    StoredTraining or None

    Raises
    ------
    StoreError
        If the file is damaged.
    """
    url, root = report_of(config), RunFolder.of(config).root
    found = read_results(url, "run `lensflow train` again")
    if found is None:
        return None
    try:
        results: Any = found.results
        kept = kept_training(config, results)
    except (ValueError, TypeError, KeyError, GateError) as error:
        raise StoreError(
            f"{url}: cannot be read ({error}). Delete it and run `lensflow train {root}` again."
        ) from error
    try:
        is_current = found.key == training_key(config, pairs_content(config))
    except StoreError:  # not complete: no result belongs to them
        is_current = False
    return StoredTraining(kept, is_current)


def kept_training(config: RunConfig, results: Any) -> KeptTraining:
    """Make what tables show of a training's results.

    Parameters
    ----------
    config : RunConfig
    results : mapping
        As ``report.json`` holds them.

    Returns
    -------
    KeptTraining
    """
    root = RunFolder.of(config).root
    real = results.get("real", {"key": None, "gates": []})
    # Of another table, or not asked yet: nothing is said of real lenses rather than something else.
    of_table = real["gates"] if real["key"] == real_key(config) else []
    gates = tuple(GateResult.from_dict(g) for g in [*results["gates"], *of_table, *results["nulls"]])
    scorer, file = (u.removeprefix(root).lstrip("/") for u in (weights_of(config), report_of(config)))
    return KeptTraining(scorer, file, gates, codec.datasets(results["tables"]), codec.decode(results["numbers"]))
