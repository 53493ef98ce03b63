"""What a comparison with real lenses found: verdicts, tables, and how it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.show.realism import KeptRealism, sentence, tables
from lensflow.show.table import Table, in_notebook, printed


@dataclass(frozen=True, repr=False, eq=False)
class Realism(Mapping[str, xr.Dataset]):
    """A run's injections held against real lenses; a mapping of all its tables.

    Attributes
    ----------
    kept : KeptRealism
        As it is stored.
    path : str
        File that keeps the numbers; empty where none does.
    """

    kept: KeptRealism
    path: str

    def __getitem__(self, name: str) -> xr.Dataset:
        return self.kept.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept.tables)

    def __len__(self) -> int:
        return len(self.kept.tables)

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """``realism``, and of a scorer ``real_recall``, ``real_fpr`` and ``gap``."""
        return self.kept.gates

    @property
    def gate(self) -> GateResult:
        """The verdict ``realism``."""
        return self.kept.gates[0]

    @property
    def verdict(self) -> Verdict:
        """Of the readable features."""
        return self.gate.verdict

    @property
    def reason(self) -> str:
        """The verdict in words."""
        return self.gate.reason

    @property
    def counts(self) -> Mapping[str, Any]:
        """Reason -> lenses of the table that are not compared."""
        counts: Mapping[str, Any] = self.kept.numbers["left_out"]
        return counts

    @property
    def sentence(self) -> str:
        """How many lenses, the verdict, and the smallest difference that would have been seen."""
        return sentence(self.kept)

    @property
    def features(self) -> xr.Dataset:
        """Each feature of real lenses beside that of injections."""
        return self.kept.tables["features"]

    def tables(self) -> list[Table]:
        """Tables for reading, in the order of a page."""
        return tables(self.kept)

    def __repr__(self) -> str:
        """The sentence, and every table."""
        return printed(self.sentence, self.tables())

    def _repr_html_(self) -> str:
        return in_notebook(self.sentence, self.tables())
