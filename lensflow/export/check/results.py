"""Result of a check of an export: verdict, reason, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lensflow.stats.estimate import Estimate


class CheckVerdict(StrEnum):
    """Outcome of one check of an export.

    INCONCLUSIVE: an interval crosses the limit, as it does in a small export; more samples would decide. NOT_TESTED:
    what the check needs is not there; the reason says what.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTED = "NOT_TESTED"


# Worst first: the verdict of several measurements is the first of these among them.
WORST_FIRST = (CheckVerdict.FAIL, CheckVerdict.INCONCLUSIVE, CheckVerdict.NOT_TESTED, CheckVerdict.PASS)


@dataclass(frozen=True)
class Measured:
    """One number of a check beside its limit.

    Attributes
    ----------
    name : str
        What was measured.
    found : Estimate
        An area under the ROC curve with its 95 % interval over hosts, a probability, or a count (without interval).
    limit : float
        That the number must not exceed (an area: on either side of 0.5; a probability: must not fall below).
    verdict : CheckVerdict
    """

    name: str
    found: Estimate
    limit: float
    verdict: CheckVerdict

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return {"name": self.name, **self.found.fields(), "limit": self.limit, "verdict": str(self.verdict)}


@dataclass(frozen=True)
class CheckResult:
    """Result of one check of an export.

    Attributes
    ----------
    name : str
        ``order``, ``bytes``, ``format``, ``bits``, ``norm_stats``, ``metadata``, ``duplicates``, ``labels``, ``nan`` or
        ``roundtrip``.
    verdict : CheckVerdict
        PASS, FAIL, INCONCLUSIVE or NOT_TESTED.
    reason : str
        The verdict in words: what was found and where; where nothing was tested, why, and what to do.
    measured : tuple of Measured
        Every number that was judged.
    """

    name: str
    verdict: CheckVerdict
    reason: str
    measured: tuple[Measured, ...] = ()

    def __str__(self) -> str:
        return str(self.verdict)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as they stand in ``export_check.json``; NaN stays NaN (:mod:`lensflow.stats.codec`)."""
        numbers = [m.to_dict() for m in self.measured]
        return {"name": self.name, "verdict": str(self.verdict), "reason": self.reason, "measured": numbers}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> CheckResult:
        """Inverse of :meth:`to_dict`.

        Parameters
        ----------
        tree : mapping

        Returns
        -------
        CheckResult
            Equal to the one that was written.
        """
        numbers = tuple(
            Measured(m["name"], Estimate.from_fields(m), float(m["limit"]), CheckVerdict(m["verdict"]))
            for m in tree["measured"]
        )
        return cls(tree["name"], CheckVerdict(tree["verdict"]), tree["reason"], numbers)


def worst(verdicts: Iterator[CheckVerdict] | tuple[CheckVerdict, ...]) -> CheckVerdict:
    """Worst of some verdicts; of none, PASS."""
    return min(verdicts, key=WORST_FIRST.index, default=CheckVerdict.PASS)


@dataclass(frozen=True, repr=False)
class ExportCheck(Mapping[str, CheckResult]):
    """Results of all checks of an export, by name, in the order in which they are listed.

    Attributes
    ----------
    export : str
        Where it was read.
    results : tuple of CheckResult
        One a check, in their order.
    n_samples, n_hosts : int
        That were read.
    facts : dict
        What else the files say: format, view, number of files, seconds it took.
    """

    export: str
    results: tuple[CheckResult, ...]
    n_samples: int
    n_hosts: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> CheckVerdict:
        """FAIL if any check failed, else INCONCLUSIVE if any is, else PASS; what was not tested does not count."""
        found = tuple(r.verdict for r in self.results if r.verdict is not CheckVerdict.NOT_TESTED)
        return worst(found) if found else CheckVerdict.NOT_TESTED

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(r.name for r in self.results if r.verdict is CheckVerdict.FAIL)

    def __repr__(self) -> str:
        """Verdict and reasons, one line a check."""
        head = f"<ExportCheck of {self.export}: {self.verdict}, {self.n_samples:,} samples of {self.n_hosts:,} hosts>"
        return "\n".join([head, *(f"  {r.name:<12}{r.verdict:<14}{r.reason}" for r in self.results)])

    def __getitem__(self, name: str) -> CheckResult:
        return next((r for r in self.results if r.name == name), None) or _missing(name)

    def __iter__(self) -> Iterator[str]:
        return (r.name for r in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as they stand in ``export_check.json``."""
        return {
            "verdict": str(self.verdict),
            "n_samples": self.n_samples,
            "n_hosts": self.n_hosts,
            "facts": self.facts,
            "checks": [r.to_dict() for r in self.results],
        }


def _missing(name: str) -> CheckResult:
    raise KeyError(name)
