"""Stored results of a run, checked against the pixels and settings that they must belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import xarray as xr

from lensflow.errors import GateError, StoreError
from lensflow.measure.core.tuning import CoreTuning
from lensflow.measure.gate import GateResult
from lensflow.show.lines import as_html, as_text
from lensflow.stats import codec
from lensflow.store import resume
from lensflow.store.results import read_results


class Kept(NamedTuple):
    """Results of one stage.

    Attributes
    ----------
    value : object or None
        Diagnostics as a dict of Datasets, gates as a tuple of :class:`GateResult`, a :class:`CoreTuning`; None where
        there are none of these pixels and settings.
    code : str
        Fingerprint of the code that measured them.
    note : str
        Why there are none, and the command that makes them; empty where there are some.
    """

    value: Any
    code: str = ""
    note: str = ""


_PARSE: dict[str, Callable[[Any], Any]] = {
    "diagnostics": codec.datasets,
    "gates": lambda results: tuple(GateResult.from_dict(g) for g in results),
    "core": CoreTuning.from_dict,
}


def read_kept(url: str, stage: str, command: str, key: str | None = None) -> Kept:
    """Read the results of a stage (``diagnostics``, ``gates``, ``core``).

    Parameters
    ----------
    url, stage : str
        Their file, and what they are.
    command : str
        The command that makes them, for notes.
    key : str, optional
        That they must carry; results under another key belong to other pixels or settings. None: any key will do.

    Raises
    ------
    StoreError
        If the file is there and does not hold what lensflow writes.
    """
    stored = read_results(url, f"run `{command}` again")
    if stored is None:
        return Kept(None, note=f"No {stage} yet: `{command}` computes them.")
    if key is not None and stored.key != key:
        note = f"The stored {stage} belong to other pixels or settings and are left out: `{command}` renews them."
        return Kept(None, note=note)
    try:
        return Kept(_PARSE[stage](stored.results), stored.code)
    except GateError as error:  # of another version
        return Kept(None, note=f"{url}: the stored {stage} cannot be read ({error}): `{command}` renews them.")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{url}: cannot be read ({error}). Delete it and run `{command}` again.") from error


@dataclass(frozen=True, repr=False, eq=False)
class StoredResults:
    """Stored results of a run.

    Attributes
    ----------
    notes : tuple of str
        What is missing or left out, why, and the command that makes it; which other code measured what is there.
    """

    notes: tuple[str, ...]
    _found: Mapping[str, Any] = field(default_factory=dict)
    _missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def diagnostics(self) -> dict[str, xr.Dataset]:
        """Name -> results with intervals.

        Raises
        ------
        StoreError
            If there are none of these pixels and settings, or their file is damaged.
        """
        found: dict[str, xr.Dataset] = self._of("diagnostics")
        return found

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """Verdicts; errors as of :attr:`diagnostics`."""
        found: tuple[GateResult, ...] = self._of("gates")
        return found

    def _of(self, stage: str) -> Any:
        if stage in self._missing:
            raise StoreError(self._missing[stage])
        return self._found[stage]

    def lines(self) -> list[tuple[str, str]]:
        """Names of diagnostics, verdicts of gates, notes."""
        lines: list[tuple[str, str]] = []
        if "diagnostics" in self._found:
            lines.append(("diagnostics", ", ".join(self._found["diagnostics"])))
        if "gates" in self._found:
            verdicts = ", ".join(f"{g.name} {g.verdict}" for g in self._found["gates"])
            lines.append(("gates", verdicts or "none are run by these settings"))
        return [*lines, *(("note", n) for n in self.notes)]

    def __repr__(self) -> str:
        """Names of diagnostics, verdicts of gates, notes."""
        return as_text("StoredResults", self.lines())

    def _repr_html_(self) -> str:
        return as_html("StoredResults", self.lines())


def stored_results(urls: Mapping[str, str], keys: Mapping[str, str], run: str) -> StoredResults:
    """Diagnostics and gates of a run, if present and for its pixels and settings.

    Parameters
    ----------
    urls, keys : mapping
        ``diagnostics`` and ``gates`` -> their file, and the key that it must carry.
    run : str
        The run's folder, for the commands in notes.
    """
    found, missing, notes = {}, {}, []
    here = resume.measuring_code_fingerprint()
    for stage, command in (("diagnostics", "diagnose"), ("gates", "gate")):
        try:
            kept = read_kept(urls[stage], stage, f"lensflow {command} {run}", keys[stage])
        except StoreError as error:
            missing[stage] = str(error)
            continue
        if kept.value is None:
            missing[stage] = kept.note
            continue
        found[stage] = kept.value
        if kept.code != here:
            notes.append(f"The {stage} were measured by other code ({kept.code}) than is installed here ({here}).")
    return StoredResults((*missing.values(), *notes), found, missing)
