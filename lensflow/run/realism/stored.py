"""Stored comparisons with real lenses, with whether they belong to the pixels that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import GateError, StoreError
from lensflow.measure.gate import GateResult
from lensflow.run.realism.files import results_names
from lensflow.show.realism import KeptRealism
from lensflow.stats import codec
from lensflow.store import paths
from lensflow.store.results import read_results
from lensflow.store.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class StoredRealism:
    """One file of results.

    Attributes
    ----------
    kept : KeptRealism
    pairs : str
        Fingerprint of the pairs that were compared.
    settings : dict
        ``realism`` as they were compared with, plain values.
    """

    kept: KeptRealism
    pairs: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def other_settings(self, config: RunConfig) -> list[str]:
        """Names of the settings of ``realism`` that are not this config's; those that choose no number do not count."""
        own = config.realism.model_dump(mode="json")
        return sorted(k for k in own if k not in _OF_NO_NUMBER and self.settings.get(k, own[k]) != own[k])


_OF_NO_NUMBER = ("table", "required")


def compared_with(stored: StoredRealism) -> tuple[str, str]:
    """Name of the table that a comparison is of, and a fingerprint of its content and of the settings."""
    settings = {k: v for k, v in stored.settings.items() if k not in _OF_NO_NUMBER}
    name = stored.kept.table.rstrip("/").rpartition("/")[2]
    return name, fingerprint(str(stored.kept.numbers.get("table_content", "")), settings)


def stored_realism(config: RunConfig) -> list[StoredRealism]:
    """Read every stored comparison of a run, whatever pixels it belongs to.

    Parameters
    ----------
    config : RunConfig

    Returns
    -------
    list of StoredRealism

    Raises
    ------
    StoreError
        If a file is damaged, or was edited after it was written.
    """
    folder = RunFolder.of(config)
    return [_read(config, paths.join(folder.realism, n)) for n in results_names(config)]


def kept_realism(config: RunConfig, url: str, results: Any) -> KeptRealism:
    """Make what tables show of stored results.

    Parameters
    ----------
    config : RunConfig
    url : str
        Their file.
    results : mapping
        As the file holds them.
    """
    file = url.removeprefix(RunFolder.of(config).root).lstrip("/")
    gates = tuple(GateResult.from_dict(g) for g in results["gates"])
    return KeptRealism(
        results["table"], results["scorer"], file, gates, codec.datasets(results["tables"]),
        codec.decode(results["numbers"]),
    )  # fmt: skip


def _read(config: RunConfig, url: str) -> StoredRealism:
    found = read_results(url, "run `lensflow realism` again")
    assert found is not None  # it was listed
    if not found.has_digest:
        raise StoreError(
            f"{url}: has no digest: made by an older lensflow, or edited. Delete it and run `lensflow realism` again."
        )
    try:
        results: Any = found.results
        return StoredRealism(kept_realism(config, url, results), str(results["pairs"]), dict(results["settings"]))
    except (ValueError, TypeError, KeyError, GateError) as error:
        raise StoreError(f"{url}: cannot be read ({error}). Delete it and run `lensflow realism` again.") from error
