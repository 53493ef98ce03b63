"""The table of leaks: what detects each, and the AUC of those that pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lensflow.measure.zoo.leaks.suite import GOAL_AUC, Row


@dataclass(frozen=True)
class LeakTable:
    """The table and its settings.

    Attributes
    ----------
    rows : tuple of Row
    judge : str
        What read the leaks that pass.
    hosts, injections : int
    not_passed : dict
        Setting -> what of the required set does not pass on the sound run. It must be empty, or the rows of that
        setting say nothing.
    """

    rows: tuple[Row, ...]
    judge: str
    hosts: int
    injections: int
    not_passed: dict[str, list[str]]

    @property
    def missed(self) -> list[str]:
        """Where the suite is not as it must be, in words."""
        out = [f"{s}: the sound run does not pass ({', '.join(by)})" for s, by in self.not_passed.items()]
        for row in self.rows:
            if row.misses_goal and row.reading is not None:
                out.append(
                    f"{row.kind}, {row.setting}: {row.passes_to:g} {row.unit} passes the required set and is read "
                    f"at AUC {row.reading.area:.3f}, above {GOAL_AUC:g}"
                )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "judge": self.judge,
            "hosts": self.hosts,
            "injections": self.injections,
            "goal_auc": GOAL_AUC,
            "not_passed": self.not_passed,
            "missed": self.missed,
            "rows": [r.to_dict() for r in self.rows],
        }
