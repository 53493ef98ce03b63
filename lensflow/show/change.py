"""One number in two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.stats import codec
from lensflow.stats.estimate import Estimate


@dataclass(frozen=True)
class Change:
    """One number with its interval in both runs.

    Attributes
    ----------
    what, where : str
    a, b : Estimate
        NaN where not measured.
    """

    what: str
    where: str
    a: Estimate
    b: Estimate

    @property
    def difference(self) -> Estimate:
        """b - a, the runs taken as independent."""
        return self.b - self.a

    @property
    def judgement(self) -> str:
        """``differs``, ``same`` (to the last digit), ``within`` its interval, or ``not measured`` in one of them."""
        if self.a.fields() == self.b.fields():
            return "same"
        if not self.difference.is_measured:
            return "not measured"
        return "differs" if self.b.excludes(self.a) else "within"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types, with the difference and the judgement."""
        numbers = {k: codec.encode(getattr(self, k).fields()) for k in ("a", "b", "difference")}
        return {"what": self.what, "where": self.where, **numbers, "judgement": self.judgement}
