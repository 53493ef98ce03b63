"""What was measured of one scorer on one split of a run: tables, verdict, and how it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import xarray as xr

from lensflow.errors import CompletenessError
from lensflow.measure.gate.verdicts import GateResult, Verdict
from lensflow.show.completeness import curves, funnel, sentence, thresholds
from lensflow.show.completeness import tables as every_table
from lensflow.show.table import Table, in_notebook, printed

_STRATUM = "stratum_"
# Dimensions that are the same in all tables.
_SHARED = ("threshold", "curve")


@dataclass(frozen=True, repr=False, eq=False)
class Completeness(Mapping[str, xr.Dataset]):
    """Completeness of a scorer on the injections of one split; a mapping of all its tables.

    Attributes
    ----------
    scorer, split : str
        Whose, and of which rows.
    kind : str
        ``images``, ``table`` (of scores) or ``truth`` (detectability by definition).
    gate : GateResult or None
        The verdict on ``completeness.require``; None where nothing is required.
    path : str
        File that keeps the numbers; empty where none does.
    """

    scorer: str
    split: str
    kind: str
    gate: GateResult | None
    path: str
    _tables: Mapping[str, xr.Dataset] = field(repr=False)

    def __getitem__(self, name: str) -> xr.Dataset:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def is_truth(self) -> bool:
        """Whether the scorer reads what was injected: then this is detectability by definition."""
        return self.kind == "truth"

    @property
    def verdict(self) -> Verdict | None:
        """NOT_TESTABLE or ERROR where nothing can be measured; else the gate's; None where nothing is required."""
        found = str(self._tables["funnel"].attrs["verdict"])
        return Verdict(found) if found else self.gate.verdict if self.gate else None

    @property
    def reason(self) -> str:
        """The verdict in words."""
        own = str(self._tables["funnel"].attrs["reason"])
        if self.gate is not None and not self._tables["funnel"].attrs["verdict"]:
            return self.gate.reason
        return own or "nothing is required (completeness.require)"

    @property
    def funnel(self) -> xr.Dataset:
        """Rows planned, rendered, valid and recovered, and those lost by reason."""
        return self._tables["funnel"]

    @property
    def curves(self) -> xr.Dataset:
        """All rows together: the three curves (all, clean, no_psf_fallback) at each threshold."""
        return self._of("curves")

    @property
    def thresholds(self) -> xr.Dataset:
        """Each threshold, its false positives and true rate, and the completeness at the rate."""
        return self._of("thresholds")

    @property
    def resolution(self) -> xr.Dataset:
        """In bins of theta_E over the survey's PSF size; over the applied profile: ``["resolution_fwhm"]``."""
        return self._of("resolution")

    @property
    def selection(self) -> xr.Dataset:
        """Over the axes of ``completeness.axes``."""
        return self._of("selection")

    @property
    def roc(self) -> xr.Dataset:
        """Recovered share against false-positive rate; there is none without negatives."""
        return self._of("roc")

    @property
    def strata(self) -> dict[str, xr.Dataset]:
        """Variable -> table over its bins."""
        return {k.removeprefix(_STRATUM): v for k, v in self._tables.items() if k.startswith(_STRATUM)}

    def to_dataset(self) -> xr.Dataset:
        """Put every table into one Dataset: names are ``table.variable``; threshold and curve are those of all.

        Returns
        -------
        Dataset
            Bins too are named by their table: two tables may cut one variable differently. Attributes: scorer, split,
            kind, verdict, reason.
        """
        parts = [
            t.rename({v: f"{name}.{v}" for v in {*t.variables, *t.dims} - {*_SHARED}}).drop_attrs(deep=False)
            for name, t in self._tables.items()
        ]
        about = {"scorer": self.scorer, "split": self.split, "kind": self.kind, "verdict": str(self.verdict or ""),
                 "reason": self.reason}  # fmt: skip
        return xr.merge(parts, compat="identical", join="exact").assign_attrs(about)

    def tables(self) -> list[Table]:
        """Tables for reading, in the order of a page."""
        return every_table(self)

    def _of(self, name: str) -> xr.Dataset:
        if name not in self._tables:
            why = self.reason if self._tables["funnel"].attrs["verdict"] else "there are no negatives"
            raise CompletenessError(f"completeness of {self.scorer} has no {name}: {why}")
        return self._tables[name]

    def _shown(self) -> list[Table]:
        if "thresholds" not in self._tables:
            return [funnel(self.funnel)]
        first = curves(self.resolution, "resolution", "Resolution: theta_E over PSF size")
        return [funnel(self.funnel), thresholds(self), first]

    def __repr__(self) -> str:
        """The sentence, verdict, funnel, thresholds and resolution bins. Everything: :meth:`tables`."""
        return printed(sentence(self.scorer, self.split, self), self._shown())

    def _repr_html_(self) -> str:
        return in_notebook(sentence(self.scorer, self.split, self), self._shown())
